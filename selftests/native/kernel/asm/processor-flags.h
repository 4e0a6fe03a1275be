/* SPDX-License-Identifier: GPL-2.0 */
/* SDM volume 1, 3.4.3. */
#define X86_EFLAGS_FIXED	0x2
#define X86_EFLAGS_IF		0x200
