// SPDX-License-Identifier: GPL-2.0
/* Arenas: memory of 32 bits of addresses that programs and user space have in common. */
#include "corpus.h"
#include "arena.h"

__u64 result[16];

/* In the arena's first pages: libbpf lays them there. */
__u64 __attribute__((address_space(1))) total;
__u32 __attribute__((address_space(1))) counts[2000] = {1, 2, 3};

SEC("xdp") int arena_globals(struct xdp_md *ctx)
{
	__u32 size = packet_size(ctx);

	total += size;
	counts[size % 2000]++;
	result[0] = total;
	result[1] = counts[size % 2000] + counts[1];
	return XDP_PASS;
}

SEC("xdp") int arena_alloc(struct xdp_md *ctx)
{
	__u64 __arena *page = arena_pages(900, 2);
	__u64 __arena *again;

	again = arena_pages(901, 1);
	result[0] = (__u64)(void *)page;
	result[1] = again != NULL;
	if (page) {
		result[2] = page[0] + page[600];
		page[0] = 1;
		page[600] = packet_size(ctx);
		result[3] = page[0] + page[600];
	}
	page = arena_pages(-1, 3);
	if (!page)
		return XDP_DROP;
	page[3 * PAGE / 8 - 1] = 7;
	result[4] = page[3 * PAGE / 8 - 1];
	/* More than there is, a page that is none, flags that are none. */
	result[5] = arena_pages(-1, ARENA_PAGES + 1) != NULL;
	result[6] = bpf_arena_alloc_pages(&arena, (void __arena *)(ARENA_AT + 8), 1, -1, 0) != NULL;
	result[7] = bpf_arena_alloc_pages(&arena, NULL, 1, -1, 1) != NULL;
	return XDP_PASS;
}

/* Another page each time: when one that was given back may be had again is anybody's guess. */
SEC("xdp") int arena_free(struct xdp_md *ctx)
{
	__u64 __arena *page = arena_pages(600 + result[2]++ % 100, 1);

	if (!page)
		return XDP_DROP;
	result[0] += page[5];
	page[5] = packet_size(ctx);
	result[1] += page[5];
	bpf_arena_free_pages(&arena, (void __arena *)page, 1);
	return XDP_PASS;
}

SEC("xdp") int arena_reserve(struct xdp_md *ctx)
{
	result[0] = bpf_arena_reserve_pages(&arena, arena_page(500), 10);
	result[1] = bpf_arena_reserve_pages(&arena, arena_page(505), 1);
	result[2] = bpf_arena_reserve_pages(&arena, arena_page(ARENA_PAGES), 1);
	result[3] = arena_pages(502, 1) != NULL;
	return XDP_PASS;
}

/* Every width, with and without a sign, from registers and immediates. */
SEC("xdp") CPU_V4 int arena_widths(struct xdp_md *ctx)
{
	volatile char __arena *at = arena_pages(-1, 1);
	__u32 size = packet_size(ctx);

	if (!at)
		return XDP_DROP;
	*(volatile __u64 __arena *)at = 0x8182838485868788ull * size;
	result[0] = *(volatile __u8 __arena *)(at + 1);
	result[1] = *(volatile __u16 __arena *)(at + 2);
	result[2] = *(volatile __u32 __arena *)(at + 3);
	result[3] = *(volatile __u64 __arena *)at;
	result[4] = (__s64)*(volatile __s8 __arena *)(at + 1);
	result[5] = (__s64)*(volatile __s16 __arena *)(at + 2);
	result[6] = (__s64)*(volatile __s32 __arena *)(at + 3);
	*(volatile __u8 __arena *)(at + 100) = size;
	*(volatile __u16 __arena *)(at + 110) = size;
	*(volatile __u32 __arena *)(at + 120) = size;
	*(volatile __u8 __arena *)(at + 101) = 0x91;
	*(volatile __u16 __arena *)(at + 112) = 0x9192;
	*(volatile __u32 __arena *)(at + 124) = 0x91929394;
	*(volatile __u64 __arena *)(at + 128) = -2;
	for (int i = 96; i < 144; i += 8)
		result[7] = result[7] * 31 + *(volatile __u64 __arena *)(at + i);
	/* Over the end of a page. */
	at = arena_pages(-1, 2);
	if (!at)
		return XDP_DROP;
	*(volatile __u64 __arena *)(at + PAGE - 3) = 0x1122334455667788;
	result[8] = *(volatile __u32 __arena *)(at + PAGE - 1);
	return XDP_PASS;
}

