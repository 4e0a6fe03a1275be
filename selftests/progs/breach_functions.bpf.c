// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray in their functions and callbacks: in a global
 * function, in one that makes a tail call, in a program that was reached from
 * one, in callbacks of each kind. Some hold something meanwhile. A program
 * `beside_...` goes astray from the value that a callback was given, others
 * may start anywhere.
 */
#include "breach.bpf.h"

enum {
	SAME_DOMAIN,
	OTHER_DOMAIN,
};

int target_same_domain(struct xdp_md *ctx);
int target_other_domain(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[SAME_DOMAIN] = (void *)&target_same_domain,
		   [OTHER_DOMAIN] = (void *)&target_other_domain},
};

/* What the other domain's program is told: it shares no map with the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} other_orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct place);
} percpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct place);
} percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct place global;

struct state {
	struct order *order;
	__u64 sum;
	struct xdp_md *ctx;
};

/* One access, astray from `p`: a load, or with a value in the order a store. */
static __always_inline __u64 access(struct order *o, void *p)
{
	__u64 *q = astray(o, p);

	if (o->value)
		*(volatile __u64 *)q = o->value;
	return *(volatile __u64 *)q;
}

static __always_inline void *start_of(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&array, &key);
}

/* Functions. */

__noinline int stray_global(int n)
{
	struct order *o = take_order();
	void *p = start_of();

	opaque(n);
	if (!o || !p)
		return -1;
	*(volatile __u64 *)&o->got = access(o, p);
	return n;
}

SEC("xdp") int in_global(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || stray_global(3) != 3)
		return XDP_DROP;
	return survived(o, o->got);
}

__noinline int stray_global_2(int n)
{
	return stray_global(n + 1) - 1;
}

SEC("xdp") int in_global_of_global(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || stray_global_2(3) != 3)
		return XDP_DROP;
	return survived(o, o->got);
}

SUBPROG int stray_before_tail_call(struct xdp_md *ctx, struct order *o, __u32 which)
{
	void *p = start_of();
	int miss = 4;

	opaque(which);
	opaque(miss);
	if (!p)
		return -1;
	*(volatile __u64 *)&o->got = access(o, p);
	bpf_tail_call(ctx, &table, which);
	return miss;
}

SEC("xdp") int in_function_with_tail_call(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || stray_before_tail_call(ctx, o, 77) != 4)
		return XDP_DROP;
	return survived(o, o->got);
}

SUBPROG int tail_to(struct xdp_md *ctx, __u32 which)
{
	int miss = 5;

	opaque(which);
	opaque(miss);
	bpf_tail_call(ctx, &table, which);
	return miss;
}

SEC("xdp") int target_same_domain(struct xdp_md *ctx)
{
	struct order *o = take_order();
	void *p = start_of();

	if (!o || !p)
		return XDP_DROP;
	*(volatile __u64 *)&o->got = access(o, p);
	return 50;
}

SEC("xdp") int target_other_domain(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct order *o = bpf_map_lookup_elem(&other_orders, &key);

	if (!o)
		return XDP_DROP;
	*(volatile __u64 *)&o->got = access(o, o);
	return 50;
}

SEC("xdp") int in_target_of_function(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || tail_to(ctx, SAME_DOMAIN) != 50)
		return XDP_DROP;
	return survived(o, o->got);
}

SEC("xdp") int in_other_domain_of_function(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || tail_to(ctx, OTHER_DOMAIN) != 50)
		return XDP_DROP;
	return survived(o, 0);
}

/* The caller itself, after the function's target has come back. */
SEC("xdp") int after_other_domain(struct xdp_md *ctx)
{
	struct order *o = take_order();
	void *p = start_of();

	if (!o || !p || tail_to(ctx, 77) != 5 || tail_to(ctx, OTHER_DOMAIN) != 50)
		return XDP_DROP;
	return survived(o, access(o, p));
}

/* Callbacks of bpf_loop: of two at one place, so that nobody makes a loop of it. */

