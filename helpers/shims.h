/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust calls in helpers/ C, a C shim for each macro or inline of the kernel that
 * Rust cannot reach. bindgen reads this.
 */
#ifndef BAILEY_SHIMS_H
#define BAILEY_SHIMS_H

#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/filter.h>
#include <asm/insn.h>
#include <asm/segment.h>
/* The kernel's own, in no header for modules: the tree that Rust modules are built in has it. */
#include <../kernel/bpf/bpf_lru_list.h>
#include "layout.h"

enum { BAILEY_KERNEL_CS = __KERNEL_CS, BAILEY_KERNEL_DS = __KERNEL_DS };

#define BAILEY_KSYM(ret, name, proto) \
	ret bailey_k_##name proto; \
	void bailey_set_##name(unsigned long addr)

BAILEY_KSYM(unsigned long, kallsyms_lookup_name, (const char *name));
BAILEY_KSYM(int, bpf_do_misc_fixups, (struct bpf_verifier_env *env));
BAILEY_KSYM(int, bpf_fixup_call_args, (struct bpf_verifier_env *env));
BAILEY_KSYM(struct bpf_prog *, bpf_patch_insn_data,
	    (struct bpf_verifier_env *env, u32 off, const struct bpf_insn *patch, u32 len));
BAILEY_KSYM(struct bpf_prog *, __bpf_prog_select_runtime,
	    (struct bpf_verifier_env *env, struct bpf_prog *fp, int *err));
BAILEY_KSYM(int, bpf_arch_text_poke,
	    (void *ip, enum bpf_text_poke_type old_t, enum bpf_text_poke_type new_t,
	     void *old_addr, void *new_addr));
BAILEY_KSYM(int, bpf_check_attach_target,
	    (struct bpf_verifier_log *log, const struct bpf_prog *prog,
	     const struct bpf_prog *target, u32 btf_id, struct bpf_attach_target_info *info));
BAILEY_KSYM(u64, bpf_check_timed_may_goto, (struct bpf_timed_may_goto *p));
BAILEY_KSYM(bool, bpf_is_throw_kfunc, (struct bpf_insn *insn));
BAILEY_KSYM(void *, bpf_prog_pack_alloc, (u32 size, bpf_jit_fill_hole_t fill, bool was_classic));
BAILEY_KSYM(void, bpf_prog_pack_free, (void *ptr, u32 size));
BAILEY_KSYM(struct btf *, bpf_get_btf_vmlinux, (void));
BAILEY_KSYM(void, btf_get, (struct btf *btf));
BAILEY_KSYM(s32, btf_find_by_name_kind, (const struct btf *btf, const char *name, u8 kind));
BAILEY_KSYM(s32, btf_find_dtor_kfunc, (struct btf *btf, u32 id));
BAILEY_KSYM(const char *, btf_name_by_offset, (const struct btf *btf, u32 offset));
BAILEY_KSYM(void *, text_poke_copy, (void *addr, const void *code, size_t len));
BAILEY_KSYM(void, smp_text_poke_single,
	    (void *addr, const void *code, size_t len, const void *emulate));
BAILEY_KSYM(int, smp_text_poke_int3_handler, (struct pt_regs *regs));
BAILEY_KSYM(int, insn_decode,
	    (struct insn *insn, const void *code, int len, enum insn_mode mode));
BAILEY_KSYM(struct vm_struct *, __get_vm_area_node,
	    (unsigned long size, unsigned long align, unsigned long shift, unsigned long flags,
	     unsigned long start, unsigned long end, int node, gfp_t gfp, const void *caller));
