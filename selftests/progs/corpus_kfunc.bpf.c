// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel functions, and helpers that put the kernel's objects on the
 * program's stack. Which of these are isolated is for the lists of
 * same_meaning.sh to say; the meaning must stay in any case.
 */
#include "corpus.h"

extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u64 offset, void *buffer,
			      __u64 buffer_size) __ksym;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *ptr, __u64 offset, void *buffer,
				   __u64 buffer_size) __ksym;
extern __u64 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} ring SEC(".maps");

__s64 result[16];
__u8 bytes[64];

SEC("xdp") int dynptr_of_packet(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	result[0] = bpf_dynptr_from_xdp(ctx, 0, &ptr);
	result[1] = bpf_dynptr_read(bytes, 32, &ptr, 14, 0);
	result[2] = bpf_dynptr_write(&ptr, 20, "dynptr", 6, 0);
	result[3] = bpf_dynptr_size(&ptr);
	return XDP_TX;
}

SEC("xdp") int dynptr_slice(struct xdp_md *ctx)
{
	__u8 buffer[8] = {};
	struct bpf_dynptr ptr;
	__u32 *p;

	if (bpf_dynptr_from_xdp(ctx, 0, &ptr))
		return XDP_ABORTED;
	p = bpf_dynptr_slice(&ptr, 26, buffer, 8);
	if (!p)
		return XDP_ABORTED;
	result[0] = p[1];
	p = bpf_dynptr_slice_rdwr(&ptr, 30, buffer, 4);
	if (!p)
		return XDP_ABORTED;
	*p = 0x11223344;
	return XDP_TX;
}

SEC("xdp") int dynptr_of_memory(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u8 *p;

	result[0] = bpf_dynptr_from_mem(bytes, sizeof(bytes), 0, &ptr);
	result[1] = bpf_dynptr_write(&ptr, 3, "memory", 6, 0);
	p = bpf_dynptr_data(&ptr, 16, 8);
	if (p)
		p[2] = packet_size(ctx);
	return XDP_PASS;
}

SEC("xdp") int dynptr_of_ring(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	result[0] = bpf_ringbuf_reserve_dynptr(&ring, 24, 0, &ptr);
	if (result[0]) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return XDP_DROP;
	}
	result[1] = bpf_dynptr_write(&ptr, 0, "twenty-four bytes here.", 24, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return XDP_PASS;
}

SEC("xdp") int iterator_of_numbers(struct xdp_md *ctx)
{
	__u64 state = 0;
	__s64 sum = 0;
	int *i;

	bpf_iter_num_new((void *)&state, 0, 100);
	while ((i = bpf_iter_num_next((void *)&state)))
		sum += *i;
	bpf_iter_num_destroy((void *)&state);
	result[0] = sum;
	return XDP_PASS;
}

SEC("xdp") int read_lock(struct xdp_md *ctx)
{
	bpf_rcu_read_lock();
	result[0] = packet_size(ctx);
	bpf_rcu_read_unlock();
	return XDP_PASS;
}

/* A loop that the program itself cannot bound: the kernel counts. */
SEC("xdp") int may_goto(struct xdp_md *ctx)
{
	__u64 n = 0;

	asm volatile("0: may_goto 1f\n"
		     "%0 += 1\n"
		     "if %0 > 1000 goto 1f\n"
		     "goto 0b\n"
		     "1:\n"
		     : "+r"(n));
	result[0] = n;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
