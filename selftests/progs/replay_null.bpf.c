// SPDX-License-Identifier: GPL-2.0
/*
 * CVE-2022-23222: the verifier allowed arithmetic on pointers that may be NULL
 * if they came from bpf_ringbuf_reserve(), and took the result for 0 once the
 * pointer had been found to be. Here as there it becomes the size of a copy to
 * the stack, which runs over a pointer that lies behind.
 */
#include "replay.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

REPLAY(2022_23222)
{
	struct order *o = take_order();
	struct {
		__u64 bytes;
		void *volatile pointer;
	} s;
	__u32 key = 0;
	__u64 one;
	void *record, *v = bpf_map_lookup_elem(&array, &key);

	if (!o || !v)
		return XDP_DROP;
	/* More than the ring has. */
	record = bpf_ringbuf_reserve(&ring, 8192, 0);
	if (record) {
		bpf_ringbuf_discard(record, 0);
		return XDP_DROP;
	}
	one = (__u64)record;
	asm volatile("%0 += 1" : "+r"(one));
	one = lost(one);
	asm volatile("%0 *= 8\n"
		     "%0 += 8\n"
		     : "+r"(one));
	s.pointer = v;
	/* The packet's second word is where the runner wants to go. */
	if (bpf_xdp_load_bytes(ctx, 0, &s.bytes, one))
		return XDP_DROP;
	return survived(o, *(volatile __u64 *)s.pointer);
}

char _license[] SEC("license") = "GPL";
