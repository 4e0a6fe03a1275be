// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's functions on strings: of each kind of memory that a string can lie in, and
 * at all their limits. The verifier looks at none of their strings.
 */
#include "corpus.h"
#include "task.h"

/*
 * Declared wide: of a byte to be looked for the lowest 8 or 32 bits count, and of what they
 * return all of R0 is seen.
 */
extern __s64 bpf_strcmp(const char *s1, const char *s2) __ksym;
extern __s64 bpf_strcasecmp(const char *s1, const char *s2) __ksym;
extern __s64 bpf_strncasecmp(const char *s1, const char *s2, __u64 len) __ksym;
extern __s64 bpf_strchr(const char *s, __u64 c) __ksym;
extern __s64 bpf_strchrnul(const char *s, __u64 c) __ksym;
extern __s64 bpf_strnchr(const char *s, __u64 count, __u64 c) __ksym;
extern __s64 bpf_strrchr(const char *s, __u64 c) __ksym;
extern __s64 bpf_strlen(const char *s) __ksym;
extern __s64 bpf_strnlen(const char *s, __u64 count) __ksym;
extern __s64 bpf_strspn(const char *s, const char *accept) __ksym;
extern __s64 bpf_strcspn(const char *s, const char *reject) __ksym;
extern __s64 bpf_strstr(const char *s1, const char *s2) __ksym;
extern __s64 bpf_strcasestr(const char *s1, const char *s2) __ksym;
extern __s64 bpf_strnstr(const char *s1, const char *s2, __u64 len) __ksym;
extern __s64 bpf_strncasestr(const char *s1, const char *s2, __u64 len) __ksym;

extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u64 offset, void *buffer,
			      __u64 buffer_size) __ksym;

struct text {
	char bytes[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct text);
} array SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct text);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct text);
} hash SEC(".maps");

/* More than the module gives memory to before it is needed: its values are loans. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 19);
	__type(key, __u32);
	__type(value, struct text);
} lent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024);
} ring SEC(".maps");

#define LONGEST 65536

/* How each of them ends depends on where it is begun. */
char longest[LONGEST + 64] = {[0 ... LONGEST + 61] = 'x'};
char global[] = "The quick brown fox jumps over the lazy dog";
const char constant[] = "GET /index.html HTTP/1.1\r\nHost: example\r\n";

__s64 result[48];

/* The verifier shall not know it. */
#define hidden(x) ({ __u64 __x = (x); opaque(__x); __x; })

/* All of them, one after the other: what they return, whole, goes to `to` places. */
#define ALL(to, s, t, c, n) do { \
	__s64 *r = &result[to]; \
	r[0] += bpf_strcmp(s, t); \
	r[1] += bpf_strcasecmp(s, t); \
	r[2] += bpf_strncasecmp(s, t, n); \
	r[3] += bpf_strchr(s, c); \
	r[4] += bpf_strchrnul(s, c); \
	r[5] += bpf_strnchr(s, n, c); \
	r[6] += bpf_strrchr(s, c); \
	r[7] += bpf_strlen(s); \
	r[8] += bpf_strnlen(s, n); \
	r[9] += bpf_strspn(s, t); \
	r[10] += bpf_strcspn(s, t); \
	r[11] += bpf_strstr(s, t); \
	r[12] += bpf_strcasestr(s, t); \
	r[13] += bpf_strnstr(s, t, n); \
	r[14] += bpf_strncasestr(s, t, n); \
} while (0)

SEC("xdp") int constants(struct xdp_md *ctx)
{
	ALL(0, constant, "http", 'H', 16);
	ALL(16, constant, constant, 0, sizeof(constant));
	ALL(32, "", constant, '\n', 1);
	return XDP_PASS;
}

SEC("xdp") int globals(struct xdp_md *ctx)
{
	ALL(0, global, "QUICK", 'o', 9);
	ALL(16, global, global, 'T', packet_size(ctx));
	global[packet_size(ctx) & 31] ^= 0x20;
	ALL(32, global, "the quick brown fox", 'o', 43);
	return XDP_PASS;
}

SEC("xdp") int on_the_stack(struct xdp_md *ctx)
{
	char s[16] = "stack", t[16] = "Stack of words";

	ALL(0, s, t, 't', 5);
	s[2] = packet_size(ctx) > 256 ? 0 : 'A';
	ALL(16, s, t, 'k', 6);
	ALL(32, t, s + 1, 'w', 2);
	return XDP_PASS;
}

static __always_inline int of_value(struct text *value, struct xdp_md *ctx)
{
	const char hello[] = "Hello, hello; Jello.";

	if (!value)
		return XDP_DROP;
	__builtin_memcpy(value->bytes, hello, sizeof(hello));
	ALL(0, value->bytes, "LO", 'l', 8);
	value->bytes[packet_size(ctx) & 15] = 0;
	ALL(16, value->bytes, hello, 'e', 64);
	ALL(32, value->bytes + 2, value->bytes, 'J', packet_size(ctx) >> 5);
	return XDP_PASS;
}

