/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Event stubs: what the IDT points at while programs are isolated.
 *
 * A frame outside the region was pushed by a CPU that was not confined (while
 * confined nothing else is writable, and the push itself obeys the keys), so
 * one comparison of rsp decides, reads nothing and costs five instructions.
 * A frame in the region is hostile (DESIGN 9.8): it was pushed where every CPU
 * of the domain can write.
 */
#include "keyreg.h"
#include <asm/processor-flags.h>

/* What the kernel's handler may not have kept, from struct bailey_event. */
.macro RESTORE_REGS
	movq	0x00(%rsp), %r15
	movq	0x08(%rsp), %r14
	movq	0x10(%rsp), %r13
	movq	0x18(%rsp), %r12
	movq	0x28(%rsp), %r10
	movq	0x30(%rsp), %r9
	movq	0x38(%rsp), %r8
	movq	0x40(%rsp), %rdi
	movq	0x48(%rsp), %rsi
	movq	0x50(%rsp), %rbx
.endm

	.section .rodata
	.balign 8
/*
 * One for each vector, with its holes filled by src/event/stubs.rs. Only one
 * word may be pushed before the decision: below the second the kernel keeps
 * its "NMI executing" word (arch/x86/entry/entry_64.S, asm_exc_nmi).
 */
SYM_DATA_START(bailey_event_template)
.Levent:
	.byte	0xf3, 0x0f, 0x1e, 0xfa		/* endbr64 */
	.byte	0x50				/* push %rax */
.Levent_pushed:
	.byte	0x48, 0x89, 0xe0		/* mov %rsp, %rax */
	.byte	0x48, 0xc1, 0xe8, 0		/* shr $shift, %rax */
.Levent_shift:
	.byte	0x3d				/* cmp $region, %eax */
	.long	0
.Levent_region:
	.byte	0x74, 0x06			/* je 1f */
	.byte	0x58				/* pop %rax */
	.byte	0xe9				/* jmp the kernel's entry */
	.long	0
.Levent_kernel:
	.byte	0x55				/* 1: push %rbp */
.Levent_pushed_rbp:
	.byte	0xbd				/* mov $vector, %ebp */
	.long	0
.Levent_vector:
	.byte	0xe9				/* jmp bailey_event_entry */
	.long	0
.Levent_end:
SYM_DATA_END(bailey_event_template)
	.balign 4
	.globl bailey_event_offsets
SYM_DATA_START(bailey_event_offsets)
	.long	.Levent_end - .Levent, .Levent_pushed - .Levent
	.long	.Levent_shift - .Levent - 1, .Levent_region - .Levent - 4
	.long	.Levent_kernel - .Levent - 4, .Levent_vector - .Levent - 4
	.long	.Levent_end - .Levent - 4, .Levent_pushed_rbp - .Levent
SYM_DATA_END(bailey_event_offsets)

	.text
/* From a stub: rsp in the region; pushed: rax, rbp; ebp: the vector. */
SYM_CODE_START(bailey_event_entry)
	UNWIND_HINT_UNDEFINED
	ANNOTATE_NOENDBR
	pushq	%rcx
