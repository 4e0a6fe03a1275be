// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that take packets in several pages. The runner adds a packet of
 * 9000 bytes for them.
 */
#include "corpus.h"

__s64 result[8];
__u8 bytes[64];

SEC("xdp.frags") int frags_length(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_get_buff_len(ctx);
	result[1] = packet_size(ctx);
	return XDP_PASS;
}

SEC("xdp.frags") int frags_load(struct xdp_md *ctx)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);

	result[0] = bpf_xdp_load_bytes(ctx, len - 32, bytes, 32);
	/* Across the border between the first page and the next. */
	result[1] = bpf_xdp_load_bytes(ctx, 3500, bytes + 32, 32);
	return XDP_PASS;
}

SEC("xdp.frags") int frags_store(struct xdp_md *ctx)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);
	__u8 buf[40];

	for (int i = 0; i < 40; i++)
		buf[i] = 0xf0 ^ i;
	result[0] = bpf_xdp_store_bytes(ctx, len - 40, buf, 40);
	result[1] = bpf_xdp_store_bytes(ctx, 3500, buf, 40);
	return XDP_TX;
}

SEC("xdp.frags") int frags_tail(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_tail(ctx, -24);
	result[1] = bpf_xdp_adjust_tail(ctx, 8);
	result[2] = bpf_xdp_get_buff_len(ctx);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
