// SPDX-License-Identifier: GPL-2.0
/* Programs that the module cannot isolate yet, and one that it can. */
#include "corpus.h"

__u64 counted;

SEC("xdp") int plain(struct xdp_md *ctx)
{
	counted++;
	return XDP_PASS;
}

struct counter {
	__u64 value;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

static int tick(void *map, __u32 *key, struct counter *counter)
{
	counter->value++;
	return 0;
}

/* What its map's value holds, the kernel trusts. */
SEC("xdp") int timer(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter || bpf_timer_init(&counter->timer, &counters, 1))
		return XDP_PASS;
	bpf_timer_set_callback(&counter->timer, tick);
	return XDP_DROP;
}

extern int bpf_strlen(const char *s) __ksym;

/* A kernel function, which reads any address. */
SEC("xdp") int kfunc(struct xdp_md *ctx)
{
	counted += bpf_strlen("four");
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
