// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray with objects that they have allocated, and with the
 * lists, trees and pointers in which they keep them.
 */
#include "breach.bpf.h"
#include "graph.h"

struct item {
	__u64 word;
	struct bpf_list_node node;
	__u64 behind;
};

/* As large as an item, with its node at the same place. */
struct other {
	__u64 word;
	struct bpf_list_node node;
	__u64 behind;
};

struct plain {
	__u64 words[5];
};

struct counted {
	__u64 word;
	struct bpf_list_node one, two;
	struct bpf_refcount count;
	__u64 behind;
};

struct leaf {
	__u64 key;
	struct bpf_rb_node node;
	__u64 words[400];
};

struct large {
	__u64 words[500];
};

/* Bytes 8 to 32, 40 to 56 and 56 to 60 are the kernel's. */
struct holes {
	__u64 before;
	struct bpf_list_node node;
	__u64 between;
	struct bpf_list_head list __contains(item, node);
	struct bpf_spin_lock lock;
	__u32 after[5];
};

struct stash {
	__u64 before;
	struct plain __kptr *plain;
	struct item __kptr *item;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stash);
} stashes SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head items __contains(item, node);
private(A) struct bpf_list_head others __contains(other, node);
private(B) struct bpf_spin_lock lock_b;
private(B) struct bpf_list_head items_b __contains(item, node);
private(C) struct bpf_spin_lock tree_lock;
private(C) struct bpf_rb_root tree __contains(leaf, node);
private(D) struct bpf_spin_lock count_lock;
private(D) struct bpf_list_head ones __contains(counted, one);

struct place global;

/* The pointer, sent to where another points, of which the verifier forgets. */
#define NUMBER(o, field, p) (*(volatile __u64 *)&(o)->field = (__u64)(long)(p))

static __always_inline void *toward(struct order *o, void *p, __u64 from, __u64 to)
{
	__u64 delta = lost(to - from);

	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	return p;
}

/* Where `base` and `got` of the order say. */
#define TOWARD(o, p) \
	((typeof(p))toward(o, p, *(volatile __u64 *)&(o)->base, *(volatile __u64 *)&(o)->got))

/* `p` and `q` are there, and known by number. */
#define TWO(type_of_p, type_of_q) \
	struct order *o = take_order(); \
	struct type_of_p *p; \
	struct type_of_q *q; \
	if (!o) \
		return XDP_DROP; \
	p = bpf_obj_new(struct type_of_p); \
	if (!p) \
		return XDP_DROP; \
	q = bpf_obj_new(struct type_of_q); \
	if (!q) { \
		bpf_obj_drop(p); \
		return XDP_DROP; \
	} \
	NUMBER(o, base, p); \
	NUMBER(o, got, q)

SEC("xdp") int read_after_drop(struct xdp_md *ctx)
{
	TWO(plain, plain);
	bpf_obj_drop(q);
	*(volatile __u64 *)&o->value = *(volatile __u64 *)TOWARD(o, p);
	bpf_obj_drop(p);
	return survived(o, 0);
}

