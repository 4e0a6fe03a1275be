// SPDX-License-Identifier: GPL-2.0
/*
 * Calls between sub-programs, static and global: depth, stacks, live registers,
 * arguments, call sites from 1 to 300, loops around calls, packet and maps from
 * inside. The runner sees to it that each of these has a sub-program left.
 */
#include "corpus.h"

struct account {
	__u64 packets, bytes;
	struct bpf_spin_lock lock;
	__u32 last;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct account);
} accounts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64[2]);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 8);
	__uint(key_size, 4);
	__uint(value_size, 4);
} devices SEC(".maps");

__s64 result[16];
__u8 bytes[64];

/* One call, one argument. */

SUBPROG __u64 square(__u64 x)
{
	opaque(x);
	return x * x;
}

SEC("xdp") int call_one(struct xdp_md *ctx)
{
	result[0] = square(packet_size(ctx));
	return XDP_PASS;
}

/* All argument registers. */

SUBPROG __u64 mix_five(__u64 a, __u64 b, __u64 c, __u64 d, __u64 e)
{
	opaque(a);
	return a ^ b << 7 ^ c << 13 ^ d * 3 ^ e * 5;
}

SEC("xdp") int call_five_arguments(struct xdp_md *ctx)
{
	__u64 size = packet_size(ctx);

	result[0] = mix_five(size, 2, size + 3, size << 33, -size);
	result[1] = mix_five(1, size, 3, 4, 5);
	return XDP_PASS;
}

SUBPROG void count_up(__u64 *where, __u32 by)
{
	opaque(by);
	*where += by;
}

SEC("xdp") int call_void(struct xdp_md *ctx)
{
	__u64 n = 3;

	opaque(n);
	count_up(&n, packet_size(ctx));
	count_up(&n, 1);
	result[0] = n;
	return XDP_PASS;
}

/* Results of every width and sign. */

SUBPROG int negative(__u32 x)
{
	opaque(x);
	return -(int)x;
}

SUBPROG __s64 negative_64(__u64 x)
{
	opaque(x);
	return -(__s64)(x << 32);
}

SUBPROG __u8 small(__u32 x)
{
	opaque(x);
	return x * 7;
}

SEC("xdp") int call_results(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx);

	result[0] = negative(size);
	result[1] = negative_64(size);
	result[2] = small(size);
	result[3] = negative(size) < 0 && negative_64(size) < -1;
	return XDP_PASS;
}

/* The deepest that the verifier takes: 8 frames, each with a stack. */
#define DEEP(name, next, n)                                                                        \
	SUBPROG __u64 name(__u64 x, __u64 *out)                                                    \
	{                                                                                          \
		volatile __u64 own[3] = {x, x + n, x * n};                                         \
                                                                                                   \
		out[0] += n;                                                                       \
		own[1] += next(own[0] + own[2], out);                                              \
		return own[0] ^ own[1] ^ own[2];                                                   \
	}

SUBPROG __u64 deep_8(__u64 x, __u64 *out)
{
	volatile __u64 own[3] = {x, 2, 3};

	out[1] = own[0];
	return own[0] + own[1] * own[2];
}

DEEP(deep_7, deep_8, 7)
DEEP(deep_6, deep_7, 6)
DEEP(deep_5, deep_6, 5)
DEEP(deep_4, deep_5, 4)
DEEP(deep_3, deep_4, 3)
DEEP(deep_2, deep_3, 2)

SEC("xdp") int eight_frames(struct xdp_md *ctx)
{
	__u64 out[2] = {};

	result[0] = deep_2(packet_size(ctx), out);
	result[1] = out[0];
	result[2] = out[1];
	return XDP_PASS;
}

/* Frames that together fill the stack. */

SUBPROG __u64 fill_inner(__u32 seed)
{
	volatile __u8 own[144];
	__u64 sum = 0;

	for (int i = 0; i < 144; i++)
		own[i] = seed + i;
	for (int i = 0; i < 144; i += 5)
		sum = sum * 31 + own[i];
	return sum;
}

