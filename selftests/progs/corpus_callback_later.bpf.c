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
extern int bpf_timer_cancel_async(struct bpf_timer *timer) __ksym;

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

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct timed);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} inners SEC(".maps") = {
	.values = {&inner},
};

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

/* Starts itself again, five times in all, and cannot cancel itself. */
static int on_again(void *map, __u32 *key, struct timed *t)
{
	if (t->fired++ < 4)
		bpf_timer_start(&t->timer, 1000, 0);
	result[6] = bpf_timer_cancel(&t->timer);
	return 0;
}

SEC("xdp") int timer_again(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *t = bpf_map_lookup_elem(&array, &key);

	if (!t)
		return XDP_ABORTED;
	/* The first run of all. */
	if (bpf_timer_init(&t->timer, &array, CLOCK_MONOTONIC))
		return XDP_DROP;
	result[1] = bpf_timer_set_callback(&t->timer, on_again);
	result[2] = bpf_timer_start(&t->timer, 0, 0);
	return XDP_PASS;
}

/* Callbacks of its own, functions through a gate, other maps. */
struct sum {
	__u64 size, sum;
};

static long add_each(void *map, __u32 *key, struct timed *t, struct sum *s)
{
	s->sum += *key + t->size;
	return 0;
}

static long add_times(__u64 n, struct sum *s)
{
	s->sum += n * s->size;
	return 0;
}

__noinline int weigh_sum(__u64 sum)
{
	opaque(sum);
	return sum & 0xffff;
}

static int on_deep(void *map, __u64 *key, struct timed *t)
{
	struct sum s = {.size = t->size};
	__u32 times = 4;

	opaque(times);
	bpf_for_each_map_elem(&array, add_each, &s, 0);
	bpf_loop(times & 7, add_times, &s, 0);
	result[5] = weigh_sum(s.sum);
	result[6] = bpf_map_delete_elem(&hash, key);
	return 0;
}

SEC("xdp") int timer_deep(struct xdp_md *ctx)
{
	struct timed fresh = {}, *t;
	__u64 key = 2000;

	bpf_map_update_elem(&hash, &key, &fresh, BPF_NOEXIST);
	t = bpf_map_lookup_elem(&hash, &key);
	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &hash, CLOCK_MONOTONIC);
	t->size = packet_size(ctx);
	result[1] = bpf_timer_set_callback(&t->timer, on_deep);
	/* Its own end deletes the entry: only the last run's may. */
	result[2] = bpf_timer_start(&t->timer, 50000000, 0);
	return XDP_PASS;
}

/* Global data, and a lock beside the timer. */
static struct {
	__u64 size, fired;
	struct bpf_timer timer;
	struct bpf_spin_lock lock;
} global SEC(".data.timed");

SEC("xdp") int plain_lock_beside_timer(struct xdp_md *ctx)
{
	bpf_spin_lock(&global.lock);
	global.size = packet_size(ctx);
	bpf_spin_unlock(&global.lock);
	return XDP_PASS;
}

/* A map in a map. */
static int on_inner(void *map, __u32 *key, struct timed *t)
{
	struct timed *same = bpf_map_lookup_elem(map, key);

	if (same)
		same->fired = t->size + *key + 7;
	return 0;
}

SEC("xdp") int timer_inner(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *map = bpf_map_lookup_elem(&inners, &key);
	struct timed *t;

	if (!map)
		return XDP_ABORTED;
	key = 1;
	t = bpf_map_lookup_elem(map, &key);
	if (!t)
		return XDP_DROP;
	bpf_timer_init(&t->timer, map, CLOCK_MONOTONIC);
	t->size = packet_size(ctx);
	result[1] = bpf_timer_set_callback(&t->timer, on_inner);
	result[2] = bpf_timer_start(&t->timer, 0, 0);
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

SEC("xdp") int timer_cancelled_async(struct xdp_md *ctx)
{
	__u32 key = 3;
	struct timed *t = bpf_map_lookup_elem(&array, &key);

	if (!t)
		return XDP_ABORTED;
	result[0] = bpf_timer_cancel_async(&t->timer);
	bpf_timer_init(&t->timer, &array, CLOCK_MONOTONIC);
	result[1] = bpf_timer_set_callback(&t->timer, on_never);
	result[2] = bpf_timer_start(&t->timer, 1ull << 40, 0);
	result[3] = bpf_timer_cancel_async(&t->timer);
	return XDP_PASS;
}

/* A loop that the kernel counts. */
__u64 zero;

static int on_loop(void *map, __u32 *key, struct timed *t)
{
	t->fired = loop_to(zero, 70000 + t->size) + *key;
	return 0;
}

SEC("xdp") int timer_loop(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct timed *t = bpf_map_lookup_elem(&array, &key);

	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &array, CLOCK_MONOTONIC);
	t->size = packet_size(ctx);
	result[1] = bpf_timer_set_callback(&t->timer, on_loop);
	result[2] = bpf_timer_start(&t->timer, 0, 0);
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

/* What a packet's program does, and a function of its own. Queues itself again. */
static long add_done(void *map, int *key, struct worked *w, struct sum *s)
{
	s->sum += *key + w->size;
	return 0;
}

static int on_deep_work(void *map, int *key, void *value)
{
	struct worked *w = value, *other;
	struct sum s = {.size = w->size};
	struct timed fresh = {.size = w->size};
	__u64 third = 3000;
	__u32 zero = 0;

	bpf_for_each_map_elem(&works, add_done, &s, 0);
	result[4] = weigh_sum(s.sum);
	other = bpf_map_lookup_elem(map, &zero);
	if (other && *key)
		other->done = w->size + 2;
	bpf_map_update_elem(&hash, &third, &fresh, BPF_ANY);
	result[5] = bpf_map_delete_elem(&hash, &third);
	if (++w->done < 3)
		result[6] = bpf_wq_start(&w->work, 0);
	return 0;
}

SEC("xdp") int work_deep(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct worked *w = bpf_map_lookup_elem(&works, &key);

	if (!w)
		return XDP_ABORTED;
	/* The first run of all. */
	if (bpf_wq_init(&w->work, &works, 0))
		return XDP_DROP;
	w->size = packet_size(ctx);
	w->done = 0;
	result[1] = bpf_wq_set_callback(&w->work, on_deep_work, 0);
	result[2] = bpf_wq_start(&w->work, 0);
	return XDP_PASS;
}

struct inner_works {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct worked);
} inner_works SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner_works);
} works_in SEC(".maps") = {
	.values = {&inner_works},
};

SEC("xdp") int work_inner(struct xdp_md *ctx)
{
	__u32 key = 0;
	void *map = bpf_map_lookup_elem(&works_in, &key);
	struct worked *w;

	if (!map)
		return XDP_ABORTED;
	key = 1;
	w = bpf_map_lookup_elem(map, &key);
	if (!w)
		return XDP_DROP;
	bpf_wq_init(&w->work, map, 0);
	w->size = packet_size(ctx);
	result[1] = bpf_wq_set_callback(&w->work, on_work, 0);
	result[2] = bpf_wq_start(&w->work, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
