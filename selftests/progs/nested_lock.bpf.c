// SPDX-License-Identifier: GPL-2.0
/*
 * A program and its timer's callback that take the same two locks, on some CPUs in
 * the other order, to run beside and inside of each other. Nobody who may fail to get
 * a lock has to wait for ever; what both locks guard only one has at a time.
 */
#include "corpus.h"
#include "graph.h"
#include "res_lock.h"

struct timed {
	__u64 fired;
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

private(A) struct bpf_res_spin_lock lock_a;
private(B) struct bpf_res_spin_lock lock_b;

/* What both guard; how often both were had, and why not. */
__u64 begun, ended;
__u64 taken, deadlocks, timeouts, wrong;

static __always_inline void count(__u64 *counter)
{
	__sync_fetch_and_add(counter, 1);
}

static __always_inline void wait(void)
{
	for (int i = 0; i < 500; i++)
		asm volatile("");
}

static __always_inline void failed(int error)
{
	count(error == -EDEADLK ? &deadlocks : &timeouts);
}

static __always_inline void work(void)
{
	if (*(volatile __u64 *)&begun != *(volatile __u64 *)&ended)
		count(&wrong);
	(*(volatile __u64 *)&begun)++;
	wait();
	(*(volatile __u64 *)&ended)++;
	count(&taken);
}

/* The outer with interrupts on, the inner with interrupts off. */
#define TAKE_BOTH(outer, inner) \
	do { \
		unsigned long flags; \
		int error = bpf_res_spin_lock(outer); \
		if (error) { \
			failed(error); \
			break; \
		} \
		wait(); \
		error = bpf_res_spin_lock_irqsave(inner, &flags); \
		if (error) { \
			failed(error); \
		} else { \
			work(); \
			bpf_res_spin_unlock_irqrestore(inner, &flags); \
		} \
		bpf_res_spin_unlock(outer); \
	} while (0)

static int on_tick(void *map, __u32 *key, struct timed *t)
{
	TAKE_BOTH(&lock_b, &lock_a);
	t->fired++;
	return 0;
}

SEC("xdp") int crossed(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct timed *t = bpf_map_lookup_elem(&timers, &key);

	if (!t)
		return XDP_ABORTED;
	bpf_timer_init(&t->timer, &timers, 1);
	bpf_timer_set_callback(&t->timer, on_tick);
	if (bpf_get_smp_processor_id() & 1)
		TAKE_BOTH(&lock_b, &lock_a);
	else
		TAKE_BOTH(&lock_a, &lock_b);
	return wrong ? XDP_ABORTED : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