SUBPROG __u64 fill_middle(__u32 seed)
{
	volatile __u8 own[144];
	__u64 sum;

	for (int i = 0; i < 144; i++)
		own[i] = seed ^ i;
	sum = fill_inner(seed);
	for (int i = 0; i < 144; i++)
		sum = sum * 33 + own[i];
	return sum;
}

SEC("xdp") int full_stack(struct xdp_md *ctx)
{
	volatile __u8 own[144];
	__u64 sum = 0;

	for (int i = 0; i < 144; i++)
		own[i] = 3 * i;
	sum = fill_middle(packet_size(ctx));
	for (int i = 0; i < 144; i++)
		sum = sum * 37 + own[i];
	result[0] = sum;
	return XDP_PASS;
}

/* R6 to R9 hold the caller's values over a callee that uses them all. */

SUBPROG NAKED void use_saved(void)
{
	asm volatile("r6 = r1\n"
		     "r7 = r2\n"
		     "r8 = 0x7777777777777777 ll\n"
		     "r9 = r10\n"
		     "*(u64 *)(r9 - 8) = r8\n"
		     "r6 += r7\n"
		     "r8 ^= r6\n"
		     "r0 = *(u64 *)(r9 - 8)\n"
		     "r0 ^= r8\n"
		     "r1 = 0\n"
		     "r2 = 0\n"
		     "r3 = 0\n"
		     "exit\n");
}

SUBPROG NAKED void pass_saved(void)
{
	asm volatile("r6 = r1\n"
		     "r7 = 77\n"
		     "r8 = 88\n"
		     "r9 = 99\n"
		     "r2 = 5\n"
		     "call use_saved\n"
		     "r0 += r6\n"
		     "r0 += r7\n"
		     "r0 += r8\n"
		     "r0 += r9\n"
		     "exit\n");
}

SEC("xdp") NAKED int registers_over_calls(void)
{
	asm volatile("r6 = *(u32 *)(r1 + 4)\n"
		     "r7 = *(u32 *)(r1 + 0)\n"
		     "r6 -= r7\n"
		     "r7 = 0x1111111111111111 ll\n"
		     "r8 = -2\n"
		     "r9 = r10\n"
		     "*(u64 *)(r9 - 16) = r7\n"
		     "r1 = r6\n"
		     "call pass_saved\n"
		     "r8 ^= r0\n"
		     "r1 = r8\n"
		     "r2 = r6\n"
		     "call use_saved\n"
		     "r1 = *(u64 *)(r9 - 16)\n"
		     "r0 += r6\n"
		     "r0 ^= r7\n"
		     "r0 += r8\n"
		     "r0 ^= r1\n"
		     "exit\n"
		     /* The compiler cannot see the calls. */
		     :
		     : "i"(use_saved), "i"(pass_saved));
}

/* Pointers to the stack of a caller, of its caller, and of both. */

struct pair {
	__u64 a;
	__u32 b;
	__u8 c[12];
};

SUBPROG __u64 change_both(struct pair *far, struct pair *near)
{
	__u64 old = far->a;

	far->a = near->a + 1;
	near->b = far->b ^ 0xffff;
	for (int i = 0; i < 12; i++)
		far->c[i] += near->c[11 - i];
	return old;
}

SUBPROG __u64 change_deeper(struct pair *far, __u32 n)
{
	struct pair near = {.a = n, .b = n + 1};
	__u64 sum;

	__builtin_memset(near.c, n & 7, sizeof(near.c));
	sum = change_both(far, &near);
	sum += change_both(&near, far);
	return sum + near.a + near.b;
}

SEC("xdp") int stack_of_caller(struct xdp_md *ctx)
{
	struct pair p = {.a = packet_size(ctx), .b = 2, .c = "stackbytes"};

	result[0] = change_deeper(&p, packet_size(ctx));
	result[1] = p.a;
	result[2] = p.b;
	__builtin_memcpy(bytes, p.c, sizeof(p.c));
	return XDP_PASS;
}

/* A pointer that the callee finds spilled on its caller's stack. */

struct holder {
	struct pair *inner;
	void *data, *end;
};

