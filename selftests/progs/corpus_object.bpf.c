// SPDX-License-Identifier: GPL-2.0
/* Objects that programs allocate, and keep in pointers and lists. */
#include "corpus.h"
#include "graph.h"

struct plain {
	__u64 a, b;
};

struct counted {
	__u64 word;
	struct bpf_refcount count;
	struct bpf_list_node one, two;
	__u64 behind;
};

struct item {
	__u64 number;
	struct bpf_list_node node;
	__u64 twice;
};

struct holder {
	__u64 word;
	struct plain __kptr *plain;
	struct bpf_list_node node;
};

/* A list inside of an object, with its own lock. */
struct chest {
	struct bpf_spin_lock lock;
	struct bpf_list_head items __contains(item, node);
	__u64 word;
};

struct stash {
	__u64 before;
	struct plain __kptr *plain;
	struct item __kptr *item;
	struct chest __kptr *chest;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct stash);
} stashes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct stash);
} hashed SEC(".maps");

struct listed {
	__u64 length;
	struct bpf_spin_lock lock;
	struct bpf_list_head items __contains(item, node);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct listed);
} lists SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head items __contains(item, node);
private(A) struct bpf_list_head holders __contains(holder, node);
private(B) struct bpf_spin_lock count_lock;
private(B) struct bpf_list_head ones __contains(counted, one);
private(B) struct bpf_list_head twos __contains(counted, two);

__s64 result[16];

SEC("xdp") int object_new(struct xdp_md *ctx)
{
	struct plain *p = bpf_obj_new(struct plain), *q;

	if (!p)
		return XDP_ABORTED;
	p->a = packet_size(ctx);
	p->b = p->a * 3;
	q = bpf_obj_new(struct plain);
	if (q) {
		q->a = p->b + 1;
		result[0] += q->a;
		bpf_obj_drop(q);
	}
	result[1] += p->b;
	bpf_obj_drop(p);
	return XDP_PASS;
}

static __always_inline int exchange(struct stash *s, __u32 size)
{
	struct plain *p = bpf_obj_new(struct plain);

	if (!p)
		return XDP_ABORTED;
	p->a = size;
	p->b = ++s->before;
	p = bpf_kptr_xchg(&s->plain, p);
	if (p) {
		result[2] += p->a;
		result[3] += p->b;
		s->after += p->b;
		bpf_obj_drop(p);
	}
	return XDP_PASS;
}

SEC("xdp") int object_exchange_array(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 1;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);

	return s ? exchange(s, packet_size(ctx)) : XDP_DROP;
}

SEC("xdp") int object_exchange_hash(struct xdp_md *ctx)
{
	struct stash *s, empty = {};
	__u32 key = packet_size(ctx) & 3;

	bpf_map_update_elem(&hashed, &key, &empty, BPF_NOEXIST);
	s = bpf_map_lookup_elem(&hashed, &key);
	if (!s)
		return XDP_DROP;
	key = exchange(s, packet_size(ctx));
	exchange(s, 1000);
	return key;
}

/* The pointer is read where it is, without taking it out. */
SEC("xdp") int object_read(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 1;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);
	struct plain *p;

	if (!s)
		return XDP_DROP;
	p = s->plain;
	if (!p)
		return exchange(s, 7);
	result[4] += p->a;
	p->b += 100;
	return XDP_PASS;
}

SEC("xdp") int object_out(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 1;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);
	struct plain *p;

	if (!s)
		return XDP_DROP;
	p = bpf_kptr_xchg(&s->plain, NULL);
	if (!p)
		return XDP_TX;
	result[5] += p->a + p->b;
	bpf_obj_drop(p);
	return XDP_PASS;
}

static __always_inline int push(struct bpf_spin_lock *l, struct bpf_list_head *head, __u64 number,
				_Bool front)
{
	struct item *item = bpf_obj_new(struct item);
	int err;

	if (!item)
		return -1;
	item->number = number;
	bpf_spin_lock(l);
	err = front ? bpf_list_push_front(head, &item->node) : bpf_list_push_back(head, &item->node);
	/* Borrowed now. */
	item->twice = 2 * number;
	bpf_spin_unlock(l);
	return err;
}

static __always_inline __u64 pop(struct bpf_spin_lock *l, struct bpf_list_head *head, _Bool front)
{
	struct bpf_list_node *node;
	struct item *item;
	__u64 number;

	bpf_spin_lock(l);
	node = front ? bpf_list_pop_front(head) : bpf_list_pop_back(head);
	bpf_spin_unlock(l);
	if (!node)
		return -1;
	item = container_of(node, struct item, node);
	number = item->number * 1000 + item->twice;
	bpf_obj_drop(item);
	return number;
}

SEC("xdp") int list_both_ends(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx);

	opaque(size);
	result[0] = pop(&lock, &items, 1);
	push(&lock, &items, size, 0);
	push(&lock, &items, size + 1, 1);
	push(&lock, &items, size + 2, 0);
	result[1] = pop(&lock, &items, 1);
	result[2] = pop(&lock, &items, 0);
	/* One stays. */
	return XDP_PASS;
}

