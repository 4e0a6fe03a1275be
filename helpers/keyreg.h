/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few steps that know which register holds the key, and where a CPU's
 * landing stacks are installed. Another back end (page-table roots, DESIGN
 * 9.4) is another set of these macros; gate.S and event.S stay as they are.
 *
 * All of them clobber rax, rcx and rdx, which are dead at every window of the
 * gates for that reason (DESIGN 9.8).
 */
#ifndef BAILEY_KEYREG_H
#define BAILEY_KEYREG_H

#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/percpu.h>
#include <asm/nospec-branch.h>
#include <asm/segment.h>
#include <asm/unwind_hints.h>
#include "layout.h"

#define PCPU(off)	PER_CPU_VAR(bailey_cpu + off)
#define TSS_IST(n)	PER_CPU_VAR(cpu_tss_rw + BAILEY_TSS_IST + 8 * (n))

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
 * Load what KEY_TO_DOMAIN_COMMIT needs for the frame in rdx; the commit itself
 * is the one instruction after which the CPU is confined.
 */
.macro KEY_TO_DOMAIN_PREPARE
	movl	FRAME_PKRS(%rdx), %eax
	movl	$BAILEY_MSR_PKRS, %ecx
	xorl	%edx, %edx
.endm

.macro KEY_TO_DOMAIN_COMMIT
	wrmsr
.endm

/*
 * The IST entries DF, NMI, DB and MCE are the first four of the TSS
 * (arch/x86/include/asm/page_64_types.h).
 */
.macro IST_KERNEL
	movq	PCPU(CPU_IST), %rax
	movq	%rax, TSS_IST(0)
	movq	PCPU(CPU_IST + 8), %rax
	movq	%rax, TSS_IST(1)
	movq	PCPU(CPU_IST + 16), %rax
	movq	%rax, TSS_IST(2)
	movq	PCPU(CPU_IST + 24), %rax
	movq	%rax, TSS_IST(3)
.endm

/* rdx = frame */
.macro IST_LANDING
	movq	FRAME_LANDING(%rdx), %rax
	movq	%rax, TSS_IST(0)
	movq	FRAME_LANDING + 8(%rdx), %rax
	movq	%rax, TSS_IST(1)
	movq	FRAME_LANDING + 16(%rdx), %rax
	movq	%rax, TSS_IST(2)
	movq	FRAME_LANDING + 24(%rdx), %rax
	movq	%rax, TSS_IST(3)
.endm

/* The stack pointer is struct bailey_run on the kernel stack, plus `extra`. */
.macro HINT_RUN extra=0
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=(RUN_SIZE + 8 + \extra)
.endm

#endif
