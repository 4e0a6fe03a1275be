// SPDX-License-Identifier: GPL-2.0
/*
 * The test build alone: steps of a load that fail. Everything a load allocates, in
 * this module or in the kernel, comes from the functions below: each call of one is
 * a step. Who writes N to `test_fault` has the Nth step fail of what he has this
 * module do in his next calls of bpf(2), counted from the first function that is
 * hooked, or the first page of a frame; N followed by a - has all from there on fail. 0 ends it.
 *
 * Reading gives `STEPS FAILED WHOSE FUNCTION CALLER ...`: how many steps there were,
 * how many failed, whether the first of these was `ours` or in a function of the
 * `kernel`'s that we are in the place of, and where it was; - for what is not known.
 */
#include <linux/ftrace.h>
#include <linux/gfp.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <linux/sysfs.h>
#include <asm/unistd.h>
#include "shims.h"

/* Which argument of slab functions the flags are, behind the size. */
#ifdef CONFIG_SLAB_BUCKETS
#define BUCKET 1
#else
#define BUCKET 0
#endif
#define NO_FLAGS -1

/*
 * Both what falls back on something else and what it falls back on, so that one fault
 * can be caught and another not. What takes flags does not fail if it must not. The
 * last is ours: of what it needs, page tables, most are there already.
 */
static struct step {
	const char *symbol;
	int flags;
	enum { POINTER, ERROR, REALLOC } kind;
	unsigned long addr;
} steps[] = {
	{ "__kmalloc_noprof", 1 },
	{ "__kmalloc_node_noprof", 1 + BUCKET },
	{ "__kmalloc_node_track_caller_noprof", 1 + BUCKET },
	{ "__kmalloc_cache_noprof", 1 },
	{ "__kmalloc_cache_node_noprof", 1 },
	{ "__kmalloc_large_noprof", 1 },
	{ "__kvmalloc_node_noprof", 2 + BUCKET },
	{ "kvrealloc_node_align_noprof", 3, REALLOC },
	{ "vrealloc_node_align_noprof", 3, REALLOC },
	{ "__vmalloc_node_range_noprof", 4 },
	{ "kmem_cache_alloc_noprof", 1 },
	{ "kmem_cache_alloc_node_noprof", 1 },
	{ "kmem_cache_alloc_lru_noprof", 2 },
	{ "alloc_pages_noprof", 0 },
	{ "__alloc_pages_noprof", 0 },
	{ "get_free_pages_noprof", 0 },
	{ "pcpu_alloc_noprof", 3 },
	{ "vmap", NO_FLAGS },
	{ "bpf_prog_pack_alloc", NO_FLAGS },
	{ "__pte_alloc_kernel", NO_FLAGS, ERROR },
	{ "__pmd_alloc", NO_FLAGS, ERROR },
	{ "__pud_alloc", NO_FLAGS, ERROR },
	{ "__p4d_alloc", NO_FLAGS, ERROR },
	{ "bailey_region_map_page", NO_FLAGS, ERROR },
};

/* What of the kernel's our hooks call. */
static const char *const originals[] = {
	"bpf_do_misc_fixups", "bpf_fixup_call_args", "__bpf_prog_select_runtime",
	"array_map_alloc", "htab_map_alloc", "bpf_map_meta_alloc", "security_bpf_map_create",
};

#define DEPTH 24

static DEFINE_MUTEX(lock);
static struct ftrace_ops ops;
/* `allowed` while init is done and exit has not begun: nobody would take them out. */
static bool installed, allowed;

/* Written while nobody is armed, or by the one who is. */
static struct task_struct *armed;
static bool begun, onwards;
static unsigned int first, count, failed, depth;
static unsigned long trace[DEPTH];

static noinline void *no_memory(void)
{
	return NULL;
}

static noinline int no_memory_error(void)
{
	return -ENOMEM;
}

/* Whether the CPU does what the one who is armed has asked bpf(2) for. */
static bool notrace is_his(void)
{
	return READ_ONCE(armed) == current && in_task() &&
	       task_pt_regs(current)->orig_ax == __NR_bpf;
}

