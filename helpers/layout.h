/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the gates, the event stubs, the C shims and Rust share: the layout of
 * the per-CPU words, of a run's record on the kernel stack, of programs and
 * call sites, and of the resume slots. Assembly uses the constants, C asserts
 * them against the structures (helpers/percpu.c), Rust takes the structures
 * through bindgen.
 */
#ifndef BAILEY_LAYOUT_H
#define BAILEY_LAYOUT_H

/* IA32_PKRS, Intel SDM vol. 4, table 2-2. */
#define BAILEY_MSR_PKRS		0x6e1

/*
 * Where this CPU is between kernel and confined (DESIGN 9.8). What interrupts a
 * gate reads it on a landing stack alone. Those are in the TSS from the way in to
 * the way out, and both say so before they touch it: IN before the first is
 * installed, one of the others before the kernel's own come back. What it says
 * behind that is old, and read by nobody.
 */
#define BAILEY_PHASE_IN		1	/* the tail into confinement, or confined */
#define BAILEY_PHASE_EXIT	2	/* exit gate, after its wrmsr 0 */
#define BAILEY_PHASE_HELPER	3	/* helper gate, after its wrmsr 0 */
#define BAILEY_PHASE_EVENT	4	/* event stub, after its wrmsr 0 */
#define BAILEY_PHASE_LANDED	5	/* event stub, after it has noted a landing */

/* struct bailey_cpu.landed: a bit for each vector, and */
#define BAILEY_LANDED_NEW	0x40000000	/* bailey_landing() has not seen it yet */
#define BAILEY_LANDED_IN	0x80000000	/* the first one came in phase IN */

/* struct bailey_cpu */
#define CPU_PHASE		0x00
#define CPU_INDEX		0x04	/* into the frames of a domain */
#define CPU_RUN			0x08
#define CPU_SLOT		0x10
#define CPU_EVENT_RSP		0x18
#define CPU_EVENT_VECTOR	0x20
#define CPU_IST			0x28	/* DF, NMI, DB, MCE: the kernel's own */
#define CPU_ENTRIES		0x48
#define CPU_REFUSED		0x50
#define CPU_NO_FRAME		0x58
#define CPU_LANDINGS		0x60
#define CPU_RESTART		0x68
#define CPU_KERNEL_CR3		0x70	/* to be loaded on the way out; 0: it is loaded */
#define CPU_TSS_IST		0x78	/* address behind TSS.IST[3], the MCE entry */
#define CPU_LANDED		0x80	/* whose handlers are to be called on the way to the label */
#define CPU_LANDED_FIRST	0x84	/* the vector that came in the gate */
#define CPU_LANDED_RBP		0x88	/* the program's own, if that came in the helper gate */

/* struct bailey_frame: one domain's memory on one CPU */
#define FRAME_LANDING		0x00	/* DF, NMI, DB, MCE: in the domain */
#define FRAME_CURSOR		0x20
#define FRAME_BOTTOM		0x28
#define FRAME_PKRS		0x30
#define FRAME_ROOT		0x38	/* CR3 while confined, or 0: the kernel's */

/* struct bailey_prog */
#define PROG_STATE		0x00
#define PROG_FLAGS		0x04
#define PROG_FRAMES		0x08
#define PROG_SITES		0x10
#define PROG_SITE_BYTES		0x18
#define PROG_NAMES		0x1c
#define PROG_DEPTH		0x20
#define PROG_RUNS		0x28
#define PROG_ENTER_OUT		0x30
#define PROG_ARENA		0x38

/* struct bailey_prog.flags: what enter and exit have to do for this program */
#define BAILEY_PROG_CTX		0x1	/* it looks at its context: needs a shadow */
#define BAILEY_PROG_PACKET	0x2	/* it looks at packet bytes */
#define BAILEY_PROG_WRITES	0x4	/* it may write packet bytes */
#define BAILEY_PROG_RXQ		0x8	/* it reads xdp->rxq or xdp->rxq->dev */
#define BAILEY_PROG_TXQ		0x10	/* it reads xdp->txq->dev */
#define BAILEY_PROG_TAIL	0x20	/* it makes tail calls: enter gets the chain's count in rax */

