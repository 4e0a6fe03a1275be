// SPDX-License-Identifier: GPL-2.0
/* Inlines and bit-fields around programs and the module itself. */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/filter.h>
#include <linux/irqflags.h>
#include <linux/timekeeping.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched/task_stack.h>
#include <net/xdp.h>
#include <asm/ibt.h>
#include "shims.h"

/* The kernel's IDT entries, by vector: where the stubs go on to (event.S). */
u64 bailey_event_handlers[256];

/* Where the stubs of all vectors are, and how many bytes: set by src/event/stubs.rs. */
u64 bailey_event_text, bailey_event_text_size;

typedef u64 (*helper_fn)(u64, u64, u64, u64, u64);

u64 bailey_call_helper(u64 func, const u64 *args)
{
	return ((helper_fn)func)(args[0], args[1], args[2], args[3], args[4]);
}

struct module *bailey_this_module(void)
{
	return THIS_MODULE;
}

void bailey_module_get(void)
{
	__module_get(THIS_MODULE);
}

void bailey_prog_request_jit(struct bpf_prog *prog, int on)
{
	prog->jit_requested = on;
}

/*
 * Where the values of `map` are, if it is an array or a jump table. An array's have pages to
 * themselves if it was laid out for mmap (array_map_alloc,
 * kernel/bpf/arraymap.c); values with fields that the kernel trusts (timers,
 * kptrs, locks) are never for programs to write unmediated.
 */
enum bailey_values_kind bailey_map_values(struct bpf_map *map, struct bailey_values *values)
{
	struct bpf_array *array;

	if (map->map_type == BPF_MAP_TYPE_INSN_ARRAY) {
		if (map->ops->map_direct_value_addr(map, &values->start, 0))
			return BAILEY_VALUES_NONE;
		values->stride = sizeof(long);
		values->len = (u64)values->stride * map->max_entries;
		values->writable = 0;
		return BAILEY_VALUES_TABLE;
	}
	if (map->map_type != BPF_MAP_TYPE_ARRAY)
		return BAILEY_VALUES_NONE;
	array = container_of(map, struct bpf_array, map);
	values->len = (u64)array->elem_size * map->max_entries;
	values->stride = array->elem_size;
	values->writable = !(map->map_flags & BPF_F_RDONLY_PROG);
	values->start = (u64)array->value;
	if (!PAGE_ALIGNED(array->value) || !is_vmalloc_addr(array->value) ||
	    !IS_ERR_OR_NULL(map->record))
		return BAILEY_VALUES_MIXED;
	return BAILEY_VALUES_PAGES;
}

/* The program in slot `index` of a prog array, or NULL. */
struct bpf_prog *bailey_prog_array_entry(struct bpf_map *map, u32 index)
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);

	if (index >= array->map.max_entries)
		return NULL;
	return READ_ONCE(array->ptrs[index]);
}

/*
 * Where tail calls enter a program, counted from its start: X86_TAIL_CALL_OFFSET,
 * which arch/x86/net/bpf_jit_comp.c keeps to itself. The image check finds the
 * program's own there (src/load/image.rs).
 */
const u32 bailey_tail_entry = 12 + ENDBR_INSN_SIZE;

u64 bailey_tail_address(struct bpf_prog *prog)
{
	return (u64)prog->bpf_func + bailey_tail_entry;
}

/* The kernel's per-CPU hardirq_stack_ptr, set by src/ksym.rs. */
unsigned long bailey_hardirq_stack_ptr;

/*
 * How many bytes of the stack that this CPU is on are left, 0 if it is neither
 * a task's nor that of interrupts.
 */
u64 bailey_stack_left(void)
{
	unsigned long sp = current_stack_pointer, base;

	base = (unsigned long)task_stack_page(current);
	if (sp - base < THREAD_SIZE)
		return sp - base;
	/* It points to the uppermost word (map_irq_stack(), arch/x86/kernel/irq_64.c). */
	base = raw_cpu_read(*(unsigned long __percpu *)bailey_hardirq_stack_ptr);
	base -= IRQ_STACK_SIZE - sizeof(long);
	if (sp - base < IRQ_STACK_SIZE)
		return sp - base;
	return 0;
}

/* What CPU number `cpu` has of the per-CPU memory `ptr`; 0 if it never comes. */
u64 bailey_per_cpu_address(u64 ptr, u32 cpu)
{
	return cpu_possible(cpu) ? (u64)per_cpu_ptr((void __percpu *)ptr, cpu) : 0;
}

u64 bailey_now(void)
{
	return ktime_get_boot_fast_ns();
}

u32 bailey_cpu_number(void)
{
	return raw_smp_processor_id();
}

/* How long the packet of an xdp_buff is, with all of its pages. */
u32 bailey_xdp_len(u64 ctx)
{
	return xdp_get_buff_len((struct xdp_buff *)ctx);
}

/* For an aborted run: what the kfuncs of these names do. */
u64 bailey_rcu_read_unlock(void)
{
	rcu_read_unlock();
	return 0;
}

u64 bailey_preempt_enable(void)
{
	preempt_enable();
	return 0;
}

unsigned long bailey_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void bailey_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}
