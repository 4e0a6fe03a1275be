// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray with locks that may fail: while they hold some, or when
 * they take and release them.
 */
#include "breach.bpf.h"
#include "graph.h"
#include "res_lock.h"

extern void bpf_local_irq_save(unsigned long *flags) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym;

struct locked {
	__u64 word;
	struct bpf_res_spin_lock lock;
	__u32 behind;
};

struct waiting {
	__u64 word;
	struct bpf_spin_lock lock;
	__u32 behind;
};

struct counted {
	__u64 word;
	struct bpf_refcount count;
	struct bpf_res_spin_lock lock;
};

#define LOCKS(name, map_type, entries, value_type) \
	struct { \
		__uint(type, map_type); \
		__uint(max_entries, entries); \
		__type(key, __u32); \
		__type(value, struct value_type); \
	} name SEC(".maps")

LOCKS(array_locks, BPF_MAP_TYPE_ARRAY, 2, locked);
LOCKS(hash_locks, BPF_MAP_TYPE_HASH, 16, locked);
LOCKS(waitings, BPF_MAP_TYPE_ARRAY, 1, waiting);

struct place global;

static __always_inline struct locked *in_array(__u32 key)
{
	return bpf_map_lookup_elem(&array_locks, &key);
}

static __always_inline struct locked *in_hash(__u32 key)
{
	return bpf_map_lookup_elem(&hash_locks, &key);
}

static __always_inline struct waiting *in_waitings(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&waitings, &key);
}

/* The order, two locks of an array and one of a hash map. */
#define BEGIN \
	struct order *o = take_order(); \
	struct locked *a = in_array(0), *b = in_array(1), *h = in_hash(0); \
	if (!o || !a || !b || !h) \
		return XDP_DROP

#define WRITE_ASTRAY *(volatile __u64 *)p = o->value

SEC("xdp") int hold_lock(struct xdp_md *ctx)
{
	BEGIN;
	__u64 *p = astray(o, &global);
	if (bpf_res_spin_lock(&h->lock))
		return XDP_TX;
	WRITE_ASTRAY;
	bpf_res_spin_unlock(&h->lock);
	return survived(o, 0);
}

SEC("xdp") int hold_lock_and_flags(struct xdp_md *ctx)
{
	unsigned long flags;

	BEGIN;
	__u64 *p = astray(o, &global);
	if (bpf_res_spin_lock_irqsave(&a->lock, &flags))
		return XDP_TX;
	WRITE_ASTRAY;
	bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
	return survived(o, 0);
}

/* The flags of each say that interrupts are off, but for the outermost. */
SEC("xdp") int hold_many(struct xdp_md *ctx)
{
	unsigned long all, outer, inner;
	struct waiting *w = in_waitings();

	BEGIN;
	__u64 *p = astray(o, &global);
	if (!w)
		return XDP_DROP;
	bpf_local_irq_save(&all);
	bpf_spin_lock(&w->lock);
	if (bpf_res_spin_lock_irqsave(&a->lock, &outer)) {
		bpf_spin_unlock(&w->lock);
		bpf_local_irq_restore(&all);
		return XDP_TX;
	}
	if (bpf_res_spin_lock(&b->lock)) {
		bpf_res_spin_unlock_irqrestore(&a->lock, &outer);
		bpf_spin_unlock(&w->lock);
		bpf_local_irq_restore(&all);
		return XDP_TX;
	}
	if (!bpf_res_spin_lock_irqsave(&h->lock, &inner)) {
		WRITE_ASTRAY;
		bpf_res_spin_unlock_irqrestore(&h->lock, &inner);
	}
	bpf_res_spin_unlock(&b->lock);
	bpf_res_spin_unlock_irqrestore(&a->lock, &outer);
	bpf_spin_unlock(&w->lock);
	bpf_local_irq_restore(&all);
	return survived(o, 0);
}

