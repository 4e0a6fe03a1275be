// SPDX-License-Identifier: GPL-2.0
/* Memory of which each CPU has its own, allocated by programs and kept in values. */
#include "corpus.h"
#include "percpu.h"

struct counts {
	__u64 runs, words[4];
};

struct small {
	__u32 a, b;
};

struct kept {
	__u64 before;
	struct counts __percpu_kptr *counts;
	struct small __percpu_kptr *small;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct kept);
} hashed SEC(".maps");

__s64 result[16];

/* What is in new memory nobody says. */
static __always_inline void clear(struct counts *c)
{
	__builtin_memset(c, 0, sizeof(*c));
}

SEC("xdp") int percpu_object_kept(struct xdp_md *ctx)
{
	struct counts __percpu_kptr *p, *old;
	struct counts *mine, *first;
	__u32 key = 1;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!k)
		return XDP_DROP;
	p = k->counts;
	result[0] = p != NULL;
	if (!p) {
		p = bpf_percpu_obj_new(struct counts);
		if (!p)
			return XDP_DROP;
		old = bpf_kptr_xchg(&k->counts, p);
		if (old)
			bpf_percpu_obj_drop(old);
		p = k->counts;
		if (!p)
			return XDP_DROP;
		clear(bpf_this_cpu_ptr(p));
	}
	mine = bpf_this_cpu_ptr(p);
	result[1] = mine->runs++;
	mine->words[3] += 2;
	/* Programs of the corpus run on the first CPU. */
	first = bpf_per_cpu_ptr(p, 0);
	if (first) {
		result[2] = first == mine;
		result[3] = first->runs;
		result[4] = first->words[3];
	}
	result[5] = bpf_per_cpu_ptr(p, 4711) != NULL;
	result[6] = k->before;
	result[7] = k->after++;
	return XDP_PASS;
}

SEC("xdp") int percpu_object_dropped(struct xdp_md *ctx)
{
	struct small __percpu_kptr *p = bpf_percpu_obj_new(struct small);

	result[0] = p != NULL;
	if (p)
		bpf_percpu_obj_drop(p);
	return XDP_PASS;
}

/* Handed over it can be used on. */
SEC("xdp") int percpu_object_exchanged(struct xdp_md *ctx)
{
	struct small __percpu_kptr *p, *q;
	struct small *mine, *other;
	__u32 key = 0;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!k)
		return XDP_DROP;
	p = bpf_percpu_obj_new(struct small);
	if (!p)
		return XDP_DROP;
	q = bpf_kptr_xchg(&k->small, p);
	result[0] = q != NULL;
	if (q)
		bpf_percpu_obj_drop(q);
	mine = bpf_this_cpu_ptr(p);
	mine->a = 1;
	mine->b = 2;
	other = bpf_per_cpu_ptr(p, 1);
	result[1] = other != NULL;
	if (other) {
		other->a = 3;
		other->b = 4;
		result[2] = other->a + other->b;
	}
	result[3] = mine->a + mine->b;
	q = bpf_kptr_xchg(&k->small, NULL);
	result[4] = q == p;
	if (q)
		bpf_percpu_obj_drop(q);
	result[5] = k->small != NULL;
	return XDP_PASS;
}

SEC("xdp") int percpu_object_in_hash(struct xdp_md *ctx)
{
	struct counts __percpu_kptr *p;
	struct kept new = {.before = 7, .after = 9}, *k;
	struct counts *mine;
	__u32 key = 4711;

	result[0] = bpf_map_update_elem(&hashed, &key, &new, BPF_ANY);
	k = bpf_map_lookup_elem(&hashed, &key);
	if (!k)
		return XDP_DROP;
	p = bpf_percpu_obj_new(struct counts);
	if (!p)
		return XDP_DROP;
	p = bpf_kptr_xchg(&k->counts, p);
	result[1] = p != NULL;
	if (p)
		bpf_percpu_obj_drop(p);
	p = k->counts;
	if (p) {
		mine = bpf_this_cpu_ptr(p);
		mine->words[1] = 5;
		result[2] = mine->words[1] + k->before;
	}
	/* With what is in it. */
	result[3] = bpf_map_delete_elem(&hashed, &key);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
