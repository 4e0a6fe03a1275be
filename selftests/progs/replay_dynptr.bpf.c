// SPDX-License-Identifier: GPL-2.0
/*
 * CVE-2023-39191: a dynptr's bytes on the stack could be written over without
 * the verifier's noticing that it was one no more, and the kernel believes them.
 */
#include "replay.bpf.h"

#define MARK 23

struct place global;

REPLAY(2023_39191)
{
	struct order *o = take_order();
	struct {
		__u64 word;
		struct bpf_dynptr ptr;
	} s;
	__u64 got = 0, beside = 8;
	void *p;

	if (!o)
		return XDP_DROP;
	global.words[0] = MARK;
	s.word = 0;
	bpf_dynptr_from_mem(&global, sizeof(global), 0, &s.ptr);
	p = &s.word;
	asm volatile("" : "+r"(beside));
	beside = lost(beside);
	asm volatile("%0 += %1" : "+r"(p) : "r"(beside));
	/* The first word of a dynptr is where it points. */
	*(volatile __u64 *)p = *(volatile __u64 *)&o->target;
	bpf_dynptr_read(&got, sizeof(got), &s.ptr, 0, 0);
	return survived(o, got);
}

char _license[] SEC("license") = "GPL";