SEC("xdp") int arena_atomics(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(-1, 1);
	__u32 __arena *narrow;
	__u64 size = packet_size(ctx);

	if (!at)
		return XDP_DROP;
	narrow = (__u32 __arena *)(at + 100);
	at[0] = 0xff00ff00ff00ff00;
	__sync_fetch_and_add(&at[0], size);
	result[0] = __sync_fetch_and_add(&at[0], 1);
	__sync_fetch_and_and(&at[0], 0xfff0fff0fff0fff0);
	__sync_fetch_and_or(&at[0], size);
	__sync_fetch_and_xor(&at[0], 0x1111);
	result[1] = at[0];
	result[2] = __sync_val_compare_and_swap(&at[1], 0, size);
	result[3] = __sync_val_compare_and_swap(&at[1], 0, 77);
	result[4] = __sync_lock_test_and_set(&at[1], 5);
	result[5] = at[1];
	result[6] = __sync_fetch_and_add(narrow, size);
	result[7] = __sync_val_compare_and_swap(narrow, size, 9);
	result[8] = *narrow;
	return XDP_PASS;
}

struct node {
	__u64 number;
	struct node __arena *next;
};

/* A list by pointers that user space can follow, too. */
SEC("xdp") int arena_list(struct xdp_md *ctx)
{
	struct node __arena *node = arena_pages(-1, 1);
	struct node __arena *head = NULL;
	__u64 sum = 0;

	if (!node)
		return XDP_DROP;
	for (int i = 0; i < 60; i++) {
		node[i].number = i + packet_size(ctx);
		node[i].next = head;
		head = &node[i];
	}
	result[1] = (__u64)(void *)head;
	for (int i = 0; i < 100 && head; i++) {
		sum = sum * 7 + head->number;
		head = head->next;
	}
	result[0] = sum;
	return XDP_PASS;
}

/* The kernel ends the loop, if it takes too long; its count is not in a register here. */
SEC("xdp") int arena_loop(struct xdp_md *ctx)
{
	__u64 __arena *at = arena_pages(-1, 1);
	__u64 zero = 0;

	if (!at)
		return XDP_DROP;
	opaque(zero);
	at[0] = loop_to(zero, 1000);
	result[0] = at[0];
	at[1] = loop_to(zero, packet_size(ctx));
	result[1] = at[1];
	return XDP_PASS;
}

/* Where nothing is, loads are 0 and stores nothing. */
SEC("xdp") int arena_missing(struct xdp_md *ctx)
{
	/* There from the first run on. */
	__u64 __arena *page = arena_pages(810, 1);
	__u64 __arena *at = arena_page(800);
	volatile __u64 __arena *null = NULL;

	result[0] = at[3];
	at[3] = 5;
	result[1] = at[3];
	result[2] = __sync_fetch_and_add(&at[3], 7);
	result[3] = __sync_val_compare_and_swap(&at[3], 7, 8);
	result[4] = __sync_lock_test_and_set(&at[3], 5);
	__sync_fetch_and_or(&at[3], 6);
	*(volatile __u8 __arena *)at = 9;
	result[5] = *(volatile __u8 __arena *)at;
	result[6] = null[1];
	null[1] = 3;
	/* Half of it is there. */
	page = arena_page(810);
	page[0] = -1;
	page[PAGE / 8 - 1] = -1;
	result[7] = *(volatile __u64 __arena *)((char __arena *)page + PAGE - 4);
	result[8] = *(volatile __u64 __arena *)((char __arena *)page - 4);
	return XDP_PASS;
}

/* The packet comes and goes as ever. */
SEC("xdp") int arena_packet(struct xdp_md *ctx)
{
	__u8 __arena *copy = arena_pages(-1, 1);
	__u8 *from = packet_at(ctx, 14, 40);

	if (!from || !copy)
		return XDP_DROP;
	for (int i = 0; i < 40; i++)
		copy[i] = from[i];
	for (int i = 0; i < 40; i++)
		from[i] = copy[39 - i];
	return XDP_TX;
}

char _license[] SEC("license") = "GPL";
