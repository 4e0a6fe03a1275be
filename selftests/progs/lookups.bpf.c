// SPDX-License-Identifier: GPL-2.0
/*
 * Look-ups in maps that others change meanwhile: hash maps with keys of four and of eight
 * bytes and of a connection, one of them per CPU, tries of IPv4 and IPv6; and in one that forgets. `change` replaces the
 * values of some keys, and puts in and takes out others, all in few chains. To `find` the first are
 * always there, and a third kind never is.
 */
#include <vmlinux.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Keys that stay, that come and go, and that never come. */
#define STAYING 4
#define PASSING 16
#define ABSENT 100

#define TABLE(name, kind, of)                                                                      \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_##kind);                                                 \
		__uint(max_entries, 16);                                                           \
		__type(key, of);                                                                   \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

struct connection {
	__be32 from, to;
	__be16 from_port, to_port;
	__u8 protocol;
} __attribute__((packed));

#define TRIE(name, of)                                                                             \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, 32);                                                           \
		__type(key, of);                                                                   \
		__type(value, __u64);                                                              \
	} name SEC(".maps")

struct route {
	__u32 len;
	__be32 to;
};

struct route_16 {
	__u32 len;
	__be32 to[4];
};

TABLE(narrow, HASH, __u32);
TABLE(wide, HASH, __u64);
TABLE(connections, HASH, struct connection);
TABLE(local, PERCPU_HASH, __u64);
TRIE(routes, struct route);
TRIE(routes_16, struct route_16);

/* It forgets: `keep` uses one key and puts in others, for which one has to go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} forgetful SEC(".maps");

/* How often the key in use was there, and how often a key that nobody used was still. */
__u64 kept, idle;
__u32 newest;

/* Keys that were not found though there, and found though not; and all look-ups. */
__u64 missed, invented, looked;

/* Key number `n`, which goes into its first word and its last byte. */
static __always_inline struct connection connection(__u32 n)
{
	return (struct connection){ .from = n, .to = bpf_htonl(0x0a000002), .protocol = n };
}

static __always_inline __u32 narrow_key(__u32 n)
{
	return n;
}

static __always_inline __u64 wide_key(__u32 n)
{
	return n;
}

/*
 * Prefix number `n`: one that stays has 16 bits, or 48, the others have 8 more and lie within
 * these. `host` is the address of a host in it.
 */
#define BITS(n, first) ((first) + ((n) < STAYING ? 0 : 8))
#define ADDRESS(n, host) bpf_htonl(((n) % STAYING) << 16 | ((n) < STAYING ? 0 : (n) << 8) | (host))

static __always_inline struct route route(__u32 n)
{
	return (struct route){ BITS(n, 16), ADDRESS(n, 0) };
}

static __always_inline struct route_16 route_16(__u32 n)
{
	return (struct route_16){ BITS(n, 48), { bpf_htonl(0x20010db8), ADDRESS(n, 0) } };
}

#define CHANGE(map, type, of, r)                                                                   \
	do {                                                                                       \
		__u64 value = r;                                                                   \
		__u32 n = (r >> 8) % PASSING;                                                      \
		type key = of(n);                                                                  \
                                                                                                   \
		if (n >= STAYING && r & 1)                                                         \
			bpf_map_delete_elem(map, &key);                                            \
		else                                                                               \
			bpf_map_update_elem(map, &key, &value, BPF_ANY);                           \
	} while (0)

SEC("xdp") int change(struct xdp_md *ctx)
{
	__u32 r = bpf_get_prandom_u32();

	switch ((r >> 1) % 6) {
	case 0:
		CHANGE(&narrow, __u32, narrow_key, r);
		break;
	case 1:
		CHANGE(&wide, __u64, wide_key, r);
		break;
	case 2:
		CHANGE(&routes, struct route, route, r);
		break;
	case 3:
		CHANGE(&routes_16, struct route_16, route_16, r);
		break;
	case 4:
		CHANGE(&local, __u64, wide_key, r);
		break;
	default:
		CHANGE(&connections, struct connection, connection, r);
	}
	return XDP_PASS;
}

