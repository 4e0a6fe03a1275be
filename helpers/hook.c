// SPDX-License-Identifier: GPL-2.0
/*
 * The places where the kernel's way is intercepted (DESIGN 9.3, 9.7). Those
 * that are redirected: ftrace sets the instruction pointer to ours, which does
 * the work (it may sleep there) and calls the original. bpf_jit_free and
 * bpf_map_meta_free only tell that something is being freed, bpf_map_fd_get_ptr and
 * bpf_map_fd_put_ptr that a map goes into another or comes out.
 */
#include <linux/bpf.h>
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include "shims.h"

/*
 * Nothing is redirected before the module is sure to stay: a program or map that
 * held it could not keep it from going if its init failed.
 */
static bool open;

/* Redirected calls under way: the module may not go before they have returned. */
static atomic_t inflight = ATOMIC_INIT(0);

#define REDIRECT(ret, name, proto, args)				\
	static ret redirected_##name proto				\
	{								\
		ret result;						\
									\
		atomic_inc(&inflight);					\
		result = bailey_on_##name args;				\
		atomic_dec(&inflight);					\
		return result;						\
	}

REDIRECT(int, misc_fixups, (struct bpf_verifier_env *env), (env))
REDIRECT(int, fixup_call_args, (struct bpf_verifier_env *env), (env))
REDIRECT(struct bpf_prog *, select_runtime,
	 (struct bpf_verifier_env *env, struct bpf_prog *fp, int *err), (env, fp, err))
REDIRECT(int, check_attach_target,
	 (struct bpf_verifier_log *log, const struct bpf_prog *prog,
	  const struct bpf_prog *target, u32 btf_id, struct bpf_attach_target_info *info),
	 (log, prog, target, btf_id, info))
REDIRECT(int, arch_text_poke,
	 (void *ip, enum bpf_text_poke_type old_t, enum bpf_text_poke_type new_t,
	  void *old_addr, void *new_addr),
	 (ip, old_t, new_t, old_addr, new_addr))
REDIRECT(struct bpf_map *, array_map_alloc, (union bpf_attr *attr), (attr))

REDIRECT(struct bpf_map *, htab_map_alloc, (union bpf_attr *attr), (attr))
REDIRECT(int, security_bpf_map_create,
	 (struct bpf_map *map, union bpf_attr *attr, struct bpf_token *token, bool kernel),
	 (map, attr, token, kernel))
REDIRECT(struct bpf_map *, bpf_map_meta_alloc, (int fd), (fd))
REDIRECT(bool, bpf_map_meta_equal, (const struct bpf_map *meta, const struct bpf_map *map),
	 (meta, map))
REDIRECT(int, bpf_percpu_hash_copy, (struct bpf_map *map, void *key, void *value, u64 flags),
	 (map, key, value, flags))
REDIRECT(int, bpf_percpu_hash_update, (struct bpf_map *map, void *key, void *value, u64 flags),
	 (map, key, value, flags))

static void redirected_htab_map_free(struct bpf_map *map)
{
	atomic_inc(&inflight);
	bailey_on_htab_map_free(map);
	atomic_dec(&inflight);
}

static void redirected_array_map_free(struct bpf_map *map)
{
	atomic_inc(&inflight);
	bailey_on_array_map_free(map);
	atomic_dec(&inflight);
}

static void notrace redirect(unsigned long ip, unsigned long parent_ip,
			     struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	/* Our own call of the original must go through. */
	if (READ_ONCE(open) && !within_module(parent_ip, THIS_MODULE)) {
		bailey_test_begin();
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)ops->private);
	}
}

static void notrace freed(unsigned long ip, unsigned long parent_ip,
			  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	bailey_on_jit_free((struct bpf_prog *)ftrace_regs_get_argument(fregs, 0));
}

static void notrace inner_changed(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	bailey_inner_changed();
}

static void notrace meta_freed(unsigned long ip, unsigned long parent_ip,
			       struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	bailey_on_bpf_map_meta_free((struct bpf_map *)ftrace_regs_get_argument(fregs, 0));
}

static void notrace flushes(unsigned long ip, unsigned long parent_ip,
			    struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	bailey_on_flush_tlb_kernel_range(ftrace_regs_get_argument(fregs, 0),
					 ftrace_regs_get_argument(fregs, 1));
}