SYM_INNER_LABEL(bailey_event_pushed_rcx, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	pushq	%rdx
SYM_INNER_LABEL(bailey_event_pushed_rdx, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	KEY_READ
	testl	%eax, %eax
	jz	.Llanded
	KEY_TO_KERNEL
SYM_INNER_LABEL(bailey_event_z, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	movq	%rsp, PCPU(CPU_EVENT_RSP)
	movq	%rbp, PCPU(CPU_EVENT_VECTOR)
	movl	$BAILEY_PHASE_EVENT, PCPU(CPU_PHASE)
SYM_INNER_LABEL(bailey_event_again, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	ROOT_TO_KERNEL
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
	cld
	clac
	subq	$EVENT_SIZE, %rsp
	HINT_RUN EVENT_SIZE
	movq	%r15, 0x00(%rsp)
	movq	%r14, 0x08(%rsp)
	movq	%r13, 0x10(%rsp)
	movq	%r12, 0x18(%rsp)
	movq	%r11, 0x20(%rsp)
	movq	%r10, 0x28(%rsp)
	movq	%r9, 0x30(%rsp)
	movq	%r8, 0x38(%rsp)
	movq	%rdi, 0x40(%rsp)
	movq	%rsi, 0x48(%rsp)
	movq	%rbx, 0x50(%rsp)
	movq	%cr2, %rax
	movq	%rax, EVENT_CR2(%rsp)
	movq	PCPU(CPU_EVENT_RSP), %rax
	movq	%rax, EVENT_RSP(%rsp)
	movq	PCPU(CPU_EVENT_VECTOR), %rax
	movq	%rax, EVENT_VECTOR(%rsp)
	movq	(RUN_KERNEL_RBP + EVENT_SIZE)(%rsp), %rbp
	movq	%rsp, %rdi
	leaq	EVENT_SIZE(%rsp), %rsi
	call	bailey_event
.Loutcome:
	HINT_RUN EVENT_SIZE
	cmpl	$BAILEY_EVENT_RESUME, %eax
	je	.Lresume
	cmpl	$BAILEY_EVENT_ABORT, %eax
	je	.Labort
	leaq	bailey_event_return(%rip), %rcx
	cmpl	$BAILEY_EVENT_KERNEL, %eax
	je	1f
	leaq	bailey_event_replay(%rip), %rcx
	cmpl	$BAILEY_EVENT_REPLAY, %eax
	je	1f
	leaq	bailey_event_next(%rip), %rcx
1:
	/* The frame that the CPU would have pushed, had it not been confined. */
	movq	%rsp, %rdx
	movq	EVENT_STACK(%rsp), %rax
	testq	%rax, %rax
	cmovzq	%rsp, %rax
	andq	$-16, %rax
	movq	EVENT_KFLAGS(%rsp), %rsi
	movq	EVENT_HANDLER(%rsp), %rdi
	movq	%rax, %rsp
	UNWIND_HINT_UNDEFINED
	pushq	$__KERNEL_DS
	pushq	%rdx
	pushq	%rsi
	pushq	$__KERNEL_CS
	pushq	%rcx
	JMP_NOSPEC rdi

.Labort:
	HINT_RUN EVENT_SIZE
	addq	$EVENT_SIZE, %rsp
	HINT_RUN
	jmp	bailey_abort

/* The kernel's handler returns here; another one is to be called, or the run ends. */
SYM_INNER_LABEL(bailey_event_next, SYM_L_GLOBAL)
	HINT_RUN EVENT_SIZE
	ANNOTATE_NOENDBR
	cli
	movq	%rsp, %rdi
	call	bailey_event_rest
	jmp	.Loutcome

/* The kernel's handler returns here; an interrupt may arrive before the cli. */
SYM_INNER_LABEL(bailey_event_replay, SYM_L_GLOBAL)
	HINT_RUN EVENT_SIZE
	ANNOTATE_NOENDBR
	cli
	RESTORE_REGS
	addq	$EVENT_SIZE, %rsp
	HINT_RUN
	jmp	bailey_replay

SYM_INNER_LABEL(bailey_event_return, SYM_L_GLOBAL)
	HINT_RUN EVENT_SIZE
	ANNOTATE_NOENDBR
	cli
.Lresume:
	HINT_RUN EVENT_SIZE
	movq	PCPU(CPU_SLOT), %rdi
	movq	EVENT_R11(%rsp), %rax
	movq	%rax, SLOT_IRET(%rdi)
	.set	word, 0
	.rept	EVENT_IRET_WORDS
	movq	EVENT_IRET + 8 * word(%rsp), %rax
	movq	%rax, SLOT_IRET + 8 + 8 * word(%rdi)
	.set	word, word + 1
	.endr
	RESTORE_REGS
	addq	$EVENT_SIZE, %rsp
	HINT_RUN
	leaq	bailey_iret_out(%rip), %r11
	jmp	bailey_tail

/*
 * Behind a landing: the handlers of the events that have landed, which return
 * here, and then the label that the first one has chosen.
 */
SYM_INNER_LABEL(bailey_landed, SYM_L_GLOBAL)
	HINT_RUN
	ANNOTATE_NOENDBR
	pushq	%rbp
	pushq	%rdi
	pushq	%rsi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	HINT_RUN 0x38
	leaq	0x38(%rsp), %rdi
	leaq	0x30(%rsp), %rsi
	call	bailey_landing
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rsi
	popq	%rdi
	popq	%rbp
	HINT_RUN
	testq	%rax, %rax
	jz	1f
	movq	%rax, %rsp
	UNWIND_HINT_UNDEFINED
	JMP_NOSPEC rdx
1:	HINT_RUN
	/* With RF, so that a breakpoint at the label is not met again. */
	movq	%rsp, %rax
	pushq	$__KERNEL_DS
	pushq	%rax
	pushq	$(X86_EFLAGS_FIXED | X86_EFLAGS_RF)
	pushq	$__KERNEL_CS
	pushq	PCPU(CPU_RESTART)
	UNWIND_HINT_UNDEFINED
	iretq

/*
 * On a landing stack with the kernel's key: an NMI, #DB, #MC or #DF in a
 * window of a gate. The window's phase decides where to restart; rip, which is
 * hostile, is looked at only to choose among labels each of which is safe
 * whatever the truth. Nothing else of the frame is used, but rbp, which in the
 * helper gate is still the program's own.
 */
.Llanded:
SYM_INNER_LABEL(bailey_event_landed, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
	UNWIND_HINT_UNDEFINED
	movl	PCPU(CPU_PHASE), %eax
	/* In the stub of another that has landed and been noted: one more handler. */
	cmpl	$BAILEY_PHASE_LANDED, %eax
	jne	1f
	btsl	%ebp, PCPU(CPU_LANDED)
	jmp	.Lnoted
1:	movl	$BAILEY_LANDED_NEW, %edx
	leaq	bailey_exit_z(%rip), %rcx
	cmpl	$BAILEY_PHASE_EXIT, %eax
	je	.Lnote
	leaq	bailey_helper_z(%rip), %rcx
	cmpl	$BAILEY_PHASE_HELPER, %eax
	je	.Lnote
	leaq	bailey_event_again(%rip), %rcx
	cmpl	$BAILEY_PHASE_EVENT, %eax
	je	.Lnote
	movq	0x20(%rsp), %rdx
	cmpl	$8, %ebp
	jne	1f
	movq	0x28(%rsp), %rdx		/* #DF pushed an error code */
1:	leaq	bailey_helper_z(%rip), %rcx
	leaq	bailey_helper_z_end(%rip), %rax
	cmpq	%rcx, %rdx
	jb	2f
	cmpq	%rax, %rdx
	jae	2f
	/*
	 * Only with the offset of a site; a helper may have left anything there.
	 * The gate adds the whole register, and compares the half.
	 */
	movl	%r9d, %r9d
	testl	$((1 << SITE_SHIFT) - 1), %r9d
	jz	.Lrecover
	jmp	4f
2:	leaq	bailey_exit_z(%rip), %rcx
	leaq	bailey_exit_z_end(%rip), %rax
	cmpq	%rcx, %rdx
	jb	3f
	cmpq	%rax, %rdx
	jb	.Lrecover
	/*
	 * In a stub, before its phase: like a confined one, judged in Rust. Of an
	 * event that has landed itself, rip hides what that had come in.
	 */
3:	leaq	bailey_event_entry(%rip), %rcx
	leaq	bailey_event_again(%rip), %rax
	cmpq	%rcx, %rdx
	jb	3f
	cmpq	%rax, %rdx
	jb	bailey_event_z
3:	leaq	bailey_event_landed(%rip), %rcx
	leaq	bailey_event_noted(%rip), %rax
	cmpq	%rcx, %rdx
	jb	3f
	cmpq	%rax, %rdx
	jb	bailey_event_z
3:	movq	%rdx, %rax
	subq	bailey_event_text(%rip), %rax
	cmpq	bailey_event_text_size(%rip), %rax
	jb	bailey_event_z
4:
#ifdef BAILEY_BREACH
	/* The control: the frame of a #DB goes to the kernel's stack as it is. */
	testl	$BAILEY_WITHOUT_LANDING, bailey_test_undefended(%rip)
	jz	5f
	cmpl	$1, %ebp
	jne	5f
	movq	PCPU(CPU_IST + 16), %rcx
	.set	word, 1
	.rept	5
	movq	(0x48 - 8 * word)(%rsp), %rax
	movq	%rax, (-8 * word)(%rcx)
	.set	word, word + 1
	.endr
	leaq	bailey_event_handlers(%rip), %rax
	movq	8(%rax), %rax
	movq	%rax, -0x30(%rcx)
	movq	0x18(%rsp), %rax
	movq	%rax, -0x38(%rcx)
	movq	0x08(%rsp), %rax
	movq	%rax, -0x40(%rcx)
	movq	0x10(%rsp), %rbp
	movq	(%rsp), %rdx
	leaq	-0x40(%rcx), %rsp
	popq	%rcx
	popq	%rax
	RET
5:
#endif
	leaq	bailey_replay(%rip), %rcx
	/* It will be counted again. */
	decq	PCPU(CPU_ENTRIES)
	/*
	 * The truth may be a stub, whose interrupt is in service and would stay
	 * so: the way to the label leads past the APIC.
	 */
.Lrecover:
	movl	$(BAILEY_LANDED_NEW | BAILEY_LANDED_IN), %edx
.Lnote:
	movq	%rcx, PCPU(CPU_RESTART)
	movl	%ebp, PCPU(CPU_LANDED_FIRST)
	btsl	%ebp, %edx
	movl	%edx, PCPU(CPU_LANDED)
	movq	0x10(%rsp), %rax
	movq	%rax, PCPU(CPU_LANDED_RBP)
	movl	$BAILEY_PHASE_LANDED, PCPU(CPU_PHASE)
SYM_INNER_LABEL(bailey_event_noted, SYM_L_GLOBAL)
	ANNOTATE_NOENDBR
.Lnoted:
	ROOT_TO_KERNEL
	IST_KERNEL
	movq	PCPU(CPU_RUN), %rsp
	HINT_RUN
	cld
	clac
	incq	PCPU(CPU_LANDINGS)
	movq	PCPU(CPU_LANDED_RBP), %rbp
	jmp	bailey_landed
SYM_CODE_END(bailey_event_entry)
