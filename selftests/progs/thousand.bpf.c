// SPDX-License-Identifier: GPL-2.0
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* A thousand instructions, for the time that a load takes. */
SEC("xdp") int thousand(struct xdp_md *ctx)
{
	__u64 x = bpf_get_numa_node_id();

	asm volatile(".rept 990\n%0 += 3\n.endr" : "+r"(x));
	return x ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
