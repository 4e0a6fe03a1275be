// SPDX-License-Identifier: GPL-2.0
/*
 * Page tables: keys on pages, and the region (DESIGN section 5). Page-table
 * accessors are inlines and macros, hence C.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/vmalloc.h>
#include <asm/cpu_entry_area.h>
#include "shims.h"

/* Bits 59 to 62 of a leaf entry (SDM vol. 3, 4.6.2). */
#define KEY_BITS(key) ((pteval_t)(key) << _PAGE_BIT_PKEY_BIT0)
#define KEY_MASK KEY_BITS(15)

/* The kernel's page tables: not exported, found by src/ksym.rs. */
unsigned long bailey_init_mm;

/* Give the 4 KiB kernel page at `addr` a key. The caller flushes. */
int bailey_page_set_key(unsigned long addr, unsigned int key)
{
	unsigned int level;
	pte_t *pte = lookup_address(addr, &level);

	if (!pte || level != PG_LEVEL_4K || !pte_present(*pte))
		return -ENOENT;
	set_pte(pte, __pte((pte_val(*pte) & ~KEY_MASK) | KEY_BITS(key)));
	return 0;
}

/* A second, writable mapping of a page that is mapped read-only. */
void *bailey_page_alias(unsigned long addr)
{
	unsigned int level;
	pte_t *pte = lookup_address(addr, &level);
	struct page *page;
	void *map;

	if (!pte || level != PG_LEVEL_4K || !pte_present(*pte))
		return NULL;
	page = pte_page(*pte);
	map = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	return map ? map + offset_in_page(addr) : NULL;
}

void bailey_page_unalias(void *alias)
{
	vunmap((void *)((unsigned long)alias & PAGE_MASK));
}

/*
 * One whole top-level entry of the vmalloc area, so that a comparison of an
 * address's top bits decides what is ours. Its top-level entry is shared by
 * all processes from boot on (preallocate_vmalloc_pages).
 */
unsigned long bailey_region_reserve(void **area)
{
	struct vm_struct *vm;

	vm = bailey_k___get_vm_area_node(PGDIR_SIZE, PGDIR_SIZE, PAGE_SHIFT,
					 VM_SPARSE | VM_NO_GUARD, VMALLOC_START, VMALLOC_END,
					 NUMA_NO_NODE, GFP_KERNEL, __builtin_return_address(0));
	if (!vm)
		return 0;
	*area = vm;
	return (unsigned long)vm->addr;
}

void bailey_region_release(void *area)
{
	free_vm_area(area);
}

static pte_t region_pte(struct page *page, unsigned int key)
{
	pteval_t val = pte_val(mk_pte(page, PAGE_KERNEL));

#ifdef BAILEY_BREACH
	/* The control; where page tables are isolated no entry is global. */
	if (READ_ONCE(bailey_test_undefended) & BAILEY_WITHOUT_LOCAL)
		return __pte(((val | _PAGE_GLOBAL) & ~KEY_MASK) | KEY_BITS(key));
#endif
	/* Never global: a global entry outlives the switch to another domain's root. */
	return __pte((val & ~(pteval_t)_PAGE_GLOBAL & ~KEY_MASK) | KEY_BITS(key));
}

/* Pages that are mapped in the region: of frames, of maps' values, of arenas. */
static atomic_long_t mapped = ATOMIC_LONG_INIT(0);

unsigned long bailey_region_pages(void)
{
	return atomic_long_read(&mapped);
}

/* `page`, with a reference of its own, in an entry of the region that has none. */
void bailey_region_set_page(pte_t *pte, struct page *page, unsigned int key)
{
	get_page(page);
	atomic_long_inc(&mapped);
	set_pte(pte, region_pte(page, key));
}

/* So many pages are mapped no more. */
void bailey_region_gone(unsigned int pages)
{
	atomic_long_sub(pages, &mapped);
}

struct map_args {
	unsigned int key;
	struct page *page;
	bool read_only;
};

static int map_missing(pte_t *pte, unsigned long addr, void *data)
{
	struct map_args *args = data;
	struct page *page;

	if (pte_present(*pte))
		return 0;
	page = alloc_page(GFP_ATOMIC | __GFP_NOWARN | __GFP_ZERO);
	if (!page)
		return -ENOMEM;
	set_pte(pte, region_pte(page, args->key));
	atomic_long_inc(&mapped);
	return 0;
}

static int map_nothing(pte_t *pte, unsigned long addr, void *data)
{
	return 0;
}

static int map_given(pte_t *pte, unsigned long addr, void *data)
{
	struct map_args *args = data;

	pte_t val = region_pte(args->page, args->key);

	get_page(args->page);
	atomic_long_inc(&mapped);
	set_pte(pte, args->read_only ? pte_wrprotect(val) : val);
	return 0;
}

