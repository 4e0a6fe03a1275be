// SPDX-License-Identifier: GPL-2.0
/* Redirection. BPF_PROG_TEST_RUN shows the verdict; live traffic the rest. */
#include "corpus.h"

/* The runner fills device maps with the loopback device, index 1. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 8);
} devices_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} sockets SEC(".maps");

__s64 result[8];

SEC("xdp") int redirect_device(struct xdp_md *ctx)
{
	return bpf_redirect(1, 0);
}

SEC("xdp") int redirect_refused(struct xdp_md *ctx)
{
	result[0] = bpf_redirect(1, 99);
	return XDP_PASS;
}

SEC("xdp") int redirect_devmap(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth));

	if (!eth)
		return XDP_ABORTED;
	eth->h_dest[5] = 0x55;
	return bpf_redirect_map(&devices, 0, XDP_DROP);
}

/* A miss gives back the low bits of the flags. */
SEC("xdp") int redirect_devmap_missing(struct xdp_md *ctx)
{
	result[0] = bpf_redirect_map(&devices, 7, XDP_TX);
	result[1] = bpf_redirect_map(&devices, 100, XDP_PASS);
	result[2] = bpf_redirect_map(&devices, 0, 0x1000);
	return bpf_redirect_map(&devices, packet_size(ctx) & 7, XDP_PASS);
}

SEC("xdp") int redirect_devmap_hash(struct xdp_md *ctx)
{
	result[0] = bpf_redirect_map(&devices_hash, 77, XDP_DROP);
	return bpf_redirect_map(&devices_hash, 1, XDP_DROP);
}

SEC("xdp") int redirect_broadcast(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, 0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}

SEC("xdp") int redirect_cpumap(struct xdp_md *ctx)
{
	result[0] = bpf_redirect_map(&cpus, 3, XDP_DROP);
	return bpf_redirect_map(&cpus, 0, XDP_PASS);
}

SEC("xdp") int redirect_xskmap(struct xdp_md *ctx)
{
	return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

/* The value of a device map can be read. */
SEC("xdp") int redirect_lookup(struct xdp_md *ctx)
{
	__u32 key = 0, *v = bpf_map_lookup_elem(&devices, &key);

	result[0] = v ? *v : -1;
	key = 6;
	result[1] = bpf_map_lookup_elem(&devices, &key) == NULL;
	result[2] = bpf_map_lookup_elem(&sockets, &key) == NULL;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
