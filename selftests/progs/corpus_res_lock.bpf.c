// SPDX-License-Identifier: GPL-2.0
/* Locks that may fail, in values and in objects: alone, several, and in vain. */
#include "corpus.h"
#include "arena.h"
#include "graph.h"
#include "res_lock.h"

extern void bpf_local_irq_save(unsigned long *flags) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

struct account {
	__u64 packets, bytes;
	struct bpf_res_spin_lock lock;
	__u32 last;
};

struct plain {
	__u64 a, b;
};

struct counted {
	__u64 word;
	struct bpf_refcount count;
	struct bpf_res_spin_lock lock;
	__u64 behind;
};

struct stash {
	__u64 before;
	struct plain __kptr *plain;
	struct bpf_res_spin_lock lock;
};

struct waiting {
	__u64 word;
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct account);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct account);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stash);
} stashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct waiting);
} waitings SEC(".maps");

private(A) struct bpf_res_spin_lock lock_a;
private(B) struct bpf_res_spin_lock lock_b;

__s64 result[8];

static __always_inline struct account *account(void *map, __u32 key)
{
	return bpf_map_lookup_elem(map, &key);
}

#define RES_LOCK_OF(map) \
	SEC("xdp") int res_lock_##map(struct xdp_md *ctx) \
	{ \
		__u32 size = packet_size(ctx); \
		struct account *a = account(&map, size & 3); \
		if (!a) \
			return XDP_DROP; \
		if (bpf_res_spin_lock(&a->lock)) \
			return XDP_ABORTED; \
		a->packets++; \
		a->bytes += size; \
		bpf_res_spin_unlock(&a->lock); \
		if (bpf_res_spin_lock(&a->lock)) \
			return XDP_ABORTED; \
		a->last = a->packets; \
		bpf_res_spin_unlock(&a->lock); \
		return XDP_PASS; \
	} \
	SEC("xdp") int res_lock_irq_##map(struct xdp_md *ctx) \
	{ \
		__u32 size = packet_size(ctx); \
		struct account *a = account(&map, size & 3); \
		unsigned long flags; \
		if (!a) \
			return XDP_DROP; \
		if (bpf_res_spin_lock_irqsave(&a->lock, &flags)) \
			return XDP_ABORTED; \
		a->packets++; \
		a->bytes += size; \
		bpf_res_spin_unlock_irqrestore(&a->lock, &flags); \
		result[0] += bpf_ktime_get_ns() != 0; \
		return XDP_PASS; \
	} \
	/* The verifier takes what two look-ups find for two; the kernel sees that it is one. */ \
	SEC("xdp") int res_lock_again_##map(struct xdp_md *ctx) \
	{ \
		__u32 size = packet_size(ctx); \
		struct account *a = account(&map, size & 3), *same = account(&map, size & 3); \
		unsigned long flags; \
		if (!a || !same) \
			return XDP_DROP; \
		if (bpf_res_spin_lock(&a->lock)) \
			return XDP_ABORTED; \
		a->packets++; \
		result[0] = bpf_res_spin_lock(&same->lock); \
		if (!result[0]) \
			bpf_res_spin_unlock(&same->lock); \
		bpf_res_spin_unlock(&a->lock); \
		if (bpf_res_spin_lock(&a->lock)) \
			return XDP_ABORTED; \
		/* Nothing is saved where nothing is taken: the word may be used again. */ \
		result[1] = bpf_res_spin_lock_irqsave(&same->lock, &flags); \
		if (!result[1]) \
			bpf_res_spin_unlock_irqrestore(&same->lock, &flags); \
		bpf_res_spin_unlock(&a->lock); \
		result[2] = bpf_res_spin_lock_irqsave(&same->lock, &flags); \
		if (!result[2]) \
			bpf_res_spin_unlock_irqrestore(&same->lock, &flags); \
		return result[0] == -EDEADLK && result[1] == -EDEADLK && !result[2] ? XDP_PASS : \
										      XDP_TX; \
	}
RES_LOCK_OF(array)
RES_LOCK_OF(hash)

/* Those of one map, another map, and of none but themselves; with flags and without. */
SEC("xdp") int res_locks_in_each_other(struct xdp_md *ctx)
{
	struct account *a = account(&array, 1), *b = account(&hash, 2);
	unsigned long outer, inner, all;
	__u32 size = packet_size(ctx);

	if (!a || !b)
		return XDP_DROP;
	bpf_local_irq_save(&all);
	if (bpf_res_spin_lock(&lock_a))
		goto none;
	if (bpf_res_spin_lock_irqsave(&a->lock, &outer))
		goto first;
	if (bpf_res_spin_lock(&lock_b))
		goto second;
	if (bpf_res_spin_lock_irqsave(&b->lock, &inner))
		goto third;
	a->bytes += size;
	b->bytes += a->bytes;
	result[0]++;
	bpf_res_spin_unlock_irqrestore(&b->lock, &inner);
third:
	b->packets++;
	bpf_res_spin_unlock(&lock_b);
second:
	bpf_res_spin_unlock_irqrestore(&a->lock, &outer);
first:
	bpf_res_spin_unlock(&lock_a);
none:
	bpf_local_irq_restore(&all);
	return XDP_PASS;
}