SUBPROG __u64 through_holder(struct holder *h)
{
	struct pair *p = h->inner;
	__u8 *data = h->data;

	p->a += 5;
	if (data + 20 > (__u8 *)h->end)
		return 0;
	data[18] = 0x5a;
	return p->a + data[19];
}

SEC("xdp") int spilled_pointers(struct xdp_md *ctx)
{
	struct pair p = {.a = 1};
	struct holder h = {&p, (void *)(long)ctx->data, (void *)(long)ctx->data_end};

	result[0] = through_holder(&h);
	result[1] = p.a;
	return XDP_TX;
}

SUBPROG void add_atomically(__u64 *where, __u64 by)
{
	__sync_fetch_and_add(where, by);
}

SEC("xdp") int atomic_on_stack_of_caller(struct xdp_md *ctx)
{
	__u64 n = packet_size(ctx);

	add_atomically(&n, 1000);
	add_atomically(&n, -1);
	result[0] = n;
	return XDP_PASS;
}

/* Packet pointers as arguments; packet bytes changed below. */

SUBPROG __u32 sum_bytes(__u8 *p, __u8 *end)
{
	__u32 sum = 0;

	for (int i = 0; i < 40; i++) {
		if (p + i + 1 > end)
			break;
		sum += p[i] << (i & 7);
	}
	return sum;
}

