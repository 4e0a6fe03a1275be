// SPDX-License-Identifier: GPL-2.0
/* Looks at what attach_target's functions are given, leave and return. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "attach.h"

struct seen {
	__u64 count, sum;
};

/* In the order of the programs. */
struct seen seen[8];

/* Length and first bytes of the packet. */
static __always_inline void look(struct seen *s, struct xdp_buff *xdp, int ret)
{
	__u64 data = 0, end = 0;
	__u8 bytes[64] = {};

	/* As numbers. */
	bpf_probe_read_kernel(&data, sizeof(data), &xdp->data);
	bpf_probe_read_kernel(&end, sizeof(end), &xdp->data_end);
	bpf_probe_read_kernel(bytes, sizeof(bytes), (void *)data);
	for (int i = 0; i < 64; i++)
		s->sum = s->sum * 31 + bytes[i];
	s->sum = s->sum * 31 + (end - data) + ret;
	s->count++;
}

/* By helpers: the verifier lets no program load a pointer to the caller's stack. */
static __always_inline void look_at(struct seen *s, void *ctx, __u64 ret)
{
	struct words copy = {};
	__u64 w = 0, by = 0;

	bpf_get_func_arg(ctx, 0, &w);
	bpf_get_func_arg(ctx, 1, &by);
	bpf_probe_read_kernel(&copy, sizeof(copy), (void *)w);
	for (int i = 0; i < 4; i++)
		s->sum = s->sum * 31 + copy.n[i];
	s->sum = s->sum * 31 + (__u32)by + ret;
	s->count++;
}

SEC("fentry") int BPF_PROG(enter_attached_to, struct xdp_buff *xdp)
{
	look(&seen[0], xdp, 0);
	return 0;
}

SEC("fexit") int BPF_PROG(exit_attached_to, struct xdp_buff *xdp, int ret)
{
	look(&seen[1], xdp, ret);
	return 0;
}

SEC("fentry") int BPF_PROG(enter_change_packet, struct xdp_buff *xdp)
{
	look(&seen[2], xdp, 0);
	return 0;
}

SEC("fexit") int BPF_PROG(exit_change_packet, struct xdp_buff *xdp, int ret)
{
	look(&seen[3], xdp, ret);
	return 0;
}

SEC("fentry") int enter_sum_of(void *ctx)
{
	look_at(&seen[4], ctx, 0);
	return 0;
}

SEC("fexit") int exit_sum_of(void *ctx)
{
	__u64 ret = 0;

	bpf_get_func_ret(ctx, &ret);
	look_at(&seen[5], ctx, (__u32)ret);
	return 0;
}

SEC("fentry") int BPF_PROG(enter_leave_for, struct xdp_buff *xdp, __u32 which)
{
	look(&seen[6], xdp, which);
	return 0;
}

SEC("fexit") int BPF_PROG(exit_leave_for, struct xdp_buff *xdp, __u32 which, int ret)
{
	look(&seen[7], xdp, ret);
	return 0;
}

char _license[] SEC("license") = "GPL";
