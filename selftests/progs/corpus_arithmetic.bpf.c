// SPDX-License-Identifier: GPL-2.0
/*
 * Arithmetic, loops, the stack, and programs long enough to strain whoever
 * moves their instructions about.
 */
#include "corpus.h"

__u64 result[16];

/* Numbers the verifier does not know: from the packet. */
static __always_inline int operands(struct xdp_md *ctx, __u64 *a, __u64 *b)
{
	__u64 *p = packet_at(ctx, 42, 16);

	if (!p)
		return -1;
	*a = p[0];
	*b = p[1];
	return 0;
}

SEC("xdp") int alu64(struct xdp_md *ctx)
{
	__u64 a, b;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	result[0] = a + b;
	result[1] = a - b;
	result[2] = a * b;
	result[3] = a & b;
	result[4] = a | b;
	result[5] = a ^ b;
	result[6] = a << (b & 63);
	result[7] = a >> (b & 63);
	result[8] = (__s64)a >> (b & 63);
	result[9] = -a;
	result[10] = a * 0x12345 + 0x7fffffff;
	result[11] = a ^ 0x123456789abcdef0;
	return XDP_PASS;
}

SEC("xdp") int alu32(struct xdp_md *ctx)
{
	__u64 wide, other;
	__u32 a, b;

	if (operands(ctx, &wide, &other))
		return XDP_ABORTED;
	a = wide >> 16;
	b = other >> 8;
	result[0] = a + b;
	result[1] = a - b;
	result[2] = a * b;
	result[3] = a & b;
	result[4] = a | b;
	result[5] = a ^ b;
	result[6] = a << (b & 31);
	result[7] = a >> (b & 31);
	result[8] = (__s32)a >> (b & 31);
	result[9] = -a;
	return XDP_PASS;
}

SEC("xdp") int division(struct xdp_md *ctx)
{
	__u64 a, b, zero = 0, q, r;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	result[0] = a / 7;
	result[1] = a % 1000003;
	result[2] = b ? a / (b >> 40) : 0;
	result[3] = (__u32)a / 9;
	/* Division by 0 gives 0, and the rest is the dividend: by definition. */
	asm volatile("%0 = %2\n"
		     "%0 /= %3\n"
		     "%1 = %2\n"
		     "%1 %%= %3\n"
		     : "=&r"(q), "=&r"(r)
		     : "r"(a), "r"(zero));
	result[4] = q;
	result[5] = r;
	opaque(zero);
	asm volatile("r1 = %2\n"
		     "r2 = %3\n"
		     "w1 /= w2\n"
		     "%0 = r1\n"
		     "r1 = %2\n"
		     "w1 %%= w2\n"
		     "%1 = r1\n"
		     : "=&r"(q), "=&r"(r)
		     : "r"(a), "r"(zero)
		     : "r1", "r2");
	result[6] = q;
	result[7] = r;
	return XDP_PASS;
}

/* This compiler takes signed division only from an assembler. */
#define SIGNED(out, op, x, y) \
	asm volatile("r1 = %1\n" \
		     "r2 = %2\n" \
		     op "\n" \
		     "%0 = r1\n" \
		     : "=r"(out) \
		     : "r"(x), "r"(y) \
		     : "r1", "r2")

SEC("xdp") CPU_V4 int signed_division(struct xdp_md *ctx)
{
	__s64 a, b, lowest = 1ull << 63, minus = -1;

	if (operands(ctx, (__u64 *)&a, (__u64 *)&b))
		return XDP_ABORTED;
	a = -(a >> 1);
	b = (b >> 33) | 1;
	SIGNED(result[0], "r1 s/= r2", a, b);
	SIGNED(result[1], "r1 s%%= r2", a, b);
	SIGNED(result[2], "w1 s/= w2", a, b);
	SIGNED(result[3], "w1 s%%= w2", a, b);
	/* The one signed division that overflows, and the one by 0. */
	SIGNED(result[4], "r1 s/= r2", lowest, minus);
	SIGNED(result[5], "r1 s%%= r2", lowest, minus);
	SIGNED(result[6], "r1 s/= r2", a, minus + 1);
	SIGNED(result[7], "r1 s%%= r2", a, minus + 1);
	return XDP_PASS;
}

SEC("xdp") CPU_V4 int sign_extension(struct xdp_md *ctx)
{
	__u64 a, b;
	__s64 v;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	for (int i = 0; i < 4; i++) {
		v = a >> (i * 9);
		asm volatile("%0 = (s8)%1" : "=r"(v) : "r"(v));
		result[i] = v;
		v = b >> (i * 9);
		asm volatile("%0 = (s16)%1" : "=r"(v) : "r"(v));
		result[4 + i] = v;
		v = (a ^ b) >> (i * 9);
		asm volatile("%0 = (s32)%1" : "=r"(v) : "r"(v));
		result[8 + i] = v;
		v = (a + b) >> (i * 9);
		asm volatile("r1 = %1\n"
			     "w1 = (s8)w1\n"
			     "%0 = r1\n"
			     : "=r"(v)
			     : "r"(v)
			     : "r1");
		result[12 + i] = v;
	}
	return XDP_PASS;
}

SEC("xdp") CPU_V4 int byte_swaps(struct xdp_md *ctx)
{
	__u64 a, b;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	result[0] = bpf_htons(a);
	result[1] = bpf_htonl(a);
	result[2] = bpf_cpu_to_be64(a);
	asm volatile("%0 = le16 %0\n" : "+r"(b));
	result[3] = b;
	asm volatile("%0 = bswap16 %0" : "+r"(a));
	result[4] = a;
	a = result[2];
	asm volatile("%0 = bswap32 %0" : "+r"(a));
	result[5] = a;
	a = result[2] + 1;
	asm volatile("%0 = bswap64 %0" : "+r"(a));
	result[6] = a;
	a = result[2] + 2;
	asm volatile("%0 = be32 %0" : "+r"(a));
	result[7] = a;
	return XDP_PASS;
}

