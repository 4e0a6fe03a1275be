// SPDX-License-Identifier: GPL-2.0
/* Ring-buffer records, many in one run, two at a time. */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} ring SEC(".maps");

#define ROUNDS 1000

/* The one that was taken first goes first. Discarded ones take room, too. */
SEC("xdp") int two_by_two(struct xdp_md *ctx)
{
	__u64 *a, *b;

	for (int i = 0; i < ROUNDS; i++) {
		a = bpf_ringbuf_reserve(&ring, 1000, 0);
		b = bpf_ringbuf_reserve(&ring, 200, 0);
		if (!a || !b) {
			if (a)
				bpf_ringbuf_discard(a, 0);
			if (b)
				bpf_ringbuf_discard(b, 0);
			return XDP_DROP;
		}
		a[0] = a[124] = i;
		b[0] = b[24] = i + 1;
		bpf_ringbuf_submit(a, 0);
		bpf_ringbuf_discard(b, 0);
	}
	return XDP_PASS;
}

SEC("xdp") int large(struct xdp_md *ctx)
{
	__u64 *a = bpf_ringbuf_reserve(&ring, 4104, 0);

	if (!a)
		return XDP_DROP;
	a[512] = 1;
	bpf_ringbuf_submit(a, 0);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