/* struct bailey_prog.names: registers that a function keeps for its caller */
#define BAILEY_NAMES_BX		0x8
#define BAILEY_NAMES_R13	0x2000
#define BAILEY_NAMES_R14	0x4000
#define BAILEY_NAMES_R15	0x8000

/* struct bailey_prog.calls */
#define BAILEY_CALL_KERNEL	0x1	/* the kernel runs it: the program itself */
#define BAILEY_CALL_BACK	0x2	/* a helper calls it back */
#define BAILEY_CALL_FUNCTION	0x4	/* the program calls it, by a gate */
#define BAILEY_CALL_LATER	0x8	/* the kernel calls it later, in a run of its own */

/* struct bailey_site */
#define SITE_FUNC		0x00
#define SITE_OUT		0x08
#define SITE_CLASS		0x10
#define SITE_RET		0x18
#define SITE_CALLS		0x20
#define SITE_MAP		0x28
#define SITE_SHIFT		7	/* log2 of its size */

#define BAILEY_SITE_AUDITED	0	/* through bailey_helper() */
#define BAILEY_SITE_SCALAR	0x200	/* numbers alone; RFLAGS.IF, for one test of both */
/* Bits that are never set in RFLAGS: no other class passes that test. */
#define BAILEY_SITE_MAP		0x1000000	/* the site's map, then numbers */
#define BAILEY_SITE_LAST	0x3000000	/* as numbers or as that; the run ends behind it */
/*
 * Of an audited site's class, above all these: which of the program's next calls is made
 * behind it, from 1; 0 for none.
 */
#define BAILEY_SITE_NEXT_SHIFT	26

/* struct bailey_site.audited: `values_kernel` says in which map's values an argument was last */
#define BAILEY_SITE_SEEN	0x80

/* struct bailey_site.helper: no helper but a function of the program, `func` */
#define BAILEY_SITE_FUNCTION	0xffffffff
/* ... an exception in an image that is not the program's own */
#define BAILEY_SITE_THROW	0xfffffffe
/* ... where such an exception comes back; no call leads through it */
#define BAILEY_SITE_LANDING	0xfffffffd
/* ... the count of a may_goto, which its stub answers */
#define BAILEY_SITE_COUNT	0xfffffffc
/* ... the time stamp counter, which its stub answers */
#define BAILEY_SITE_TSC		0xfffffffb

/* struct bailey_run: lies on the kernel stack from enter to exit */
#define RUN_PREV		0x00
#define RUN_CURSOR		0x08
#define RUN_PROG		0x10
#define RUN_CTX			0x18
#define RUN_DOM_RSP		0x20
#define RUN_DOM_RBP		0x28
#define RUN_FRAME		0x30
#define RUN_SITE		0x38
#define RUN_ACTION		0x40	/* one word with */
#define RUN_WORK		0x44	/* what bailey_exit() has to do */
#define RUN_SHADOW		0x48	/* struct bailey_shadow, used by Rust */
#define RUN_COUNT		0x88	/* with BAILEY_PROG_TAIL: where the tail calls are counted */
#define RUN_FLAGS		0x90	/* IF set: the program runs with interrupts on */
#define RUN_SAVED		0x98	/* rflags, rbp, ret */
#define RUN_KERNEL_RBP		0xa0
#define RUN_SIZE		0xa8	/* with rbp, without the return address */

/* struct bailey_run.action, set by bailey_helper() */
#define BAILEY_GO_ON		0
#define BAILEY_ABORT		1
#define BAILEY_END		2	/* the run is over, its verdict in rax */
#define BAILEY_CALL		3	/* go on in a function, as the slot has it */
#define BAILEY_AFRESH		7	/* go on in another program, whose loops begin to count */
#define BAILEY_LEAVE		6	/* the run is over, its program goes on at rax, which is not isolated */
#define BAILEY_THROWN		5	/* of the run below: a function's exception goes on in it */
#define BAILEY_RETURN		4	/* set by bailey_exit(): go on behind the call of a function */

/* How often may_goto goes on before it asks for the time: BPF_MAX_TIMED_LOOPS. */
#define BAILEY_LOOPS		0xffff

