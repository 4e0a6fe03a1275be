// SPDX-License-Identifier: GPL-2.0
/* Maps whose elements come as they are needed, whose creation fails (guest/faults.sh). */
#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct prefix {
	__u32 len;
	__be32 bits;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} local SEC(".maps");

SEC("xdp") int counted_in_both(struct xdp_md *ctx)
{
	struct prefix prefix = { 32, bpf_htonl(7) };
	__u64 *of_trie, *of_local, none = 0;
	__u32 key = 7;

	bpf_map_update_elem(&trie, &prefix, &none, BPF_NOEXIST);
	bpf_map_update_elem(&local, &key, &none, BPF_NOEXIST);
	of_trie = bpf_map_lookup_elem(&trie, &prefix);
	of_local = bpf_map_lookup_elem(&local, &key);
	if (!of_trie || !of_local)
		return XDP_ABORTED;
	++*of_trie;
	++*of_local;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
