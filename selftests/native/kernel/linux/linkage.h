/* SPDX-License-Identifier: GPL-2.0 */
/* Symbols of assembly, for gate.S in user space. */
#define SYM_L_GLOBAL
#define SYM_CODE_START(name)		.globl name; .balign 16; name:
#define SYM_CODE_END(name)		.type name, @function; .size name, . - name
#define SYM_FUNC_START(name)		SYM_CODE_START(name)
#define SYM_FUNC_END(name)		SYM_CODE_END(name)
#define SYM_INNER_LABEL(name, linkage)	.globl name; name:
#define SYM_DATA_START(name)		.globl name; name:
#define SYM_DATA_END(name)		.type name, @object; .size name, . - name
#define SYM_DATA(name, data...)		.globl name; name: data
