// SPDX-License-Identifier: GPL-2.0
/*
 * A chain of tail calls out of sub-programs, in which each program is of another
 * kind than the one before: with the module each pair is a run inside of a run,
 * and 33 calls are more than the kernel's stack has room for.
 */
#include "corpus.h"

int chain_inside(struct xdp_md *ctx);
int chain_outside(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[0] = (void *)&chain_inside, [1] = (void *)&chain_outside},
};

SUBPROG int tail_to(struct xdp_md *ctx, __u32 which)
{
	int miss = 1;

	opaque(miss);
	bpf_tail_call(ctx, &table, which);
	return miss;
}

SEC("xdp") int chain_inside(struct xdp_md *ctx)
{
	return tail_to(ctx, 1) + 1;
}

/* Not isolated: it asks for the running task. */
SEC("xdp") int chain_outside(struct xdp_md *ctx)
{
	return bpf_get_current_task() ? tail_to(ctx, 0) + 1 : 0;
}

char _license[] SEC("license") = "GPL";
