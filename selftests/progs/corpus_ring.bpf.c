// SPDX-License-Identifier: GPL-2.0
/* Ways to hand records to user space. */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct record {
	__u32 size, number;
	__u8 bytes[24];
};

__s64 result[8];
__u32 number;

SEC("xdp") int ring_output(struct xdp_md *ctx)
{
	struct record r = {.size = packet_size(ctx), .number = number++};

	result[0] = bpf_xdp_load_bytes(ctx, 0, r.bytes, sizeof(r.bytes));
	result[1] = bpf_ringbuf_output(&ring, &r, sizeof(r), 0);
	result[2] = bpf_ringbuf_output(&ring, &r, 11, BPF_RB_NO_WAKEUP);
	return XDP_PASS;
}

SEC("xdp") int ring_reserve(struct xdp_md *ctx)
{
	struct record *r = bpf_ringbuf_reserve(&ring, sizeof(*r), 0);

	if (!r)
		return XDP_DROP;
	r->size = packet_size(ctx);
	r->number = number++;
	for (int i = 0; i < 24; i++)
		r->bytes[i] = i * 3;
	bpf_ringbuf_submit(r, 0);
	return XDP_PASS;
}

SEC("xdp") int ring_discard(struct xdp_md *ctx)
{
	__u64 *a = bpf_ringbuf_reserve(&ring, 8, 0), *b;

	if (!a)
		return XDP_DROP;
	*a = packet_size(ctx);
	b = bpf_ringbuf_reserve(&ring, 8, 0);
	if (!b) {
		bpf_ringbuf_discard(a, 0);
		return XDP_DROP;
	}
	*b = *a + 1;
	bpf_ringbuf_discard(a, BPF_RB_NO_WAKEUP);
	bpf_ringbuf_submit(b, BPF_RB_FORCE_WAKEUP);
	return XDP_PASS;
}

/* Handed in the other order than taken; and the helper writes the record. */
SEC("xdp") int ring_out_of_order(struct xdp_md *ctx)
{
	struct record *a, *b;

	a = bpf_ringbuf_reserve(&ring, sizeof(*a), 0);
	if (!a)
		return XDP_DROP;
	b = bpf_ringbuf_reserve(&ring, sizeof(*b), 0);
	if (!b) {
		bpf_ringbuf_discard(a, 0);
		return XDP_DROP;
	}
	__builtin_memset(a, 0x0a, sizeof(*a));
	__builtin_memset(b, 0x0b, sizeof(*b));
	result[0] = bpf_xdp_load_bytes(ctx, 14, b->bytes, sizeof(b->bytes));
	b->number = number++;
	bpf_ringbuf_submit(b, 0);
	a->size = packet_size(ctx);
	bpf_ringbuf_submit(a, 0);
	return XDP_PASS;
}

/* What a program does not write is what was there. */
SEC("xdp") int ring_partly(struct xdp_md *ctx)
{
	__u64 *r = bpf_ringbuf_reserve(&ring, 128, 0);

	if (!r)
		return XDP_DROP;
	r[packet_size(ctx) & 7] = ++number;
	result[0] = r[9];
	bpf_ringbuf_submit(r, 0);
	return XDP_PASS;
}

/* Several at a time, not the last one first, and of all sizes. */
SEC("xdp") int ring_many(struct xdp_md *ctx)
{
	__u64 *a, *b, *c;

	for (int i = 0; i < 4; i++) {
		a = bpf_ringbuf_reserve(&ring, 1000, 0);
		b = bpf_ringbuf_reserve(&ring, 9, 0);
		if (a)
			a[124] = i;
		if (b)
			b[0] = packet_size(ctx);
		if (a)
			bpf_ringbuf_submit(a, 0);
		c = bpf_ringbuf_reserve(&ring, 600, 0);
		if (c) {
			c[0] = b ? b[0] + i : 0;
			c[74] = number++;
		}
		if (b)
			bpf_ringbuf_submit(b, 0);
		if (c)
			bpf_ringbuf_submit(c, 0);
	}
	return XDP_PASS;
}

SEC("xdp") int ring_large(struct xdp_md *ctx)
{
	__u64 *r = bpf_ringbuf_reserve(&ring, 5000, 0), *s;

	if (!r)
		return XDP_DROP;
	s = bpf_ringbuf_reserve(&ring, 16, 0);
	r[0] = packet_size(ctx);
	r[624] = number++;
	if (s) {
		s[0] = r[0];
		s[1] = r[624] + r[300];
	}
	bpf_ringbuf_submit(r, 0);
	if (s)
		bpf_ringbuf_submit(s, 0);
	return XDP_PASS;
}

SEC("xdp") int ring_refused(struct xdp_md *ctx)
{
	void *r = bpf_ringbuf_reserve(&ring, 60 * 1024, 0), *s;

	/* The second does not fit beside the first. */
	s = bpf_ringbuf_reserve(&ring, 60 * 1024, 0);
	result[0] = r != NULL;
	result[1] = s != NULL;
	if (s)
		bpf_ringbuf_discard(s, 0);
	if (r)
		bpf_ringbuf_discard(r, 0);
	return XDP_PASS;
}

SEC("xdp") int ring_query(struct xdp_md *ctx)
{
	result[0] = bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
	result[1] = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	result[2] = bpf_ringbuf_query(&ring, 99);
	return XDP_PASS;
}

/* The sizes leave no padding behind the record: that is not defined. */
SEC("xdp") int perf_output(struct xdp_md *ctx)
{
	struct {
		__u32 size, number, pad;
	} r = {packet_size(ctx), number++, 7};

	result[0] = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &r, sizeof(r));
	return XDP_PASS;
}

SEC("xdp") int perf_output_packet(struct xdp_md *ctx)
{
	struct {
		__u32 size, number, pad;
	} r = {packet_size(ctx), number++, 7};
	__u64 flags = BPF_F_CURRENT_CPU | (__u64)48 << 32;

	result[0] = bpf_perf_event_output(ctx, &events, flags, &r, sizeof(r));
	flags = BPF_F_CURRENT_CPU | (__u64)5000 << 32;
	result[1] = bpf_perf_event_output(ctx, &events, flags, &r, sizeof(r));
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