SEC("xdp") int list_look(struct xdp_md *ctx)
{
	struct bpf_list_node *node;

	push(&lock, &items, packet_size(ctx), 0);
	push(&lock, &items, packet_size(ctx) + 5, 0);
	bpf_spin_lock(&lock);
	node = bpf_list_front(&items);
	if (node)
		result[6] += container_of(node, struct item, node)->number;
	node = bpf_list_back(&items);
	if (node) {
		result[7] += container_of(node, struct item, node)->twice;
		container_of(node, struct item, node)->twice++;
	}
	bpf_spin_unlock(&lock);
	result[8] += pop(&lock, &items, 0);
	return XDP_PASS;
}

SEC("xdp") int list_in_values(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx), key;
	struct listed *l;

	opaque(size);
	key = size & 1;
	l = bpf_map_lookup_elem(&lists, &key);
	if (!l)
		return XDP_DROP;
	if (!push(&l->lock, &l->items, size, 0))
		l->length++;
	if (l->length > 3) {
		result[9] += pop(&l->lock, &l->items, 1);
		l->length--;
	}
	return XDP_PASS;
}

/* An object that holds another. */
SEC("xdp") int list_of_holders(struct xdp_md *ctx)
{
	struct holder *h = bpf_obj_new(struct holder);
	struct bpf_list_node *node;
	struct plain *p;

	if (!h)
		return XDP_ABORTED;
	p = bpf_obj_new(struct plain);
	if (!p) {
		bpf_obj_drop(h);
		return XDP_ABORTED;
	}
	h->word = packet_size(ctx);
	p->a = h->word + 1;
	p = bpf_kptr_xchg(&h->plain, p);
	if (p)
		bpf_obj_drop(p);
	bpf_spin_lock(&lock);
	bpf_list_push_back(&holders, &h->node);
	node = bpf_list_pop_front(&holders);
	bpf_spin_unlock(&lock);
	if (!node)
		return XDP_DROP;
	h = container_of(node, struct holder, node);
	p = bpf_kptr_xchg(&h->plain, NULL);
	if (p) {
		result[10] += p->a;
		bpf_obj_drop(p);
	}
	result[11] += h->word;
	bpf_obj_drop(h);
	return XDP_PASS;
}

/* A list in an object, which is dropped with what is in it. */
SEC("xdp") int list_in_an_object(struct xdp_md *ctx)
{
	struct chest *c = bpf_obj_new(struct chest), *old;
	__u32 key = 2;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);

	if (!c)
		return XDP_ABORTED;
	c->word = packet_size(ctx);
	push(&c->lock, &c->items, c->word, 0);
	push(&c->lock, &c->items, c->word + 1, 0);
	result[12] += pop(&c->lock, &c->items, 1);
	if (!s) {
		bpf_obj_drop(c);
		return XDP_DROP;
	}
	old = bpf_kptr_xchg(&s->chest, c);
	if (old) {
		result[13] += old->word + pop(&old->lock, &old->items, 0);
		bpf_obj_drop(old);
	}
	return XDP_PASS;
}

SEC("xdp") int count_two_lists(struct xdp_md *ctx)
{
	struct counted *c = bpf_obj_new(struct counted), *again;
	struct bpf_list_node *node;

	if (!c)
		return XDP_ABORTED;
	c->word = packet_size(ctx);
	c->behind = 0;
	again = bpf_refcount_acquire(c);
	bpf_spin_lock(&count_lock);
	bpf_list_push_back(&ones, &c->one);
	/* Only the second push of the two is of a node that is in no list. */
	result[14] += bpf_list_push_back(&twos, &again->two);
	node = bpf_list_pop_front(&ones);
	bpf_spin_unlock(&count_lock);
	if (node) {
		c = container_of(node, struct counted, one);
		c->behind += 3;
		bpf_obj_drop(c);
	}
	bpf_spin_lock(&count_lock);
	node = bpf_list_pop_back(&twos);
	bpf_spin_unlock(&count_lock);
	if (node) {
		c = container_of(node, struct counted, two);
		result[15] += c->word + c->behind;
		bpf_obj_drop(c);
	}
	return XDP_PASS;
}

SEC("xdp") int count_pushed_twice(struct xdp_md *ctx)
{
	struct counted *c = bpf_obj_new(struct counted), *again;
	struct bpf_list_node *node;

	if (!c)
		return XDP_ABORTED;
	c->word = packet_size(ctx);
	c->behind = 0;
	again = bpf_refcount_acquire(c);
	bpf_spin_lock(&count_lock);
	result[0] += bpf_list_push_back(&ones, &c->one);
	result[1] += bpf_list_push_back(&ones, &again->one);
	node = bpf_list_front(&ones);
	again = NULL;
	if (node)
		again = bpf_refcount_acquire(container_of(node, struct counted, one));
	bpf_spin_unlock(&count_lock);
	if (again) {
		result[2] += ++again->behind;
		bpf_obj_drop(again);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
