// SPDX-License-Identifier: GPL-2.0
/*
 * Tail calls inside sub-programs: the target returns to whoever called the
 * sub-program, and all of a run's tail calls together are at most 33, however
 * calls and tail calls are mixed. All programs of this file are loaded
 * together, since they are each other's targets; every one is also run by
 * itself. `trail` says how often each was reached.
 */
#include "corpus.h"

enum {
	LEAF,
	AGAIN,      /* tail-calls itself in a sub-program */
	TWICE,      /* ... in each of two sub-programs */
	PING,
	PONG,
	FIRST,      /* a chain of three, each link in a sub-program */
	SECOND,
	THIRD,
	FROM_MAIN,  /* tail-calls from its main part, then in a sub-program */
	STACKED,
	RESIZE,
	TWO_TABLES,
	LEAF_CALLS,
	MISSING,
	INSIDE, /* tail-calls from a sub-program to one that is not isolated, and back */
	OUTSIDE,
};

int plain_leaf(struct xdp_md *ctx);
int plain_resize(struct xdp_md *ctx);
int tail_again(struct xdp_md *ctx);
int tail_twice(struct xdp_md *ctx);
int tail_ping(struct xdp_md *ctx);
int tail_pong(struct xdp_md *ctx);
int chain_first(struct xdp_md *ctx);
int chain_second(struct xdp_md *ctx);
int chain_third(struct xdp_md *ctx);
int main_then_sub(struct xdp_md *ctx);
int stacked(struct xdp_md *ctx);
int two_tables(struct xdp_md *ctx);
int leaf_calls(struct xdp_md *ctx);
int tail_inside(struct xdp_md *ctx);
int tail_outside(struct xdp_md *ctx);
int plain_loop(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 16);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[LEAF] = (void *)&plain_leaf,
		   [AGAIN] = (void *)&tail_again,
		   [TWICE] = (void *)&tail_twice,
		   [PING] = (void *)&tail_ping,
		   [PONG] = (void *)&tail_pong,
		   [FIRST] = (void *)&chain_first,
		   [SECOND] = (void *)&chain_second,
		   [THIRD] = (void *)&chain_third,
		   [FROM_MAIN] = (void *)&main_then_sub,
		   [STACKED] = (void *)&stacked,
		   [RESIZE] = (void *)&plain_resize,
		   [TWO_TABLES] = (void *)&two_tables,
		   [LEAF_CALLS] = (void *)&leaf_calls,
		   [INSIDE] = (void *)&tail_inside,
		   [OUTSIDE] = (void *)&tail_outside},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} other_table SEC(".maps") = {
	.values = {[0] = (void *)&two_tables,
		   [1] = (void *)&plain_leaf,
		   [2] = (void *)&plain_loop},
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

__u64 trail[16];
__s64 result[8];

/* `miss` is what it returns when there was no tail call. */
SUBPROG int tail_to(struct xdp_md *ctx, __u32 which, int miss)
{
	opaque(miss);
	bpf_tail_call(ctx, &table, which);
	trail[15]++;
	return miss;
}

SEC("xdp") int plain_leaf(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 14, 1);

	trail[LEAF]++;
	if (!p)
		return XDP_ABORTED;
	*p += 1;
	return 40;
}

SUBPROG int leaf_part(struct xdp_md *ctx, int n)
{
	__u8 *p = packet_at(ctx, 15, 1);

	opaque(n);
	if (p)
		*p += n;
	return n * 2;
}

SEC("xdp") int leaf_calls(struct xdp_md *ctx)
{
	trail[LEAF_CALLS]++;
	return leaf_part(ctx, 4) + leaf_part(ctx, 5);
}

/* Hit, miss, out of range: the caller goes on with the target's verdict. */

SEC("xdp") int hit(struct xdp_md *ctx)
{
	result[0] = tail_to(ctx, LEAF, 7);
	result[1] = tail_to(ctx, LEAF_CALLS, 8);
	return result[0] + result[1];
}

SEC("xdp") int miss(struct xdp_md *ctx)
{
	result[0] = tail_to(ctx, MISSING, 7);
	result[1] = tail_to(ctx, 1000, 8);
	result[2] = tail_to(ctx, LEAF, 9);
	return result[0] * 100 + result[1] * 10;
}

SEC("xdp") int by_packet(struct xdp_md *ctx)
{
	__u32 which = packet_size(ctx) == 64 ? LEAF : packet_size(ctx) == 256 ? LEAF_CALLS : MISSING;

	opaque(which);
	return tail_to(ctx, which, 3) + 1;
}

/* The limit. */

SEC("xdp") int tail_again(struct xdp_md *ctx)
{
	trail[AGAIN]++;
	return tail_to(ctx, AGAIN, 5) + 1;
}

SEC("xdp") int limit_from_main(struct xdp_md *ctx)
{
	result[0] = leaf_part(ctx, 1);
	bpf_tail_call(ctx, &table, AGAIN);
	return 1;
}

