// SPDX-License-Identifier: GPL-2.0
/* CVEs in the use of ring buffers' records. */
#include "replay.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ring SEC(".maps");

/*
 * A record that is moved before it is submitted: nobody looked whether it was.
 * The kernel changes the length before the address, in what it takes for the
 * record's header, and finds the ring by the word behind that.
 */
REPLAY(2021_4204)
{
	struct order *o = take_order();
	void *record;

	if (!o)
		return XDP_DROP;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return XDP_DROP;
	record = astray(o, record);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return survived(o, 0);
}

/*
 * A record of more bytes than there are: the helper gave one, and the verifier
 * lets the program use all of them. Here the helper gives as much as there is.
 */
REPLAY(2021_3489)
{
	struct order *o = take_order();
	__u64 size, distance;
	char *record;

	if (!o)
		return XDP_DROP;
	size = lost((__u64)LENT_RECORD - BELIEVED_RECORD);
	asm volatile("%0 += %1" : "+r"(size) : "i"(BELIEVED_RECORD));
	record = bpf_ringbuf_reserve(&ring, size, 0);
	if (!record)
		return XDP_DROP;
	*(volatile __u64 *)&o->base = (__u64)(long)record;
	distance = *(volatile __u64 *)&o->target;
	if (!*(volatile __u64 *)&o->relative)
		distance -= *(volatile __u64 *)&o->base;
	if (distance > BELIEVED_RECORD - 8) {
		bpf_ringbuf_discard(record, 0);
		return XDP_DROP;
	}
	*(volatile __u64 *)(record + distance) = o->value;
	bpf_ringbuf_discard(record, 0);
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
