// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray while they hold something: a lock, a record, a
 * reference. Ended there, they cannot give it back, so the module must.
 */
#include "breach.bpf.h"

struct bpf_iter_bits {
	__u64 __opaque[2];
} __attribute__((aligned(8)));

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_local_irq_save(unsigned long *flags) __ksym;
extern void bpf_local_irq_restore(unsigned long *flags) __ksym;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;
extern int bpf_iter_bits_new(struct bpf_iter_bits *it, const __u64 *words, __u32 count) __ksym;
extern int *bpf_iter_bits_next(struct bpf_iter_bits *it) __ksym;
extern void bpf_iter_bits_destroy(struct bpf_iter_bits *it) __ksym;

struct locked {
	__u64 word;
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} array_locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct locked);
} hash_locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct place global;

#define LOCKS(map) \
	SEC("xdp") int hold_lock_of_##map(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u32 key = 0; \
		struct locked *v = bpf_map_lookup_elem(&map, &key); \
		if (!o || !v) \
			return XDP_DROP; \
		__u64 *p = astray(o, &global); \
		bpf_spin_lock(&v->lock); \
		*(volatile __u64 *)p = o->value; \
		v->word++; \
		bpf_spin_unlock(&v->lock); \
		return survived(o, 0); \
	} \
	SEC("xdp") int use_lock_of_##map(struct xdp_md *ctx) \
	{ \
		__u32 key = 0; \
		struct locked *v = bpf_map_lookup_elem(&map, &key); \
		if (!v) \
			return XDP_DROP; \
		bpf_spin_lock(&v->lock); \
		v->word += 1000; \
		bpf_spin_unlock(&v->lock); \
		return XDP_PASS; \
	}
LOCKS(array_locks)
LOCKS(hash_locks)

SEC("xdp") int hold_record(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 *record, *p;

	if (!o)
		return XDP_DROP;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return XDP_DROP;
	p = astray(o, &global);
	*(volatile __u64 *)p = o->value;
	bpf_ringbuf_submit(record, 0);
	return survived(o, 0);
}

/* The second is taken while the first is held. */
SEC("xdp") int hold_two_records(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u64 *a, *b, *p;

	if (!o)
		return XDP_DROP;
	a = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!a)
		return XDP_DROP;
	b = bpf_ringbuf_reserve(&ring, 128, 0);
	if (!b) {
		bpf_ringbuf_discard(a, 0);
		return XDP_DROP;
	}
	p = astray(o, &global);
	*(volatile __u64 *)p = o->value;
	bpf_ringbuf_discard(b, 0);
	bpf_ringbuf_submit(a, 0);
	return survived(o, 0);
}

SEC("xdp") int use_ring(struct xdp_md *ctx)
{
	__u64 *record = bpf_ringbuf_reserve(&ring, 64, 0);

	if (!record)
		return XDP_DROP;
	*record = 77;
	bpf_ringbuf_submit(record, 0);
	return XDP_PASS;
}

/*
 * A connected socket, since only of such a reference is taken; the order's
 * value holds its two ports, in network order.
 */
SEC("xdp") int hold_socket(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	__u64 *p;

	if (!o)
		return XDP_DROP;
	t.ipv4.saddr = bpf_htonl(0x7f000001);
	t.ipv4.daddr = bpf_htonl(0x7f000001);
	t.ipv4.sport = o->value;
	t.ipv4.dport = o->value >> 16;
	sk = bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	p = astray(o, &global);
	*(volatile __u64 *)p = 0x41;
	bpf_sk_release(sk);
	return survived(o, 0);
}

/* In the middle of a helper's arguments, with a reference held. */
SEC("xdp") int hold_socket_argument(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;

	if (!o)
		return XDP_DROP;
	t.ipv4.saddr = bpf_htonl(0x7f000001);
	t.ipv4.daddr = bpf_htonl(0x7f000001);
	t.ipv4.sport = o->value;
	t.ipv4.dport = o->value >> 16;
	sk = bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	bpf_xdp_load_bytes(ctx, 0, astray(o, &global), 8);
	bpf_sk_release(sk);
	return survived(o, 0);
}

/* Sections, nested in each other: what is left open would be so for good. */

#define HOLD(name, begin, end) \
	SEC("xdp") int hold_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		if (!o) \
			return XDP_DROP; \
		__u64 *p = astray(o, &global); \
		begin; \
		*(volatile __u64 *)p = o->value; \
		end; \
		return survived(o, 0); \
	}

HOLD(read_lock, bpf_rcu_read_lock(), bpf_rcu_read_unlock())
HOLD(preemption, bpf_preempt_disable(), bpf_preempt_enable())

SEC("xdp") int hold_interrupts(struct xdp_md *ctx)
{
	struct order *o = take_order();
	unsigned long outer, inner;
	__u64 *p;

	if (!o)
		return XDP_DROP;
	p = astray(o, &global);
	bpf_rcu_read_lock();
	bpf_local_irq_save(&outer);
	bpf_preempt_disable();
	bpf_local_irq_save(&inner);
	*(volatile __u64 *)p = o->value;
	bpf_local_irq_restore(&inner);
	bpf_preempt_enable();
	bpf_local_irq_restore(&outer);
	bpf_rcu_read_unlock();
	return survived(o, 0);
}

