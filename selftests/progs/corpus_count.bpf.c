// SPDX-License-Identifier: GPL-2.0
/* How many keys a map has, by the kernel's count. */
#include "corpus.h"

/* Of the kernel's type only name and kind count. */
struct bpf_map {
	int unused;
};

extern __s64 bpf_map_sum_elem_count(const struct bpf_map *map) __ksym;

#define COUNTED(name, map_type, flags) \
	struct { \
		__uint(type, map_type); \
		__uint(map_flags, flags); \
		__uint(max_entries, 64); \
		__type(key, __u32); \
		__type(value, __u64); \
	} name SEC(".maps")

COUNTED(hash, BPF_MAP_TYPE_HASH, 0);
COUNTED(hash_on_demand, BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC);
COUNTED(forgets, BPF_MAP_TYPE_LRU_HASH, 0);
COUNTED(per_cpu, BPF_MAP_TYPE_PERCPU_HASH, 0);
COUNTED(per_cpu_on_demand, BPF_MAP_TYPE_PERCPU_HASH, BPF_F_NO_PREALLOC);
COUNTED(per_cpu_forgets, BPF_MAP_TYPE_LRU_PERCPU_HASH, 0);
/* Of those the kernel counts no keys. */
COUNTED(array, BPF_MAP_TYPE_ARRAY, 0);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64);
} trie SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} one SEC(".maps"), other SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &one, [2] = &other}};

__s64 result[8];

static __always_inline __s64 count(const void *map)
{
	return bpf_map_sum_elem_count(map);
}

/* One more and one less, by numbers that come again after a while. */
#define COUNT(map) \
	SEC("xdp") int count_##map(struct xdp_md *ctx) \
	{ \
		__u32 size = packet_size(ctx), key = size % 61; \
		__u64 value = size; \
		result[0] += count(&map); \
		result[1] = bpf_map_update_elem(&map, &key, &value, BPF_ANY); \
		result[2] += count(&map); \
		key = ((__u64)result[3]++ * 7) % 61; \
		bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST); \
		result[4] += count(&map); \
		key = (key + 5) % 61; \
		bpf_map_delete_elem(&map, &key); \
		result[5] += count(&map); \
		return XDP_PASS; \
	}
COUNT(hash)
COUNT(hash_on_demand)
COUNT(forgets)
COUNT(per_cpu)
COUNT(per_cpu_on_demand)
COUNT(per_cpu_forgets)
COUNT(array)

SEC("xdp") int count_trie(struct xdp_md *ctx)
{
	__u64 prefix = 16 | (__u64)packet_size(ctx) << 32, value = 1;

	bpf_map_update_elem(&trie, &prefix, &value, BPF_ANY);
	result[0] = count(&trie);
	return XDP_PASS;
}

/* Not the same map each time. */
SEC("xdp") int count_inner(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx), key = 1 + size / 4 % 2;
	void *map = bpf_map_lookup_elem(&outer, &key);
	__u64 value = size;

	if (!map)
		return XDP_DROP;
	bpf_map_update_elem(map, &size, &value, BPF_ANY);
	result[0] += count(map);
	size++;
	bpf_map_update_elem(map, &size, &value, BPF_ANY);
	result[1] += count(map);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