SEC("xdp") int drop_twice(struct xdp_md *ctx)
{
	TWO(plain, plain);
	bpf_obj_drop(q);
	bpf_obj_drop(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int drop_another_type(struct xdp_md *ctx)
{
	TWO(item, other);
	bpf_obj_drop(TOWARD(o, p));
	bpf_obj_drop(q);
	return survived(o, 0);
}

SEC("xdp") int drop_what_is_in_a_list(struct xdp_md *ctx)
{
	TWO(item, item);
	bpf_spin_lock(&lock);
	bpf_list_push_back(&items, &q->node);
	bpf_spin_unlock(&lock);
	bpf_obj_drop(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int read_after_unlock(struct xdp_md *ctx)
{
	TWO(item, item);
	bpf_spin_lock(&lock);
	bpf_list_push_back(&items, &q->node);
	bpf_spin_unlock(&lock);
	*(volatile __u64 *)&o->value = *(volatile __u64 *)TOWARD(o, p);
	bpf_obj_drop(p);
	return survived(o, 0);
}

SEC("xdp") int push_twice(struct xdp_md *ctx)
{
	TWO(item, item);
	bpf_spin_lock(&lock);
	bpf_list_push_back(&items, &q->node);
	p = TOWARD(o, p);
	bpf_list_push_back(&items, &p->node);
	bpf_spin_unlock(&lock);
	return survived(o, 0);
}

SEC("xdp") int push_another_type(struct xdp_md *ctx)
{
	TWO(item, other);
	p = TOWARD(o, p);
	bpf_spin_lock(&lock);
	bpf_list_push_back(&items, &p->node);
	bpf_spin_unlock(&lock);
	bpf_obj_drop(q);
	return survived(o, 0);
}

/* The head of another list of the same lock, and one of another lock. */
SEC("xdp") int push_to_a_list_of_others(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct item *p;

	if (!o)
		return XDP_DROP;
	p = bpf_obj_new(struct item);
	if (!p)
		return XDP_DROP;
	NUMBER(o, base, &items);
	NUMBER(o, got, &others);
	bpf_spin_lock(&lock);
	bpf_list_push_back(TOWARD(o, &items), &p->node);
	bpf_spin_unlock(&lock);
	return survived(o, 0);
}

SEC("xdp") int push_without_the_lock(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct item *p;

	if (!o)
		return XDP_DROP;
	p = bpf_obj_new(struct item);
	if (!p)
		return XDP_DROP;
	NUMBER(o, base, &items);
	NUMBER(o, got, &items_b);
	bpf_spin_lock(&lock);
	bpf_list_push_back(TOWARD(o, &items), &p->node);
	bpf_spin_unlock(&lock);
	return survived(o, 0);
}

/* The order says how far from the right place it goes. */
SEC("xdp") int push_beside_the_list(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_list_head *head;
	struct item *p;

	if (!o)
		return XDP_DROP;
	p = bpf_obj_new(struct item);
	if (!p)
		return XDP_DROP;
	head = astray(o, &items);
	bpf_spin_lock(&lock);
	bpf_list_push_back(head, &p->node);
	bpf_spin_unlock(&lock);
	return survived(o, 0);
}

SEC("xdp") int push_beside_the_node(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct counted *c;

	if (!o)
		return XDP_DROP;
	c = bpf_obj_new(struct counted);
	if (!c)
		return XDP_DROP;
	c = astray(o, c);
	bpf_spin_lock(&count_lock);
	bpf_list_push_back(&ones, &c->one);
	bpf_spin_unlock(&count_lock);
	return survived(o, 0);
}

SEC("xdp") int count_beside(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct counted *c, *again;

	if (!o)
		return XDP_DROP;
	c = bpf_obj_new(struct counted);
	if (!c)
		return XDP_DROP;
	again = bpf_refcount_acquire((struct counted *)astray(o, c));
	bpf_obj_drop(again);
	bpf_obj_drop(c);
	return survived(o, 0);
}

SEC("xdp") int exchange_beside(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct plain *p;
	struct stash *s;
	__u32 key = 0;

	s = bpf_map_lookup_elem(&stashes, &key);
	if (!o || !s)
		return XDP_DROP;
	p = bpf_obj_new(struct plain);
	if (!p)
		return XDP_DROP;
	s = astray(o, s);
	p = bpf_kptr_xchg(&s->plain, p);
	if (p)
		bpf_obj_drop(p);
	return survived(o, 0);
}

SEC("xdp") int exchange_for_another_type(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);

	if (!s)
		return XDP_DROP;
	TWO(plain, item);
	p = bpf_kptr_xchg(&s->plain, TOWARD(o, p));
	if (p)
		bpf_obj_drop(p);
	bpf_obj_drop(q);
	return survived(o, 0);
}

SEC("xdp") int exchange_what_is_gone(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct stash *s = bpf_map_lookup_elem(&stashes, &key);

	if (!s)
		return XDP_DROP;
	TWO(plain, plain);
	bpf_obj_drop(q);
	p = bpf_kptr_xchg(&s->plain, TOWARD(o, p));
	if (p)
		bpf_obj_drop(p);
	return survived(o, 0);
}

/* Every byte of an object, of which some are the kernel's. */
SEC("xdp") int write_beside_object(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct holes *h;

	if (!o)
		return XDP_DROP;
	h = bpf_obj_new(struct holes);
	if (!h)
		return XDP_DROP;
	*(volatile __u8 *)astray(o, h) = 0x41;
	bpf_obj_drop(h);
	return survived(o, 0);
}

SEC("xdp") int read_beside_object(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct holes *h;
	__u8 got;

	if (!o)
		return XDP_DROP;
	h = bpf_obj_new(struct holes);
	if (!h)
		return XDP_DROP;
	got = *(volatile __u8 *)astray(o, h);
	bpf_obj_drop(h);
	return survived(o, got);
}

/* Ended with objects that nobody else has; large ones, so that they are missed. */
SEC("xdp") int hold_objects(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct large *l, *m;
	__u64 *to;

	if (!o)
		return XDP_DROP;
	to = astray(o, &global);
	l = bpf_obj_new(struct large);
	if (!l)
		return XDP_DROP;
	m = bpf_obj_new(struct large);
	if (!m) {
		bpf_obj_drop(l);
		return XDP_DROP;
	}
	*(volatile __u64 *)to = l->words[0];
	bpf_obj_drop(m);
	bpf_obj_drop(l);
	return survived(o, 0);
}

/* With a lock in an object, and one in a list before it. */
SEC("xdp") int hold_lock_in_object(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct holes *h;
	struct item *i;
	__u64 *to;

	if (!o)
		return XDP_DROP;
	to = astray(o, &global);
	h = bpf_obj_new(struct holes);
	if (!h)
		return XDP_DROP;
	i = bpf_obj_new(struct item);
	if (!i) {
		bpf_obj_drop(h);
		return XDP_DROP;
	}
	bpf_spin_lock(&h->lock);
	bpf_list_push_back(&h->list, &i->node);
	*(volatile __u64 *)to = i->word;
	bpf_spin_unlock(&h->lock);
	bpf_obj_drop(h);
	return survived(o, 0);
}

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct leaf, node)->key < container_of(b, struct leaf, node)->key;
}

static _Bool less_astray(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	__u64 *p = container_of(a, struct leaf, node)->words;
	__u64 delta = lost(1ull << 20);

	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	*(volatile __u64 *)p = 1;
	return container_of(a, struct leaf, node)->key < container_of(b, struct leaf, node)->key;
}

#define ADD(name, compare) \
	SEC("xdp") int name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		struct leaf *l; \
		if (!o) \
			return XDP_DROP; \
		l = bpf_obj_new(struct leaf); \
		if (!l) \
			return XDP_DROP; \
		l->key = o->value; \
		bpf_spin_lock(&tree_lock); \
		bpf_rbtree_add(&tree, &l->node, compare); \
		bpf_spin_unlock(&tree_lock); \
		return survived(o, 0); \
	}
