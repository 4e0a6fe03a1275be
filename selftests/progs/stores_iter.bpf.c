// SPDX-License-Identifier: GPL-2.0
/* Writes a line for each element of a hash map (map_calls iterate). */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 300);
	__type(key, __u32);
	__type(value, __u64);
} iterated SEC(".maps");

SEC("iter/bpf_map_elem") int lines(struct bpf_iter__bpf_map_elem *ctx)
{
	__u32 *key = ctx->key;
	__u64 *value = ctx->value;
	char line[16] = {};

	if (!key || !value) {
		bpf_seq_write(ctx->meta->seq, "the end        \n", 16);
		return 0;
	}
	__builtin_memcpy(line, key, 4);
	__builtin_memcpy(line + 4, value, 8);
	*value += 1;
	bpf_seq_write(ctx->meta->seq, line, 16);
	return 0;
}

char _license[] SEC("license") = "GPL";