BAILEY_KSYM(struct bpf_map *, array_map_alloc, (union bpf_attr *attr));
BAILEY_KSYM(void, array_map_free, (struct bpf_map *map));
BAILEY_KSYM(int, bpf_percpu_hash_copy, (struct bpf_map *map, void *key, void *value, u64 flags));
BAILEY_KSYM(int, bpf_percpu_hash_update, (struct bpf_map *map, void *key, void *value, u64 flags));
BAILEY_KSYM(struct bpf_map *, htab_map_alloc, (union bpf_attr *attr));
BAILEY_KSYM(void, htab_map_free, (struct bpf_map *map));
BAILEY_KSYM(void, trie_free, (struct bpf_map *map));
BAILEY_KSYM(int, security_bpf_map_create,
	    (struct bpf_map *map, union bpf_attr *attr, struct bpf_token *token, bool kernel));
BAILEY_KSYM(struct bpf_map *, bpf_map_meta_alloc, (int fd));
BAILEY_KSYM(bool, bpf_map_meta_equal, (const struct bpf_map *meta, const struct bpf_map *map));
BAILEY_KSYM(void *, bpf_map_area_alloc, (u64 size, int node));
BAILEY_KSYM(void *, bpf_map_area_mmapable_alloc, (u64 size, int node));
BAILEY_KSYM(void, bpf_map_init_from_attr, (struct bpf_map *map, union bpf_attr *attr));
BAILEY_KSYM(void __percpu *, bpf_map_alloc_percpu,
	    (const struct bpf_map *map, size_t size, size_t align, gfp_t gfp));
BAILEY_KSYM(int, bpf_lru_init,
	    (struct bpf_lru *lru, bool percpu, u32 hash_offset, del_from_htab_func del_from_htab,
	     void *del_arg));
BAILEY_KSYM(void, bpf_lru_populate,
	    (struct bpf_lru *lru, void *buf, u32 node_offset, u32 elem_size, u32 nr_elems));
BAILEY_KSYM(void, bpf_lru_destroy, (struct bpf_lru *lru));
BAILEY_KSYM(struct bpf_lru_node *, bpf_lru_pop_free, (struct bpf_lru *lru, u32 hash));
BAILEY_KSYM(void, bpf_lru_push_free, (struct bpf_lru *lru, struct bpf_lru_node *node));
BAILEY_KSYM(struct btf *, btf_get_by_fd, (int fd));
BAILEY_KSYM(void, btf_put, (struct btf *btf));
BAILEY_KSYM(const struct btf_type *, btf_type_id_size,
	    (const struct btf *btf, u32 *id, u32 *size));
BAILEY_KSYM(struct btf_record *, btf_parse_fields,
	    (const struct btf *btf, const struct btf_type *type, u32 mask, u32 size));
BAILEY_KSYM(void, btf_record_free, (struct btf_record *record));
BAILEY_KSYM(void, btf_type_seq_show,
	    (const struct btf *btf, u32 type, void *obj, struct seq_file *m));
BAILEY_KSYM(struct bpf_prog *, bpf_iter_get_info, (struct bpf_iter_meta *meta, bool in_stop));
BAILEY_KSYM(void, bpf_map_put_with_uref, (struct bpf_map *map));
BAILEY_KSYM(int, bpf_iter_run_prog, (struct bpf_prog *prog, void *ctx));
BAILEY_KSYM(u64, bpf_spin_unlock, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5));
struct bpf_res_spin_lock;
BAILEY_KSYM(void, bpf_res_spin_unlock, (struct bpf_res_spin_lock *lock));
BAILEY_KSYM(u64, bpf_sk_release, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5));
BAILEY_KSYM(u64, bpf_ringbuf_discard, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5));
struct bpf_iter_bits;
BAILEY_KSYM(void, bpf_iter_bits_destroy, (struct bpf_iter_bits *it));
BAILEY_KSYM(void, __bpf_obj_drop_impl, (void *p, const struct btf_record *record, bool percpu));
BAILEY_KSYM(struct bpf_rb_node *, bpf_rbtree_remove,
	    (struct bpf_rb_root *root, struct bpf_rb_node *node));
