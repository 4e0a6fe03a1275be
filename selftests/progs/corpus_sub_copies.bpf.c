// SPDX-License-Identifier: GPL-2.0
/*
 * bpf_xdp_load_bytes() and bpf_xdp_store_bytes() in functions: of a program of several of
 * them all of the packet is there that one of them may look at, or nothing.
 */
#include "corpus.h"

__s64 result[4];
__u8 bytes[32];

static __noinline int function_copies(struct xdp_md *ctx, __u32 at, __u8 *to)
{
	__u8 own[16] = {};
	long err = bpf_xdp_load_bytes(ctx, at & 63, own, sizeof(own));

	own[2] ^= 0xff;
	__builtin_memcpy(to, own, sizeof(own));
	return err + bpf_xdp_store_bytes(ctx, 30, own, 4);
}

SEC("xdp") int copies_in_functions(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 40), own[16];

	if (!p)
		return XDP_ABORTED;
	p[7] ^= 0x55;
	result[0] = function_copies(ctx, p[1], own);
	__builtin_memcpy(bytes, own, sizeof(own));
	result[1] = function_copies(ctx, 0, own);
	__builtin_memcpy(bytes + 16, own, sizeof(own));
	result[2] = p[30];
	return XDP_TX;
}

SEC("xdp") int copies_in_functions_alone(struct xdp_md *ctx)
{
	__u8 own[16];

	result[0] = function_copies(ctx, 9, own);
	__builtin_memcpy(bytes, own, sizeof(own));
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
