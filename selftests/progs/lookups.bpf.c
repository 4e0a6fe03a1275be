// SPDX-License-Identifier: GPL-2.0
/*
 * Look-ups in hash maps that others change meanwhile, with keys of four and of eight
 * bytes. `change` replaces the values of some keys, and puts in and takes out others,
 * all in few chains. To `find` the first are always there, and a third kind never is.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

/* Keys that stay, that come and go, and that never come. */
#define STAYING 4
#define PASSING 16
#define ABSENT 100

#define TABLE(name, of)                                                                            \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, 16);                                                           \
		__type(key, of);                                                                   \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

TABLE(narrow, __u32);
TABLE(wide, __u64);

/* Keys that were not found though there, and found though not; and all look-ups. */
__u64 missed, invented, looked;

#define CHANGE(map, type, r)                                                                       \
	do {                                                                                       \
		__u64 value = r;                                                                   \
		type key = (r >> 8) % PASSING;                                                     \
                                                                                                   \
		if (key >= STAYING && r & 1)                                                       \
			bpf_map_delete_elem(map, &key);                                            \
		else                                                                               \
			bpf_map_update_elem(map, &key, &value, BPF_ANY);                           \
	} while (0)

SEC("xdp") int change(struct xdp_md *ctx)
{
	__u32 r = bpf_get_prandom_u32();

	if (r & 2)
		CHANGE(&narrow, __u32, r);
	else
		CHANGE(&wide, __u64, r);
	return XDP_PASS;
}

/* The first time, of a key each. */
SEC("xdp") int begin(struct xdp_md *ctx)
{
	for (__u32 n = 0; n < STAYING; n++) {
		__u64 value = n, key = n;
		__u32 short_key = n;

		bpf_map_update_elem(&narrow, &short_key, &value, BPF_ANY);
		bpf_map_update_elem(&wide, &key, &value, BPF_ANY);
	}
	return XDP_PASS;
}

#define FIND(map, type)                                                                            \
	for (type n = 0; n < STAYING; n++) {                                                       \
		type key = n;                                                                      \
                                                                                                   \
		missed += !bpf_map_lookup_elem(map, &key);                                         \
		key += ABSENT;                                                                     \
		invented += !!bpf_map_lookup_elem(map, &key);                                      \
		looked += 2;                                                                       \
	}

SEC("xdp") int find(struct xdp_md *ctx)
{
	FIND(&narrow, __u32);
	FIND(&wide, __u64);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
