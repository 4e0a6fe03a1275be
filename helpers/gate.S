/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The gates: enter, exit, helper, and the one tail by which every way leads
 * into confinement. The order of the steps is DESIGN 9.8's; where a step may
 * be interrupted by an NMI, #DB or #MC whose frame lies in the domain, the
 * comment names the label it restarts from.
 *
 * Registers by the BPF JIT's convention (arch/x86/net/bpf_jit_comp.c):
 * R0 rax, R1 rdi, R2 rsi, R3 rdx, R4 rcx, R5 r8, R6 rbx, R7 r13, R8 r14,
 * R9 r15, R10 rbp, AX r10, scratch r11. r9 and r12 are not named by the
 * programs that are isolated (no private stack, no exceptions): r9 is the gates', r12
 * stays the kernel's, or holds the base of the program's arena, as its prologue has set
 * it, or the count of may_goto.
 */
#include "keyreg.h"
#include <asm/ibt.h>
#include <asm/processor-flags.h>

	.text

/*
 * From a complete slot to the program: what every way in ends with. rdx = frame,
 * rsp = run, the frame pointer is the program's.
 */
.macro INTO_DOMAIN
	movl	$BAILEY_PHASE_IN, PCPU(CPU_PHASE)
	UNWIND_HINT_UNDEFINED
	IST_LANDING
	movq	PCPU(CPU_SLOT), %rsp
	incq	PCPU(CPU_ENTRIES)
	KEY_TO_DOMAIN_PREPARE
	/*
	 * The slot is the stack now, and has the way out. A jump, not a return, though
	 * that would need no ENDBR there: the CPU would take it for the return of enter's
	 * call, or of somebody's further up, and guess each one wrong from there on. No
	 * retpoline: it would write to the slot, and CPUs with PKS have enhanced IBRS.
	 */
	ANNOTATE_RETPOLINE_SAFE
	jmp	*SLOT_OUT(%rsp)
.endm

/*
 * The run is counted, is this CPU's innermost one, and has the next slot. rsp = run,
 * rsi: its image. Leaves the slot in rcx, and interrupts off.
 */
.macro BEGIN_RUN
	movq	PROG_RUNS(%rsi), %rcx
	incq	%gs:(%rcx)
	cli
	movq	%rsp, PCPU(CPU_RUN)
	addq	$SLOT_STRIDE, PCPU(CPU_SLOT)
	movq	PCPU(CPU_SLOT), %rcx
.endm

/*
 * enter(ctx, prog), called from the first instructions of an isolated program
 * on the kernel stack. Returns twice, like setjmp: first confined, with
 * AX = 0 and the context the program may see in rax; then, when the run has
 * ended, on the kernel stack with AX = 1 and the verdict in rax.
 *
 * Of the registers that a function keeps for its caller the program's own first
 * and last instructions save those that the image names (src/pure/image/shape.rs); the
 * others nothing in it can read or write. Where a run may come into other images
 * a gate that saves them all is in front of this one (below).
 */
SYM_CODE_START(bailey_enter)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	pushq	%rbp
	pushfq
	pushfq
	incl	PER_CPU_VAR(__preempt_count)
	movl	PCPU(CPU_INDEX), %r8d		/* rax: RUN_COUNT, of a program with tail calls */
	movq	PROG_FRAMES(%rsi), %rdx
	movq	(%rdx,%r8,8), %rdx
	testq	%rdx, %rdx
	jz	.Lfirst_frame
