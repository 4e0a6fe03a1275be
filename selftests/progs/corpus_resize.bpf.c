// SPDX-License-Identifier: GPL-2.0
/* Helpers that move the packet's ends, and those that copy its bytes. */
#include "corpus.h"

__s64 result[8];
__u8 bytes[64];

SEC("xdp") int head_grow(struct xdp_md *ctx)
{
	struct ethhdr *eth, old;
	struct iphdr *ip;

	eth = packet_at(ctx, 0, sizeof(*eth));
	if (!eth)
		return XDP_ABORTED;
	old = *eth;
	result[0] = bpf_xdp_adjust_head(ctx, -(int)sizeof(*ip));
	eth = packet_at(ctx, 0, sizeof(*eth) + sizeof(*ip));
	if (!eth)
		return XDP_ABORTED;
	*eth = old;
	ip = (void *)(eth + 1);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->protocol = IPPROTO_IPIP;
	ip->tot_len = bpf_htons(packet_size(ctx) - sizeof(*eth));
	return XDP_TX;
}

SEC("xdp") int head_shrink(struct xdp_md *ctx)
{
	struct ethhdr *eth;

	result[0] = bpf_xdp_adjust_head(ctx, 20);
	eth = packet_at(ctx, 0, sizeof(*eth));
	if (!eth)
		return XDP_ABORTED;
	eth->h_proto = bpf_htons(ETH_P_IP);
	return XDP_PASS;
}

/* More headroom than there is, and a packet shorter than a header. */
SEC("xdp") int head_refused(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_head(ctx, -4000);
	result[1] = bpf_xdp_adjust_head(ctx, packet_size(ctx) - 13);
	result[2] = packet_size(ctx);
	return XDP_PASS;
}

/* Bytes cut off at the head are still there when it grows again. */
SEC("xdp") int head_round_trip(struct xdp_md *ctx)
{
	__u64 *p = packet_at(ctx, 0, 8);

	if (!p)
		return XDP_ABORTED;
	*p = 0x1122334455667788;
	result[0] = bpf_xdp_adjust_head(ctx, 16);
	result[1] = bpf_xdp_adjust_head(ctx, -16);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return XDP_ABORTED;
	result[2] = *p;
	return XDP_PASS;
}

SEC("xdp") int head_all_of_it(struct xdp_md *ctx)
{
	__u8 *p;

	/* The kernel keeps room for a frame descriptor in front. */
	for (int i = 0; i < 20; i++)
		result[0] += bpf_xdp_adjust_head(ctx, -16) == 0;
	result[1] = packet_size(ctx);
	p = packet_at(ctx, 0, 160);
	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 160; i++)
		p[i] = i;
	return XDP_TX;
}

SEC("xdp") int tail_grow(struct xdp_md *ctx)
{
	__u32 old = packet_size(ctx);
	__u8 *data, *end;

	result[0] = bpf_xdp_adjust_tail(ctx, 24);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (old > 4000 || data + old + 8 > end)
		return XDP_DROP;
	/* New bytes read as 0. */
	result[1] = data[old + 7];
	data[old] = 0x7e;
	return XDP_TX;
}

SEC("xdp") int tail_shrink(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_tail(ctx, -20);
	result[1] = packet_size(ctx);
	return XDP_PASS;
}

SEC("xdp") int tail_refused(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_tail(ctx, 5000);
	result[1] = bpf_xdp_adjust_tail(ctx, -5000);
	result[2] = bpf_xdp_adjust_tail(ctx, 13 - (int)packet_size(ctx));
	result[3] = packet_size(ctx);
	return XDP_PASS;
}

/* Bytes cut off at the tail read as 0 when it grows again. */
SEC("xdp") int tail_round_trip(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_tail(ctx, -16);
	result[1] = bpf_xdp_adjust_tail(ctx, 16);
	return XDP_PASS;
}

SEC("xdp") int both_ends(struct xdp_md *ctx)
{
	__u32 *p;

	for (int i = 0; i < 4; i++) {
		result[0] += bpf_xdp_adjust_head(ctx, i & 1 ? 8 : -12);
		p = packet_at(ctx, 0, 32);
		if (!p)
			return XDP_ABORTED;
		p[0] = i;
		p[1] += p[3];
		result[1] += bpf_xdp_adjust_tail(ctx, i & 1 ? -4 : 2);
	}
	return XDP_TX;
}