#define LOCKS 12

/* As many as there are in a row, then the first once more. */
SEC("xdp") int res_locks_in_a_row(struct xdp_md *ctx)
{
	struct account *a[LOCKS], *first = account(&array, 0);
	__s64 error;
	int n = 0;

	if (!first)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < LOCKS; i++) {
		a[i] = account(&array, i);
		if (!a[i])
			return XDP_DROP;
	}
#define TAKE(i) \
	if (bpf_res_spin_lock(&a[i]->lock)) \
		goto release_##i
#define RELEASE(i) \
	bpf_res_spin_unlock(&a[i]->lock); \
	n++; \
release_##i:
	TAKE(0);
	TAKE(1);
	TAKE(2);
	TAKE(3);
	TAKE(4);
	TAKE(5);
	TAKE(6);
	TAKE(7);
	TAKE(8);
	TAKE(9);
	TAKE(10);
	TAKE(11);
	error = bpf_res_spin_lock(&first->lock);
	if (!error)
		bpf_res_spin_unlock(&first->lock);
	result[1] = error;
	RELEASE(11)
	RELEASE(10)
	RELEASE(9)
	RELEASE(8)
	RELEASE(7)
	RELEASE(6)
	RELEASE(5)
	RELEASE(4)
	RELEASE(3)
	RELEASE(2)
	RELEASE(1)
	RELEASE(0)
	result[2] = n;
	return n == LOCKS ? XDP_PASS : XDP_TX;
}

/* One that may fail, inside of one that may not: the flags of both, one in the other. */
SEC("xdp") int res_lock_in_spin_lock(struct xdp_md *ctx)
{
	__u32 key = 0, size = packet_size(ctx);
	unsigned long flags;
	struct account *a;
	struct waiting *w;

	opaque(size);
	w = bpf_map_lookup_elem(&waitings, &key);
	a = account(&array, 3);
	if (!w || !a)
		return XDP_DROP;
	bpf_spin_lock(&w->lock);
	if (!bpf_res_spin_lock_irqsave(&a->lock, &flags)) {
		w->word += size;
		a->bytes += w->word;
		bpf_res_spin_unlock_irqrestore(&a->lock, &flags);
	}
	if (!bpf_res_spin_lock(&a->lock)) {
		a->packets++;
		bpf_res_spin_unlock(&a->lock);
	}
	bpf_spin_unlock(&w->lock);
	return XDP_PASS;
}

/* What may be done meanwhile: counting, references, pointers, pages of an arena. */
SEC("xdp") int res_lock_while_held(struct xdp_md *ctx)
{
	struct counted *counted, *again = NULL;
	__u32 key = 0, size = packet_size(ctx);
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);
	__u64 __arena *page = NULL;
	struct bpf_iter_num it;
	struct plain *p, *old;
	int sum = 0, *n;

	if (!s)
		return XDP_DROP;
	counted = bpf_obj_new(struct counted);
	if (!counted)
		return XDP_DROP;
	p = bpf_obj_new(struct plain);
	if (!p) {
		bpf_obj_drop(counted);
		return XDP_DROP;
	}
	p->a = size;
	p->b = s->before;
	counted->word = size;
	if (bpf_res_spin_lock(&s->lock)) {
		bpf_obj_drop(p);
		/* Or the compiler makes one call of two, which would be on objects of two types. */
		result[7]++;
		bpf_obj_drop(counted);
		return XDP_ABORTED;
	}
	old = bpf_kptr_xchg(&s->plain, p);
	bpf_iter_num_new(&it, 0, 10);
	while ((n = bpf_iter_num_next(&it)))
		sum += *n;
	bpf_iter_num_destroy(&it);
	again = bpf_refcount_acquire(counted);
	page = arena_pages(900, 1);
	s->before += sum;
	bpf_res_spin_unlock(&s->lock);
	if (page) {
		page[0] = size;
		result[3] += page[0];
	}
	if (old) {
		result[4] += old->a + old->b;
		bpf_obj_drop(old);
	}
	if (again) {
		result[5] += again->word;
		bpf_obj_drop(again);
	}
	bpf_obj_drop(counted);
	return XDP_PASS;
}

/* In an object of the program's own. */
SEC("xdp") int res_lock_in_object(struct xdp_md *ctx)
{
	struct counted *c = bpf_obj_new(struct counted);
	unsigned long flags;

	if (!c)
		return XDP_DROP;
	if (!bpf_res_spin_lock(&c->lock)) {
		c->word = packet_size(ctx);
		bpf_res_spin_unlock(&c->lock);
	}
	if (!bpf_res_spin_lock_irqsave(&c->lock, &flags)) {
		c->behind = c->word * 2;
		bpf_res_spin_unlock_irqrestore(&c->lock, &flags);
	}
	result[6] += c->behind;
	bpf_obj_drop(c);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
