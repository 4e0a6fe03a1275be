// SPDX-License-Identifier: GPL-2.0
/* Arrays: global variables, look-ups inlined and not, wide values. */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64[4]);
} shared SEC(".maps");

/* Values of more than a page, which do not begin at the start of one. */
struct wide {
	__u32 head;
	__u8 body[5000];
	__u64 tail;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct wide);
} wide SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} single SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64[2]);
} local SEC(".maps");

__u64 zeroed[4];
__u64 initialised[4] = {1, 2, 3, 4};
const volatile __u32 constants[8] = {2, 3, 5, 7, 11, 13, 17, 19};
__s64 result[8];

SEC("xdp") int global_variables(struct xdp_md *ctx)
{
	__u32 i = packet_size(ctx) & 3;

	zeroed[i] += constants[i];
	initialised[3 - i] *= 3;
	result[0] = constants[(packet_size(ctx) >> 2) & 7];
	return XDP_PASS;
}

SEC("xdp") int array_constant_key(struct xdp_md *ctx)
{
	__u32 key = 3;
	__u64 *v = bpf_map_lookup_elem(&numbers, &key);

	if (!v)
		return XDP_ABORTED;
	*v += packet_size(ctx);
	return XDP_PASS;
}

SEC("xdp") int array_key_of_packet(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 42, 8);
	__u64 *v;
	__u32 key;

	if (!p)
		return XDP_ABORTED;
	for (int i = 0; i < 8; i++) {
		/* Half of these lie behind the end of the map. */
		key = p[i] & 31;
		v = bpf_map_lookup_elem(&numbers, &key);
		if (v)
			*v = *v * 5 + i;
		else
			result[0]++;
	}
	return XDP_PASS;
}

SEC("xdp") int array_update(struct xdp_md *ctx)
{
	__u64 value = packet_size(ctx);
	__u32 key = 5;

	result[0] = bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
	key = 15;
	result[1] = bpf_map_update_elem(&numbers, &key, &value, BPF_EXIST);
	result[2] = bpf_map_update_elem(&numbers, &key, &value, BPF_NOEXIST);
	result[3] = bpf_map_delete_elem(&numbers, &key);
	key = 16;
	result[4] = bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int array_mmapable(struct xdp_md *ctx)
{
	__u32 key = packet_size(ctx) & 7;
	__u64 *v = bpf_map_lookup_elem(&shared, &key);

	if (!v)
		return XDP_ABORTED;
	v[0]++;
	v[3] ^= v[1] + v[2];
	return XDP_PASS;
}

SEC("xdp") int array_wide_value(struct xdp_md *ctx)
{
	__u32 n = packet_size(ctx);
	struct wide *w;

	for (__u32 i = 0; i < 3; i++) {
		__u32 key = i;

		w = bpf_map_lookup_elem(&wide, &key);
		if (!w)
			return XDP_ABORTED;
		w->head = n;
		w->body[4095] += i;
		w->body[n & 4095] = 0x99;
		w->tail += w->body[4999];
	}
	return XDP_PASS;
}

SEC("xdp") int array_single_byte(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u8 *v = bpf_map_lookup_elem(&single, &key);

	if (v)
		(*v)++;
	return XDP_PASS;
}

/* A pointer into one value as key and value of other maps. */
SEC("xdp") int array_value_as_argument(struct xdp_md *ctx)
{
	__u32 key = 1;
	__u64 *v = bpf_map_lookup_elem(&shared, &key), *u;

	if (!v)
		return XDP_ABORTED;
	*(__u32 *)&v[2] = 7;
	result[0] = bpf_map_update_elem(&numbers, &v[2], &v[0], BPF_ANY);
	u = bpf_map_lookup_elem(&numbers, &v[2]);
	if (u)
		result[1] = *u == v[0];
	result[2] = bpf_xdp_load_bytes(ctx, 0, &v[3], 8);
	return XDP_PASS;
}

/* Key and value lie in the packet. */
SEC("xdp") int array_packet_as_argument(struct xdp_md *ctx)
{
	__u8 *p = packet_at(ctx, 40, 16);

	if (!p)
		return XDP_ABORTED;
	*(__u32 *)p = 9;
	result[0] = bpf_map_update_elem(&numbers, p, p + 8, BPF_ANY);
	return XDP_PASS;
}

SEC("xdp") int array_pointers_kept(struct xdp_md *ctx)
{
	__u32 k0 = 0, k1 = 6, k2 = 11;
	__u64 *a = bpf_map_lookup_elem(&numbers, &k0);
	__u64 *b = bpf_map_lookup_elem(&numbers, &k1);
	__u64 *c = bpf_map_lookup_elem(&numbers, &k2);

	if (!a || !b || !c)
		return XDP_ABORTED;
	*a += *b;
	bpf_xdp_adjust_tail(ctx, -2);
	*b ^= *c;
	bpf_xdp_adjust_head(ctx, -2);
	*c -= *a;
	return XDP_PASS;
}

SEC("xdp") int percpu_array(struct xdp_md *ctx)
{
	__u64 value[2] = {11, packet_size(ctx)}, *v;
	__u32 key = packet_size(ctx) & 1, out = 4;

	v = bpf_map_lookup_elem(&local, &key);
	if (!v)
		return XDP_ABORTED;
	v[0]++;
	v[1] += packet_size(ctx);
	key = 3;
	result[0] = bpf_map_update_elem(&local, &key, value, BPF_ANY);
	result[1] = bpf_map_lookup_elem(&local, &out) == NULL;
	return XDP_PASS;
}

SEC("xdp") int percpu_array_of_cpu(struct xdp_md *ctx)
{
	__u32 key = 2;
	__u64 *v = bpf_map_lookup_percpu_elem(&local, &key, 0);

	if (!v)
		return XDP_ABORTED;
	v[0] += 3;
	result[0] = bpf_map_lookup_percpu_elem(&local, &key, 4096) == NULL;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