#define OF_VALUE(map) \
	SEC("xdp") int in_##map(struct xdp_md *ctx) \
	{ \
		__u32 key = 2; \
		return of_value(bpf_map_lookup_elem(&map, &key), ctx); \
	}
OF_VALUE(array)
OF_VALUE(per_cpu)
OF_VALUE(hash)
OF_VALUE(lent)

SEC("xdp") int in_a_record(struct xdp_md *ctx)
{
	struct text *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
	int verdict = of_value(record, ctx);

	if (record) {
		for (int i = 32; i < 64; i++)
			record->bytes[i] = i;
		bpf_ringbuf_submit(record, 0);
	}
	return verdict;
}

SEC("xdp") int in_a_lent_record(struct xdp_md *ctx)
{
	char *record = bpf_ringbuf_reserve(&ring, 8192, 0);

	if (!record)
		return XDP_DROP;
	__builtin_memcpy(record, "a lent record", 14);
	ALL(0, record, "LENT", 'd', 12);
	bpf_ringbuf_discard(record, 0);
	return XDP_PASS;
}

SEC("xdp") int in_the_packet(struct xdp_md *ctx)
{
	char *p = packet_at(ctx, 16, 48);

	if (!p)
		return XDP_DROP;
	__builtin_memcpy(p, "get key_1 KEY_2\r\n", 18);
	ALL(0, p, "key", ' ', 20);
	ALL(16, p + 4, "KEY", '\r', 20);
	p[packet_size(ctx) > 256 ? 7 : 12] = 0;
	ALL(32, p, p + 3, '_', 20);
	return XDP_TX;
}

/* Further on than the program looks itself. */
SEC("xdp") int beyond_what_is_loaded(struct xdp_md *ctx)
{
	char *p = packet_at(ctx, 42, 8);

	if (!p)
		return XDP_DROP;
	result[0] = p[0];
	for (int i = 1; i < 22; i++)
		result[i] = bpf_strnlen(p + i, 22 - i);
	return XDP_PASS;
}

SEC("xdp") int in_a_slice(struct xdp_md *ctx)
{
	struct bpf_dynptr ptr;
	char buffer[24] = {}, *p;

	if (bpf_dynptr_from_xdp(ctx, 0, &ptr) || bpf_dynptr_write(&ptr, 20, "slice\0of bytes", 15, 0))
		return XDP_ABORTED;
	p = bpf_dynptr_slice(&ptr, 20, buffer, 24);
	if (!p)
		return XDP_DROP;
	ALL(0, p, "Slice", 'c', 5);
	ALL(16, p + 6, "BYTE", 'b', 12);
	return XDP_TX;
}

/* The last packet has several pages: such a slice is a copy in the buffer. */
SEC("xdp.frags") int in_a_slice_of_pages(struct xdp_md *ctx)
{
	__u64 at = bpf_xdp_get_buff_len(ctx) - 24;
	struct bpf_dynptr ptr;
	char buffer[24] = {}, *p;

	if (bpf_dynptr_from_xdp(ctx, 0, &ptr) || bpf_dynptr_write(&ptr, at, "pages of strings", 17, 0))
		return XDP_ABORTED;
	p = bpf_dynptr_slice(&ptr, at, buffer, 24);
	if (!p)
		return XDP_DROP;
	ALL(0, p, "OF", 's', 17);
	return XDP_TX;
}

/* An object of the kernel's that is lent. */
SEC("xdp") int in_the_task(struct xdp_md *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	char comm[16] = {};

	bpf_get_current_comm(comm, sizeof(comm));
	result[0] = bpf_strcmp(task->comm, comm);
	result[1] = bpf_strlen(task->comm);
	result[2] = bpf_strchr(task->comm, comm[2]);
	result[3] = bpf_strnstr(task->comm, comm + 1, 16);
	return XDP_PASS;
}

/* Addresses that are none of the kernel's. */
SEC("xdp") int no_addresses(struct xdp_md *ctx)
{
	static const __u64 list[] = {
		0, 1, 4095, 1ull << 46, (1ull << 47) - 1, 1ull << 62, ~0ull >> 1, 1ull << 63,
		0xfe00ull << 48, 0xffffffffff600000, 0xffffffffff600fff,
	};

#pragma clang loop unroll(disable)
	for (unsigned int i = 0; i < sizeof(list) / sizeof(*list); i++) {
		const char *none = (const char *)hidden(list[i]);

		ALL(0, none, global, 'T', 4);
		ALL(16, global, none, 'T', 4);
		ALL(32, none, none, 0, 0);
	}
	return XDP_PASS;
}

/* A limit of 0: nothing is read, and the addresses count nevertheless. */
SEC("xdp") int no_bytes(struct xdp_md *ctx)
{
	ALL(0, global, constant, 'T', hidden(0ull));
	result[16] = bpf_strnstr(global, "", hidden(0ull));
	result[17] = bpf_strncasestr("", global, hidden(0ull));
	return XDP_PASS;
}

