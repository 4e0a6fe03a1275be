/* SPDX-License-Identifier: GPL-2.0 */
/* What programs need that hold references to the kernel's objects. */
#ifndef BAILEY_REFERENCE_H
#define BAILEY_REFERENCE_H

#include "graph.h"
#include "task.h"

#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))

struct cgroup {
	int level;
} __attribute__((preserve_access_index));

extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym;
extern struct task_struct *bpf_task_from_vpid(__s32 pid) __ksym;
extern void bpf_task_release(struct task_struct *task) __ksym;
extern long bpf_task_under_cgroup(struct task_struct *task, struct cgroup *ancestor) __ksym;
extern struct cgroup *bpf_task_get_cgroup1(struct task_struct *task, int hierarchy) __ksym;
extern struct cgroup *bpf_cgroup_acquire(struct cgroup *group) __ksym;
extern struct cgroup *bpf_cgroup_ancestor(struct cgroup *group, int level) __ksym;
extern struct cgroup *bpf_cgroup_from_id(__u64 id) __ksym;
extern void bpf_cgroup_release(struct cgroup *group) __ksym;

#endif
