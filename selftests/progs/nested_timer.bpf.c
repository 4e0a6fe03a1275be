// SPDX-License-Identifier: GPL-2.0
/*
 * A program and its timer's callback, to run inside of each other: both do the
 * same work on their stacks, in functions and callbacks, and see whether it came
 * to what it must.
 */
#include "corpus.h"

struct timed {
	__u64 fired;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

__u64 wrong;

struct sum {
	__u64 sum, step;
};

static long add_each(void *map, __u32 *key, __u64 *value, struct sum *s)
{
	s->sum += *key * s->step + *value;
	return 0;
}

__noinline int add_up(__u64 step)
{
	struct sum s = {.step = step};
	__u64 room[16];

	for (int i = 0; i < 16; i++)
		*(volatile __u64 *)&room[i] = i * step;
	bpf_for_each_map_elem(&numbers, add_each, &s, 0);
	for (int i = 0; i < 16; i++)
		s.sum += *(volatile __u64 *)&room[i];
	return s.sum;
}

/* 0 to 31, and 0 to 15. */
static __always_inline int is_right(__u64 step)
{
	return add_up(step) == step * (496 + 120);
}

static int on_tick(void *map, __u32 *key, struct timed *t)
{
	t->fired++;
	if (*key || !is_right(5))
		__sync_fetch_and_add(&wrong, 1);
	return 0;
}

SEC("xdp") int timed(struct xdp_md *ctx)
{
	__u32 key = 0, size = packet_size(ctx);
	struct timed *t;
	int right = 1;

	opaque(size);
	t = bpf_map_lookup_elem(&timers, &key);
	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &timers, 1);
	bpf_timer_set_callback(&t->timer, on_tick);
	for (int i = 0; i < 8; i++)
		right &= is_right(3);
	return right && !wrong && packet_size(ctx) == size ? XDP_PASS : XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
