/* SPDX-License-Identifier: GPL-2.0 */
/* Hints for objtool, which does not see gate.S in user space. */
.macro UNWIND_HINT type:req sp_reg=0 sp_offset=0 signal=0
.endm
.macro UNWIND_HINT_FUNC
.endm
.macro UNWIND_HINT_UNDEFINED
.endm
.macro ANNOTATE_NOENDBR
.endm
