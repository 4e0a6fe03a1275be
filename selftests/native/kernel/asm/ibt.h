/* SPDX-License-Identifier: GPL-2.0 */
/* As with CONFIG_X86_KERNEL_IBT. */
#define ENDBR	endbr64