SUBPROG int swap_addresses(struct ethhdr *eth, void *end)
{
	__u8 mac[ETH_ALEN];

	if ((void *)(eth + 1) > end)
		return -1;
	__builtin_memcpy(mac, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
	return 0;
}

SEC("xdp") int packet_pointers(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	result[0] = sum_bytes(data, end);
	result[1] = swap_addresses(data, end);
	result[2] = sum_bytes(data, end);
	return XDP_TX;
}

/* The context is passed down, and read there. */

SUBPROG __u8 *find_bytes(struct xdp_md *ctx, __u32 off)
{
	__u8 *p = (void *)(long)ctx->data;

	opaque(off);
	off &= 31;
	if (p + off + 4 > (__u8 *)(long)ctx->data_end)
		return NULL;
	return p + off;
}

SEC("xdp") int packet_pointer_returned(struct xdp_md *ctx)
{
	__u8 *p = find_bytes(ctx, packet_size(ctx) >> 6);

	if (!p)
		return XDP_DROP;
	p[0] ^= 0xff;
	p[3] = p[1] + p[2];
	return XDP_TX;
}

SUBPROG __u64 look_at_context(struct xdp_md *ctx)
{
	__u64 size = packet_size(ctx);

	opaque(size);
	return ctx->ingress_ifindex * 1000 + ctx->rx_queue_index + size;
}

SUBPROG __u64 pass_context(struct xdp_md *ctx, __u32 n)
{
	opaque(n);
	return look_at_context(ctx) + n;
}

SEC("xdp") int context_passed_down(struct xdp_md *ctx)
{
	result[0] = pass_context(ctx, 1);
	result[1] = look_at_context(ctx);
	return XDP_PASS;
}

/* The packet's ends move in the callee; the caller looks again. */

SUBPROG long grow_head(struct xdp_md *ctx, int by)
{
	opaque(by);
	return bpf_xdp_adjust_head(ctx, -by);
}

SUBPROG long encapsulate(struct xdp_md *ctx, int by)
{
	long err = grow_head(ctx, by);
	__u8 *p = packet_at(ctx, 0, 20);

	if (p)
		for (int i = 0; i < 20; i++)
			p[i] = by + i;
	return err;
}

SEC("xdp") int head_moved_by_callee(struct xdp_md *ctx)
{
	__u32 *p;

	result[0] = grow_head(ctx, 16);
	result[1] = packet_size(ctx);
	p = packet_at(ctx, 0, 16);
	if (!p)
		return XDP_ABORTED;
	p[0] = 0xabcdef01;
	p[1] = result[1];
	return XDP_TX;
}

SEC("xdp") int ends_moved_deeper(struct xdp_md *ctx)
{
	__u32 *p;

	result[0] = encapsulate(ctx, 20);
	result[1] = encapsulate(ctx, 4000);
	result[2] = bpf_xdp_adjust_tail(ctx, -5);
	result[3] = encapsulate(ctx, 4);
	p = packet_at(ctx, 0, 32);
	if (!p)
		return XDP_ABORTED;
	p[7] ^= p[0];
	result[4] = packet_size(ctx);
	return XDP_TX;
}

/* The callee's buffer and the caller's, filled by helpers. */

SUBPROG long load_into(struct xdp_md *ctx, __u8 *to, __u32 off)
{
	__u8 own[16];
	long err = bpf_xdp_load_bytes(ctx, off & 31, own, sizeof(own));

	for (int i = 0; i < 16; i++)
		to[i] = own[15 - i];
	return err + bpf_xdp_load_bytes(ctx, 1, to + 16, 8);
}

SEC("xdp") int helper_fills_stack_of_caller(struct xdp_md *ctx)
{
	__u8 buf[24] = {};

	result[0] = load_into(ctx, buf, packet_size(ctx) >> 5);
	__builtin_memcpy(bytes, buf, sizeof(buf));
	result[1] = bpf_xdp_store_bytes(ctx, 20, buf, 8);
	return XDP_TX;
}

/* Maps: looked up in the callee, the value handed up or down. */

SUBPROG struct account *find_account(__u32 key)
{
	return bpf_map_lookup_elem(&accounts, &key);
}

SUBPROG void book(struct account *a, __u32 size)
{
	a->packets++;
	a->bytes += size;
	a->last = size;
}

SEC("xdp") int value_returned(struct xdp_md *ctx)
{
	struct account *a = find_account(packet_size(ctx) & 3), *b = find_account(9);

	if (!a || b)
		return XDP_ABORTED;
	a->packets += 7;
	book(a, packet_size(ctx));
	return XDP_PASS;
}

SUBPROG __u64 update_hash(__u32 key, __u64 by)
{
	__u64 *v = bpf_map_lookup_elem(&hash, &key), fresh[2] = {by, key};

	if (!v)
		return bpf_map_update_elem(&hash, &key, fresh, BPF_ANY);
	v[0] += by;
	return v[1];
}

SEC("xdp") int hash_in_callee(struct xdp_md *ctx)
{
	__u32 key = 3;

	result[0] = update_hash(packet_size(ctx) & 7, 1);
	result[1] = update_hash(packet_size(ctx) + 100, 2);
	result[2] = bpf_map_delete_elem(&hash, &key);
	result[3] = update_hash(key, 4);
	return XDP_PASS;
}

/* The value is the argument of a helper in the callee. */
SUBPROG long load_to_value(struct xdp_md *ctx, __u64 *value)
{
	return bpf_xdp_load_bytes(ctx, 6, value, 12);
}

SEC("xdp") int helper_fills_value(struct xdp_md *ctx)
{
	__u32 key = 2;
	__u64 *v = bpf_map_lookup_elem(&hash, &key);

	if (!v)
		return XDP_DROP;
	result[0] = load_to_value(ctx, v);
	return XDP_PASS;
}

/* Spin locks: a call while one is held, and one taken below, released above. */

SEC("xdp") int call_under_lock(struct xdp_md *ctx)
{
	struct account *a = find_account(1);
	__u32 size = packet_size(ctx);

	if (!a)
		return XDP_ABORTED;
	bpf_spin_lock(&a->lock);
	book(a, size);
	a->last ^= square(size);
	bpf_spin_unlock(&a->lock);
	book(a, 1);
	return XDP_PASS;
}

SUBPROG void book_locked(struct account *a, __u32 size)
{
	bpf_spin_lock(&a->lock);
	book(a, size);
	bpf_spin_unlock(&a->lock);
}

SUBPROG void take(struct account *a)
{
	bpf_spin_lock(&a->lock);
	a->packets++;
}

SUBPROG void give(struct account *a)
{
	a->bytes++;
	bpf_spin_unlock(&a->lock);
}

SEC("xdp") int lock_in_callee(struct xdp_md *ctx)
{
	struct account *a = find_account(packet_size(ctx) & 3);

	if (!a)
		return XDP_ABORTED;
	book_locked(a, packet_size(ctx));
	take(a);
	book(a, 3);
	give(a);
	take(a);
	give(a);
	return XDP_PASS;
}

SUBPROG int redirect_in_callee(__u32 key)
{
	opaque(key);
	return bpf_redirect_map(&devices, key, XDP_DROP);
}

SEC("xdp") int call_redirect(struct xdp_md *ctx)
{
	return redirect_in_callee(packet_size(ctx) == 256 ? 7 : 0);
}

SEC("xdp") int call_redirect_twice(struct xdp_md *ctx)
{
	result[0] = redirect_in_callee(0);
	result[1] = redirect_in_callee(6);
	return redirect_in_callee(1);
}

/* One function, called from so many places. */

SUBPROG NAKED void step(void)
{
	asm volatile("r0 = r1\n"
		     "r0 *= 3\n"
		     "r0 += r2\n"
		     "if r0 & 8 goto 1f\n"
		     "r0 ^= 0x55\n"
		     "exit\n"
		     "1:\n"
		     "r0 += 1\n"
		     "exit\n");
}

#define SITES(name, count)                                                                         \
	SEC("xdp") NAKED int name(void)                                                            \
	{                                                                                          \
		asm volatile("r6 = *(u32 *)(r1 + 4)\n"                                             \
			     "r7 = *(u32 *)(r1 + 0)\n"                                             \
			     "r6 -= r7\n"                                                          \
			     "r7 = 0\n"                                                            \
			     ".rept " #count "\n"                                                  \
			     "r1 = r6\n"                                                           \
			     "r2 = r7\n"                                                           \
			     "call step\n"                                                         \
			     "r6 = r0\n"                                                           \
			     "r7 += 1\n"                                                           \
			     "r6 &= 0xffff\n"                                                      \
			     ".endr\n"                                                             \
			     "r0 = r6\n"                                                           \
			     "exit\n"                                                              \
			     :                                                                     \
			     : "i"(step));                                                         \
	}

SITES(sites_1, 1)
SITES(sites_2, 2)
SITES(sites_3, 3)
SITES(sites_7, 7)
SITES(sites_20, 20)
SITES(sites_300, 300)

/* Two functions that share a third, and a caller of all. */

SUBPROG __u64 left(__u64 x)
{
	opaque(x);
	return square(x) + square(x + 1);
}

SUBPROG __u64 right(__u64 x)
{
	opaque(x);
	return square(x ^ 5) - x;
}

SEC("xdp") int diamond(struct xdp_md *ctx)
{
	__u64 x = packet_size(ctx);

	result[0] = left(x) ^ right(x) ^ square(x);
	result[1] = right(left(square(x)));
	return XDP_PASS;
}

/* Loops: around calls, in the callee, in both. */

SUBPROG __u64 series(__u32 n)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < 20; i++) {
		if (i >= n)
			break;
		sum += square(i);
	}
	return sum;
}

