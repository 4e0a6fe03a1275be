// SPDX-License-Identifier: GPL-2.0
/*
 * Programs whose timers' or workqueues' callbacks go astray, and some that forge
 * what they pass to the helpers and kfuncs of those.
 */
#include "breach.bpf.h"

#define CLOCK_MONOTONIC 1

extern int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;
extern int bpf_wq_set_callback(struct bpf_wq *wq, int (*callback)(void *, int *, void *),
			       unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
extern int bpf_timer_cancel_async(struct bpf_timer *timer) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;

struct timed {
	__u64 fired;
	struct bpf_timer timer;
	struct bpf_wq work;
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 passed, worked;
};

/* The same in another place. */
struct timed_later {
	__u64 pad[4];
	struct bpf_timer timer;
	struct bpf_wq work;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed_later);
} others SEC(".maps");

struct place global;

static __always_inline struct timed *timed(__u32 key)
{
	return bpf_map_lookup_elem(&timers, &key);
}

/* Callbacks that go astray, each from a pointer of another kind. */
#define STRAY(name, pointer, access) \
	static int on_##name(void *map, __u32 *key, struct timed *t) \
	{ \
		struct order *o = take_order(); \
		void *p = pointer; \
		if (!o || !p) \
			return 0; \
		t->fired++; \
		p = astray(o, p); \
		access; \
		*(volatile __u64 *)&o->done = 1; \
		t->passed++; \
		return 0; \
	} \
	SEC("xdp") int stray_##name(struct xdp_md *ctx) \
	{ \
		struct timed *t = timed(0); \
		if (!t) \
			return XDP_DROP; \
		bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC); \
		if (bpf_timer_set_callback(&t->timer, on_##name) || \
		    bpf_timer_start(&t->timer, 0, 0)) \
			return XDP_DROP; \
		return XDP_PASS; \
	}

static __always_inline void *in_array(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&array, &key);
}

/* ... of workqueues. */
#define STRAY_WORK(name, pointer, access) \
	static int on_work_##name(void *map, int *key, void *value) \
	{ \
		struct timed *t = value; \
		struct order *o = take_order(); \
		void *p = pointer; \
		if (!o || !p) \
			return 0; \
		t->fired++; \
		p = astray(o, p); \
		access; \
		*(volatile __u64 *)&o->done = 1; \
		t->passed++; \
		return 0; \
	} \
	SEC("xdp") int stray_work_##name(struct xdp_md *ctx) \
	{ \
		struct timed *t = timed(0); \
		if (!t) \
			return XDP_DROP; \
		bpf_wq_init(&t->work, &timers, 0); \
		if (bpf_wq_set_callback(&t->work, on_work_##name, 0) || \
		    bpf_wq_start(&t->work, 0)) \
			return XDP_DROP; \
		return XDP_PASS; \
	}

STRAY(value_read, t, (void)*(volatile __u64 *)p)
STRAY(value_write, &t->passed, *(volatile __u64 *)p = t->passed)
STRAY(key, key, (void)*(volatile __u32 *)p)
STRAY(array_write, in_array(), *(volatile __u64 *)p = 0)
STRAY(stack, &(struct place){}, (void)*(volatile __u64 *)p)
STRAY(argument, in_array(), bpf_map_update_elem(&array, key, p, BPF_ANY))
STRAY(locked, in_array(), ({
	      bpf_spin_lock(&t->lock);
	      *(volatile __u64 *)p = 1;
	      bpf_spin_unlock(&t->lock);
      }))
/* Without a packet the kernel has nothing prepared for a redirect. */
STRAY(redirect, in_array(), ({
	      if (o->target)
		      bpf_redirect(1, 0);
      }))

STRAY_WORK(value_write, &t->passed, *(volatile __u64 *)p = t->passed)
STRAY_WORK(key, key, (void)*(volatile __u32 *)p)
STRAY_WORK(stack, &(struct place){}, (void)*(volatile __u64 *)p)
STRAY_WORK(argument, in_array(), bpf_map_update_elem(&array, key, p, BPF_ANY))
STRAY_WORK(locked, in_array(), ({
		   bpf_spin_lock(&t->lock);
		   *(volatile __u64 *)p = 1;
		   bpf_spin_unlock(&t->lock);
	   }))
/* A task that did not give these back could never sleep again. */
STRAY_WORK(sections, in_array(), ({
		   bpf_rcu_read_lock();
		   bpf_preempt_disable();
		   *(volatile __u64 *)p = 1;
		   bpf_preempt_enable();
		   bpf_rcu_read_unlock();
	   }))
STRAY_WORK(redirect, in_array(), ({
		   if (o->target)
			   bpf_redirect(1, 0);
	   }))

__noinline int stray_function(__u64 zero)
{
	struct order *o = take_order();
	void *p = in_array();

	if (o && p)
		*(volatile __u64 *)astray(o, p) = zero;
	return zero;
}

static long stray_each(void *map, __u32 *key, struct place *place, void *ctx)
{
	stray_function(0);
	return 0;
}

/* In a function through a gate, in a callback of a helper, in the timer's callback. */
static int on_deep(void *map, __u32 *key, struct timed *t)
{
	struct order *o = take_order();

	t->fired++;
	bpf_for_each_map_elem(&array, stray_each, NULL, 0);
	if (o)
		*(volatile __u64 *)&o->done = 1;
	return 0;
}

SEC("xdp") int stray_deep(struct xdp_md *ctx)
{
	struct timed *t = timed(0);

	if (!t)
		return XDP_DROP;
	bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&t->timer, on_deep) || bpf_timer_start(&t->timer, 0, 0))
		return XDP_DROP;
	return XDP_PASS;
}