BAILEY_KSYM(struct btf_struct_meta *, btf_find_struct_meta, (const struct btf *btf, u32 id));
BAILEY_KSYM(void, flush_tlb_all, (void));
BAILEY_KSYM(u64, bpf_arena_map_kern_vm_start, (struct bpf_map *map));
BAILEY_KSYM(void, bpf_prog_report_arena_violation,
	    (bool write, unsigned long addr, unsigned long fault_ip));
BAILEY_KSYM(void, cr4_update_irqsoff, (unsigned long set, unsigned long clear));
extern unsigned long bailey_init_mm;
unsigned long bailey_find_kallsyms_lookup_name(void);

/* percpu.c */
struct bailey_cpu *bailey_this_cpu(void);
struct bailey_cpu *bailey_cpu_of(unsigned int cpu);

/* params.c */
extern int bailey_policy_strict;
extern int bailey_violation_abort;
extern int bailey_isolation_program;
extern int bailey_kernel_reads;
/* of the test build alone */
extern int bailey_test_gated;
extern int bailey_test_hold;
extern int bailey_test_late_failure;
extern int bailey_test_no_room;
extern unsigned long bailey_test_nmi_stub;
extern int bailey_test_confine;
extern int bailey_test_share;
extern u32 bailey_test_undefended;
extern u64 bailey_test_wins;

/* hook.c: what ftrace redirects, and to where (src/load/hook.rs) */
int bailey_hook_install(void);
void bailey_hook_open(void);
void bailey_hook_remove(void);
int bailey_on_misc_fixups(struct bpf_verifier_env *env);
int bailey_on_fixup_call_args(struct bpf_verifier_env *env);
struct bpf_prog *bailey_on_select_runtime(struct bpf_verifier_env *env, struct bpf_prog *fp,
					  int *err);
void bailey_on_jit_free(struct bpf_prog *fp);
int bailey_on_arch_text_poke(void *ip, enum bpf_text_poke_type old_t,
			     enum bpf_text_poke_type new_t, void *old_addr, void *new_addr);
int bailey_on_check_attach_target(struct bpf_verifier_log *log, const struct bpf_prog *prog,
				  const struct bpf_prog *target, u32 btf_id,
				  struct bpf_attach_target_info *info);

/* the same, for arrays (src/domain/arrays.rs) */
struct bpf_map *bailey_on_array_map_alloc(union bpf_attr *attr);
void bailey_on_array_map_free(struct bpf_map *map);
/* array.c: arrays whose values each CPU has on pages of its own */
enum { BAILEY_PER_CPU_PIECE = 32 << 10 };	/* the largest piece of per-CPU memory */
u64 bailey_per_cpu_pages(const struct bpf_map *map, size_t bytes);
void bailey_per_cpu_free(u64 memory);
u64 *bailey_array_per_cpu_slots(struct bpf_map *map);
void bailey_array_make_per_cpu(struct bpf_map *map, u32 value_size);
int bailey_member_at(const char *type, const char *member);

/* the same, for stores (src/store/) */
struct bpf_map *bailey_on_htab_map_alloc(union bpf_attr *attr);
void bailey_on_htab_map_free(struct bpf_map *map);
int bailey_on_security_bpf_map_create(struct bpf_map *map, union bpf_attr *attr,
				      struct bpf_token *token, bool kernel);
struct bpf_map *bailey_on_bpf_map_meta_alloc(int fd);
bool bailey_on_bpf_map_meta_equal(const struct bpf_map *meta, const struct bpf_map *map);
void bailey_on_bpf_map_meta_free(struct bpf_map *meta);
int bailey_on_bpf_percpu_hash_copy(struct bpf_map *map, void *key, void *value, u64 flags);
int bailey_on_bpf_percpu_hash_update(struct bpf_map *map, void *key, void *value, u64 flags);

