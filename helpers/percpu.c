// SPDX-License-Identifier: GPL-2.0
/*
 * The per-CPU words of the gates, and the assertions that the layout which
 * assembly and Rust use is the compiler's. C because DEFINE_PER_CPU is a macro.
 */
#include <linux/percpu.h>
#include <linux/bpf.h>
#include <asm/processor.h>
#include "layout.h"

DEFINE_PER_CPU_ALIGNED(struct bailey_cpu, bailey_cpu);

#define IS_AT(type, member, at) \
	static_assert(offsetof(struct bailey_##type, member) == (at))

IS_AT(cpu, phase, CPU_PHASE);
IS_AT(cpu, index, CPU_INDEX);
IS_AT(cpu, run, CPU_RUN);
IS_AT(cpu, slot, CPU_SLOT);
IS_AT(cpu, event_rsp, CPU_EVENT_RSP);
IS_AT(cpu, event_vector, CPU_EVENT_VECTOR);
IS_AT(cpu, ist, CPU_IST);
IS_AT(cpu, entries, CPU_ENTRIES);
IS_AT(cpu, refused, CPU_REFUSED);
IS_AT(cpu, no_frame, CPU_NO_FRAME);
IS_AT(cpu, landings, CPU_LANDINGS);
IS_AT(cpu, restart, CPU_RESTART);
IS_AT(cpu, kernel_cr3, CPU_KERNEL_CR3);
IS_AT(cpu, tss_ist, CPU_TSS_IST);
IS_AT(cpu, landed, CPU_LANDED);
IS_AT(cpu, landed_first, CPU_LANDED_FIRST);
IS_AT(cpu, landed_rbp, CPU_LANDED_RBP);

IS_AT(frame, landing, FRAME_LANDING);
IS_AT(frame, cursor, FRAME_CURSOR);
IS_AT(frame, bottom, FRAME_BOTTOM);
IS_AT(frame, pkrs, FRAME_PKRS);
IS_AT(frame, root, FRAME_ROOT);

IS_AT(prog, state, PROG_STATE);
IS_AT(prog, flags, PROG_FLAGS);
IS_AT(prog, frames, PROG_FRAMES);
IS_AT(prog, sites, PROG_SITES);
IS_AT(prog, site_bytes, PROG_SITE_BYTES);
IS_AT(prog, names, PROG_NAMES);
IS_AT(prog, depth, PROG_DEPTH);
IS_AT(prog, runs, PROG_RUNS);
IS_AT(prog, enter_out, PROG_ENTER_OUT);
IS_AT(prog, arena, PROG_ARENA);
static_assert(PROG_FLAGS == PROG_STATE + 4);

IS_AT(site, func, SITE_FUNC);
IS_AT(site, out, SITE_OUT);
IS_AT(site, class, SITE_CLASS);
IS_AT(site, ret, SITE_RET);
IS_AT(site, calls, SITE_CALLS);
IS_AT(site, map, SITE_MAP);
static_assert(sizeof(struct bailey_site) == 1 << SITE_SHIFT);
static_assert(BAILEY_SITE_SCALAR == X86_EFLAGS_IF && BAILEY_SITE_AUDITED == 0);
/* One bit tells those two that the gate tries next. */
static_assert((BAILEY_SITE_LAST & BAILEY_SITE_MAP) && !(BAILEY_SITE_SCALAR & BAILEY_SITE_MAP));
/* Above all flags there are (SDM volume 1, 3.4.3). */
static_assert(!(BAILEY_SITE_LAST & (2 * X86_EFLAGS_ID - 1)));

IS_AT(run, prog, RUN_PROG);
IS_AT(run, ctx, RUN_CTX);
IS_AT(run, dom_rsp, RUN_DOM_RSP);
IS_AT(run, dom_rbp, RUN_DOM_RBP);
IS_AT(run, prev, RUN_PREV);
IS_AT(run, frame, RUN_FRAME);
IS_AT(run, cursor, RUN_CURSOR);
IS_AT(run, site, RUN_SITE);
IS_AT(run, action, RUN_ACTION);
IS_AT(run, count, RUN_COUNT);
/* The slot is the stack from which a stub pops. */
static_assert(SLOT_RAX == 0 && SLOT_RSP == 8);
static_assert(SLOT_IRET + 9 * 8 == SLOT_REGS && SLOT_REGS + 4 * 8 == SLOT_STRIDE);
IS_AT(run, flags, RUN_FLAGS);
IS_AT(run, work, RUN_WORK);
static_assert(RUN_WORK == RUN_ACTION + 4);
IS_AT(run, shadow, RUN_SHADOW);
IS_AT(run, saved, RUN_SAVED);
IS_AT(run, saved[1], RUN_KERNEL_RBP);
IS_AT(run, ret, RUN_SIZE);

IS_AT(event, r11, EVENT_R11);
IS_AT(event, rax, EVENT_IRET);
IS_AT(event, vector, EVENT_VECTOR);
IS_AT(event, handler, EVENT_HANDLER);
IS_AT(event, stack, EVENT_STACK);
IS_AT(event, kflags, EVENT_KFLAGS);
IS_AT(event, event_rsp, EVENT_RSP);
IS_AT(event, cr2, EVENT_CR2);
static_assert(sizeof(struct bailey_event) == EVENT_SIZE);

static_assert(offsetof(struct tss_struct, x86_tss.ist) == BAILEY_TSS_IST);
static_assert(IST_INDEX_DF == 0 && IST_INDEX_NMI == 1 && IST_INDEX_DB == 2 && IST_INDEX_MCE == 3);
static_assert(SLOT_LEVELS * SLOT_STRIDE <= PAGE_SIZE && 1 << SLOT_SHIFT == SLOT_STRIDE);

/* This CPU's words; the caller keeps itself from migrating. */
struct bailey_cpu *bailey_this_cpu(void);
struct bailey_cpu *bailey_this_cpu(void)
{
	return raw_cpu_ptr(&bailey_cpu);
}

struct bailey_cpu *bailey_cpu_of(unsigned int cpu);
struct bailey_cpu *bailey_cpu_of(unsigned int cpu)
{
	return per_cpu_ptr(&bailey_cpu, cpu);
}