SEC("xdp") int hold_iterator(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_iter_bits it;
	__u64 *p;

	if (!o)
		return XDP_DROP;
	p = astray(o, &global);
	bpf_iter_bits_new(&it, global.words, 32);
	*(volatile __u64 *)p = o->value;
	bpf_iter_bits_destroy(&it);
	return survived(o, 0);
}

SEC("xdp") int hold_dynptr(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_dynptr ptr;
	__u64 *p;

	if (!o)
		return XDP_DROP;
	p = astray(o, &global);
	if (!bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &ptr))
		*(volatile __u64 *)p = o->value;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return survived(o, 0);
}

/*
 * Objects that are the kernel's and that the program knows by an address on its
 * stack. The order says how far beside the right address it goes.
 */

#define MARK 0x6d61726bull

struct two_dynptrs {
	struct bpf_dynptr a, b;
};

/* The bytes that a dynptr has on the stack are written over: nothing comes of it. */
SEC("xdp") int name_forged(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct {
		__u64 word;
		struct bpf_dynptr ptr;
	} s;
	__u64 got = 0, *p;

	if (!o)
		return XDP_DROP;
	global.words[0] = MARK;
	s.word = 0;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.ptr);
	p = astray(o, &s.word);
	*(volatile __u64 *)p = o->value;
	bpf_dynptr_read(&got, sizeof(got), &s.ptr, 0, 0);
	return survived(o, got);
}

SEC("xdp") int name_elsewhere(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_dynptr ptr;
	__u64 got = 0;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &ptr);
	bpf_dynptr_read(&got, sizeof(got), astray(o, &ptr), 0, 0);
	return survived(o, got);
}

/* Elsewhere than on the stack there are no objects. */
SEC("xdp") int name_new_elsewhere(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_dynptr ptr;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, astray(o, &ptr));
	return survived(o, 0);
}

/* `a` is at the order's distance from `b`, and gone. */
SEC("xdp") int name_after_the_end(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct two_dynptrs s;
	__u64 got = 0;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.b);
	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &s.a);
	bpf_ringbuf_discard_dynptr(&s.a, 0);
	bpf_dynptr_write(astray(o, &s.b), 0, &o->value, 8, 0);
	return survived(o, got);
}

/* What is submitted is no record. */
SEC("xdp") int name_of_no_record(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct two_dynptrs s;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.b);
	bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &s.a);
	bpf_ringbuf_submit_dynptr(astray(o, &s.a), 0);
	return survived(o, 0);
}

/* A record is submitted by its address, while a dynptr of it is there. */
SEC("xdp") int name_of_a_record_that_went(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_dynptr ptr;
	__u64 *record, *slice;

	if (!o)
		return XDP_DROP;
	record = bpf_ringbuf_reserve(&ring, 64, 0);
	if (!record)
		return XDP_DROP;
	if (bpf_ringbuf_reserve_dynptr(&ring, 64, 0, &ptr)) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		bpf_ringbuf_discard(record, 0);
		return XDP_DROP;
	}
	/* The two lie side by side in the ring. */
	bpf_ringbuf_discard(astray(o, record), 0);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (slice)
		*slice = MARK;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return survived(o, 0);
}

SEC("xdp") int name_of_another_kind(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct {
		struct bpf_dynptr ptr;
		struct bpf_iter_num it;
	} s;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.ptr);
	bpf_iter_num_new(&s.it, 0, 4);
	bpf_iter_num_next(astray(o, &s.it));
	bpf_iter_num_destroy(&s.it);
	return survived(o, 0);
}

SEC("xdp") int name_begun_twice(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct {
		struct bpf_iter_bits a, b;
	} s;

	if (!o)
		return XDP_DROP;
	bpf_iter_bits_new(&s.a, global.words, 32);
	bpf_iter_bits_new(astray(o, &s.b), global.words, 32);
	bpf_iter_bits_destroy(&s.b);
	bpf_iter_bits_destroy(&s.a);
	return survived(o, 0);
}

/* Words that are read, at any address. */
SEC("xdp") int name_words(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct bpf_iter_bits it;

	if (!o)
		return XDP_DROP;
	bpf_iter_bits_new(&it, astray(o, &global), 1);
	bpf_iter_bits_destroy(&it);
	return survived(o, 0);
}

SEC("xdp") int name_of_no_flags(struct xdp_md *ctx)
{
	struct order *o = take_order();
	struct {
		unsigned long flags;
		struct bpf_dynptr ptr;
	} s;

	if (!o)
		return XDP_DROP;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.ptr);
	bpf_local_irq_save(&s.flags);
	bpf_local_irq_restore(astray(o, &s.flags));
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
