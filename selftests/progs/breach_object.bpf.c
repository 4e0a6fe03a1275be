// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel objects that are arguments: a struct bpf_map or a context that is
 * none. What the module knows from the verifier may replace them, so such a
 * run may well end as if nothing were; but the object at the target must not
 * be used.
 */
#include "breach.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} table SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(max_entries, 1);
		__type(key, __u32);
		__type(value, struct place);
	});
} nested SEC(".maps");

struct place global;

#define OBJECT(name, object, call) \
	SEC("xdp") int object_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u64 got = 0; \
		__attribute__((unused)) __u32 key = 0; \
		if (!o) \
			return XDP_DROP; \
		*(volatile __u64 *)&global.words[0] = o->value; \
		void *p = astray(o, object); \
		call; \
		return survived(o, got); \
	}

OBJECT(array_lookup, &array, {
	__u64 *v = bpf_map_lookup_elem(p, &key);
	if (v)
		got = *v;
})
OBJECT(hash_lookup, &hash, {
	__u64 *v = bpf_map_lookup_elem(p, &key);
	if (v)
		got = *v;
})
OBJECT(array_update, &array, bpf_map_update_elem(p, &key, &global, BPF_ANY))
OBJECT(hash_update, &hash, bpf_map_update_elem(p, &key, &global, BPF_ANY))
OBJECT(hash_delete, &hash, {
	key = 7;
	bpf_map_delete_elem(p, &key);
})
OBJECT(nested_lookup, &nested, got = bpf_map_lookup_elem(p, &key) != NULL)
OBJECT(ring_output, &ring, bpf_ringbuf_output(p, &global, 16, 0))
OBJECT(ring_reserve, &ring, {
	__u64 *record = bpf_ringbuf_reserve(p, 16, 0);
	if (record) {
		*record = o->value;
		bpf_ringbuf_discard(record, 0);
	}
})
OBJECT(ring_query, &ring, got = bpf_ringbuf_query(p, BPF_RB_RING_SIZE))
OBJECT(perf_output, &events, bpf_perf_event_output(ctx, p, BPF_F_CURRENT_CPU, &global, 12))
OBJECT(redirect_map, &devices, got = bpf_redirect_map(p, 0, XDP_PASS))
OBJECT(tail_call, &table, bpf_tail_call(ctx, p, 0))

OBJECT(context_head, ctx, bpf_xdp_adjust_head(p, 4))
OBJECT(context_tail, ctx, bpf_xdp_adjust_tail(p, -4))
OBJECT(context_meta, ctx, bpf_xdp_adjust_meta(p, -4))
OBJECT(context_length, ctx, got = bpf_xdp_get_buff_len(p))
OBJECT(context_load, ctx, bpf_xdp_load_bytes(p, 0, &got, 8))
OBJECT(context_store, ctx, bpf_xdp_store_bytes(p, 0, &global, 8))
OBJECT(context_perf, ctx,
       bpf_perf_event_output(p, &events, BPF_F_CURRENT_CPU | 32ull << 32, &global, 12))
OBJECT(context_mtu, ctx, bpf_check_mtu(p, 0, (__u32 *)&global, 0, 0))
OBJECT(context_tail_call, ctx, bpf_tail_call(p, &table, 0))

/*
 * Maps of the program's own, but of another type than the helper is for: what
 * the program writes into the one, the kernel would believe in the other.
 */
#define OWN(name, object, other, call) \
	SEC("xdp") int own_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u64 got = 0, *v; \
		__attribute__((unused)) __u32 key = 0; \
		if (!o) \
			return XDP_DROP; \
		v = bpf_map_lookup_elem(&array, &key); \
		for (int i = 0; v && i < 32; i++) \
			v[i] = o->value; \
		*(volatile __u64 *)&global.words[0] = o->value; \
		*(volatile __u64 *)&o->target = (__u64)(long)other; \
		void *p = astray(o, object); \
		call; \
		return survived(o, got); \
	}

