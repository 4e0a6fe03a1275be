// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers with an argument that points elsewhere. The first word says what
 * the helper does there: `in` reads, `out` writes, `take` locks it or takes it
 * for its own. An audit must end each of these runs.
 */
#include "breach.bpf.h"
#include <linux/tcp.h>

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} events SEC(".maps");

struct locked {
	__u64 word;
	struct bpf_spin_lock lock;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

extern int bpf_strlen(const char *s) __ksym;
extern int bpf_strnchr(const char *s, __u64 count, char c) __ksym;
extern int bpf_strcmp(const char *s1, const char *s2) __ksym;
extern int bpf_strcasecmp(const char *s1, const char *s2) __ksym;
extern int bpf_strspn(const char *s, const char *accept) __ksym;
extern int bpf_strnstr(const char *s1, const char *s2, __u64 len) __ksym;

struct place global;
const char format[] = "%d %d";

/*
 * The body of a program: `p` goes astray from the stack, from the global
 * variable, or from the hash value; `got` is what can be told of the effect.
 */
#define ARGUMENT_FROM(name, kind, call) \
	SEC("xdp") int name##_##kind(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		__u64 got = 0; \
		if (!o) \
			return XDP_DROP; \
		FROM_##kind \
		p = astray(o, p); \
		call; \
		return survived(o, got); \
	}
#define FROM_stack \
	__u64 room[8] = {}; \
	void *p = room;
#define FROM_global void *p = &global;
/* Not the entry that a deletion by an all-zero key finds. */
#define FROM_hash \
	__u32 one = 1; \
	void *p = bpf_map_lookup_elem(&hash, &one); \
	if (!p) \
		return XDP_DROP;
#define ARGUMENT(name, call) \
	ARGUMENT_FROM(name, stack, call) ARGUMENT_FROM(name, global, call) \
	ARGUMENT_FROM(name, hash, call)

/* The array's value after an update is what the helper read. */
static __always_inline __u64 array_word(void)
{
	__u32 key = 0;
	__u64 *v = bpf_map_lookup_elem(&array, &key);

	return v ? *v : 0;
}

SEC("xdp") int in_update_value_array(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u32 key = 0;

	if (!o)
		return XDP_DROP;
	bpf_map_update_elem(&array, &key, astray(o, &global), BPF_ANY);
	return survived(o, array_word());
}

SEC("xdp") int in_update_value_hash(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u32 key = 3;
	__u64 *v;

	if (!o)
		return XDP_DROP;
	bpf_map_update_elem(&hash, &key, astray(o, &global), BPF_ANY);
	v = bpf_map_lookup_elem(&hash, &key);
	return survived(o, v ? *v : 0);
}

SEC("xdp") int in_packet_key(struct xdp_md *ctx)
{
	struct order *o = take_order();
	void *p = packet_at(ctx, 0, 64);

	if (!o || !p)
		return XDP_DROP;
	bpf_map_lookup_elem(&hash, astray(o, p));
	return survived(o, 0);
}

