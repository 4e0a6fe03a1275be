// SPDX-License-Identifier: GPL-2.0
/*
 * What look-ups and accesses cost, by the kind of map: of NAME_1, NAME_10 and
 * NAME_value_10 the first makes one look-up, the second ten, and the third one
 * and ten accesses to the value.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#define TABLE_OF_KEYS(name, kind, flags, entries, key, size)                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(map_flags, flags);                                                          \
		__uint(max_entries, entries);                                                      \
		__uint(key_size, key);                                                             \
		__uint(value_size, size);                                                          \
	} name SEC(".maps")
#define TABLE(name, kind, flags, entries, size)                                                   \
	TABLE_OF_KEYS(name, kind, flags, entries, 4, size)

/* Of the last one the value is in the third of its pieces of per-CPU memory. */
#define KEY 4000

TABLE(hash, HASH, 0, 4096, 8);
/* Two addresses and two ports, of IPv4 and of IPv6. */
TABLE_OF_KEYS(hash_12, HASH, 0, 4096, 12, 8);
TABLE_OF_KEYS(hash_36, HASH, 0, 4096, 36, 8);
TABLE(on_demand, HASH, BPF_F_NO_PREALLOC, 4096, 8);
TABLE(lru, LRU_HASH, 0, 4096, 8);
TABLE(local, PERCPU_HASH, 0, 1024, 8);
TABLE(local_on_demand, PERCPU_HASH, BPF_F_NO_PREALLOC, 1024, 8);
TABLE(local_lru, LRU_PERCPU_HASH, 0, 1024, 8);
TABLE(pieces, PERCPU_ARRAY, 0, 4096, 24);

/* The first one: the others find the key. */
SEC("xdp") int fill(struct xdp_md *ctx)
{
	__u32 key[9] = { KEY };
	__u64 value[3] = {};

	bpf_map_update_elem(&hash, &key, value, 0);
	bpf_map_update_elem(&hash_12, &key, value, 0);
	bpf_map_update_elem(&hash_36, &key, value, 0);
	bpf_map_update_elem(&on_demand, &key, value, 0);
	bpf_map_update_elem(&lru, &key, value, 0);
	bpf_map_update_elem(&local, &key, value, 0);
	bpf_map_update_elem(&local_on_demand, &key, value, 0);
	bpf_map_update_elem(&local_lru, &key, value, 0);
	return XDP_PASS;
}

static __always_inline int look_up(void *map, int times, int touches)
{
	volatile __u64 *value;
	__u32 key[9] = { KEY };

	for (int i = 0; i < times; i++) {
		value = bpf_map_lookup_elem(map, &key);
		if (!value)
			return XDP_DROP;
		for (int j = 0; j < touches; j++)
			*value;
	}
	return XDP_PASS;
}

#define LOOK_UPS(name)                                                                             \
	SEC("xdp") int name##_1(struct xdp_md *ctx)                                                \
	{                                                                                          \
		return look_up(&name, 1, 0);                                                       \
	}                                                                                          \
	SEC("xdp") int name##_10(struct xdp_md *ctx)                                               \
	{                                                                                          \
		return look_up(&name, 10, 0);                                                      \
	}                                                                                          \
	SEC("xdp") int name##_value_10(struct xdp_md *ctx)                                         \
	{                                                                                          \
		return look_up(&name, 1, 10);                                                      \
	}

LOOK_UPS(hash)
LOOK_UPS(hash_12)
LOOK_UPS(hash_36)
LOOK_UPS(on_demand)
LOOK_UPS(lru)
LOOK_UPS(local)
LOOK_UPS(local_on_demand)
LOOK_UPS(local_lru)
LOOK_UPS(pieces)

char _license[] SEC("license") = "GPL";
