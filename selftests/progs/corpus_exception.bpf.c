// SPDX-License-Identifier: GPL-2.0
/*
 * Exceptions: bpf_throw from main, from sub-programs static and global, however
 * deep, behind tail calls; the default callback, which hands the cookie on as
 * verdict, and own ones, which choose it; assertions. What was stored before
 * the throw stays, what comes after does not happen.
 */
#include "corpus.h"

extern void bpf_throw(__u64 cookie) __ksym;

/* Names the function that turns the cookie into the program's verdict. */
#define EXCEPTION_CALLBACK(name) __attribute__((btf_decl_tag("exception_callback:" #name)))

int throwing_target(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct xdp_md *));
} table SEC(".maps") = {
	.values = {[0] = (void *)&throwing_target},
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

__s64 result[8];

SEC("xdp") int plain_throw(struct xdp_md *ctx)
{
	result[0]++;
	bpf_throw(3);
	result[1]++;
	return XDP_DROP;
}

SEC("xdp") int plain_throw_zero(struct xdp_md *ctx)
{
	bpf_throw(0);
	return XDP_DROP;
}

SEC("xdp") int plain_throw_at_times(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 20, 1);

	if (!p)
		return XDP_ABORTED;
	*p = 0x77;
	if (packet_size(ctx) == 256)
		bpf_throw(XDP_TX);
	*p += 1;
	result[0] += packet_size(ctx);
	return XDP_PASS;
}

/* The packet's ends have moved, a map has changed, and then. */
SEC("xdp") int plain_throw_after_helpers(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 value = packet_size(ctx);
	__u32 *p;

	result[0] = bpf_xdp_adjust_head(ctx, -8);
	result[1] = bpf_map_update_elem(&hash, &key, &value, BPF_ANY);
	p = packet_at(ctx, 0, 8);
	if (p)
		p[1] = 0xabcdef01;
	bpf_throw(XDP_TX);
	return XDP_DROP;
}

/* From sub-programs. */

SUBPROG int throw_if(__u32 when, __u64 cookie)
{
	opaque(when);
	result[2]++;
	if (when > 100)
		bpf_throw(cookie);
	result[3]++;
	return when;
}

SUBPROG int throw_deeper(struct xdp_md *ctx, __u64 *out)
{
	volatile __u64 own[4] = {1, 2, 3, 4};
	int n;

	*out += own[2];
	n = throw_if(packet_size(ctx), 4);
	own[1] += n;
	return own[1] + throw_if(packet_size(ctx) + 50, 5);
}

SUBPROG int throw_deepest(struct xdp_md *ctx, __u64 *out)
{
	int n = throw_deeper(ctx, out);

	result[4]++;
	return n + 1;
}

SEC("xdp") int throw_in_callee(struct xdp_md *ctx)
{
	result[0] = throw_if(packet_size(ctx), 2);
	return XDP_DROP;
}

SEC("xdp") int throw_three_deep(struct xdp_md *ctx)
{
	__u64 n = 0;

	result[0] = throw_deepest(ctx, &n);
	result[1] = n;
	return XDP_DROP;
}

SUBPROG int throw_always(__u64 cookie)
{
	opaque(cookie);
	bpf_throw(cookie + 1);
	return 1;
}

SEC("xdp") int throw_always_in_callee(struct xdp_md *ctx)
{
	result[0]++;
	throw_always(packet_size(ctx) == 64);
	result[1]++;
	return XDP_DROP;
}

__noinline int throw_global(__u32 n)
{
	if (n > 100)
		bpf_throw(6);
	return throw_if(n + 50, 7) + 1;
}

SEC("xdp") int throw_in_global(struct xdp_md *ctx)
{
	result[0] = throw_global(packet_size(ctx) >> 1);
	result[1]++;
	return XDP_PASS;
}

/* Callee-saved registers in use on every level. */
SEC("xdp") int throw_with_live_registers(struct xdp_md *ctx)
{
	__u64 a = packet_size(ctx), b = a * 3, c = b ^ 5, d = c + a;

	opaque(a);
	opaque(b);
	opaque(c);
	opaque(d);
	a += throw_if(a & 127, 1);
	b += throw_if(b & 127, 2);
	c += throw_if(c & 255, 3);
	d += throw_if(d & 511, 4);
	result[0] = a ^ b ^ c ^ d;
	return XDP_PASS;
}

/* Own callbacks. */

__noinline int choose_verdict(__u64 cookie)
{
	result[5] += cookie;
	return cookie > 9 ? XDP_TX : XDP_PASS;
}

SUBPROG __u64 fold(__u64 x)
{
	opaque(x);
	return (x ^ x >> 3) + 1;
}

__noinline int fold_cookie(__u64 cookie)
{
	__u32 key = 2;
	__u64 *v = bpf_map_lookup_elem(&hash, &key);

	if (v)
		*v += cookie;
	return fold(cookie) + fold(cookie + 1);
}

EXCEPTION_CALLBACK(choose_verdict)
SEC("xdp") int plain_own_callback(struct xdp_md *ctx)
{
	bpf_throw(packet_size(ctx) == 64 ? 9 : 10);
	return XDP_DROP;
}

EXCEPTION_CALLBACK(choose_verdict)
SEC("xdp") int own_callback_from_callee(struct xdp_md *ctx)
{
	__u64 n = 0;

	result[0] = throw_deepest(ctx, &n);
	return XDP_DROP;
}

EXCEPTION_CALLBACK(fold_cookie)
SEC("xdp") int own_callback_calls(struct xdp_md *ctx)
{
	result[0] = throw_if(packet_size(ctx), 0x12345);
	return XDP_DROP;
}

/* A target throws: what returns is its verdict, to the caller of the callee. */

EXCEPTION_CALLBACK(choose_verdict)
SEC("xdp") int throwing_target(struct xdp_md *ctx)
{
	result[6]++;
	throw_always(20);
	return XDP_DROP;
}

SUBPROG int tail_to_throwing(struct xdp_md *ctx, __u32 which)
{
	opaque(which);
	bpf_tail_call(ctx, &table, which);
	return 1;
}

SEC("xdp") int tail_call_throws(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &table, 0);
	throw_always(1);
	return XDP_DROP;
}

SEC("xdp") int tail_call_in_callee_throws(struct xdp_md *ctx)
{
	result[0] = tail_to_throwing(ctx, 0);
	result[1] = tail_to_throwing(ctx, 2);
	return throw_if(packet_size(ctx), 30);
}

/* In the function that makes the tail call, when there is no target. */
SUBPROG int tail_or_throw(struct xdp_md *ctx, __u32 which)
{
	opaque(which);
	bpf_tail_call(ctx, &table, which);
	if (packet_size(ctx) > 100)
		bpf_throw(which + 32);
	return 1;
}

EXCEPTION_CALLBACK(choose_verdict)
SEC("xdp") int tail_misses_and_throws(struct xdp_md *ctx)
{
	result[0] = tail_or_throw(ctx, 0);
	result[1] = tail_or_throw(ctx, 3);
	return XDP_DROP;
}

/* Assertions. */

#define ASSERT(condition, cookie)                                                                  \
	do {                                                                                       \
		if (!(condition))                                                                  \
			bpf_throw(cookie);                                                         \
	} while (0)

__noinline int assert_short(__u64 n)
{
	ASSERT(n < 200, 41);
	ASSERT(n != 64, n + 100);
	return n;
}

SEC("xdp") int assertions(struct xdp_md *ctx)
{
	result[0] = assert_short(packet_size(ctx) & 0xff);
	result[1] = assert_short(packet_size(ctx));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
