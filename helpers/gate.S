/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The gates: enter, exit, helper, and the one tail by which every way leads
 * into confinement. The order of the steps is DESIGN 9.8's; where a step may
 * be interrupted by an NMI, #DB or #MC whose frame lies in the domain, the
 * comment names the label it restarts from.
 *
 * Registers by the BPF JIT's convention (arch/x86/net/bpf_jit_comp.c):
 * R0 rax, R1 rdi, R2 rsi, R3 rdx, R4 rcx, R5 r8, R6 rbx, R7 r13, R8 r14,
 * R9 r15, R10 rbp, AX r10, scratch r11. r9 and r12 are free in the programs
 * that are isolated (no private stack, no arena, no exceptions).
 */
#include "keyreg.h"
#include <asm/processor-flags.h>

	.text

/*
 * enter(ctx, prog), called from the first instructions of an isolated program
 * on the kernel stack. Returns twice, like setjmp: first confined, with
 * AX = 0 and the context the program may see in rax; then, when the run has
 * ended, on the kernel stack with AX = 1 and the verdict in rax.
 */
SYM_CODE_START(bailey_enter)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushfq
	cmpl	$0, PROG_STATE(%rsi)
	jne	.Lrefused
	incl	PER_CPU_VAR(__preempt_count)
	movl	PER_CPU_VAR(cpu_number), %eax
	movq	PROG_FRAMES(%rsi), %rdx
	movq	(%rdx,%rax,8), %rdx
	testq	%rdx, %rdx
	jz	.Lno_frame

	/* The depth of the JITed frame: what lies between rbp and rsp at the call. */
	leaq	0x40(%rsp), %rax
	movq	%rbp, %r9
	subq	%rax, %r9
	movq	FRAME_CURSOR(%rdx), %rcx

	subq	$RUN_SAVED, %rsp
	HINT_RUN
	movq	%rsi, RUN_PROG(%rsp)
	movq	%rdi, RUN_CTX(%rsp)
	movq	%rdx, RUN_FRAME(%rsp)
	movq	%rcx, RUN_CURSOR(%rsp)
	movq	%r9, RUN_DEPTH(%rsp)
	movq	$0, RUN_WORK(%rsp)		/* and RUN_HELPERS */
	movl	RUN_SAVED(%rsp), %eax
	andl	$X86_EFLAGS_IF, %eax
	movl	%eax, RUN_IF(%rsp)
	movl	$0, RUN_ACTION(%rsp)
	movq	$0, RUN_TAIL_CALLS(%rsp)

	/* Nothing of the context is used: carve the stack here. */
	cmpl	$0, PROG_FLAGS(%rsi)
	jne	.Lcarve
	leaq	-0x40(%rcx), %r10
	movq	%r10, %r11
	subq	%r9, %r11
	leaq	-BAILEY_STACK_ROOM(%r11), %rax
	cmpq	FRAME_BOTTOM(%rdx), %rax
	jb	.Lno_room
	movq	%rax, FRAME_CURSOR(%rdx)
	movq	%r10, RUN_DOM_RBP(%rsp)
	movq	%r11, RUN_DOM_RSP(%rsp)
	xorl	%eax, %eax
.Lenter_in:
	/* rax: what the program gets as its context; rsi: prog; r11: dom_rsp */
	cli
	movq	PCPU(CPU_RUN), %rcx
	movq	%rcx, RUN_PREV(%rsp)
	movq	%rsp, PCPU(CPU_RUN)
	movq	PCPU(CPU_FRAME), %rcx
	movq	%rcx, RUN_PREV_FRAME(%rsp)
	movq	%rdx, PCPU(CPU_FRAME)
	movq	PCPU(CPU_SLOT), %rcx
	addq	$SLOT_STRIDE, %rcx
	movq	%rcx, PCPU(CPU_SLOT)
	movq	%rax, SLOT_RAX(%rcx)
	movq	%r11, SLOT_RSP(%rcx)
	incq	PCPU(CPU_RUNS)
	/* Site 0 of a program is its enter. */
	movq	PROG_SITES(%rsi), %rdx
	movq	%rdx, RUN_SITE(%rsp)
	movq	SITE_OUT(%rdx), %r11
	/* The kernel's register values are none of the program's business. */
	xorl	%ebx, %ebx
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	cmpl	$0, RUN_IF(%rsp)
	jne	.Ltail_clean
	jmp	.Lback_quiet

