// SPDX-License-Identifier: GPL-2.0
/*
 * In the place of attach_target's functions: NEW_of_FUNCTION. What is called
 * `outside` reads the running task and is not isolated.
 */
#include "corpus.h"
#include "attach.h"

__u64 calls[8];

/* Programs of attach_target: plain_next, and plain_self, which goes on as itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} table SEC(".maps");

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

/*
 * Tail calls: one, and as many as there may be. The kernel counts those of a
 * replacement from its beginning, and those of the program on from where they were.
 */
SEC("freplace") int tail_inside_of_change_packet(struct xdp_md *ctx)
{
	calls[3]++;
	grow_and_write(ctx, 4);
	bpf_tail_call(ctx, &table, 0);
	calls[4]++;
	return -4;
}

SEC("freplace") int tails_inside_of_change_packet(struct xdp_md *ctx)
{
	calls[5]++;
	bpf_tail_call(ctx, &table, 1);
	calls[6]++;
	return grow_and_write(ctx, 2);
}

/* The same by a function of its own, and once more after it. */
SUBPROG int tail_to(struct xdp_md *ctx, __u32 which)
{
	int miss = 5;

	opaque(miss);
	opaque(which);
	bpf_tail_call(ctx, &table, which);
	calls[6] += 100;
	return miss;
}

SEC("freplace") int twice_inside_of_change_packet(struct xdp_md *ctx)
{
	int got = tail_to(ctx, 1);

	calls[7] += got;
	got = tail_to(ctx, 0);
	calls[7] += got << 16;
	return grow_and_write(ctx, 2);
}

char _license[] SEC("license") = "GPL";
