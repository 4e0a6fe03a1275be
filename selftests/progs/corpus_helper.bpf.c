// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers about time, task and text. What differs from run to run is turned
 * into a truth that does not.
 */
#include "corpus.h"

__s64 result[16];
__u8 text[64];
const char format[] = "%d %u %s %llx";

SEC("xdp") int time_goes_on(struct xdp_md *ctx)
{
	__u64 a = bpf_ktime_get_ns(), b = bpf_ktime_get_boot_ns(), c = bpf_ktime_get_tai_ns();
	__u64 d = bpf_jiffies64();

	result[0] = a > 0;
	result[1] = bpf_ktime_get_ns() >= a;
	result[2] = bpf_ktime_get_boot_ns() >= b;
	result[3] = bpf_ktime_get_tai_ns() >= c;
	result[4] = bpf_jiffies64() >= d;
	return XDP_PASS;
}

SEC("xdp") int random_number(struct xdp_md *ctx)
{
	__u32 ors = 0;

	/* 64 numbers without one set bit would be strange. */
	for (int i = 0; i < 64; i++)
		ors |= bpf_get_prandom_u32();
	result[0] = ors;
	return XDP_PASS;
}

SEC("xdp") int processor(struct xdp_md *ctx)
{
	result[0] = bpf_get_smp_processor_id();
	result[1] = bpf_get_numa_node_id();
	return XDP_PASS;
}

/*
 * The verifier knows that get_smp_processor_id touches no register but R0,
 * and lets the compiler keep the others; so must whoever replaces it.
 */
SEC("xdp") NAKED int registers_over_fastcall(void)
{
	asm volatile("r1 = 1\n"
		     "r2 = 2\n"
		     "r3 = 3\n"
		     "r4 = 4\n"
		     "r5 = 5\n"
		     "*(u64 *)(r10 - 8) = r1\n"
		     "*(u64 *)(r10 - 16) = r2\n"
		     "*(u64 *)(r10 - 24) = r3\n"
		     "*(u64 *)(r10 - 32) = r4\n"
		     "*(u64 *)(r10 - 40) = r5\n"
		     "call 8\n" /* bpf_get_smp_processor_id */
		     "r5 = *(u64 *)(r10 - 40)\n"
		     "r4 = *(u64 *)(r10 - 32)\n"
		     "r3 = *(u64 *)(r10 - 24)\n"
		     "r2 = *(u64 *)(r10 - 16)\n"
		     "r1 = *(u64 *)(r10 - 8)\n"
		     "r0 = r1\n"
		     "r0 <<= 4\n"
		     "r0 |= r2\n"
		     "r0 <<= 4\n"
		     "r0 |= r3\n"
		     "r0 <<= 4\n"
		     "r0 |= r4\n"
		     "r0 <<= 4\n"
		     "r0 |= r5\n"
		     "exit\n");
}

SEC("xdp") int compare_text(struct xdp_md *ctx)
{
	char word[8] = "bailey";

	word[3] += packet_size(ctx) == 256;
	result[0] = bpf_strncmp(word, sizeof(word), "bailey");
	word[6] = 's';
	result[1] = bpf_strncmp(word, sizeof(word), "bailey");
	result[2] = bpf_strncmp(word, sizeof(word), "c") < 0;
	result[3] = bpf_strncmp(word, 3, "bailiff");
	return XDP_PASS;
}

SEC("xdp") int parse_number(struct xdp_md *ctx)
{
	char word[8] = "-1234x", hex[8] = "ff";
	unsigned long u = 0;
	long n = 0;

	result[0] = bpf_strtol(word, sizeof(word), 10, &n);
	result[1] = n;
	result[2] = bpf_strtoul(hex, sizeof(hex), 16, &u);
	result[3] = u;
	result[4] = bpf_strtoul(word, sizeof(word), 10, &u);
	return XDP_PASS;
}

SEC("xdp") int print_text(struct xdp_md *ctx)
{
	static const char word[] = "word";
	__u64 args[4] = {-5, packet_size(ctx), (__u64)(long)word, 0xabcdef};

	result[0] = bpf_snprintf((char *)text, sizeof(text), format, args, sizeof(args));
	return XDP_PASS;
}

SEC("xdp") int trace_text(struct xdp_md *ctx)
{
	static const char line[] = "corpus %d %d %d\n";

	result[0] = bpf_trace_printk(line, sizeof(line), packet_size(ctx), 2, 3);
	return XDP_PASS;
}

SEC("xdp") int trace_many(struct xdp_md *ctx)
{
	static const char line[] = "corpus %d %d %d %d %d\n";
	__u64 args[5] = {1, 2, 3, 4, packet_size(ctx)};

	result[0] = bpf_trace_vprintk(line, sizeof(line), args, sizeof(args));
	return XDP_PASS;
}

/* Who runs the test is the runner, under whatever numbers. */
SEC("xdp") int current_task(struct xdp_md *ctx)
{
	char comm[16] = {};

	result[0] = bpf_get_current_pid_tgid() != 0;
	result[1] = bpf_get_current_uid_gid();
	result[2] = bpf_get_current_comm(comm, sizeof(comm));
	result[3] = bpf_strncmp(comm, sizeof(comm), "xdp_corpus");
	result[4] = bpf_get_current_task() != 0;
	return XDP_PASS;
}

SEC("xdp") int current_cgroup(struct xdp_md *ctx)
{
	result[0] = bpf_get_current_cgroup_id() != 0;
	return XDP_PASS;
}

/* Kernel memory that the program may read, through the helper made for it. */
SEC("xdp") int read_kernel(struct xdp_md *ctx)
{
	__u64 task = bpf_get_current_task(), word = 77;

	result[0] = bpf_probe_read_kernel(&word, sizeof(word), (void *)task);
	result[1] = bpf_probe_read_kernel(&word, sizeof(word), (void *)8);
	result[2] = word;
	result[3] = bpf_probe_read_user(&word, sizeof(word), (void *)8);
	return XDP_PASS;
}

/* Values in R6 to R9 outlive every helper. */
SEC("xdp") NAKED int registers_over_helpers(void)
{
	asm volatile("r6 = r1\n"
		     "r7 = *(u32 *)(r1 + 4)\n"
		     "r8 = *(u32 *)(r1 + 0)\n"
		     "r7 -= r8\n"
		     "r8 = 0x1234567812345678 ll\n"
		     "r9 = r10\n"
		     "r9 += -16\n"
		     "*(u64 *)(r9 + 0) = r8\n"
		     "call 5\n" /* bpf_ktime_get_ns */
		     "call 7\n" /* bpf_get_prandom_u32 */
		     "r1 = r6\n"
		     "r2 = -4\n"
		     "call 65\n" /* bpf_xdp_adjust_tail */
		     "r8 >>= 3\n"
		     "call 118\n" /* bpf_jiffies64 */
		     "r1 = r6\n"
		     "call 188\n" /* bpf_xdp_get_buff_len */
		     "r1 = *(u64 *)(r9 + 0)\n"
		     "r0 += r7\n"
		     "r0 ^= r8\n"
		     "r0 ^= r1\n"
		     "exit\n");
}

char _license[] SEC("license") = "GPL";