/*
 * Without FTRACE_OPS_FL_RECURSION: ftrace leaves none of them out, whoever calls the function. A
 * store that came to the kernel's own function would be taken for its hash map.
 */
#define REDIRECTED (FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_PERMANENT)

static struct hook {
	const char *symbol;
	struct ftrace_ops ops;
	bool on;
} hooks[] = {
	{ "bpf_do_misc_fixups",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_misc_fixups } },
	{ "bpf_fixup_call_args",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_fixup_call_args } },
	{ "__bpf_prog_select_runtime",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_select_runtime } },
	{ "bpf_check_attach_target",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_check_attach_target } },
	{ "bpf_arch_text_poke",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_arch_text_poke } },
	{ "array_map_alloc",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_array_map_alloc } },
	{ "array_map_free",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_array_map_free } },
	{ "htab_map_alloc",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_htab_map_alloc } },
	{ "htab_map_free",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_htab_map_free } },
	{ "security_bpf_map_create",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_security_bpf_map_create } },
	{ "bpf_map_meta_alloc",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_bpf_map_meta_alloc } },
	{ "bpf_map_meta_equal",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_bpf_map_meta_equal } },
	{ "bpf_percpu_hash_copy",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_bpf_percpu_hash_copy } },
	{ "bpf_percpu_hash_update",
	  { .func = redirect, .flags = REDIRECTED, .private = redirected_bpf_percpu_hash_update } },
	{ "bpf_map_meta_free",
	  { .func = meta_freed, .flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_PERMANENT } },
	{ "bpf_map_fd_get_ptr", { .func = inner_changed, .flags = FTRACE_OPS_FL_PERMANENT } },
	{ "bpf_map_fd_put_ptr", { .func = inner_changed, .flags = FTRACE_OPS_FL_PERMANENT } },
	{ "bpf_jit_free",
	  { .func = freed, .flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_PERMANENT } },
};

/*
 * By its address: a filter by name looks at the name of every function there is, which
 * takes a good part of a second on a slow machine.
 */
static int hook(struct ftrace_ops *ops, const char *symbol)
{
	unsigned long function = bailey_k_kallsyms_lookup_name(symbol);
	int err;

	if (!function)
		return -ENOENT;
	err = ftrace_set_filter_ip(ops, function, 0, 1);
	if (!err)
		err = register_ftrace_function(ops);
	if (err)
		ftrace_free_filter(ops);
	return err;
}

/*
 * The kernel frees pages of an arena behind this flush, of just their addresses. Hooked
 * only as long as a domain sees an arena.
 */
static struct ftrace_ops flush_ops = {
	.func = flushes,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_RECURSION | FTRACE_OPS_FL_PERMANENT,
};

int bailey_hook_flushes(int on)
{
	if (on)
		return hook(&flush_ops, "flush_tlb_kernel_range");
	unregister_ftrace_function(&flush_ops);
	ftrace_free_filter(&flush_ops);
	return 0;
}

void bailey_hook_open(void)
{
	WRITE_ONCE(open, true);
	bailey_test_allow();
}

void bailey_hook_remove(void)
{
	int i;

	bailey_test_end();
	for (i = ARRAY_SIZE(hooks) - 1; i >= 0; i--) {
		if (!hooks[i].on)
			continue;
		unregister_ftrace_function(&hooks[i].ops);
		ftrace_free_filter(&hooks[i].ops);
		hooks[i].on = false;
	}
	/* Whoever was redirected has counted itself after this ... */
	synchronize_rcu_tasks();
	while (atomic_read(&inflight))
		schedule_timeout_uninterruptible(1);
	/* ... and has left our text after this. */
	synchronize_rcu_tasks();
}

int bailey_hook_install(void)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(hooks); i++) {
		err = hook(&hooks[i].ops, hooks[i].symbol);
		if (err) {
			pr_err("bailey: %s cannot be hooked (%d)%s\n", hooks[i].symbol, err,
			       err == -EBUSY ? ": it has another owner, a live patch or another copy of this hook" : "");
			bailey_hook_remove();
			return err;
		}
		hooks[i].on = true;
	}
	return 0;
}
