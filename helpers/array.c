// SPDX-License-Identifier: GPL-2.0
/*
 * Arrays with values for each CPU on pages of their own (src/domain/arrays.rs,
 * src/domain/pieces.rs).
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/cache.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include "shims.h"

static_assert(BAILEY_PER_CPU_PIECE == PCPU_MIN_UNIT_SIZE);
static_assert(BAILEY_PER_CPU_PIECE % PAGE_SIZE == 0);

/* Zeroed per-CPU memory with `bytes` (whole pages) for each CPU; 0 if there is none. */
u64 bailey_per_cpu_pages(const struct bpf_map *map, size_t bytes)
{
	return (u64)bailey_k_bpf_map_alloc_percpu(map, bytes, PAGE_SIZE,
						  GFP_USER | __GFP_NOWARN);
}

void bailey_per_cpu_free(u64 memory)
{
	free_percpu((void __percpu *)memory);
}

/* Where the kernel keeps, in a per-CPU array, the pointers to its values. */
u64 *bailey_array_per_cpu_slots(struct bpf_map *map)
{
	struct bpf_array *array = container_of(map, struct bpf_array, map);

	static_assert(sizeof(array->pptrs[0]) == sizeof(u64));
	return (u64 *)array->pptrs;
}

/*
 * `map` is a fresh array with values as large as pointers. It becomes one with
 * values of `value_size` bytes for each CPU: array_map_alloc() lays both out in the
 * same way (kernel/bpf/arraymap.c).
 */
void bailey_array_make_per_cpu(struct bpf_map *map, u32 value_size)
{
	container_of(map, struct bpf_array, map)->elem_size = round_up(value_size, 8);
}

/* Where member `member` of the kernel's struct `type` is, by its BTF; negative if unknown. */
int bailey_member_at(const char *type, const char *member)
{
	const struct btf *btf = bailey_k_bpf_get_btf_vmlinux();
	const struct btf_member *at;
	const struct btf_type *t;
	s32 id;
	int i;

	if (IS_ERR_OR_NULL(btf))
		return -ENOENT;
	id = bailey_k_btf_find_by_name_kind(btf, type, BTF_KIND_STRUCT);
	t = id > 0 ? btf_type_by_id(btf, id) : NULL;
	if (!t)
		return -ENOENT;
	for_each_member(i, t, at) {
		const char *name = bailey_k_btf_name_by_offset(btf, at->name_off);

		if (name && !strcmp(name, member))
			return __btf_member_bit_offset(t, at) / 8;
	}
	return -ENOENT;
}