/* The first time, of a key each. */
SEC("xdp") int begin(struct xdp_md *ctx)
{
	for (__u32 n = 0; n < STAYING; n++) {
		__u64 value = n, key = n;
		__u32 short_key = n;
		struct connection long_key = connection(n);
		struct route prefix = route(n);
		struct route_16 prefix_16 = route_16(n);

		bpf_map_update_elem(&narrow, &short_key, &value, BPF_ANY);
		bpf_map_update_elem(&wide, &key, &value, BPF_ANY);
		bpf_map_update_elem(&connections, &long_key, &value, BPF_ANY);
		bpf_map_update_elem(&local, &key, &value, BPF_ANY);
		bpf_map_update_elem(&routes, &prefix, &value, BPF_ANY);
		bpf_map_update_elem(&routes_16, &prefix_16, &value, BPF_ANY);
	}
	return XDP_PASS;
}

#define FIND(map, type, of)                                                                        \
	for (__u32 n = 0; n < STAYING; n++) {                                                      \
		type key = of(n);                                                                  \
                                                                                                   \
		missed += !bpf_map_lookup_elem(map, &key);                                         \
		key = of(n + ABSENT);                                                              \
		invented += !!bpf_map_lookup_elem(map, &key);                                      \
		looked += 2;                                                                       \
	}

/* Of hosts, some in a prefix that comes and goes; and of some where no prefix ever is. */
#define FIND_HOSTS(map, type, of, bits, word)                                                      \
	for (__u32 n = 0; n < PASSING; n++) {                                                      \
		type key = of(n);                                                                  \
                                                                                                   \
		key.len = bits;                                                                    \
		word = ADDRESS(n, looked & 0xff);                                                  \
		missed += !bpf_map_lookup_elem(map, &key);                                         \
		word = ADDRESS(n, 1 << 20);                                                        \
		invented += !!bpf_map_lookup_elem(map, &key);                                      \
		looked += 2;                                                                       \
	}

SEC("xdp") int find(struct xdp_md *ctx)
{
	FIND(&narrow, __u32, narrow_key);
	FIND(&wide, __u64, wide_key);
	FIND(&connections, struct connection, connection);
	for (__u32 n = 0; n < STAYING; n++) {
		__u64 key = wide_key(n), *value = bpf_map_lookup_elem(&local, &key);

		/* On its CPU it is as `begin` has left it, who was there, too. */
		missed += !value || *value != n;
		key = wide_key(n + ABSENT);
		invented += !!bpf_map_lookup_elem(&local, &key);
		looked += 2;
	}
	FIND_HOSTS(&routes, struct route, route, 32, key.to);
	FIND_HOSTS(&routes_16, struct route_16, route_16, 128, key.to[1]);
	return XDP_PASS;
}

SEC("xdp") int keep(struct xdp_md *ctx)
{
	__u32 used = 1, key = ++newest + 100;
	__u64 value = 0;

	bpf_map_update_elem(&forgetful, &key, &value, BPF_ANY);
	if (bpf_map_lookup_elem(&forgetful, &used))
		kept++;
	else
		bpf_map_update_elem(&forgetful, &used, &value, BPF_ANY);
	return XDP_PASS;
}

/* Whether the key of `keep` of so many runs ago is there still. */
SEC("xdp") int ask(struct xdp_md *ctx)
{
	__u32 key = newest + 100 - 128;

	idle += !!bpf_map_lookup_elem(&forgetful, &key);
	return XDP_PASS;
}

/* The same, which looks at the one in use. */
SEC("xdp") int look(struct xdp_md *ctx)
{
	__u32 used = 1;

	return bpf_map_lookup_elem(&forgetful, &used) ? XDP_PASS : XDP_DROP;
}

#define LOOK                                                                                       \
	do {                                                                                       \
		__u64 *value = bpf_map_lookup_elem(&connections, &key);                            \
                                                                                                   \
		if (value)                                                                         \
			sum += *value;                                                             \
		key.from++;                                                                        \
		key.protocol++;                                                                    \
	} while (0)
#define LOOK_4 LOOK; LOOK; LOOK; LOOK
#define LOOK_16 LOOK_4; LOOK_4; LOOK_4; LOOK_4
#define LOOK_64 LOOK_16; LOOK_16; LOOK_16; LOOK_16
#define LOOK_256 LOOK_64; LOOK_64; LOOK_64; LOOK_64

/*
 * More look-ups than an ordinary jump reaches over: each becomes some 160 instructions.
 * 0 and 1 and 2 and 3 is found, and then nothing.
 */
SEC("xdp") int many(struct xdp_md *ctx)
{
	struct connection key = connection(0);
	__u64 sum = 0;

	if (ctx->data_end - ctx->data > 1) {
		LOOK_256;
	}
	return sum;
}

char _license[] SEC("license") = "GPL";
