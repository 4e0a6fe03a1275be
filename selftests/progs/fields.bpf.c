// SPDX-License-Identifier: GPL-2.0
/* Maps whose values have a field that is the kernel's, so that they get no store. */
#include "corpus.h"

struct timed {
	__u64 word;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct timed);
} timers_on_demand SEC(".maps");

SEC("xdp") int look(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&timers, &key) ||
	       bpf_map_lookup_elem(&timers_on_demand, &key) ? XDP_DROP : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
