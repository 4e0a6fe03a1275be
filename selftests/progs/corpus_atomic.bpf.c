// SPDX-License-Identifier: GPL-2.0
/* Atomic operations of every kind, on stack, array value and hash value. */
#include "corpus.h"

struct words {
	__u64 wide[8];
	__u32 narrow[8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct words);
} array SEC(".maps");

/*
 * More than the module gives memory to before it is needed: its values are loans, and
 * the kernel carries the operations out.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, __u32);
	__type(value, struct words);
} hash SEC(".maps");

__u64 fetched[32];

/* Without a fetch the instruction has no result; the compiler must not add one. */
#define OP(size, op, ptr, off, val) \
	asm volatile("lock *(" #size " *)(%0 + %2) " op " %1" : : "r"(ptr), "r"(val), "i"(off) : "memory")

static __always_inline void no_fetch(struct words *w, __u64 val)
{
	OP(u64, "+=", w, 0, val);
	OP(u64, "|=", w, 8, val);
	OP(u64, "&=", w, 16, val);
	OP(u64, "^=", w, 24, val);
	asm volatile("r1 = %1\n"
		     "lock *(u32 *)(%0 + 64) += w1\n"
		     "lock *(u32 *)(%0 + 68) |= w1\n"
		     "lock *(u32 *)(%0 + 72) &= w1\n"
		     "lock *(u32 *)(%0 + 76) ^= w1\n"
		     :
		     : "r"(w), "r"(val)
		     : "r1", "memory");
}

static __always_inline void fetch(struct words *w, __u64 val)
{
	fetched[0] = __sync_fetch_and_add(&w->wide[0], val);
	fetched[1] = __sync_fetch_and_or(&w->wide[1], val);
	fetched[2] = __sync_fetch_and_and(&w->wide[2], val);
	fetched[3] = __sync_fetch_and_xor(&w->wide[3], val);
	fetched[4] = __sync_fetch_and_add(&w->narrow[0], val);
	fetched[5] = __sync_fetch_and_or(&w->narrow[1], val);
	fetched[6] = __sync_fetch_and_and(&w->narrow[2], val);
	fetched[7] = __sync_fetch_and_xor(&w->narrow[3], val);
}

static __always_inline void exchange(struct words *w, __u64 val)
{
	fetched[8] = __sync_lock_test_and_set(&w->wide[4], val);
	fetched[9] = __sync_lock_test_and_set(&w->narrow[4], val);
	/* One that finds what it expects, and one that does not. */
	fetched[10] = __sync_val_compare_and_swap(&w->wide[4], val, val + 1);
	fetched[11] = __sync_val_compare_and_swap(&w->wide[5], 0x1234567, val);
	fetched[12] = __sync_val_compare_and_swap(&w->narrow[4], (__u32)val, 7);
	fetched[13] = __sync_val_compare_and_swap(&w->narrow[5], 0x1234567, 8);
}

static __always_inline void seed(struct words *w)
{
	for (int i = 0; i < 8; i++) {
		w->wide[i] = 0x0123456789abcdef * (i + 1);
		w->narrow[i] = 0x89abcdef * (i + 1);
	}
}

static __always_inline void keep(struct words *w)
{
	for (int i = 0; i < 8; i++)
		fetched[16 + i] = w->wide[i] + w->narrow[i];
}

#define ON_STACK(name) \
	SEC("xdp") int name##_on_stack(struct xdp_md *ctx) \
	{ \
		struct words w; \
		seed(&w); \
		name(&w, packet_size(ctx) * 0x100000001ull); \
		keep(&w); \
		return XDP_PASS; \
	}

#define ON_MAP(name, map) \
	SEC("xdp") int name##_on_##map(struct xdp_md *ctx) \
	{ \
		__u32 key = 1; \
		struct words *w = bpf_map_lookup_elem(&map, &key); \
		if (!w) \
			return XDP_DROP; \
		name(w, packet_size(ctx) * 0x100000001ull); \
		return XDP_PASS; \
	}

ON_STACK(no_fetch)
ON_STACK(fetch)
ON_STACK(exchange)
ON_MAP(no_fetch, array)
ON_MAP(fetch, array)
ON_MAP(exchange, array)
ON_MAP(no_fetch, hash)
ON_MAP(fetch, hash)
ON_MAP(exchange, hash)

/*
 * Load-acquire and store-release, which this compiler cannot spell: opcode,
 * registers and the operation in the immediate (0x100 and 0x110).
 */
SEC("xdp") int acquire_release(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct words *w = bpf_map_lookup_elem(&array, &key);
	__u64 got;

	if (!w)
		return XDP_DROP;
	asm volatile("r1 = %1\n"
		     "r2 = %2\n"
		     ".8byte 0x00000100000812db\n" /* r2 = load_acquire((u64 *)(r1 + 8)) */
		     "r2 += %2\n"
		     ".8byte 0x00000110001021db\n" /* store_release((u64 *)(r1 + 16), r2) */
		     "%0 = r2\n"
		     : "=r"(got)
		     : "r"(w), "r"((__u64)packet_size(ctx))
		     : "r1", "r2", "memory");
	fetched[14] = got;
	return XDP_PASS;
}

/* A counter as programs really have it, many times in one run. */
SEC("xdp") int atomic_counter(struct xdp_md *ctx)
{
	__u32 key = 3;
	struct words *w = bpf_map_lookup_elem(&hash, &key);

	for (int i = 0; i < 100; i++) {
		__sync_fetch_and_add(&fetched[15], i);
		if (w)
			__sync_fetch_and_add(&w->wide[0], 1);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
