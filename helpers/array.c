// SPDX-License-Identifier: GPL-2.0
/* Arrays with values for each CPU on pages of their own (src/domain/arrays.rs). */
#include <linux/bpf.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include "shims.h"

/*
 * Bytes that each CPU has of the values, or 0 if they are more than one piece of
 * per-CPU memory can be.
 */
u64 bailey_array_per_cpu_len(const union bpf_attr *attr)
{
	u64 len = (u64)round_up(attr->value_size, 8) * attr->max_entries;

	return len <= PCPU_MIN_UNIT_SIZE ? len : 0;
}

/*
 * `map` is a fresh array with values as large as pointers. It becomes one with
 * values of `value_size` bytes for each CPU: array_map_alloc() lays both out in the
 * same way (kernel/bpf/arraymap.c). The values are one piece of per-CPU memory
 * that has its pages to itself, in place of a piece for each value.
 */
int bailey_array_make_per_cpu(struct bpf_map *map, u32 value_size)
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);
	u32 elem_size = round_up(value_size, 8), i;
	size_t len = PAGE_ALIGN((size_t)elem_size * map->max_entries);
	void __percpu *values;

	values = bailey_k_bpf_map_alloc_percpu(map, len, PAGE_SIZE, GFP_USER | __GFP_NOWARN);
	if (!values)
		return -ENOMEM;
	map->map_type = BPF_MAP_TYPE_PERCPU_ARRAY;
	map->value_size = value_size;
	array->elem_size = elem_size;
	for (i = 0; i < map->max_entries; i++)
		array->pptrs[i] = values + (size_t)elem_size * i;
	return 0;
}

/* Nobody uses the map any more; `array_map_free` is the kernel's. */
void bailey_array_end_per_cpu(struct bpf_map *map, void (*array_map_free)(struct bpf_map *map))
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);
	void __percpu *values = array->pptrs[0];

	/*
	 * A record is there only if the kernel refused the map (src/store/create.rs),
	 * and then all values are empty.
	 */
	map->record = NULL;
	memset(array->pptrs, 0, map->max_entries * sizeof(array->pptrs[0]));
	array_map_free(map);
	free_percpu(values);
}
