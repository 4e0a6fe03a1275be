// SPDX-License-Identifier: GPL-2.0
/* Programs that the module cannot isolate yet, and one that it can. */
#include "corpus.h"

__u64 counted;

SEC("xdp") int plain(struct xdp_md *ctx)
{
	counted++;
	return XDP_PASS;
}

static __attribute__((noinline)) int part(struct xdp_md *ctx, int n)
{
	__u64 size = packet_size(ctx);

	opaque(size);
	counted += size + n;
	return counted & 1;
}

SEC("xdp") int subprogram(struct xdp_md *ctx)
{
	return part(ctx, 1) + part(ctx, 2) > 5 ? XDP_DROP : XDP_PASS;
}

static long count(__u32 i, void *data)
{
	counted += i;
	return 0;
}

SEC("xdp") int callback(struct xdp_md *ctx)
{
	bpf_loop(packet_size(ctx), count, NULL, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
