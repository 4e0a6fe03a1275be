/* SPDX-License-Identifier: GPL-2.0 */
/* What the program that is attached to and those that attach share. */
#ifndef BAILEY_ATTACH_H
#define BAILEY_ATTACH_H

struct words {
	__u64 n[4];
};

#endif
