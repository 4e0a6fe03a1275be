// SPDX-License-Identifier: GPL-2.0
/*
 * Direct calls to kernel functions that are not exported. Most of them have
 * their ENDBR sealed, so a call through a pointer is #CP on a CPU with IBT;
 * static_call gives a direct call to an address found at load. static_call is
 * a macro, hence C. Which symbols, and why: src/ksym.rs.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/filter.h>
#include <linux/kprobes.h>
#include <linux/static_call.h>
#include <linux/vmalloc.h>
#include <asm/insn.h>
#include <asm/text-patching.h>
#include "shims.h"

#define KSYM(ret, name, proto, args)					\
	typedef ret bailey_fn_##name proto;				\
	DEFINE_STATIC_CALL_NULL(bailey_##name, bailey_fn_##name);	\
	ret bailey_k_##name proto					\
	{								\
		return static_call(bailey_##name) args;			\
	}								\
	void bailey_set_##name(unsigned long addr)			\
	{								\
		static_call_update(bailey_##name, (bailey_fn_##name *)addr); \
	}

KSYM(unsigned long, kallsyms_lookup_name, (const char *name), (name))
KSYM(int, bpf_do_misc_fixups, (struct bpf_verifier_env *env), (env))
KSYM(int, bpf_fixup_call_args, (struct bpf_verifier_env *env), (env))
KSYM(struct bpf_prog *, bpf_patch_insn_data,
     (struct bpf_verifier_env *env, u32 off, const struct bpf_insn *patch, u32 len),
     (env, off, patch, len))
KSYM(struct bpf_prog *, __bpf_prog_select_runtime,
     (struct bpf_verifier_env *env, struct bpf_prog *fp, int *err), (env, fp, err))
KSYM(int, bpf_check_attach_target,
     (struct bpf_verifier_log *log, const struct bpf_prog *prog, const struct bpf_prog *target,
      u32 btf_id, struct bpf_attach_target_info *info),
     (log, prog, target, btf_id, info))
KSYM(int, bpf_arch_text_poke,
     (void *ip, enum bpf_text_poke_type old_t, enum bpf_text_poke_type new_t,
      void *old_addr, void *new_addr),
     (ip, old_t, new_t, old_addr, new_addr))
KSYM(u64, bpf_check_timed_may_goto, (struct bpf_timed_may_goto *p), (p))
KSYM(bool, bpf_is_throw_kfunc, (struct bpf_insn *insn), (insn))
KSYM(void *, bpf_prog_pack_alloc, (u32 size, bpf_jit_fill_hole_t fill, bool was_classic),
     (size, fill, was_classic))
KSYM(void, bpf_prog_pack_free, (void *ptr, u32 size), (ptr, size))
KSYM(struct btf *, bpf_get_btf_vmlinux, (void), ())
KSYM(void, btf_get, (struct btf *btf), (btf))
KSYM(s32, btf_find_by_name_kind, (const struct btf *btf, const char *name, u8 kind),
     (btf, name, kind))
KSYM(s32, btf_find_dtor_kfunc, (struct btf *btf, u32 id), (btf, id))
KSYM(const char *, btf_name_by_offset, (const struct btf *btf, u32 offset), (btf, offset))
KSYM(void *, text_poke_copy, (void *addr, const void *code, size_t len), (addr, code, len))
KSYM(void, smp_text_poke_single,
     (void *addr, const void *code, size_t len, const void *emulate), (addr, code, len, emulate))
KSYM(int, smp_text_poke_int3_handler, (struct pt_regs *regs), (regs))
KSYM(int, insn_decode, (struct insn *insn, const void *code, int len, enum insn_mode mode),
     (insn, code, len, mode))
KSYM(struct vm_struct *, __get_vm_area_node,
     (unsigned long size, unsigned long align, unsigned long shift, unsigned long flags,
      unsigned long start, unsigned long end, int node, gfp_t gfp, const void *caller),
     (size, align, shift, flags, start, end, node, gfp, caller))
KSYM(struct bpf_map *, array_map_alloc, (union bpf_attr *attr), (attr))
KSYM(void, array_map_free, (struct bpf_map *map), (map))
KSYM(int, bpf_percpu_hash_copy, (struct bpf_map *map, void *key, void *value, u64 flags),
     (map, key, value, flags))
KSYM(int, bpf_percpu_hash_update, (struct bpf_map *map, void *key, void *value, u64 flags),
     (map, key, value, flags))
KSYM(struct bpf_map *, htab_map_alloc, (union bpf_attr *attr), (attr))
KSYM(void, htab_map_free, (struct bpf_map *map), (map))
KSYM(void, trie_free, (struct bpf_map *map), (map))
KSYM(int, security_bpf_map_create,
     (struct bpf_map *map, union bpf_attr *attr, struct bpf_token *token, bool kernel),
     (map, attr, token, kernel))
KSYM(struct bpf_map *, bpf_map_meta_alloc, (int fd), (fd))
KSYM(bool, bpf_map_meta_equal, (const struct bpf_map *meta, const struct bpf_map *map), (meta, map))
KSYM(void *, bpf_map_area_alloc, (u64 size, int node), (size, node))
KSYM(void *, bpf_map_area_mmapable_alloc, (u64 size, int node), (size, node))
KSYM(void, bpf_map_init_from_attr, (struct bpf_map *map, union bpf_attr *attr), (map, attr))
KSYM(void __percpu *, bpf_map_alloc_percpu,
     (const struct bpf_map *map, size_t size, size_t align, gfp_t gfp), (map, size, align, gfp))
KSYM(int, bpf_lru_init,
     (struct bpf_lru *lru, bool percpu, u32 hash_offset, del_from_htab_func del_from_htab,
      void *del_arg),
     (lru, percpu, hash_offset, del_from_htab, del_arg))
KSYM(void, bpf_lru_populate,
     (struct bpf_lru *lru, void *buf, u32 node_offset, u32 elem_size, u32 nr_elems),
     (lru, buf, node_offset, elem_size, nr_elems))
KSYM(void, bpf_lru_destroy, (struct bpf_lru *lru), (lru))
KSYM(struct bpf_lru_node *, bpf_lru_pop_free, (struct bpf_lru *lru, u32 hash), (lru, hash))
KSYM(void, bpf_lru_push_free, (struct bpf_lru *lru, struct bpf_lru_node *node), (lru, node))
KSYM(struct btf *, btf_get_by_fd, (int fd), (fd))
KSYM(void, btf_put, (struct btf *btf), (btf))
KSYM(const struct btf_type *, btf_type_id_size, (const struct btf *btf, u32 *id, u32 *size),
     (btf, id, size))
KSYM(struct btf_record *, btf_parse_fields,
     (const struct btf *btf, const struct btf_type *type, u32 mask, u32 size),
     (btf, type, mask, size))
KSYM(void, btf_record_free, (struct btf_record *record), (record))
KSYM(void, btf_type_seq_show, (const struct btf *btf, u32 type, void *obj, struct seq_file *m),
     (btf, type, obj, m))
KSYM(struct bpf_prog *, bpf_iter_get_info, (struct bpf_iter_meta *meta, bool in_stop),
     (meta, in_stop))
KSYM(void, bpf_map_put_with_uref, (struct bpf_map *map), (map))
KSYM(int, bpf_iter_run_prog, (struct bpf_prog *prog, void *ctx), (prog, ctx))
KSYM(u64, bpf_spin_unlock, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5), (r1, r2, r3, r4, r5))
KSYM(void, bpf_res_spin_unlock, (struct bpf_res_spin_lock *lock), (lock))
KSYM(u64, bpf_sk_release, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5), (r1, r2, r3, r4, r5))
KSYM(u64, bpf_ringbuf_discard, (u64 r1, u64 r2, u64 r3, u64 r4, u64 r5), (r1, r2, r3, r4, r5))
KSYM(void, bpf_iter_bits_destroy, (struct bpf_iter_bits *it), (it))
KSYM(void, __bpf_obj_drop_impl, (void *p, const struct btf_record *record, bool percpu),
     (p, record, percpu))
KSYM(struct bpf_rb_node *, bpf_rbtree_remove, (struct bpf_rb_root *root, struct bpf_rb_node *node),
     (root, node))
KSYM(struct btf_struct_meta *, btf_find_struct_meta, (const struct btf *btf, u32 id), (btf, id))
KSYM(void, flush_tlb_all, (void), ())
KSYM(u64, bpf_arena_map_kern_vm_start, (struct bpf_map *map), (map))
KSYM(void, bpf_prog_report_arena_violation,
     (bool write, unsigned long addr, unsigned long fault_ip), (write, addr, fault_ip))
KSYM(void, cr4_update_irqsoff, (unsigned long set, unsigned long clear), (set, clear))

/*
 * kallsyms_lookup_name is not exported, but a kprobe may be put on it; the
 * address comes back in the kprobe. Returns 0 when it cannot be found.
 */
unsigned long bailey_find_kallsyms_lookup_name(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	unsigned long addr;

	if (register_kprobe(&probe))
		return 0;
	addr = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	/* A kprobe at an entry lies behind the ENDBR; functions are 16-aligned. */
	return addr & ~15UL;
}
