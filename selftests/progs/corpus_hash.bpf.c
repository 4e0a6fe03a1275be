// SPDX-License-Identifier: GPL-2.0
/* Maps whose values lie beside what the kernel trusts: hashes and tries. */
#include "corpus.h"

struct value {
	__u64 count;
	__u32 word;
	__u8 bytes[12];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct value);
} plain SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, struct value);
} allocated SEC(".maps");

/* Room enough that nothing is ever evicted: what goes is not deterministic. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct value);
} lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64[3]);
} local SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, __u64);
	__type(value, __u64[3]);
} local_allocated SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} local_lru SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u8);
} full SEC(".maps");

struct flow {
	__be32 saddr, daddr;
	__be16 source, dest;
	__u8 protocol, pad[3];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct flow);
	__type(value, __u64);
} flows SEC(".maps");

struct prefix {
	__u32 length;
	__be32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__type(key, struct prefix);
	__type(value, __u64);
} routes SEC(".maps");

__s64 result[16];

SEC("xdp") int hash_lookup(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 7, missing = 1000;
	struct value *v = bpf_map_lookup_elem(&plain, &key);

	if (!v)
		return XDP_DROP;
	v->count += packet_size(ctx);
	v->word ^= v->bytes[3];
	v->bytes[11]++;
	result[0] = bpf_map_lookup_elem(&plain, &missing) == NULL;
	return XDP_PASS;
}

SEC("xdp") int hash_update(struct xdp_md *ctx)
{
	struct value v = {.count = packet_size(ctx), .word = 5, .bytes = "new"};
	__u32 key = 100;

	result[0] = bpf_map_update_elem(&plain, &key, &v, BPF_EXIST);
	result[1] = bpf_map_update_elem(&plain, &key, &v, BPF_NOEXIST);
	result[2] = bpf_map_update_elem(&plain, &key, &v, BPF_NOEXIST);
	v.word = 6;
	result[3] = bpf_map_update_elem(&plain, &key, &v, BPF_EXIST);
	key = packet_size(ctx);
	result[4] = bpf_map_update_elem(&plain, &key, &v, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int hash_delete(struct xdp_md *ctx)
{
	struct value v = {.count = 1};
	__u32 key = 2;

	result[0] = bpf_map_delete_elem(&plain, &key);
	result[1] = bpf_map_delete_elem(&plain, &key);
	result[2] = bpf_map_lookup_elem(&plain, &key) == NULL;
	key = 200;
	result[3] = bpf_map_update_elem(&plain, &key, &v, BPF_ANY);
	result[4] = bpf_map_delete_elem(&plain, &key);
	return XDP_PASS;
}

/* A map that takes no more: the refusal is the program's to see. */
SEC("xdp") int hash_full(struct xdp_md *ctx)
{
	__u8 one = 1;

	for (__u32 key = 50; key < 56; key++)
		result[key - 50] = bpf_map_update_elem(&full, &key, &one, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int hash_allocated(struct xdp_md *ctx)
{
	struct value v = {.count = 7}, *p;
	__u64 key = 0x100000000ull + packet_size(ctx);

	result[0] = bpf_map_update_elem(&allocated, &key, &v, BPF_ANY);
	p = bpf_map_lookup_elem(&allocated, &key);
	if (!p)
		return XDP_ABORTED;
	p->count++;
	p->bytes[0] = 0xcc;
	key = 1;
	result[1] = bpf_map_delete_elem(&allocated, &key);
	return XDP_PASS;
}

/* Ten look-ups, and every pointer is used after the last of them. */
SEC("xdp") int hash_pointers_kept(struct xdp_md *ctx)
{
	struct value *v[8];
	__u64 sum = 0;

#pragma unroll
	for (__u32 i = 0; i < 8; i++) {
		__u32 key = i;

		v[i] = bpf_map_lookup_elem(&plain, &key);
	}
#pragma unroll
	for (int i = 0; i < 8; i++) {
		if (!v[i])
			continue;
		sum += v[i]->count;
		v[i]->count = sum;
		v[i]->word += i;
	}
	result[0] = sum;
	return XDP_PASS;
}

SEC("xdp") int hash_loop(struct xdp_md *ctx)
{
	struct value *v;

	for (__u32 i = 0; i < 32; i++) {
		__u32 key = i;

		v = bpf_map_lookup_elem(&plain, &key);
		if (v)
			v->count++;
		else
			result[1]++;
	}
	return XDP_PASS;
}

/* Loads and stores of every width in a value. */
SEC("xdp") CPU_V4 int hash_value_widths(struct xdp_md *ctx)
{
	__u32 key = 1;
	struct value *v = bpf_map_lookup_elem(&plain, &key);
	__s64 a, b, c;

	if (!v)
		return XDP_DROP;
	asm volatile("%0 = *(s8 *)(%3 + 3)\n"
		     "%1 = *(s16 *)(%3 + 8)\n"
		     "%2 = *(s32 *)(%3 + 16)\n"
		     "*(u8 *)(%3 + 12) = 0x11\n"
		     "*(u16 *)(%3 + 14) = 0x2222\n"
		     "*(u32 *)(%3 + 16) = 0x33333333\n"
		     "*(u64 *)(%3 + 0) = -4\n"
		     "*(u8 *)(%3 + 13) = %0\n"
		     "*(u16 *)(%3 + 20) = %1\n"
		     "*(u32 *)(%3 + 8) = %2\n"
		     : "=&r"(a), "=&r"(b), "=&r"(c)
		     : "r"(v)
		     : "memory");
	result[0] = a;
	result[1] = b;
	result[2] = c;
	result[3] = *(volatile __u8 *)&v->bytes[1];
	result[4] = *(volatile __u16 *)&v->bytes[2];
	result[5] = *(volatile __u32 *)&v->word;
	result[6] = *(volatile __u64 *)&v->count;
	return XDP_PASS;
}

SEC("xdp") int hash_variable_offset(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 42, 8);
	__u32 key = 4;
	struct value *v = bpf_map_lookup_elem(&plain, &key);

	if (!v || !p)
		return XDP_DROP;
	for (int i = 0; i < 8; i++)
		v->bytes[p[i] & 7] += p[i];
	return XDP_PASS;
}

/* A value of one hash as key and value of another. */
SEC("xdp") int hash_value_as_argument(struct xdp_md *ctx)
{
	__u32 key = 3, other = 300;
	struct value *v = bpf_map_lookup_elem(&plain, &key), *u;

	if (!v)
		return XDP_DROP;
	v->word = 301;
	result[0] = bpf_map_update_elem(&plain, &other, v, BPF_ANY);
	result[1] = bpf_map_update_elem(&plain, &v->word, v, BPF_ANY);
	u = bpf_map_lookup_elem(&plain, &v->word);
	result[2] = u ? u->count == v->count : -1;
	result[3] = bpf_xdp_load_bytes(ctx, 4, v->bytes, sizeof(v->bytes));
	result[4] = bpf_xdp_store_bytes(ctx, 40, v->bytes, sizeof(v->bytes));
	return XDP_PASS;
}

/* The flow table of a load balancer, its key gathered from the packet. */
SEC("xdp") int hash_flow(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, 42);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct flow flow = {};
	__u64 one = 1, *n;

	if (!eth)
		return XDP_ABORTED;
	flow.saddr = ip->saddr;
	flow.daddr = ip->daddr;
	flow.source = udp->source;
	flow.dest = udp->dest;
	flow.protocol = ip->protocol;
	n = bpf_map_lookup_elem(&flows, &flow);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		result[0] = bpf_map_update_elem(&flows, &flow, &one, BPF_NOEXIST);
	return XDP_PASS;
}

