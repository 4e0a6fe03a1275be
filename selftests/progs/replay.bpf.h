/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the replays of CVEs share. Each has the instructions which a verifier of
 * its time judged wrongly, with the numbers that make the CPU and that verifier
 * differ; today's verifier is right about them, so a mask says what the other
 * believed, and the breach build drops the mask. What the CPU holds then is
 * what the instructions made.
 */
#ifndef BAILEY_REPLAY_BPF_H
#define BAILEY_REPLAY_BPF_H

#include "breach.bpf.h"

/* The program's name is the CVE's. */
#define REPLAY(name) SEC("xdp") int cve_##name(struct xdp_md *ctx)

static __always_inline __u64 seed_of(struct order *o)
{
	return *(volatile __u64 *)&o->seed;
}

/*
 * Moves a pointer by a wrong register, as the exploits did: times the distance.
 * The verifier believes that `one` is 0.
 */
static __always_inline void *moved(struct order *o, void *p, __u64 one)
{
	__u64 distance;

	*(volatile __u64 *)&o->base = (__u64)(long)p;
	distance = *(volatile __u64 *)&o->target;
	if (!*(volatile __u64 *)&o->relative)
		distance -= *(volatile __u64 *)&o->base;
	asm volatile("%1 *= %2\n"
		     "%0 += %1\n"
		     : "+r"(p), "+r"(one)
		     : "r"(distance));
	return p;
}

#endif
