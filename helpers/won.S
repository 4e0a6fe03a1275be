/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The test build alone: where the attackers send a CPU. It is a function of the
 * kernel that no gate and no program leads to, so to reach it at all is to have
 * won; it does what an attacker would do first, opens every key. Then it ends
 * the run, so that a win can be counted and not only mourned. It relies on
 * neither stack nor registers.
 */
#include "keyreg.h"

	.text
SYM_CODE_START(bailey_won)
	UNWIND_HINT_UNDEFINED
	ANNOTATE_NOENDBR
	cli
	cld
	clac
	KEY_TO_KERNEL
	lock incq bailey_test_wins(%rip)
	xorl	%eax, %eax
	jmp	bailey_exit_gate
SYM_CODE_END(bailey_won)
