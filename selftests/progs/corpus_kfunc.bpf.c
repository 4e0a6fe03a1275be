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

struct bpf_iter_bits {
	__u64 __opaque[2];
} __attribute__((aligned(8)));

extern int bpf_iter_bits_new(struct bpf_iter_bits *it, const __u64 *words, __u32 count) __ksym;
extern int *bpf_iter_bits_next(struct bpf_iter_bits *it) __ksym;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits *it) __ksym;

extern int bpf_dynptr_adjust(const struct bpf_dynptr *ptr, __u64 start, __u64 end) __ksym;
extern int bpf_dynptr_clone(const struct bpf_dynptr *ptr, struct bpf_dynptr *clone) __ksym;
extern int bpf_dynptr_copy(struct bpf_dynptr *dst, __u64 dst_off, struct bpf_dynptr *src,
			   __u64 src_off, __u64 size) __ksym;
extern int bpf_dynptr_memset(struct bpf_dynptr *ptr, __u64 off, __u64 size, __u8 val) __ksym;
extern _Bool bpf_dynptr_is_null(const struct bpf_dynptr *ptr) __ksym;
extern _Bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *ptr) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_local_irq_save(unsigned long *flags) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym;
extern int bpf_xdp_pull_data(struct xdp_md *xdp, __u32 len) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64[4]);
} hash SEC(".maps");

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

/* Sections nest, and helpers and functions of the program go on in them. */
SEC("xdp") int sections(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *v, fresh[4] = {7};

	bpf_rcu_read_lock();
	bpf_preempt_disable();
	bpf_preempt_disable();
	result[0] = bpf_map_update_elem(&hash, &key, fresh, BPF_ANY);
	bpf_preempt_enable();
	v = bpf_map_lookup_elem(&hash, &key);
	if (v)
		result[1] = v[0]++ + packet_size(ctx);
	bpf_preempt_enable();
	bpf_rcu_read_unlock();
	return XDP_PASS;
}

SEC("xdp") int interrupts_off(struct xdp_md *ctx)
{
	unsigned long outer, inner;
	__u32 key = 2;
	__u64 fresh[4] = {9};

	bpf_local_irq_save(&outer);
	result[0] = bpf_map_update_elem(&hash, &key, fresh, BPF_ANY);
	bpf_local_irq_save(&inner);
	result[1] = packet_size(ctx);
	bpf_local_irq_restore(&inner);
	result[2] = bpf_map_delete_elem(&hash, &key);
	bpf_local_irq_restore(&outer);
	result[3] = bpf_xdp_load_bytes(ctx, 0, bytes, 8);
	return XDP_PASS;
}

/* A slice is the packet itself: what is written there is read through the others. */
SEC("xdp") int dynptr_and_packet(struct xdp_md *ctx)
{
	__u8 buffer[4] = {}, *p, *q;
	struct bpf_dynptr ptr;

	p = packet_at(ctx, 20, 8);
	if (!p || bpf_dynptr_from_xdp(ctx, 0, &ptr))
		return XDP_ABORTED;
	p[0] = 0x5a;
	p[1] ^= 0xff;
	result[0] = bpf_dynptr_read(bytes, 8, &ptr, 20, 0);
	result[1] = bpf_dynptr_write(&ptr, 22, "ab", 2, 0);
	p = packet_at(ctx, 20, 8);
	if (!p)
		return XDP_ABORTED;
	result[2] = p[2] << 8 | p[3];
	p[4] = 0x77;
	q = bpf_dynptr_slice(&ptr, 22, buffer, 4);
	if (!q)
		return XDP_ABORTED;
	result[3] = q[2];
	q = bpf_dynptr_slice_rdwr(&ptr, 27, buffer, 1);
	if (!q)
		return XDP_ABORTED;
	q[0] = 0x33;
	result[4] = bpf_xdp_load_bytes(ctx, 20, bytes + 8, 8);
	result[5] = bpf_dynptr_slice(&ptr, 1 << 20, buffer, 4) != NULL;
	result[6] = bpf_dynptr_write(&ptr, 1 << 20, "ab", 2, 0);
	result[7] = bpf_dynptr_from_xdp(ctx, 1, &ptr);
	result[8] = bpf_dynptr_size(&ptr);
	return XDP_TX;
}

/* What a packet has lost is no longer there. */
SEC("xdp") int dynptr_after_a_change(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u8 *p;

	if (bpf_dynptr_from_xdp(ctx, 0, &ptr))
		return XDP_ABORTED;
	result[0] = bpf_xdp_adjust_tail(ctx, -10);
	result[1] = bpf_dynptr_read(bytes, 4, &ptr, packet_size(ctx) - 4, 0);
	result[2] = bpf_xdp_adjust_head(ctx, 14);
	result[3] = bpf_dynptr_read(bytes + 8, 8, &ptr, 0, 0);
	result[4] = bpf_xdp_pull_data(ctx, 20);
	result[5] = bpf_xdp_pull_data(ctx, 1 << 20);
	p = packet_at(ctx, 0, 4);
	if (!p)
		return XDP_ABORTED;
	result[6] = *(__u32 *)p;
	return XDP_PASS;
}