SEC("xdp") int loop_around_call(struct xdp_md *ctx)
{
	__u64 x = packet_size(ctx);

	for (int i = 0; i < 50; i++)
		x = square(x) % 10007 + i;
	result[0] = x;
	return XDP_PASS;
}

SEC("xdp") int loop_in_both(struct xdp_md *ctx)
{
	__u32 n = packet_size(ctx) & 15;
	__u64 sum = 0;

	for (int i = 0; i < 12; i++)
		sum = sum * 3 + series(n + i);
	result[0] = sum;
	return XDP_PASS;
}

/* A jump back to the first instruction of a sub-program. */

SUBPROG NAKED void loop_from_start(void)
{
	asm volatile("1:\n"
		     "r1 -= 1\n"
		     "r2 += 3\n"
		     "if r1 > 0 goto 1b\n"
		     "r0 = r2\n"
		     "exit\n");
}

SEC("xdp") NAKED int jumps_to_start(void)
{
	asm volatile("r1 = 9\n"
		     "r2 = 0\n"
		     "call loop_from_start\n"
		     "r6 = r0\n"
		     "r1 = 3\n"
		     "r2 = r6\n"
		     "call loop_from_start\n"
		     "exit\n"
		     :
		     : "i"(loop_from_start));
}

/* The first and the last instruction of a function is a call. */