/* store.c: what stores take from macros and inlines */
extern struct bpf_map_ops bailey_store_ops, bailey_lru_store_ops, bailey_trie_store_ops;
extern struct bpf_map_ops bailey_per_cpu_store_ops, bailey_lru_per_cpu_store_ops;
extern const struct bpf_map_ops *bailey_htab_map_ops, *bailey_htab_lru_map_ops;
extern const struct bpf_map_ops *bailey_htab_percpu_map_ops, *bailey_htab_lru_percpu_map_ops;
extern const struct bpf_map_ops *bailey_trie_map_ops;
extern int *bailey_btf_bpf_map_id;
extern int bailey_stores;
extern unsigned int bailey_no_prealloc_mib;
/* rqspinlock_t, asserted in store.c */
typedef u32 bailey_bucket_lock_t;
int bailey_bucket_lock(bailey_bucket_lock_t *lock, unsigned long *flags);
void bailey_bucket_unlock(bailey_bucket_lock_t *lock, unsigned long flags);
int bailey_store_count_init(struct bpf_map *map);
void bailey_store_count_free(struct bpf_map *map);
void bailey_store_count_add(struct bpf_map *map, int n);
int bailey_store_plain_values(union bpf_attr *attr);
int bailey_map_has_record(const struct bpf_map *map);
int bailey_module_try_get(void);
void bailey_module_drop(void);
void bailey_area_free(void *area);
void bailey_rcu_lock(void);
void bailey_rcu_unlock(void);
void bailey_may_sleep(void);

/* cpu.c: CPU features, CR4, TSS, IDT */
enum bailey_cpu_refusal {
	BAILEY_CPU_OK,
	BAILEY_CPU_NO_PKS,
	BAILEY_CPU_NO_SMAP,
	BAILEY_CPU_FRED,
	BAILEY_CPU_CALL_DEPTH,
	BAILEY_CPU_HYPERVISOR,
};
enum bailey_cpu_refusal bailey_cpu_check(void);
u64 bailey_flags(void);		/* RFLAGS */
void bailey_cpu_enable(void);	/* on this CPU, interrupts off */
void bailey_cpu_disable(void);
void bailey_cpu_read_ist(unsigned int cpu, u64 ist[4]);
u64 bailey_cpu_tss_ist(unsigned int cpu);	/* the address behind the fourth entry */
unsigned int bailey_cpu_possible(void);	/* nr_cpu_ids */
int bailey_cpu_is_possible(unsigned int cpu);
void bailey_cpu_wait_for_runs(void);	/* sleeps */
void bailey_cpu_flush_global(void);	/* on every CPU, global pages too */
int bailey_cpuhp_install(void);
void bailey_cpuhp_remove(void);
int bailey_cpu_online(unsigned int cpu);	/* Rust */
int bailey_has_5_levels(void);
int bailey_cpu_has_ibt(void);
unsigned int bailey_pgdir_shift(void);
u64 bailey_idt_base(void);
int bailey_stop_machine(int (*fn)(void *), void *arg);
u32 bailey_apic_isr(unsigned int word);
void bailey_apic_eoi(void);
void bailey_apic_self(unsigned int vector);
void bailey_apic_nmi(void);
int bailey_cpu_in_machine_check(void);
int bailey_cpu_in_debug_exception(void);

/* pages.c: page tables, the region */
int bailey_page_set_key(unsigned long addr, unsigned int key);
void *bailey_page_alias(unsigned long addr);
void bailey_page_unalias(void *alias);
unsigned long bailey_region_reserve(void **area);
void bailey_region_release(void *area);
int bailey_region_prepare(unsigned long addr, unsigned long pages);
int bailey_region_fill(unsigned long addr, unsigned long pages, unsigned int key);
int bailey_region_map_page(unsigned long addr, void *kaddr, unsigned int key, int writable);
void bailey_region_unmap(unsigned long addr, unsigned long pages);
unsigned long bailey_region_pages(void);	/* that are mapped */
void bailey_region_set_key(unsigned long addr, unsigned long pages, unsigned int key);
void bailey_region_set_page(pte_t *pte, struct page *page, unsigned int key);
void bailey_region_gone(unsigned int pages);
unsigned long bailey_cea_gdt(unsigned int cpu);
unsigned long bailey_cea_tss(unsigned int cpu, unsigned int *pages);
void *bailey_keyed_page(unsigned int key, void **page);
void bailey_keyed_page_free(void *addr, void *page);