/* The key lies in the packet. */
SEC("xdp") int hash_key_in_packet(struct xdp_md *ctx)
{
	struct flow *p = packet_at(ctx, 26, sizeof(*p));
	__u64 value = packet_size(ctx), *v;

	if (!p)
		return XDP_ABORTED;
	result[0] = bpf_map_update_elem(&flows, p, &value, BPF_ANY);
	v = bpf_map_lookup_elem(&flows, p);
	if (v)
		*v += 2;
	return XDP_PASS;
}

SEC("xdp") int lru_hash(struct xdp_md *ctx)
{
	struct value v = {.count = 1}, *p;
	__u32 key = packet_size(ctx);

	p = bpf_map_lookup_elem(&lru, &key);
	if (p) {
		p->count++;
		p->bytes[2] ^= 0x40;
	} else {
		result[0] = bpf_map_update_elem(&lru, &key, &v, BPF_ANY);
	}
	key = 5;
	result[1] = bpf_map_delete_elem(&lru, &key);
	return XDP_PASS;
}

SEC("xdp") int percpu_hash(struct xdp_md *ctx)
{
	__u64 v[3] = {1, 2, 3}, *p;
	__u32 key = packet_size(ctx);

	p = bpf_map_lookup_elem(&local, &key);
	if (p)
		p[1] += p[0];
	else
		result[0] = bpf_map_update_elem(&local, &key, v, BPF_ANY);
	key = 6;
	p = bpf_map_lookup_percpu_elem(&local, &key, 0);
	if (p)
		p[2]++;
	return XDP_PASS;
}

SEC("xdp") int percpu_allocated(struct xdp_md *ctx)
{
	__u64 v[3] = {1, 2, 3}, key = packet_size(ctx), *p;

	p = bpf_map_lookup_elem(&local_allocated, &key);
	if (p)
		p[1] += p[0];
	else
		result[0] = bpf_map_update_elem(&local_allocated, &key, v, BPF_NOEXIST);
	result[1] = bpf_map_update_elem(&local_allocated, &key, v, BPF_NOEXIST);
	key = 6;
	p = bpf_map_lookup_percpu_elem(&local_allocated, &key, 0);
	if (p)
		p[2]++;
	key = 7;
	result[2] = bpf_map_delete_elem(&local_allocated, &key);
	result[3] = bpf_map_update_elem(&local_allocated, &key, v, BPF_EXIST);
	return XDP_PASS;
}

SEC("xdp") int percpu_lru_hash(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx);
	__u64 one = 1, *p = bpf_map_lookup_elem(&local_lru, &key);

	if (p)
		*p += 5;
	else
		result[0] = bpf_map_update_elem(&local_lru, &key, &one, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int lpm_trie(struct xdp_md *ctx)
{
	struct prefix any = {.length = 0}, net = {.length = 8, .address = bpf_htonl(0x0a000000)},
		      host = {.length = 32, .address = bpf_htonl(0x0a000002)}, look = host;
	__u64 value = 8, *v;

	result[0] = bpf_map_update_elem(&routes, &net, &value, BPF_ANY);
	v = bpf_map_lookup_elem(&routes, &look);
	if (v)
		result[1] = (*v)++;
	value = 32;
	result[2] = bpf_map_update_elem(&routes, &host, &value, BPF_ANY);
	v = bpf_map_lookup_elem(&routes, &look);
	if (v)
		result[3] = *v;
	result[4] = bpf_map_delete_elem(&routes, &host);
	value = packet_size(ctx);
	result[5] = bpf_map_update_elem(&routes, &any, &value, BPF_ANY);
	look.address = bpf_htonl(0x7f000001);
	v = bpf_map_lookup_elem(&routes, &look);
	if (v)
		result[6] = *v;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
