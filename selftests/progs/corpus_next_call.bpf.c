// SPDX-License-Identifier: GPL-2.0
/*
 * Calls with nothing but moves between them: each pair is made in one stay in the
 * kernel, and neither what they return nor what is moved meanwhile may suffer.
 */
#include "corpus.h"

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_local_irq_save(unsigned long *flags) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym;
extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 8);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 8);
	__type(value, __u64);
} stack SEC(".maps");

struct locked {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} ports SEC(".maps");

__s64 result[16];

/* Numbers alone, each of which outlives the next call: two of these are two crossings. */
SEC("xdp") int next_numbers(struct xdp_md *ctx)
{
	__u64 a = bpf_get_numa_node_id(), b = bpf_get_current_uid_gid();
	__u64 c = bpf_get_numa_node_id(), d = bpf_get_current_uid_gid();

	result[0] = a;
	result[1] = b;
	result[2] = c;
	result[3] = d;
	return XDP_PASS;
}

/* A map and memory, three in a row; results are not looked at. */
SEC("xdp") int next_pushes(struct xdp_md *ctx)
{
	__u64 value = packet_size(ctx), popped = 0;

	bpf_map_push_elem(&queue, &value, 0);
	bpf_map_push_elem(&stack, &value, BPF_EXIST);
	bpf_map_push_elem(&queue, &value, BPF_EXIST);
	result[0] = bpf_map_pop_elem(&queue, &popped);
	result[1] = popped;
	return XDP_PASS;
}

/* The second has what the first returned among its arguments, the third half of it. */
SEC("xdp") NAKED int next_of_result(void)
{
	asm volatile("r6 = 7\n"
		     "r1 = 1\n"
		     "*(u64 *)(r10 - 8) = r1\n"
		     "call 42\n" /* bpf_get_numa_node_id */
		     "r7 = r0\n"
		     "r7 += 5\n"
		     "w8 = w0\n"
		     "r1 = %[queue] ll\n"
		     "r2 = r10\n"
		     "r2 += -8\n"
		     "r3 = r0\n"
		     "call 87\n" /* bpf_map_push_elem */
		     "r9 = r6\n"
		     "r6 = r0\n"
		     "r1 = %[stack] ll\n"
		     "r2 = r10\n"
		     "r2 += -8\n"
		     "w3 = w0\n"
		     "call 87\n"
		     "r0 += r7\n"
		     "r0 += r8\n"
		     "r0 += r9\n"
		     "r0 += r6\n"
		     "r0 &= 3\n"
		     "exit\n" ::[queue] "i"(&queue), [stack] "i"(&stack));
}

/* Into the middle of the moves leads a jump, too. */
SEC("xdp") NAKED int next_jumped_into(void)
{
	asm volatile("r6 = 4\n"
		     "r7 = 0\n"
		     "r8 = 0\n"
		     "*(u64 *)(r10 - 8) = r8\n"
		     "r1 = %[queue] ll\n"
		     "r2 = r10\n"
		     "r2 += -8\n"
		     "r3 = 2\n"
		     "call 87\n" /* bpf_map_push_elem */
		     "r8 = 1\n"
		     "1:\n"
		     "r9 = r6\n"
		     "r7 += 3\n"
		     "call 42\n" /* bpf_get_numa_node_id */
		     "r8 += r9\n"
		     "r6 += -1\n"
		     "if r6 > 0 goto 1b\n"
		     "r0 = r7\n"
		     "r0 += r8\n"
		     "r0 &= 3\n"
		     "exit\n" ::[queue] "i"(&queue));
}

/* With interrupts off behind the first, and on again behind the second. */
SEC("xdp") int next_lock(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct locked *value = bpf_map_lookup_elem(&locks, &key);

	if (!value)
		return XDP_ABORTED;
	bpf_spin_lock(&value->lock);
	bpf_spin_unlock(&value->lock);
	bpf_spin_lock(&value->lock);
	value->count++;
	bpf_spin_unlock(&value->lock);
	result[0] = value->count;
	return XDP_PASS;
}

