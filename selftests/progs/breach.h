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
	__u64 seed; /* from the runner: a number that the verifier cannot know (replays) */
};

/* What a program may tell user space of its pointers (replay_leak). */
enum leaked { LEAKED_STACK, LEAKED_CONTEXT, LEAKED_PACKET, LEAKED_VALUE, LEAKED_LENT, LEAKED_MAP,
	      LEAKED };

struct leaks {
	__u64 pointer[LEAKED];
};

/* Bytes of a record as the verifier believes, and as the ring gives it (replay_ring). */
#define BELIEVED_RECORD 0x20000000

/* Entry of a device map that lies where a ring has its producer's position (replay_map). */
#define CONFUSED_ENTRY (8192 / 8)

/* What the oracle, a program that is not confined, tells the runner. */
struct addresses {
	__u64 task, stack; /* of the runner itself */
	__u64 victim, victim_map; /* the victim's value, and its struct bpf_map */
	__u64 entry_area; /* size of a CPU's part */
};

#define VICTIM_WORDS 512

/* Bytes of a ring-buffer record that is no copy in the frame but a loan. */
#define LENT_RECORD 8192

/* The keys of breach_access' store count from here; its values are full of the other. */
#define STORE_KEY 0x6b65796b65796b00ull
#define STORE_WORD 0x76616c7565766175ull
#define STORE_KEYS 16

/* breach_attack: what is written where, and who shall suffer from it. */
#define MAX_SPRAYS 4
#define SPRAY_WORDS 512
#define PREY_WORDS 8
#define PREY_BYTES 64

struct spray {
	__u64 target, rounds; /* from the runner: where, how many writes */
	/* from the runner: which bits of a write's number say what to write, and where */
	__u64 words_mask, place_mask;
	__u64 base, got, done; /* from the program */
	__u64 words[SPRAY_WORDS]; /* from the runner */
	__u64 room[SPRAY_WORDS];
};

struct prey {
	__u64 rounds; /* from the runner */
	__u64 offset; /* from the runner: of the words from `slot`; 0 leaves one alone */
	__u64 words[PREY_WORDS];
	__u64 target, secret; /* from the runner: what to read, what is there */
	__u64 base; /* from the program: where its pointer really points */
	__u64 self, slot; /* from the program: this value, the last word of its stack */
	__u64 context; /* from the program: what it was given */
	__u64 turns, done; /* from the program: of its rounds; it came to the end */
	__u64 wins, got; /* from the program: it got the secret, or what it got last */
	__u8 bytes[PREY_BYTES]; /* of the program: to be read by helpers */
};

/* A value of the map that forgets: so that its memory has a size like no other. */
#define RECENT_BYTES 56

/* A map's values that end with their page, and nothing is mapped behind it. */
#define EDGE_BYTES 4096

#endif
