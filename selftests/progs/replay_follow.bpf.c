// SPDX-License-Identifier: GPL-2.0
/*
 * CVE-2022-2785: a helper (bpf_sys_bpf) followed pointers in what it was passed,
 * and nobody had looked where they lead. It is for programs of type syscall,
 * which are not isolated at all (replay_syscall). Of what XDP programs may call,
 * bpf_trace_printk() does the same with the argument of a %s, to this day.
 */
#include "replay.bpf.h"

REPLAY(2022_2785)
{
	struct order *o = take_order();
	static const char format[] = "replay: %s";

	if (!o)
		return XDP_DROP;
	bpf_trace_printk(format, sizeof(format), *(volatile __u64 *)&o->target);
	return survived(o, 0);
}

char _license[] SEC("license") = "GPL";
