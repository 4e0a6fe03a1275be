// SPDX-License-Identifier: GPL-2.0
//! Every kernel symbol that is not exported, each with its reason.
//!
//! `kallsyms_lookup_name` is found by a kprobe (which is exported) and finds
//! the others. All are called through static calls (helpers/ksym.c): direct
//! calls, because most have their ENDBR sealed. If one is missing, the module
//! does not load and names it.

use crate::bindings as b;
use kernel::prelude::*;

struct Symbol {
    name: &'static CStr,
    set: unsafe extern "C" fn(usize),
    /// Why it is needed; printed when it is missing.
    why: &'static str,
}

/// Takes the address of `init_mm`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `init_mm`.
unsafe extern "C" fn set_init_mm(addr: usize) {
    // SAFETY: written once, before anything reads it: `resolve` runs first in the init ladder.
    unsafe { b::bailey_init_mm = addr };
}

/// Takes the address of `bpf_throw`, which is compared and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `bpf_throw`.
unsafe extern "C" fn set_bpf_throw(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_bpf_throw = addr };
}

/// Takes the address of `arch_bpf_timed_may_goto`, which is compared and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `arch_bpf_timed_may_goto`.
unsafe extern "C" fn set_arch_bpf_timed_may_goto(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_arch_bpf_timed_may_goto = addr };
}

/// Takes the address of the per-CPU word `hardirq_stack_ptr`, which is read.
///
/// # Safety
///
/// `addr` is the address of the kernel's variable of that name.
unsafe extern "C" fn set_hardirq_stack_ptr(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_hardirq_stack_ptr = addr };
}

/// Takes the address of `htab_map_ops`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `htab_map_ops`.
unsafe extern "C" fn set_htab_map_ops(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_htab_map_ops = addr as *const b::bpf_map_ops };
}

/// Takes the address of `htab_lru_map_ops`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `htab_lru_map_ops`.
unsafe extern "C" fn set_htab_lru_map_ops(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_htab_lru_map_ops = addr as *const b::bpf_map_ops };
}

/// Takes the address of `htab_percpu_map_ops`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `htab_percpu_map_ops`.
unsafe extern "C" fn set_htab_percpu_map_ops(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_htab_percpu_map_ops = addr as *const b::bpf_map_ops };
}

/// Takes the address of `htab_lru_percpu_map_ops`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `htab_lru_percpu_map_ops`.
unsafe extern "C" fn set_htab_lru_percpu_map_ops(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_htab_lru_percpu_map_ops = addr as *const b::bpf_map_ops };
}

/// Takes the address of `trie_map_ops`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `trie_map_ops`.
unsafe extern "C" fn set_trie_map_ops(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_trie_map_ops = addr as *const b::bpf_map_ops };
}

/// Takes the address of `btf_bpf_map_id`, which is data and not called.
///
/// # Safety
///
/// `addr` is the address of the kernel's `btf_bpf_map_id`.
unsafe extern "C" fn set_btf_bpf_map_id(addr: usize) {
    // SAFETY: as above.
    unsafe { b::bailey_btf_bpf_map_id = addr as *mut c_int };
}

macro_rules! symbols {
    ($($name:ident, $set:path, $why:literal;)*) => {
        &[$(Symbol {
            // The names below contain no NUL.
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a symbol's name contains NUL"),
            },
            set: $set,
            why: $why,
        }),*]
    };
}