static int unmap_one(pte_t *pte, unsigned long addr, void *data)
{
	pte_clear((struct mm_struct *)bailey_init_mm, addr, pte);
	return 0;
}

static int put_one(pte_t *pte, unsigned long addr, void *data)
{
	struct page ***next = data;

	if (pte_present(*pte))
		*(*next)++ = pte_page(*pte);
	return 0;
}

/* Page tables for pages that come later. They stay. */
int bailey_region_prepare(unsigned long addr, unsigned long pages)
{
	return apply_to_page_range((struct mm_struct *)bailey_init_mm, addr, pages << PAGE_SHIFT,
				   map_nothing, NULL);
}

/*
 * Fresh zeroed pages, of this CPU's node, where there are none yet; the page tables
 * are there. In any context but an NMI's. After an error some of them are mapped:
 * they stay, since to take them back would need a flush.
 */
int bailey_region_fill(unsigned long addr, unsigned long pages, unsigned int key)
{
	struct map_args args = { .key = key };

	bailey_test_begin();
	return apply_to_page_range((struct mm_struct *)bailey_init_mm, addr, pages << PAGE_SHIFT,
				   map_missing, &args);
}

/*
 * The page behind `kaddr` at `addr`, with a reference of its own. Most are
 * vmalloc's; the first per-CPU memory lies in the direct map.
 */
int bailey_region_map_page(unsigned long addr, void *kaddr, unsigned int key, int writable)
{
	struct map_args args = {
		.key = key, .read_only = !writable,
		.page = is_vmalloc_addr(kaddr) ? vmalloc_to_page(kaddr) : virt_to_page(kaddr),
	};

	if (!args.page)
		return -EINVAL;
	return apply_to_page_range((struct mm_struct *)bailey_init_mm, addr, PAGE_SIZE,
				   map_given, &args);
}

static int key_one(pte_t *pte, unsigned long addr, void *data)
{
	struct map_args *args = data;

	if (pte_present(*pte))
		set_pte(pte, __pte((pte_val(*pte) & ~KEY_MASK) | KEY_BITS(args->key)));
	return 0;
}

/* Another key for mapped pages of the region, in use or not. The caller flushes. */
void bailey_region_set_key(unsigned long addr, unsigned long pages, unsigned int key)
{
	struct map_args args = { .key = key };

	/* What is mapped has its tables, so there is nothing that can fail. */
	apply_to_page_range((struct mm_struct *)bailey_init_mm, addr, pages << PAGE_SHIFT, key_one,
			    &args);
}

/*
 * Pages go back only after no CPU can hold a translation of them: flush_tlb_all
 * reaches every PCID, flush_tlb_kernel_range does not (DESIGN 9.4).
 */
void bailey_region_unmap(unsigned long addr, unsigned long pages)
{
	struct mm_struct *mm = (struct mm_struct *)bailey_init_mm;
	struct page **list, **next, **put;

	/* The first page was not mapped. */
	if (!pages)
		return;
	list = next = kvmalloc_array(pages, sizeof(*list), GFP_KERNEL | __GFP_NOFAIL);
	apply_to_page_range(mm, addr, pages << PAGE_SHIFT, put_one, &next);
	apply_to_page_range(mm, addr, pages << PAGE_SHIFT, unmap_one, NULL);
#ifdef BAILEY_BREACH
	if (!(READ_ONCE(bailey_test_undefended) & BAILEY_WITHOUT_FLUSH))
#endif
	bailey_k_flush_tlb_all();
	for (put = list; put < next; put++)
		put_page(*put);
	atomic_long_sub(next - list, &mapped);
	kvfree(list);
}

unsigned long bailey_cea_gdt(unsigned int cpu)
{
	return (unsigned long)&get_cpu_entry_area(cpu)->gdt;
}

unsigned long bailey_cea_tss(unsigned int cpu, unsigned int *pages)
{
	*pages = DIV_ROUND_UP(sizeof(struct tss_struct), PAGE_SIZE);
	return (unsigned long)&get_cpu_entry_area(cpu)->tss;
}

/* A page of ours, mapped with a key. */
void *bailey_keyed_page(unsigned int key, void **page)
{
	struct page *fresh = alloc_page(GFP_KERNEL | __GFP_ZERO);
	void *map;

	if (!fresh)
		return NULL;
	map = vmap(&fresh, 1, VM_MAP,
		   __pgprot((pgprot_val(PAGE_KERNEL) & ~(pteval_t)_PAGE_GLOBAL) | KEY_BITS(key)));
	if (!map) {
		__free_page(fresh);
		return NULL;
	}
	*page = fresh;
	return map;
}

void bailey_keyed_page_free(void *addr, void *page)
{
	vunmap(addr);
	bailey_k_flush_tlb_all();
	__free_page(page);
}