SEC("xdp") int next_sections(struct xdp_md *ctx)
{
	unsigned long flags;

	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	bpf_preempt_disable();
	bpf_preempt_enable();
	bpf_local_irq_save(&flags);
	bpf_local_irq_restore(&flags);
	result[0] = bpf_get_numa_node_id();
	return XDP_PASS;
}

/* An object on the stack, which the next calls use. */
SEC("xdp") int next_dynptr(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	__u8 word[8] = {};

	bpf_dynptr_from_xdp(ctx, 0, &ptr);
	bpf_dynptr_read(word, sizeof(word), &ptr, 8, 0);
	bpf_dynptr_write(&ptr, 16, word, 4, 0);
	for (int i = 0; i < sizeof(word); i++)
		result[i] = word[i];
	return XDP_TX;
}

/* The second ends the run; the first moves the packet. */
SEC("xdp") int next_is_last(struct xdp_md *ctx)
{
	__u64 value = 5;

	bpf_map_push_elem(&queue, &value, BPF_EXIST);
	return bpf_redirect_map(&ports, 0, XDP_PASS);
}

SEC("xdp") int next_behind_resize(struct xdp_md *ctx)
{
	bpf_xdp_adjust_tail(ctx, -4);
	bpf_xdp_adjust_head(ctx, 2);
	return XDP_TX;
}

SEC("xdp") int next_target(struct xdp_md *ctx)
{
	result[1] = bpf_get_numa_node_id() + 4;
	return XDP_TX;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, int(void *));
} targets SEC(".maps") = {
	.values = { [1] = (void *)&next_target },
};

/* A tail call that fails, and one that does not. */
SEC("xdp") int next_tail_call(struct xdp_md *ctx)
{
	__u64 value = 3, a;

	bpf_map_push_elem(&queue, &value, BPF_EXIST);
	bpf_tail_call(ctx, &targets, 0);
	a = bpf_get_numa_node_id();
	bpf_map_push_elem(&stack, &value, BPF_EXIST);
	bpf_tail_call(ctx, &targets, 1);
	result[0] = a;
	return XDP_ABORTED;
}

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {
	.values = { [1] = &inner },
};

/* The second has what the first has found, if it has found something. */
SEC("xdp") int next_in_found(struct xdp_md *ctx)
{
	__u32 one = 1;
	__u64 *value;
	void *found;

	found = bpf_map_lookup_elem(&outer, &one);
	if (!found)
		return XDP_ABORTED;
	value = bpf_map_lookup_elem(found, &one);
	if (!value)
		return XDP_ABORTED;
	result[0] = ++*value;
	return XDP_PASS;
}

/* It finds none. */
SEC("xdp") int next_in_none(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *value;
	void *found;

	found = bpf_map_lookup_elem(&outer, &zero);
	if (!found)
		return XDP_TX;
	value = bpf_map_lookup_elem(found, &zero);
	return value ? XDP_PASS : XDP_DROP;
}

/* The third comes if the second has not failed; it fails at the third run of the three. */
SEC("xdp") NAKED int next_if_well(void)
{
	asm volatile("r6 = 5\n"
		     "*(u64 *)(r10 - 8) = r6\n"
		     "r1 = %[queue] ll\n"
		     "r2 = r10\n"
		     "r2 += -16\n"
		     "call 88\n" /* bpf_map_pop_elem */
		     "r1 = %[stack] ll\n"
		     "r2 = r10\n"
		     "r2 += -8\n"
		     "r3 = 0\n"
		     "r7 = r6\n"
		     "call 87\n" /* bpf_map_push_elem */
		     "r8 = r0\n"
		     "r6 = 1\n"
		     "if w8 != 0 goto 1f\n"
		     "r6 = 2\n"
		     "r1 = %[stack] ll\n"
		     "r2 = r10\n"
		     "r2 += -8\n"
		     "r3 = 0\n"
		     "call 87\n"
		     "r7 += 1\n"
		     "1:\n"
		     "r6 <<= 8\n"
		     "r6 += r7\n"
		     "r0 = r6\n"
		     "exit\n" ::[queue] "i"(&queue), [stack] "i"(&stack));
}

char _license[] SEC("license") = "GPL";
