// SPDX-License-Identifier: GPL-2.0
/* Macros and inlines for stores of hash maps and tries (src/store/). */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/cache.h>
#include <linux/err.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <asm/rqspinlock.h>
#include "shims.h"

/* Filled once by init (src/store/ops.rs). */
struct bpf_map_ops bailey_store_ops __ro_after_init;
struct bpf_map_ops bailey_lru_store_ops __ro_after_init;
struct bpf_map_ops bailey_per_cpu_store_ops __ro_after_init;
struct bpf_map_ops bailey_lru_per_cpu_store_ops __ro_after_init;
struct bpf_map_ops bailey_trie_store_ops __ro_after_init;
const struct bpf_map_ops *bailey_htab_map_ops __ro_after_init;
const struct bpf_map_ops *bailey_htab_lru_map_ops __ro_after_init;
const struct bpf_map_ops *bailey_htab_percpu_map_ops __ro_after_init;
const struct bpf_map_ops *bailey_htab_lru_percpu_map_ops __ro_after_init;
const struct bpf_map_ops *bailey_trie_map_ops __ro_after_init;
int *bailey_btf_bpf_map_id __ro_after_init;

int bailey_stores = 1;
module_param_named(stores, bailey_stores, int, 0644);
MODULE_PARM_DESC(stores,
		 "1: hash maps and tries that are created get a store and per-CPU arrays pages of their own, whose values isolated programs reach directly; 0: the kernel's");

unsigned int bailey_no_prealloc_mib = 16;
module_param_named(no_prealloc_mib, bailey_no_prealloc_mib, uint, 0644);
MODULE_PARM_DESC(no_prealloc_mib,
		 "of maps with BPF_F_NO_PREALLOC and of tries, those get a store that take at most so many MiB with all their elements, which they have from the start; others are the kernel's");

static_assert(sizeof(rqspinlock_t) == sizeof(bailey_bucket_lock_t));

int bailey_bucket_lock(bailey_bucket_lock_t *lock, unsigned long *flags)
{
	return raw_res_spin_lock_irqsave((rqspinlock_t *)lock, *flags);
}

void bailey_bucket_unlock(bailey_bucket_lock_t *lock, unsigned long flags)
{
	raw_res_spin_unlock_irqrestore((rqspinlock_t *)lock, flags);
}

/* bpf_map_init_elem_count(), include/linux/bpf.h: what it calls is not exported. */
int bailey_store_count_init(struct bpf_map *map)
{
	map->elem_count = bailey_k_bpf_map_alloc_percpu(map, sizeof(*map->elem_count),
							sizeof(*map->elem_count),
							GFP_USER | __GFP_NOWARN);
	return map->elem_count ? 0 : -ENOMEM;
}

void bailey_store_count_free(struct bpf_map *map)
{
	bpf_map_free_elem_count(map);
}

void bailey_store_count_add(struct bpf_map *map, int n)
{
	this_cpu_add(*map->elem_count, n);
}

/*
 * Whether the values of a map to be made with `attr` are bytes that the kernel
 * does not look at. Looked up as map_check_btf() (kernel/bpf/syscall.c) will.
 */
int bailey_store_plain_values(union bpf_attr *attr)
{
	u32 id = attr->btf_value_type_id, size;
	const struct btf_type *type;
	struct btf_record *record;
	struct btf *btf;
	int plain = 0;

	if (!id)
		return 1;
	btf = bailey_k_btf_get_by_fd(attr->btf_fd);
	if (IS_ERR(btf))
		return 0;
	type = bailey_k_btf_type_id_size(btf, &id, &size);
	if (type && size == attr->value_size) {
		record = bailey_k_btf_parse_fields(btf, type,
			BPF_SPIN_LOCK | BPF_RES_SPIN_LOCK | BPF_TIMER | BPF_KPTR | BPF_LIST_HEAD |
			BPF_RB_ROOT | BPF_REFCOUNT | BPF_WORKQUEUE | BPF_UPTR | BPF_TASK_WORK,
			size);
		/*
		 * The kernel takes an error for none, as of numbers. Without memory nobody
		 * can say: it asks once more, and may find fields then.
		 */
		plain = IS_ERR_OR_NULL(record) && record != ERR_PTR(-ENOMEM);
		if (!IS_ERR_OR_NULL(record))
			bailey_k_btf_record_free(record);
	}
	bailey_k_btf_put(btf);
	return plain;
}

int bailey_map_has_record(const struct bpf_map *map)
{
	return !IS_ERR_OR_NULL(map->record);
}

int bailey_module_try_get(void)
{
	return try_module_get(THIS_MODULE);
}

void bailey_module_drop(void)
{
	module_put(THIS_MODULE);
}

void bailey_area_free(void *area)
{
	kvfree(area);
}

void bailey_rcu_lock(void)
{
	rcu_read_lock();
}

void bailey_rcu_unlock(void)
{
	rcu_read_unlock();
}

void bailey_may_sleep(void)
{
	cond_resched();
}
