/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What programs with an arena share: the arena, the kfuncs, and the casts, which clang
 * makes itself for pointers of its address space.
 */
#ifndef BAILEY_ARENA_H
#define BAILEY_ARENA_H

#define PAGE 4096
#define ARENA_PAGES 1000
/* Each run has it at the same addresses, so that pointers can be compared. */
#define ARENA_AT (1ull << 44 | 0x7000)

#define __arena __attribute__((address_space(1))) __attribute__((btf_type_tag("arena")))

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ARENA_PAGES);
	__ulong(map_extra, ARENA_AT);
} arena SEC(".maps");

void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 page_cnt, int node_id,
				    __u64 flags) __ksym;
void bpf_arena_free_pages(void *map, void __arena *ptr, __u32 page_cnt) __ksym;
int bpf_arena_reserve_pages(void *map, void __arena *addr, __u32 page_cnt) __ksym;

/* Page number `n` of the arena. */
#define arena_page(n) ((void __arena *)(ARENA_AT + (__u64)(n) * PAGE))

/* `pages` fresh pages, at page `n` if that is not negative. */
static __always_inline void __arena *arena_pages(int n, __u32 pages)
{
	return bpf_arena_alloc_pages(&arena, n < 0 ? NULL : arena_page(n), pages, -1, 0);
}

#endif
