// SPDX-License-Identifier: GPL-2.0
/* What src/load needs of macros, inlines and variadic functions. */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/filter.h>
#include <linux/percpu.h>
#include <linux/workqueue.h>
#include <asm/segment.h>
#include "shims.h"

/* src/load/stub.rs reads the CPU's number out of this segment's limit. */
static_assert(__CPUNODE_SEG == 0x7b && VDSO_CPUNODE_MASK == 0xfff);
/* src/pure/insn.rs, REG_AX */
static_assert(BPF_REG_AX == 12);

/* What the entry gates lay on the stack, and what the kernel's check takes. */
static_assert(offsetof(struct bailey_loops, count) == offsetof(struct bpf_timed_may_goto, count));
static_assert(offsetof(struct bailey_loops, timestamp) ==
	      offsetof(struct bpf_timed_may_goto, timestamp));
static_assert(offsetof(struct bailey_loops, r12) == sizeof(struct bpf_timed_may_goto));
static_assert(BAILEY_LOOPS == BPF_MAX_TIMED_LOOPS);

unsigned long bailey_bpf_throw, bailey_arch_bpf_timed_may_goto;

/* An entry that leads to no instruction any more (kernel/bpf/bpf_insn_array.c). */
#define INSN_DELETED U32_MAX

/*
 * Where entry `index` of a jump table leads, as the verifier's passes keep it
 * in step with the program; U32_MAX: nowhere. What a look-up returns is the
 * kernel's own entry, and the map has one program.
 */
u32 bailey_table_entry(struct bpf_map *map, u32 index)
{
	struct bpf_insn_array_value *value = map->ops->map_lookup_elem(map, &index);

	return value ? value->xlated_off : INSN_DELETED;
}

void bailey_table_move(struct bpf_map *map, u32 index, u32 insn)
{
	struct bpf_insn_array_value *value = map->ops->map_lookup_elem(map, &index);

	if (value)
		value->xlated_off = insn;
}

struct bpf_insn *bailey_prog_insns(struct bpf_prog *prog)
{
	return prog->insnsi;
}

u64 bailey_call_base(void)
{
	return (u64)__bpf_call_base;
}

/* The name of function `id` in the kernel's BTF, which is never freed; or NULL. */
const char *bailey_kfunc_name(u32 id)
{
	const struct btf *btf = bailey_k_bpf_get_btf_vmlinux();
	const struct btf_type *type = btf_type_by_id(btf, id);

	return type ? bailey_k_btf_name_by_offset(btf, type->name_off) : NULL;
}

/* The number that it has in the kernel's BTF, or an error. */
s32 bailey_kfunc_number(const char *name)
{
	return bailey_k_btf_find_by_name_kind(bailey_k_bpf_get_btf_vmlinux(), name, BTF_KIND_FUNC);
}

/* The number of struct `name` in the kernel's BTF, or an error. */
s32 bailey_struct_number(const char *name)
{
	return bailey_k_btf_find_by_name_kind(bailey_k_bpf_get_btf_vmlinux(), name,
					      BTF_KIND_STRUCT);
}

/*
 * The name of the function that gives up a reference to an object of the type that is
 * number `id` in the kernel's BTF; NULL if there is none.
 */
const char *bailey_destructor_name(u32 id)
{
	s32 function = bailey_k_btf_find_dtor_kfunc(bailey_k_bpf_get_btf_vmlinux(), id);

	return function < 0 ? NULL : bailey_kfunc_name(function);
}

/* Bytes of the struct that is number `id` in `btf`; 0 if that is no struct. */
u32 bailey_struct_size(const struct btf *btf, u32 id)
{
	const struct btf_type *type = btf_type_by_id(btf, id);

	return type && btf_type_is_struct(type) ? type->size : 0;
}

void bailey_verifier_log(struct bpf_verifier_env *env, const char *what, const char *why)
{
	bpf_verifier_log_write(env, "bailey: %s: %s\n", what, why);
}

void bailey_attach_log(struct bpf_verifier_log *log, const char *why)
{
	bpf_log(log, "bailey: %s\n", why);
}

u64 __percpu *bailey_counts_alloc(u32 number)
{
	return __alloc_percpu(number * sizeof(u64), sizeof(u64));
}

void bailey_counts_free(u64 __percpu *counts)
{
	free_percpu(counts);
}

void bailey_count_once(u64 __percpu *count)
{
	this_cpu_inc(*count);
}

u64 bailey_count_sum(const u64 __percpu *count)
{
	unsigned int cpu;
	u64 sum = 0;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(count, cpu));
	return sum;
}

/*
 * Where records of programs are given back; destroying it waits for all of them. Each
 * waits for RCU: without a limit hundreds of programs that go at once are as many
 * threads, with their stacks.
 */
#define GIVE_BACK_AT_ONCE 16

void *bailey_work_create(void)
{
	return alloc_workqueue("bailey", WQ_UNBOUND, GIVE_BACK_AT_ONCE);
}

void bailey_work_destroy(void *queue)
{
	destroy_workqueue(queue);
}

/* Rounds of the policy for keys: one a second, while domains share one. */
static void do_round(struct work_struct *work);
static DECLARE_DELAYED_WORK(next_round, do_round);

void bailey_rounds_start(void)
{
	queue_delayed_work(system_dfl_wq, &next_round, HZ);
}

static void do_round(struct work_struct *work)
{
	if (bailey_round())
		bailey_rounds_start();
}

void bailey_rounds_stop(void)
{
	cancel_delayed_work_sync(&next_round);
}
