// SPDX-License-Identifier: GPL-2.0
/*
 * Functions and callbacks at the ends of what there is room for: values that
 * helpers lent to one function and that another goes on with, more loans than a
 * run has room for, as many callers as there can be, the deepest nesting.
 */
#include "corpus.h"

enum {
	LEAF,
	RESIZE,
	OUTSIDE, /* not isolated: it reads the running task */
	DEEP,
	HASHES,
};

int plain_leaf(struct xdp_md *ctx);
int plain_hashes(struct xdp_md *ctx);
int plain_outside(struct xdp_md *ctx);
int deep_tail_calls(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[LEAF] = (void *)&plain_leaf,
		   [OUTSIDE] = (void *)&plain_outside,
		   [DEEP] = (void *)&deep_tail_calls,
		   [HASHES] = (void *)&plain_hashes},
};

/* More than a run may be lent. */
#define MANY 160

/* More than the module gives memory to before it is needed: its values are loans. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, __u32);
	__type(value, __u64[2]);
} hash SEC(".maps");

__s64 result[16];
__u64 trail[8];

struct state {
	__u64 sum, steps;
	__u64 *kept;
};

/* All entries, each with its key. */
static long fill_one(__u32 i, void *none)
{
	__u64 fresh[2] = {i + 1, 3 * i};

	return bpf_map_update_elem(&hash, &i, fresh, BPF_ANY) ? 1 : 0;
}

static __always_inline void fill(void)
{
	bpf_loop(MANY, fill_one, NULL, 0);
}

SEC("xdp") int plain_leaf(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 14, 1);

	trail[LEAF]++;
	if (!p)
		return XDP_ABORTED;
	*p += 1;
	return 40;
}

/* It is lent something, too. */
SEC("xdp") int plain_hashes(struct xdp_md *ctx)
{
	__u32 key = 2;
	__u64 *v = bpf_map_lookup_elem(&hash, &key);

	if (!v)
		return XDP_ABORTED;
	v[0]++;
	return 41;
}

/* It moves the packet and writes it, outside of confinement. */
SEC("xdp") int plain_outside(struct xdp_md *ctx)
{
	__u8 *p;

	/* The helper is what keeps it outside. */
	trail[OUTSIDE] += 2 + !!bpf_get_current_task();
	bpf_xdp_adjust_head(ctx, -8);
	p = packet_at(ctx, 0, 16);
	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 16; i++)
		p[i] = 0xa0 + i;
	return 42;
}

/* A value is lent to a function that then leaves for another program. */

SUBPROG int lent_and_gone(struct xdp_md *ctx, struct state *s, __u32 which)
{
	__u32 key = 1;
	int miss = 5;

	opaque(which);
	opaque(miss);
	s->kept = bpf_map_lookup_elem(&hash, &key);
	bpf_tail_call(ctx, &table, which);
	return miss;
}

SEC("xdp") int loans_over_tail_calls(struct xdp_md *ctx)
{
	struct state s = {};
	__u64 sum = 0;

	fill();
	for (__u32 i = 0; i < 30; i++) {
		sum = sum * 3 + lent_and_gone(ctx, &s, i & 1 ? LEAF : HASHES);
		if (s.kept)
			sum += s.kept[0]++;
	}
	result[0] = sum;
	return XDP_PASS;
}

/* Each run does it once. */
SEC("xdp") int loan_over_a_tail_call(struct xdp_md *ctx)
{
	struct state s = {};

	fill();
	result[0] = lent_and_gone(ctx, &s, HASHES);
	if (!s.kept)
		return XDP_DROP;
	result[1] = s.kept[0]++;
	return XDP_PASS;
}

/* What a program that is not isolated does to the packet is seen by the caller. */

SUBPROG int tail_outside(struct xdp_md *ctx)
{
	int miss = 6;

	opaque(miss);
	bpf_tail_call(ctx, &table, OUTSIDE);
	return miss;
}

SEC("xdp") int packet_from_outside(struct xdp_md *ctx)
{
	__u32 before = packet_size(ctx), after;
	__u8 *p = packet_at(ctx, 0, 20);

	if (!p)
		return XDP_ABORTED;
	opaque(before);
	p[6] = 0x11;
	p[12] = 0x22;
	result[0] = tail_outside(ctx);
	after = packet_size(ctx);
	opaque(after);
	result[1] = after - before;
	p = packet_at(ctx, 0, 28);
	if (!p)
		return XDP_ABORTED;
	result[2] = p[3] << 16 | p[14] << 8 | p[20];
	p[1] = 0x33;
	return XDP_TX;
}

SEC("xdp") int packet_from_outside_unwritten(struct xdp_md *ctx)
{
	result[0] = tail_outside(ctx);
	result[1] = packet_size(ctx);
	return XDP_TX;
}

/* A run that has been lent all it can, and is called back. */

static long look_up(__u32 i, struct state *s)
{
	__u64 *v = bpf_map_lookup_elem(&hash, &i);

	if (v)
		s->sum = s->sum * 3 + v[0]++;
	return 0;
}

static long add_index(__u32 i, struct state *s)
{
	s->sum += i;
	return 0;
}

/* Two callbacks at one place, so that nobody makes a loop of it. */
SUBPROG long loop_of(void *callback, struct state *s, __u32 n)
{
	opaque(n);
	return bpf_loop(n, callback, s, 0);
}

static long add_entry(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += *key * value[0];
	value[1]++;
	return 0;
}

