// SPDX-License-Identifier: GPL-2.0
/* Changes a trie while others do (map_calls stress). */
#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define COMMON 32

struct value {
	__u64 key, number;
};

struct prefix {
	__u32 len;
	__be32 bits;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct prefix);
	__type(value, struct value);
} stressed SEC(".maps");

SEC("xdp") int change(struct xdp_md *ctx)
{
	__u32 r = bpf_get_prandom_u32(), number = (r >> 8) % COMMON;
	struct prefix key = { 28, bpf_htonl(number << 4) };
	struct value value = { number, r }, *found;
	__u64 sum = 0;

	switch (r & 7) {
	case 0 ... 2:
		bpf_map_update_elem(&stressed, &key, &value, r >> 16 & 1);
		break;
	case 3:
		bpf_map_delete_elem(&stressed, &key);
		break;
	default:
		key.len = 32;
		key.bits |= bpf_htonl(r >> 16 & 15);
		found = bpf_map_lookup_elem(&stressed, &key);
		/* The node may be another prefix's meanwhile: only what none relies on. */
		if (found)
			sum = found->number;
	}
	return sum == 1 ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
