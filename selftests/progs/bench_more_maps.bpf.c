// SPDX-License-Identifier: GPL-2.0
/*
 * What look-ups cost in maps whose values are nobody's to touch: NAME_1 makes one, NAME_10
 * ten. `selftests/figures.c` puts the loopback device into `ports` and `ports_hash`.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#define TABLE(name, kind, entries, size)                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(max_entries, entries);                                                      \
		__uint(key_size, 4);                                                               \
		__uint(value_size, size);                                                          \
	} name SEC(".maps")

TABLE(ports, DEVMAP, 1, 8);
TABLE(ports_hash, DEVMAP_HASH, 1, 8);

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { &inner } };

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer_hash SEC(".maps") = { .values = { &inner } };

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 16);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 16);
	__type(value, __u64);
} stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 16);
	__type(value, __u32);
} bloom SEC(".maps");

/* The first one: the others find something. */
SEC("xdp") int fill(struct xdp_md *ctx)
{
	__u64 value = 1;
	__u32 key = 0;

	bpf_map_push_elem(&queue, &value, BPF_EXIST);
	bpf_map_push_elem(&stack, &value, BPF_EXIST);
	bpf_map_push_elem(&bloom, &key, 0);
	return XDP_PASS;
}

/* Statements, which leave what they have found in `found`, so many times, with another between
 * each two. */
#define TIMES(times, separator, ...)                                                                          \
	{                                                                                          \
		volatile __u64 between __attribute__((unused));                                    \
		__u64 value __attribute__((unused));                                               \
		__u32 key __attribute__((unused)) = 0;                                             \
                                                                                                   \
		for (int i = 0; i < times; i++) {                                                  \
			void *found;                                                               \
                                                                                                   \
			__VA_ARGS__;                                                               \
			if (!found)                                                                \
				return XDP_DROP;                                                   \
			separator;                                                                 \
		}                                                                                  \
		return XDP_PASS;                                                                   \
	}
#define PROGRAMS_WITH(separator, name, ...)                                                        \
	SEC("xdp") int name##_1(struct xdp_md *ctx) TIMES(1, separator, __VA_ARGS__)               \
	SEC("xdp") int name##_10(struct xdp_md *ctx) TIMES(10, separator, __VA_ARGS__)
/* A store, without which some would cross the gate together. */
#define PROGRAMS(...) PROGRAMS_WITH(between = i, __VA_ARGS__)

PROGRAMS(ports, found = bpf_map_lookup_elem(&ports, &key))
PROGRAMS_WITH(barrier(), ports_row, found = bpf_map_lookup_elem(&ports, &key))
PROGRAMS(ports_hash, found = bpf_map_lookup_elem(&ports_hash, &key))
PROGRAMS(outer, found = bpf_map_lookup_elem(&outer, &key))
PROGRAMS(outer_hash, found = bpf_map_lookup_elem(&outer_hash, &key))
PROGRAMS(inside, {
	found = bpf_map_lookup_elem(&outer, &key);
	if (found)
		found = bpf_map_lookup_elem(found, &key);
})
PROGRAMS(queue, found = bpf_map_peek_elem(&queue, &value) ? NULL : &value)
PROGRAMS(stack, found = bpf_map_peek_elem(&stack, &value) ? NULL : &value)
PROGRAMS(bloom, {
	key = 0;
	found = bpf_map_peek_elem(&bloom, &key) ? NULL : &key;
})

char _license[] SEC("license") = "GPL";
