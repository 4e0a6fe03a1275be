// SPDX-License-Identifier: GPL-2.0
/* Maps in maps: a count in whichever map is there. */
#include "corpus.h"

struct numbers {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} first SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct numbers);
} outer SEC(".maps") = {.values = {[1] = &first}};

struct named {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} first_named SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct named);
} outer_named SEC(".maps");

SEC("xdp") int counted_inside(struct xdp_md *ctx)
{
	__u32 which = 1, key = 3;
	void *map = bpf_map_lookup_elem(&outer, &which);
	__u64 *value = map ? bpf_map_lookup_elem(map, &key) : NULL;

	if (!value)
		return XDP_DROP;
	__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

SEC("xdp") int counted_by_name(struct xdp_md *ctx)
{
	__u32 which = 7, key = 3;
	void *map = bpf_map_lookup_elem(&outer_named, &which);
	__u64 *value, zero = 0;

	if (!map)
		return XDP_DROP;
	bpf_map_update_elem(map, &key, &zero, BPF_NOEXIST);
	value = bpf_map_lookup_elem(map, &key);
	if (!value)
		return XDP_DROP;
	__sync_fetch_and_add(value, 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
