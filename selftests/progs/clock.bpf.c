// SPDX-License-Identifier: GPL-2.0
/* Tells the time, for selftests/clock.c. */
#include "corpus.h"
#include "clock.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct told);
} told SEC(".maps");

/* Each clock once, and the first one again and again. */
SEC("xdp") int tell(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct told *t = bpf_map_lookup_elem(&told, &key);
	__u64 last;

	if (!t)
		return XDP_ABORTED;
	t->first = bpf_ktime_get_ns();
	t->boot = bpf_ktime_get_boot_ns();
	t->tai = bpf_ktime_get_tai_ns();
	t->coarse = bpf_ktime_get_coarse_ns();
	last = bpf_ktime_get_ns();
	t->back = 0;
	for (int n = 0; n < AGAIN; n++) {
		__u64 now = bpf_ktime_get_ns();

		t->back += now < last;
		last = now;
	}
	t->last = last;
	return XDP_PASS;
}