/* arena.c */
u64 bailey_arena_word(const struct bpf_map *map, unsigned int at);
int bailey_arena_show(unsigned long kaddr, unsigned long addr, unsigned int key, u64 scratch);
unsigned int bailey_arena_take(unsigned long addr, unsigned long pages, struct page **list,
			       unsigned int room);
void bailey_arena_put(struct page **list, unsigned int taken);
int bailey_hook_flushes(int on);
void bailey_on_flush_tlb_kernel_range(unsigned long start, unsigned long end);

/* root.c: page tables for a domain that shares its key */
struct bailey_root {
	unsigned long tables[3];
	u64 cr3;		/* to be written as it is: the root's PCID is flushed */
};
int bailey_root_make(struct bailey_root *root, unsigned long span);
void bailey_root_show(struct bailey_root *root, unsigned long addr, int there);
void bailey_root_free(struct bailey_root *root);

/* user_tree.c: with page-table isolation, the page tables of user mode */
int bailey_user_tree_exists(void);
int bailey_user_tree_map(unsigned long addr, unsigned int pages);
void bailey_user_tree_unmap(unsigned long addr, unsigned int pages);

/* gate.S, event.S, tail.S */
extern const u8 bailey_stub_template[];
extern const u32 bailey_stub_out_offset, bailey_stub_size;
extern const u8 bailey_event_template[];
extern const u32 bailey_event_offsets[8];
extern u64 bailey_event_handlers[256];
void bailey_enter(void);
void bailey_enter_saves(void);
void bailey_enter_function(void);
void bailey_enter_loops(void);
void bailey_enter_loops_return(void);
void bailey_enter_function_loops(void);
void bailey_enter_function_loops_return(void);
void bailey_enter_arena_loops(void);
void bailey_enter_arena_loops_return(void);
void bailey_enter_function_arena_loops(void);
void bailey_enter_function_arena_loops_return(void);
void bailey_exit_gate(void);
void bailey_exit_w(void);
void bailey_exit_z(void);
void bailey_exit_z_end(void);
void bailey_helper_gate(void);
void bailey_helper_w(void);
void bailey_helper_z(void);
void bailey_helper_z_end(void);
void bailey_replay(void);
void bailey_tail(void);
void bailey_iret_out(void);
void bailey_iret_out_confined(void);
void bailey_iret_out_end(void);
void bailey_event_entry(void);
void bailey_event_pushed_rcx(void);
void bailey_event_pushed_rdx(void);
void bailey_event_z(void);
void bailey_event_again(void);
void bailey_event_landed(void);
void bailey_event_noted(void);
void bailey_landed(void);
extern u64 bailey_event_text;
extern u64 bailey_event_text_size;
u64 bailey_run_tail(u64 ctx, u64 entry, u64 *count);

/* Rust, of the test build: moves every domain to the other kind of key */
int bailey_test_move(unsigned int how);

/* faults.c, of the test build: a hooked function is reached; no step fails any more */
#ifdef BAILEY_BREACH
void bailey_test_begin(void);
void bailey_test_allow(void);
void bailey_test_end(void);
#else
static inline void bailey_test_begin(void) {}
static inline void bailey_test_allow(void) {}
static inline void bailey_test_end(void) {}
#endif

/* Rust, called from assembly */
u64 bailey_carve(struct bailey_run *run);
struct bailey_frame *bailey_first_frame(struct bailey_prog *prog);
u64 bailey_exit(struct bailey_run *run, u64 verdict);
u32 bailey_function(struct bailey_run *run, u64 *args);
u64 bailey_helper(struct bailey_run *run, u64 *args);
u32 bailey_event(struct bailey_event *event, struct bailey_run *run);
u32 bailey_event_rest(struct bailey_event *event);
struct bailey_call bailey_landing(struct bailey_run *run, u64 *rbp);

