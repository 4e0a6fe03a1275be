// SPDX-License-Identifier: GPL-2.0
/*
 * Pointers that programs read out of objects of the kernel's, and follow: there
 * need be nothing where they lead. Isolated with kernel_reads=1 alone.
 */
#include "corpus.h"
#include "task.h"

__s64 result[16];

SEC("xdp") int follow_leader(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	result[0] = task->group_leader->pid == task->tgid;
	result[1] = task->group_leader->group_leader->tgid == task->tgid;
	result[2] = task->group_leader->comm[0];
	return XDP_PASS;
}

SEC("xdp") int follow_memory(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mm_struct *mm = task->mm;

	result[0] = mm->start_code < mm->end_code;
	return XDP_PASS;
}

/* A kernel thread has none: the first task is the parent of all. */
SEC("xdp") int follow_to_nothing(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();

	for (int i = 0; i < 32 && task->pid; i++)
		task = task->real_parent;
	result[0] = task->pid;
	result[1] = (__u64)task->mm;
	result[2] = task->mm->start_code;
	result[3] = (__s64)(int)task->mm->end_code;
	return XDP_PASS;
}

extern __s64 bpf_strcmp(const char *s1, const char *s2) __ksym;
extern __s64 bpf_strlen(const char *s) __ksym;
extern __s64 bpf_strstr(const char *s1, const char *s2) __ksym;

/* Strings that nobody has lent, and some of the program's own beside. */
SEC("xdp") int follow_to_strings(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char comm[16] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	result[0] = bpf_strcmp(task->group_leader->comm, comm);
	result[1] = bpf_strlen(task->group_leader->group_leader->comm);
	result[2] = bpf_strlen(task->real_parent->comm) > 0;
	result[3] = bpf_strstr(task->group_leader->comm, comm + 2);
	result[4] = bpf_strlen(comm);
	result[5] = bpf_strlen((const char *)task->mm->start_code);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
