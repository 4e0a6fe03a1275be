// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of attach_target's functions: NEW_of_FUNCTION. What is called
 * `outside` reads the running task and is not isolated.
 */
#include "corpus.h"
#include "attach.h"

__u64 calls[4];

static __always_inline int grow_and_write(struct xdp_md *ctx, int n)
{
	__u8 *p;

	if (bpf_xdp_adjust_head(ctx, -n))
		return -2;
	p = packet_at(ctx, 0, 32);
	if (!p)
		return -3;
	for (int i = 0; i < 32; i++)
		p[i] = p[i] * 3 + i + n;
	return p[9];
}

SEC("freplace") int inside_of_change_packet(struct xdp_md *ctx)
{
	calls[0]++;
	return grow_and_write(ctx, 6);
}

SEC("freplace") int outside_of_change_packet(struct xdp_md *ctx)
{
	/* The helper is what keeps it outside. */
	calls[1] += 2 + !!bpf_get_current_task();
	return grow_and_write(ctx, 10);
}

/* It takes more than the context, and writes the caller's stack. */
SEC("freplace") int outside_of_sum_of(struct words *w, int by)
{
	calls[2]++;
	if (!w)
		return -1;
	w->n[1] = w->n[3] * by;
	w->n[0] = 0x1234;
	return 77;
}

char _license[] SEC("license") = "GPL";
