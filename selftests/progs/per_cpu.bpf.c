// SPDX-License-Identifier: GPL-2.0
/* Counts packets for each CPU, as XDP programs do: guest/stores.sh. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct count {
	__u64 packets, bytes;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

/* More than one piece of per-CPU memory can be: these are in several. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct count);
} large SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct count);
} hashed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct count);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 5000);
	__type(key, __u32);
	__type(value, struct count);
} as_they_come SEC(".maps");

/* More than the module gives memory to before it is needed. */
struct sparse {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, __u32);
	__type(value, struct count);
} sparse SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct sparse);
} either SEC(".maps") = { .values = { [1] = &sparse } };

static __always_inline int count(void *map, struct xdp_md *ctx, __u32 key)
{
	struct count *value = bpf_map_lookup_elem(map, &key);

	if (!value)
		return XDP_ABORTED;
	value->packets++;
	value->bytes += ctx->data_end - ctx->data;
	value->last = key;
	return XDP_PASS;
}

static __always_inline int count_new(void *map, struct xdp_md *ctx, __u32 key)
{
	struct count none = {};

	if (!bpf_map_lookup_elem(map, &key) && bpf_map_update_elem(map, &key, &none, BPF_NOEXIST))
		return XDP_ABORTED;
	return count(map, ctx, key);
}

static long add(void *map, const __u32 *key, struct count *value, __u64 *sum)
{
	*sum += value->packets;
	return 0;
}

SEC("xdp") int counted(struct xdp_md *ctx)
{
	return count(&counts, ctx, 0);
}

SEC("xdp") int counted_large(struct xdp_md *ctx)
{
	return count(&large, ctx, 4095);
}

/* One element after the other, in all pieces. */
SEC("xdp") int counted_all_over(struct xdp_md *ctx)
{
	static __u32 next;

	return count(&large, ctx, __sync_fetch_and_add(&next, 1) % 4096);
}

/* As many keys as there are, in all pieces. */
SEC("xdp") int counted_hash(struct xdp_md *ctx)
{
	static __u32 next;

	return count_new(&hashed, ctx, __sync_fetch_and_add(&next, 1) % 4096);
}

SEC("xdp") int counted_recent(struct xdp_md *ctx)
{
	static __u32 next;

	return count_new(&recent, ctx, __sync_fetch_and_add(&next, 1));
}

/* What CPU 0 has counted, from another. */
SEC("xdp") int counted_elsewhere(struct xdp_md *ctx)
{
	__u32 key = 4000;
	struct count *value = bpf_map_lookup_percpu_elem(&hashed, &key, 0);

	return value && value->packets && value->last == key ? XDP_PASS : XDP_DROP;
}

/* What this CPU has counted, all of it. */
SEC("xdp") int counted_in_all(struct xdp_md *ctx)
{
	__u64 sum = 0;

	bpf_for_each_map_elem(&hashed, add, &sum, 0);
	return sum == 8192 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int counted_allocated(struct xdp_md *ctx)
{
	static __u32 next;

	return count_new(&as_they_come, ctx, __sync_fetch_and_add(&next, 1) % 4096);
}

/* What CPU 0 has counted there, and this CPU. */
SEC("xdp") int counted_as_they_came(struct xdp_md *ctx)
{
	__u32 key = 4000;
	struct count *value = bpf_map_lookup_percpu_elem(&as_they_come, &key, 0);
	__u64 sum = 0;

	if (!value || value->packets != 2 || value->last != key)
		return XDP_DROP;
	bpf_for_each_map_elem(&as_they_come, add, &sum, 0);
	return sum == 8192 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int counted_sparse(struct xdp_md *ctx)
{
	return count_new(&sparse, ctx, 1);
}

/* One is the module's, one the kernel's. */
static __always_inline int change_inner(struct xdp_md *ctx, __u32 which)
{
	__u32 key = 1 << 20 | bpf_get_smp_processor_id();
	struct count seven = { .packets = 7 }, *value;
	void *map = bpf_map_lookup_elem(&either, &which);

	if (!map || bpf_map_update_elem(map, &key, &seven, BPF_ANY))
		return XDP_ABORTED;
	if (count(map, ctx, key) != XDP_PASS)
		return XDP_ABORTED;
	value = bpf_map_lookup_percpu_elem(map, &key, bpf_get_smp_processor_id());
	if (!value || value->packets != 8)
		return XDP_DROP;
	if (bpf_map_delete_elem(map, &key) || bpf_map_lookup_elem(map, &key))
		return XDP_DROP;
	return XDP_PASS;
}

SEC("xdp") int counted_in_either(struct xdp_md *ctx)
{
	int verdict = change_inner(ctx, 0);

	return verdict == XDP_PASS ? change_inner(ctx, 1) : verdict;
}

char _license[] SEC("license") = "GPL";
