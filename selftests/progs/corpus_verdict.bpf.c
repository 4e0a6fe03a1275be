// SPDX-License-Identifier: GPL-2.0
/* Verdicts, and programs whose shape is awkward for a rewriter. */
#include "corpus.h"

SEC("xdp") int verdict_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp") int verdict_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp") int verdict_aborted(struct xdp_md *ctx)
{
	return XDP_ABORTED;
}

SEC("xdp") int verdict_tx(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp") int verdict_unknown(struct xdp_md *ctx)
{
	return 77;
}

SEC("xdp") int verdict_negative(struct xdp_md *ctx)
{
	return -1;
}

SEC("xdp") int verdict_of_packet(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 42, 1);

	return p ? *p % 6 : XDP_DROP;
}

/* The shortest program there is: two instructions, 16 bytes. */
SEC("xdp") NAKED int tiny(void)
{
	asm volatile("r0 = 2\n"
		     "exit\n");
}

/*
 * A jump back to the first instruction. What stands in front of the program
 * must not run again. R1 is the context on the first pass and 0 on the second;
 * the verifier believes that a context may be 0, so what the second pass needs
 * waits on the stack, where reading what was not written is allowed.
 */
SEC("xdp") NAKED int jump_to_first(void)
{
	asm volatile("0: r0 = r1\n"
		     "if r0 == 0 goto 1f\n"
		     "r2 = *(u32 *)(r1 + 0)\n"
		     "r3 = *(u32 *)(r1 + 4)\n"
		     "r3 -= r2\n"
		     "*(u64 *)(r10 - 8) = r3\n"
		     "r1 = 0\n"
		     "goto 0b\n"
		     "1: r0 = *(u64 *)(r10 - 8)\n"
		     "exit\n");
}

/* The first instruction is the head of a loop. */
SEC("xdp") NAKED int loop_from_first(void)
{
	asm volatile("0: r0 = r1\n"
		     "if r0 != 0 goto 1f\n"
		     "r7 = *(u64 *)(r10 - 8)\n"
		     "if r7 > 5 goto 2f\n"
		     "r7 += 1\n"
		     "goto 3f\n"
		     "1: r7 = 0\n"
		     "3: *(u64 *)(r10 - 8) = r7\n"
		     "r1 = 0\n"
		     "goto 0b\n"
		     "2: r0 = r7\n"
		     "exit\n");
}

/* Six exits, each with its own way there. */
SEC("xdp") NAKED int many_exits(void)
{
	asm volatile("r2 = *(u32 *)(r1 + 0)\n"
		     "r3 = *(u32 *)(r1 + 4)\n"
		     "r3 -= r2\n"
		     "if r3 != 64 goto 1f\n"
		     "r0 = 1\n"
		     "exit\n"
		     "1: if r3 != 256 goto 2f\n"
		     "r0 = 2\n"
		     "exit\n"
		     "2: if r3 != 1500 goto 3f\n"
		     "r0 = 3\n"
		     "exit\n"
		     "3: if r3 s< 0 goto 4f\n"
		     "if r3 & 1 goto 5f\n"
		     "r0 = 4\n"
		     "exit\n"
		     "4: r0 = 0\n"
		     "exit\n"
		     "5: r0 = 5\n"
		     "exit\n");
}

/* The last instruction is a jump back, not an exit. */
SEC("xdp") NAKED int exit_in_the_middle(void)
{
	asm volatile("goto 1f\n"
		     "0: r0 = r6\n"
		     "exit\n"
		     "1: r6 = 3\n"
		     "goto 0b\n");
}

SEC("xdp") int switch_statement(struct xdp_md *ctx)
{
	struct ethhdr *eth = packet_at(ctx, 0, sizeof(*eth) + sizeof(struct iphdr));
	struct iphdr *ip = (void *)(eth + 1);

	if (!eth)
		return XDP_ABORTED;
	switch (ip->protocol) {
	case IPPROTO_ICMP:
		return XDP_DROP;
	case IPPROTO_TCP:
		return XDP_PASS;
	case IPPROTO_UDP:
		switch (packet_size(ctx)) {
		case 64:
			return XDP_TX;
		case 256:
			return XDP_DROP;
		case 1500:
			return 91;
		default:
			return XDP_PASS;
		}
	case IPPROTO_GRE:
		return 17;
	case IPPROTO_SCTP:
		return 18;
	default:
		return XDP_ABORTED;
	}
}

char _license[] SEC("license") = "GPL";
