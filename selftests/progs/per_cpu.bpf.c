// SPDX-License-Identifier: GPL-2.0
/* Counts packets for each CPU, as XDP programs do: guest/stores.sh. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct count {
	__u64 packets, bytes;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

/* More than one piece of per-CPU memory can be. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct count);
} large SEC(".maps");

static __always_inline int count(void *map, struct xdp_md *ctx, __u32 key)
{
	struct count *value = bpf_map_lookup_elem(map, &key);

	if (!value)
		return XDP_ABORTED;
	value->packets++;
	value->bytes += ctx->data_end - ctx->data;
	value->last = key;
	return XDP_PASS;
}

SEC("xdp") int counted(struct xdp_md *ctx)
{
	return count(&counts, ctx, 0);
}

SEC("xdp") int counted_large(struct xdp_md *ctx)
{
	return count(&large, ctx, 4095);
}

char _license[] SEC("license") = "GPL";
