// SPDX-License-Identifier: GPL-2.0
/*
 * Page-table roots: the second layer, for domains that share a key (DESIGN 9.4).
 * A root is a top level of which the user half is empty. Of the kernel's half it
 * has the few entries that the way in and out needs: texts, what the CPU reads to
 * deliver an event, the per-CPU words of the gates, the resume slots. PKRS denies
 * all of that, as ever; and it is in use, so that its tables stay where they are
 * whatever memory comes and goes. Below the region's entry there is the one span
 * of the domain. Page-table accessors are inlines and macros, hence C.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <asm/cpu_entry_area.h>
#include <asm/cpufeature.h>
#include <asm/desc.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include "shims.h"

DECLARE_PER_CPU_ALIGNED(struct bailey_cpu, bailey_cpu);

/* A span is what one entry of the third level covers (src/pure/region.rs). */
static_assert(PUD_SIZE == 1UL << 30);

/*
 * The PCID of all roots. The kernel's are ASID + 1, and with that the same with
 * bit 11 for user mode (arch/x86/mm/tlb.c): it never uses bit 11 alone.
 */
#define ROOT_PCID	0x800UL

static void copy_top(pgd_t *root, unsigned long addr)
{
	struct mm_struct *mm = (struct mm_struct *)bailey_init_mm;

	root[pgd_index(addr)] = READ_ONCE(*pgd_offset(mm, addr));
}

static void copy_kernel(pgd_t *root)
{
	unsigned int cpu;

	/* The module's text; with it the kernel's and that of programs, 2 GiB in all. */
	copy_top(root, (unsigned long)bailey_enter);
	copy_top(root, (unsigned long)bailey_idt_base());
	for_each_possible_cpu(cpu) {
		copy_top(root, (unsigned long)&get_cpu_entry_area(cpu)->gdt);
		copy_top(root, (unsigned long)&get_cpu_entry_area(cpu)->tss);
		copy_top(root, (unsigned long)per_cpu_ptr(&bailey_cpu, cpu));
		copy_top(root, (unsigned long)&per_cpu(cpu_tss_rw, cpu));
		copy_top(root, per_cpu(bailey_cpu, cpu).slot_base);
	}
}

void bailey_root_free(struct bailey_root *root)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(root->tables); i++)
		free_page(root->tables[i]);
}

/*
 * What lies at `addr` in the region, a whole entry of the third level, is in the root if
 * `there`. It is of the row of the root's span (src/pure/region.rs), and so in the same
 * table. A CPU that is on the root may go on seeing what goes, until it next comes there
 * or every TLB is flushed.
 */
void bailey_root_show(struct bailey_root *root, unsigned long addr, int there)
{
	struct mm_struct *mm = (struct mm_struct *)bailey_init_mm;
	p4d_t *p4d = p4d_offset(pgd_offset(mm, addr), addr);
	pud_t *entry = (pud_t *)root->tables[1] + pud_index(addr);
	pud_t pud = there && !p4d_none(*p4d) ? READ_ONCE(*pud_offset(p4d, addr)) : __pud(0);

	if (pud_val(*entry) != pud_val(pud))
		WRITE_ONCE(*entry, pud);
}

/* A root for the domain with the span at `span`, some of which is mapped. */
int bailey_root_make(struct bailey_root *root, unsigned long span)
{
	struct mm_struct *mm = (struct mm_struct *)bailey_init_mm;
	p4d_t *p4d = p4d_offset(pgd_offset(mm, span), span);
	pud_t *pud = p4d_none(*p4d) ? NULL : pud_offset(p4d, span);
	unsigned long *tables = root->tables;
	pgd_t *top;
	int i;

	if (!pud || pud_none(*pud) || pud_leaf(*pud))
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(root->tables); i++) {
		tables[i] = get_zeroed_page(GFP_KERNEL);
		if (!tables[i]) {
			bailey_root_free(root);
			return -ENOMEM;
		}
	}
	top = (pgd_t *)tables[0];
	copy_kernel(top);
	((pud_t *)tables[1])[pud_index(span)] = READ_ONCE(*pud);
	if (pgtable_l5_enabled()) {
		((p4d_t *)tables[2])[p4d_index(span)] = __p4d(_KERNPG_TABLE | __pa(tables[1]));
		top[pgd_index(span)] = __pgd(_KERNPG_TABLE | __pa(tables[2]));
	} else {
		top[pgd_index(span)] = __pgd(_KERNPG_TABLE | __pa(tables[1]));
	}
	root->cr3 = __sme_pa(top);
	if (cpu_feature_enabled(X86_FEATURE_PCID))
		root->cr3 |= ROOT_PCID;
	return 0;
}
