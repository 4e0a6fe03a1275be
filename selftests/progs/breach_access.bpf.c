// SPDX-License-Identifier: GPL-2.0
/*
 * Loads, stores and atomic operations at an address of the runner's choice,
 * through a pointer of every kind that a program can have. The runner goes by
 * the first word of a name (read, write, atomic) and its last (the width).
 */
#include "breach.bpf.h"

struct place global;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 32 * 1024);
} ring SEC(".maps");

/* A hash map whose values are in the domain. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u64);
	__type(value, struct place);
} store SEC(".maps");

/* Each kind: how to get the pointer, and what to do when all is over. */
#define KIND_array \
	__u32 key = 0; \
	void *p = bpf_map_lookup_elem(&array, &key); \
	if (!p) \
		return XDP_DROP;
#define KIND_hash \
	__u32 key = 0; \
	void *p = bpf_map_lookup_elem(&hash, &key); \
	if (!p) \
		return XDP_DROP;
#define KIND_store \
	__u64 key = STORE_KEY; \
	void *p = bpf_map_lookup_elem(&store, &key); \
	if (!p) \
		return XDP_DROP;
#define KIND_global void *p = &global;
#define KIND_stack \
	struct place room = {}; \
	void *p = &room;
#define KIND_packet \
	void *p = packet_at(ctx, 0, 64); \
	if (!p) \
		return XDP_DROP;

/* Lent to be read alone, and with the type of its first word. */
struct task_struct {
	struct {
		unsigned long flags;
	} thread_info;
} __attribute__((preserve_access_index));
#define KIND_task \
	struct task_struct *task = bpf_get_current_task_btf(); \
	void *p = task;
/* The same through another kind of load: its fault would be a 0. */
#define KIND_registers \
	struct task_struct *task = bpf_get_current_task_btf(); \
	void *p = (void *)bpf_task_pt_regs(task);

/* One that stays in the ring. A record must be given back whatever happens to it. */
#define KIND_record \
	void *record = bpf_ringbuf_reserve(&ring, LENT_RECORD, 0); \
	void *p = record; \
	if (!p) \
		return XDP_DROP;
#define END_array
#define END_hash
#define END_store
#define END_global
#define END_stack
#define END_packet
#define END_task
#define END_registers
#define END_record bpf_ringbuf_discard(record, 0);

#define READ(kind, bits) \
	SEC("xdp") int read_##kind##_##bits(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u64 got; \
		if (!o) \
			return XDP_DROP; \
		KIND_##kind \
		p = astray(o, p); \
		got = *(volatile __u##bits *)p; \
		END_##kind \
		return survived(o, got); \
	}

#define WRITE(kind, bits) \
	SEC("xdp") int write_##kind##_##bits(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		if (!o) \
			return XDP_DROP; \
		KIND_##kind \
		p = astray(o, p); \
		*(volatile __u##bits *)p = o->value; \
		END_##kind \
		return survived(o, 0); \
	}

/* A store of an immediate is another machine instruction. */
#define WRITE_IMMEDIATE(kind, bits) \
	SEC("xdp") int write_##kind##_immediate_##bits(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		if (!o) \
			return XDP_DROP; \
		KIND_##kind \
		p = astray(o, p); \
		asm volatile("*(u" #bits " *)(%0 + 0) = 0x41" : : "r"(p) : "memory"); \
		END_##kind \
		return survived(o, 0); \
	}

#define ATOMIC(kind, name, bits, expression) \
	SEC("xdp") int atomic_##kind##_##name##_##bits(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u64 got = 0; \
		if (!o) \
			return XDP_DROP; \
		KIND_##kind \
		__u##bits *w = astray(o, p); \
		expression; \
		END_##kind \
		return survived(o, got); \
	}

#define ALL_WIDTHS(what, kind) \
	what(kind, 8) what(kind, 16) what(kind, 32) what(kind, 64)

ALL_WIDTHS(READ, array)
ALL_WIDTHS(READ, hash)
ALL_WIDTHS(READ, store)
ALL_WIDTHS(READ, global)
ALL_WIDTHS(READ, stack)
ALL_WIDTHS(READ, packet)
ALL_WIDTHS(READ, record)
ALL_WIDTHS(READ, task)
READ(registers, 64)
ALL_WIDTHS(WRITE, array)
ALL_WIDTHS(WRITE, hash)
ALL_WIDTHS(WRITE, store)
ALL_WIDTHS(WRITE, global)
ALL_WIDTHS(WRITE, stack)
ALL_WIDTHS(WRITE, packet)
ALL_WIDTHS(WRITE, record)
ALL_WIDTHS(WRITE_IMMEDIATE, array)
ALL_WIDTHS(WRITE_IMMEDIATE, hash)
ALL_WIDTHS(WRITE_IMMEDIATE, packet)

#define ALL_ATOMICS(kind, bits) \
	ATOMIC(kind, add, bits, __sync_fetch_and_add(w, o->value)) \
	ATOMIC(kind, fetch_add, bits, got = __sync_fetch_and_add(w, o->value)) \
	ATOMIC(kind, fetch_or, bits, got = __sync_fetch_and_or(w, o->value)) \
	ATOMIC(kind, fetch_and, bits, got = __sync_fetch_and_and(w, o->value)) \
	ATOMIC(kind, fetch_xor, bits, got = __sync_fetch_and_xor(w, o->value)) \
	ATOMIC(kind, exchange, bits, got = __sync_lock_test_and_set(w, o->value)) \
	ATOMIC(kind, compare, bits, got = __sync_val_compare_and_swap(w, 0, o->value))

ALL_ATOMICS(array, 32)
ALL_ATOMICS(array, 64)
ALL_ATOMICS(hash, 32)
ALL_ATOMICS(hash, 64)
ALL_ATOMICS(store, 64)
ALL_ATOMICS(stack, 64)

/* Sign extension is another machine instruction; so is a load by context. */
SEC("xdp") CPU_V4 int read_array_signed_32(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__s64 got;

	if (!o)
		return XDP_DROP;
	KIND_array
	p = astray(o, p);
	asm volatile("%0 = *(s32 *)(%1 + 0)" : "=r"(got) : "r"(p));
	return survived(o, (__u32)got);
}

/* Of what `ctx->data` becomes: a load of the first field of the xdp_buff. */
SEC("xdp") int read_context_64(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct xdp_md *p;
	__u64 data;

	if (!o)
		return XDP_DROP;
	p = astray(o, ctx);
	asm volatile("%0 = *(u32 *)(%1 + 0)" : "=r"(data) : "r"(p));
	/* A packet pointer turns into a number through memory, as above. */
	*(volatile __u64 *)&o->got = data;
	*(volatile __u64 *)&o->done = 1;
	return XDP_PASS;
}

/* The number first, the pointer added to it: the other order of the sum. */
SEC("xdp") int read_index_64(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 got, i;

	if (!o)
		return XDP_DROP;
	KIND_array
	*(volatile __u64 *)&o->base = (__u64)(long)p;
	i = lost(*(volatile __u64 *)&o->target - *(volatile __u64 *)&o->base);
	asm volatile("%1 += %2\n"
		     "%0 = *(u64 *)(%1 + 0)\n"
		     : "=&r"(got), "+&r"(i)
		     : "r"(p));
	return survived(o, got);
}

char _license[] SEC("license") = "GPL";