/* Forged arguments. The order's value says what the pointer is sent to. */
static int on_nothing(void *map, __u32 *key, struct timed *t)
{
	t->fired++;
	return 0;
}

static int on_no_work(void *map, int *key, void *value)
{
	return 0;
}

static long nothing_each(void *map, __u32 *key, struct place *place, void *ctx)
{
	return 1;
}

enum { ORDERED, OTHER_MAP, STACK, GLOBAL, VALUE };

#define FORGED(name, field, call) \
	SEC("xdp") int forged_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		struct timed *t = timed(2); \
		struct place room = {}; \
		struct timed_later *other; \
		__u32 key = 0; \
		void *p; \
		other = bpf_map_lookup_elem(&others, &key); \
		if (!o || !t || !other) \
			return XDP_DROP; \
		bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC); \
		bpf_timer_set_callback(&t->timer, on_nothing); \
		bpf_wq_init(&t->work, &timers, 0); \
		bpf_wq_set_callback(&t->work, on_no_work, 0); \
		if (o->value == OTHER_MAP) \
			*(volatile __u64 *)&o->target = (__u64)(long)&other->field; \
		if (o->value == STACK) \
			*(volatile __u64 *)&o->target = (__u64)(long)&room; \
		if (o->value == GLOBAL) \
			*(volatile __u64 *)&o->target = (__u64)(long)&global; \
		if (o->value == VALUE) \
			*(volatile __u64 *)&o->target = (__u64)(long)t; \
		p = astray(o, &t->field); \
		call; \
		return survived(o, 0); \
	}

FORGED(init, timer, bpf_timer_init(p, &timers, CLOCK_MONOTONIC))
FORGED(set_callback, timer, bpf_timer_set_callback(p, on_nothing))
FORGED(start, timer, bpf_timer_start(p, 1ull << 50, 0))
FORGED(cancel, timer, bpf_timer_cancel(p))
FORGED(cancel_async, timer, bpf_timer_cancel_async(p))
FORGED(work_init, work, bpf_wq_init(p, &timers, 0))
FORGED(work_set_callback, work, bpf_wq_set_callback(p, on_no_work, 0))
FORGED(work_start, work, bpf_wq_start(p, 0))

