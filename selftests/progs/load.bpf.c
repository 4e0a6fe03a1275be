// SPDX-License-Identifier: GPL-2.0
/* Programs for runs that are many or long. */
#include "corpus.h"

/* <linux/icmp.h> drags the C library in. */
struct icmphdr {
	__u8 type, code;
	__sum16 checksum;
	__be16 id, sequence;
};
#define ICMP_ECHOREPLY 0
#define ICMP_ECHO 8

/* A program's parameters, from the runner: what each word means, it says. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[4]);
} words SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
} devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_cpumap_val));
} cpus SEC(".maps");

static __always_inline __u64 *take_words(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&words, &key);
}

/* A little of everything: look-up, helper, packet. Counts its runs. */
SEC("xdp") int busy(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 14);
	__u64 *w = take_words();

	if (!p || !w)
		return XDP_ABORTED;
	p[0]++;
	__sync_fetch_and_add(&w[0], 1);
	w[1] = bpf_get_current_pid_tgid();
	return XDP_PASS;
}

/* 2 Mi divisions or so: some hundredths of a second without leaving. */
SEC("xdp") int slow(struct xdp_md *ctx)
{
	__u64 *w = take_words(), x;

	if (!w)
		return XDP_ABORTED;
	x = packet_size(ctx);
	for (int i = 0; i < 2000; i++) {
		asm volatile(".rept 100\n"
			     "%0 *= 13\n"
			     "%0 /= 3\n"
			     ".endr\n"
			     : "+r"(x));
	}
	w[0]++;
	w[2] = x;
	return XDP_PASS;
}

/*
 * A run of seconds, in the breach build alone: the verifier sees one round or
 * none, the CPU as many as word 0 says.
 */
SEC("xdp") int endless(struct xdp_md *ctx)
{
	__u64 *w = take_words(), n;

	if (!w)
		return XDP_ABORTED;
	n = *(volatile __u64 *)&w[0];
	asm volatile("%0 &= 0" : "+r"(n));
	n += packet_size(ctx) & 1;
	while (n) {
		n--;
		(*(volatile __u64 *)&w[1])++;
	}
	return XDP_PASS;
}

SEC("xdp") int live_pass(struct xdp_md *ctx)
{
	__u64 *w = take_words();

	if (w)
		__sync_fetch_and_add(&w[0], 1);
	return XDP_PASS;
}

static __always_inline void swap(void *a, void *b, int len)
{
	__u8 x[8];

	__builtin_memcpy(x, a, len);
	__builtin_memcpy(a, b, len);
	__builtin_memcpy(b, x, len);
}

/* Answers pings itself and lets the rest (ARP) through. */
SEC("xdp") int live_echo(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, 14 + 20 + 8);
	struct iphdr *ip = (void *)(eth + 1);
	struct icmphdr *icmp = (void *)(ip + 1);
	__u64 *w = take_words();
	__u32 sum;

	if (!eth || !w || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_ICMP || icmp->type != ICMP_ECHO)
		return XDP_PASS;
	swap(eth->h_dest, eth->h_source, ETH_ALEN);
	swap(&ip->saddr, &ip->daddr, 4);
	icmp->type = ICMP_ECHOREPLY;
	sum = icmp->checksum + bpf_htons(ICMP_ECHO << 8);
	icmp->checksum = sum + (sum >> 16);
	__sync_fetch_and_add(&w[1], 1);
	return XDP_TX;
}

/* Out of the device that entry 0 names. */
SEC("xdp") int live_redirect(struct xdp_md *ctx)
{
	__u64 *w = take_words();

	if (w)
		__sync_fetch_and_add(&w[2], 1);
	return bpf_redirect_map(&devices, 0, XDP_ABORTED);
}

/* Runs when a packet has come to the device that it was redirected to. */
SEC("xdp/devmap") int live_device(struct xdp_md *ctx)
{
	__u64 *w = take_words();

	if (w && ctx->egress_ifindex)
		__sync_fetch_and_add(&w[3], 1);
	return XDP_PASS;
}

SEC("xdp") int live_to_cpu(struct xdp_md *ctx)
{
	__u64 *w = take_words();

	if (w)
		__sync_fetch_and_add(&w[2], 1);
	return bpf_redirect_map(&cpus, 1, XDP_ABORTED);
}

/* Runs in a thread of the CPU that the packet was sent to. */
SEC("xdp/cpumap") int live_cpu(struct xdp_md *ctx)
{
	__u64 *w = take_words();

	if (w && bpf_get_smp_processor_id() == 1)
		__sync_fetch_and_add(&w[3], 1);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