SEC("xdp") int each_with_all_loans(struct xdp_md *ctx)
{
	struct state s = {};

	fill();
	result[0] = loop_of(add_index, &s, 2) + loop_of(look_up, &s, MANY);
	result[1] = s.sum;
	s.sum = 0;
	result[2] = bpf_for_each_map_elem(&hash, add_entry, &s, 0);
	result[3] = s.sum;
	return XDP_PASS;
}

/* A value that a caller keeps, while the functions below are lent more and more. */

__noinline int more_loans(__u32 n)
{
	struct state s = {};

	loop_of(add_index, &s, 2);
	loop_of(look_up, &s, n & 0xff);
	return s.sum;
}

SEC("xdp") int kept_by_the_caller(struct xdp_md *ctx)
{
	__u32 key = 7;
	__u64 *v;

	fill();
	v = bpf_map_lookup_elem(&hash, &key);
	if (!v)
		return XDP_DROP;
	result[0] = more_loans(MANY);
	result[1] = v[0]++;
	v[1] = 0x55;
	return XDP_PASS;
}

/* The same where the function is static. */

SUBPROG int more_loans_here(__u32 n)
{
	struct state s = {};

	loop_of(add_index, &s, 2);
	loop_of(look_up, &s, n & 0xff);
	return s.sum;
}

SEC("xdp") int kept_above_a_function(struct xdp_md *ctx)
{
	__u32 key = 7;
	volatile __u64 sum = 0;
	struct state s = {};

	fill();
	s.kept = bpf_map_lookup_elem(&hash, &key);
	if (!s.kept)
		return XDP_DROP;
	sum += more_loans_here(MANY);
	result[0] = sum + loop_of(add_index, &s, 2);
	result[1] = s.kept[0]++;
	s.kept[1] = 0x77;
	return XDP_PASS;
}

__noinline int more_loans_below(__u32 n)
{
	__u32 key = 9;
	__u64 *v = bpf_map_lookup_elem(&hash, &key);
	int sum = more_loans(n);

	return v ? sum + v[0]++ : sum;
}

SEC("xdp") int kept_by_callers(struct xdp_md *ctx)
{
	volatile __u64 own[2] = {5, 6};
	struct state s = {};
	__u32 key = 8;

	fill();
	s.kept = bpf_map_lookup_elem(&hash, &key);
	result[0] = loop_of(add_index, &s, own[0]) + more_loans_below(MANY);
	if (s.kept)
		result[1] = s.kept[0]++;
	return XDP_PASS;
}

/* A callback leaves its value behind; whoever called it goes on with it. */

static long keep_one(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->steps++;
	if (*key == 11)
		s->kept = value;
	return 0;
}

SEC("xdp") int kept_after_the_callback(struct xdp_md *ctx)
{
	struct state s = {};

	fill();
	bpf_for_each_map_elem(&hash, keep_one, &s, 0);
	if (!s.kept)
		return XDP_DROP;
	result[0] = s.kept[0]++;
	s.kept[1] = 0x66;
	return XDP_PASS;
}

/* Tail calls out of several functions' depth: as many callers as there can be. */

__noinline int deep_4(struct xdp_md *ctx)
{
	int miss = 1;

	opaque(miss);
	trail[DEEP]++;
	bpf_tail_call(ctx, &table, DEEP);
	return miss;
}

__noinline int deep_3(struct xdp_md *ctx)
{
	return deep_4(ctx) + 1;
}

__noinline int deep_2(struct xdp_md *ctx)
{
	return deep_3(ctx) * 3;
}

__noinline int deep_1(struct xdp_md *ctx)
{
	return deep_2(ctx) ^ 5;
}

SEC("xdp") int deep_tail_calls(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 32);
	int n;

	if (!p)
		return XDP_ABORTED;
	p[5]++;
	n = deep_1(ctx);
	p = packet_at(ctx, 0, 32);
	if (!p)
		return XDP_ABORTED;
	p[6] += n;
	return (n & 0xff) + 1;
}

/* Seven callbacks, each in the one before. */

#define NEST(name, next)                                                                           \
	static long name(__u32 i, struct state *s)                                                 \
	{                                                                                          \
		struct state own = {.sum = s->sum + i};                                            \
                                                                                                   \
		s->steps += loop_of_##next(&own);                                                  \
		s->sum = s->sum * 3 + own.sum + own.steps;                                         \
		return 0;                                                                          \
	}

#define LOOP(name)                                                                                 \
	static __always_inline long loop_of_##name(struct state *s)                                \
	{                                                                                          \
		return bpf_loop(2, trail[7] & 1 ? (void *)add_index : (void *)name, s, 0);         \
	}

static long nest_7(__u32 i, struct state *s)
{
	__u32 key = i;
	__u64 *v = bpf_map_lookup_elem(&hash, &key);

	s->sum += v ? v[0] + i : 3;
	return 0;
}

LOOP(nest_7)
NEST(nest_6, nest_7)
LOOP(nest_6)
NEST(nest_5, nest_6)
LOOP(nest_5)
NEST(nest_4, nest_5)
LOOP(nest_4)
NEST(nest_3, nest_4)
LOOP(nest_3)
NEST(nest_2, nest_3)
LOOP(nest_2)
NEST(nest_1, nest_2)
LOOP(nest_1)

SEC("xdp") int deep_callbacks(struct xdp_md *ctx)
{
	struct state s = {.sum = packet_size(ctx)};

	result[0] = loop_of_nest_1(&s);
	result[1] = s.sum;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