SEC("xdp") int meta_grow(struct xdp_md *ctx)
{
	__u32 *meta;

	result[0] = bpf_xdp_adjust_meta(ctx, -16);
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 4) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	for (int i = 0; i < 4; i++)
		meta[i] = 0x01010101 * i;
	return XDP_PASS;
}

/* The runner hands 16 bytes in front of the packet to programs named so. */
SEC("xdp") int meta_given(struct xdp_md *ctx)
{
	__u32 *meta = (void *)(long)ctx->data_meta;

	result[0] = ctx->data - ctx->data_meta;
	if ((void *)(meta + 4) > (void *)(long)ctx->data)
		return XDP_DROP;
	result[1] = meta[0];
	result[2] = meta[3];
	meta[1] = meta[0] + meta[2];
	return XDP_PASS;
}

SEC("xdp") int meta_given_shrink(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_meta(ctx, 8);
	result[1] = ctx->data - ctx->data_meta;
	return XDP_PASS;
}

SEC("xdp") int meta_refused(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_adjust_meta(ctx, -3);
	result[1] = bpf_xdp_adjust_meta(ctx, -1024);
	result[2] = bpf_xdp_adjust_meta(ctx, 4);
	return XDP_PASS;
}

/* Moving the head moves what stands in front of it. */
SEC("xdp") int meta_given_moves(struct xdp_md *ctx)
{
	__u32 *meta;

	result[0] = bpf_xdp_adjust_head(ctx, -32);
	result[1] = ctx->data - ctx->data_meta;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return XDP_DROP;
	result[2] = *meta;
	*meta = 0xabcdef01;
	return XDP_PASS;
}

SEC("xdp") int load_bytes(struct xdp_md *ctx)
{
	__u8 buf[24] = {};

	result[0] = bpf_xdp_load_bytes(ctx, 0, buf, sizeof(buf));
	__builtin_memcpy(bytes, buf, sizeof(buf));
	result[1] = bpf_xdp_load_bytes(ctx, 30, bytes + 24, 34);
	result[2] = bpf_xdp_load_bytes(ctx, packet_size(ctx) - 4, bytes + 60, 4);
	return XDP_PASS;
}

SEC("xdp") int load_bytes_variable(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 42, 8);
	__u32 len;

	if (!p)
		return XDP_ABORTED;
	len = (p[0] & 31) + 1;
	result[0] = bpf_xdp_load_bytes(ctx, p[1] & 15, bytes, len);
	return XDP_PASS;
}

SEC("xdp") int load_bytes_refused(struct xdp_md *ctx)
{
	__u8 buf[16] = {1, 2, 3};

	result[0] = bpf_xdp_load_bytes(ctx, packet_size(ctx) - 8, buf, sizeof(buf));
	result[1] = bpf_xdp_load_bytes(ctx, 0x10000, buf, 1);
	__builtin_memcpy(bytes, buf, sizeof(buf));
	return XDP_PASS;
}

SEC("xdp") int store_bytes(struct xdp_md *ctx)
{
	__u8 buf[20];

	for (int i = 0; i < 20; i++)
		buf[i] = 200 - i;
	result[0] = bpf_xdp_store_bytes(ctx, 15, buf, sizeof(buf));
	result[1] = bpf_xdp_store_bytes(ctx, packet_size(ctx) - 3, buf, 3);
	result[2] = bpf_xdp_store_bytes(ctx, packet_size(ctx) - 3, buf, 4);
	return XDP_TX;
}

/*
 * bpf_xdp_store_bytes keeps packet pointers valid: a pointer from before the
 * call sees the stored bytes, and the helper sees what was stored directly.
 */
SEC("xdp") int store_bytes_seen(struct xdp_md *ctx)
{
	__u32 *p = packet_at(ctx, 20, 16), value = 0x51525354;

	if (!p)
		return XDP_ABORTED;
	p[0] = 0x61626364;
	p[3] = 0x71727374;
	result[0] = bpf_xdp_store_bytes(ctx, 24, &value, 4);
	result[1] = p[1];
	p[2] = p[1] + 1;
	result[2] = bpf_xdp_load_bytes(ctx, 20, bytes, 16);
	return XDP_TX;
}

SEC("xdp") int buffer_length(struct xdp_md *ctx)
{
	result[0] = bpf_xdp_get_buff_len(ctx);
	bpf_xdp_adjust_tail(ctx, -7);
	result[1] = bpf_xdp_get_buff_len(ctx);
	bpf_xdp_adjust_head(ctx, -9);
	result[2] = bpf_xdp_get_buff_len(ctx);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
