// SPDX-License-Identifier: GPL-2.0
/*
 * Tail calls. All programs of this file are loaded together, since they are
 * each other's targets; every one is also run by itself.
 */
#include "corpus.h"

int tail_leaf(struct xdp_md *ctx);
int tail_middle(struct xdp_md *ctx);
int tail_self(struct xdp_md *ctx);
int tail_ping(struct xdp_md *ctx);
int tail_pong(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[0] = (void *)&tail_leaf,
		   [1] = (void *)&tail_middle,
		   [2] = (void *)&tail_self,
		   [3] = (void *)&tail_ping,
		   [4] = (void *)&tail_pong},
};

__u64 trail[8];

SEC("xdp") int tail_leaf(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 14, 1);

	trail[0]++;
	if (!p)
		return XDP_ABORTED;
	*p += 1;
	return XDP_TX;
}

SEC("xdp") int tail_middle(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 15, 1);

	trail[1]++;
	if (p)
		*p = 0x42;
	bpf_tail_call(ctx, &table, 0);
	trail[7]++;
	return XDP_DROP;
}

SEC("xdp") int tail_chain(struct xdp_md *ctx)
{
	trail[2]++;
	bpf_xdp_adjust_head(ctx, -8);
	bpf_tail_call(ctx, &table, 1);
	return XDP_ABORTED;
}

/* Calls itself until the kernel refuses: 33 times. */
SEC("xdp") int tail_self(struct xdp_md *ctx)
{
	trail[3]++;
	bpf_tail_call(ctx, &table, 2);
	trail[4]++;
	return XDP_PASS;
}

SEC("xdp") int tail_ping(struct xdp_md *ctx)
{
	trail[5]++;
	bpf_tail_call(ctx, &table, 4);
	return 3;
}

SEC("xdp") int tail_pong(struct xdp_md *ctx)
{
	trail[6]++;
	bpf_tail_call(ctx, &table, 3);
	return 4;
}

SEC("xdp") int tail_missing(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &table, 6);
	trail[0] += 100;
	bpf_tail_call(ctx, &table, 1000);
	trail[0] += 100;
	return XDP_DROP;
}

/* An index that is known only when it runs. */
SEC("xdp") int tail_by_packet(struct xdp_md *ctx)
{
	__u32 i = packet_size(ctx) == 64 ? 0 : packet_size(ctx) == 256 ? 1 : 5;

	trail[7] += 1000;
	bpf_tail_call(ctx, &table, i);
	return 5;
}

/* A deep stack before the call, and the callee begins with one of its own. */
SEC("xdp") int tail_with_stack(struct xdp_md *ctx)
{
	volatile __u8 buf[300];

	for (int i = 0; i < 300; i++)
		buf[i] = i;
	trail[7] += buf[packet_size(ctx) & 255];
	bpf_tail_call(ctx, &table, 2);
	return buf[packet_size(ctx) & 127];
}

char _license[] SEC("license") = "GPL";
