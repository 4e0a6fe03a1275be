// SPDX-License-Identifier: GPL-2.0
/*
 * What others attach to, or replace: a program and its functions, which take
 * the context and write the packet, a pointer to the caller's stack, and make
 * tail calls.
 */
#include "corpus.h"
#include "attach.h"

int plain_next(struct xdp_md *ctx);
int plain_self(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 3);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[0] = (void *)&plain_next, [2] = (void *)&plain_self},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

__s64 result[8];

SEC("xdp") int plain_next(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 40, 2);

	if (!p)
		return XDP_ABORTED;
	p[0] += 3;
	p[1] ^= 0x5a;
	return 60;
}

/* Until there may be no more of them. */
SEC("xdp") int plain_self(struct xdp_md *ctx)
{
	result[7]++;
	bpf_tail_call(ctx, &table, 2);
	return 62;
}

__noinline int change_packet(struct xdp_md *ctx)
{
	__u8 *p;
	int got;

	got = bpf_xdp_adjust_head(ctx, -2);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return -1;
	p[0] = 0x10;
	p[1] = 0x11;
	p[7]++;
	return p[2] + got;
}

__noinline int sum_of(struct words *w, int by)
{
	__u32 key = 1;
	__u64 *v;

	if (!w)
		return -1;
	v = bpf_map_lookup_elem(&hash, &key);
	if (v)
		*v += 1;
	w->n[0] += by;
	w->n[2] ^= w->n[1];
	return w->n[0] + w->n[3];
}

__noinline int leave_for(struct xdp_md *ctx, __u32 which)
{
	__u8 *p = packet_at(ctx, 45, 1);
	int miss = 61;

	opaque(which);
	opaque(miss);
	if (p)
		*p += 9;
	bpf_tail_call(ctx, &table, which);
	return miss;
}

SUBPROG int inner(int n)
{
	opaque(n);
	return n * 3;
}

SEC("xdp") int attached_to(struct xdp_md *ctx)
{
	struct words w = {.n = {1, 2, 3, packet_size(ctx)}};
	__u8 *p = packet_at(ctx, 0, 60);
	__u32 key = 1;
	__u64 zero = 0;

	if (!p)
		return XDP_ABORTED;
	p[20] = 0x77;
	result[7] = 0;
	bpf_map_update_elem(&hash, &key, &zero, BPF_NOEXIST);
	result[0] = change_packet(ctx);
	p = packet_at(ctx, 0, 60);
	if (!p)
		return XDP_ABORTED;
	result[1] = p[0] << 8 | p[22];
	p[30]++;
	result[2] = sum_of(&w, 5);
	result[3] = w.n[0] ^ w.n[2] ^ w.n[3];
	result[4] = leave_for(ctx, 0);
	result[5] = leave_for(ctx, 1) + leave_for(ctx, 2);
	p = packet_at(ctx, 0, 60);
	if (!p)
		return XDP_ABORTED;
	result[6] = p[40] << 16 | p[41] << 8 | p[45];
	p[50] ^= result[4];
	return inner(XDP_PASS) - 4;
}

char _license[] SEC("license") = "GPL";
