/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What only the kernel may execute: left out. A macro comes before an instruction of
 * its name.
 */
.macro wrmsr
.endm
.macro rdmsr
.endm
.macro cli
.endm
.macro sti
.endm
