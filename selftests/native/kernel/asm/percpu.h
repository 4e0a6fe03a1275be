/* SPDX-License-Identifier: GPL-2.0 */
/* One CPU: the base of %gs is 0 in user space, so its words are the symbols themselves. */
#define PER_CPU_VAR(var)	%gs:(var)(%rip)
