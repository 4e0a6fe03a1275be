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
int tail_inside(struct xdp_md *ctx);
int tail_outside(struct xdp_md *ctx);
int tail_leaf_outside(struct xdp_md *ctx);
int tail_loop(struct xdp_md *ctx);
int tail_no_loop(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 16);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[0] = (void *)&tail_leaf,
		   [1] = (void *)&tail_middle,
		   [2] = (void *)&tail_self,
		   [3] = (void *)&tail_ping,
		   [4] = (void *)&tail_pong,
		   [8] = (void *)&tail_inside,
		   [9] = (void *)&tail_outside,
		   [10] = (void *)&tail_leaf_outside,
		   [11] = (void *)&tail_loop,
		   [12] = (void *)&tail_no_loop},
};

__u64 trail[16];

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

/*
 * Chains of programs that are isolated and such that are not: these ask for the
 * running task. One count is for all of them, whoever begins.
 */
static __always_inline void outside(void)
{
	if (!bpf_get_current_task())
		trail[15]++;
}

SEC("xdp") int tail_leaf_outside(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 14, 1);

	outside();
	trail[8]++;
	if (!p)
		return XDP_ABORTED;
	*p += 3;
	return XDP_TX;
}

SEC("xdp") int tail_to_outside(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 15, 1);

	if (p)
		*p = 0x17;
	bpf_xdp_adjust_head(ctx, -8);
	bpf_tail_call(ctx, &table, 10);
	return XDP_ABORTED;
}

SEC("xdp") int tail_inside(struct xdp_md *ctx)
{
	trail[9]++;
	bpf_tail_call(ctx, &table, 9);
	trail[10]++;
	return 7;
}

/* An index that the verifier knows, and one that it does not: two ways of the JIT. */
SEC("xdp") int tail_outside(struct xdp_md *ctx)
{
	__u32 inside = 8;

	outside();
	trail[11]++;
	opaque(inside);
	if (packet_size(ctx) != 64)
		bpf_tail_call(ctx, &table, inside);
	else
		bpf_tail_call(ctx, &table, 8);
	trail[12]++;
	return 8;
}

/* Each link of the chain is of another kind than the one before, or of the same. */
SEC("xdp") int tail_any(struct xdp_md *ctx)
{
	__u32 next = trail[13]++ % 3 ? 8 : 2;

	opaque(next);
	bpf_tail_call(ctx, &table, next);
	return 9;
}

/* Programs with a loop that the kernel counts, and such without. */
__u64 zero, sums[4];

SEC("xdp") int tail_loop(struct xdp_md *ctx)
{
	__u64 n = trail[14]++;

	sums[n & 3] += loop_to(zero, n % 5 ? 3000 : 70000);
	bpf_tail_call(ctx, &table, n & 1 ? 11 : 12);
	trail[15]++;
	return 10;
}

SEC("xdp") int tail_no_loop(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &table, 11);
	trail[15] += 1000;
	return 11;
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