SEC("xdp") int limit_from_sub(struct xdp_md *ctx)
{
	result[0] = tail_to(ctx, AGAIN, 9);
	result[1] = tail_to(ctx, AGAIN, 10);
	return 2;
}

/* Two calls each: a tree, which only a count for the whole run bounds. */
SEC("xdp") int tail_twice(struct xdp_md *ctx)
{
	int a, b;

	trail[TWICE]++;
	a = tail_to(ctx, TWICE, 1);
	b = tail_to(ctx, TWICE, 2);
	return (a * 3 + b) & 0xff;
}

SEC("xdp") int tail_ping(struct xdp_md *ctx)
{
	int a;

	trail[PING]++;
	a = tail_to(ctx, PING, 1);
	return (a + tail_to(ctx, PONG, 2)) & 0xff;
}

SEC("xdp") int tail_pong(struct xdp_md *ctx)
{
	int a;

	trail[PONG]++;
	a = tail_to(ctx, PONG, 3);
	return (a ^ tail_to(ctx, PING, 4)) & 0xff;
}

/*
 * A tree of programs that are isolated and such that are not: one count for all.
 * Each change of kind is a run inside of a run with the module, so there are not
 * too many: most calls stay with their kind.
 */
__u64 mixed[4];

SEC("xdp") int tail_inside(struct xdp_md *ctx)
{
	int a;

	mixed[0]++;
	a = tail_to(ctx, mixed[0] & 3 ? INSIDE : OUTSIDE, 1);
	mixed[1] = mixed[1] * 3 + a;
	return (a * 3 + tail_to(ctx, mixed[0] & 1 ? OUTSIDE : INSIDE, 2)) & 0xff;
}

SEC("xdp") int tail_outside(struct xdp_md *ctx)
{
	int a;

	if (!bpf_get_current_task())
		return 250;
	mixed[2]++;
	a = tail_to(ctx, mixed[2] & 3 ? OUTSIDE : INSIDE, 3);
	mixed[3] = mixed[3] * 5 + a;
	return (a ^ tail_to(ctx, mixed[2] & 1 ? INSIDE : OUTSIDE, 4)) & 0xff;
}

/* The table is an argument: the call's map is known only when it runs. */
SUBPROG int tail_through(struct xdp_md *ctx, void *map, __u32 which)
{
	opaque(which);
	bpf_tail_call(ctx, map, which);
	trail[14]++;
	return 6;
}

SEC("xdp") int two_tables(struct xdp_md *ctx)
{
	int a;

	trail[TWO_TABLES]++;
	a = tail_through(ctx, &table, TWO_TABLES);
	return (a + tail_through(ctx, &other_table, 0)) & 0xff;
}

/* A chain over three programs and back to the first, with and without noise. */

SUBPROG int chain_link(struct xdp_md *ctx, __u32 to)
{
	__u32 key = packet_size(ctx) & 3;

	opaque(to);
	if (packet_size(ctx) != 64) {
		__u64 *v = bpf_map_lookup_elem(&array, &key);

		if (v)
			*v += to;
	}
	bpf_tail_call(ctx, &table, to);
	return 11;
}

SEC("xdp") int chain_first(struct xdp_md *ctx)
{
	trail[FIRST]++;
	return chain_link(ctx, SECOND) + 1;
}

SEC("xdp") int chain_second(struct xdp_md *ctx)
{
	trail[SECOND]++;
	return chain_link(ctx, THIRD) + 2;
}

SEC("xdp") int chain_third(struct xdp_md *ctx)
{
	trail[THIRD]++;
	return chain_link(ctx, FIRST) + 3;
}

/* From main, and if that misses, in a sub-program. */
SEC("xdp") int main_then_sub(struct xdp_md *ctx)
{
	trail[FROM_MAIN]++;
	if (trail[FROM_MAIN] & 1)
		bpf_tail_call(ctx, &table, FROM_MAIN);
	return tail_to(ctx, FROM_MAIN, 12) + 1;
}

SEC("xdp") int sub_then_main(struct xdp_md *ctx)
{
	result[0] = tail_to(ctx, LEAF, 1);
	result[1] = tail_to(ctx, AGAIN, 2);
	bpf_tail_call(ctx, &table, LEAF_CALLS);
	return 13;
}

/* Deep stacks below and above the call; and one that is a single byte. */

SUBPROG int tail_with_stack(struct xdp_md *ctx, __u32 which)
{
	volatile __u8 own[200];
	int sum = 0;

	for (int i = 0; i < 200; i++)
		own[i] = which + i;
	bpf_tail_call(ctx, &table, which);
	for (int i = 0; i < 200; i += 7)
		sum += own[i];
	return sum;
}

SEC("xdp") int stacked(struct xdp_md *ctx)
{
	volatile __u8 own[200];
	int sum;

	trail[STACKED]++;
	for (int i = 0; i < 200; i++)
		own[i] = trail[STACKED] + i;
	sum = tail_with_stack(ctx, STACKED);
	for (int i = 0; i < 200; i += 3)
		sum += own[i];
	return sum & 0xffff;
}