SUBPROG NAKED void call_at_once(void)
{
	asm volatile("call step\n"
		     "exit\n"
		     :
		     : "i"(step));
}

SEC("xdp") NAKED int call_first_and_last(void)
{
	asm volatile("r1 = 11\n"
		     "r2 = 22\n"
		     "call call_at_once\n"
		     "r1 = r0\n"
		     "r2 = 4\n"
		     "goto 1f\n"
		     "2:\n"
		     "r0 = 2\n"
		     "exit\n"
		     "1:\n"
		     "call call_at_once\n"
		     "if r0 > 5 goto 2b\n"
		     "exit\n"
		     :
		     : "i"(call_at_once));
}

/*
 * A body so long that its jumps have just room, with calls in it. Its constants
 * are two instructions more each when blinded: then there is none.
 */
SEC("xdp") NAKED int far_jumps(void)
{
	asm volatile("r6 = *(u32 *)(r1 + 4)\n"
		     "r7 = *(u32 *)(r1 + 0)\n"
		     "r6 -= r7\n"
		     "if r6 == 256 goto 1f\n"
		     "r1 = r6\n"
		     "r2 = 1\n"
		     "call step\n"
		     "r6 = r0\n"
		     "r7 = 3\n"
		     "r8 = 5\n"
		     ".rept 16000\n"
		     "r6 += r7\n"
		     "r6 ^= r8\n"
		     ".endr\n"
		     ".rept 400\n"
		     "r6 += 99\n"
		     ".endr\n"
		     "r1 = r6\n"
		     "r2 = 2\n"
		     "call step\n"
		     "r6 = r0\n"
		     "1:\n"
		     "r1 = r6\n"
		     "r2 = 3\n"
		     "call step\n"
		     "exit\n"
		     :
		     : "i"(step));
}

/* A large function called from many places. */

SUBPROG NAKED void large(void)
{
	asm volatile("r0 = r1\n"
		     ".rept 1500\n"
		     "r0 += 7\n"
		     "r0 ^= r2\n"
		     ".endr\n"
		     "exit\n");
}

SEC("xdp") NAKED int large_callee(void)
{
	asm volatile("r6 = 40\n"
		     "r7 = 2\n"
		     ".rept 20\n"
		     "r1 = r6\n"
		     "r2 = r7\n"
		     "call large\n"
		     "r6 = r0\n"
		     "r7 += 1\n"
		     ".endr\n"
		     "r0 = r6\n"
		     "exit\n"
		     :
		     : "i"(large));
}

/* A big switch whose cases are calls. */
#define CASE(n)                                                                                    \
	case n:                                                                                    \
		x = n & 1 ? square(x + n) : n & 2 ? right(x * n) : series(x & 15) + n;             \
		break;
#define CASES(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3) CASE(n + 4)

SUBPROG __u64 choose(__u32 which, __u64 x)
{
	opaque(which);
	switch (which) {
		CASES(0)
		CASES(5)
		CASES(10)
		CASES(15)
		CASES(20)
		CASES(1000)
		CASES(2000)
	default:
		return 1;
	}
	return x;
}

SEC("xdp") int big_switch(struct xdp_md *ctx)
{
	__u64 x = packet_size(ctx);

	for (int i = 0; i < 26; i++)
		result[i & 15] = x = choose(i, x & 0xffff);
	result[0] += choose(1003, x);
	result[1] += choose(2004, x) + choose(2005, x);
	return XDP_PASS;
}

/* Global functions: the verifier looks at each by itself. */

__noinline int global_number(__u32 a, __u64 b)
{
	opaque(a);
	return a * 5 + (b >> 3);
}

__noinline int global_context(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 0, 16);

	if (!p)
		return -1;
	p[15]++;
	return p[14];
}

