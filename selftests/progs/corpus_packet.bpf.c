// SPDX-License-Identifier: GPL-2.0
/* Direct reads and writes of packet and context. */
#include "corpus.h"

__u64 seen[16];

SEC("xdp") int read_widths(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);

	if (!p)
		return XDP_ABORTED;
	seen[0] = *p;
	seen[1] = *(__u16 *)(p + 2);
	seen[2] = *(__u32 *)(p + 4);
	seen[3] = *(__u64 *)(p + 8);
	return XDP_PASS;
}

SEC("xdp") int read_unaligned(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);

	if (!p)
		return XDP_ABORTED;
	seen[0] = *(__u16 *)(p + 13);
	seen[1] = *(__u32 *)(p + 21);
	seen[2] = *(__u64 *)(p + 35);
	seen[3] = *(__u64 *)(p + 56);
	return XDP_PASS;
}

SEC("xdp") int read_context(struct xdp_md *ctx)
{
	seen[0] = ctx->data_end - ctx->data;
	seen[1] = ctx->data - ctx->data_meta;
	seen[2] = ctx->ingress_ifindex;
	seen[3] = ctx->rx_queue_index;
	return ctx->ingress_ifindex ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int read_variable_offset(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64), *end = (void *)(long)ctx->data_end, *q;
	__u64 sum = 0;

	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 8; i++) {
		q = p + (p[14 + i] & 31);
		if (q + 23 > end)
			break;
		sum = sum * 31 + *q;
		sum += *(__u16 *)(q + 5);
		sum += *(__u32 *)(q + 9);
		sum ^= *(__u64 *)(q + 15);
	}
	seen[4] = sum;
	return XDP_PASS;
}

/* The last bytes of the packet, found from its end. */
SEC("xdp") int read_from_end(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end, *p;
	__u32 off = packet_size(ctx) - 16;

	if (off > 4000)
		return XDP_ABORTED;
	p = data + off;
	if (p + 16 > end)
		return XDP_ABORTED;
	seen[5] = *(__u64 *)p;
	seen[6] = *(__u64 *)(p + 8);
	return XDP_PASS;
}

SEC("xdp") int read_all(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 0;

	for (int i = 0; i < 3600; i++) {
		if (data + i + 1 > end)
			break;
		sum = sum * 1099511628211ull + data[i];
	}
	seen[7] = sum;
	return XDP_PASS;
}

SEC("xdp") CPU_V4 int read_signed(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);
	__s64 a, b, c, sum = 0;

	if (!p)
		return XDP_ABORTED;
#pragma unroll
	for (int i = 0; i < 48; i += 4) {
		asm volatile("%0 = *(s8 *)(%3 + %4)\n"
			     "%1 = *(s16 *)(%3 + %5)\n"
			     "%2 = *(s32 *)(%3 + %6)\n"
			     : "=&r"(a), "=&r"(b), "=&r"(c)
			     : "r"(p), "i"(i), "i"(i + 1), "i"(i + 3));
		sum = sum * 3 + a + b + c;
	}
	seen[8] = sum;
	return XDP_PASS;
}

SEC("xdp") int write_widths(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);

	if (!p)
		return XDP_ABORTED;
	*(volatile __u8 *)(p + 14) = p[0];
	*(volatile __u16 *)(p + 16) = *(__u16 *)(p + 2);
	*(volatile __u32 *)(p + 20) = *(__u32 *)(p + 4);
	*(volatile __u64 *)(p + 24) = *(__u64 *)(p + 8);
	*(volatile __u64 *)(p + 51) = *(__u64 *)(p + 7);
	*(volatile __u32 *)(p + 33) = *(__u32 *)(p + 9);
	return XDP_TX;
}

SEC("xdp") int write_immediates(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);

	if (!p)
		return XDP_ABORTED;
	asm volatile("*(u8 *)(%0 + 14) = 0x5a\n"
		     "*(u16 *)(%0 + 17) = 0x1234\n"
		     "*(u32 *)(%0 + 21) = 0x12345678\n"
		     "*(u64 *)(%0 + 29) = -2\n"
		     :
		     : "r"(p)
		     : "memory");
	return XDP_TX;
}

SEC("xdp") int write_variable_offset(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64), *end = (void *)(long)ctx->data_end, *q;

	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 8; i++) {
		q = p + (p[40 + i] & 31);
		if (q + 16 > end)
			break;
		*(volatile __u16 *)(q + 14) = 0xa500 + i;
	}
	return XDP_PASS;
}

SEC("xdp") int write_all(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	for (int i = 0; i < 3600; i++) {
		if (data + i + 1 > end)
			break;
		data[i] ^= i;
	}
	return XDP_TX;
}

/* The last byte alone: what is copied back must reach to the end. */
SEC("xdp") int write_last_byte(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 off = packet_size(ctx) - 1;

	if (off > 4000 || data + off + 1 > end)
		return XDP_ABORTED;
	data[off] = 0xee;
	return XDP_PASS;
}

/* Written before a verdict that throws the packet away: still visible. */
SEC("xdp") int write_then_drop(struct xdp_md *ctx)
{
	__u32 *p = packet_at(ctx, 14, 4);

	if (p)
		*p = 0xfeedface;
	return XDP_DROP;
}

SEC("xdp") int swap_macs(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth));
	__u8 mac[ETH_ALEN];

	if (!eth)
		return XDP_ABORTED;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return XDP_TX;
}

/* What a router does: a hop less, the checksum mended, addresses swapped. */
SEC("xdp") int route_ipv4(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth) + sizeof(struct iphdr));
	struct iphdr *ip = (void *)(eth + 1);
	__u32 check, addr;

	if (!eth || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ttl <= 1)
		return XDP_DROP;
	check = ip->check;
	check += bpf_htons(0x0100);
	ip->check = check + (check >= 0xffff);
	ip->ttl--;
	addr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = addr;
	seen[9]++;
	return XDP_TX;
}

/* The full checksum of the IPv4 header and of the first payload bytes. */
SEC("xdp") int checksum_ipv4(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth) + sizeof(struct iphdr));
	struct iphdr *ip = (void *)(eth + 1);
	__u16 *word = (void *)ip;
	__u32 sum = 0;

	if (!eth)
		return XDP_ABORTED;
	ip->check = 0;
	for (int i = 0; i < 10; i++)
		sum += word[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
	return XDP_PASS;
}

/* Parses down to UDP, answers to port 11211 alone, and turns it round. */
SEC("xdp") int answer_udp(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth));
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;
	__be16 port;

	if (!eth || eth->h_proto != bpf_htons(ETH_P_IP) || (void *)(ip + 1) > end)
		return XDP_PASS;
	if (ip->ihl < 5 || ip->protocol != IPPROTO_UDP)
		return XDP_PASS;
	udp = (void *)ip + ip->ihl * 4;
	if ((void *)(udp + 1) > end || udp->dest != bpf_htons(11211))
		return XDP_PASS;
	port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	udp->check = 0;
	seen[10] += bpf_ntohs(udp->len);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
