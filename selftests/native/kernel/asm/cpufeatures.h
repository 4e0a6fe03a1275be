/* SPDX-License-Identifier: GPL-2.0 */
#define X86_FEATURE_PCID	0
