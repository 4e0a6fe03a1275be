// SPDX-License-Identifier: GPL-2.0
/* Trees of objects, which programs keep in order. */
#include "corpus.h"
#include "graph.h"

struct leaf {
	__u64 key, value;
	struct bpf_rb_node node;
};

struct shared {
	__u64 key;
	struct bpf_refcount count;
	struct bpf_rb_node by_key;
	struct bpf_list_node in_line;
};

struct forest {
	__u64 leaves;
	struct bpf_spin_lock lock;
	struct bpf_rb_root root __contains(leaf, node);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct forest);
} forests SEC(".maps");

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_rb_root root __contains(leaf, node);
private(B) struct bpf_spin_lock shared_lock;
private(B) struct bpf_rb_root keys __contains(shared, by_key);
private(B) struct bpf_list_head line __contains(shared, in_line);

__s64 result[8];
__u64 asked;

static _Bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	struct leaf *x = container_of(a, struct leaf, node);
	struct leaf *y = container_of(b, struct leaf, node);

	asked++;
	return x->key < y->key;
}

static _Bool less_shared(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	return container_of(a, struct shared, by_key)->key <
	       container_of(b, struct shared, by_key)->key;
}

static __always_inline int add(struct bpf_spin_lock *l, struct bpf_rb_root *to, __u64 key,
			       __u64 value)
{
	struct leaf *leaf = bpf_obj_new(struct leaf);
	int err;

	if (!leaf)
		return -1;
	leaf->key = key;
	leaf->value = value;
	bpf_spin_lock(l);
	err = bpf_rbtree_add(to, &leaf->node, less);
	/* Borrowed now. */
	leaf->value += 7;
	bpf_spin_unlock(l);
	return err;
}

static __always_inline __s64 take_first(struct bpf_spin_lock *l, struct bpf_rb_root *from)
{
	struct bpf_rb_node *node;
	struct leaf *leaf;
	__s64 got;

	bpf_spin_lock(l);
	node = bpf_rbtree_first(from);
	if (!node) {
		bpf_spin_unlock(l);
		return -1;
	}
	node = bpf_rbtree_remove(from, node);
	bpf_spin_unlock(l);
	if (!node)
		return -2;
	leaf = container_of(node, struct leaf, node);
	got = leaf->key * 1000 + leaf->value;
	bpf_obj_drop(leaf);
	return got;
}

SEC("xdp") int tree_add(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx);

	result[0] += add(&lock, &root, size * 7 & 63, size);
	result[0] += add(&lock, &root, size * 11 & 63, size + 1);
	result[0] += add(&lock, &root, size * 13 & 63, size + 2);
	return XDP_PASS;
}

SEC("xdp") int tree_first(struct xdp_md *ctx)
{
	add(&lock, &root, packet_size(ctx) * 5 & 31, 1);
	add(&lock, &root, packet_size(ctx) * 3 & 31, 2);
	result[1] = take_first(&lock, &root);
	return XDP_PASS;
}

SEC("xdp") int tree_walk(struct xdp_md *ctx)
{
	struct bpf_rb_node *node, *side;

	for (int i = 0; i < 6; i++)
		add(&lock, &root, i * 17 & 15, i);
	bpf_spin_lock(&lock);
	node = bpf_rbtree_root(&root);
	if (node) {
		result[2] += container_of(node, struct leaf, node)->key;
		side = bpf_rbtree_left(&root, node);
		if (side)
			result[3] += container_of(side, struct leaf, node)->key;
		side = bpf_rbtree_right(&root, node);
		if (side)
			result[4] += container_of(side, struct leaf, node)->key;
	}
	bpf_spin_unlock(&lock);
	for (int i = 0; i < 6; i++)
		result[5] = result[5] * 3 + take_first(&lock, &root);
	return XDP_PASS;
}

SEC("xdp") int tree_in_values(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx), key;
	struct forest *f;

	opaque(size);
	key = size & 1;
	f = bpf_map_lookup_elem(&forests, &key);
	if (!f)
		return XDP_DROP;
	if (!add(&f->lock, &f->root, size * 29 & 127, 0))
		f->leaves++;
	if (f->leaves > 4) {
		result[6] += take_first(&f->lock, &f->root);
		f->leaves--;
	}
	return XDP_PASS;
}

/* One object, in a tree and in a list. */
SEC("xdp") int tree_and_list(struct xdp_md *ctx)
{
	struct shared *s = bpf_obj_new(struct shared), *again;
	struct bpf_list_node *oldest;
	struct bpf_rb_node *node;

	if (!s)
		return XDP_ABORTED;
	s->key = packet_size(ctx) * 37 & 255;
	again = bpf_refcount_acquire(s);
	bpf_spin_lock(&shared_lock);
	bpf_rbtree_add(&keys, &s->by_key, less_shared);
	bpf_list_push_back(&line, &again->in_line);
	oldest = bpf_list_pop_front(&line);
	node = NULL;
	if (oldest) {
		s = container_of(oldest, struct shared, in_line);
		node = bpf_rbtree_remove(&keys, &s->by_key);
	} else {
		s = NULL;
	}
	bpf_spin_unlock(&shared_lock);
	if (s) {
		result[7] += s->key;
		bpf_obj_drop(s);
	}
	if (node)
		bpf_obj_drop(container_of(node, struct shared, by_key));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