/* struct bailey_run.work */
#define BAILEY_WORK_PACKET	0x1	/* copy the packet back */
#define BAILEY_WORK_LEVEL	0x2	/* this level's loans and ledger are in use */
#define BAILEY_WORK_CALLBACK	0x4	/* a callback of the run below, by a helper of the kernel */
#define BAILEY_WORK_FUNCTION	0x8	/* a function of the run below, by a gate */
#define BAILEY_WORK_SHARED	0x10	/* packet, context, loans and ledger are those of the run below */
#define BAILEY_WORK_CALLED	0x20	/* a function of the program itself has run on the packet */
#define BAILEY_WORK_INNER	0x40	/* in a function that was called in this run, and shares with its caller */
#define BAILEY_WORK_CALLS	0x80	/* the exit is that of a function called in this run */

/*
 * A resume slot: one image, where the tail jumps to, and another image. It is read
 * while confined, through the read-only key, and written by the kernel alone.
 */
#define SLOT_RAX		0x00	/* a stub: pop rax; pop rsp; jmp */
#define SLOT_RSP		0x08
#define SLOT_OUT		0x10	/* the way out: a stub's, or bailey_iret_out */
#define SLOT_IRET		0x18	/* r11 rax rcx rdx rip cs rflags rsp ss */
#define SLOT_REGS		0x60	/* of a call rdi rsi r8, of a return rbx r13 r14 r15 */
#define SLOT_STRIDE		0x80
#define SLOT_SHIFT		7
#define SLOT_LEVELS		32	/* a page */

/* offsetof(struct tss_struct, x86_tss.ist), asserted in percpu.c */
#define BAILEY_TSS_IST		36

/* struct bailey_event: an interrupted run, on the kernel stack */
#define EVENT_REGS		0x00	/* r15..r8 rdi rsi rbx: 11 words */
#define EVENT_R11		0x20
#define EVENT_IRET		0x58	/* rax rcx rdx rip cs rflags rsp ss */
#define EVENT_IRET_WORDS	8
#define EVENT_VECTOR		0x98
#define EVENT_HANDLER		0xa0
#define EVENT_STACK		0xa8	/* the kernel's IST top, or 0 */
#define EVENT_KFLAGS		0xb0	/* rflags for the synthetic frame */
#define EVENT_ERROR		0xb8
#define EVENT_RSP		0xc0	/* where the CPU pushed its frame */
#define EVENT_CR2		0xc8
#define EVENT_SIZE		0xd8

/* What bailey_event() says. */
#define BAILEY_EVENT_KERNEL	0	/* the kernel's handler, then resume */
#define BAILEY_EVENT_RESUME	1	/* resume at once */
#define BAILEY_EVENT_ABORT	2	/* the run ends */
#define BAILEY_EVENT_REPLAY	3	/* kernel's handler, then the tail again */
#define BAILEY_EVENT_NEXT	4	/* kernel's handler, then bailey_event_rest() says */

/* Below the verifier's deepest stack: room for an event's frame and registers. */
#define BAILEY_STACK_ROOM	0x100

/* The test build alone: defences to leave out (helpers/attack.c). */
#define BAILEY_WITHOUT_RIP	0x1	/* a saved RIP that nothing confined can have had */
#define BAILEY_WITHOUT_LANDING	0x2	/* of a landed frame, a label alone is chosen */
#define BAILEY_WITHOUT_BEGIN	0x4	/* who has only begun begins again */
#define BAILEY_WITHOUT_FLAGS	0x8	/* saved flags are masked */
#define BAILEY_WITHOUT_SELECTORS 0x10	/* saved selectors are not looked at */
#define BAILEY_WITHOUT_RSP	0x20	/* a saved RSP is the run's */
#define BAILEY_WITHOUT_SLOTS	0x40	/* resume slots are read-only */
#define BAILEY_WITHOUT_SHADOW	0x80	/* helpers get the real context */
#define BAILEY_WITHOUT_LOANS	0x100	/* what is mediated is on loan */
#define BAILEY_WITHOUT_LEDGER	0x200	/* what is given back is held */
#define BAILEY_WITHOUT_REREAD	0x400	/* saved registers are read once */
#define BAILEY_WITHOUT_FORMAT	0x800	/* a format is copied before it is read */
#define BAILEY_WITHOUT_STRING	0x1000	/* a string argument is constant */
#define BAILEY_WITHOUT_HEADERS	0x2000	/* what a helper reads twice is copied */
#define BAILEY_WITHOUT_ROOTS	0x4000	/* who shares a key runs on a root */
#define BAILEY_WITHOUT_FLUSH	0x8000	/* what is unmapped or gets another key is flushed */
#define BAILEY_WITHOUT_LOCAL	0x10000	/* domain memory is not global in TLBs */
#define BAILEY_WITHOUT_NESTING	0x20000	/* in the stub of a #DB or #MC none is lost */
#define BAILEY_WITHOUT_RECOVER	0x40000	/* what an event leaves in service is sent again */
#define BAILEY_WITHOUT_RECORDS	0x80000	/* a record that is submitted is held */
#define BAILEY_WITHOUT_MAPS	0x100000	/* a helper's map is of a type that it is for */
#define BAILEY_WITHOUT_OBJECTS	0x200000	/* dynptrs of memory are not on the stack */
#define BAILEY_WITHOUT_USES	0x400000	/* of a log only numbers of elements are taken */
#define BAILEY_WITHOUT_INDEX	0x800000	/* what look-ups read is read-only */

