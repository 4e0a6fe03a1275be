/* SPDX-License-Identifier: GPL-2.0 */
/* As a CPU with PKS runs them: it needs neither retpolines nor return thunks. */
.macro CALL_NOSPEC reg:req
	call	*%\reg
.endm
#define RET	ret; int3
.macro ANNOTATE_RETPOLINE_SAFE
.endm
