// SPDX-License-Identifier: GPL-2.0
/* Changes a hash map while others do (map_calls stress). */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

#define COMMON 32

struct value {
	__u64 key, number;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct value);
} stressed SEC(".maps");

static long look(struct bpf_map *map, const __u32 *key, struct value *value, __u64 *sum)
{
	*sum += *key + value->number;
	return 0;
}

SEC("xdp") int change(struct xdp_md *ctx)
{
	__u32 r = bpf_get_prandom_u32(), key = (r >> 8) % COMMON;
	struct value value = { key, r }, *found;
	__u64 sum = 0;

	switch (r & 7) {
	case 0 ... 2:
		bpf_map_update_elem(&stressed, &key, &value, r >> 16 & 1);
		break;
	case 3:
		bpf_map_delete_elem(&stressed, &key);
		break;
	case 4:
		if (!(r >> 16 & 15))
			bpf_for_each_map_elem(&stressed, look, &sum, 0);
		break;
	default:
		found = bpf_map_lookup_elem(&stressed, &key);
		/* The element may be another key's meanwhile: only what none relies on. */
		if (found)
			sum = found->number;
	}
	return sum == 1 ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
