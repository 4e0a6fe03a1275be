// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray with references to the kernel's objects and with per-CPU
 * memory, and with the pointers in which they keep them.
 */
#include "breach.bpf.h"
#include "percpu.h"
#include "reference.h"

struct kept {
	__u64 before;
	struct task_struct __kptr *task;
	struct cgroup __kptr *group;
	struct task_struct __kptr_untrusted *seen;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} kept SEC(".maps");

struct place global;

/* Of the kernel's type, what says how many references there are. */
struct task_struct___counted {
	struct refcount_struct {
		struct {
			int counter;
		} refs;
	} rcu_users;
} __attribute__((preserve_access_index));

static __always_inline __u64 references(struct task_struct *task)
{
	return ((struct task_struct___counted *)task)->rcu_users.refs.counter;
}

/* The pointer, sent to where another points, of which the verifier forgets. */
#define NUMBER(o, field, p) (*(volatile __u64 *)&(o)->field = (__u64)(long)(p))

static __always_inline void *toward(struct order *o, void *p)
{
	__u64 delta = lost(*(volatile __u64 *)&o->got - *(volatile __u64 *)&o->base);

	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	return p;
}

#define TOWARD(o, p) ((typeof(p))toward(o, p))

/* The order, a value, and the first process. */
#define BEGIN \
	__u32 key = 0; \
	struct order *o = take_order(); \
	struct kept *k = bpf_map_lookup_elem(&kept, &key); \
	struct task_struct *p; \
	if (!o || !k) \
		return XDP_DROP; \
	p = bpf_task_from_pid(1); \
	if (!p) \
		return XDP_DROP; \
	NUMBER(o, base, p)

/* And another, which `p` can be sent to. */
#define WITH_TASK \
	struct task_struct *q = bpf_task_from_pid(2); \
	if (!q) { \
		bpf_task_release(p); \
		return XDP_DROP; \
	} \
	NUMBER(o, got, q)

#define WITH_GROUP \
	struct cgroup *q = bpf_cgroup_from_id(1); \
	if (!q) { \
		bpf_task_release(p); \
		return XDP_DROP; \
	} \
	NUMBER(o, got, q)

