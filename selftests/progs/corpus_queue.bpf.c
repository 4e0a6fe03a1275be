// SPDX-License-Identifier: GPL-2.0
/* Maps without keys, and maps of maps. */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 6);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 6);
	__type(value, __u64);
} stack SEC(".maps");

/* Without a seed of 0, chance could make a value seem to be there. */
struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(map_flags, BPF_F_ZERO_SEED);
	__uint(max_entries, 1000);
	__type(value, __u32);
} bloom SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} inner_a SEC(".maps"), inner_b SEC(".maps");

struct inner_hash {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} inner_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} outer_array SEC(".maps") = {.values = {[0] = &inner_a, [2] = &inner_b}};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner_hash);
} outer_hash SEC(".maps") = {.values = {[1] = &inner_hash}};

__s64 result[16];

SEC("xdp") int queue_use(struct xdp_md *ctx)
{
	__u64 value = packet_size(ctx);

	result[0] = bpf_map_push_elem(&queue, &value, BPF_ANY);
	value *= 2;
	result[1] = bpf_map_push_elem(&queue, &value, BPF_ANY);
	value = 0;
	result[2] = bpf_map_peek_elem(&queue, &value);
	result[3] = value;
	result[4] = bpf_map_pop_elem(&queue, &value);
	result[5] = value;
	return XDP_PASS;
}

SEC("xdp") int queue_full(struct xdp_md *ctx)
{
	for (__u64 i = 0; i < 8; i++)
		result[i] = bpf_map_push_elem(&queue, &i, i < 7 ? BPF_ANY : BPF_EXIST);
	return XDP_PASS;
}

SEC("xdp") int queue_empty(struct xdp_md *ctx)
{
	__u64 value = 5;

	for (int i = 0; i < 8; i++)
		result[0] = bpf_map_pop_elem(&queue, &value);
	result[1] = value;
	result[2] = bpf_map_peek_elem(&queue, &value);
	return XDP_PASS;
}

SEC("xdp") int stack_use(struct xdp_md *ctx)
{
	__u64 value = packet_size(ctx);

	result[0] = bpf_map_push_elem(&stack, &value, BPF_ANY);
	value++;
	result[1] = bpf_map_push_elem(&stack, &value, BPF_EXIST);
	result[2] = bpf_map_peek_elem(&stack, &value);
	result[3] = value;
	result[4] = bpf_map_pop_elem(&stack, &value);
	result[5] = value;
	return XDP_PASS;
}

/* Not on the stack: this verifier takes the value there for an output. */
__u32 value, other;

SEC("xdp") int bloom_use(struct xdp_md *ctx)
{
	value = packet_size(ctx);
	other = 0xdead0000 + value;
	result[0] = bpf_map_push_elem(&bloom, &value, BPF_ANY);
	result[1] = bpf_map_peek_elem(&bloom, &value);
	result[2] = bpf_map_peek_elem(&bloom, &other);
	return XDP_PASS;
}

SEC("xdp") int array_of_maps(struct xdp_md *ctx)
{
	__u32 key;
	__u64 *v;
	void *map;

	for (__u32 i = 0; i < 5; i++) {
		key = i;
		map = bpf_map_lookup_elem(&outer_array, &key);
		if (!map) {
			result[0]++;
			continue;
		}
		key = packet_size(ctx) & 3;
		v = bpf_map_lookup_elem(map, &key);
		if (v)
			*v += i + 1;
	}
	return XDP_PASS;
}

SEC("xdp") int hash_of_maps(struct xdp_md *ctx)
{
	__u32 key = 1, missing = 9;
	__u64 value = packet_size(ctx), *v;
	void *map = bpf_map_lookup_elem(&outer_hash, &key);

	if (!map)
		return XDP_ABORTED;
	result[0] = bpf_map_lookup_elem(&outer_hash, &missing) == NULL;
	key = packet_size(ctx);
	v = bpf_map_lookup_elem(map, &key);
	if (v)
		*v += 1;
	else
		result[1] = bpf_map_update_elem(map, &key, &value, BPF_ANY);
	key = 4;
	result[2] = bpf_map_delete_elem(map, &key);
	return XDP_PASS;
}

/* A constant key of an array of maps is looked up without a call. */
SEC("xdp") int array_of_maps_constant(struct xdp_md *ctx)
{
	__u32 key = 2;
	__u64 value = packet_size(ctx);
	void *map = bpf_map_lookup_elem(&outer_array, &key);

	if (!map)
		return XDP_ABORTED;
	key = 1;
	result[0] = bpf_map_update_elem(map, &key, &value, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
