// SPDX-License-Identifier: GPL-2.0
/* Random numbers: how often each value of their lowest and highest byte comes, and each bit. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

__u64 numbers, same, low[256], high[256], bits[32];
__u32 before;

SEC("xdp") int draw(struct xdp_md *ctx)
{
	for (int n = 0; n < 64; n++) {
		__u32 number = bpf_get_prandom_u32();

		numbers++;
		same += number == before;
		before = number;
		low[number & 255]++;
		high[number >> 24]++;
		for (int bit = 0; bit < 32; bit++)
			bits[bit] += number >> bit & 1;
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
