// SPDX-License-Identifier: GPL-2.0
/* What is attached to leaf_global() of bench_calls.bpf.c. */
#include "corpus.h"

SEC("fentry") int nothing(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
