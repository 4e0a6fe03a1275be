// SPDX-License-Identifier: GPL-2.0
/*
 * Inner maps: which are in an outer one, and when that changes. Operations of maps
 * are called here since they take pointers of C's; RCU and work items are macros.
 */
#include <linux/bpf.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "shims.h"

/* The first so many keys of an outer map are looked at. */
#define KEYS 4096

/* Who puts a map into another one tells so before he does it. */
#define SOON (HZ / 50)
#define LATER (HZ / 4)

/* Whether any domain knows an outer map: written by src/domain/inner.rs. */
int bailey_outer_maps;

static void do_pass(struct work_struct *work);
static DECLARE_DELAYED_WORK(pass, do_pass);
static atomic_t passes = ATOMIC_INIT(0);

void bailey_inner_changed(void)
{
	if (!READ_ONCE(bailey_outer_maps))
		return;
	/* One after what is being done now, one that is sure to be. */
	atomic_set(&passes, 2);
	queue_delayed_work(system_dfl_wq, &pass, SOON);
}

static void do_pass(struct work_struct *work)
{
	int left = atomic_dec_return(&passes);

	bailey_follow_inner();
	if (left > 0)
		queue_delayed_work(system_dfl_wq, &pass, LATER);
}

void bailey_inner_stop(void)
{
	cancel_delayed_work_sync(&pass);
}

/* The map that is in `outer` at `key`, with a reference, or NULL. */
static struct bpf_map *inner_at(struct bpf_map *outer, void *key)
{
	struct bpf_map *inner;

	rcu_read_lock();
	inner = outer->ops->map_lookup_elem(outer, key);
	if (inner) {
		inner = bpf_map_inc_not_zero(inner);
		if (IS_ERR(inner))
			inner = NULL;
	}
	rcu_read_unlock();
	return inner;
}

/* Calls `found` with each map in `outer`, an array or a hash of maps. */
int bailey_each_inner(struct bpf_map *outer, void (*found)(void *arg, struct bpf_map *inner),
		      void *arg)
{
	struct bpf_map *inner;
	void *key, *next;
	int n, err = 0;

	key = kmalloc(2 * (size_t)outer->key_size, GFP_KERNEL);
	if (!key)
		return -ENOMEM;
	next = key + outer->key_size;
	for (n = 0; n < KEYS && !err; n++) {
		rcu_read_lock();
		err = outer->ops->map_get_next_key(outer, n ? key : NULL, next);
		rcu_read_unlock();
		if (err)
			break;
		memcpy(key, next, outer->key_size);
		inner = inner_at(outer, key);
		if (!inner)
			continue;
		found(arg, inner);
		bpf_map_put(inner);
	}
	kfree(key);
	return err == -ENOENT ? 0 : err;
}
