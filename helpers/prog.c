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
#include <net/xdp.h>
#include "shims.h"

/* The kernel's IDT entries, by vector: where the stubs go on to (event.S). */
u64 bailey_event_handlers[256];

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
	values->start = (u64)array->value;
	values->len = (u64)array->elem_size * map->max_entries;
	values->stride = array->elem_size;
	values->writable = !(map->map_flags & BPF_F_RDONLY_PROG);
	if (!PAGE_ALIGNED(array->value) || !is_vmalloc_addr(array->value) ||
	    !IS_ERR_OR_NULL(map->record))
		return BAILEY_VALUES_MIXED;
	return BAILEY_VALUES_PAGES;
}

/* The offset of the bpf_spin_lock in the values of `map`, or all ones. */
u32 bailey_map_lock(const struct bpf_map *map)
{
	if (IS_ERR_OR_NULL(map->record) || !btf_record_has_field(map->record, BPF_SPIN_LOCK))
		return U32_MAX;
	return map->record->spin_lock_off;
}

static int record_has_fields(const struct btf_record *record)
{
	int i;

	for (i = 0; !IS_ERR_OR_NULL(record) && i < record->cnt; i++) {
		if (record->fields[i].type != BPF_SPIN_LOCK)
			return 1;
	}
	return 0;
}

/*
 * Whether values of `map`, or of the maps in it, hold anything but a
 * bpf_spin_lock that the kernel trusts: timers, kptrs, lists, ...
 */
int bailey_map_has_fields(const struct bpf_map *map)
{
	return record_has_fields(map->record) ||
	       (map->inner_map_meta && record_has_fields(map->inner_map_meta->record));
}

/* Whether `len` bytes at `offset` from the first value touch no field of the kernel's. */
int bailey_map_spares(const struct bpf_map *map, u64 offset, u64 len)
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);
	u64 at = offset % array->elem_size;
	int i;

	if (IS_ERR_OR_NULL(map->record))
		return 1;
	if (at + len > array->elem_size)
		return 0;
	for (i = 0; i < map->record->cnt; i++) {
		const struct btf_field *field = &map->record->fields[i];

		if (at < field->offset + field->size && field->offset < at + len)
			return 0;
	}
	return 1;
}

/* The program in slot `index` of a prog array, or NULL. */
struct bpf_prog *bailey_prog_array_entry(struct bpf_map *map, u32 index)
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);

	if (index >= array->map.max_entries)
		return NULL;
	return READ_ONCE(array->ptrs[index]);
}

u32 bailey_run_prog(struct bpf_prog *prog, u64 ctx)
{
	return prog->bpf_func((void *)ctx, prog->insnsi);
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