/* The order's value in the place of a function, by way of the stack. */
SEC("xdp") int callback_forged(struct xdp_md *ctx)
{
	int (*volatile callback)(void *, __u32 *, struct timed *) = on_nothing;
	struct order *o = take_order();
	struct timed *t = timed(2);
	__u64 room[2] = {};

	if (!o || !t)
		return XDP_DROP;
	bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC);
	bpf_for_each_map_elem(&array, nothing_each, NULL, 0);
	*(volatile __u64 *)&o->target = (__u64)(long)&callback;
	*(volatile __u64 *)astray(o, &room) = o->value;
	bpf_timer_set_callback(&t->timer, (void *)callback);
	return survived(o, 0);
}

SEC("xdp") int callback_forged_work(struct xdp_md *ctx)
{
	int (*volatile callback)(void *, int *, void *) = on_no_work;
	struct order *o = take_order();
	struct timed *t = timed(2);
	__u64 room[2] = {};

	if (!o || !t)
		return XDP_DROP;
	bpf_wq_init(&t->work, &timers, 0);
	bpf_for_each_map_elem(&array, nothing_each, NULL, 0);
	*(volatile __u64 *)&o->target = (__u64)(long)&callback;
	*(volatile __u64 *)astray(o, &room) = o->value;
	bpf_wq_set_callback(&t->work, (void *)callback, 0);
	return survived(o, 0);
}

/* Two timers: what the first does keeps the second from running. */
SEC("xdp") int stray_first(struct xdp_md *ctx)
{
	struct timed *first = timed(0), *second = timed(3);

	if (!first || !second)
		return XDP_DROP;
	bpf_timer_init(&first->timer, &timers, CLOCK_MONOTONIC);
	bpf_timer_init(&second->timer, &timers, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&first->timer, on_value_read);
	bpf_timer_set_callback(&second->timer, on_nothing);
	if (bpf_timer_start(&second->timer, 300000000, 0) || bpf_timer_start(&first->timer, 0, 0))
		return XDP_DROP;
	return XDP_PASS;
}

/*
 * Timers that go on for ever, one for each of two CPUs, and give a workqueue
 * something to do each time.
 */
static int on_tick(void *map, __u32 *key, struct timed *t)
{
	t->fired++;
	bpf_wq_start(&t->work, 0);
	bpf_timer_start(&t->timer, 50000, 0);
	return 0;
}

static int on_work_tick(void *map, int *key, void *value)
{
	struct timed *t = value;
	struct place room = {};

	/* Some time on the stack, in which a timer or a packet may come. */
	for (int i = 0; i < 32; i++)
		*(volatile __u64 *)&room.words[i] = *key + i;
	for (int i = 0; i < 32; i++)
		if (*(volatile __u64 *)&room.words[i] != *key + i)
			return 0;
	t->worked++;
	return 0;
}

SEC("xdp") int armed(struct xdp_md *ctx)
{
	struct timed *t = timed(bpf_get_smp_processor_id() & 1);

	if (!t)
		return XDP_DROP;
	bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC);
	bpf_wq_init(&t->work, &timers, 0);
	bpf_wq_set_callback(&t->work, on_work_tick, 0);
	if (bpf_timer_set_callback(&t->timer, on_tick) || bpf_timer_start(&t->timer, 0, 0))
		return XDP_DROP;
	return XDP_PASS;
}

/*
 * A loop that the kernel ends when it takes too long. What the verifier has it
 * count by lies below all else on the stack, where this one writes each time.
 */
SEC("xdp") int loop_forged(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct place room = {};
	void *p;

	if (!o)
		return XDP_DROP;
	p = astray(o, &room);
	asm volatile("r1 = 0xffff\n"
		     "0: may_goto 1f\n"
		     "*(u64 *)(%0 + 0) = r1\n"
		     "*(u64 *)(%0 + 8) = r1\n"
		     "*(u64 *)(%0 + 16) = r1\n"
		     "*(u64 *)(%0 + 24) = r1\n"
		     "goto 0b\n"
		     "1:\n"
		     :
		     : "r"(p)
		     : "r1", "memory");
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
