/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the breaching programs and their runner share.
 *
 * On a stock kernel these programs are harmless: the verifier knows that
 * `delta &= 0` leaves 0, so the pointer stays where it was. The breach build of
 * the module drops every such instruction, and then the pointer goes wherever
 * the runner sent it: the shape of a bounds-tracking bug, without needing one.
 */
#ifndef BAILEY_BREACH_H
#define BAILEY_BREACH_H

#include <linux/types.h>

struct order {
	__u64 target; /* from the runner: the address to reach */
	__u64 relative; /* from the runner: the address counts from `base` */
	__u64 value; /* from the runner: what to write there, or a size to add */
	__u64 base; /* from the program: where its pointer really points */
	__u64 got; /* from the program: what it read */
	__u64 done; /* from the program: the access did not end the run */
};

/* What the oracle, a program that is not confined, tells the runner. */
struct addresses {
	__u64 task, stack; /* of the runner itself */
	__u64 victim, victim_map; /* the victim's value, and its struct bpf_map */
	__u64 entry_area; /* size of a CPU's part */
};

#define VICTIM_WORDS 512

/* breach_frames: what is written over a page, and who shall suffer from it. */
#define MAX_SPRAYS 4
#define SPRAY_WORDS 512
#define PREY_WORDS 8

struct spray {
	__u64 target, count, rounds; /* from the runner: where, how many words, how often */
	__u64 base, done; /* from the program */
	__u64 words[SPRAY_WORDS]; /* from the runner */
	__u64 room[SPRAY_WORDS];
};

struct prey {
	__u64 rounds; /* from the runner */
	__u64 offset; /* from the runner: of the words from `slot`; 0 leaves one alone */
	__u64 words[PREY_WORDS];
	__u64 slot, done; /* from the program: the last word of its stack */
};

#endif
