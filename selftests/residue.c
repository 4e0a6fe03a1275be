// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the state of the kernel that the module changes while it is there:
 * the IDT, each CPU's CR4 (as the kernel shadows it), interrupt stacks, the
 * page-table entries of IDT and CPU entry area with their keys, and what user
 * mode's page tables map of the kernel's text. What is printed before the
 * module came must be printed after it has gone.
 */
#include "kernel_memory.h"

#include <bpf/btf.h>

#define IDT_ADDRESS 0xfffffe0000000000ull
#define PAGE_MASK_PHYS 0x000ffffffffff000ull
/* Accessed and dirty change by themselves. */
#define STABLE (~0x60ull)

static struct kcore kcore;
static struct btf *btf;
static __u64 direct_map, root;
static int levels;

enum { CPU_OFFSET, DIRECT_MAP, PAGE_TABLE, IDT, TSS, TLB_STATE, CEA_OFFSET };
static struct symbol symbols[] = {
	[CPU_OFFSET] = {"__per_cpu_offset", 0},
	[DIRECT_MAP] = {"page_offset_base", 0},
	[PAGE_TABLE] = {"init_top_pgt", 0},
	[IDT] = {"idt_table", 0},
	[TSS] = {"cpu_tss_rw", 0},
	[TLB_STATE] = {"cpu_tlbstate", 0},
	[CEA_OFFSET] = {"_cea_offset", 0},
};

static const struct btf_type *structure(const char *name)
{
	int id = btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT);

	if (id < 0)
		die("no struct %s", name);
	return btf__type_by_id(btf, id);
}

static __u32 offset_of(const char *type, const char *member)
{
	const struct btf_type *t = structure(type);

	for (int i = 0; i < btf_vlen(t); i++)
		if (!strcmp(btf__name_by_offset(btf, btf_members(t)[i].name_off), member))
			return btf_member_bit_offset(t, i) / 8;
	die("no %s in struct %s", member, type);
}

/* The leaf entry that maps the address, 0 when nothing does. */
static __u64 page_entry(__u64 address)
{
	__u64 table = root, entry = 0;

	for (int level = levels; level > 0; level--) {
		__u64 index = address >> (12 + 9 * (level - 1)) & 511;

		entry = read_kernel(&kcore, table + index * 8);
		if (!(entry & 1))
			return 0;
		if (entry & 0x80 && level > 1)
			break;
		table = direct_map + (entry & PAGE_MASK_PHYS);
	}
	return entry & STABLE;
}

struct leaves {
	__u64 count, writable, hash;
};

/* What a table of this level maps. */
static void add_leaves(struct leaves *l, __u64 table, int level)
{
	for (int index = 0; index < 512; index++) {
		__u64 entry = read_kernel(&kcore, table + index * 8) & STABLE;

		if (!(entry & 1))
			continue;
		l->hash = hash_bytes(l->hash, &index, sizeof(index));
		l->hash = hash_bytes(l->hash, &entry, sizeof(entry));
		if (level > 1 && !(entry & 0x80)) {
			add_leaves(l, direct_map + (entry & PAGE_MASK_PHYS), level - 1);
		} else {
			l->count++;
			l->writable += entry >> 1 & 1;
		}
	}
}

/*
 * The last top-level entry, that of the kernel's and the modules' text, in the
 * page tables of user mode, which lie behind the kernel's. Empty without
 * page-table isolation (arch/x86/mm/pti.c); with five levels the CPU entry area
 * is in it, too.
 */
static void print_user_tree(void)
{
	__u64 entry = read_kernel(&kcore, root + 4096 + 511 * 8) & STABLE;
	struct leaves l = {.hash = hash_bytes(HASH_START, &entry, sizeof(entry))};

	if (entry & 1)
		add_leaves(&l, direct_map + (entry & PAGE_MASK_PHYS), levels - 1);
	printf("user text %llu writable %llu entries %llx\n", l.count, l.writable, l.hash);
}

static void print_cpu(int cpu, __u64 offset)
{
	__u64 tss = symbols[TSS].address + offset + offset_of("tss_struct", "x86_tss") +
		    offset_of("x86_hw_tss", "ist");
	__u64 size = structure("cpu_entry_area")->size, hash = HASH_START, keys = 0;
	__u64 area = IDT_ADDRESS + 4096 + read_kernel(&kcore, symbols[CEA_OFFSET].address + offset) * size;

	printf("cpu %d cr4 %llx ist", cpu,
	       read_kernel(&kcore, symbols[TLB_STATE].address + offset + offset_of("tlb_state", "cr4")));
	for (int i = 0; i < 7; i++)
		printf(" %llx", read_kernel(&kcore, tss + 8 * i));
	for (__u64 page = area; page < area + size; page += 4096) {
		__u64 entry = page_entry(page);

		hash = hash_bytes(hash, &entry, sizeof(entry));
		keys += (entry >> 59 & 15) != 0;
	}
	printf(" entries %llx tagged %llu\n", hash, keys);
}

int main(void)
{
	__u64 offsets, idt = HASH_START, idt_entry;

	btf = btf__load_vmlinux_btf();
	if (!btf)
		die("BTF: %s", strerror(errno));
	kcore = open_kcore();
	find_symbols(symbols, ARRAY_SIZE(symbols), NULL, NULL);
	offsets = symbols[CPU_OFFSET].address;
	direct_map = read_kernel(&kcore, symbols[DIRECT_MAP].address);
	root = symbols[PAGE_TABLE].address;
	/* With five levels, addresses have 57 bits. */
	levels = direct_map >> 48 == 0xffff ? 4 : 5;
	for (__u64 at = symbols[IDT].address; at < symbols[IDT].address + 4096; at += 8) {
		__u64 word = read_kernel(&kcore, at);

		idt = hash_bytes(idt, &word, sizeof(word));
	}
	idt_entry = page_entry(IDT_ADDRESS);
	if (!idt_entry)
		die("the IDT's page is not found");
	printf("idt %llx entry %llx key %llu\n", idt, idt_entry, idt_entry >> 59 & 15);
	print_user_tree();
	for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
		__u64 offset = read_kernel(&kcore, offsets + 8 * cpu);

		if (offset)
			print_cpu(cpu, offset);
	}
	return 0;
}
