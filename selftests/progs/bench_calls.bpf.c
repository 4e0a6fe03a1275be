// SPDX-License-Identifier: GPL-2.0
/*
 * What selftests/bench/functions.sh measures. NAME_100 and NAME_200 do the same
 * thing in 100 and in 200 rounds: a hundredth of the difference is a round.
 */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 100);
	__type(key, __u32);
	__type(value, __u64);
} array_100 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 200);
	__type(key, __u32);
	__type(value, __u64);
} array_200 SEC(".maps");

/* The runner puts as many into each as its name says. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} hash_100 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u64);
} hash_200 SEC(".maps");

/* The verifier does not know it, so it inlines no loop with these flags. */
volatile __u64 zero;

/*
 * Sub-programs of one instruction, or of three, and the exit: one that writes
 * none of R6 to R9, and one that writes two. And one that calls another where its
 * argument says so, which it never does.
 */

SUBPROG NAKED void leaf(void)
{
	asm volatile("r0 = 0\n"
		     "exit\n");
}

SUBPROG NAKED void leaf_saves(void)
{
	asm volatile("r6 = 0\n"
		     "r7 = 0\n"
		     "r0 = 0\n"
		     "exit\n");
}

SUBPROG NAKED void inner(void)
{
	asm volatile("r0 = 0\n"
		     "if r1 != 0 goto 1f\n"
		     "exit\n"
		     "1:\n"
		     "call leaf\n"
		     "exit\n"
		     :
		     : "i"(leaf));
}

__noinline int leaf_global(void)
{
	int zero = 0;

	opaque(zero);
	return zero;
}

#define ROUNDS(name, rounds, first, body)                                                          \
	SEC("xdp") NAKED int name##_##rounds(void)                                                 \
	{                                                                                          \
		asm volatile(first "r6 = " #rounds "\n"                                            \
			     "1:\n" body "r6 += -1\n"                                              \
			     "if r6 != 0 goto 1b\n"                                                \
			     "r0 = 2\n"                                                            \
			     "exit\n"                                                              \
			     :                                                                     \
			     : "i"(leaf), "i"(leaf_saves), "i"(leaf_global), "i"(inner));          \
	}
#define BOTH(name, body) ROUNDS(name, 100, "", body) ROUNDS(name, 200, "", body)
/* The same with an argument that the verifier does not know; it is 0. */
#define FIRST                                                                                      \
	"r8 = zero ll\n"                                                                           \
	"r8 = *(u64 *)(r8 + 0)\n"
#define INNER(name, body) ROUNDS(name, 100, FIRST, body) ROUNDS(name, 200, FIRST, body)
#define CALL(function) "call " #function "\n"
#define TWO(x) x x
#define FOUR(x) TWO(x) TWO(x)
#define SIXTEEN(x) FOUR(x) FOUR(x) FOUR(x) FOUR(x)
#define SIXTY_FOUR(x) SIXTEEN(x) SIXTEEN(x) SIXTEEN(x) SIXTEEN(x)

/* All but the call. */
BOTH(call_none, "")
BOTH(call_static, CALL(leaf))
BOTH(call_saves, CALL(leaf_saves))
BOTH(sites_2, TWO(CALL(leaf)))
BOTH(sites_4, FOUR(CALL(leaf)))
BOTH(sites_16, SIXTEEN(CALL(leaf)))
BOTH(sites_64, SIXTY_FOUR(CALL(leaf)))
INNER(inner_1, "r1 = r8\n" CALL(inner))
INNER(inner_16, SIXTEEN("r1 = r8\n" CALL(inner)))
INNER(inner_64, SIXTY_FOUR("r1 = r8\n" CALL(inner)))
BOTH(call_global, CALL(leaf_global))

/* Callbacks that do nothing. */

static long on_index(__u32 i, void *none)
{
	return 0;
}

static long on_element(void *map, __u32 *key, __u64 *value, void *none)
{
	return 0;
}

#define CALLBACKS(rounds)                                                                          \
	SEC("xdp") int loop_inlined_##rounds(struct xdp_md *ctx)                                   \
	{                                                                                          \
		bpf_loop(rounds, on_index, NULL, 0);                                               \
		return XDP_PASS;                                                                   \
	}                                                                                          \
	SEC("xdp") int loop_called_##rounds(struct xdp_md *ctx)                                    \
	{                                                                                          \
		bpf_loop(rounds, on_index, NULL, zero);                                            \
		return XDP_PASS;                                                                   \
	}                                                                                          \
	SEC("xdp") int each_array_##rounds(struct xdp_md *ctx)                                     \
	{                                                                                          \
		bpf_for_each_map_elem(&array_##rounds, on_element, NULL, 0);                       \
		return XDP_PASS;                                                                   \
	}                                                                                          \
	SEC("xdp") int each_hash_##rounds(struct xdp_md *ctx)                                      \
	{                                                                                          \
		bpf_for_each_map_elem(&hash_##rounds, on_element, NULL, 0);                        \
		return XDP_PASS;                                                                   \
	}
CALLBACKS(100)
CALLBACKS(200)

char _license[] SEC("license") = "GPL";