static SYMBOLS: &[Symbol] = symbols! {
    bpf_do_misc_fixups, b::bailey_set_bpf_do_misc_fixups,
        "called from its hook, which keeps it from inlining reads of kernel memory";
    bpf_fixup_call_args, b::bailey_set_bpf_fixup_call_args,
        "called from its hook, which puts the gates into the program";
    bpf_patch_insn_data, b::bailey_set_bpf_patch_insn_data,
        "lengthens a program and keeps its jumps, line info and aux data in step";
    __bpf_prog_select_runtime, b::bailey_set___bpf_prog_select_runtime,
        "called from its hook, which fixes and checks the finished image";
    bpf_check_attach_target, b::bailey_set_bpf_check_attach_target,
        "called from its hook, which keeps tracers out of confined functions";
    bpf_arch_text_poke, b::bailey_set_bpf_arch_text_poke,
        "called from its hook, which turns calls of a function over when something attaches";
    bpf_is_throw_kfunc, b::bailey_set_bpf_is_throw_kfunc,
        "tells exceptions from calls of other functions of the kernel";
    bpf_throw, set_bpf_throw,
        "the same, after the verifier has put addresses into calls";
    arch_bpf_timed_may_goto, set_arch_bpf_timed_may_goto,
        "tells a may_goto that asks for the time";
    bpf_check_timed_may_goto, b::bailey_set_bpf_check_timed_may_goto,
        "asks for the time in its place";
    bpf_prog_pack_alloc, b::bailey_set_bpf_prog_pack_alloc,
        "read-only executable memory for stubs near the kernel's text";
    bpf_prog_pack_free, b::bailey_set_bpf_prog_pack_free,
        "gives that memory back";
    bpf_get_btf_vmlinux, b::bailey_set_bpf_get_btf_vmlinux,
        "the BTF that carries a program's reference to this module";
    btf_get, b::bailey_set_btf_get,
        "a reference to that BTF";
    btf_find_by_name_kind, b::bailey_set_btf_find_by_name_kind,
        "where the kernel keeps what of a per-CPU hash map";
    btf_find_dtor_kfunc, b::bailey_set_btf_find_dtor_kfunc,
        "which function gives up a reference to an object of the kernel's";
    btf_name_by_offset, b::bailey_set_btf_name_by_offset,
        "the name of a function that a program calls by its number in that BTF";
    text_poke_copy, b::bailey_set_text_poke_copy,
        "writes stubs into read-only memory";
    smp_text_poke_single, b::bailey_set_smp_text_poke_single,
        "turns a finished image's calls into jumps";
    smp_text_poke_int3_handler, b::bailey_set_smp_text_poke_int3_handler,
        "lets a confined program run on while its text is being patched";
    insn_decode, b::bailey_set_insn_decode,
        "the kernel's own instruction decoder, for the image check and for loans";
    __get_vm_area_node, b::bailey_set___get_vm_area_node,
        "an aligned top-level entry of the vmalloc area for domain memory";
    init_mm, set_init_mm,
        "the kernel's page tables, to map domain memory";
    hardirq_stack_ptr, set_hardirq_stack_ptr,
        "where the stack of interrupts ends, for runs inside of runs";
    array_map_alloc, b::bailey_set_array_map_alloc,
        "called from its hook, which gives an array's values pages of their own";
    array_map_free, b::bailey_set_array_map_free,
        "called from its hook, which tells it of that layout";
    bpf_percpu_hash_copy, b::bailey_set_bpf_percpu_hash_copy,
        "called from its hook, which reads values of a store that has some for each CPU";
    bpf_percpu_hash_update, b::bailey_set_bpf_percpu_hash_update,
        "called from its hook, which writes those";
    htab_map_alloc, b::bailey_set_htab_map_alloc,
        "called from its hook, which makes a store of a hash map";
    htab_map_free, b::bailey_set_htab_map_free,
        "called from its hook, which frees a store that never became a map";
    trie_free, b::bailey_set_trie_free,
        "frees the kernel's part of a trie with a store";
    security_bpf_map_create, b::bailey_set_security_bpf_map_create,
        "called from its hook, the first after the kernel has put its own operations into a new map";
    bpf_map_meta_alloc, b::bailey_set_bpf_map_meta_alloc,
        "called from its hook, which gives the pattern of inner maps operations that know stores";
    bpf_map_meta_equal, b::bailey_set_bpf_map_meta_equal,
        "called from its hook, which keeps stores out of maps whose programs do not know them";
    bpf_map_area_alloc, b::bailey_set_bpf_map_area_alloc,
        "a store's memory, charged as the kernel charges a map's";
    bpf_map_area_mmapable_alloc, b::bailey_set_bpf_map_area_mmapable_alloc,
        "the same, in whole pages";
    bpf_map_init_from_attr, b::bailey_set_bpf_map_init_from_attr,
        "fills a store's struct bpf_map";
    bpf_map_alloc_percpu, b::bailey_set_bpf_map_alloc_percpu,
        "the count of a store's keys, which the kernel can sum";
    btf_get_by_fd, b::bailey_set_btf_get_by_fd,
        "the type of the values of a new map";
    btf_put, b::bailey_set_btf_put,
        "gives that back";
    btf_type_id_size, b::bailey_set_btf_type_id_size,
        "the same type";
    btf_parse_fields, b::bailey_set_btf_parse_fields,
        "whether it holds fields of the kernel's";
    btf_record_free, b::bailey_set_btf_record_free,
        "gives that back";
    btf_type_seq_show, b::bailey_set_btf_type_seq_show,
        "prints the keys and values of a pinned store";
    bpf_iter_get_info, b::bailey_set_bpf_iter_get_info,
        "iterators over a store";
    bpf_map_put_with_uref, b::bailey_set_bpf_map_put_with_uref,
        "iterators over a store";
    bpf_iter_run_prog, b::bailey_set_bpf_iter_run_prog,
        "iterators over a store";
    htab_map_ops, set_htab_map_ops,
        "the kernel's operations of hash maps, for those that are no stores";
    htab_lru_map_ops, set_htab_lru_map_ops,
        "the same of hash maps that make room by use";
    htab_percpu_map_ops, set_htab_percpu_map_ops,
        "the same of hash maps with values for each CPU";
    htab_lru_percpu_map_ops, set_htab_lru_percpu_map_ops,
        "the same of those of them that make room by use";
    trie_map_ops, set_trie_map_ops,
        "the same of tries";
    bpf_lru_init, b::bailey_set_bpf_lru_init,
        "a store's elements by use, as the kernel keeps those of its own maps";
    bpf_lru_populate, b::bailey_set_bpf_lru_populate,
        "the same";
    bpf_lru_destroy, b::bailey_set_bpf_lru_destroy,
        "the same";
    bpf_lru_pop_free, b::bailey_set_bpf_lru_pop_free,
        "an element of a store that was not used for long";
    bpf_lru_push_free, b::bailey_set_bpf_lru_push_free,
        "an element of a store that is free";
    btf_bpf_map_id, set_btf_bpf_map_id,
        "what programs that look at a store see it as";
    bpf_spin_unlock, b::bailey_set_bpf_spin_unlock,
        "gives back a lock that an aborted run holds";
    bpf_res_spin_unlock, b::bailey_set_bpf_res_spin_unlock,
        "the same";
    bpf_sk_release, b::bailey_set_bpf_sk_release,
        "gives back a socket that an aborted run holds";
    bpf_ringbuf_discard, b::bailey_set_bpf_ringbuf_discard,
        "gives back a ring-buffer record that an aborted run holds";
    bpf_iter_bits_destroy, b::bailey_set_bpf_iter_bits_destroy,
        "gives back an iterator that an aborted run holds";
    __bpf_obj_drop_impl, b::bailey_set___bpf_obj_drop_impl,
        "gives back an allocated object that an aborted run holds";
    bpf_rbtree_remove, b::bailey_set_bpf_rbtree_remove,
        "takes it out of the tree whose order was being asked for";
    btf_find_struct_meta, b::bailey_set_btf_find_struct_meta,
        "the fields of the object that a pointer in a value is to";
    flush_tlb_all, b::bailey_set_flush_tlb_all,
        "flushes every PCID before domain memory is reused";
    bpf_arena_map_kern_vm_start, b::bailey_set_bpf_arena_map_kern_vm_start,
        "where the kernel has an arena, of which a domain sees the same pages";
    bpf_prog_report_arena_violation, b::bailey_set_bpf_prog_report_arena_violation,
        "says in a program's stream that it has come to where its arena has nothing";
    cr4_update_irqsoff, b::bailey_set_cr4_update_irqsoff,
        "sets CR4.PKS so that the kernel's own shadow of CR4 knows it";
};

/// Finds every symbol, or says which one is missing and why it is needed.
pub(crate) fn resolve() -> Result {
    // SAFETY: registers and unregisters a kprobe; process context.
    let kallsyms = unsafe { b::bailey_find_kallsyms_lookup_name() };
    if kallsyms == 0 {
        pr_err!("cannot load: kallsyms_lookup_name is not found (finds all other symbols)\n");
        return Err(ENOENT);
    }
    // SAFETY: `kallsyms` is the address of the function of that name, found by a kprobe on it.
    unsafe { b::bailey_set_kallsyms_lookup_name(kallsyms) };
    for symbol in SYMBOLS {
        // SAFETY: the static call was set just above; the name is NUL-terminated.
        let addr = unsafe { b::bailey_k_kallsyms_lookup_name(symbol.name.as_char_ptr()) };
        if addr == 0 {
            pr_err!(
                "cannot load: {} is not found in this kernel ({})\n",
                symbol.name,
                symbol.why
            );
            return Err(ENOENT);
        }
        // SAFETY: each setter takes the address of the symbol it is listed with.
        unsafe { (symbol.set)(addr) };
    }
    Ok(())
}