#ifndef __ASSEMBLY__
#include <linux/types.h>

/* One domain's memory on one CPU; the record itself is kernel memory. */
struct bailey_frame {
	u64 landing[4];
	u64 cursor;		/* runs are carved from here downwards */
	u64 bottom;
	u32 pkrs;
	u32 domain;
	u64 root;		/* changes as src/domain/shift.rs says, like pkrs */
	u64 top;
};

/*
 * The kernel's record of an image: of an isolated program, or of one of its
 * functions that is entered by itself.
 */
struct bailey_prog {
	u32 state;		/* 0: may run */
	u32 flags;
	struct bailey_frame **frames;	/* by index of the CPU; the last is null */
	struct bailey_site *sites;
	u32 site_bytes;		/* of the table: a site's number is its offset there */
	u32 names;		/* BAILEY_NAMES_*: what its code names, and saves */
	u64 depth;		/* bytes of stack below rbp that a run gets */
	u64 __percpu *runs;	/* counts them (src/load/counts.rs) */
	u64 enter_out;		/* sites[0].out */
	u64 arena;		/* the base of its arena as its domain sees it, or 0 */
	/* below: Rust only */
	u64 image;		/* first byte of the JITed image */
	u32 image_len;
	u32 id;
	u64 starts;		/* bitmap of instruction starts */
	u64 enter_return;	/* the address after `call enter` */
	u64 body;		/* where the program goes on from there while confined */
	u64 record;		/* the program, a Rust object */
	u32 calls;		/* BAILEY_CALL_*: who may enter it */
	u32 ctx_arg;		/* which argument is the real context, from 1; 0: none */
	u32 is_global;		/* it is a global function: others may attach to it */
	u32 loops;		/* it has a may_goto: entered by a gate of its own */
	u32 sees;		/* bytes from data on that it looks at, or U32_MAX: all */
	u32 writes_from;	/* of these, where those begin that it writes */
	u32 writes_to;		/* and where they end */
	struct bailey_site *landing;	/* where exceptions of other images come to, or NULL */
	u64 next_calls;		/* what is made behind another call (src/load/next_calls.rs) */
	struct exception_table_entry *probes;	/* loads that may read what was not lent */
	u32 probe_count;
};

struct bailey_arg {
	u8 kind;
	u8 flags;
	u16 size_arg;
	u32 size;
};

/* Each CPU's values are in several pieces. */
enum { BAILEY_SITE_PIECES = 0xffff };

struct bailey_site {
	u64 func;
	u64 out;		/* the stub's way back into the program */
	u32 class;
	u32 helper;		/* BPF_FUNC_*, 0 for enter, BAILEY_SITE_FUNCTION */
	u64 ret;		/* where the stub's way back jumps to */
	u64 __percpu *calls;	/* counts them */
	u64 map;		/* struct bpf_map *, if the verifier knew one */
	struct bailey_arg args[5];
	u32 insn;		/* BPF instruction, as the verifier numbers them */
	u8 returns;
	u8 resource;		/* what it acquires or releases */
	u16 effects;
	u32 size;
	u16 values_pages;	/* if each CPU has values of its own, pages of each; else 0 */
				/* or BAILEY_SITE_PIECES: `values_kernel` is a struct Mapped (src/domain/) */
	u8 audited;		/* a bit for each argument that is audited, but a map that is known; */
				/* BAILEY_SITE_SEEN */
	u8 map_arg;		/* which one that is; 5: none */
	u64 values_kernel;	/* the values of `map` that are mapped in the domain: */
	u64 values_domain;	/* the kernel's address (or per-CPU pointer), the domain's, */
	u64 values_len;		/* how many bytes (of each CPU) */
	/* of calls on allocated objects instead: btf_struct_meta, its btf_record, where the node is */
	/* of calls that return an object of the kernel's: 0, 0, its type's number in the BTF */
	/* with BAILEY_SITE_SEEN: a struct Seen (src/domain/mapped.rs) */
};

