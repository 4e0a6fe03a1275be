// SPDX-License-Identifier: GPL-2.0
/*
 * Programs for xdp-loader's chains: each adds its number to a trail, for pings
 * only. The map is pinned by its name, so all of a chain have the same.
 */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} trail SEC(".maps");

static __always_inline int step(struct xdp_md *ctx, __u32 number)
{
	struct iphdr *ip = packet_at(ctx, sizeof(struct ethhdr), sizeof(*ip));
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth));
	__u32 key = 0;
	__u64 *v = bpf_map_lookup_elem(&trail, &key);

	if (ip && eth && v && eth->h_proto == bpf_htons(ETH_P_IP) && ip->protocol == IPPROTO_ICMP)
		*v = *v * 10 + number;
	return XDP_PASS;
}

SEC("xdp") int chain_one(struct xdp_md *ctx)
{
	return step(ctx, 1);
}

SEC("xdp") int chain_two(struct xdp_md *ctx)
{
	return step(ctx, 2);
}

SEC("xdp") int chain_three(struct xdp_md *ctx)
{
	return step(ctx, 3);
}

char _license[] SEC("license") = "GPL";
