// SPDX-License-Identifier: GPL-2.0
/*
 * Page-table isolation: the user tree is what the CPU runs user mode on, and
 * the first instructions of every event that meets it there, up to the load of
 * CR3 in the kernel's own entry. So the event stubs must be mapped there too.
 * Page-table accessors are inlines and macros, hence C.
 *
 * Every process has a top level of its own; below that the kernel's half is
 * shared, and the top-level entry of the modules' text is that of the entry
 * text, there since boot (arch/x86/mm/pti.c). So one change reaches all. After
 * boot nobody but us writes there.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/vmalloc.h>
#include <asm/cpufeature.h>
#include "shims.h"

/*
 * The tables that we added: at most one border of a table of each of two
 * levels lies within the text.
 */
static struct {
	u64 *entry;
	unsigned long table;
} added[4];
static unsigned int nr_added;

int bailey_user_tree_exists(void)
{
	return boot_cpu_has(X86_FEATURE_PTI);
}

/* Fills an empty entry of an upper level with a new table. */
static bool add_table(u64 *entry)
{
	unsigned long table;

	if (nr_added == ARRAY_SIZE(added))
		return false;
	table = get_zeroed_page(GFP_KERNEL);
	if (!table)
		return false;
	added[nr_added].entry = entry;
	added[nr_added].table = table;
	nr_added++;
	WRITE_ONCE(*entry, _KERNPG_TABLE | __pa(table));
	return true;
}

/* The entry of `addr` in the user tree, with tables added if `add`. */
static pte_t *walk(unsigned long addr, bool add)
{
	pgd_t *pgd = kernel_to_user_pgdp(pgd_offset((struct mm_struct *)bailey_init_mm, addr));
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) && !(add && add_table((u64 *)pud)))
		return NULL;
	if (pud_leaf(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	if (pmd_none(*pmd) && !(add && add_table((u64 *)pmd)))
		return NULL;
	if (pmd_leaf(*pmd))
		return NULL;
	return pte_offset_kernel(pmd, addr);
}

/*
 * Map pages of the kernel's text in the user tree as well, executable and
 * read-only. 4 KiB entries, even if the kernel has a larger one: of what lies
 * beside, nothing is to be seen from user mode. Never global, unlike the
 * kernel's entry text: a CPU with a global 4 KiB entry would find that and the
 * kernel's own larger one for the same address.
 */
int bailey_user_tree_map(unsigned long addr, unsigned int pages)
{
	unsigned int n;

	for (n = 0; n < pages; n++) {
		struct page *page = vmalloc_to_page((void *)addr + n * PAGE_SIZE);
		pte_t *pte = walk(addr + n * PAGE_SIZE, true);

		if (!page || !pte || !pte_none(*pte)) {
			bailey_user_tree_unmap(addr, n);
			return !page ? -EINVAL : !pte ? -ENOMEM : -EBUSY;
		}
		set_pte(pte, __pte(pte_val(mk_pte(page, PAGE_KERNEL_ROX)) & ~_PAGE_GLOBAL));
	}
	return 0;
}

/*
 * Take these pages and our tables away. The flush reaches every PCID, those of
 * user mode too, and what CPUs keep of upper levels.
 */
void bailey_user_tree_unmap(unsigned long addr, unsigned int pages)
{
	unsigned int n;

	for (n = 0; n < pages; n++) {
		pte_t *pte = walk(addr + n * PAGE_SIZE, false);

		if (pte)
			set_pte(pte, __pte(0));
	}
	for (n = nr_added; n--;)
		WRITE_ONCE(*added[n].entry, 0);
	bailey_k_flush_tlb_all();
	while (nr_added)
		free_page(added[--nr_added].table);
}
