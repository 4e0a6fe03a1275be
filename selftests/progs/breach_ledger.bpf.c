// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that go astray while they hold something: a lock, a record, a
 * reference. Ended there, they cannot give it back, so the module must.
 */
#include "breach.bpf.h"

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

char _license[] SEC("license") = "GPL";
