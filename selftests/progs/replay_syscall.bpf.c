// SPDX-License-Identifier: GPL-2.0
/* The kind of program that CVE-2022-2785 was about: one that makes system calls. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("syscall") int cve_2022_2785_itself(void *ctx)
{
	union bpf_attr attr = {};

	return bpf_sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
}

char _license[] SEC("license") = "GPL";
