/* SPDX-License-Identifier: GPL-2.0 */
/* What the programs of arenas.bpf.c and their runner share. */
#ifndef BAILEY_ARENAS_H
#define BAILEY_ARENAS_H

#include <linux/types.h>

#define WORDS (4096 / 8)
/* Pages that `churn` takes and gives back, and what it writes there: with where. */
#define CHURNED 64
#define CHURN_WORD 0x636875726e000000ull

struct order {
	__s64 page; /* from the runner: which, or negative: any */
	__u64 word; /* from the runner: which of the page */
	__u64 count; /* from the runner: of pages */
	__u64 value; /* from the runner: what to write */
	__u64 got; /* from the program: what it read, or was given */
};

/* From the programs that run until they are told to stop. */
struct churn {
	__u64 turns;
	__u64 taken; /* pages */
	__u64 seen, empty; /* words read: with what belongs there, or 0 */
	__u64 strange; /* with anything else */
	__u64 example;
};

struct shared {
	struct order order;
	struct churn churned, watched;
};

#endif