__noinline long global_memory(struct pair *p)
{
	if (!p)
		return -1;
	p->b += 9;
	p->c[3] = p->a;
	return p->a + global_number(p->b, p->a);
}

__noinline long global_present(struct pair *p __arg_nonnull)
{
	p->a ^= 0xf0f0;
	return square(p->a) + p->b;
}

__noinline int global_resize(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -8) + bpf_xdp_adjust_tail(ctx, -3);
}

__noinline int global_over_static(struct xdp_md *ctx, __u32 n)
{
	return look_at_context(ctx) + global_context(ctx) + series(n & 7);
}

SEC("xdp") int call_global(struct xdp_md *ctx)
{
	result[0] = global_number(packet_size(ctx), 64);
	result[1] = global_number(1, packet_size(ctx));
	result[2] = global_context(ctx);
	return XDP_TX;
}

SEC("xdp") int call_global_memory(struct xdp_md *ctx)
{
	struct pair p = {.a = packet_size(ctx), .b = 1};

	result[0] = global_memory(&p);
	result[1] = global_memory(NULL);
	result[2] = global_present(&p);
	result[3] = p.b;
	__builtin_memcpy(bytes, p.c, sizeof(p.c));
	return XDP_PASS;
}

SEC("xdp") int call_global_value(struct xdp_md *ctx)
{
	struct pair *p = (void *)bytes;

	p->b = packet_size(ctx);
	result[0] = global_memory(p);
	result[1] = global_present(p);
	return XDP_PASS;
}

extern int bpf_strlen(const char *s) __ksym;
extern int bpf_strcmp(const char *s1, const char *s2) __ksym;
extern int bpf_strcasestr(const char *s1, const char *s2) __ksym;

/* Functions on strings, which become instructions wherever they are called. */

SUBPROG int compare_strings(const char *s, const char *t)
{
	return bpf_strcmp(s, t) * 100 + bpf_strlen(s);
}

__noinline int global_string(__u64 word)
{
	char s[9] = {};

	__builtin_memcpy(s, &word, 8);
	return compare_strings(s, "in") + bpf_strcasestr(s, "Of");
}

SEC("xdp") int call_with_strings(struct xdp_md *ctx)
{
	char s[16] = "in a function", t[16] = "in a Function";

	t[5] = packet_size(ctx) > 256 ? 'f' : 'F';
	result[0] = compare_strings(s, t);
	result[1] = compare_strings(t, s);
	result[2] = bpf_strcasestr(s, "FUN") + compare_strings(s + 3, s + 3);
	result[3] = global_string(0x666f207473726966);
	result[4] = global_string(packet_size(ctx)) + global_string(0x6e69);
	return XDP_PASS;
}

SEC("xdp") int call_global_resize(struct xdp_md *ctx)
{
	__u64 *p;

	result[0] = global_resize(ctx);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return XDP_DROP;
	*p = packet_size(ctx);
	return XDP_TX;
}

SEC("xdp") int call_global_mixed(struct xdp_md *ctx)
{
	result[0] = global_over_static(ctx, packet_size(ctx));
	result[1] = look_at_context(ctx) + global_context(ctx);
	return XDP_TX;
}

SEC("xdp.frags") int call_in_frags(struct xdp_md *ctx)
{
	__u8 buf[24] = {};

	result[0] = load_into(ctx, buf, 8);
	result[1] = bpf_xdp_get_buff_len(ctx) + square(3);
	result[2] = global_context(ctx);
	__builtin_memcpy(bytes, buf, sizeof(buf));
	return XDP_PASS;
}

__u8 filled_bytes[64];

/* A dynptr made in one function and used in others. */
SUBPROG int fill(struct bpf_dynptr *ptr, __u64 n)
{
	opaque(n);
	return bpf_dynptr_write(ptr, n & 31, "filled", 6, 0);
}

SEC("xdp") int dynptr_in_functions(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_mem(filled_bytes, sizeof(filled_bytes), 0, &ptr);
	result[0] = fill(&ptr, packet_size(ctx));
	result[1] = fill(&ptr, packet_size(ctx) >> 2);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
