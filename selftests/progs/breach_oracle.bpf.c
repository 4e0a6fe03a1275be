// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that are no attackers: the oracle tells the runner addresses of the
 * running kernel (it is no XDP program, so it is not confined), and the victim
 * is an XDP program of another domain, whose map the oracle knows.
 */
#include "corpus.h"
#include "breach.h"
#include <bpf/bpf_core_read.h>

struct task_struct {
	void *stack;
} __attribute__((preserve_access_index));

struct cpu_entry_area {
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct addresses);
} told SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[VICTIM_WORDS]);
} victim SEC(".maps");

SEC("raw_tp") int oracle(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u32 key = 0;
	struct addresses *a = bpf_map_lookup_elem(&told, &key);
	void *v = bpf_map_lookup_elem(&victim, &key), *map = &victim;

	if (!a || !v)
		return 1;
	*(volatile __u64 *)&a->task = (__u64)task;
	bpf_probe_read_kernel(&a->stack, 8, __builtin_preserve_access_index(&task->stack));
	a->entry_area = bpf_core_type_size(struct cpu_entry_area);
	*(volatile __u64 *)&a->victim = (__u64)v;
	*(volatile __u64 *)&a->victim_map = (__u64)map;
	return 0;
}

SEC("xdp") int victim_program(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *v = bpf_map_lookup_elem(&victim, &key);

	if (!v)
		return XDP_ABORTED;
	v[1]++;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
