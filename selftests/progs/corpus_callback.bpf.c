// SPDX-License-Identifier: GPL-2.0
/*
 * Callbacks from the kernel: loops of bpf_loop, walks over maps of each kind,
 * user ring buffers; nested, with sub-programs and helpers inside, with early
 * stops. The order of a hash is not the same twice, so its walks only add.
 */
#include "corpus.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 6);
	__type(key, __u32);
	__type(value, __u64[3]);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 5);
	__type(key, __u32);
	__type(value, __u64);
} percpu_array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64[2]);
} hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} hash_no_prealloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} lru_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} percpu_hash SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} percpu_hash_no_prealloc SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user_ring SEC(".maps");

__s64 result[16];
__u8 bytes[64];

struct state {
	__u64 sum, steps, limit;
	struct xdp_md *ctx;
};

/* bpf_loop. A count that is known is inlined, one from the packet may not be. */

static long add_index(__u32 i, struct state *s)
{
	s->sum += i * 3;
	s->steps++;
	return 0;
}

SEC("xdp") int loop(struct xdp_md *ctx)
{
	struct state s = {.sum = 1};

	result[0] = bpf_loop(packet_size(ctx), add_index, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

extern int bpf_strnlen(const char *s, __u64 count) __ksym;
extern int bpf_strchr(const char *s, char c) __ksym;

/* Functions on strings, of the caller's stack. */
static long look_at_string(__u32 i, struct state *s)
{
	s->sum = s->sum * 31 + bpf_strnlen((char *)&s->limit, i) + bpf_strchr((char *)&s->limit, 'l');
	return 0;
}

SEC("xdp") int loop_over_string(struct xdp_md *ctx)
{
	struct state s = {.limit = 0x6c61636f6c};

	result[0] = bpf_loop(packet_size(ctx), look_at_string, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

SEC("xdp") int loop_known_count(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_loop(10, add_index, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

SEC("xdp") int loop_none(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_loop(packet_size(ctx) >> 20, add_index, &s, 0);
	result[1] = bpf_loop(1 << 24, add_index, &s, 0);
	result[2] = bpf_loop(1, add_index, &s, 5);
	result[3] = s.steps;
	return XDP_PASS;
}

static long count_global(__u32 i, void *none)
{
	result[3] += i;
	return result[3] > 2000;
}

SEC("xdp") int loop_without_state(struct xdp_md *ctx)
{
	result[0] = bpf_loop(packet_size(ctx), count_global, NULL, 0);
	return XDP_PASS;
}

static long stop_at_sum(__u32 i, struct state *s)
{
	s->sum += i * 3 + 1;
	return (s->sum & 31) == 22;
}

SEC("xdp") int loop_stops_early(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_loop(packet_size(ctx), stop_at_sum, &s, 0);
	result[1] = s.sum;
	s.sum = 21;
	result[2] = bpf_loop(packet_size(ctx), stop_at_sum, &s, 0);
	return XDP_PASS;
}

static long inner(__u32 i, struct state *s)
{
	s->sum = s->sum * 5 + i;
	return i == 6;
}

static long middle(__u32 i, struct state *s)
{
	struct state own = {.sum = i};

	s->steps += bpf_loop(i, inner, &own, 0);
	s->sum += own.sum;
	return 0;
}

static long outer(__u32 i, struct state *s)
{
	s->steps += bpf_loop(i + 2, middle, s, 0);
	return 0;
}

SEC("xdp") int loop_nested(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_loop((packet_size(ctx) >> 4) & 15, outer, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

/* Sub-programs called by a callback, two deep, with R6 to R9 in use. */

SUBPROG __u64 weigh(__u64 x)
{
	opaque(x);
	return x * x + 1;
}

SUBPROG __u64 weigh_more(__u64 x, struct state *s)
{
	volatile __u64 own[2] = {x, 7};

	s->steps += weigh(x);
	return weigh(own[0] + own[1]) - s->steps;
}

static long call_from_callback(__u32 i, struct state *s)
{
	__u64 a = s->sum, b = s->limit, c = i;

	s->sum = weigh_more(i, s) + a;
	s->limit = weigh(b & 0xff) ^ c;
	return 0;
}

SEC("xdp") int loop_calls_subprograms(struct xdp_md *ctx)
{
	struct state s = {.limit = 3};

	result[0] = bpf_loop(packet_size(ctx) & 63, call_from_callback, &s, 0);
	result[1] = s.sum ^ s.limit;
	result[2] = s.steps;
	return XDP_PASS;
}

/* A loop that a sub-program starts; one function that is callback and callee. */

SUBPROG long loop_in_subprogram(struct state *s, __u32 n)
{
	opaque(n);
	return bpf_loop(n, add_index, s, 0);
}

SEC("xdp") int loop_below(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = loop_in_subprogram(&s, packet_size(ctx));
	result[1] = loop_in_subprogram(&s, 5);
	result[2] = s.sum;
	return XDP_PASS;
}

SUBPROG long both_ways(__u32 i, struct state *s)
{
	s->sum = s->sum * 3 + i;
	return i == 50;
}

SEC("xdp") int callback_called_directly(struct xdp_md *ctx)
{
	struct state s = {.sum = 2};

	result[0] = both_ways(packet_size(ctx), &s);
	result[1] = bpf_loop(packet_size(ctx), both_ways, &s, 0);
	result[2] = both_ways(50, &s);
	result[3] = s.sum;
	return XDP_PASS;
}

/* Helpers in a callback: maps, packet, its ends. */

static long use_maps(__u32 i, struct state *s)
{
	__u32 key = i & 15;
	__u64 fresh[2] = {i, s->sum}, *v = bpf_map_lookup_elem(&hash, &key);

	if (v)
		v[0] += i;
	else
		s->steps += bpf_map_update_elem(&hash, &key, fresh, BPF_ANY);
	v = bpf_map_lookup_elem(&array, &key);
	if (v)
		s->sum += v[1]++;
	return 0;
}

SEC("xdp") int loop_uses_maps(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_loop(packet_size(ctx) & 31, use_maps, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

static long load_packet(__u32 i, struct state *s)
{
	__u8 buf[8] = {};

	s->steps += bpf_xdp_load_bytes(s->ctx, i * 8, buf, sizeof(buf));
	for (int n = 0; n < 8; n++)
		s->sum = s->sum * 31 + buf[n];
	buf[0] = i;
	s->steps += bpf_xdp_store_bytes(s->ctx, i * 8, buf, 1);
	return 0;
}

SEC("xdp") int loop_uses_packet(struct xdp_md *ctx)
{
	struct state s = {.ctx = ctx};

	result[0] = bpf_loop(12, load_packet, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_TX;
}

static long touch_packet(__u32 i, struct state *s)
{
	__u8 *p = (void *)(long)s->ctx->data;

	i &= 63;
	if (p + i + 1 > (__u8 *)(long)s->ctx->data_end)
		return 1;
	p[i] ^= 0x80 | i;
	return 0;
}

SEC("xdp") int loop_writes_packet(struct xdp_md *ctx)
{
	struct state s = {.ctx = ctx};
	__u32 *p;

	result[0] = bpf_loop(packet_size(ctx) >> 2, touch_packet, &s, 0);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return XDP_ABORTED;
	result[1] = p[1];
	return XDP_TX;
}

static long move_head(__u32 i, struct state *s)
{
	__u8 *p;

	s->steps += bpf_xdp_adjust_head(s->ctx, i & 1 ? 3 : -5);
	p = (void *)(long)s->ctx->data;
	if (p + 4 > (__u8 *)(long)s->ctx->data_end)
		return 1;
	p[0] = i;
	p[3]++;
	return 0;
}

SEC("xdp") int loop_moves_head(struct xdp_md *ctx)
{
	struct state s = {.ctx = ctx};
	__u32 *p;

	result[0] = bpf_loop(9, move_head, &s, 0);
	result[1] = packet_size(ctx);
	p = packet_at(ctx, 0, 8);
	if (!p)
		return XDP_ABORTED;
	p[1] = s.steps;
	return XDP_TX;
}

static long redirect(__u32 i, void *none)
{
	result[4] += bpf_redirect(1, 0);
	return i == 1;
}

SEC("xdp") int loop_redirects(struct xdp_md *ctx)
{
	result[0] = bpf_loop(5, redirect, NULL, 0);
	return XDP_REDIRECT;
}

/* Walks: the key and the value are read, the value is written. */

static long walk_array(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum = s->sum * 7 + *key + value[0];
	s->steps++;
	value[1] += *key + 1;
	__sync_fetch_and_add(&value[2], s->steps);
	return 0;
}

SEC("xdp") int each_of_array(struct xdp_md *ctx)
{
	struct state s = {.sum = packet_size(ctx)};

	result[0] = bpf_for_each_map_elem(&array, walk_array, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

static long walk_and_stop(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += value[0];
	value[0]++;
	return *key == 3;
}

SEC("xdp") int each_stops_early(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&array, walk_and_stop, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

static long walk_percpu(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum = s->sum * 3 + *value + *key;
	*value += 2;
	return 0;
}

SEC("xdp") int each_of_percpu_array(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&percpu_array, walk_percpu, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

static long walk_hash(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += *key * value[0];
	s->steps++;
	value[1] ^= *key;
	value[0] += s->limit;
	return 0;
}

SEC("xdp") int each_of_hash(struct xdp_md *ctx)
{
	struct state s = {.limit = packet_size(ctx)};

	result[0] = bpf_for_each_map_elem(&hash, walk_hash, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

static long walk_small(void *map, __u64 *key, __u32 *value, struct state *s)
{
	s->sum += *key ^ *value;
	*value += 1;
	return 0;
}

SEC("xdp") int each_of_hash_no_prealloc(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&hash_no_prealloc, walk_small, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

static long walk_values(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += *key * 3 + *value;
	*value += 5;
	return 0;
}

SEC("xdp") int each_of_lru_hash(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&lru_hash, walk_values, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

SEC("xdp") int each_of_percpu_hash(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&percpu_hash, walk_values, &s, 0);
	result[1] = s.sum;
	return XDP_PASS;
}

/* It changes the map by the pointer that it was given. */
static long walk_and_delete_there(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += *key * 3 + *value;
	*value += 5;
	if (*key & 1)
		s->steps -= bpf_map_delete_elem(map, key);
	return 0;
}

SEC("xdp") int each_of_percpu_hash_no_prealloc(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&percpu_hash_no_prealloc, walk_and_delete_there, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	result[3] = bpf_for_each_map_elem(&percpu_hash_no_prealloc, walk_values, &s, 1);
	return XDP_PASS;
}

SEC("xdp") int each_refused(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&array, walk_and_stop, &s, 1);
	result[1] = s.sum;
	return XDP_PASS;
}

/* The callback deletes what it was given, and changes the map it walks. */
static long walk_and_delete(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += value[0];
	if (*key & 1)
		s->steps -= bpf_map_delete_elem(&hash, key);
	return 0;
}

SEC("xdp") int each_deletes(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&hash, walk_and_delete, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

/* The key and the value go on to helpers. */
static long copy_over(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->steps += bpf_map_update_elem(&lru_hash, key, value, BPF_ANY);
	s->sum += bpf_xdp_load_bytes(s->ctx, *key & 15, value + 1, 8);
	return 0;
}

SEC("xdp") int each_passes_its_arguments_on(struct xdp_md *ctx)
{
	struct state s = {.ctx = ctx};

	result[0] = bpf_for_each_map_elem(&hash, copy_over, &s, 0);
	result[1] = s.sum + s.steps;
	return XDP_PASS;
}

/* A walk in a loop in a walk, with sub-programs. */

static long walk_innermost(void *map, __u32 *key, __u64 *value, struct state *s)
{
	s->sum += weigh(*value & 0xff) + *key;
	return 0;
}

static long loop_around_walk(__u32 i, struct state *s)
{
	s->steps += bpf_for_each_map_elem(&hash, walk_innermost, s, 0);
	return 0;
}

static long walk_around_loop(void *map, __u32 *key, __u64 *value, struct state *s)
{
	value[0] += bpf_loop(*key, loop_around_walk, s, 0);
	return 0;
}

SEC("xdp") int each_nested(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_for_each_map_elem(&array, walk_around_loop, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

/* One site, two callbacks. */
SUBPROG long loop_of(void *callback, struct state *s, __u32 n)
{
	opaque(n);
	return bpf_loop(n, callback, s, 0);
}

SEC("xdp") int callback_as_argument(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = loop_of(add_index, &s, packet_size(ctx));
	result[1] = loop_of(stop_at_sum, &s, packet_size(ctx));
	result[2] = s.sum;
	return XDP_PASS;
}

/* The runner puts records into the ring before each run. */
static long drain(struct bpf_dynptr *record, struct state *s)
{
	__u64 word = 0;

	s->steps += bpf_dynptr_read(&word, sizeof(word), record, 0, 0);
	s->sum = s->sum * 3 + word;
	return 0;
}

SEC("xdp") int drain_user_ring(struct xdp_md *ctx)
{
	struct state s = {};

	result[0] = bpf_user_ringbuf_drain(&user_ring, drain, &s, 0);
	result[1] = s.sum;
	result[2] = s.steps;
	return XDP_PASS;
}

/* Loops with a count and a time for each function. */
__u64 zero;

__noinline int counts_global(__u64 end)
{
	return loop_to(zero, end);
}

static __noinline __u64 counts_static(__u64 end)
{
	return loop_to(zero, end) + counts_global(end / 2);
}

static long counts_back(__u64 i, __u64 *sum)
{
	*sum += loop_to(zero, 1000 + i) + counts_static(i & 15);
	return 0;
}

SEC("xdp") int may_goto_functions(struct xdp_md *ctx)
{
	__u64 sum = zero, times = 20 + zero;

	bpf_loop(times & 31, counts_back, &sum, 0);
	for (int i = 0; i < 4; i++)
		sum = sum * 3 + counts_static(100 * i + zero) + counts_global(i + zero);
	result[0] = sum;
	result[1] = loop_to(zero, 70000 + zero);
	return XDP_PASS;
}

/* Two loops of a function end when the time is over, the second at once. */
__u64 has_ended;

static __noinline __u64 ends_by_time(void)
{
	__u64 n = zero, again = zero;

	asm volatile("0: may_goto 1f\n"
		     "%0 += 1\n"
		     "goto 0b\n"
		     "1: may_goto 2f\n"
		     "%1 += 1\n"
		     "if %1 > 10 goto 2f\n"
		     "goto 1b\n"
		     "2:\n"
		     : "+r"(n), "+r"(again));
	return (n > 65535) + 2 * again;
}

SEC("xdp") int may_goto_ends(struct xdp_md *ctx)
{
	/* It takes a quarter of a second. */
	if (has_ended)
		return XDP_PASS;
	has_ended = 1;
	result[0] = ends_by_time();
	result[1] = loop_to(zero, 100000 + zero);
	return XDP_PASS;
}

/*
 * Callbacks and functions whose first helper is one of numbers alone, with stacks
 * of different sizes at one depth. Behind it they read what is not in the domain:
 * where they go on, and on which stack, is seen by an event. No bpf_loop, which
 * the verifier makes a loop of the program's own.
 */
struct prefix {
	__u32 len, number;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1 << 20);	/* too large for a store: its values are lent */
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u64);
} trie SEC(".maps");

struct of_trie {
	__u64 *value;
	__u64 sum;
};

static __always_inline __u64 *value_of_trie(void)
{
	struct prefix key = {.len = 32};
	__u64 value = 77;

	bpf_map_update_elem(&trie, &key, &value, BPF_ANY);
	return bpf_map_lookup_elem(&trie, &key);
}

static __always_inline __u64 add_value(__u64 *value, __u64 i)
{
	__u64 number = bpf_get_prandom_u32();

	opaque(number);
	return (number < 1ull << 32) + i * *(volatile __u64 *)value;
}

static long of_no_stack(void *map, __u32 *key, void *value, struct of_trie *s)
{
	s->sum += add_value(s->value, *key);
	return 0;
}

static long of_much_stack(void *map, __u32 *key, void *value, struct of_trie *s)
{
	volatile __u64 own[20] = {*key, 5};

	s->sum += add_value(s->value, *key) + own[0] * own[1];
	return 0;
}

static long of_some_stack(void *map, __u32 *key, void *value, struct of_trie *s)
{
	volatile __u64 own[4] = {3, *key};
	struct of_trie below = {.value = s->value};

	s->sum += add_value(s->value, *key) + own[0];
	s->sum += bpf_for_each_map_elem(&percpu_array, of_no_stack, &below, 0);
	s->sum += below.sum + add_value(s->value, *key) + own[1];
	return 0;
}

__noinline long of_function(__u64 *value, __u64 i)
{
	volatile __u64 own[9] = {i};

	if (!value)
		return 0;
	return add_value(value, i) + own[0];
}

SEC("xdp") int scalar_first(struct xdp_md *ctx)
{
	struct of_trie s = {.value = value_of_trie()};
	__u64 n = packet_size(ctx);

	if (!s.value)
		return XDP_ABORTED;
	result[0] = of_function(s.value, n);
	result[1] = bpf_for_each_map_elem(&array, of_much_stack, &s, 0);
	result[2] = s.sum;
	result[3] = bpf_for_each_map_elem(&array, of_no_stack, &s, 0);
	result[4] = s.sum;
	result[5] = bpf_for_each_map_elem(&array, of_some_stack, &s, 0);
	result[6] = s.sum + of_function(s.value, n);
	return XDP_PASS;
}

/* Records that are held while others come and go further in. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} ring SEC(".maps");

static __always_inline void pass_record(__u64 first, __u64 last)
{
	__u64 *r = bpf_ringbuf_reserve(&ring, 88, 0);

	if (!r)
		return;
	for (int i = 0; i < 10; i++)
		r[i] = first + i;
	r[10] = last;
	bpf_ringbuf_submit(r, 0);
}

static long record_in_callback(void *map, __u32 *key, void *value, __u64 *sum)
{
	volatile __u64 own[6] = {*key};

	pass_record(*key, *sum);
	*sum += own[0] + 3;
	return 0;
}

__noinline int record_in_function(__u32 number)
{
	volatile __u64 own[3] = {number, 4};

	pass_record(number, own[1]);
	return own[0] + own[1];
}

SEC("xdp") int records_within(struct xdp_md *ctx)
{
	__u64 *r = bpf_ringbuf_reserve(&ring, 200, 0), *s, sum = packet_size(ctx);

	if (!r)
		return XDP_ABORTED;
	for (int i = 0; i < 25; i++)
		r[i] = sum + i;
	result[0] = bpf_for_each_map_elem(&array, record_in_callback, &sum, 0);
	s = bpf_ringbuf_reserve(&ring, 40, 0);
	if (!s) {
		bpf_ringbuf_discard(r, 0);
		return XDP_DROP;
	}
	s[0] = r[24] + sum;
	s[4] = record_in_function(sum);
	result[1] = bpf_for_each_map_elem(&array, record_in_callback, &sum, 0);
	bpf_ringbuf_submit(r, 0);
	s[1] = s[2] = s[3] = record_in_function(sum + 1);
	bpf_ringbuf_submit(s, 0);
	result[2] = sum;
	return XDP_PASS;
}

static long two_calls(void *map, __u32 *key, __u64 *value, __u64 *sum)
{
	__u64 node = bpf_get_numa_node_id(), uid = bpf_get_current_uid_gid();

	*sum += *value + node + uid;
	return 0;
}

/* Nothing but moves between these calls, of which one calls back, nor in what it calls. */
SEC("xdp") int next_calls_back(struct xdp_md *ctx)
{
	__u64 sum = packet_size(ctx);
	__u32 key = 77;

	bpf_map_delete_elem(&lru_hash, &key);
	bpf_for_each_map_elem(&hash, two_calls, &sum, 0);
	bpf_map_delete_elem(&lru_hash, &key);
	result[0] = sum;
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