SEC("xdp") int one_byte_stack(struct xdp_md *ctx)
{
	volatile __u8 own[1] = {0x5c};
	int n = tail_to(ctx, LEAF, 14);

	return n + own[0];
}

/* Three calls deep: the target returns to the innermost caller only. */

SUBPROG int deep_tail(struct xdp_md *ctx, __u64 *out)
{
	int n = tail_to(ctx, LEAF, 1);

	out[0] += 10;
	return n + 1;
}

SUBPROG int deeper_tail(struct xdp_md *ctx, __u64 *out)
{
	volatile __u64 own[2] = {1, 2};
	int n = deep_tail(ctx, out);

	out[1] += own[1];
	return n + own[0] + deep_tail(ctx, out);
}

SEC("xdp") int nested(struct xdp_md *ctx)
{
	__u64 out[2] = {packet_size(ctx), 1};

	result[0] = deeper_tail(ctx, out);
	result[1] = out[0];
	result[2] = out[1];
	return 15;
}

/* The caller's registers and stack after the target has used them all. */
SUBPROG NAKED int tail_registers(void)
{
	asm volatile("r6 = 1\n"
		     "r7 = 2\n"
		     "r8 = 3\n"
		     "r9 = 4\n"
		     "r2 = %[map] ll\n"
		     "r3 = 12\n" /* LEAF_CALLS */
		     "call 12\n" /* bpf_tail_call */
		     "r0 = r6\n"
		     "exit\n"
		     :
		     : [map] "i"(&table));
}

SEC("xdp") NAKED int registers_over_tail_call(void)
{
	asm volatile("r6 = r1\n"
		     "r7 = 0x7070707070707070 ll\n"
		     "r8 = *(u32 *)(r6 + 4)\n"
		     "r9 = *(u32 *)(r6 + 0)\n"
		     "r8 -= r9\n"
		     "r9 = r10\n"
		     "*(u64 *)(r9 - 8) = r7\n"
		     "call tail_registers\n"
		     "r1 = *(u64 *)(r9 - 8)\n"
		     "r0 += r1\n"
		     "r0 ^= r7\n"
		     "r0 += r8\n"
		     "r8 = r0\n"
		     "r1 = r6\n"
		     "call tail_registers\n"
		     "r0 += r8\n"
		     "exit\n"
		     :
		     : "i"(tail_registers));
}

/* The target moves the packet's ends; its caller's caller looks again. */

SEC("xdp") int plain_resize(struct xdp_md *ctx)
{
	trail[RESIZE]++;
	return bpf_xdp_adjust_head(ctx, -8) + bpf_xdp_adjust_tail(ctx, -3) + 16;
}

SEC("xdp") int target_resizes(struct xdp_md *ctx)
{
	__u64 *p;

	result[0] = tail_to(ctx, RESIZE, 1);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return XDP_ABORTED;
	*p = packet_size(ctx);
	return XDP_TX;
}

/* Two tail calls in one sub-program, and a loop around it. */

SUBPROG int tail_either(struct xdp_md *ctx, __u32 n)
{
	opaque(n);
	if (n & 1)
		bpf_tail_call(ctx, &table, LEAF);
	else if (n & 2)
		bpf_tail_call(ctx, &other_table, 1);
	else
		bpf_tail_call(ctx, &table, MISSING);
	return n;
}

SEC("xdp") int loop_of_tail_calls(struct xdp_md *ctx)
{
	int sum = 0;

	for (int i = 0; i < 50; i++)
		sum = sum * 3 + tail_either(ctx, i);
	result[0] = sum;
	return 17;
}

/* Loops that the kernel counts, on both sides of a function's tail call. */
__u64 zero;

SEC("xdp") int plain_loop(struct xdp_md *ctx)
{
	result[6] += loop_to(zero, 70000);
	return 41;
}

SUBPROG int tail_to_loop(struct xdp_md *ctx, int miss)
{
	opaque(miss);
	bpf_tail_call(ctx, &other_table, 2);
	return miss;
}

SEC("xdp") int from_loop(struct xdp_md *ctx)
{
	result[0] = loop_to(zero, 40000);
	result[1] = tail_to_loop(ctx, 3);
	result[2] = loop_to(zero, 40000);
	return 20;
}

/* In a global function. */

__noinline int tail_global(struct xdp_md *ctx, __u32 which)
{
	opaque(which);
	trail[13]++;
	bpf_tail_call(ctx, &table, which);
	return 18;
}

SEC("xdp") int from_global(struct xdp_md *ctx)
{
	result[0] = tail_global(ctx, LEAF);
	result[1] = tail_global(ctx, MISSING);
	result[2] = tail_global(ctx, TWICE);
	return 19;
}

char _license[] SEC("license") = "GPL";
