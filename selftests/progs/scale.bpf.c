// SPDX-License-Identifier: GPL-2.0
/*
 * One of many domains (scale): four programs that share an array and a hash map, in
 * which their domain's number stands. A run says what it found there.
 */
#include "corpus.h"

struct own {
	__u64 number;
	__u64 runs[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct own);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

static __always_inline int look(int member)
{
	__u32 key = 0;
	struct own *own = bpf_map_lookup_elem(&array, &key);
	__u64 *again = bpf_map_lookup_elem(&table, &key);

	if (!own || !again || own->number != *again)
		return -1;
	__sync_fetch_and_add(&own->runs[member], 1);
	return own->number * 4 + member;
}

SEC("xdp") int first(struct xdp_md *ctx)
{
	return look(0);
}

SEC("xdp") int second(struct xdp_md *ctx)
{
	return look(1);
}

SEC("xdp") int third(struct xdp_md *ctx)
{
	return look(2);
}

SEC("xdp") int fourth(struct xdp_md *ctx)
{
	return look(3);
}

char _license[] SEC("license") = "GPL";
