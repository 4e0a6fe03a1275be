// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers that ask the network stack. The runner has a UDP and a TCP socket
 * listening at 127.0.0.1:5201, and the loopback device is up.
 */
#include "corpus.h"
#include <linux/ipv6.h>
#include <linux/tcp.h>

#define AF_INET 2
#define PORT 5201

__s64 result[16];

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u32[8]);
} buffers SEC(".maps");

SEC("xdp") int checksum_difference(struct xdp_md *ctx)
{
	__u32 from[4] = {1, 2, 3, 4}, to[4] = {5, 6, 7, packet_size(ctx)};
	__u32 *p = packet_at(ctx, 16, 32);

	result[0] = bpf_csum_diff(from, 16, to, 16, 0);
	result[1] = bpf_csum_diff(NULL, 0, to, 12, 99);
	result[2] = bpf_csum_diff(from, 8, NULL, 0, 0);
	if (p)
		result[3] = bpf_csum_diff(NULL, 0, p, 32, 0);
	result[4] = bpf_csum_diff(from, 0, to, 0, 5);
	return XDP_PASS;
}

/* Sums have two zeros; which of them comes out depends on how they are added. */
SEC("xdp") int checksum_of_zeros(struct xdp_md *ctx)
{
	__u32 none[2] = {}, all[2] = {-1, -1}, half[2] = {0xffff, 0xffff0000};

	result[12] = packet_size(ctx);
	result[0] = bpf_csum_diff(none, 8, none, 8, 0);
	result[1] = bpf_csum_diff(none, 8, NULL, 0, 0);
	result[2] = bpf_csum_diff(all, 8, NULL, 0, -1);
	result[3] = bpf_csum_diff(all, 8, all, 8, 0);
	result[4] = bpf_csum_diff(NULL, 0, all, 8, 0);
	result[5] = bpf_csum_diff(NULL, 0, none, 8, -1);
	result[6] = bpf_csum_diff(half, 8, all, 8, 0xffff);
	result[7] = bpf_csum_diff(all, 8, half, 8, 0xffff0000);
	result[8] = bpf_csum_diff(NULL, 0, NULL, 0, -1);
	result[9] = bpf_csum_diff(NULL, 0, NULL, 0, result[12] << 16);
	/* No whole words. */
	result[10] = bpf_csum_diff(NULL, 0, half, 7, result[12]);
	result[11] = bpf_csum_diff(half, 2, all, 4, result[12]);
	return XDP_PASS;
}

SEC("xdp") int checksum_of_value(struct xdp_md *ctx)
{
	__u32 key = 2, *v = bpf_map_lookup_elem(&buffers, &key), zero[2] = {};

	if (!v)
		return XDP_DROP;
	result[0] = bpf_csum_diff(zero, 8, v, 32, 0);
	v[1] = result[0];
	return XDP_PASS;
}

SEC("xdp") int route_lookup(struct xdp_md *ctx)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.tot_len = packet_size(ctx) - ETH_HLEN,
		.ifindex = 1,
		.ipv4_src = bpf_htonl(0x7f000001),
		.ipv4_dst = bpf_htonl(0x7f000002),
	};

	result[0] = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	result[1] = bpf_fib_lookup(ctx, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT);
	result[2] = fib.ifindex;
	fib.ifindex = 4000;
	result[3] = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	fib.family = 99;
	result[4] = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	return XDP_PASS;
}

SEC("xdp") int mtu_check(struct xdp_md *ctx)
{
	__u32 mtu = 0;

	result[0] = bpf_check_mtu(ctx, 1, &mtu, 0, 0);
	result[1] = mtu;
	mtu = 0;
	result[2] = bpf_check_mtu(ctx, 1, &mtu, 65530, 0);
	result[3] = mtu;
	result[4] = bpf_check_mtu(ctx, 4000, &mtu, 0, 0);
	return XDP_PASS;
}

static __always_inline struct bpf_sock_tuple tuple_to(__u16 port)
{
	struct bpf_sock_tuple t = {};

	t.ipv4.saddr = bpf_htonl(0x7f000001);
	t.ipv4.daddr = bpf_htonl(0x7f000001);
	t.ipv4.sport = bpf_htons(40000);
	t.ipv4.dport = bpf_htons(port);
	return t;
}

SEC("xdp") int socket_udp(struct xdp_md *ctx)
{
	struct bpf_sock_tuple t = tuple_to(PORT);
	struct bpf_sock *sk;

	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	result[0] = sk->family;
	result[1] = sk->protocol;
	result[2] = sk->src_port;
	result[3] = sk->src_ip4;
	result[4] = sk->state;
	result[5] = sk->bound_dev_if;
	bpf_sk_release(sk);
	t = tuple_to(PORT + 1);
	sk = bpf_sk_lookup_udp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	result[6] = sk == NULL;
	if (sk)
		bpf_sk_release(sk);
	return XDP_PASS;
}

