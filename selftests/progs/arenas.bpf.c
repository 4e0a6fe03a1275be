// SPDX-License-Identifier: GPL-2.0
/* An arena, word by word, as the runner orders it (arenas.c). */
#include "corpus.h"
#include "arena.h"
#include "arenas.h"

struct shared shared;

static __always_inline __u64 __arena *word_at(void)
{
	return (__u64 __arena *)arena_page(shared.order.page) + (shared.order.word & (WORDS - 1));
}

SEC("xdp") int get(struct xdp_md *ctx)
{
	/* So that the verifier knows of the arena. */
	shared.order.count = shared.order.count ? shared.order.count : bpf_arena_reserve_pages(&arena, NULL, 0);
	shared.order.got = *word_at();
	return XDP_PASS;
}

SEC("xdp") int put(struct xdp_md *ctx)
{
	shared.order.count = shared.order.count ? shared.order.count : bpf_arena_reserve_pages(&arena, NULL, 0);
	*word_at() = shared.order.value;
	return XDP_PASS;
}

SEC("xdp") int take(struct xdp_md *ctx)
{
	shared.order.got = (__u64)arena_pages(shared.order.page, shared.order.count);
	return XDP_PASS;
}

SEC("xdp") int give(struct xdp_md *ctx)
{
	bpf_arena_free_pages(&arena, arena_page(shared.order.page), shared.order.count);
	return XDP_PASS;
}

/*
 * Takes the next of the pages, if it is to be had, writes all over it, and gives back
 * the one that it took half a round ago.
 */
SEC("xdp") int churn(struct xdp_md *ctx)
{
	__u64 turn = shared.churned.turns++, number = turn % CHURNED;
	__u64 __arena *page = arena_pages(number, 1);

	if (page) {
		shared.churned.taken++;
		for (int i = 0; i < WORDS; i += 8)
			page[i] = CHURN_WORD | number;
	}
	bpf_arena_free_pages(&arena, arena_page((turn + CHURNED / 2) % CHURNED), 1);
	return XDP_PASS;
}

/* What is in one of these pages meanwhile: nothing, or what belongs there. */
SEC("xdp") int watch(struct xdp_md *ctx)
{
	__u64 number = bpf_get_prandom_u32() % CHURNED;
	__u64 __arena *page = arena_page(number);

	shared.watched.taken |= bpf_arena_reserve_pages(&arena, NULL, 0);
	for (int i = 0; i < WORDS; i += 8) {
		__u64 word = page[i];

		if (!word) {
			/* Nothing is there: that is slow to find out. */
			shared.watched.empty++;
			break;
		}
		if (word == (CHURN_WORD | number)) {
			shared.watched.seen++;
			/* The same once more. */
			page[i] = word;
		} else {
			shared.watched.strange++;
			shared.watched.example = word;
		}
	}
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
