/* SPDX-License-Identifier: GPL-2.0 */
/* The BPF side of breach.h: how a program takes its order and goes astray. */
#ifndef BAILEY_BREACH_BPF_H
#define BAILEY_BREACH_BPF_H

#include "corpus.h"
#include "breach.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

/* Places for pointers to start from. */
struct place {
	__u64 words[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct place);
} array SEC(".maps");

/* More than the module gives memory to before it is needed: its values are loans. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 17);
	__type(key, __u32);
	__type(value, struct place);
} hash SEC(".maps");

static __always_inline struct order *take_order(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&orders, &key);
}

/* 0 for the verifier; x where the instruction is lost. */
static __always_inline __u64 lost(__u64 x)
{
	asm volatile("%0 &= 0" : "+r"(x));
	return x;
}

/*
 * The pointer, sent to the order's target. Only a store and a load turn a
 * pointer into a number that the verifier lets a program subtract.
 */
static __always_inline void *astray(struct order *o, void *p)
{
	__u64 delta;

	*(volatile __u64 *)&o->base = (__u64)(long)p;
	delta = *(volatile __u64 *)&o->target;
	if (!*(volatile __u64 *)&o->relative)
		delta -= *(volatile __u64 *)&o->base;
	delta = lost(delta);
	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	return p;
}

/* Reached only when nothing ended the run. */
static __always_inline int survived(struct order *o, __u64 got)
{
	*(volatile __u64 *)&o->got = got;
	*(volatile __u64 *)&o->done = 1;
	return XDP_PASS;
}

#endif
