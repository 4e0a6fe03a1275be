// SPDX-License-Identifier: GPL-2.0
/* Values with a spin lock in them. */
#include "corpus.h"

struct account {
	__u64 packets, bytes;
	struct bpf_spin_lock lock;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct account);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct account);
} hash SEC(".maps");

__s64 result[4];

SEC("xdp") int lock_array(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 3, size = packet_size(ctx);
	struct account *a = bpf_map_lookup_elem(&array, &key);

	if (!a)
		return XDP_ABORTED;
	bpf_spin_lock(&a->lock);
	a->packets++;
	a->bytes += size;
	a->last = size;
	bpf_spin_unlock(&a->lock);
	return XDP_PASS;
}

SEC("xdp") int lock_hash(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 7, size = packet_size(ctx);
	struct account *a = bpf_map_lookup_elem(&hash, &key);

	if (!a)
		return XDP_DROP;
	bpf_spin_lock(&a->lock);
	a->packets++;
	a->bytes += size;
	bpf_spin_unlock(&a->lock);
	bpf_spin_lock(&a->lock);
	a->last = a->packets;
	bpf_spin_unlock(&a->lock);
	return XDP_PASS;
}

SEC("xdp") int lock_update(struct xdp_md *ctx)
{
	struct account a = {.packets = 1, .bytes = packet_size(ctx)};
	__u32 key = 1;

	result[0] = bpf_map_update_elem(&array, &key, &a, BPF_F_LOCK);
	result[1] = bpf_map_update_elem(&hash, &key, &a, BPF_F_LOCK | BPF_EXIST);
	key = 500;
	result[2] = bpf_map_update_elem(&hash, &key, &a, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