/* A hooked function is reached, or a run that has no frame. */
void notrace bailey_test_begin(void)
{
	if (is_his())
		begun = true;
}

static void notrace on_step(unsigned long ip, unsigned long parent_ip,
			    struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	struct step *step = steps;

	if (!is_his() || !begun)
		return;
	/* A function's patched place is its first, or behind its ENDBR. */
	while (ip - step->addr > ENDBR_INSN_SIZE)
		if (++step == steps + ARRAY_SIZE(steps))
			return;
	if (step->flags >= 0 &&
	    ftrace_regs_get_argument(fregs, step->flags) & (__force unsigned long)__GFP_NOFAIL)
		return;
	/* That frees. */
	if (step->kind == REALLOC && !ftrace_regs_get_argument(fregs, 1))
		return;
	count++;
	if (count != first && !(onwards && count > first))
		return;
	if (!failed++)
		depth = stack_trace_save(trace, DEPTH, 0);
	ftrace_regs_set_instruction_pointer(fregs, step->kind == ERROR ? (unsigned long)no_memory_error
									: (unsigned long)no_memory);
}

static int install(void)
{
	int i, err = 0;

	if (installed)
		return 0;
	ops.func = on_step;
	ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_SAVE_REGS;
	for (i = 0; i < ARRAY_SIZE(steps) && !err; i++) {
		steps[i].addr = bailey_k_kallsyms_lookup_name(steps[i].symbol);
		err = steps[i].addr ? ftrace_set_filter_ip(&ops, steps[i].addr, 0, 0) : -ENOENT;
		if (err)
			pr_err("bailey: %s is no step (%d)\n", steps[i].symbol, err);
	}
	if (!err)
		err = register_ftrace_function(&ops);
	if (err)
		ftrace_free_filter(&ops);
	else
		installed = true;
	return err;
}

void bailey_test_allow(void)
{
	mutex_lock(&lock);
	allowed = true;
	mutex_unlock(&lock);
}

void bailey_test_end(void)
{
	mutex_lock(&lock);
	allowed = false;
	if (installed) {
		unregister_ftrace_function(&ops);
		ftrace_free_filter(&ops);
		installed = false;
	}
	mutex_unlock(&lock);
}

static int fault_set(const char *val, const struct kernel_param *kp)
{
	unsigned int n;
	char rest = 0;
	int err;

	if (sscanf(val, "%u%c", &n, &rest) < 1)
		return -EINVAL;
	mutex_lock(&lock);
	WRITE_ONCE(armed, NULL);
	err = !n ? 0 : allowed ? install() : -EAGAIN;
	if (n && !err) {
		first = n;
		onwards = rest == '-';
		begun = false;
		count = failed = depth = 0;
		WRITE_ONCE(armed, current);
	}
	mutex_unlock(&lock);
	return err;
}

/*
 * The innermost of what is on the stack says whose it was: this module, or a function
 * that it calls in the place of which it is.
 */
static const char *whose(void)
{
	char name[KSYM_SYMBOL_LEN];
	unsigned int i;

	for (i = 0; i < depth; i++) {
		sprint_symbol_no_offset(name, trace[i] - 1);
		if (match_string(originals, ARRAY_SIZE(originals), name) >= 0)
			return "kernel";
		if (within_module(trace[i], THIS_MODULE) && strncmp(name, "on_step", 7))
			return "ours";
	}
	return "kernel";
}

static int fault_get(char *buffer, const struct kernel_param *kp)
{
	unsigned int i;
	int len;

	mutex_lock(&lock);
	len = sysfs_emit(buffer, "%u %u %s", count, failed, failed ? whose() : "-");
	for (i = 0; i < depth; i++)
		len += sysfs_emit_at(buffer, len, " %ps", (void *)trace[i]);
	len += sysfs_emit_at(buffer, len, "\n");
	mutex_unlock(&lock);
	return len;
}

static const struct kernel_param_ops fault_ops = { .set = fault_set, .get = fault_get };

module_param_cb(test_fault, &fault_ops, NULL, 0600);
MODULE_PARM_DESC(test_fault,
		 "test build only: N: the Nth step of the writer's loads fails; N-: and all behind it");
