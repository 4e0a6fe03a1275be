/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few steps that know which register holds the key, and where a CPU's
 * landing stacks are installed. Another back end (page-table roots alone, DESIGN
 * 9.4) is another set of these macros; gate.S and event.S stay as they are.
 *
 * All of them clobber rax, rcx and rdx, which are dead at every window of the
 * gates for that reason (DESIGN 9.8).
 */
#ifndef BAILEY_KEYREG_H
#define BAILEY_KEYREG_H

#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/alternative.h>
#include <asm/cpufeatures.h>
#include <asm/percpu.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>
#include <asm/unwind_hints.h>
#include "layout.h"

#define PCPU(off)	PER_CPU_VAR(bailey_cpu + off)

/*
 * Confined -> kernel: all keys open. Interrupts must be off. WRMSR to
 * IA32_PKRS is not serializing (SDM vol. 3, 4.6.2): no fence.
 */
.macro KEY_TO_KERNEL
	movl	$BAILEY_MSR_PKRS, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
.endm

/* eax = 0 if the CPU holds the kernel's key. */
.macro KEY_READ
	movl	$BAILEY_MSR_PKRS, %ecx
	rdmsr
.endm

/*
 * Load what KEY_TO_DOMAIN_COMMIT needs for the frame in rdx, which is read
 * before a root can be loaded; the commit itself is the one instruction after
 * which the CPU is confined.
 */
.macro KEY_TO_DOMAIN_PREPARE
	movl	FRAME_PKRS(%rdx), %eax
	/* Once: another CPU may take it away (src/domain/shift.rs). */
	movq	FRAME_ROOT(%rdx), %rdx
	testq	%rdx, %rdx
	je	.Lno_root\@
	ROOT_TO_DOMAIN
	xorl	%edx, %edx
.Lno_root\@:
	movl	$BAILEY_MSR_PKRS, %ecx
.endm

.macro KEY_TO_DOMAIN_COMMIT
	wrmsr
.endm

/*
 * Domains that share a key run on page tables of their own, in which they find
 * nothing of each other (DESIGN 9.4, helpers/root.c). The root is loaded while
 * the landing stacks are installed and the key is still the kernel's, and the
 * kernel's own CR3 is back before its event stacks are: so no code but that of
 * gates and stubs ever runs on a root, and what these touch there is the per-CPU
 * words and the slot alone. CR3 is read each time, since an interrupt may change
 * it (switch_mm_irqs_off() of a CPU that was lazy). Loading a root flushes its
 * PCID, which all roots have in common: no translation outlives a run. Coming
 * back flushes nothing.
 *
 * rdx = the root; clobbers rcx.
 */
.macro ROOT_TO_DOMAIN
	movq	%cr3, %rcx
	ALTERNATIVE "", "btsq $63, %rcx", X86_FEATURE_PCID
	movq	%rcx, PCPU(CPU_KERNEL_CR3)
	movq	%rdx, %cr3
.endm

/* Where the CPU may be on a root. May run twice. Clobbers rax. */
.macro ROOT_TO_KERNEL
	cmpq	$0, PCPU(CPU_KERNEL_CR3)
	je	.Lno_root\@
	movq	PCPU(CPU_KERNEL_CR3), %rax
	movq	%rax, %cr3
	movq	$0, PCPU(CPU_KERNEL_CR3)
.Lno_root\@:
.endm

/*
 * The IST entries DF, NMI, DB and MCE are the first four of the TSS
 * (arch/x86/include/asm/page_64_types.h). They are pushed there: interrupts are
 * off, and what can come nevertheless has a stack of its own. Clobbers rsp.
 */
.macro IST_KERNEL
	movq	PCPU(CPU_TSS_IST), %rsp
	pushq	PCPU(CPU_IST + 24)
	pushq	PCPU(CPU_IST + 16)
	pushq	PCPU(CPU_IST + 8)
	pushq	PCPU(CPU_IST)
.endm

/* rdx = frame */
.macro IST_LANDING
	movq	PCPU(CPU_TSS_IST), %rsp
	pushq	FRAME_LANDING + 24(%rdx)
	pushq	FRAME_LANDING + 16(%rdx)
	pushq	FRAME_LANDING + 8(%rdx)
	pushq	FRAME_LANDING(%rdx)
.endm

/* The stack pointer is struct bailey_run on the kernel stack, plus `extra`. */
.macro HINT_RUN extra=0
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=(RUN_SIZE + 8 + \extra)
.endm

#endif
