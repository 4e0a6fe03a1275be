// SPDX-License-Identifier: GPL-2.0
/*
 * Sizes that the verifier takes for small: it sees 16, the helper 16 and the
 * order's value. Either the run ends or the helper refuses; `got` is what it
 * returned.
 */
#include "breach.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

extern int bpf_strlen(const char *s) __ksym;

struct place global;
const char format[] = "%d %d";

#define SIZE(name, call) \
	SEC("xdp") int size_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__attribute__((unused)) __u64 room[8] = {}; \
		__u64 got; \
		if (!o) \
			return XDP_DROP; \
		__u64 size = lost(*(volatile __u64 *)&o->value); \
		asm volatile("%0 += 16" : "+r"(size)); \
		got = call; \
		return survived(o, got); \
	}

SIZE(load_bytes, bpf_xdp_load_bytes(ctx, 0, room, size))
SIZE(store_bytes, bpf_xdp_store_bytes(ctx, 0, room, size))
SIZE(store_global, bpf_xdp_store_bytes(ctx, 0, &global, size))
SIZE(csum, bpf_csum_diff((void *)room, size, NULL, 0, 0))
SIZE(ring_output, bpf_ringbuf_output(&ring, room, size, 0))
SIZE(perf_output, bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, room, size))
SIZE(probe_read, bpf_probe_read_kernel(room, size, room))
SIZE(comm, bpf_get_current_comm(room, size))
SIZE(snprintf_out, bpf_snprintf((char *)&global, size, format, room, 16))
SIZE(snprintf_args, bpf_snprintf((char *)&global, 32, format, room, size))
SIZE(strncmp, bpf_strncmp((char *)room, size, "bailey"))

/* From two maps in turn: what a site has noted of the one opens nothing of the other. */
SEC("xdp") int size_in_turn(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct place *value;
	__u64 size, got = 0;
	__u32 key = 0;

	value = bpf_map_lookup_elem(&array, &key);
	if (!o || !value)
		return XDP_DROP;
	size = lost(*(volatile __u64 *)&o->value);
	asm volatile("%0 += 16" : "+r"(size));
#pragma clang loop unroll(disable)
	for (int i = 0; i < 8; i++)
		got = bpf_ringbuf_output(&ring, i & 1 ? &global : value, i < 7 ? 16 : size, 0);
	return survived(o, got);
}

/* No memory, and a size that the verifier takes for 0. */
SEC("xdp") int size_csum_nothing(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 room[8] = {}, size;

	if (!o)
		return XDP_DROP;
	size = lost(*(volatile __u64 *)&o->value);
	return survived(o, bpf_csum_diff(NULL, size, (__be32 *)room, 16, 0));
}

/*
 * A record in the ring that is shorter than the verifier believes: by the
 * order's value, which is -48. What follows it in the ring is the header of
 * the next record, which the kernel trusts.
 */
SEC("xdp") int beyond_record(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 *record, size;

	if (!o)
		return XDP_DROP;
	size = lost(*(volatile __u64 *)&o->value);
	asm volatile("%0 += %1" : "+r"(size) : "i"(LENT_RECORD));
	record = bpf_ringbuf_reserve(&ring, size, 0);
	if (!record)
		return XDP_DROP;
	((volatile __u64 *)record)[LENT_RECORD / 8 - 5] = 0x4141414141414141;
	bpf_ringbuf_discard(record, 0);
	return survived(o, 0);
}

/* A string without an end, in a value that is lent. */
SEC("xdp") int beyond_string(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct place *value;
	__u32 one = 1;

	value = bpf_map_lookup_elem(&hash, &one);
	if (!o || !value)
		return XDP_DROP;
	for (int i = 0; i < 32; i++)
		value->words[i] = 0x4141414141414141;
	return survived(o, bpf_strlen((const char *)value));
}

char _license[] SEC("license") = "GPL";
