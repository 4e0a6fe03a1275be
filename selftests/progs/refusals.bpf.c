// SPDX-License-Identifier: GPL-2.0
/* Programs that the module cannot isolate yet, and one that it can. */
#include "corpus.h"

__u64 counted;

SEC("xdp") int plain(struct xdp_md *ctx)
{
	counted++;
	return XDP_PASS;
}

#define __kptr __attribute__((btf_type_tag("kptr")))

/*
 * Of the kernel's type only name and kind count; the variable makes the
 * compiler describe the type as more than a forward declaration.
 */
struct prog_test_ref_kfunc {
	int unused;
} unused;

struct pointing {
	__u64 value;
	struct prog_test_ref_kfunc __kptr *of_tests;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pointing);
} pointers SEC(".maps");

/* What its map's value holds, the kernel trusts, and the module cannot give back. */
SEC("xdp") int pointer(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct pointing *p = bpf_map_lookup_elem(&pointers, &key);

	return p && p->of_tests ? XDP_PASS : XDP_DROP;
}

extern int bpf_probe_read_kernel_dynptr(const struct bpf_dynptr *ptr, __u64 off, __u64 size,
					const void *from) __ksym;

/* A kernel function, which reads any address. */
SEC("xdp") int kfunc(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	if (!bpf_dynptr_from_mem(&counted, sizeof(counted), 0, &ptr))
		bpf_probe_read_kernel_dynptr(&ptr, 0, sizeof(counted), ctx);
	return XDP_PASS;
}

/* Flavours of the kernel's type: what is behind the three underscores is no part of it. */
struct task_struct___led {
	struct task_struct___led *group_leader;
	int pid;
} __attribute__((preserve_access_index));

/* Follows a pointer that it has read: an object that nobody has lent. */
SEC("xdp") int follows(struct xdp_md *ctx)
{
	struct task_struct___led *task = (void *)bpf_get_current_task_btf();

	counted += task->group_leader->pid;
	return XDP_PASS;
}

extern int bpf_strlen(const char *s) __ksym;

struct task_struct___named {
	struct task_struct___named *group_leader;
	char comm[16];
} __attribute__((preserve_access_index));

/* The same, but it does not load from there itself. */
SEC("xdp") int follows_string(struct xdp_md *ctx)
{
	struct task_struct___named *task = (void *)bpf_get_current_task_btf();

	counted += bpf_strlen(task->group_leader->comm);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