/* trace.c */
void bailey_trace_violation(u32 prog, const char *name, u32 insn, u64 rip, u64 addr,
			    const char *kind);

/* prog.c: inlines around programs and maps */
struct bailey_values {
	u64 start;		/* the kernel's address of the first value, page-aligned */
	u64 len;		/* bytes that are values */
	u64 stride;		/* bytes from one value to the next */
	u32 writable;		/* by programs */
	u32 pad;
};
enum bailey_values_kind {
	BAILEY_VALUES_NONE,	/* no array: a look-up tells where a value is */
	BAILEY_VALUES_PAGES,	/* pages of their own */
	BAILEY_VALUES_MIXED,	/* not alone on their pages, or with fields of the kernel's */
	BAILEY_VALUES_TABLE,	/* a jump table: addresses of the kernel's, to be replaced */
};
enum bailey_values_kind bailey_map_values(struct bpf_map *map, struct bailey_values *values);
/* What the end of an XDP buffer keeps for struct skb_shared_info (net/xdp.h). */
enum { BAILEY_XDP_TAIL = SKB_DATA_ALIGN(sizeof(struct skb_shared_info)) };
struct bpf_prog *bailey_prog_array_entry(struct bpf_map *map, u32 index);
extern const u32 bailey_tail_entry;
u64 bailey_tail_address(struct bpf_prog *prog);
extern unsigned long bailey_hardirq_stack_ptr;
u64 bailey_stack_left(void);
u64 bailey_now(void);
u32 bailey_cpu_number(void);
u64 bailey_per_cpu_address(u64 ptr, u32 cpu);
u32 bailey_xdp_len(u64 ctx);
u64 bailey_rcu_read_unlock(void);
u64 bailey_preempt_enable(void);
unsigned long bailey_irq_save(void);
void bailey_irq_restore(unsigned long flags);

u64 bailey_call_helper(u64 func, const u64 *args);
struct module *bailey_this_module(void);
void bailey_module_get(void);
void bailey_prog_request_jit(struct bpf_prog *prog, int on);

/* load.c */
extern unsigned long bailey_bpf_throw, bailey_arch_bpf_timed_may_goto;
u32 bailey_table_entry(struct bpf_map *map, u32 index);
void bailey_table_move(struct bpf_map *map, u32 index, u32 insn);
struct bpf_insn *bailey_prog_insns(struct bpf_prog *prog);
u64 bailey_call_base(void);
const char *bailey_kfunc_name(u32 id);
s32 bailey_kfunc_number(const char *name);
s32 bailey_struct_number(const char *name);
const char *bailey_destructor_name(u32 id);
u32 bailey_struct_size(const struct btf *btf, u32 id);
void bailey_verifier_log(struct bpf_verifier_env *env, const char *what, const char *why);
void bailey_attach_log(struct bpf_verifier_log *log, const char *why);
u64 __percpu *bailey_counts_alloc(u32 number);
void bailey_counts_free(u64 __percpu *counts);
void bailey_count_once(u64 __percpu *count);
u64 bailey_count_sum(const u64 __percpu *count);
void *bailey_work_create(void);
void bailey_work_destroy(void *queue);
void bailey_rounds_start(void);	/* no matter whether one is due already */
void bailey_rounds_stop(void);	/* waits for one that is under way */

/* inner.c: what is in maps of maps */
extern int bailey_outer_maps;
void bailey_inner_changed(void);	/* a pass is due, in a moment */
void bailey_inner_stop(void);
int bailey_each_inner(struct bpf_map *outer, void (*found)(void *arg, struct bpf_map *inner),
		      void *arg);
void bailey_follow_inner(void);
int bailey_round(void);	/* Rust: whether there shall be another */

#endif