.Lframe:
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x20
	subq	$(RUN_FLAGS - RUN_PROG), %rsp
	pushq	FRAME_CURSOR(%rdx)		/* RUN_CURSOR */
	pushq	PCPU(CPU_RUN)			/* RUN_PREV */
	HINT_RUN
	movq	%rsi, RUN_PROG(%rsp)
	movq	%rdi, RUN_CTX(%rsp)
	movq	%rdx, RUN_FRAME(%rsp)
	movq	$0, RUN_ACTION(%rsp)		/* and the work */

	/* It may run (state 0) and uses nothing of the context: carve the stack here. */
	cmpq	$0, PROG_STATE(%rsi)
	jne	.Lspecial
	movq	RUN_CURSOR(%rsp), %rbp
	movq	%rbp, RUN_DOM_RBP(%rsp)
	movq	%rbp, %rax
	subq	PROG_DEPTH(%rsi), %rax
	movq	%rax, RUN_DOM_RSP(%rsp)
	leaq	-BAILEY_STACK_ROOM(%rax), %rcx
	cmpq	FRAME_BOTTOM(%rdx), %rcx
	jb	.Lno_room
	movq	%rcx, FRAME_CURSOR(%rdx)
	BEGIN_RUN
	/* Its stub takes nothing but the way out from there; its first helper's the rsp. */
	movq	%rax, SLOT_RSP(%rcx)
	movq	PROG_ENTER_OUT(%rsi), %r11
	movq	%r11, SLOT_OUT(%rcx)
	/* What is left in r8 and rax, the CPU's number and its stack, the program may know. */
	xorl	%edi, %edi
	xorl	%esi, %esi
	xorl	%r10d, %r10d			/* AX: enter returns for the first time */
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	.Lenter_quiet
	/* As at bailey_replay, from where this restarts, with what that loads loaded. */
	INTO_DOMAIN

/*
 * The tail. rsp = run, IF = 0, PKRS = 0; rax: R0; r11: a way out, a site's stub
 * (or bailey_iret_out), whose first instruction commits the key. Whatever
 * interrupts from here to the program's first own instruction restarts at
 * bailey_replay: by then the slot is complete.
 */
.Ltail_clean:
	HINT_RUN
	xorl	%edi, %edi
	xorl	%esi, %esi
	xorl	%r8d, %r8d