static long add_index(__u32 i, struct state *s)
{
	s->sum += i;
	return 0;
}

static long stray(__u32 i, struct state *s)
{
	struct order *o = take_order();
	void *p = start_of();

	if (!o || !p)
		return 1;
	*(volatile __u64 *)&o->got = access(o, p);
	s->sum++;
	return 0;
}

SUBPROG long loop_of(void *callback, struct state *s, __u32 n)
{
	opaque(n);
	return bpf_loop(n, callback, s, 0);
}

SEC("xdp") int in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};

	if (!o || loop_of(add_index, &s, 3) != 3 || loop_of(stray, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

static long stray_helper(__u32 i, struct state *s)
{
	struct order *o = take_order();
	void *p = start_of();

	if (!o || !p)
		return 1;
	s->sum += bpf_xdp_load_bytes(s->ctx, 0, astray(o, p), 8);
	return 0;
}

/* No access of its own, but a helper's. */
SEC("xdp") int argument_in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {.ctx = ctx};

	if (!o || loop_of(add_index, &s, 3) != 3 || loop_of(stray_helper, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, 0);
}

static long loop_in_loop(__u32 i, struct state *s)
{
	struct state own = {};

	s->sum += loop_of(i == 1 ? (void *)stray : (void *)add_index, &own, 2);
	return 0;
}

static long loop_in_loop_in_loop(__u32 i, struct state *s)
{
	struct state own = {};

	loop_of(loop_in_loop, &own, 3);
	s->sum += own.sum;
	return 0;
}

SEC("xdp") int in_nested_loops(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};

	if (!o || loop_of(loop_in_loop_in_loop, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

__noinline int loop_in_global(int n)
{
	struct state s = {};

	opaque(n);
	loop_of(add_index, &s, 2);
	return loop_of(stray, &s, n);
}

SEC("xdp") int in_loop_in_global(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || loop_in_global(2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

static long call_global(__u32 i, struct state *s)
{
	s->sum += stray_global(3);
	return 0;
}

SEC("xdp") int in_global_in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};

	if (!o || loop_of(add_index, &s, 2) != 2 || loop_of(call_global, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

/* Walks over maps of each kind, astray from the value that was given. */

static long stray_beside(void *map, __u32 *key, struct place *value, struct state *s)
{
	struct order *o = take_order();

	if (!o)
		return 1;
	*(volatile __u64 *)&o->got = access(o, value);
	s->sum++;
	return 0;
}

#define BESIDE(map)                                                                                \
	SEC("xdp") int beside_each_of_##map(struct xdp_md *ctx)                                    \
	{                                                                                          \
		struct order *o = take_order();                                                    \
		struct state s = {};                                                               \
                                                                                                   \
		if (!o || bpf_for_each_map_elem(&map, stray_beside, &s, 0) < 1)                    \
			return XDP_DROP;                                                           \
		return survived(o, o->got);                                                        \
	}

BESIDE(hash)
BESIDE(array)
BESIDE(percpu_array)
BESIDE(percpu_hash)

/* The value's address, but after the walk: the callback has told it. */
static long tell(void *map, __u32 *key, struct place *value, struct state *s)
{
	struct order *o = take_order();

	if (!o)
		return 1;
	*(volatile __u64 *)&o->got = (__u64)(long)value;
	s->sum++;
	return 0;
}

SEC("xdp") int after_each_of_hash(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};
	void *p = start_of();
	__u64 delta;

	if (!o || !p || bpf_for_each_map_elem(&hash, tell, &s, 0) < 1)
		return XDP_DROP;
	*(volatile __u64 *)&o->base = (__u64)(long)p;
	/* With no target it stays at home. */
	if (o->target) {
		delta = *(volatile __u64 *)&o->got;
		delta -= *(volatile __u64 *)&o->base;
		delta = lost(delta);
		asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	}
	return survived(o, *(volatile __u64 *)p);
}

static long walk_in_loop(__u32 i, struct state *s)
{
	return bpf_for_each_map_elem(&hash, stray_beside, s, 0) < 0;
}

SEC("xdp") int beside_each_of_hash_in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};

	if (!o || loop_of(add_index, &s, 2) != 2 || loop_of(walk_in_loop, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

/* With something in hand. */

SEC("xdp") int hold_record_in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};
	__u64 *record;

	if (!o)
		return XDP_DROP;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return XDP_DROP;
	loop_of(add_index, &s, 2);
	loop_of(stray, &s, 2);
	record[0] = s.sum;
	bpf_ringbuf_discard(record, 0);
	return survived(o, o->got);
}

SEC("xdp") int hold_record_in_global(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 *record;

	if (!o)
		return XDP_DROP;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return XDP_DROP;
	record[0] = stray_global(3);
	bpf_ringbuf_discard(record, 0);
	return survived(o, o->got);
}

/* The function takes it itself. */
__noinline int reserve_and_stray(int n)
{
	struct order *o = take_order();
	void *p = start_of();
	__u64 *record;

	opaque(n);
	if (!o || !p)
		return -1;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return -1;
	record[0] = access(o, p);
	bpf_ringbuf_discard(record, 0);
	return n;
}

SEC("xdp") int hold_record_of_global(struct xdp_md *ctx)
{
	struct order *o = take_order();

	if (!o || reserve_and_stray(3) != 3)
		return XDP_DROP;
	return survived(o, o->got);
}

static long reserve_in_loop(__u32 i, struct state *s)
{
	s->sum += reserve_and_stray(4);
	return 0;
}

SEC("xdp") int hold_record_of_callback(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};

	if (!o)
		return XDP_DROP;
	loop_of(add_index, &s, 2);
	if (loop_of(reserve_in_loop, &s, 2) != 2)
		return XDP_DROP;
	return survived(o, o->got);
}

/* The order's value holds the two ports of a connection, in network order. */
static __always_inline struct bpf_sock *connected(struct xdp_md *ctx, __u64 ports)
{
	struct bpf_sock_tuple t = {};

	t.ipv4.saddr = bpf_htonl(0x7f000001);
	t.ipv4.daddr = bpf_htonl(0x7f000001);
	t.ipv4.sport = ports;
	t.ipv4.dport = ports >> 16;
	return bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

SEC("xdp") int socket_in_loop(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct state s = {};
	struct bpf_sock *sk;

	if (!o)
		return XDP_DROP;
	sk = connected(ctx, o->value);
	if (!sk)
		return XDP_DROP;
	loop_of(add_index, &s, 2);
	loop_of(stray, &s, 2);
	bpf_sk_release(sk);
	return survived(o, o->got);
}

SEC("xdp") int socket_in_global(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_sock *sk;

	if (!o)
		return XDP_DROP;
	sk = connected(ctx, o->value);
	if (!sk)
		return XDP_DROP;
	*(volatile __u64 *)&o->got = stray_global(3);
	bpf_sk_release(sk);
	return survived(o, o->got);
}

/* What must still work afterwards: as many loans and callers as there may be. */

static long lend_one(__u32 i, struct state *s)
{
	struct place *v = bpf_map_lookup_elem(&hash, &i);

	if (v)
		s->sum += v->words[0];
	return 0;
}

#define NEST(name, next)                                                                           \
	static long name(__u32 i, struct state *s)                                                 \
	{                                                                                          \
		struct state own = {.sum = i};                                                     \
                                                                                                   \
		bpf_loop(2, s->sum == 0x777777 ? (void *)add_index : (void *)next, &own, 0);      \
		s->sum += own.sum;                                                                 \
		return 0;                                                                          \
	}

NEST(nest_6, lend_one)
NEST(nest_5, nest_6)
NEST(nest_4, nest_5)
NEST(nest_3, nest_4)
NEST(nest_2, nest_3)
NEST(nest_1, nest_2)

SEC("xdp") int full_depth(struct xdp_md *ctx)
{
	struct state s = {};

	if (loop_of(add_index, &s, 2) != 2 || loop_of(nest_1, &s, 2) != 2)
		return XDP_DROP;
	return s.sum ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
