// SPDX-License-Identifier: GPL-2.0
/*
 * Stands on the outer end of a veth pair: a veth device takes redirected frames
 * only when its peer has an XDP program too.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp")
int demo_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
