// SPDX-License-Identifier: GPL-2.0
/*
 * References to objects of the kernel's: tasks and groups of them, had from the kernel's
 * functions, kept in values and in objects of the program's own.
 */
#include "corpus.h"
#include "reference.h"

struct kept {
	__u64 before;
	struct task_struct __kptr *task;
	struct cgroup __kptr *group;
	struct task_struct __kptr_untrusted *seen;
	__u64 after;
};

struct chest {
	__u64 word;
	struct task_struct __kptr *task;
};

struct keeping_chest {
	struct chest __kptr *chest;
	__u64 word;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct kept);
} hashed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct keeping_chest);
} chests SEC(".maps");

private(A) struct task_struct __kptr *global;

__s64 result[16];

/* The first process is there always, with the same name. */
static __always_inline __s64 name_of(struct task_struct *task)
{
	__s64 sum = 0;

	for (int i = 0; i < 16; i++)
		sum = sum * 31 + task->comm[i];
	return sum;
}

SEC("xdp") int reference_to_task(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1), *again;

	if (!task)
		return XDP_DROP;
	result[0] = task->pid;
	result[1] = name_of(task);
	again = bpf_task_acquire(task);
	result[2] = again == task;
	bpf_task_release(task);
	if (again) {
		/* By the other reference it is still there. */
		result[3] = again->tgid;
		bpf_task_release(again);
	}
	again = bpf_task_from_vpid(1);
	result[4] = again == task;
	if (again)
		bpf_task_release(again);
	again = bpf_task_from_pid(-1);
	result[5] = again != NULL;
	if (again)
		bpf_task_release(again);
	return XDP_PASS;
}

SEC("xdp") int reference_kept(struct xdp_md *ctx)
{
	struct task_struct *task, *found, *mine;
	__u32 key = 1;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!k)
		return XDP_DROP;
	/* From the run before. */
	found = k->task;
	result[0] = found ? found->pid : -1;
	if (found) {
		mine = bpf_task_acquire(found);
		result[1] = mine == found;
		if (mine) {
			result[2] = name_of(mine);
			bpf_task_release(mine);
		}
	}
	task = bpf_task_from_pid(1);
	if (!task)
		return XDP_DROP;
	task = bpf_kptr_xchg(&k->task, task);
	result[3] = task ? task->tgid : -1;
	if (task)
		bpf_task_release(task);
	result[4] = k->before;
	result[5] = k->after++;
	return XDP_PASS;
}

SEC("xdp") int reference_taken_out(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	__u32 key = 0;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!task)
		return XDP_DROP;
	if (k) {
		task = bpf_kptr_xchg(&k->task, task);
		result[0] = task != NULL;
		if (task)
			bpf_task_release(task);
		task = bpf_kptr_xchg(&k->task, NULL);
		result[1] = task ? task->pid : -1;
		result[2] = k->task != NULL;
	}
	if (task)
		bpf_task_release(task);
	task = bpf_task_from_pid(1);
	if (!task)
		return XDP_DROP;
	task = bpf_kptr_xchg(&global, task);
	result[3] = task ? task->pid : -1;
	if (task)
		bpf_task_release(task);
	return XDP_PASS;
}

SEC("xdp") int reference_in_hash(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	struct kept new = {.before = 7, .after = 9}, *k;
	__u32 key = 4711;

	if (!task)
		return XDP_DROP;
	result[0] = bpf_map_update_elem(&hashed, &key, &new, BPF_ANY);
	k = bpf_map_lookup_elem(&hashed, &key);
	if (k)
		task = bpf_kptr_xchg(&k->task, task);
	if (task)
		bpf_task_release(task);
	k = bpf_map_lookup_elem(&hashed, &key);
	if (k) {
		task = k->task;
		result[1] = task ? task->pid : -1;
		result[2] = k->before + k->after;
	}
	/* With the reference in it. */
	result[3] = bpf_map_delete_elem(&hashed, &key);
	return XDP_PASS;
}

SEC("xdp") int reference_to_group(struct xdp_md *ctx)
{
	struct cgroup *root = bpf_cgroup_from_id(1), *group;
	struct task_struct *task = bpf_task_from_pid(1);
	__u32 key = 0;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	result[0] = root != NULL;
	if (root && task) {
		result[1] = root->level;
		result[2] = bpf_task_under_cgroup(task, root);
		group = bpf_cgroup_ancestor(root, 0);
		result[3] = group == root;
		if (group)
			bpf_cgroup_release(group);
		group = bpf_cgroup_ancestor(root, 1);
		result[4] = group != NULL;
		if (group)
			bpf_cgroup_release(group);
		/* There is no such hierarchy. */
		group = bpf_task_get_cgroup1(task, 4711);
		result[5] = group != NULL;
		if (group)
			bpf_cgroup_release(group);
	}
	if (task)
		bpf_task_release(task);
	if (root && k)
		root = bpf_kptr_xchg(&k->group, root);
	if (root)
		bpf_cgroup_release(root);
	if (k) {
		group = k->group;
		result[6] = group ? group->level : -1;
		if (group)
			group = bpf_cgroup_acquire(group);
		if (group) {
			result[7] = group->level;
			bpf_cgroup_release(group);
		}
	}
	return XDP_PASS;
}

/* A pointer of which nothing is trusted: it says where, and no more. */
SEC("xdp") int reference_untrusted(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	__u32 key = 0;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!task)
		return XDP_DROP;
	if (k) {
		k->seen = task;
		result[0] = k->seen == task;
		k->seen = NULL;
		result[1] = k->seen != NULL;
		k->seen = task;
	}
	bpf_task_release(task);
	if (k)
		result[2] = k->seen != NULL;
	return XDP_PASS;
}

SEC("xdp") int reference_in_object(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1);
	struct keeping_chest *k;
	struct chest *chest;
	__u32 key = 0;

	if (!task)
		return XDP_DROP;
	chest = bpf_obj_new(struct chest);
	if (!chest) {
		bpf_task_release(task);
		return XDP_DROP;
	}
	chest->word = 5;
	task = bpf_kptr_xchg(&chest->task, task);
	result[0] = task != NULL;
	if (task)
		bpf_task_release(task);
	k = bpf_map_lookup_elem(&chests, &key);
	if (k)
		chest = bpf_kptr_xchg(&k->chest, chest);
	if (chest) {
		result[1] = chest->word;
		task = bpf_kptr_xchg(&chest->task, NULL);
		if (task) {
			result[2] = task->pid;
			/* This time the object goes with it. */
			task = bpf_kptr_xchg(&chest->task, task);
			if (task)
				bpf_task_release(task);
		}
		bpf_obj_drop(chest);
	}
	return XDP_PASS;
}

SEC("xdp") int reference_many(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_task_from_pid(1), *another;
	__u32 key = 0;
	struct kept *k = bpf_map_lookup_elem(&kept, &key);

	if (!task)
		return XDP_DROP;
	for (int i = 0; i < 100 && k; i++) {
		another = bpf_task_acquire(task);
		if (another)
			another = bpf_kptr_xchg(&k->task, another);
		if (another) {
			result[0] += another->pid;
			bpf_task_release(another);
		}
	}
	bpf_task_release(task);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