SEC("xdp") int release_twice(struct xdp_md *ctx)
{
	BEGIN;
	WITH_TASK;
	bpf_task_release(q);
	bpf_task_release(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int release_another_type(struct xdp_md *ctx)
{
	BEGIN;
	WITH_GROUP;
	bpf_task_release(TOWARD(o, p));
	bpf_cgroup_release(q);
	return survived(o, 0);
}

SEC("xdp") int release_beside(struct xdp_md *ctx)
{
	BEGIN;
	bpf_task_release(astray(o, p));
	return survived(o, 0);
}

/* What is in the value is the value's. */
SEC("xdp") int release_what_is_kept(struct xdp_md *ctx)
{
	struct task_struct *found;

	BEGIN;
	found = bpf_task_from_pid(2);
	if (found)
		found = bpf_kptr_xchg(&k->task, found);
	if (found)
		bpf_task_release(found);
	found = k->task;
	NUMBER(o, got, found);
	bpf_task_release(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int keep_what_is_kept(struct xdp_md *ctx)
{
	struct task_struct *found;

	BEGIN;
	found = bpf_task_from_pid(2);
	if (found)
		found = bpf_kptr_xchg(&k->task, found);
	if (found)
		bpf_task_release(found);
	found = k->task;
	NUMBER(o, got, found);
	p = bpf_kptr_xchg(&k->task, TOWARD(o, p));
	if (p)
		bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int keep_what_was_released(struct xdp_md *ctx)
{
	BEGIN;
	WITH_TASK;
	bpf_task_release(q);
	p = bpf_kptr_xchg(&k->task, TOWARD(o, p));
	if (p)
		bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int keep_another_type(struct xdp_md *ctx)
{
	BEGIN;
	WITH_GROUP;
	p = bpf_kptr_xchg(&k->task, TOWARD(o, p));
	if (p)
		bpf_task_release(p);
	bpf_cgroup_release(q);
	return survived(o, 0);
}

SEC("xdp") int keep_beside(struct xdp_md *ctx)
{
	BEGIN;
	k = astray(o, k);
	p = bpf_kptr_xchg(&k->task, p);
	if (p)
		bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int acquire_beside(struct xdp_md *ctx)
{
	struct task_struct *another;

	BEGIN;
	another = bpf_task_acquire(astray(o, p));
	if (another)
		bpf_task_release(another);
	bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int acquire_another_type(struct xdp_md *ctx)
{
	struct task_struct *another;

	BEGIN;
	WITH_GROUP;
	another = bpf_task_acquire(TOWARD(o, p));
	if (another)
		bpf_task_release(another);
	bpf_task_release(p);
	bpf_cgroup_release(q);
	return survived(o, 0);
}

SEC("xdp") int read_after_release(struct xdp_md *ctx)
{
	BEGIN;
	WITH_TASK;
	bpf_task_release(q);
	*(volatile __u64 *)&o->value = TOWARD(o, p)->pid;
	bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int read_beside_task(struct xdp_md *ctx)
{
	BEGIN;
	*(volatile __u64 *)&o->value = ((struct task_struct *)astray(o, p))->pid;
	bpf_task_release(p);
	return survived(o, 0);
}

/* By a pointer into the order, which may be written. */
SEC("xdp") int write_to_task(struct xdp_md *ctx)
{
	__u64 *word;

	BEGIN;
	word = &o->value;
	NUMBER(o, got, p);
	NUMBER(o, base, word);
	*(volatile __u64 *)TOWARD(o, word) = 0x41;
	bpf_task_release(p);
	return survived(o, 0);
}

/* The pointer's own bytes. */
SEC("xdp") int write_beside_pointer(struct xdp_md *ctx)
{
	BEGIN;
	bpf_task_release(p);
	*(volatile __u8 *)astray(o, k) = 0x41;
	return survived(o, 0);
}

SEC("xdp") int read_beside_pointer(struct xdp_md *ctx)
{
	BEGIN;
	bpf_task_release(p);
	*(volatile __u64 *)&o->value = *(volatile __u8 *)astray(o, k);
	return survived(o, 0);
}

/* One from the kernel, one more of it, one that was in a value. */
SEC("xdp") int hold_references(struct xdp_md *ctx)
{
	struct task_struct *again, *taken;
	struct cgroup *group;

	BEGIN;
	again = bpf_task_acquire(p);
	taken = bpf_task_from_pid(1);
	if (taken)
		taken = bpf_kptr_xchg(&k->task, taken);
	group = bpf_cgroup_from_id(1);
	*(volatile __u8 *)astray(o, &global) = 0x41;
	if (group)
		bpf_cgroup_release(group);
	if (taken)
		bpf_task_release(taken);
	if (again)
		bpf_task_release(again);
	bpf_task_release(p);
	return survived(o, 0);
}

SEC("xdp") int count_references(struct xdp_md *ctx)
{
	struct task_struct *taken;
	__u64 count;

	BEGIN;
	/* Without the value's own. */
	taken = bpf_kptr_xchg(&k->task, NULL);
	if (taken)
		bpf_task_release(taken);
	count = references(p);
	bpf_task_release(p);
	return survived(o, count);
}

struct counts {
	__u64 words[64];
};

struct small {
	__u64 word;
};

struct kept_counts {
	__u64 before;
	struct counts __percpu_kptr *counts;
	struct small __percpu_kptr *small;
	__u64 after;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct kept_counts);
} counts SEC(".maps");

/* `p` is owned, what is in the value is not. */
#define WITH_COUNTS \
	__u32 key = 0; \
	struct order *o = take_order(); \
	struct kept_counts *k = bpf_map_lookup_elem(&counts, &key); \
	struct counts __percpu_kptr *p; \
	if (!o || !k) \
		return XDP_DROP; \
	p = bpf_percpu_obj_new(struct counts); \
	if (!p) \
		return XDP_DROP; \
	NUMBER(o, base, p)

SEC("xdp") int percpu_drop_twice(struct xdp_md *ctx)
{
	struct counts __percpu_kptr *q;

	WITH_COUNTS;
	q = bpf_percpu_obj_new(struct counts);
	if (!q) {
		bpf_percpu_obj_drop(p);
		return XDP_DROP;
	}
	NUMBER(o, got, q);
	bpf_percpu_obj_drop(q);
	bpf_percpu_obj_drop(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int percpu_drop_another_type(struct xdp_md *ctx)
{
	struct small *q;

	WITH_COUNTS;
	q = bpf_obj_new(struct small);
	if (!q) {
		bpf_percpu_obj_drop(p);
		return XDP_DROP;
	}
	NUMBER(o, got, q);
	bpf_percpu_obj_drop(TOWARD(o, p));
	bpf_obj_drop(q);
	return survived(o, 0);
}

SEC("xdp") int percpu_drop_what_is_kept(struct xdp_md *ctx)
{
	struct counts __percpu_kptr *q;

	WITH_COUNTS;
	q = bpf_percpu_obj_new(struct counts);
	if (q)
		q = bpf_kptr_xchg(&k->counts, q);
	if (q)
		bpf_percpu_obj_drop(q);
	q = k->counts;
	NUMBER(o, got, q);
	bpf_percpu_obj_drop(TOWARD(o, p));
	return survived(o, 0);
}

SEC("xdp") int percpu_keep_another_size(struct xdp_md *ctx)
{
	struct small __percpu_kptr *q;

	WITH_COUNTS;
	q = bpf_percpu_obj_new(struct small);
	if (!q) {
		bpf_percpu_obj_drop(p);
		return XDP_DROP;
	}
	NUMBER(o, got, q);
	p = bpf_kptr_xchg(&k->counts, TOWARD(o, p));
	if (p)
		bpf_percpu_obj_drop(p);
	bpf_percpu_obj_drop(q);
	return survived(o, 0);
}

/* Where the kernel has the memory says a word, and that is beside it. */
SEC("xdp") int percpu_ask_beside(struct xdp_md *ctx)
{
	struct counts *mine;

	WITH_COUNTS;
	p = bpf_kptr_xchg(&k->counts, p);
	if (p)
		bpf_percpu_obj_drop(p);
	p = k->counts;
	if (!p)
		return XDP_DROP;
	mine = bpf_this_cpu_ptr((struct counts __percpu_kptr *)astray(o, p));
	return survived(o, mine->words[0]);
}

SEC("xdp") int percpu_write_beside(struct xdp_md *ctx)
{
	struct counts *mine;

	WITH_COUNTS;
	p = bpf_kptr_xchg(&k->counts, p);
	if (p)
		bpf_percpu_obj_drop(p);
	p = k->counts;
	if (!p)
		return XDP_DROP;
	mine = bpf_this_cpu_ptr(p);
	*(volatile __u8 *)astray(o, mine) = 0x41;
	return survived(o, 0);
}

SEC("xdp") int percpu_hold(struct xdp_md *ctx)
{
	WITH_COUNTS;
	*(volatile __u8 *)astray(o, &global) = 0x41;
	bpf_percpu_obj_drop(p);
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
