// SPDX-License-Identifier: GPL-2.0
/*
 * CVEs in which the verifier was wrong about a number. Each of these programs
 * computes a register that the verifier of its time took for 0 and that is 1,
 * by the instructions that the fix or a published exploit shows, and then
 * moves a pointer by it. A seed that is another than the exploit's ends it early.
 */
#include "replay.bpf.h"

static __always_inline struct place *value(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&array, &key);
}

/* The body: `sequence` makes `one` of the seed, and goes to `out` if it cannot. */
#define FROM_VALUE(name, sequence, act) \
	REPLAY(name) \
	{ \
		struct order *o = take_order(); \
		__u64 one, got = 0; \
		void *p = value(); \
		if (!o || !p) \
			return XDP_DROP; \
		one = seed_of(o); \
		asm goto(sequence : "+r"(one) : : "r6", "r7", "r8" : out); \
		p = moved(o, p, lost(one)); \
		act; \
		return survived(o, got); \
	out: \
		return XDP_DROP; \
	}

#define LOADS got = *(volatile __u64 *)p
#define STORES *(volatile __u64 *)p = o->value
#define SWAPS got = __sync_lock_test_and_set((__u64 *)p, o->value)

/*
 * A comparison of halves: from 1 <= r6 <= 2^32 + 1 and w6 != 5 followed, in
 * __reg_bound_offset32(), that the lower half is 1. It is 2.
 */
FROM_VALUE(2020_8835,
	   "r6 = %0\n"
	   "r7 = 0x100000001 ll\n"
	   "if r6 < 1 goto %l[out]\n"
	   "if r6 > r7 goto %l[out]\n"
	   "if w6 == 5 goto %l[out]\n"
	   "r6 &= 2\n"
	   "r6 >>= 1\n"
	   "%0 = r6\n",
	   SWAPS)

/*
 * OR of 64 bits: scalar32_min_max_or() took the bounds of the lower half from
 * the whole ones, 1 to 2^32 * 6 + 1, which end in 1 both. It is 2.
 */
FROM_VALUE(2020_27194,
	   "r6 = %0\n"
	   "r7 = 0x600000001 ll\n"
	   "if r6 < 1 goto %l[out]\n"
	   "if r6 > r7 goto %l[out]\n"
	   "r6 |= 0\n"
	   "w6 = w6\n"
	   "r6 >>= 1\n"
	   "%0 = r6\n",
	   LOADS)

/*
 * AND with a lower half that is known: scalar32_min_max_and() left its bounds
 * alone, 1 to 0. With 1 added, and a number of 0 or 1, they were 2 to 2, which
 * is even. It is 1.
 */
FROM_VALUE(2021_3490,
	   "r6 = %0\n"
	   "r6 >>= 32\n"
	   "r6 <<= 32\n"
	   "r6 += 1\n"
	   "r7 = 0x100000002 ll\n"
	   "r6 &= r7\n"
	   "r6 += 1\n"
	   "r8 = %0\n"
	   "w8 = w8\n"
	   "if w8 > 1 goto %l[out]\n"
	   "r6 += r8\n"
	   "w6 = w6\n"
	   "r6 &= 1\n"
	   "%0 = r6\n",
	   STORES)

/*
 * The lower half of r6 >= 1: __reg_combine_64_into_32() had it at least 1, too;
 * with w6 <= 1 it was 1. It is 0.
 */
FROM_VALUE(2021_31440,
	   "r6 = %0\n"
	   "if r6 < 1 goto %l[out]\n"
	   "if w6 > 1 goto %l[out]\n"
	   "w6 = w6\n"
	   "r7 = 1\n"
	   "r7 -= r6\n"
	   "%0 = r7\n",
	   STORES)

/*
 * Pruning: of `r6 <= r7` both sides had to be precise, and were not, so the
 * way on which r6 is 1024 was taken for one that had been seen.
 */
FROM_VALUE(2023_2163,
	   "r6 = %0\n"
	   "if r6 == 0 goto %l[out]\n"
	   "r7 = -2147483648\n"
	   "r6 %%= 1025\n"
	   "if r6 <= r7 goto 1f\n"
	   "r6 %%= 1\n"
	   "r7 = 0\n"
	   "if r6 <= r7 goto 1f\n"
	   "r6 = 0\n"
	   "1: r6 >>= 10\n"
	   "%0 = r6\n",
	   STORES)

/*
 * A comparison with an immediate number that cannot be equal: reg_set_min_max()
 * spoilt the register that stood for the number, so r6 was thought to be at most
 * 0x7ffffffe.
 */
FROM_VALUE(2024_41003,
	   "r6 = %0\n"
	   "w7 = -1\n"
	   "w7 >>= 1\n"
	   "w6 &= w7\n"
	   "w6 |= 2\n"
	   "if w6 == 0x7ffffffd goto %l[out]\n"
	   "w6 -= 2147483632\n"
	   "if w6 s< 0xe goto %l[out]\n"
	   "w6 -= 14\n"
	   "%0 = r6\n",
	   STORES)

/*
 * OR of -1 or 0 with a constant: maybe_fork_scalars() went on with 0 on one of
 * the two ways, as for an AND. It is the constant.
 */
FROM_VALUE(2026_31413,
	   "r6 = %0\n"
	   "r6 s>>= 63\n"
	   "r6 |= 1\n"
	   "if r6 s< 0 goto %l[out]\n"
	   "%0 = r6\n",
	   STORES)

/*
 * Pruning: that what an atomic operation fetches comes from the stack was not
 * followed back, so the way on which 1 lies there was taken for the other. Here
 * the pointer is one to the stack, as in the fix.
 */
REPLAY(2026_43009)
{
	struct order *o = take_order();
	volatile __u64 slot;
	struct place room = {};
	__u64 one = 0;
	void *p = &room;

	if (!o)
		return XDP_DROP;
	if (seed_of(o))
		slot = 1;
	else
		slot = 0;
	asm volatile("%0 = atomic_fetch_add((u64 *)(%1 + 0), %0)"
		     : "+r"(one)
		     : "r"(&slot)
		     : "memory");
	p = moved(o, p, lost(one));
	return survived(o, *(volatile __u64 *)p);
}

char _license[] SEC("license") = "GPL";
