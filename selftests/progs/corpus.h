/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of the corpus share. A program of the corpus may be run
 * with and without the module and must leave the same behind: no address, no
 * time, no random number may reach a map or the packet. Nothing here may
 * become a sub-program: programs that have one are in files of their own, whose
 * names begin with corpus_sub, corpus_callback or corpus_exception. xdp_corpus
 * sees to both.
 */
#ifndef BAILEY_CORPUS_H
#define BAILEY_CORPUS_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* clang takes the instruction set by function: sign extension, long jumps. */
#define CPU_V4 __attribute__((target("cpu=v4")))

/*
 * All of the body is in the assembly. R1 is the context; an argument in C would
 * be one without a name, which the kernel's BTF does not take.
 */
#define NAKED __attribute__((naked))

/* A function that stays one. */
#define SUBPROG static __noinline __attribute__((used))

/* `len` bytes of the packet from `off`, or NULL when it is shorter. */
static __always_inline void *packet_at(struct xdp_md *ctx, __u32 off, __u32 len)
{
	void *p = (void *)(long)ctx->data + off;

	if (p + len > (void *)(long)ctx->data_end)
		return NULL;
	return p;
}

/* A number that differs between the packets of a run, but not between runs. */
static __always_inline __u32 packet_size(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/*
 * Adds up the numbers to `end` in a loop that the kernel ends when it takes too
 * long. `zero` is 0 where the verifier does not know it: with numbers that it knows
 * it goes round the loop itself.
 */
static __always_inline __u64 loop_to(__u64 zero, __u64 end)
{
	__u64 n = zero, sum = zero;

	asm volatile("0: may_goto 1f\n"
		     "%1 += %0\n"
		     "%0 += 1\n"
		     "if %0 > %2 goto 1f\n"
		     "goto 0b\n"
		     "1:\n"
		     : "+r"(n), "+r"(sum)
		     : "r"(end));
	return sum;
}

/* Keeps a value in a register and the compiler from knowing it. */
#define opaque(x) asm volatile("" : "+r"(x))

#endif
