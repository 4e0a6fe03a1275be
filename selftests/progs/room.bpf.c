// SPDX-License-Identifier: GPL-2.0
/* Two arrays, of which a domain's span has room for one. */
#include "corpus.h"

struct half {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 528);
	__uint(key_size, 4);
	__uint(value_size, 1 << 20);
};

struct half near SEC(".maps"), far SEC(".maps");

static __always_inline int add_to(void *map)
{
	__u32 last = 527;
	__u64 *value = bpf_map_lookup_elem(map, &last);

	if (!value)
		return 0;
	value[1000]++;
	return value[1000] + value[1 << 16];
}

SEC("xdp") int counted_in_both(struct xdp_md *ctx)
{
	return add_to(&near) == add_to(&far) ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
