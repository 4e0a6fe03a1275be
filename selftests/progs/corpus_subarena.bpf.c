// SPDX-License-Identifier: GPL-2.0
/* Arenas in functions: part of the program, global, called back, behind a tail call. */
#include "corpus.h"
#include "arena.h"

__u64 result[8];

int arena_tail_target(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} programs SEC(".maps") = {
	.values = {[0] = (void *)&arena_tail_target},
};

SUBPROG __u64 sum_of(__u64 __arena *at)
{
	__u64 sum = 0;

	for (int i = 0; i < 16; i++)
		sum = sum * 3 + at[i];
	return sum;
}

__noinline __u64 fill(__u64 __arena *at __arg_arena, __u64 number)
{
	for (int i = 0; i < 16; i++)
		at[i] = number + i;
	return sum_of(at);
}

SEC("xdp") int arena_functions(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(-1, 1);

	if (!at)
		return XDP_DROP;
	result[0] = sum_of(at);
	result[1] = fill(at, packet_size(ctx));
	at[3] = 1;
	result[2] = sum_of(at);
	return XDP_PASS;
}

SUBPROG long add(__u32 index, void *context)
{
	__u64 __arena *at = *(__u64 __arena **)context;

	at[index & 63] += index;
	return 0;
}

SEC("xdp") int arena_callback(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(-1, 1);

	if (!at)
		return XDP_DROP;
	bpf_loop(100, add, &at, 0);
	result[0] = sum_of(at);
	at[0] = packet_size(ctx);
	result[1] = sum_of(at);
	return XDP_PASS;
}

SEC("xdp") int arena_tail_target(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(300, 1);

	at = arena_page(300);
	at[1] += packet_size(ctx);
	result[0] = sum_of(at);
	return XDP_TX;
}

SEC("xdp") int arena_tail(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(300, 1);

	at = arena_page(300);
	at[0]++;
	result[1] = sum_of(at);
	bpf_tail_call(ctx, &programs, 0);
	return XDP_DROP;
}

/* The target has an arena, this one not: what it has there is not in a register here. */
SEC("xdp") int plain_tail_into_arena(struct xdp_md *ctx)
{
	result[3] += packet_size(ctx);
	bpf_tail_call(ctx, &programs, 0);
	return XDP_DROP;
}

char _license[] SEC("license") = "GPL";