ARGUMENT(in_lookup_key, bpf_map_lookup_elem(&hash, p))
ARGUMENT(in_array_key, bpf_map_lookup_elem(&array, p))
ARGUMENT(in_update_key, bpf_map_update_elem(&hash, p, &global, BPF_ANY))
ARGUMENT(in_delete_key, bpf_map_delete_elem(&hash, p))
ARGUMENT(in_push, bpf_map_push_elem(&queue, p, BPF_EXIST))
/* Right behind another call, whose gate makes this one. */
ARGUMENT(in_push_next, {
	bpf_get_numa_node_id();
	bpf_map_push_elem(&queue, p, BPF_EXIST);
})
/* The same, if the other call has left nothing: there is one node. */
ARGUMENT(in_push_look, {
	if (!bpf_get_numa_node_id())
		bpf_map_push_elem(&queue, p, BPF_EXIST);
})
ARGUMENT(in_store_bytes, {
	bpf_xdp_store_bytes(ctx, 0, p, 8);
	bpf_xdp_load_bytes(ctx, 0, &got, 8);
})
ARGUMENT(in_csum_from, got = bpf_csum_diff(p, 8, NULL, 0, 0))
ARGUMENT(in_csum_to, got = bpf_csum_diff(NULL, 0, p, 8, 0))
ARGUMENT(in_ring_output, bpf_ringbuf_output(&ring, p, 8, 0))
ARGUMENT(in_perf_output, bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, p, 12))
ARGUMENT(in_strncmp, got = bpf_strncmp(p, 6, "bailey"))
ARGUMENT(in_str_length, got = bpf_strlen(p))
ARGUMENT(in_str_byte, got = bpf_strnchr(p, 1, 'x'))
ARGUMENT(in_str_first, got = bpf_strcmp(p, "bailey"))
ARGUMENT(in_str_second, got = bpf_strcasecmp("bailey", p))
ARGUMENT(in_str_set, got = bpf_strspn("bailey", p))
ARGUMENT(in_str_within, got = bpf_strnstr(p, "bailey", 100))
ARGUMENT(in_snprintf_args, bpf_snprintf((char *)&global, 32, format, p, 16))
ARGUMENT(in_trace_args, bpf_trace_vprintk(format, sizeof(format), p, 16))
ARGUMENT(in_sk_lookup, {
	struct bpf_sock *sk =
		bpf_sk_lookup_udp(ctx, p, sizeof(((struct bpf_sock_tuple *)0)->ipv4),
				  BPF_F_CURRENT_NETNS, 0);
	if (sk)
		bpf_sk_release(sk);
})
ARGUMENT(in_syncookie, {
	struct tcphdr tcp = {.doff = 5};
	got = bpf_tcp_raw_gen_syncookie_ipv4(p, &tcp, sizeof(tcp));
})

ARGUMENT(out_load_bytes, bpf_xdp_load_bytes(ctx, 0, p, 8))
ARGUMENT(out_pop, bpf_map_pop_elem(&queue, p))
ARGUMENT(out_pop_next, {
	bpf_get_numa_node_id();
	bpf_map_pop_elem(&queue, p);
})
ARGUMENT(out_peek, bpf_map_peek_elem(&queue, p))
ARGUMENT(out_fib_lookup, bpf_fib_lookup(ctx, p, sizeof(struct bpf_fib_lookup), 0))
ARGUMENT(out_check_mtu, bpf_check_mtu(ctx, 1, p, 0, 0))
ARGUMENT(out_probe_read, bpf_probe_read_kernel(p, 8, (void *)8))
ARGUMENT(out_comm, bpf_get_current_comm(p, 16))
ARGUMENT(out_snprintf, bpf_snprintf(p, 32, format, (__u64 *)&global, 16))
ARGUMENT(out_strtol, bpf_strtol("12345678", 8, 10, p))

SEC("xdp") int take_lock(struct xdp_md *ctx)
{
	struct order *o = take_order();
	__u32 key = 0;
	struct locked *v = bpf_map_lookup_elem(&locks, &key);

	if (!o || !v)
		return XDP_DROP;
	v = astray(o, v);
	bpf_spin_lock(&v->lock);
	bpf_spin_unlock(&v->lock);
	return survived(o, 0);
}

/* What the helper gives to user space lies where the pointer points. */
#define RECORD(name, give) \
	SEC("xdp") int take_##name(struct xdp_md *ctx) \
	{ \
		struct order *o = take_order(); \
		void *record; \
		if (!o) \
			return XDP_DROP; \
		record = bpf_ringbuf_reserve(&ring, 64, 0); \
		if (!record) \
			return XDP_DROP; \
		record = astray(o, record); \
		give(record, 0); \
		return survived(o, 0); \
	}
RECORD(submit, bpf_ringbuf_submit)
RECORD(discard, bpf_ringbuf_discard)

char _license[] SEC("license") = "GPL";
