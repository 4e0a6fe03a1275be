/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tail call out of confinement, into a program that is not isolated.
 */
#include <linux/linkage.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

	.text

/*
 * run_tail(ctx, entry, count): goes on at `entry`, behind the first
 * instructions of a program, as the JIT's own tail calls do
 * (emit_bpf_tail_call_indirect(), arch/x86/net/bpf_jit_comp.c): its frame
 * pointer is set up, and rax points to the chain's count of tail calls. Its end
 * is the return from here.
 */
SYM_CODE_START(bailey_run_tail)
	UNWIND_HINT_FUNC
	ANNOTATE_NOENDBR
	pushq	%rbp
	UNWIND_HINT type=UNWIND_HINT_TYPE_CALL sp_reg=ORC_REG_SP sp_offset=0x10
	movq	%rsp, %rbp
	movq	%rdx, %rax
	movq	%rsi, %rcx
	JMP_NOSPEC rcx
SYM_CODE_END(bailey_run_tail)