ADD(tree_add, less)
ADD(compare_astray, less_astray)

/* A node that is none, and one of the tree after the lock was released. */
SEC("xdp") int remove_beside(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_rb_node *node;

	if (!o)
		return XDP_DROP;
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_first(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return XDP_DROP;
	}
	node = bpf_rbtree_remove(&tree, astray(o, node));
	bpf_spin_unlock(&tree_lock);
	if (node)
		bpf_obj_drop(container_of(node, struct leaf, node));
	return survived(o, 0);
}

/* Takes the first out and says its key; -1 if there is none. */
SEC("xdp") int tree_take(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_rb_node *node;
	struct leaf *l;

	if (!o)
		return XDP_DROP;
	bpf_spin_lock(&tree_lock);
	node = bpf_rbtree_first(&tree);
	if (!node) {
		bpf_spin_unlock(&tree_lock);
		return survived(o, -1);
	}
	node = bpf_rbtree_remove(&tree, node);
	bpf_spin_unlock(&tree_lock);
	if (!node)
		return XDP_DROP;
	l = container_of(node, struct leaf, node);
	o->value = l->key;
	bpf_obj_drop(l);
	return survived(o, o->value);
}

/* The locks, and the lists as far as they can be walked. */
SEC("xdp") int use_lists(struct xdp_md *ctx)
{
	struct bpf_list_node *a, *b, *c;

	bpf_spin_lock(&lock);
	a = bpf_list_pop_front(&items);
	bpf_spin_unlock(&lock);
	bpf_spin_lock(&lock_b);
	b = bpf_list_pop_front(&items_b);
	bpf_spin_unlock(&lock_b);
	bpf_spin_lock(&count_lock);
	c = bpf_list_pop_front(&ones);
	bpf_spin_unlock(&count_lock);
	if (a)
		bpf_obj_drop(container_of(a, struct item, node));
	if (b)
		bpf_obj_drop(container_of(b, struct item, node));
	if (c)
		bpf_obj_drop(container_of(c, struct counted, one));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
