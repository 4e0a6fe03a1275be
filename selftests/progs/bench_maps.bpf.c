// SPDX-License-Identifier: GPL-2.0
/*
 * What look-ups and accesses cost, by the kind of map: of NAME_1, NAME_10 and
 * NAME_value_10 the first makes one look-up, the second ten, and the third one
 * and ten accesses to the value.
 */
#include <vmlinux.h>
#include <bpf/bpf_endian.h>
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
/* No number of these fills a piece. */
TABLE(gaps, PERCPU_ARRAY, 0, 4096, 72);
/* A prefix's length, and an address of IPv4 or of IPv6. */
TABLE_OF_KEYS(trie, LPM_TRIE, BPF_F_NO_PREALLOC, 4096, 8, 8);
TABLE_OF_KEYS(trie_16, LPM_TRIE, BPF_F_NO_PREALLOC, 4096, 20, 8);
/* What is looked up there. */
#define ADDRESS 32, bpf_htonl(0x0a010203)
#define ADDRESS_16 128, bpf_htonl(0x20010db8), bpf_htonl(0x00010002), 0, bpf_htonl(3)

/* Four prefixes, so that a walk to the longest one meets four nodes: where two part is one, too. */
static __always_inline void fill_tries(void)
{
	__u32 of_8[] = { 8, bpf_htonl(0x0a000000) };
	__u32 of_16[] = { 16, bpf_htonl(0x0a010000) };
	__u32 of_24[] = { 24, bpf_htonl(0x0a010200) };
	__u32 beside[] = { 24, bpf_htonl(0x0a010300) };
	__u32 of_32[] = { 32, bpf_htonl(0x20010db8), 0, 0, 0 };
	__u32 of_48[] = { 48, bpf_htonl(0x20010db8), bpf_htonl(0x00010000), 0, 0 };
	__u32 of_64[] = { 64, bpf_htonl(0x20010db8), bpf_htonl(0x00010002), 0, 0 };
	__u32 beside_16[] = { 64, bpf_htonl(0x20010db8), bpf_htonl(0x00010003), 0, 0 };
	__u64 value = 0;

	bpf_map_update_elem(&trie, of_8, &value, 0);
	bpf_map_update_elem(&trie, of_16, &value, 0);
	bpf_map_update_elem(&trie, of_24, &value, 0);
	bpf_map_update_elem(&trie, beside, &value, 0);
	bpf_map_update_elem(&trie_16, of_32, &value, 0);
	bpf_map_update_elem(&trie_16, of_48, &value, 0);
	bpf_map_update_elem(&trie_16, of_64, &value, 0);
	bpf_map_update_elem(&trie_16, beside_16, &value, 0);
}

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
	fill_tries();
	return XDP_PASS;
}

/* `apart`: with a store between two look-ups, where both would cross the gate together. */
static __always_inline int look_up(void *map, const __u32 *key, int times, int touches, int apart)
{
	volatile __u64 *value;
	volatile __u64 between __attribute__((unused));

	for (int i = 0; i < times; i++) {
		value = bpf_map_lookup_elem(map, key);
		if (!value)
			return XDP_DROP;
		if (apart)
			between = i;
		for (int j = 0; j < touches; j++)
			*value;
	}
	return XDP_PASS;
}

#define RUN(name, times, touches, apart, ...)                                                      \
	{                                                                                          \
		__u32 key[9] = { __VA_ARGS__ };                                                    \
                                                                                                   \
		return look_up(&name, key, times, touches, apart);                                 \
	}
#define LOOK_UPS_OF(name, apart, ...)                                                              \
	SEC("xdp") int name##_1(struct xdp_md *ctx)                                                \
	RUN(name, 1, 0, apart, __VA_ARGS__)                                                        \
	SEC("xdp") int name##_10(struct xdp_md *ctx)                                               \
	RUN(name, 10, 0, apart, __VA_ARGS__)                                                       \
	SEC("xdp") int name##_value_10(struct xdp_md *ctx)                                         \
	RUN(name, 1, 10, apart, __VA_ARGS__)
#define LOOK_UPS(name) LOOK_UPS_OF(name, 0, KEY)
#define LOOK_UPS_APART(name) LOOK_UPS_OF(name, 1, KEY)

LOOK_UPS(hash)
LOOK_UPS(hash_12)
LOOK_UPS(hash_36)
LOOK_UPS(on_demand)
LOOK_UPS(lru)
LOOK_UPS(local)
LOOK_UPS(local_on_demand)
LOOK_UPS(local_lru)
LOOK_UPS(pieces)
LOOK_UPS_APART(gaps)
LOOK_UPS_OF(trie, 0, ADDRESS)
LOOK_UPS_OF(trie_16, 0, ADDRESS_16)

char _license[] SEC("license") = "GPL";
