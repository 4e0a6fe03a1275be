/* SPDX-License-Identifier: GPL-2.0 */
/* The selectors of user space, to which an iretq leads here. */
#define __KERNEL_CS	0x33
#define __KERNEL_DS	0x2b
