// SPDX-License-Identifier: GPL-2.0
/*
 * bpf_xdp_load_bytes() and bpf_xdp_store_bytes(): by programs of which the load tells which
 * bytes these are, and which make the copies themselves, and by some of which it does not.
 */
#include "corpus.h"

#define MANY 320

__s64 result[8];
__u8 bytes[MANY];

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64[8]);
} array SEC(".maps");

/* A load of so many bytes from a place on, as the call has it. */
#define LOAD(n, at, to, len) (result[n] = bpf_xdp_load_bytes(ctx, at, to, len))
#define STORE(n, at, from, len) (result[n] = bpf_xdp_store_bytes(ctx, at, from, len))

SEC("xdp") int copies_headers(struct xdp_md *ctx)
{
	LOAD(0, 0, bytes, 14);
	LOAD(1, 14, bytes + 16, 20);
	LOAD(2, 34, bytes + 40, 8);
	return XDP_PASS;
}

/* Each way to end: words, and what is left of one. */
SEC("xdp") int copies_each_length(struct xdp_md *ctx)
{
	LOAD(0, 1, bytes, 1);
	LOAD(1, 2, bytes + 1, 2);
	LOAD(2, 3, bytes + 3, 3);
	LOAD(3, 4, bytes + 6, 4);
	LOAD(4, 5, bytes + 10, 5);
	LOAD(5, 6, bytes + 16, 7);
	LOAD(6, 7, bytes + 24, 11);
	LOAD(7, 0, bytes + 40, 60);
	return XDP_PASS;
}

SEC("xdp") int copies_into_packet(struct xdp_md *ctx)
{
	__u8 mac[12];

	LOAD(0, 0, mac, 12);
	STORE(1, 0, mac + 6, 6);
	STORE(2, 6, mac, 6);
	STORE(3, 40, &result, 3);
	STORE(4, 50, bytes, 14);
	return XDP_TX;
}

/* What is looked at directly and what is copied is the same packet. */
SEC("xdp") int copies_beside_accesses(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 24);
	__u64 word;

	if (!p)
		return XDP_ABORTED;
	p[3] = 0x77;
	LOAD(0, 0, &word, 8);
	result[1] = word;
	word = ~word;
	STORE(2, 16, &word, 8);
	result[3] = p[17];
	p[18] = 0x78;
	return XDP_TX;
}

/* Places and lengths that have a bound, and are what the packet says. */
SEC("xdp") int copies_by_header(struct xdp_md *ctx)
{
	__u8 first = 0;

	LOAD(0, 14, &first, 1);
	LOAD(1, 14 + (first & 15) * 4, bytes, 8);
	LOAD(2, 0, bytes + 8, (first & 63) + 1);
	STORE(3, first & 31, bytes + 8, (first >> 4) + 1);
	return XDP_TX;
}

SEC("xdp") int copies_many(struct xdp_md *ctx)
{
	LOAD(0, 0, bytes, 64);
	LOAD(1, 0, bytes, 65);
	LOAD(2, 3, bytes + 70, 100);
	LOAD(3, 14, bytes + 10, 300);
	STORE(4, 20, bytes, 127);
	return XDP_TX;
}

/* One byte too many, and what no packet has: the helper says what is wrong. */
SEC("xdp") int copies_behind_the_end(struct xdp_md *ctx)
{
	LOAD(0, 60, bytes, 4);
	LOAD(1, 61, bytes, 4);
	LOAD(2, 64, bytes, 1);
	STORE(3, 253, bytes, 4);
	return XDP_PASS;
}

/* How far this looks is not known. */
SEC("xdp") int copies_of_the_end(struct xdp_md *ctx)
{
	__u32 len = packet_size(ctx);

	if (len > 64 && len < 512) {
		LOAD(0, len - 4, bytes, 4);
		LOAD(1, len - 3, bytes, 4);
	}
	return XDP_PASS;
}

/* But what it looks at there is far behind. */
SEC("xdp") int copies_before_accesses(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 1000, 8);

	LOAD(0, 20, bytes, 20);
	STORE(1, 30, bytes, 8);
	result[2] = p ? *p : 0;
	return XDP_TX;
}

SEC("xdp") int copies_from_nowhere(struct xdp_md *ctx)
{
	LOAD(0, 0x10000, bytes, 4);
	LOAD(1, 0xffff, bytes, 4);
	LOAD(2, 0xfffffffe, bytes, 4);
	LOAD(3, 8, bytes, 8);
	return XDP_PASS;
}

/* The number's high half is not looked at. */
SEC("xdp") int copies_of_low_halves(struct xdp_md *ctx)
{
	__u64 at = 0xffff00000008, into = 0x10000000c;

	asm volatile("" : "+r"(at), "+r"(into));
	LOAD(0, at, bytes, 8);
	STORE(1, into, &bytes, 2);
	return XDP_TX;
}

SEC("xdp") int copies_around_moves(struct xdp_md *ctx)
{
	__u8 own[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	STORE(0, 20, own, 8);
	result[1] = bpf_xdp_adjust_head(ctx, 8);
	LOAD(2, 12, bytes, 8);
	STORE(3, 0, own, 5);
	result[4] = bpf_xdp_adjust_head(ctx, -16);
	LOAD(5, 0, bytes + 8, 32);
	STORE(6, 4, own + 2, 3);
	result[7] = bpf_xdp_adjust_tail(ctx, -8);
	return XDP_TX;
}

/* Too far to be copied for every run. */
SEC("xdp") int copies_far(struct xdp_md *ctx)
{
	LOAD(0, 1200, bytes, 32);
	STORE(1, 1216, bytes, 8);
	LOAD(2, 10, bytes + 32, 8);
	return XDP_TX;
}

SEC("xdp") int copies_in_turn(struct xdp_md *ctx)
{
	for (int i = 0; i < 8; i++) {
		result[0] += bpf_xdp_load_bytes(ctx, i * 8, bytes + i * 8, 8);
		bytes[i * 8]++;
		result[1] += bpf_xdp_store_bytes(ctx, i * 8, bytes + i * 8, 4);
	}
	return XDP_TX;
}

/* Which place it is, one of two ways to the call says. */
SEC("xdp") int copies_from_either(struct xdp_md *ctx)
{
	__u32 at = packet_size(ctx) & 1 ? 20 : 4;

	asm volatile("" : "+r"(at));
	LOAD(0, at, bytes, 12);
	return LOAD(1, 30, bytes + 12, 6) ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int copies_to_values(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *value = bpf_map_lookup_elem(&array, &key);

	if (!value)
		return XDP_ABORTED;
	LOAD(0, 14, value + 1, 20);
	STORE(1, 24, value, 12);
	result[2] = value[2];
	return XDP_TX;
}

/* The program exits right behind the call: its error is the verdict. */
SEC("xdp") int copies_last(struct xdp_md *ctx)
{
	return bpf_xdp_store_bytes(ctx, 8, bytes, 16);
}

SEC("xdp.frags") int copies_of_frags(struct xdp_md *ctx)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);

	LOAD(0, 400, bytes, 64);
	STORE(1, 450, bytes, 8);
	LOAD(2, 440, bytes + 64, 40);
	if (len > 4000)
		LOAD(3, 8, bytes + 104, 90);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