SYM_INNER_LABEL(bailey_tail, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movq	PCPU(CPU_SLOT), %rcx
	movq	%r11, SLOT_OUT(%rcx)
	movq	%rax, SLOT_RAX(%rcx)
SYM_INNER_LABEL(bailey_replay, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movq	RUN_FRAME(%rsp), %rdx
	movq	RUN_DOM_RBP(%rsp), %rbp
	INTO_DOMAIN

/*
 * The way out for events and for runs with interrupts off: all from the slot, which
 * is the stack.
 */
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

.macro CLEAR_NAMED name, reg
	testl	$\name, PROG_NAMES(%rdx)
	jz	.Lnot_named\@
	xorl	\reg, \reg
.Lnot_named\@:
.endm

/* Site 0 of a program is its enter, whose stub is passed over. */
.Lenter_quiet:
	HINT_RUN
	movq	RUN_PROG(%rsp), %rdx
	CLEAR_NAMED BAILEY_NAMES_BX, %ebx
	CLEAR_NAMED BAILEY_NAMES_R13, %r13d
	CLEAR_NAMED BAILEY_NAMES_R14, %r14d
	CLEAR_NAMED BAILEY_NAMES_R15, %r15d
	movq	PROG_SITES(%rdx), %rdx
/* A program with interrupts off must not meet a stub's sti. rdx: the site. */
.Lquiet:
	HINT_RUN
	movq	PCPU(CPU_SLOT), %rcx
	movq	$0, SLOT_IRET(%rcx)
	movq	%rax, SLOT_IRET + 8(%rcx)
	movq	SITE_RET(%rdx), %rdx
	movq	%rdx, SLOT_IRET + 0x20(%rcx)
	movq	$__KERNEL_CS, SLOT_IRET + 0x28(%rcx)
	movq	$X86_EFLAGS_FIXED, SLOT_IRET + 0x30(%rcx)
	movq	RUN_DOM_RSP(%rsp), %rdx
	movq	%rdx, SLOT_IRET + 0x38(%rcx)
	movq	$__KERNEL_DS, SLOT_IRET + 0x40(%rcx)
	leaq	bailey_iret_out(%rip), %r11
	jmp	.Ltail_clean

.Lspecial:
	HINT_RUN
	cmpl	$0, PROG_STATE(%rsi)
	jne	.Lrefused
	movq	%rax, RUN_COUNT(%rsp)
	movq	%rsp, %rdi
	call	bailey_carve
	cmpq	$-1, %rax
	je	.Lno_room
	movq	RUN_PROG(%rsp), %rsi
	BEGIN_RUN
	movq	%rax, SLOT_RAX(%rcx)
	movq	RUN_DOM_RSP(%rsp), %rdx
	movq	%rdx, SLOT_RSP(%rcx)
	movq	PROG_ENTER_OUT(%rsi), %r11
	movq	%r11, SLOT_OUT(%rcx)
	xorl	%edi, %edi
	xorl	%esi, %esi
	xorl	%r8d, %r8d
	xorl	%r10d, %r10d
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	.Lenter_quiet
	jmp	bailey_replay

.Lno_room:
	HINT_RUN
	incq	PCPU(CPU_NO_FRAME)
	jmp	.Lturned_away
/* The domain's first run on this CPU. */
.Lfirst_frame:
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x20
	subq	$RUN_FLAGS, %rsp
	HINT_RUN
	movq	%rsi, RUN_PROG(%rsp)
	movq	%rdi, RUN_CTX(%rsp)
	movq	%rax, RUN_COUNT(%rsp)
	movq	%rsi, %rdi
	call	bailey_first_frame
	movq	%rax, %rdx
	movq	RUN_PROG(%rsp), %rsi
	movq	RUN_CTX(%rsp), %rdi
	movq	RUN_COUNT(%rsp), %rax
	movl	PCPU(CPU_INDEX), %r8d
	testq	%rdx, %rdx
	jz	.Lno_room
	addq	$RUN_FLAGS, %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x20
	jmp	.Lframe
.Lrefused:
	HINT_RUN
	incq	PCPU(CPU_REFUSED)
.Lturned_away:
	HINT_RUN
	xorl	%eax, %eax			/* XDP_ABORTED */
.Lturned_away_with:
	HINT_RUN
	decl	PER_CPU_VAR(__preempt_count)
	addq	$RUN_KERNEL_RBP, %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x10
	popq	%rbp
	movl	$1, %r10d
	RET

/*
 * enter_function(R1 to R5; the image in rax), called from the first
 * instructions of a function of an isolated program: the kernel calls it back,
 * or another part of the program calls it through the helper gate. Like enter,
 * but the run is nested in one of the same program and shares what that has,
 * and the registers R1 to R5 are arguments. Behind a gate that saves the others
 * (below).
 */
SYM_INNER_LABEL(bailey_enter_inside, SYM_L_GLOBAL)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	pushq	%rbp
	pushfq
	pushfq
	incl	PER_CPU_VAR(__preempt_count)
	subq	$RUN_FLAGS, %rsp
	HINT_RUN
	movq	%rax, RUN_PROG(%rsp)
	pushq	%r8
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	HINT_RUN 0x28
	leaq	0x28(%rsp), %rdi
	movq	%rsp, %rsi
	call	bailey_function
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%r8
	HINT_RUN
	/* Turned away: 1 ends any loop of callbacks. */
	testl	%eax, %eax
	jnz	.Lturned_away_with
	movq	RUN_PROG(%rsp), %rax
	movq	PROG_RUNS(%rax), %rax
	incq	%gs:(%rax)
	cli
	movq	PCPU(CPU_RUN), %rax
	movq	%rax, RUN_PREV(%rsp)
	movq	%rsp, PCPU(CPU_RUN)
	movq	PCPU(CPU_SLOT), %rax
	addq	$SLOT_STRIDE, %rax		/* bailey_function has seen that there is one more */
	movq	%rax, PCPU(CPU_SLOT)
	/* Only the image for iret holds all arguments. */
	movq	$0, SLOT_IRET(%rax)
	movq	$0, SLOT_IRET + 8(%rax)
	movq	%rcx, SLOT_IRET + 0x10(%rax)
	movq	%rdx, SLOT_IRET + 0x18(%rax)
	movq	RUN_PROG(%rsp), %rdx
	movq	PROG_SITES(%rdx), %rdx
	movq	SITE_RET(%rdx), %rdx
	movq	%rdx, SLOT_IRET + 0x20(%rax)
	movq	$__KERNEL_CS, SLOT_IRET + 0x28(%rax)
	movq	RUN_FLAGS(%rsp), %rdx
	andl	$X86_EFLAGS_IF, %edx
	orl	$X86_EFLAGS_FIXED, %edx
	movq	%rdx, SLOT_IRET + 0x30(%rax)
	movq	RUN_DOM_RSP(%rsp), %rdx
	movq	%rdx, SLOT_IRET + 0x38(%rax)
	movq	%rdx, SLOT_RSP(%rax)		/* for its first scalar helper's way in */
	movq	$__KERNEL_DS, SLOT_IRET + 0x40(%rax)
	jmp	.Linto_function

/*
 * exit: a jump from a confined program, verdict in rax. Never comes back.
 * Confined part: bailey_exit_gate up to the wrmsr.
 */
SYM_INNER_LABEL(bailey_exit_gate, SYM_L_GLOBAL)
	UNWIND_HINT_UNDEFINED
	ANNOTATE_NOENDBR
	movq	%rax, %r8
SYM_INNER_LABEL(bailey_exit_w, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	cli
	KEY_TO_KERNEL
SYM_INNER_LABEL(bailey_exit_z, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movl	$BAILEY_PHASE_EXIT, PCPU(CPU_PHASE)
SYM_INNER_LABEL(bailey_exit_z_end, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	ROOT_TO_KERNEL
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
.Lend_of_run:
	HINT_RUN
	/* r8: the verdict, or what a function returns */
	cmpl	$0, RUN_WORK(%rsp)
	jne	.Lexit_work
.Lexit_done:
	HINT_RUN
	popq	PCPU(CPU_RUN)			/* RUN_PREV */
	HINT_RUN -8
	movq	(RUN_FRAME - 8)(%rsp), %rdx
	popq	FRAME_CURSOR(%rdx)		/* RUN_CURSOR */
	HINT_RUN -RUN_PROG
	subq	$SLOT_STRIDE, PCPU(CPU_SLOT)
	decl	PER_CPU_VAR(__preempt_count)
	movq	%r8, %rax
	testl	$X86_EFLAGS_IF, (RUN_SAVED - RUN_PROG)(%rsp)
	jz	1f
	sti
1:	addq	$(RUN_KERNEL_RBP - RUN_PROG), %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x10
	popq	%rbp
	movl	$1, %r10d
	RET

.Lexit_work:
	HINT_RUN
	movq	RUN_KERNEL_RBP(%rsp), %rbp
	/* Off while a spin lock is held: nothing may wait for it before it is given back. */
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	1f
	sti
1:	movq	%rsp, %rdi
	movq	%r8, %rsi
	call	bailey_exit
	cli
	cmpl	$BAILEY_RETURN, RUN_ACTION(%rsp)
	je	.Lreturned
	movq	%rax, %r8
	jmp	.Lexit_done

/* A function that was called in this run has ended; rax: what it returns. */
.Lreturned:
	HINT_RUN
	movl	$BAILEY_GO_ON, RUN_ACTION(%rsp)
	movq	PCPU(CPU_SLOT), %rcx
	movq	SLOT_REGS(%rcx), %rbx
	movq	SLOT_REGS + 8(%rcx), %r13
	movq	SLOT_REGS + 0x10(%rcx), %r14
	movq	SLOT_REGS + 0x18(%rcx), %r15
	jmp	.Lgo_on

/* The run is over without its exit: rsp = run, IF = 0, PKRS = 0. */
SYM_INNER_LABEL(bailey_abort, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	movl	$BAILEY_ABORT, RUN_ACTION(%rsp)
	xorl	%r8d, %r8d			/* XDP_ABORTED */
	jmp	.Lexit_work

/*
 * helper: a jump from a site's stub, which put the offset of the site in its
 * table into r9d. Arguments as the JIT left them; R3 and R4 are moved away,
 * since rdx and rcx are needed for the key.
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
	ROOT_TO_KERNEL
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
	movq	%rbp, RUN_DOM_RBP(%rsp)
	movq	RUN_KERNEL_RBP(%rsp), %rbp
	movq	RUN_PROG(%rsp), %rax
	/*
	 * Direct jumps alone lead here with a site's offset; but an event's
	 * frame, which is hostile, can resume a program at this gate with what
	 * is left in r9. Whoever does so has seen to it that it is a multiple
	 * of a site's size (src/event/frame.rs, .Llanded in event.S), with
	 * nothing in its upper half.
	 */
	cmpl	PROG_SITE_BYTES(%rax), %r9d
	jae	.Lbad_site
	addq	PROG_SITES(%rax), %r9
	movq	%r10, %rdx
	movq	%r11, %rcx
	movq	SITE_CALLS(%r9), %rax
	incq	%gs:(%rax)
	/* Numbers alone with interrupts off go the long way, too: one test for both. */
	movl	SITE_CLASS(%r9), %eax
	testl	%eax, RUN_FLAGS(%rsp)
	jz	.Lno_scalar
.Lscalar:
	HINT_RUN
	movq	SITE_FUNC(%r9), %rax
	sti
	pushq	SITE_OUT(%r9)
	HINT_RUN 8
	CALL_NOSPEC rax
	popq	%r11
	HINT_RUN
	cli
	jmp	.Ltail_clean

.Lbad_site:
	HINT_RUN
	jmp	bailey_abort

/* With a map, whatever the program says it is; or with nothing behind it. */
.Lwith_map:
	HINT_RUN
	movq	SITE_MAP(%r9), %rax
	testq	%rax, %rax
	cmovneq	%rax, %rdi
	cmpl	$BAILEY_SITE_LAST, SITE_CLASS(%r9)
	je	.Llast
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jnz	.Lscalar
	jmp	.Laudited
.Llast:
	HINT_RUN
	movq	SITE_FUNC(%r9), %rax
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	1f
	sti
1:	CALL_NOSPEC rax
	cli
	movq	%rax, %r8
	jmp	.Lend_of_run

.Lno_scalar:
	HINT_RUN
	testl	$BAILEY_SITE_MAP, %eax
	jnz	.Lwith_map
.Laudited:
	HINT_RUN
	movq	%r9, RUN_SITE(%rsp)
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	1f
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
	movq	%rcx, RUN_FLAGS(%rsp)
	cmpl	$BAILEY_GO_ON, RUN_ACTION(%rsp)
	jne	.Lended
.Lgo_on:
	HINT_RUN
	/* Its own site, or site 0 of the program a tail call went to. */
	movq	RUN_SITE(%rsp), %rdx
	movq	SITE_OUT(%rdx), %r11
	movq	PCPU(CPU_SLOT), %rcx
	movq	RUN_DOM_RSP(%rsp), %rsi
	movq	%rsi, SLOT_RSP(%rcx)
	xorl	%r10d, %r10d			/* AX, for a tail call's target */
	testl	$X86_EFLAGS_IF, RUN_FLAGS(%rsp)
	jz	.Lquiet
	jmp	.Ltail_clean
.Lended:
	cmpl	$BAILEY_ABORT, RUN_ACTION(%rsp)
	je	.Lbad_site
	cmpl	$BAILEY_CALL, RUN_ACTION(%rsp)
	je	.Lcall
	cmpl	$BAILEY_AFRESH, RUN_ACTION(%rsp)
	je	.Lafresh
	/* Behind calls that were made in one: what was moved between them is in the slot. */
	cmpl	$BAILEY_RETURN, RUN_ACTION(%rsp)
	je	.Lreturned
	movq	%rax, %r8
	cmpl	$BAILEY_LEAVE, RUN_ACTION(%rsp)
	jne	.Lend_of_run

/*
 * A tail call to a program that is not isolated. The run ends as at .Lexit_done,
 * without work, and what enter returns for the second time is the verdict of that
 * program, which gets the real context and the chain's count. r8: where it goes on.
 */
	popq	PCPU(CPU_RUN)
	HINT_RUN -8
	movq	(RUN_FRAME - 8)(%rsp), %rdx
	popq	FRAME_CURSOR(%rdx)
	HINT_RUN -RUN_PROG
	subq	$SLOT_STRIDE, PCPU(CPU_SLOT)
	decl	PER_CPU_VAR(__preempt_count)
	movq	(RUN_CTX - RUN_PROG)(%rsp), %rdi
	movq	%r8, %rsi
	movq	(RUN_COUNT - RUN_PROG)(%rsp), %rdx
	testl	$X86_EFLAGS_IF, (RUN_SAVED - RUN_PROG)(%rsp)
	jz	1f
	sti
1:	addq	$(RUN_KERNEL_RBP - RUN_PROG), %rsp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x10
	popq	%rbp
	UNWIND_HINT_FUNC
	call	bailey_run_tail
	movl	$1, %r10d
	RET

/* In another program, in this run, whose r12 is that of an arena or of a may_goto. */
.Lafresh:
	HINT_RUN
	movl	$BAILEY_GO_ON, RUN_ACTION(%rsp)
	movq	RUN_PROG(%rsp), %rdx
	movq	PROG_ARENA(%rdx), %r12
	testq	%r12, %r12
	jnz	.Lgo_on
	movl	$BAILEY_LOOPS, %r12d
	jmp	.Lgo_on

/* Into a function, in this run: bailey_helper() has filled the slot. */
.Lcall:
	HINT_RUN
	movl	$BAILEY_GO_ON, RUN_ACTION(%rsp)
	movq	PCPU(CPU_SLOT), %rcx
	movq	SLOT_REGS(%rcx), %rdi
	movq	SLOT_REGS + 8(%rcx), %rsi
	movq	SLOT_REGS + 0x10(%rcx), %r8
	xorl	%eax, %eax
.Linto_function:
	HINT_RUN
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d			/* AX: it has only begun */
	leaq	bailey_iret_out(%rip), %r11
	jmp	bailey_tail
SYM_CODE_END(bailey_enter)

/*
 * enter where the run may come into other images than the one that it begins in,
 * by a tail call or as a function: what that one saves is not all that they name.
 * enter_function always.
 *
 * With `loops` the image has a may_goto. In confinement r12 is its count, which
 * only a stub of the site and the kernel change: no program names the register.
 * What they keep lies right above the run's record (struct bailey_loops), and is
 * how such a run is known (src/run/loops.rs). With `arena` r12 is the arena's base,
 * and the count lies where the verifier has put it, on the program's stack.
 */
.macro ENTER_SAVES name, gate, loops=0, arena=0
SYM_FUNC_START(\name)
	ANNOTATE_NOENDBR
	pushq	%rbx
	pushq	%r13
	pushq	%r14
	pushq	%r15
	.if \loops
	pushq	%r12
	pushq	$0
	pushq	$0
	.if !\arena
	movl	$BAILEY_LOOPS, %r12d
	.endif
	.endif
	/* The kernel's register values are none of the program's business. */
	xorl	%ebx, %ebx
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	call	\gate
SYM_INNER_LABEL(\name\()_return, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	.if \loops
	addq	$16, %rsp
	popq	%r12
	.endif
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%rbx
	RET
SYM_FUNC_END(\name)
.endm

	ENTER_SAVES bailey_enter_saves, bailey_enter
	ENTER_SAVES bailey_enter_function, bailey_enter_inside
	ENTER_SAVES bailey_enter_loops, bailey_enter, 1
	ENTER_SAVES bailey_enter_function_loops, bailey_enter_inside, 1
	ENTER_SAVES bailey_enter_arena_loops, bailey_enter, 1, 1
	ENTER_SAVES bailey_enter_function_arena_loops, bailey_enter_inside, 1, 1

/*
 * What a call site's stub is made from (src/load/stub.rs fills the holes and
 * asserts the offsets; enter's is made there). The way in is a direct jump from the program and to
 * the gate, the way back a direct jump to the instruction after the call:
 * confined code never sees an address it could forge.
 */
	.section .rodata
	.balign 8
SYM_DATA_START(bailey_stub_template)
.Lstub:
	.byte	0x41, 0xb9			/* mov $offset, %r9d */
	.long	0
	.byte	0xe9				/* jmp bailey_helper_gate */
	.long	0
.Lstub_out:
	.byte	0xf3, 0x0f, 0x1e, 0xfa		/* endbr64: bailey_replay jumps here */
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
