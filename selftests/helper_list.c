// SPDX-License-Identifier: GPL-2.0
/*
 * The numbers of the helpers that XDP programs may call, one a line: the verifier is
 * asked about each, by a program that calls it.
 */
#include "runner.h"

int main(void)
{
	int allowed = 0;

	for (int id = 1; id < __BPF_FUNC_MAX_ID; id++) {
		int may = libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, id, NULL);

		if (may < 0)
			die("helper %d: %s", id, strerror(-may));
		if (may)
			printf("%d\n", id);
		allowed += may;
	}
	/* Everything refused, or nothing, would say nothing. */
	return allowed < 50 || allowed == __BPF_FUNC_MAX_ID - 1;
}