SEC("xdp") int dynptr_parts(struct xdp_md *ctx)
{
	struct bpf_dynptr memory, part, packet;
	__u64 n = packet_size(ctx) & 7;

	bpf_dynptr_from_mem(bytes, sizeof(bytes), 0, &memory);
	result[0] = bpf_dynptr_clone(&memory, &part);
	result[1] = bpf_dynptr_adjust(&part, 8 + n, 40);
	result[2] = bpf_dynptr_size(&part) << 16 | bpf_dynptr_size(&memory);
	result[3] = bpf_dynptr_is_null(&part) << 1 | bpf_dynptr_is_rdonly(&part);
	result[4] = bpf_dynptr_memset(&part, 1, 4, 0xaa);
	result[5] = bpf_dynptr_write(&part, 30, "too far", 7, 0);
	if (bpf_dynptr_from_xdp(ctx, 0, &packet))
		return XDP_ABORTED;
	result[6] = bpf_dynptr_copy(&part, 6, &packet, 14, 12);
	result[7] = bpf_dynptr_copy(&packet, 26, &memory, 0, 4);
	result[8] = bpf_dynptr_memset(&packet, 4, n, 0x11);
	result[9] = bpf_dynptr_adjust(&part, 50, 60);
	result[10] = bpf_dynptr_from_mem(bytes, sizeof(bytes), 1, &part);
	result[11] = bpf_dynptr_is_null(&part);
	return XDP_TX;
}

/* Values of a hash are not the domain's: on loan. */
SEC("xdp") int dynptr_of_value(struct xdp_md *ctx)
{
	__u32 key = 3;
	__u64 fresh[4] = {1, 2, 3, 4}, *v, *p;
	struct bpf_dynptr ptr;

	bpf_map_update_elem(&hash, &key, fresh, BPF_ANY);
	v = bpf_map_lookup_elem(&hash, &key);
	if (!v)
		return XDP_ABORTED;
	bpf_dynptr_from_mem(v, 32, 0, &ptr);
	result[0] = bpf_dynptr_write(&ptr, 4, "four", 4, 0);
	p = bpf_dynptr_data(&ptr, 8, 16);
	if (p)
		p[1] += p[0];
	result[1] = bpf_dynptr_read(bytes, 32, &ptr, 0, 0);
	p = bpf_dynptr_slice(&ptr, 16, NULL, 8);
	if (p)
		result[2] = *p;
	return XDP_PASS;
}

/* A slice of a record, through a copy of its dynptr. */
SEC("xdp") int dynptr_ring_slices(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr, copy;
	__u64 *p;

	if (bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &ptr) ||
	    bpf_dynptr_clone(&ptr, &copy)) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return XDP_DROP;
	}
	result[0] = bpf_dynptr_memset(&ptr, 0, 64, 3);
	p = bpf_dynptr_data(&copy, 8, 16);
	if (p) {
		p[0] = 0x1234;
		p[1] = packet_size(ctx);
	}
	p = bpf_dynptr_slice(&ptr, 16, NULL, 8);
	if (p)
		result[1] = *p;
	result[2] = bpf_dynptr_read(bytes, 24, &copy, 0, 0);
	bpf_ringbuf_submit_dynptr(&copy, 0);
	return XDP_PASS;
}

SEC("xdp") int dynptr_of_no_record(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	result[0] = bpf_ringbuf_reserve_dynptr(&ring, 1 << 20, 0, &ptr);
	result[1] = bpf_dynptr_write(&ptr, 0, "lost", 4, 0);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return XDP_PASS;
}

SEC("xdp") int iterator_of_bits(struct xdp_md *ctx)
{
	static const __u64 words[4] = {0x8000000000000101, 0, 0xf0, 1};
	__u64 state[2] = {}, other[2] = {}, word = 0x11 | packet_size(ctx) << 8;
	__s64 sum = 0;
	int *i;

	result[0] = bpf_iter_bits_new((void *)state, words, 4);
	while ((i = bpf_iter_bits_next((void *)state)))
		sum = sum * 3 + *i;
	bpf_iter_bits_destroy((void *)state);
	result[1] = bpf_iter_bits_new((void *)other, &word, 1);
	while ((i = bpf_iter_bits_next((void *)other)))
		sum = sum * 5 + *i;
	bpf_iter_bits_destroy((void *)other);
	result[2] = sum;
	result[3] = bpf_iter_bits_new((void *)other, &word, 0);
	bpf_iter_bits_destroy((void *)other);
	return XDP_PASS;
}

SEC("xdp") int iterator_nested(struct xdp_md *ctx)
{
	__u64 outer = 0, inner = 0;
	__s64 sum = 0;
	int *i, *j;

	result[0] = bpf_iter_num_new((void *)&outer, -3, 4);
	while ((i = bpf_iter_num_next((void *)&outer))) {
		bpf_iter_num_new((void *)&inner, *i, 5);
		while ((j = bpf_iter_num_next((void *)&inner)))
			sum = sum * 7 + *j;
		bpf_iter_num_destroy((void *)&inner);
	}
	bpf_iter_num_destroy((void *)&outer);
	result[1] = sum;
	result[2] = bpf_iter_num_new((void *)&inner, 5, 4);
	result[3] = bpf_iter_num_next((void *)&inner) != NULL;
	bpf_iter_num_destroy((void *)&inner);
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

/* 0, which the verifier does not know: it goes round loops with numbers it knows. */
__u64 zero;

/* Everything lives on over the question for the time, which comes many times. */
SEC("xdp") int may_goto_long(struct xdp_md *ctx)
{
	register __u64 n asm("r6") = zero;
	register __u64 a asm("r1") = 1 + n, b asm("r2") = 2 + n, c asm("r3") = 3 + n;
	register __u64 d asm("r4") = 5 + n, e asm("r5") = 8 + n, f asm("r0") = 13 + n;

	asm volatile("0: may_goto 1f\n"
		     "%0 += %1\n"
		     "%1 += %2\n"
		     "%2 += %3\n"
		     "%3 += %4\n"
		     "%4 += %5\n"
		     "%5 ^= %0\n"
		     "%6 += 1\n"
		     "if %6 > 200000 goto 1f\n"
		     "goto 0b\n"
		     "1:\n"
		     : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f), "+r"(n));
	result[0] = n;
	result[1] = a ^ b ^ c;
	result[2] = d ^ e ^ f;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
