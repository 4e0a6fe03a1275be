// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of which the load tells how far they look into the packet, and where
 * they write: of what is in reach the last byte, of what is not the first one,
 * in packets that end before and behind it.
 */
#include "corpus.h"

__u64 seen[8];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} events SEC(".maps");

#define READ(n, off, type)                                            \
	do {                                                          \
		type *at = packet_at(ctx, off, sizeof(type));         \
		seen[n] = at ? *at : 0x5a5a;                          \
	} while (0)

#define FLIP(off, type)                                               \
	do {                                                          \
		type *at = packet_at(ctx, off, sizeof(type));         \
		if (at)                                               \
			*at = ~*at;                                   \
	} while (0)

#define PROGRAM(name, ...)                                            \
	SEC("xdp") int reach_##name(struct xdp_md *ctx)               \
	{                                                             \
		__VA_ARGS__                                           \
		return XDP_PASS;                                      \
	}

/* The packets have 64, 256, 1500, 3500 and, of frags, 9000 bytes. */
PROGRAM(reads_to_63, READ(0, 62, __u8);)
PROGRAM(reads_to_64, READ(0, 63, __u8); READ(1, 0, __u8);)
PROGRAM(reads_to_65, READ(0, 64, __u8); READ(1, 63, __u8);)
PROGRAM(reads_to_72, READ(0, 64, __u64); READ(1, 56, __u64);)
PROGRAM(reads_to_257, READ(0, 256, __u8); READ(1, 255, __u8); READ(2, 248, __u64);)
PROGRAM(reads_to_1500, READ(0, 1492, __u64); READ(1, 1499, __u8);)
PROGRAM(reads_to_1501, READ(0, 1493, __u64); READ(1, 1500, __u8);)
PROGRAM(writes_first, FLIP(0, __u8);)
PROGRAM(writes_three, FLIP(1, __u16); FLIP(3, __u8);)
PROGRAM(writes_to_64, FLIP(63, __u8); READ(0, 64, __u8);)
PROGRAM(writes_to_65, FLIP(64, __u8); READ(0, 65, __u8);)
PROGRAM(writes_last_of_1500, FLIP(1492, __u64);)
PROGRAM(writes_behind_1500, FLIP(1496, __u64); FLIP(1500, __u8);)
PROGRAM(writes_apart, FLIP(3, __u16); FLIP(200, __u32); READ(0, 100, __u64);)
PROGRAM(writes_in_the_middle, FLIP(20, __u32); READ(0, 16, __u64); READ(1, 255, __u8);)

SEC("xdp") int reach_by_a_length(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);
	__u8 *end = (void *)(long)ctx->data_end, *at;

	if (!p)
		return XDP_ABORTED;
	/* As a header says how long it is: 0 to 60, in fours. */
	at = p + 40 + (p[50] >> 4) * 4;
	if (at + 4 > end)
		return XDP_DROP;
	seen[0] = *(__u32 *)at;
	at[3] ^= 0xff;
	return XDP_TX;
}

SEC("xdp") int reach_by_a_loop(struct xdp_md *ctx)
{
	__u8 *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = 0;

	for (int i = 0; i < 300; i++) {
		if (p + i + 1 > end)
			break;
		sum = sum * 31 + p[i];
		if (i % 7 == 0)
			p[i] = i;
	}
	seen[0] = sum;
	return XDP_TX;
}

SEC("xdp") int reach_of_helpers(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 64);
	__u64 *value;

	if (!p)
		return XDP_ABORTED;
	seen[0] = bpf_csum_diff(NULL, 0, (void *)(p + 20), 20, 0);
	/* The key and the value lie further behind than anything else. */
	seen[1] = bpf_map_update_elem(&table, p + 44, p + 52, BPF_ANY);
	value = bpf_map_lookup_elem(&table, p + 44);
	if (value)
		seen[2] = *value;
	seen[3] = bpf_map_delete_elem(&table, p + 45);
	p[2] = 7;
	return XDP_TX;
}

SEC("xdp") int reach_and_sample(struct xdp_md *ctx)
{
	__u64 word = 1;

	FLIP(9, __u16);
	seen[0] = bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU | 60ull << 32,
					&word, sizeof(word));
	FLIP(12, __u16);
	return XDP_TX;
}

SEC("xdp") int reach_of_metadata(struct xdp_md *ctx)
{
	__u32 *meta;

	FLIP(0, __u8);
	if (bpf_xdp_adjust_meta(ctx, -8))
		return XDP_DROP;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 2) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	meta[0] = 0x11223344;
	meta[1] = ctx->data - ctx->data_meta;
	FLIP(1, __u8);
	return XDP_PASS;
}

/* There is metadata, which it does not look at. */
SEC("xdp") int reach_beside_metadata(struct xdp_md *ctx)
{
	seen[0] = bpf_xdp_adjust_meta(ctx, -8);
	FLIP(4, __u32);
	READ(1, 13, __u8);
	return XDP_PASS;
}

SEC("xdp") int reach_from_another_head(struct xdp_md *ctx)
{
	__u64 *head;

	FLIP(2, __u32);
	if (bpf_xdp_adjust_head(ctx, -16))
		return XDP_DROP;
	head = packet_at(ctx, 0, 16);
	if (!head)
		return XDP_ABORTED;
	/* The first bytes are new; the others were at 2 and 14 before. */
	head[0] = 0x0102030405060708;
	head[1] = 0x1112131415161718;
	READ(0, 18, __u32);
	READ(1, 30, __u32);
	if (bpf_xdp_adjust_head(ctx, 20))
		return XDP_DROP;
	FLIP(1, __u8);
	READ(2, 8, __u64);
	return XDP_TX;
}

SEC("xdp") int reach_to_another_tail(struct xdp_md *ctx)
{
	FLIP(60, __u32);
	seen[0] = bpf_xdp_adjust_tail(ctx, -20);
	READ(1, 40, __u32);
	READ(2, 60, __u32);
	seen[3] = bpf_xdp_adjust_tail(ctx, 12);
	FLIP(48, __u64);
	return XDP_TX;
}

SEC("xdp") int reach_around_stores(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 48), bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};

	if (!p)
		return XDP_ABORTED;
	p[1] = 0x77;
	seen[0] = bpf_xdp_store_bytes(ctx, 40, bytes, 8);
	READ(1, 40, __u32);
	seen[2] = bpf_xdp_load_bytes(ctx, 0, bytes, 8);
	seen[3] = bytes[1];
	seen[4] = bpf_xdp_load_bytes(ctx, 56, bytes, 8);
	__builtin_memcpy(&seen[5], bytes, 8);
	return XDP_TX;
}

SEC("xdp.frags") int reach_of_frags(struct xdp_md *ctx)
{
	__u32 len = bpf_xdp_get_buff_len(ctx);
	__u8 bytes[8] = {9, 8, 7, 6, 5, 4, 3, 2};

	FLIP(10, __u64);
	FLIP(3000, __u8);
	seen[0] = bpf_xdp_store_bytes(ctx, len - 8, bytes, 8);
	seen[1] = bpf_xdp_load_bytes(ctx, len - 16, bytes, 8);
	__builtin_memcpy(&seen[2], bytes, 8);
	FLIP(18, __u8);
	READ(3, 3001, __u64);
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
