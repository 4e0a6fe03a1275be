/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an attack of attackers.c is, and what is known when one is made: where things are,
 * and what becomes of it.
 */
#ifndef BAILEY_ATTACK_H
#define BAILEY_ATTACK_H

#include "breach_run.h"
#include "kernel_memory.h"

#define PAGE 4096ull
#define PARAMETERS "/sys/module/bailey/parameters/"
/* How far from a domain's start frames may lie, and the probes go. */
#define FRAMES (4ull << 20)
/* A stack of landings is so long; the frame of a #DB lies at the third's end. */
#define LANDING 1024
enum { ON_NMI = 2 * LANDING - 40, ON_DB = 3 * LANDING - 40 };
/* Below the prey's last stack word, where an interrupt's frame comes to lie. */
#define WINDOW 512
/* In the values of `edges`: a header for the kernel to read. */
#define HEADER_AT 64
/* How many words one run of an attacker writes. */
#define WRITES 100000

/* An event's frame: RIP, CS, flags, RSP, SS. */
enum { RIP, CS, FLAGS, RSP, SS, FRAME_WORDS };
#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_CS 0x33
#define USER_DS 0x2b
#define IF 0x200
#define AC 0x40000

/* The first page of the CPU entry area (arch/x86/include/asm/cpu_entry_area.h). */
#define IDT 0xfffffe0000000000ull

/* A resume slot, as helpers/layout.h has it: the first in use is the second. */
#define SLOT 0x80
#define SLOT_RIP 0x38

enum {
	WON, PANIC, BANNER, HELPER_Z, EXIT_Z, ENTER, EXIT_GATE, HELPER_GATE, HELPER_W, TAIL,
	IRET_OUT, EVENT_ENTRY, SYMBOLS
};
static struct symbol symbols[] = {
	[WON] = {"bailey_won", 0},	   [PANIC] = {"panic", 0},
	[BANNER] = {"linux_banner", 0},	   [HELPER_Z] = {"bailey_helper_z", 0},
	[EXIT_Z] = {"bailey_exit_z", 0},   [ENTER] = {"bailey_enter", 0},
	[EXIT_GATE] = {"bailey_exit_gate", 0}, [HELPER_GATE] = {"bailey_helper_gate", 0},
	[HELPER_W] = {"bailey_helper_w", 0}, [TAIL] = {"bailey_tail", 0},
	[IRET_OUT] = {"bailey_iret_out", 0}, [EVENT_ENTRY] = {"bailey_event_entry", 0},
};

static struct breach b;
static int sprays, preys;
static __u64 seed = 1;
static bool expect_win;
static int seconds = 10;
static int cpus, attackers;

static __u64 *pages, landing, span_base;
static size_t nr_pages;

/* Of the program that is the prey now. */
static __u64 image, leave, begun, frame_at, stack_pointer, base_pointer;
/* Jumps out of the image: where they lead, and what comes behind them. */
static __u64 jumps[16], back[16];
static int nr_jumps;
static struct prey first;

static int victim_map;
static __u64 victim, secret, slots, event_stub;
static char *user_page;

/* So many words, a power of two, from a place on, or one after another at one place. */
struct shot {
	__u64 target, count;
	bool pile;
	__u64 words[SPRAY_WORDS];
};

/* What is attacked, and how. */
struct kind {
	const char *name, *says;
	/* What is true without its defence; nothing where there is no control. */
	const char *otherwise;
	/* What is taken out for `--expect win`; what has the kind's name if nothing is named. */
	const char *defence;
	const char *prey;
	__u64 rounds;
	/* What the attackers run; `spray` if nothing is named. */
	const char *attacker;
	void (*prepare)(struct prey *prey);
	void (*aim)(struct shot *shot, __u64 *random);
	/* What an attacker needs anew for each attack. */
	void (*renew)(__u32 who);
	/* Breakpoints on CPU 0, at labels of the gates and at the prey's turns. */
	bool breakpoints;
	/* Interrupts are no part of it, but CPU 0 has its clock and NMIs. */
	bool quiet;
	/* It forges frames, of which some must be seen to be. */
	bool frames;
	/* The attack ends runs of the attackers themselves, not of the prey. */
	bool ends_attackers;
	/* The domain's memory has the defence from its load on. */
	bool since_load;
	__u64 (*harm)(void);
};

static const struct kind *kind;
static volatile bool stop;
static __u64 prey_runs, prey_ended, turns, attacks, attacks_ended, wins, hijacked_before;
static __u64 frames_seen;

/* Whether the domain can read the word there. */
static bool peek(__u64 address, __u64 *word)
{
	struct outcome out = attempt(&b, program_of(b.obj, "probe"), address, 0);

	*word = out.order.got;
	return out.order.done;
}

#endif
