// SPDX-License-Identifier: GPL-2.0
/*
 * Callbacks that run when the program has long returned: timers, which run in a
 * softirq, and workqueues, which run in a task. The runner waits a moment after
 * programs of this file. What a callback leaves behind does not depend on how
 * often it ran: a timer that is started again before it fired fires once.
 */
#include "corpus.h"

#define CLOCK_MONOTONIC 1

extern int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;
extern int bpf_wq_set_callback(struct bpf_wq *wq, int (*callback)(void *, int *, void *),
			       unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;

struct timed {
	__u64 size, fired;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed);
} array SEC(".maps");

struct worked {
	__u64 size, done;
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct worked);
} works SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, struct timed);
} hash SEC(".maps");

__s64 result[8];

SUBPROG __u64 weigh(__u64 x)
{
	opaque(x);
	return x * 3 + 1;
}

static int on_array(void *map, __u32 *key, struct timed *t)
{
	t->fired = weigh(t->size) + *key;
	result[4] = t->fired;
	return 0;
}

SEC("xdp") int timer_in_array(struct xdp_md *ctx)
{
	__u32 key = 2;
	struct timed *t = bpf_map_lookup_elem(&array, &key);

	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &array, CLOCK_MONOTONIC);
	t->size = packet_size(ctx);
	result[1] = bpf_timer_set_callback(&t->timer, on_array);
	result[2] = bpf_timer_start(&t->timer, 0, 0);
	return XDP_PASS;
}

static int on_hash(void *map, __u64 *key, struct timed *t)
{
	__u32 other = 1;
	struct timed *a = bpf_map_lookup_elem(&array, &other);

	t->fired = *key + weigh(t->size);
	if (a)
		a->fired = t->fired + 1;
	return 0;
}

SEC("xdp") int timer_in_hash(struct xdp_md *ctx)
{
	struct timed fresh = {}, *t;
	__u64 key = 1000;

	bpf_map_update_elem(&hash, &key, &fresh, BPF_NOEXIST);
	t = bpf_map_lookup_elem(&hash, &key);
	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &hash, CLOCK_MONOTONIC);
	t->size = packet_size(ctx);
	result[1] = bpf_timer_set_callback(&t->timer, on_hash);
	result[2] = bpf_timer_start(&t->timer, 1000, 0);
	return XDP_PASS;
}

/* Cancelled before its time: it must not fire. */
static int on_never(void *map, __u32 *key, struct timed *t)
{
	result[5]++;
	return 0;
}

SEC("xdp") int timer_cancelled(struct xdp_md *ctx)
{
	__u32 key = 3;
	struct timed *t = bpf_map_lookup_elem(&array, &key);

	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &array, CLOCK_MONOTONIC);
	result[1] = bpf_timer_set_callback(&t->timer, on_never);
	result[2] = bpf_timer_start(&t->timer, 1ull << 40, 0);
	result[3] = bpf_timer_cancel(&t->timer);
	return XDP_PASS;
}

static int on_work(void *map, int *key, void *value)
{
	struct worked *w = value;

	w->done = weigh(w->size) + *key;
	return 0;
}

SEC("xdp") int work_queued(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct worked *w = bpf_map_lookup_elem(&works, &key);

	if (!w)
		return XDP_ABORTED;
	bpf_wq_init(&w->work, &works, 0);
	w->size = packet_size(ctx);
	result[1] = bpf_wq_set_callback(&w->work, on_work, 0);
	result[2] = bpf_wq_start(&w->work, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
