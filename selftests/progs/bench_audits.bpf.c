// SPDX-License-Identifier: GPL-2.0
/*
 * What an audit adds, by the kinds of arguments: scripts/report.py says what is made of
 * which programs. Their call is the last thing that each does, so that one way out is all
 * there is. None has numbers alone, or a map and numbers: such calls are not audited.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* No flags of any map or helper: refused before anything is done. */
#define NONE 8

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps"), inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = {.values = {&inner}};

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1);
	__type(value, __u64);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

/* As in bench.bpf.c: its values are loans. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, __u32);
	__type(value, __u64);
} loan SEC(".maps");

struct timed {
	struct bpf_timer timer;
	__u64 word;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timed);
} timers SEC(".maps");

/* A map, and a key; a value; a value and a number; a key, a value and a number. */
SEC("xdp") int audit_delete(struct xdp_md *ctx)
{
	__u32 key = 0;

	return bpf_map_delete_elem(&array, &key);
}

SEC("xdp") int audit_peek(struct xdp_md *ctx)
{
	__u64 value = 0;

	return bpf_map_peek_elem(&queue, &value);
}

static __always_inline int push(void)
{
	__u64 value = 0;

	return bpf_map_push_elem(&queue, &value, NONE);
}

SEC("xdp") int audit_push(struct xdp_md *ctx) { return push(); }

SEC("xdp") int audit_update(struct xdp_md *ctx)
{
	__u64 value = 0;
	__u32 key = 0;

	return bpf_map_update_elem(&array, &key, &value, NONE);
}

/* Memory on the stack and its size, which is a number. */
static __always_inline int comm(void)
{
	char name[16];

	return bpf_get_current_comm(name, sizeof(name));
}

SEC("xdp") int audit_comm(struct xdp_md *ctx) { return comm(); }

/* Two numbers, memory and its size. */
SEC("xdp") int audit_numbers(struct xdp_md *ctx)
{
	struct bpf_pidns_info info;

	return bpf_get_ns_current_pid_tgid(0, 0, &info, sizeof(info));
}

/* A map, memory, its size and a number. */
#define OUTPUT(at) bpf_ringbuf_output(&ring, (void *)(at), 8, NONE)

static __always_inline int output(void)
{
	__u64 word = 1;

	return OUTPUT(&word);
}

SEC("xdp") int audit_output(struct xdp_md *ctx) { return output(); }

static __always_inline int of_packet(struct xdp_md *ctx, _Bool uses)
{
	volatile __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 8 > end)
		return XDP_PASS;
	*data;
	return uses ? bpf_map_push_elem(&queue, (void *)data, NONE) : push();
}

SEC("xdp") int audit_packet_stack(struct xdp_md *ctx) { return of_packet(ctx, 0); }
SEC("xdp") int audit_packet(struct xdp_md *ctx) { return of_packet(ctx, 1); }

/* A store: without one behind it a look-up is made together with the call that follows. */
#define APART                                                                                      \
	do {                                                                                       \
		volatile __u64 between __attribute__((unused)) = 0;                                \
	} while (0)

static __always_inline int of_value(void *map, _Bool uses)
{
	__u32 key = 1;
	volatile __u64 *value = bpf_map_lookup_elem(map, &key);

	if (!value)
		return XDP_PASS;
	APART;
	return uses ? OUTPUT(value) : output();
}

SEC("xdp") int audit_value_stack(struct xdp_md *ctx) { return of_value(&array, 0); }
SEC("xdp") int audit_value(struct xdp_md *ctx) { return of_value(&array, 1); }
SEC("xdp") int audit_loan_stack(struct xdp_md *ctx) { return of_value(&loan, 0); }
SEC("xdp") int audit_loan(struct xdp_md *ctx) { return of_value(&loan, 1); }

/* The map is not the same each time, for all that the verifier knows. */
static __always_inline int of_inner(_Bool uses)
{
	__u64 value = 0;
	__u32 key = 0;
	void *map = bpf_map_lookup_elem(&outer, &key);

	if (!map)
		return XDP_PASS;
	APART;
	return uses ? bpf_map_update_elem(map, &key, &value, NONE) :
		      bpf_map_update_elem(&array, &key, &value, NONE);
}

SEC("xdp") int audit_inner_known(struct xdp_md *ctx) { return of_inner(0); }
SEC("xdp") int audit_inner(struct xdp_md *ctx) { return of_inner(1); }

/* A string of three bytes and its NUL, behind memory and its size. */
SEC("xdp") int audit_string(struct xdp_md *ctx)
{
	volatile __u64 word = 1;

	return bpf_strncmp((const char *)&word, sizeof(word), "abc");
}

/* The context, of programs that look at it anyway. */
SEC("xdp") int audit_context_comm(struct xdp_md *ctx)
{
	*(volatile __u32 *)&ctx->rx_queue_index;
	return comm();
}

SEC("xdp") int audit_context(struct xdp_md *ctx)
{
	*(volatile __u32 *)&ctx->rx_queue_index;
	return bpf_xdp_get_buff_len(ctx);
}

/* A timer that nobody has set up. */
static __always_inline int of_timer(_Bool uses)
{
	__u32 key = 0;
	struct timed *timed = bpf_map_lookup_elem(&timers, &key);

	if (!timed)
		return XDP_PASS;
	APART;
	return uses ? bpf_timer_cancel(&timed->timer) : comm();
}

SEC("xdp") int audit_timer_comm(struct xdp_md *ctx) { return of_timer(0); }
SEC("xdp") int audit_timer(struct xdp_md *ctx) { return of_timer(1); }

char _license[] SEC("license") = "GPL";