/* The lock is in what is dropped when the run ends. */
SEC("xdp") int hold_lock_in_object(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct counted *c, *again;
	__u64 *p;

	if (!o)
		return XDP_DROP;
	p = astray(o, &global);
	c = bpf_obj_new(struct counted);
	if (!c)
		return XDP_DROP;
	if (bpf_res_spin_lock(&c->lock)) {
		bpf_obj_drop(c);
		return XDP_TX;
	}
	again = bpf_refcount_acquire(c);
	WRITE_ASTRAY;
	bpf_res_spin_unlock(&c->lock);
	if (again)
		bpf_obj_drop(again);
	bpf_obj_drop(c);
	return survived(o, 0);
}

/* Whether all can be had, and the kernel still sees who takes one twice. */
SEC("xdp") int use_locks(struct xdp_md *ctx)
{
	struct locked *same = in_hash(0);
	struct waiting *w = in_waitings();
	unsigned long flags;
	int verdict = XDP_TX;

	BEGIN;
	if (!w || !same)
		return XDP_DROP;
	bpf_spin_lock(&w->lock);
	w->word++;
	bpf_spin_unlock(&w->lock);
	if (bpf_res_spin_lock_irqsave(&a->lock, &flags))
		return XDP_TX;
	if (bpf_res_spin_lock(&b->lock))
		goto first;
	if (bpf_res_spin_lock(&h->lock))
		goto second;
	verdict = bpf_res_spin_lock(&same->lock);
	if (!verdict)
		bpf_res_spin_unlock(&same->lock);
	verdict = verdict == -EDEADLK ? XDP_PASS : XDP_TX;
	bpf_res_spin_unlock(&h->lock);
second:
	bpf_res_spin_unlock(&b->lock);
first:
	bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
	return verdict;
}

/* Where the second entry of the hash map has its lock, which no other program looks up. */
SEC("xdp") int tell_lock(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct locked *h = in_hash(1);

	if (!o || !h)
		return XDP_DROP;
	*(volatile __u64 *)&o->base = (__u64)(long)&h->lock;
	return XDP_PASS;
}

/* Taken where the order says, which is no lock. */
#define TAKE_BESIDE(name, from) \
	SEC("xdp") int take_##name(struct xdp_md *ctx) \
	{ \
		BEGIN; \
		struct bpf_res_spin_lock *l = astray(o, &(from)->lock); \
		if (!bpf_res_spin_lock(l)) \
			bpf_res_spin_unlock(l); \
		return survived(o, 0); \
	} \
	SEC("xdp") int take_##name##_and_flags(struct xdp_md *ctx) \
	{ \
		unsigned long flags; \
		BEGIN; \
		struct bpf_res_spin_lock *l = astray(o, &(from)->lock); \
		if (!bpf_res_spin_lock_irqsave(l, &flags)) \
			bpf_res_spin_unlock_irqrestore(l, &flags); \
		return survived(o, 0); \
	}
TAKE_BESIDE(in_array, a)
TAKE_BESIDE(in_hash, h)

/* One kind of lock for the other. */
SEC("xdp") int take_what_waits(struct xdp_md *ctx)
{
	struct waiting *w = in_waitings();

	BEGIN;
	if (!w)
		return XDP_DROP;
	*(volatile __u64 *)&o->target = (__u64)(long)&w->lock;
	struct bpf_res_spin_lock *l = astray(o, &h->lock);
	if (!bpf_res_spin_lock(l))
		bpf_res_spin_unlock(l);
	return survived(o, 0);
}

SEC("xdp") int wait_for_what_may_fail(struct xdp_md *ctx)
{
	struct waiting *w = in_waitings();

	BEGIN;
	if (!w)
		return XDP_DROP;
	*(volatile __u64 *)&o->target = (__u64)(long)&h->lock;
	struct bpf_spin_lock *l = astray(o, &w->lock);
	bpf_spin_lock(l);
	bpf_spin_unlock(l);
	return survived(o, 0);
}

SEC("xdp") int take_what_was_dropped(struct xdp_md *ctx)
{
	struct counted *c;

	BEGIN;
	c = bpf_obj_new(struct counted);
	if (!c)
		return XDP_DROP;
	*(volatile __u64 *)&o->target = (__u64)(long)&c->lock;
	bpf_obj_drop(c);
	struct bpf_res_spin_lock *l = astray(o, &h->lock);
	if (!bpf_res_spin_lock(l))
		bpf_res_spin_unlock(l);
	return survived(o, 0);
}