/* Every comparison, 64 and 32 bits wide, with register and immediate. */
SEC("xdp") int comparisons(struct xdp_md *ctx)
{
	__u64 a, b, bits = 0;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
#define TEST(w, x, op, y) \
	asm volatile("r1 = %1\n" \
		     "r2 = %2\n" \
		     "if " w "1 " op " " y " goto +1\n" \
		     "%0 |= 1\n" \
		     "%0 <<= 1\n" \
		     : "+r"(bits) \
		     : "r"(x), "r"(b) \
		     : "r1", "r2")
#define TESTS(w, x, y) \
	do { \
		TEST(w, x, "==", y); \
		TEST(w, x, "!=", y); \
		TEST(w, x, ">", y); \
		TEST(w, x, ">=", y); \
		TEST(w, x, "<", y); \
		TEST(w, x, "<=", y); \
		TEST(w, x, "s>", y); \
		TEST(w, x, "s>=", y); \
		TEST(w, x, "s<", y); \
		TEST(w, x, "s<=", y); \
		TEST(w, x, "&", y); \
	} while (0)
	TESTS("r", a, "r2");
	TESTS("w", a, "w2");
	result[0] = bits;
	bits = 0;
	TESTS("r", b, "r2");
	TESTS("w", a, "77");
	result[1] = bits;
	bits = 0;
	TESTS("r", a, "-5");
	result[2] = bits;
	return XDP_PASS;
}

/* A jump that does not fit the 16-bit offset of others. */
SEC("xdp") CPU_V4 int long_jump(struct xdp_md *ctx)
{
	__u64 a, b;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	asm volatile("gotol 1f\n"
		     "0: %0 += 5\n"
		     "gotol 2f\n"
		     "1: %0 ^= 0x55\n"
		     "gotol 0b\n"
		     "2:\n"
		     : "+r"(a));
	result[0] = a;
	return XDP_PASS;
}

SEC("xdp") int bounded_loop(struct xdp_md *ctx)
{
	__u64 a, b;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	for (int i = 0; i < 5000; i++) {
		a ^= a << 13;
		a ^= a >> 7;
		a ^= a << 17;
		opaque(a);
	}
	result[0] = a;
	return XDP_PASS;
}

SEC("xdp") int nested_loops(struct xdp_md *ctx)
{
	__u64 sum = 0;

	for (int i = 0; i < 20; i++)
		for (int j = 0; j < 20; j++)
			for (int k = 0; k < i % 5; k++) {
				sum += i * 100 + j * 10 + k;
				opaque(sum);
			}
	result[0] = sum + packet_size(ctx);
	return XDP_PASS;
}

/* All of the stack there is, written and read at every byte. */
SEC("xdp") int whole_stack(struct xdp_md *ctx)
{
	volatile __u64 buf[60];
	__u64 sum = 0;

	for (int i = 0; i < 60; i++)
		buf[i] = packet_size(ctx) * (i + 1);
	for (int i = 59; i >= 0; i--)
		sum = sum * 33 + buf[i];
	result[0] = sum;
	return XDP_PASS;
}

/* The last eight of the 512 bytes, which no compiler likes to use. */
SEC("xdp") NAKED int stack_edges(void)
{
	asm volatile("r2 = 7\n"
		     "*(u64 *)(r10 - 512) = r2\n"
		     "*(u64 *)(r10 - 8) = r2\n"
		     "*(u8 *)(r10 - 1) = 1\n"
		     "*(u8 *)(r10 - 512) = 9\n"
		     "r1 = r10\n"
		     "r1 += -512\n"
		     "r2 = *(u64 *)(r1 + 504)\n"
		     "r0 = *(u64 *)(r1 + 0)\n"
		     "r2 >>= 48\n"
		     "r0 += r2\n"
		     "exit\n");
}

SEC("xdp") int stack_variable_offset(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 42, 16), buf[64] = {};
	__u64 sum = 0;

	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 16; i++)
		buf[(p[i] ^ i) & 63] += p[i];
	for (int i = 0; i < 64; i++)
		sum = sum * 131 + buf[i];
	result[0] = sum;
	return XDP_PASS;
}

/* 3000 instructions in a row, and a jump over all of them. */
SEC("xdp") int straight_line(struct xdp_md *ctx)
{
	__u64 a, b;

	if (operands(ctx, &a, &b))
		return XDP_ABORTED;
	if (packet_size(ctx) == 256)
		goto out;
	asm volatile(".rept 600\n"
		     "%0 += %1\n"
		     "%1 ^= %0\n"
		     "%0 <<= 1\n"
		     "%1 *= 13\n"
		     "%0 |= 1\n"
		     ".endr\n"
		     : "+r"(a), "+r"(b));
out:
	result[0] = a;
	result[1] = b;
	return XDP_PASS;
}

/* 400 helper calls, each a site of its own, in branches of their own. */
SEC("xdp") int many_calls(struct xdp_md *ctx)
{
	__u64 n = 0;

#define CALL \
	if (bpf_xdp_get_buff_len(ctx) > 63) \
		n++; \
	opaque(n);
#define CALL10 CALL CALL CALL CALL CALL CALL CALL CALL CALL CALL
#define CALL100 CALL10 CALL10 CALL10 CALL10 CALL10 CALL10 CALL10 CALL10 CALL10 CALL10
	CALL100 CALL100 CALL100 CALL100
	result[0] = n;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
