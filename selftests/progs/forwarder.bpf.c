// SPDX-License-Identifier: GPL-2.0
/*
 * An XDP router for memcached traffic, as the demo runs it between a client and
 * a server. Packets of memcached (UDP or TCP, either direction) are counted by
 * kind, looked up by destination address, get the next hop's MAC addresses and
 * leave through a device map. Everything else, such as ARP and ICMP, goes to
 * the kernel, which routes it as it would without us.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define MEMCACHED bpf_htons(11211)
#define FRAGMENT bpf_htons(0x3fff) /* more fragments, or an offset */

/* Slots of the counters, named in qemu/demo/counters.awk. */
enum counter {
	PACKETS,
	TO_KERNEL,
	NO_ROUTE,
	UDP_REQUESTS,
	UDP_REPLIES,
	TCP_REQUESTS,
	TCP_REPLIES,
	GETS,
	SETS,
	FORWARDED_BYTES,
	COUNTERS,
};

struct next_hop {
	__u8 to[6];
	__u8 from[6];
	__u32 port; /* slot of the device map */
};

/* In front of every memcached datagram. */
struct udp_frame {
	__be16 request;
	__be16 sequence;
	__be16 datagrams;
	__be16 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __be32);
	__type(value, struct next_hop);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(__u32 slot, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &slot);

	if (value)
		__sync_fetch_and_add(value, n);
}

static __always_inline int to_kernel(void)
{
	count(TO_KERNEL, 1);
	return XDP_PASS;
}

/* A text command's first word; binary and continued data count as none. */
static __always_inline void count_command(const char *text, const void *end)
{
	if ((const void *)(text + 4) > end)
		return;
	if (text[0] == 'g' && text[1] == 'e' && text[2] == 't')
		count(GETS, 1);
	else if (text[0] == 's' && text[1] == 'e' && text[2] == 't' && text[3] == ' ')
		count(SETS, 1);
}

/* One hop less, with the header's checksum kept right (RFC 1624). */
static __always_inline void one_hop_less(struct iphdr *ip)
{
	__u32 sum = ip->check;

	sum += bpf_htons(0x0100);
	ip->check = (__u16)(sum + (sum >= 0xffff));
	ip->ttl--;
}

SEC("xdp")
int forwarder(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct next_hop *hop;
	__be32 to;

	count(PACKETS, 1);
	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return to_kernel();
	/* Options, fragments and the last hop are the kernel's business. */
	if (ip->version != 4 || ip->ihl != 5 || (ip->frag_off & FRAGMENT) || ip->ttl <= 1)
		return to_kernel();

	if (ip->protocol == IPPROTO_UDP) {
		struct udphdr *udp = (void *)(ip + 1);
		struct udp_frame *frame = (void *)(udp + 1);

		if ((void *)(frame + 1) > end)
			return to_kernel();
		if (udp->dest == MEMCACHED) {
			count(UDP_REQUESTS, 1);
			count_command((const char *)(frame + 1), end);
		} else if (udp->source == MEMCACHED) {
			count(UDP_REPLIES, 1);
		} else {
			return to_kernel();
		}
	} else if (ip->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)(ip + 1);

		if ((void *)(tcp + 1) > end)
			return to_kernel();
		if (tcp->dest == MEMCACHED) {
			count(TCP_REQUESTS, 1);
			count_command((const char *)tcp + tcp->doff * 4, end);
		} else if (tcp->source == MEMCACHED) {
			count(TCP_REPLIES, 1);
		} else {
			return to_kernel();
		}
	} else {
		return to_kernel();
	}

	to = ip->daddr;
	hop = bpf_map_lookup_elem(&routes, &to);
	if (!hop) {
		count(NO_ROUTE, 1);
		return XDP_PASS;
	}
	one_hop_less(ip);
	__builtin_memcpy(eth->h_dest, hop->to, 6);
	__builtin_memcpy(eth->h_source, hop->from, 6);
	count(FORWARDED_BYTES, end - (void *)eth);
	return bpf_redirect_map(&ports, hop->port, XDP_DROP);
}

char _license[] SEC("license") = "GPL";