SEC("xdp") int socket_tcp(struct xdp_md *ctx)
{
	struct bpf_sock_tuple t = tuple_to(PORT);
	struct bpf_sock *sk;

	sk = bpf_sk_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	result[0] = sk->family;
	result[1] = sk->type;
	result[2] = sk->protocol;
	result[3] = sk->src_port;
	result[4] = sk->state;
	result[5] = sk->mark;
	result[6] = sk->priority;
	bpf_sk_release(sk);
	return XDP_PASS;
}

/* The address of the socket lies in the packet. */
SEC("xdp") int socket_tuple_in_packet(struct xdp_md *ctx)
{
	struct bpf_sock_tuple *t = packet_at(ctx, 26, sizeof(t->ipv4));
	struct bpf_sock *sk;

	if (!t)
		return XDP_ABORTED;
	*(volatile __be32 *)&t->ipv4.saddr = bpf_htonl(0x7f000001);
	*(volatile __be32 *)&t->ipv4.daddr = bpf_htonl(0x7f000001);
	*(volatile __be16 *)&t->ipv4.dport = bpf_htons(PORT);
	sk = bpf_skc_lookup_tcp(ctx, t, sizeof(t->ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	result[0] = sk->family;
	result[1] = sk->state;
	bpf_sk_release(sk);
	return XDP_TX;
}

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
};

static __always_inline struct syn syn_to_port(void)
{
	struct syn s = {};

	s.ip.version = 4;
	s.ip.ihl = 5;
	s.ip.protocol = IPPROTO_TCP;
	s.ip.saddr = bpf_htonl(0x7f000001);
	s.ip.daddr = bpf_htonl(0x7f000001);
	s.tcp.doff = 5;
	s.tcp.syn = 1;
	s.tcp.source = bpf_htons(40000);
	s.tcp.dest = bpf_htons(PORT);
	return s;
}

/* A cookie is secret and changes by the minute: only its being there counts. */
SEC("xdp") int syncookie_of_socket(struct xdp_md *ctx)
{
	struct bpf_sock_tuple t = tuple_to(PORT);
	struct syn s = syn_to_port();
	struct bpf_sock *sk;

	sk = bpf_skc_lookup_tcp(ctx, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return XDP_DROP;
	result[0] = bpf_tcp_gen_syncookie(sk, &s.ip, sizeof(s.ip), &s.tcp, sizeof(s.tcp)) > 0;
	s.tcp.syn = 0;
	s.tcp.ack = 1;
	s.tcp.ack_seq = bpf_htonl(12345);
	result[1] = bpf_tcp_check_syncookie(sk, &s.ip, sizeof(s.ip), &s.tcp, sizeof(s.tcp)) == 0;
	bpf_sk_release(sk);
	return XDP_PASS;
}

SEC("xdp") int syncookie_raw(struct xdp_md *ctx)
{
	struct syn s = syn_to_port();
	__s64 cookie;

	cookie = bpf_tcp_raw_gen_syncookie_ipv4(&s.ip, &s.tcp, sizeof(s.tcp));
	result[0] = cookie >= 0;
	result[1] = cookie >> 32;
	s.tcp.syn = 0;
	s.tcp.ack = 1;
	s.tcp.ack_seq = bpf_htonl((__u32)cookie + 1);
	result[2] = bpf_tcp_raw_check_syncookie_ipv4(&s.ip, &s.tcp);
	/* Whether another number passes is chance of one in many: not asked. */
	return XDP_PASS;
}

SEC("xdp") int syncookie_raw_v6(struct xdp_md *ctx)
{
	struct ipv6hdr ip = {.version = 6, .nexthdr = IPPROTO_TCP};
	struct syn s = syn_to_port();
	__s64 cookie;

	ip.saddr.in6_u.u6_addr8[15] = 1;
	ip.daddr.in6_u.u6_addr8[15] = 2;
	cookie = bpf_tcp_raw_gen_syncookie_ipv6(&ip, &s.tcp, sizeof(s.tcp));
	result[0] = cookie >= 0;
	s.tcp.syn = 0;
	s.tcp.ack = 1;
	s.tcp.ack_seq = bpf_htonl((__u32)cookie + 1);
	result[1] = bpf_tcp_raw_check_syncookie_ipv6(&ip, &s.tcp);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