/* More bits than a byte has, and than an int. */
SEC("xdp") int wide_bytes(struct xdp_md *ctx)
{
	ALL(0, global, constant, hidden(0x16full), 43);
	ALL(16, global, constant, hidden(0xffffff000000006full), 43);
	ALL(32, "\x80\xff\xe9 ", "\xe9", hidden(-23ll), ~0ull);
	return XDP_PASS;
}

/* Letters beyond ASCII have a case, and are greater than those in it. */
SEC("xdp") int latin_letters(struct xdp_md *ctx)
{
	char s[2] = {}, t[2] = {};

	/* Each one against the next, and against what may be its other case. */
#pragma clang loop unroll(disable)
	for (int i = 1; i < 256; i++) {
		s[0] = hidden(i);
		t[0] = hidden(i + 1);
		result[i & 15] = result[i & 15] * 3 + bpf_strcasecmp(s, t);
		t[0] = hidden(i ^ 0x20);
		result[i & 15] = result[i & 15] * 3 + bpf_strcasecmp(s, t);
		result[16 + (i & 15)] = result[16 + (i & 15)] * 3 + bpf_strcasestr(s, t);
	}
	return XDP_PASS;
}

/* Around the most bytes that the kernel reads. */
SEC("xdp") int longest_strings(struct xdp_md *ctx)
{
#pragma clang loop unroll(disable)
	for (int i = 60; i < 64; i++) {
		char *s = longest + (hidden(i) & 63);

		result[0] = result[0] * 3 + bpf_strlen(s);
		result[1] = result[1] * 3 + bpf_strnlen(s, LONGEST - 1);
		result[2] = result[2] * 3 + bpf_strnlen(s, LONGEST);
		result[3] = result[3] * 3 + bpf_strnlen(s, ~0ull);
		result[4] = result[4] * 3 + bpf_strchr(s, 0);
		result[5] = result[5] * 3 + bpf_strchr(s, 'y');
		result[6] = result[6] * 3 + bpf_strchrnul(s, 'y');
		result[7] = result[7] * 3 + bpf_strrchr(s, 'x');
		result[8] = result[8] * 3 + bpf_strnchr(s, LONGEST, 0);
		result[9] = result[9] * 3 + bpf_strnchr(s, LONGEST - 1, 'y');
		result[10] = result[10] * 3 + bpf_strcmp(s, s);
		result[11] = result[11] * 3 + bpf_strcmp(s, longest);
		result[12] = result[12] * 3 + bpf_strncasecmp(s, longest, LONGEST);
		result[13] = result[13] * 3 + bpf_strncasecmp(s, longest, LONGEST - 1);
		result[14] = result[14] * 3 + bpf_strcasecmp(s, longest);
		result[15] = result[15] * 3 + bpf_strspn(s, "x");
		result[16] = result[16] * 3 + bpf_strcspn(s, "yz");
		result[17] = result[17] * 3 + bpf_strspn("y", s);
		result[18] = result[18] * 3 + bpf_strcspn("y", s);
		result[19] = result[19] * 3 + bpf_strstr(s, "y");
		result[20] = result[20] * 3 + bpf_strstr(s, s);
		result[21] = result[21] * 3 + bpf_strstr(s, longest);
		result[22] = result[22] * 3 + bpf_strcasestr(s, "Y");
		result[23] = result[23] * 3 + bpf_strnstr(s, s, LONGEST);
		result[24] = result[24] * 3 + bpf_strnstr(s, s, ~0ull);
		result[25] = result[25] * 3 + bpf_strnstr(longest, s, LONGEST + 1);
		result[26] = result[26] * 3 + bpf_strncasestr(s, "y", LONGEST + 1);
		result[27] = result[27] * 3 + bpf_strncasestr(s, "y", LONGEST);
		result[28] = result[28] * 3 + bpf_strncasestr(s, "y", LONGEST - 1);
		result[29] = result[29] * 3 + bpf_strnstr(longest, "xxxy", LONGEST - 62 + i);
	}
	return XDP_PASS;
}

/* Strings of few letters, from the packet's bytes. */
SEC("xdp") int random_strings(struct xdp_md *ctx)
{
	char s[32] = {}, t[8] = {};
	__u8 *p = packet_at(ctx, 42, 22);
	__u64 state = packet_size(ctx);

	if (!p)
		return XDP_DROP;
	state = state << 32 | *(__u32 *)(p + 4);
#pragma clang loop unroll(disable)
	for (int i = 0; i < 64; i++) {
		for (int k = 0; k < 31; k++) {
			state = state * 6364136223846793005ull + 1442695040888963407ull;
			/* One of aAbB, and an end now and then. */
			s[k] = (state >> 40) % 29 ? "aAbB"[(state >> 33) & 3] : 0;
			if (k < 7)
				t[k] = (state >> 50) % 3 ? "aAbB"[(state >> 35) & 3] : 0;
		}
		state = hidden(state);
		ALL(0, s, t, "aAbB"[(state >> 60) & 3], state >> 59);
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