/*
 * What enter built in the domain for this run; addresses in the domain. Valid
 * if the program's flags are not 0.
 */
struct bailey_shadow {
	u64 ctx;		/* the struct xdp_buff the program sees, 0: none */
	u64 packet;		/* where the real data_hard_start would be */
	u64 packet_room;	/* bytes there: hard start to hard end, or 0 */
	u64 hard_start;		/* the real one */
	u64 level;		/* this run's loans and ledger, if BAILEY_WORK_LEVEL */
	u64 element;		/* a callback's: the value that is on loan for its sake, or 0 */
};

struct bailey_run {
	struct bailey_run *prev;
	u64 cursor;		/* to give back to the frame */
	struct bailey_prog *prog;
	u64 ctx;
	u64 dom_rsp;
	u64 dom_rbp;
	struct bailey_frame *frame;
	struct bailey_site *site;
	u32 action;
	u32 work;
	struct bailey_shadow shadow;
	u64 thrown;		/* an exception's cookie, with BAILEY_THROWN */
	u64 calls;		/* of functions, under way in this run; with BAILEY_WORK_CALLS */
	u64 *count;		/* of tail calls, in the frame of the chain's first program */
	u64 flags;
	u64 saved[2];		/* rflags rbp */
	u64 ret;
};

/*
 * Right above the record of a run whose image has a may_goto: what the kernel's
 * check takes (struct bpf_timed_may_goto), and the kernel's r12.
 */
struct bailey_loops {
	u64 count;
	u64 timestamp;
	u64 r12;
};

struct bailey_cpu {
	u32 phase;
	u32 index;		/* the CPU's number while keys are on, else nr_cpu_ids */
	struct bailey_run *run;
	u64 slot;
	u64 event_rsp;
	u64 event_vector;
	u64 ist[4];
	u64 entries;		/* writes of a domain's key; as many take it away */
	u64 refused;		/* runs turned away at the gate: quarantine */
	u64 no_frame;		/* runs turned away for lack of stack */
	u64 landings;		/* events on a landing stack with the kernel's key */
	u64 restart;		/* the label that the first landing has chosen */
	u64 kernel_cr3;		/* what a domain's root stands in the place of */
	u64 tss_ist;
	u32 landed;
	u32 landed_first;
	u64 landed_rbp;
	/* below: C and Rust only */
	u64 slot_base;
	u64 bytes_copied;
	u64 aborts;
	u64 violations;
	u64 loan_accesses;
	u64 arena_faults;	/* accesses to an arena's pages that were not seen yet, or are not there */
	u64 events;		/* interrupts and exceptions while confined */
	u64 replays;		/* events that hit a gate's tail */
	u64 undone;		/* event stubs that an NMI interrupted and that were undone */
	u64 recovered;		/* interrupts recovered from the APIC */
	u64 levels;		/* this CPU's loans and ledgers: a stack */
	u64 levels_top;		/* how many are in use */
	u64 callers;		/* callers of functions: a stack */
	u64 callers_top;
};

struct bailey_event {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbx;
	u64 rax, rcx, rdx, rip, cs, rflags, rsp, ss;
	u64 vector;
	u64 handler;
	u64 stack;
	u64 kflags;
	u64 error;
	u64 event_rsp;
	u64 cr2;
	u32 pending;		/* whose handlers are to be called, a bit for each vector */
	u32 after;		/* what bailey_event_rest() says then */
};

/* What bailey_landing() says: a handler to be called, or a stack of 0. */
struct bailey_call {
	u64 stack;
	u64 handler;
};
#endif /* __ASSEMBLY__ */
#endif
