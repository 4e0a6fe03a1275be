// SPDX-License-Identifier: GPL-2.0
/* Does with a hash map what the packet says (map_calls recent). */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} recent SEC(".maps");

SEC("xdp") int step(struct xdp_md *ctx)
{
	__u32 *packet = (void *)(long)ctx->data;
	__u32 key;
	__u64 value, *found;

	if ((void *)(packet + 4) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	key = packet[1];
	value = packet[2];
	switch (packet[0]) {
	case 0:
		found = bpf_map_lookup_elem(&recent, &key);
		if (!found)
			return XDP_DROP;
		*found += value;
		return XDP_PASS;
	case 1:
		return bpf_map_update_elem(&recent, &key, &value, packet[3]) ? XDP_DROP : XDP_PASS;
	default:
		return bpf_map_delete_elem(&recent, &key) ? XDP_DROP : XDP_PASS;
	}
}

char _license[] SEC("license") = "GPL";
