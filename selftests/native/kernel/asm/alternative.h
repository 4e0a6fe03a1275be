/* SPDX-License-Identifier: GPL-2.0 */
/* What stands there before the kernel has looked at its CPU: in the switch of roots alone. */
.macro ALTERNATIVE old, new, feature
	\old
.endm