OWN(tail_call_array, &table, &array, bpf_tail_call(ctx, p, 0))
OWN(tail_call_hash, &table, &hash, bpf_tail_call(ctx, p, 0))
OWN(tail_call_ring, &table, &ring, bpf_tail_call(ctx, p, 0))
OWN(tail_call_devmap, &table, &devices, bpf_tail_call(ctx, p, 0))
OWN(perf_output_array, &events, &array,
    bpf_perf_event_output(ctx, p, BPF_F_CURRENT_CPU, &global, 12))
OWN(perf_output_table, &events, &table,
    bpf_perf_event_output(ctx, p, BPF_F_CURRENT_CPU, &global, 12))
OWN(lookup_hash_in_array, &hash, &array, got = bpf_map_lookup_elem(p, &key) != NULL)
OWN(lookup_array_in_table, &array, &table, got = bpf_map_lookup_elem(p, &key) != NULL)
OWN(lookup_nested_in_array, &nested, &array, {
	void *inner = bpf_map_lookup_elem(p, &key);
	if (inner)
		bpf_map_lookup_elem(inner, &key);
})
OWN(ring_output_in_array, &ring, &array, bpf_ringbuf_output(p, &global, 16, 0))
OWN(redirect_in_array, &devices, &array, got = bpf_redirect_map(p, 0, XDP_PASS))
OWN(update_hash_in_ring, &hash, &ring, bpf_map_update_elem(p, &key, &global, BPF_ANY))

/* Tasks, which a helper takes for granted to be such. */
static long not_called(void *task, void *vma, void *data)
{
	return 0;
}

OBJECT(task_vma, (void *)bpf_get_current_task_btf(),
       got = bpf_find_vma(p, 0, not_called, NULL, 0))
OBJECT(task_stack, (void *)bpf_get_current_task_btf(),
       got = bpf_get_task_stack(p, &global, sizeof(global), 0))
OBJECT(task_registers, (void *)bpf_get_current_task_btf(), got = (__u64)bpf_task_pt_regs(p))

/* The area that a callback was given, when the callback is over. */
struct vm_area_struct {
	unsigned long vm_start;
} __attribute__((preserve_access_index));

static long keep_area(void *task, struct vm_area_struct *vma, void *data)
{
	struct order *o = take_order();

	if (!o)
		return 0;
	*(volatile __u64 *)&o->target = (__u64)vma;
	*(volatile __u64 *)&o->got = vma->vm_start;
	return 0;
}

struct pt_regs {
	unsigned long ip;
} __attribute__((preserve_access_index));

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

SEC("xdp") int own_area_afterwards(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf(), *p;
	struct order *o = take_order();
	struct pt_regs *regs;

	if (!o)
		return XDP_DROP;
	regs = (void *)bpf_task_pt_regs(task);
	bpf_find_vma(task, regs->ip, keep_area, NULL, 0);
	p = astray(o, task);
	return survived(o, p->pid);
}

/* Two maps reach one call, so the verifier knows no map there. */
SEC("xdp") int own_either_map(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 *v, delta;
	__u32 key = 0;
	void *p;

	if (!o)
		return XDP_DROP;
	v = bpf_map_lookup_elem(&array, &key);
	for (int i = 0; v && i < 32; i++)
		v[i] = o->value;
	*(volatile __u64 *)&global.words[0] = (__u64)(long)&table;
	if (packet_size(ctx) & 1) {
		p = &array;
		*(volatile __u64 *)&o->base = (__u64)(long)&array;
	} else {
		p = &hash;
		*(volatile __u64 *)&o->base = (__u64)(long)&hash;
	}
	delta = lost(*(volatile __u64 *)&global.words[0] - *(volatile __u64 *)&o->base);
	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	bpf_map_update_elem(p, &key, &global, BPF_ANY);
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
