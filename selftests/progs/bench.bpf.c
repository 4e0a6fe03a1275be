// SPDX-License-Identifier: GPL-2.0
/*
 * What make bench measures: each program does one thing, some of them ten
 * times, so that the difference to the program without it is its cost.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

/* More than the module gives memory to before it is needed: its values are loans. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, __u32);
	__type(value, __u64);
} loan SEC(".maps");

/* Nobody reads it: room for all of them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 * 1024 * 1024);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

SEC("xdp") int empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

#define TEN(x) x x x x x x x x x x

/* bpf_get_numa_node_id is the shortest helper that stays a call. */
SEC("xdp") int helpers(struct xdp_md *ctx)
{
	__u64 sum = 0;

	TEN(sum += bpf_get_numa_node_id();)
	return sum ? XDP_PASS : XDP_DROP;
}

/* Deletions of what is not there, with a store between two of them, or with nothing. */
static __always_inline int deletions(int times, int apart)
{
	volatile __u32 between = 0;
	__u32 key = 9;

	for (int i = 0; i < times; i++) {
		bpf_map_delete_elem(&hash, &key);
		if (apart)
			between = i;
	}
	return between < 10 ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int apart_1(struct xdp_md *ctx) { return deletions(1, 1); }
SEC("xdp") int apart_10(struct xdp_md *ctx) { return deletions(10, 1); }
SEC("xdp") int in_a_row_1(struct xdp_md *ctx) { return deletions(1, 0); }
SEC("xdp") int in_a_row_10(struct xdp_md *ctx) { return deletions(10, 0); }

/* The last byte of the packet; where that is nobody knows before, so all is copied. */
static __always_inline __u8 *last_byte(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	data += (end - data - 1) & 0xfff;
	return data + 1 > end ? NULL : data;
}

/* Reads a byte: the packet is copied in. */
SEC("xdp") int copy_in(struct xdp_md *ctx)
{
	__u8 *last = last_byte(ctx);

	if (!last)
		return XDP_DROP;
	return *last ? XDP_TX : XDP_PASS;
}

/* Writes one: it is copied in and back. */
SEC("xdp") int copy_both(struct xdp_md *ctx)
{
	__u8 *last = last_byte(ctx);

	if (!last)
		return XDP_DROP;
	*last = 0;
	return XDP_PASS;
}

/* As much is copied as for the forwarder, both ways. */
SEC("xdp") int copy_some(struct xdp_md *ctx)
{
	volatile __u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if ((void *)data + 26 > end)
		return XDP_DROP;
	data[0] = 0;
	data[25] = 0;
	return (void *)data + 98 <= end && data[97] ? XDP_TX : XDP_PASS;
}

static __always_inline int look_up(void *map, int times, int touches)
{
	volatile __u64 *value;
	__u32 key = 1;

	for (int i = 0; i < times; i++) {
		value = bpf_map_lookup_elem(map, &key);
		if (!value)
			return XDP_DROP;
		for (int j = 0; j < touches; j++)
			*value;
	}
	return XDP_PASS;
}

SEC("xdp") int array_1(struct xdp_md *ctx) { return look_up(&array, 1, 0); }
SEC("xdp") int array_10(struct xdp_md *ctx) { return look_up(&array, 10, 0); }
SEC("xdp") int hash_1(struct xdp_md *ctx) { return look_up(&hash, 1, 0); }
SEC("xdp") int hash_10(struct xdp_md *ctx) { return look_up(&hash, 10, 0); }
SEC("xdp") int array_value_10(struct xdp_md *ctx) { return look_up(&array, 1, 10); }
SEC("xdp") int hash_value_10(struct xdp_md *ctx) { return look_up(&hash, 1, 10); }
SEC("xdp") int per_cpu_1(struct xdp_md *ctx) { return look_up(&per_cpu, 1, 0); }
SEC("xdp") int per_cpu_10(struct xdp_md *ctx) { return look_up(&per_cpu, 10, 0); }
SEC("xdp") int per_cpu_value_10(struct xdp_md *ctx) { return look_up(&per_cpu, 1, 10); }
SEC("xdp") int loan_1(struct xdp_md *ctx) { return look_up(&loan, 1, 0); }
SEC("xdp") int loan_value_10(struct xdp_md *ctx) { return look_up(&loan, 1, 10); }

static __always_inline int checksums(int times)
{
	__u32 header[5] = { 0x45000014, 1, 2, 3, 4 };
	volatile __u64 sum = 0;

	for (int i = 0; i < times; i++)
		sum = bpf_csum_diff(NULL, 0, header, sizeof(header), sum);
	return XDP_PASS;
}

SEC("xdp") int checksum_1(struct xdp_md *ctx) { return checksums(1); }
SEC("xdp") int checksum_10(struct xdp_md *ctx) { return checksums(10); }

/* Of a header of 20 bytes behind one of 14. */
static __always_inline int copies(struct xdp_md *ctx, int times, int store)
{
	__u64 header[3] = { 1, 2, 3 };
	volatile __u64 sum = 0;

	for (int i = 0; i < times; i++) {
		if (store)
			sum = sum + bpf_xdp_store_bytes(ctx, 14, header, 20);
		else
			sum = sum + bpf_xdp_load_bytes(ctx, 14, header, 20);
	}
	return XDP_PASS;
}

SEC("xdp") int load_bytes_1(struct xdp_md *ctx) { return copies(ctx, 1, 0); }
SEC("xdp") int load_bytes_10(struct xdp_md *ctx) { return copies(ctx, 10, 0); }
SEC("xdp") int store_bytes_1(struct xdp_md *ctx) { return copies(ctx, 1, 1); }
SEC("xdp") int store_bytes_10(struct xdp_md *ctx) { return copies(ctx, 10, 1); }

static __always_inline int times_told(int times)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < times; i++)
		sum = sum + bpf_ktime_get_ns();
	return XDP_PASS;
}

SEC("xdp") int clock_1(struct xdp_md *ctx) { return times_told(1); }
SEC("xdp") int clock_10(struct xdp_md *ctx) { return times_told(10); }

static __always_inline int numbers_drawn(int times)
{
	volatile __u64 sum = 0;

	for (int i = 0; i < times; i++)
		sum = sum + bpf_get_prandom_u32();
	return XDP_PASS;
}

SEC("xdp") int random_1(struct xdp_md *ctx) { return numbers_drawn(1); }
SEC("xdp") int random_10(struct xdp_md *ctx) { return numbers_drawn(10); }

static __always_inline int records(int times, int touches)
{
	volatile __u64 *record;

	for (int i = 0; i < times; i++) {
		record = bpf_ringbuf_reserve(&ring, 64, 0);
		if (!record)
			return XDP_DROP;
		for (int j = 0; j < touches; j++)
			record[j & 7] = j;
		bpf_ringbuf_submit((void *)record, BPF_RB_NO_WAKEUP);
	}
	return XDP_PASS;
}

/* A redirect, and nothing behind it; or a decision. */
SEC("xdp") int redirect_last(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 0, XDP_DROP);
}

SEC("xdp") int redirect_then(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 0, XDP_DROP) == XDP_REDIRECT ? XDP_REDIRECT : XDP_DROP;
}

SEC("xdp") int record_1(struct xdp_md *ctx) { return records(1, 0); }
SEC("xdp") int record_10(struct xdp_md *ctx) { return records(10, 0); }
SEC("xdp") int record_value_10(struct xdp_md *ctx) { return records(1, 10); }

char _license[] SEC("license") = "GPL";
