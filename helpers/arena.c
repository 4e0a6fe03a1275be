// SPDX-License-Identifier: GPL-2.0
/*
 * Arenas, seen a second time in the region (src/domain/arenas.rs). The kernel maps
 * an arena's pages as programs and user space ask for them, and unmaps them when they
 * are freed; what a domain sees follows. Page-table accessors are inlines and macros,
 * hence C.
 */
#include <linux/bpf.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/vmalloc.h>
#include "shims.h"

/* What is `at` bytes into the kernel's record of an arena. */
u64 bailey_arena_word(const struct bpf_map *map, unsigned int at)
{
	return READ_ONCE(*(u64 *)((char *)map + at));
}

static pte_t *region_entry(unsigned long addr)
{
	unsigned int level;
	pte_t *pte = lookup_address(addr, &level);

	return pte && level == PG_LEVEL_4K ? pte : NULL;
}

/*
 * The page that the kernel has at `kaddr` at `addr`, whose table is there, with a
 * reference of its own; not if it is `scratch`. Whether there is one. In any context; the
 * caller keeps bailey_arena_take() from running meanwhile.
 */
int bailey_arena_show(unsigned long kaddr, unsigned long addr, unsigned int key, u64 scratch)
{
	struct page *page = vmalloc_to_page((void *)kaddr);
	pte_t *pte = region_entry(addr);

	if (!page || (u64)page == scratch || !pte)
		return 0;
	if (pte_none(*pte))
		bailey_region_set_page(pte, page, key);
	return 1;
}

/*
 * What is seen of the `pages` pages at `addr` is seen no more: up to `room` of them go
 * to `list`, with the reference that each had. How many. In any context.
 */
unsigned int bailey_arena_take(unsigned long addr, unsigned long pages, struct page **list,
			       unsigned int room)
{
	struct mm_struct *mm = (struct mm_struct *)bailey_init_mm;
	unsigned int taken = 0;

	for (; pages && taken < room; pages--, addr += PAGE_SIZE) {
		pte_t *pte = region_entry(addr);

		if (!pte || !pte_present(*pte))
			continue;
		list[taken++] = pte_page(*pte);
		pte_clear(mm, addr, pte);
	}
	return taken;
}

/* The end of pages that were taken: no CPU has a translation of them when it returns. */
void bailey_arena_put(struct page **list, unsigned int taken)
{
	unsigned int i;

	if (!taken)
		return;
	bailey_k_flush_tlb_all();
	for (i = 0; i < taken; i++)
		put_page(list[i]);
	bailey_region_gone(taken);
}