/* The kernel's word on who takes a lock twice. */
SEC("xdp") int take_twice(struct xdp_md *ctx)
{
	int error;

	BEGIN;
	*(volatile __u64 *)&o->target = (__u64)(long)&a->lock;
	struct bpf_res_spin_lock *l = astray(o, &b->lock);
	if (bpf_res_spin_lock(&a->lock))
		return XDP_TX;
	error = bpf_res_spin_lock(l);
	if (!error)
		bpf_res_spin_unlock(l);
	bpf_res_spin_unlock(&a->lock);
	return survived(o, -error);
}

/* What is released is not what is held, or not what was taken last. */
SEC("xdp") int release_another(struct xdp_md *ctx)
{
	BEGIN;
	*(volatile __u64 *)&o->target = (__u64)(long)&b->lock;
	struct bpf_res_spin_lock *l = &a->lock;
	if (bpf_res_spin_lock(l))
		return XDP_TX;
	bpf_res_spin_unlock(astray(o, l));
	return survived(o, 0);
}

SEC("xdp") int release_the_first(struct xdp_md *ctx)
{
	BEGIN;
	*(volatile __u64 *)&o->target = (__u64)(long)&a->lock;
	if (bpf_res_spin_lock(&a->lock))
		return XDP_TX;
	if (!bpf_res_spin_lock(&b->lock))
		bpf_res_spin_unlock(astray(o, &b->lock));
	bpf_res_spin_unlock(&a->lock);
	return survived(o, 0);
}

/* Once more, when it is free. */
SEC("xdp") int release_what_is_free(struct xdp_md *ctx)
{
	unsigned long flags;

	BEGIN;
	*(volatile __u64 *)&o->target = (__u64)(long)&a->lock;
	if (bpf_res_spin_lock_irqsave(&b->lock, &flags))
		return XDP_TX;
	if (!bpf_res_spin_lock(&a->lock))
		bpf_res_spin_unlock(&a->lock);
	bpf_res_spin_unlock_irqrestore(astray(o, &b->lock), &flags);
	return survived(o, 0);
}

/* That which was taken with flags. */
SEC("xdp") int release_without_flags(struct xdp_md *ctx)
{
	unsigned long flags;

	BEGIN;
	*(volatile __u64 *)&o->target = (__u64)(long)&a->lock;
	if (bpf_res_spin_lock_irqsave(&a->lock, &flags))
		return XDP_TX;
	if (!bpf_res_spin_lock(&b->lock))
		bpf_res_spin_unlock(astray(o, &b->lock));
	bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
	return survived(o, 0);
}

struct flags {
	unsigned long alone, outer, inner;
};

/* At the order's distance from the lock's own flags are those of another, or others. */
SEC("xdp") int release_with_others_flags(struct xdp_md *ctx)
{
	struct flags f;

	BEGIN;
	bpf_local_irq_save(&f.alone);
	if (bpf_res_spin_lock_irqsave(&a->lock, &f.outer)) {
		bpf_local_irq_restore(&f.alone);
		return XDP_TX;
	}
	if (!bpf_res_spin_lock_irqsave(&b->lock, &f.inner))
		bpf_res_spin_unlock_irqrestore(&b->lock, astray(o, &f.inner));
	bpf_res_spin_unlock_irqrestore(&a->lock, &f.outer);
	bpf_local_irq_restore(&f.alone);
	return survived(o, 0);
}

/* Flags that are saved elsewhere than on the stack, or over others. */
SEC("xdp") int save_flags_beside(struct xdp_md *ctx)
{
	struct flags f;

	BEGIN;
	bpf_local_irq_save(&f.alone);
	if (!bpf_res_spin_lock_irqsave(&a->lock, astray(o, &f.outer)))
		bpf_res_spin_unlock_irqrestore(&a->lock, &f.outer);
	bpf_local_irq_restore(&f.alone);
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
