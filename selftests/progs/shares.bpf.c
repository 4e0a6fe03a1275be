// SPDX-License-Identifier: GPL-2.0
/*
 * Two programs that share an array, a hash map, values for each CPU and global data;
 * the second has maps of its own, too. So they are of one domain, or, with
 * isolation=program, of two, and then the values are mapped for one of them alone.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

/* Of an element of `shared`. */
struct words {
	__u64 said; /* by the first, and what it says is read by the second */
	__u64 heard; /* by the second */
	__u64 both; /* each adds one in each run, at once on two CPUs */
	__u32 both32;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct words);
} shared SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} each SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3000);
	__type(key, __u32);
	__type(value, __u64);
} own SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 300);
	__type(key, __u32);
	__type(value, __u64);
} own_counts SEC(".maps");

/* Of both: what `shared` has must be here as well, and in the hash map. */
__u64 said_here;
const volatile __u64 factor = 3;

static __always_inline struct words *take(__u32 key)
{
	return bpf_map_lookup_elem(&shared, &key);
}

SEC("xdp") int first(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct words *w = take(1);
	__u64 *count, *mine = bpf_map_lookup_elem(&each, &key), said;

	if (!w || !mine)
		return XDP_ABORTED;
	said = __sync_add_and_fetch(&said_here, factor);
	w->said = said;
	bpf_map_update_elem(&counts, &key, &said, BPF_ANY);
	count = bpf_map_lookup_elem(&counts, &key);
	if (!count || *count != said)
		return XDP_DROP;
	*mine += 1;
	return XDP_PASS;
}

SEC("xdp") int second(struct xdp_md *ctx)
{
	__u32 key = 0, slot = 1;
	struct words *w = take(1);
	__u64 *count = bpf_map_lookup_elem(&counts, &key), said = said_here;
	__u64 *mine = bpf_map_lookup_elem(&each, &key), *heard;

	if (!w || !count || !mine)
		return XDP_ABORTED;
	if (w->said != said || *count != said || said % factor)
		return XDP_DROP;
	w->heard = said;
	heard = bpf_map_lookup_elem(&own, &slot);
	if (!heard)
		return XDP_ABORTED;
	*heard = said;
	bpf_map_update_elem(&own_counts, &slot, heard, BPF_ANY);
	*mine += 1000;
	return XDP_PASS;
}

/* The same words, by both at once. */
#define ADD(name) \
	SEC("xdp") int name(struct xdp_md *ctx) \
	{ \
		struct words *w = take(0); \
		if (!w) \
			return XDP_ABORTED; \
		__sync_fetch_and_add(&w->both, 1); \
		__sync_fetch_and_add(&w->both32, 1); \
		return XDP_PASS; \
	}
ADD(add)
ADD(add_too)

char _license[] SEC("license") = "GPL";
