// SPDX-License-Identifier: GPL-2.0
/*
 * Encryption by the kernel, with a context that a program of another kind has made and
 * left in a value.
 */
#include "corpus.h"
#include "graph.h"

/* Of the kernel's type only name and kind count. */
struct bpf_crypto_ctx {
	int unused;
} unused;

struct bpf_crypto_params {
	char type[14];
	__u8 reserved[2];
	char algo[128];
	__u8 key[256];
	__u32 key_len;
	__u32 authsize;
};

extern int bpf_dynptr_from_xdp(struct xdp_md *ctx, __u64 flags, struct bpf_dynptr *dynptr) __ksym;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *dynptr, __u64 start, __u64 end) __ksym;
extern __u64 bpf_dynptr_size(const struct bpf_dynptr *dynptr) __ksym;
extern struct bpf_crypto_ctx *bpf_crypto_ctx_create(const struct bpf_crypto_params *params,
						    __u32 size, int *err) __ksym;
extern void bpf_crypto_ctx_release(struct bpf_crypto_ctx *crypto) __ksym;
extern int bpf_crypto_encrypt(struct bpf_crypto_ctx *crypto, const struct bpf_dynptr *from,
			      const struct bpf_dynptr *to, const struct bpf_dynptr *begin) __ksym;
extern int bpf_crypto_decrypt(struct bpf_crypto_ctx *crypto, const struct bpf_dynptr *from,
			      const struct bpf_dynptr *to, const struct bpf_dynptr *begin) __ksym;

struct kept {
	__u64 before;
	struct bpf_crypto_ctx __kptr *crypto;
	__u64 after;
};

/* In blocks of their own, and chained. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct kept);
} contexts SEC(".maps");

#define BLOCK 16

struct bpf_crypto_params params;
/* FIPS 197, appendix C.1. */
const __u8 plain[BLOCK] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
			   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
const __u8 crypted[BLOCK] = {0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
			     0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
__u8 from[2 * BLOCK], to[2 * BLOCK], begin[BLOCK];
__s64 result[16];

static __always_inline int keep(__u32 key, const char *algo)
{
	struct kept *k = bpf_map_lookup_elem(&contexts, &key);
	struct bpf_crypto_ctx *crypto;
	int err = 0;

	if (!k)
		return 1;
	__builtin_memset(&params, 0, sizeof(params));
	__builtin_memcpy(params.type, "skcipher", 9);
	__builtin_memcpy(params.algo, algo, 9);
	for (int i = 0; i < BLOCK; i++)
		params.key[i] = i;
	params.key_len = BLOCK;
	crypto = bpf_crypto_ctx_create(&params, sizeof(params), &err);
	if (!crypto)
		return 2;
	crypto = bpf_kptr_xchg(&k->crypto, crypto);
	if (crypto)
		bpf_crypto_ctx_release(crypto);
	return 0;
}

SEC("syscall") int prepare(void *ctx)
{
	return keep(0, "ecb(aes)") ?: keep(1, "cbc(aes)");
}

static __always_inline struct bpf_crypto_ctx *context(__u32 key)
{
	struct kept *k = bpf_map_lookup_elem(&contexts, &key);

	return k ? k->crypto : NULL;
}

static __always_inline __s64 same(const __u8 *a, const __u8 *b)
{
	__s64 equal = 0;

	for (int i = 0; i < BLOCK; i++)
		equal += a[i] == b[i];
	return equal;
}

SEC("xdp") int crypt_memory(struct xdp_md *ctx)
{
	struct bpf_crypto_ctx *crypto = context(0);
	struct bpf_dynptr source, target;

	if (!crypto)
		return XDP_DROP;
	__builtin_memcpy(from, plain, BLOCK);
	bpf_dynptr_from_mem(from, BLOCK, 0, &source);
	bpf_dynptr_from_mem(to, BLOCK, 0, &target);
	result[0] = bpf_crypto_encrypt(crypto, &source, &target, NULL);
	result[1] = same(to, crypted);
	__builtin_memset(from, 0, BLOCK);
	result[2] = bpf_crypto_decrypt(crypto, &target, &source, NULL);
	result[3] = same(from, plain);
	/* Where it is, and of no whole block. */
	result[4] = bpf_crypto_encrypt(crypto, &source, &source, NULL);
	result[5] = same(from, crypted);
	bpf_dynptr_adjust(&source, 1, BLOCK);
	result[6] = bpf_crypto_encrypt(crypto, &source, &target, NULL);
	return result[1] + result[3] + result[5] == 3 * BLOCK ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp") int crypt_chained(struct xdp_md *ctx)
{
	struct bpf_crypto_ctx *crypto = context(1);
	struct bpf_dynptr source, target, vector;

	if (!crypto)
		return XDP_DROP;
	for (int i = 0; i < 2 * BLOCK; i++)
		from[i] = i;
	__builtin_memset(begin, 7, sizeof(begin));
	bpf_dynptr_from_mem(from, sizeof(from), 0, &source);
	bpf_dynptr_from_mem(to, sizeof(to), 0, &target);
	bpf_dynptr_from_mem(begin, sizeof(begin), 0, &vector);
	result[0] = bpf_crypto_encrypt(crypto, &source, &target, &vector);
	__builtin_memset(begin, 7, sizeof(begin));
	result[1] = bpf_crypto_decrypt(crypto, &target, &source, &vector);
	/* Without the vector that this one needs. */
	result[2] = bpf_crypto_encrypt(crypto, &source, &target, NULL);
	return result[0] || result[1] ? XDP_ABORTED : XDP_PASS;
}

SEC("xdp") int crypt_packet(struct xdp_md *ctx)
{
	struct bpf_crypto_ctx *crypto = context(0);
	struct bpf_dynptr packet, target;

	if (!crypto || bpf_dynptr_from_xdp(ctx, 0, &packet))
		return XDP_DROP;
	bpf_dynptr_from_mem(to, BLOCK, 0, &target);
	result[0] = bpf_dynptr_adjust(&packet, 18, 18 + BLOCK);
	/* Out of the packet, and in it. */
	result[1] = bpf_crypto_encrypt(crypto, &packet, &target, NULL);
	result[2] = bpf_crypto_encrypt(crypto, &packet, &packet, NULL);
	result[3] = bpf_dynptr_size(&packet);
	return result[1] || result[2] ? XDP_ABORTED : XDP_PASS;
}

char _license[] SEC("license") = "GPL";