.Lcarve:
	movq	%rsp, %rdi
	call	bailey_carve
	cmpq	$-1, %rax
	je	.Lno_room
	movq	RUN_PROG(%rsp), %rsi
	movq	RUN_FRAME(%rsp), %rdx
	movq	RUN_DOM_RSP(%rsp), %r11
	jmp	.Lenter_in

.Lno_room:
	addq	$RUN_SAVED, %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x40
.Lno_frame:
	incq	PCPU(CPU_NO_FRAME)
	decl	PER_CPU_VAR(__preempt_count)
	jmp	.Lturned_away
.Lrefused:
	incq	PCPU(CPU_REFUSED)
.Lturned_away:
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x40
	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	xorl	%eax, %eax			/* XDP_ABORTED */
	movl	$1, %r10d
	RET

/*
 * The tail. rsp = run, IF = 0, PKRS = 0; the slot is complete; r11 is a way
 * out: a site's stub (or bailey_iret_out), whose first instruction commits the
 * key. Whatever interrupts from here to the program's first own instruction
 * restarts at bailey_replay.
 */
.Ltail_clean:
	HINT_RUN
	xorl	%edi, %edi
	xorl	%esi, %esi
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	jmp	bailey_tail
SYM_INNER_LABEL(bailey_replay, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movq	PCPU(CPU_RESTART), %r11
SYM_INNER_LABEL(bailey_tail, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movq	%r11, PCPU(CPU_RESTART)
	movl	$BAILEY_PHASE_IN, PCPU(CPU_PHASE)
	movq	PCPU(CPU_FRAME), %rdx
	IST_LANDING
	movq	RUN_DOM_RBP(%rsp), %rbp
	incq	PCPU(CPU_KEY_WRITES)
	movq	PCPU(CPU_SLOT), %rsp
	UNWIND_HINT_UNDEFINED
	KEY_TO_DOMAIN_PREPARE
	JMP_NOSPEC r11

/* The way out for events and for runs with interrupts off: all from the slot. */
SYM_INNER_LABEL(bailey_iret_out, SYM_L_GLOBAL)
	UNWIND_HINT_UNDEFINED
	ENDBR
	leaq	SLOT_IRET(%rsp), %rsp
	KEY_TO_DOMAIN_COMMIT
SYM_INNER_LABEL(bailey_iret_out_confined, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	popq	%r11
	popq	%rax
	popq	%rcx
	popq	%rdx
	iretq
SYM_INNER_LABEL(bailey_iret_out_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	int3

/*
 * exit: a jump from a confined program, verdict in rax. Never comes back.
 * Confined part: bailey_exit_gate up to the wrmsr.
 */
SYM_INNER_LABEL(bailey_exit_gate, SYM_L_GLOBAL)
	UNWIND_HINT_UNDEFINED
	ANNOTATE_NOENDBR
	movl	%eax, %r8d
SYM_INNER_LABEL(bailey_exit_w, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	cli
	KEY_TO_KERNEL
SYM_INNER_LABEL(bailey_exit_z, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movl	$BAILEY_PHASE_EXIT, PCPU(CPU_PHASE)
SYM_INNER_LABEL(bailey_exit_z_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
	movl	$BAILEY_PHASE_NONE, PCPU(CPU_PHASE)
	incq	PCPU(CPU_KEY_WRITES)
	movq	RUN_KERNEL_RBP(%rsp), %rbp
.Lend_of_run:
	/* r8d: the verdict */
	cmpl	$0, RUN_WORK(%rsp)
	jne	.Lexit_work
.Lexit_done:
	movq	RUN_FRAME(%rsp), %rdx
	movq	RUN_CURSOR(%rsp), %rax
	movq	%rax, FRAME_CURSOR(%rdx)
	movq	RUN_PREV(%rsp), %rax
	movq	%rax, PCPU(CPU_RUN)
	movq	RUN_PREV_FRAME(%rsp), %rax
	movq	%rax, PCPU(CPU_FRAME)
	subq	$SLOT_STRIDE, PCPU(CPU_SLOT)
	movq	RUN_PROG(%rsp), %rdx
	movq	PROG_STATS(%rdx), %rdx
	movl	RUN_HELPERS(%rsp), %eax
	incq	%gs:STATS_RUNS(%rdx)
	addq	%rax, %gs:STATS_HELPER_CALLS(%rdx)
	addq	%rax, PCPU(CPU_HELPER_CALLS)
	decl	PER_CPU_VAR(__preempt_count)
	movl	%r8d, %eax
	testl	$X86_EFLAGS_IF, RUN_SAVED(%rsp)
	jz	1f
	sti
1:	addq	$(RUN_SAVED + 8), %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x38
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	movl	$1, %r10d
	RET

.Lexit_work:
	HINT_RUN
	testl	$X86_EFLAGS_IF, RUN_SAVED(%rsp)
	jz	1f
	sti
1:	movq	%rsp, %rdi
	movl	%r8d, %esi
	call	bailey_exit
	cli
	movl	%eax, %r8d
	jmp	.Lexit_done

/* The run is over without its exit: rsp = run, IF = 0, PKRS = 0. */
SYM_INNER_LABEL(bailey_abort, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movl	$BAILEY_ABORT, RUN_ACTION(%rsp)
	movq	RUN_KERNEL_RBP(%rsp), %rbp
	xorl	%r8d, %r8d			/* XDP_ABORTED */
	jmp	.Lexit_work

/*
 * helper: a jump from a site's stub, which put the number of the site into
 * r9d. Arguments as the JIT left them; R3 and R4 are moved away, since rdx
 * and rcx are needed for the key.
 */
SYM_INNER_LABEL(bailey_helper_gate, SYM_L_GLOBAL)
	UNWIND_HINT_UNDEFINED
	ANNOTATE_NOENDBR
	movq	%rdx, %r10
	movq	%rcx, %r11
SYM_INNER_LABEL(bailey_helper_w, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	cli
	KEY_TO_KERNEL
SYM_INNER_LABEL(bailey_helper_z, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movl	$BAILEY_PHASE_HELPER, PCPU(CPU_PHASE)
SYM_INNER_LABEL(bailey_helper_z_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
	movl	$BAILEY_PHASE_NONE, PCPU(CPU_PHASE)
	incq	PCPU(CPU_KEY_WRITES)
	movq	RUN_KERNEL_RBP(%rsp), %rbp
	incl	RUN_HELPERS(%rsp)
	movq	RUN_PROG(%rsp), %rax
	/*
	 * Direct jumps alone lead here, so the number is one of this program's;
	 * the comparison costs one instruction and keeps it from being trusted.
	 */
	cmpl	PROG_SITE_COUNT(%rax), %r9d
	jae	bailey_abort
	shll	$SITE_SHIFT, %r9d
	addq	PROG_SITES(%rax), %r9
	movq	%r9, RUN_SITE(%rsp)
	movq	%r10, %rdx
	movq	%r11, %rcx
	cmpl	$BAILEY_SITE_SCALAR, SITE_CLASS(%r9)
	jne	.Laudited
	movq	SITE_FUNC(%r9), %rax
	cmpl	$0, RUN_IF(%rsp)
	je	1f
	sti
1:	CALL_NOSPEC rax
	cli
	movq	RUN_SITE(%rsp), %rcx
	movq	SITE_OUT(%rcx), %r11
.Lback_in:
	/* rax: R0; r11: the way out */
	movq	PCPU(CPU_SLOT), %rcx
	movq	%rax, SLOT_RAX(%rcx)
	cmpl	$0, RUN_IF(%rsp)
	jne	.Ltail_clean
.Lback_quiet:
	/* A program with interrupts off must not meet the stub's sti. */
	movq	RUN_SITE(%rsp), %rdx
	movq	%rax, SLOT_IRET + 8(%rcx)
	movq	$0, SLOT_IRET(%rcx)
	movq	SITE_RET(%rdx), %rdx
	movq	%rdx, SLOT_IRET + 0x20(%rcx)
	movq	$__KERNEL_CS, SLOT_IRET + 0x28(%rcx)
	movq	$X86_EFLAGS_FIXED, SLOT_IRET + 0x30(%rcx)
	movq	RUN_DOM_RSP(%rsp), %rdx
	movq	%rdx, SLOT_IRET + 0x38(%rcx)
	movq	$__KERNEL_DS, SLOT_IRET + 0x40(%rcx)
	leaq	bailey_iret_out(%rip), %r11
	jmp	.Ltail_clean

.Laudited:
	cmpl	$0, RUN_IF(%rsp)
	je	1f
	sti
1:	pushq	%r15
	pushq	%r14
	pushq	%r13
	pushq	%rbx
	pushq	%r8
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	HINT_RUN 0x48
	leaq	0x48(%rsp), %rdi
	movq	%rsp, %rsi
	call	bailey_helper
	addq	$0x48, %rsp
	HINT_RUN
	/* A spin lock leaves with interrupts off, its unlock with them on. */
	pushfq
	popq	%rcx
	cli
	andl	$X86_EFLAGS_IF, %ecx
	movl	%ecx, RUN_IF(%rsp)
	cmpl	$BAILEY_GO_ON, RUN_ACTION(%rsp)
	jne	.Lended
	/* Its own site, or site 0 of the program a tail call went to. */
	movq	RUN_SITE(%rsp), %rdx
	movq	SITE_OUT(%rdx), %r11
	movq	PCPU(CPU_SLOT), %rcx
	movq	RUN_DOM_RSP(%rsp), %rdx
	movq	%rdx, SLOT_RSP(%rcx)
	jmp	.Lback_in
.Lended:
	cmpl	$BAILEY_ABORT, RUN_ACTION(%rsp)
	je	bailey_abort
	movl	%eax, %r8d
	jmp	.Lend_of_run
SYM_CODE_END(bailey_enter)

/*
 * What a call site's stub is made from (src/load/stub.rs fills the holes and
 * asserts the offsets). The way in is a direct jump from the program and to
 * the gate, the way back a direct jump to the instruction after the call:
 * confined code never sees an address it could forge.
 */
	.section .rodata
	.balign 8
SYM_DATA_START(bailey_stub_template)
.Lstub:
	.byte	0x41, 0xb9			/* mov $site, %r9d */
	.long	0
	.byte	0xe9				/* jmp bailey_helper_gate */
	.long	0
.Lstub_out:
	.byte	0xf3, 0x0f, 0x1e, 0xfa		/* endbr64 */
	.byte	0x0f, 0x30			/* wrmsr: confined from here */
	.byte	0x58				/* pop %rax, from the slot */
	.byte	0x5c				/* pop %rsp, from the slot */
	.byte	0xfb				/* sti */
	.byte	0xe9				/* jmp site */
	.long	0
.Lstub_end:
SYM_DATA_END(bailey_stub_template)
	.globl bailey_stub_out_offset, bailey_stub_size
SYM_DATA(bailey_stub_out_offset, .long .Lstub_out - .Lstub)
SYM_DATA(bailey_stub_size, .long .Lstub_end - .Lstub)
