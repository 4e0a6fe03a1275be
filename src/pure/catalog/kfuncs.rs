// SPDX-License-Identifier: GPL-2.0
//! Kernel functions: which an isolated program may call.
//!
//! A kfunc has a number in the kernel's BTF that is another one in every
//! kernel, so they are known by their names here. What a helper's prototype
//! says of its arguments nothing says of a kfunc's in a way that an audit could
//! rely on: so the table does.
//!
//! In this module's own tables a kfunc has a number, too: behind those of the
//! helpers, by its place in [`ALLOWED`]. So call sites, gates and audits need
//! not know the one from the other.

use super::ArgKind::{
    Buffer, Callback, Ctx, Graph, KernelObjectOf, Map, Object, OwnStr, Reference, ResSpinLock,
    Scalar, Size, Timer, Words, Workqueue,
};
use super::{audited, scalar, with_ctx, ArgKind, Gate, Gives, Helper, Resource, Special, Sync};
use crate::pure::graph::Part;
use crate::pure::kernel_type::KernelType::{self, Cgroup, CryptoContext, Task};
use crate::pure::objects::Kind::{Bits, IrqFlags, LockFlags, Numbers, Packet};
use crate::pure::objects::Step::{Clone, Dynptr, DynptrOrNull, End, Live, New};

/// The number of the first kfunc; helpers have smaller ones.
pub const FIRST: u32 = 256;

const _: () = assert!(super::LAST < FIRST);

/// What is to be known of a kfunc.
#[derive(Clone, Copy, Debug)]
pub struct Kfunc {
    /// Its name in the kernel.
    pub name: &'static str,
    /// The function that programs which may not sleep call by that name
    /// (`specialize_kfunc()`, kernel/bpf/verifier.c).
    pub function: &'static str,
    /// What its arguments are. What the verifier adds to them `call` says.
    pub args: &'static [ArgKind],
    /// The rest is as with a helper.
    pub call: Helper,
}

impl Kfunc {
    const fn acquires(self, kind: Resource) -> Self {
        Self {
            call: self.call.acquires(kind),
            ..self
        }
    }

    const fn calls_back(self) -> Self {
        Self {
            call: Helper {
                calls_back: true,
                ..self.call
            },
            ..self
        }
    }

    const fn calls_later(self) -> Self {
        Self {
            call: Helper {
                special: Special::CallsLater,
                ..self.call
            },
            ..self
        }
    }

    const fn as_function(self, function: &'static str) -> Self {
        Self { function, ..self }
    }

    const fn gives(self, gives: Gives) -> Self {
        Self {
            call: self.call.gives(gives),
            ..self
        }
    }

    const fn syncs(self, sync: Sync) -> Self {
        Self {
            call: self.call.syncs(sync),
            ..self
        }
    }

    const fn releases(self, kind: Resource) -> Self {
        Self {
            call: self.call.releases(kind),
            ..self
        }
    }
}

/// One that takes `args`.
const fn kfunc(name: &'static str, args: &'static [ArgKind]) -> Kfunc {
    Kfunc {
        name,
        function: name,
        args,
        call: audited(0),
    }
}

/// One that takes the context first.
const fn of_context(name: &'static str, args: &'static [ArgKind], sync: Sync) -> Kfunc {
    Kfunc {
        name,
        function: name,
        args,
        call: with_ctx(0, sync),
    }
}

/// One that becomes instructions.
const fn of_strings(name: &'static str, args: &'static [ArgKind]) -> Kfunc {
    Kfunc {
        name,
        function: name,
        args,
        call: Helper {
            gate: Gate::Instructions,
            ..scalar(0)
        },
    }
}

const LENGTH: ArgKind = Size { zero_ok: true };
const DYNPTR: ArgKind = Object(Dynptr);

const SIZE: ArgKind = Graph(Part::Size);
const META: ArgKind = Graph(Part::Meta);
const OFFSET: ArgKind = Graph(Part::Offset);
const LIST: ArgKind = Graph(Part::List);
const TREE: ArgKind = Graph(Part::Tree);
const NEW_NODE: ArgKind = Graph(Part::NewNode);
const NODE: ArgKind = Graph(Part::Node);
const OWNED: ArgKind = Graph(Part::Owned);
const OBJECT: ArgKind = Graph(Part::Object);
const PER_CPU_SIZE: ArgKind = Graph(Part::PerCpuSize);
const PER_CPU: ArgKind = Graph(Part::PerCpu);

/// What is crypted by, from where, to where, and the vector that it begins with.
const CRYPT: [ArgKind; 4] = [
    KernelObjectOf(CryptoContext),
    DYNPTR,
    DYNPTR,
    Object(DynptrOrNull),
];
const PUSH: [ArgKind; 4] = [LIST, NEW_NODE, META, OFFSET];
const ADD: [ArgKind; 5] = [TREE, NEW_NODE, Callback, META, OFFSET];

/// One that gives an object with a reference.
const fn owning(name: &'static str, args: &'static [ArgKind]) -> Kfunc {
    kfunc(name, args).gives(Gives::OwnedOrNull)
}

/// One that gives a reference to an object of the kernel's.
const fn referring(name: &'static str, args: &'static [ArgKind], of: KernelType) -> Kfunc {
    kfunc(name, args)
        .gives(Gives::ReferenceOrNull(of))
        .acquires(Resource::Reference(of))
}

/// One that gives an object without a reference.
const fn lending(name: &'static str, args: &'static [ArgKind]) -> Kfunc {
    kfunc(name, args).gives(Gives::BorrowedOrNull)
}

/// Gives each its number.
// Evaluated by the compiler, which would find an index that is out of bounds.
#[allow(clippy::indexing_slicing)]
const fn numbered<const N: usize>(mut table: [Kfunc; N]) -> [Kfunc; N] {
    let mut n = 0;
    while n < N {
        table[n].call.id = FIRST + n as u32;
        n += 1;
    }
    table
}

/// The kfuncs that an isolated XDP program may call, in the order of their
/// names.
pub static ALLOWED: [Kfunc; 92] = numbered([
    // Of the addresses the low half counts, and what is done is done to the arena alone.
    kfunc(
        "bpf_arena_alloc_pages",
        &[Map, Scalar, Scalar, Scalar, Scalar],
    )
    .as_function("bpf_arena_alloc_pages_non_sleepable"),
    kfunc("bpf_arena_free_pages", &[Map, Scalar, Scalar])
        .as_function("bpf_arena_free_pages_non_sleepable"),
    kfunc("bpf_arena_reserve_pages", &[Map, Scalar, Scalar]),
    referring("bpf_cgroup_acquire", &[KernelObjectOf(Cgroup)], Cgroup),
    referring(
        "bpf_cgroup_ancestor",
        &[KernelObjectOf(Cgroup), Scalar],
        Cgroup,
    ),
    referring("bpf_cgroup_from_id", &[Scalar], Cgroup),
    kfunc("bpf_cgroup_release", &[Reference(Cgroup)]).releases(Resource::Reference(Cgroup)),
    kfunc("bpf_crypto_decrypt", &CRYPT).syncs(Sync::Around),
    kfunc("bpf_crypto_encrypt", &CRYPT).syncs(Sync::Around),
    kfunc("bpf_dynptr_adjust", &[DYNPTR, Scalar, Scalar]),
    kfunc("bpf_dynptr_clone", &[DYNPTR, Object(Clone)]),
    kfunc("bpf_dynptr_copy", &[DYNPTR, Scalar, DYNPTR, Scalar, Scalar]).syncs(Sync::Around),
    of_context(
        "bpf_dynptr_from_xdp",
        &[Ctx, Scalar, Object(New(Packet))],
        Sync::None,
    ),
    kfunc("bpf_dynptr_is_null", &[DYNPTR]),
    kfunc("bpf_dynptr_is_rdonly", &[DYNPTR]),
    kfunc("bpf_dynptr_memset", &[DYNPTR, Scalar, Scalar, Scalar]).syncs(Sync::Around),
    kfunc("bpf_dynptr_size", &[DYNPTR]),
    kfunc("bpf_dynptr_slice", &[DYNPTR, Scalar, Buffer, LENGTH])
        .syncs(Sync::Before)
        .gives(Gives::SliceOrNull),
    kfunc("bpf_dynptr_slice_rdwr", &[DYNPTR, Scalar, Buffer, LENGTH])
        .syncs(Sync::Before)
        .gives(Gives::SliceOrNull),
    kfunc("bpf_iter_bits_destroy", &[Object(End(Bits))]),
    kfunc("bpf_iter_bits_new", &[Object(New(Bits)), Words, Scalar]),
    kfunc("bpf_iter_bits_next", &[Object(Live(Bits))]).gives(Gives::IntOrNull),
    kfunc("bpf_iter_num_destroy", &[Object(End(Numbers))]),
    kfunc("bpf_iter_num_new", &[Object(New(Numbers)), Scalar, Scalar]),
    kfunc("bpf_iter_num_next", &[Object(Live(Numbers))]).gives(Gives::IntOrNull),
    kfunc("bpf_list_add", &[LIST, NEW_NODE, NODE, META, OFFSET]),
    lending("bpf_list_back", &[LIST]),
    owning("bpf_list_del", &[LIST, NODE]),
    kfunc("bpf_list_empty", &[LIST]),
    lending("bpf_list_front", &[LIST]),
    kfunc("bpf_list_is_first", &[LIST, NODE]),
    kfunc("bpf_list_is_last", &[LIST, NODE]),
    owning("bpf_list_pop_back", &[LIST]),
    owning("bpf_list_pop_front", &[LIST]),
    kfunc("bpf_list_push_back", &PUSH),
    kfunc("bpf_list_push_back_impl", &PUSH),
    kfunc("bpf_list_push_front", &PUSH),
    kfunc("bpf_list_push_front_impl", &PUSH),
    kfunc("bpf_local_irq_restore", &[Object(End(IrqFlags))]),
    kfunc("bpf_local_irq_save", &[Object(New(IrqFlags))]),
    // Any map: it reads a count for each CPU, which the map has or not.
    kfunc("bpf_map_sum_elem_count", &[Map]),
    kfunc("bpf_obj_drop", &[OWNED, META]),
    kfunc("bpf_obj_drop_impl", &[OWNED, META]),
    owning("bpf_obj_new", &[SIZE, META]),
    owning("bpf_obj_new_impl", &[SIZE, META]),
    kfunc("bpf_percpu_obj_drop", &[PER_CPU, META]),
    kfunc("bpf_percpu_obj_drop_impl", &[PER_CPU, META]),
    kfunc("bpf_percpu_obj_new", &[PER_CPU_SIZE, META]).gives(Gives::PerCpuOrNull),
    kfunc("bpf_percpu_obj_new_impl", &[PER_CPU_SIZE, META]).gives(Gives::PerCpuOrNull),
    kfunc("bpf_preempt_disable", &[]).acquires(Resource::PreemptOff),
    kfunc("bpf_preempt_enable", &[]).releases(Resource::PreemptOff),
    kfunc("bpf_rbtree_add", &ADD).calls_back(),
    kfunc("bpf_rbtree_add_impl", &ADD).calls_back(),
    lending("bpf_rbtree_first", &[TREE]),
    lending("bpf_rbtree_left", &[TREE, NODE]),
    owning("bpf_rbtree_remove", &[TREE, NODE]),
    lending("bpf_rbtree_right", &[TREE, NODE]),
    lending("bpf_rbtree_root", &[TREE]),
    kfunc("bpf_rcu_read_lock", &[]).acquires(Resource::RcuRead),
    kfunc("bpf_rcu_read_unlock", &[]).releases(Resource::RcuRead),
    owning("bpf_refcount_acquire", &[OBJECT, META]),
    owning("bpf_refcount_acquire_impl", &[OBJECT, META]),
    kfunc("bpf_res_spin_lock", &[ResSpinLock]).acquires(Resource::ResSpinLock),
    kfunc(
        "bpf_res_spin_lock_irqsave",
        &[ResSpinLock, Object(New(LockFlags))],
    )
    .acquires(Resource::ResSpinLock),
    kfunc("bpf_res_spin_unlock", &[ResSpinLock]).releases(Resource::ResSpinLock),
    kfunc(
        "bpf_res_spin_unlock_irqrestore",
        &[ResSpinLock, Object(End(LockFlags))],
    )
    .releases(Resource::ResSpinLock),
    of_strings("bpf_strcasecmp", &[OwnStr, OwnStr]),
    of_strings("bpf_strcasestr", &[OwnStr, OwnStr]),
    of_strings("bpf_strchr", &[OwnStr, Scalar]),
    of_strings("bpf_strchrnul", &[OwnStr, Scalar]),
    of_strings("bpf_strcmp", &[OwnStr, OwnStr]),
    of_strings("bpf_strcspn", &[OwnStr, OwnStr]),
    of_strings("bpf_strlen", &[OwnStr]),
    of_strings("bpf_strncasecmp", &[OwnStr, OwnStr, Scalar]),
    of_strings("bpf_strncasestr", &[OwnStr, OwnStr, Scalar]),
    of_strings("bpf_strnchr", &[OwnStr, Scalar, Scalar]),
    of_strings("bpf_strnlen", &[OwnStr, Scalar]),
    of_strings("bpf_strnstr", &[OwnStr, OwnStr, Scalar]),
    of_strings("bpf_strrchr", &[OwnStr, Scalar]),
    of_strings("bpf_strspn", &[OwnStr, OwnStr]),
    of_strings("bpf_strstr", &[OwnStr, OwnStr]),
    referring("bpf_task_acquire", &[KernelObjectOf(Task)], Task),
    referring("bpf_task_from_pid", &[Scalar], Task),
    referring("bpf_task_from_vpid", &[Scalar], Task),
    referring(
        "bpf_task_get_cgroup1",
        &[KernelObjectOf(Task), Scalar],
        Cgroup,
    ),
    kfunc("bpf_task_release", &[Reference(Task)]).releases(Resource::Reference(Task)),
    kfunc(
        "bpf_task_under_cgroup",
        &[KernelObjectOf(Task), KernelObjectOf(Cgroup)],
    ),
    kfunc("bpf_timer_cancel_async", &[Timer]),
    kfunc("bpf_wq_init", &[Workqueue, Map, Scalar]),
    kfunc("bpf_wq_set_callback", &[Workqueue, Callback, Scalar]).calls_later(),
    kfunc("bpf_wq_start", &[Workqueue, Scalar]),
    of_context("bpf_xdp_pull_data", &[Ctx, Scalar], Sync::Around),
]);

const KERNEL_OBJECT: &str =
    "it makes or takes an object of the kernel that the program reads freely";
const LATER: &str = "what it starts runs in a task that it chooses, which the program may read";
const ANY_READ: &str = "it reads any address it is given";
const FILE: &str = "its dynptrs are of files";
const DEVICE: &str = "only programs that are bound to a device may call it";
const NOT_REVIEWED: &str = "it is not reviewed yet";
const SLEEPS: &str = "it may sleep";

/// Kfuncs that an XDP program could call without isolation, in the order of
/// their names, and why they are refused with it. `bpf_throw` is not a call
/// ([`super::super::rewrite`]).
pub static REFUSED: [(&str, &str); 62] = [
    ("__bpf_trap", NOT_REVIEWED),
    ("bpf_cast_to_kern_ctx", KERNEL_OBJECT),
    ("bpf_cgroup_read_xattr", KERNEL_OBJECT),
    ("bpf_copy_from_user_dynptr", SLEEPS),
    ("bpf_copy_from_user_str", SLEEPS),
    ("bpf_copy_from_user_str_dynptr", SLEEPS),
    ("bpf_copy_from_user_task_dynptr", SLEEPS),
    ("bpf_copy_from_user_task_str", SLEEPS),
    ("bpf_copy_from_user_task_str_dynptr", SLEEPS),
    ("bpf_dynptr_file_discard", FILE),
    ("bpf_dynptr_from_file", FILE),
    ("bpf_get_kmem_cache", KERNEL_OBJECT),
    ("bpf_get_mem_cgroup", KERNEL_OBJECT),
    ("bpf_get_root_mem_cgroup", KERNEL_OBJECT),
    ("bpf_iter_css_destroy", KERNEL_OBJECT),
    ("bpf_iter_css_new", KERNEL_OBJECT),
    ("bpf_iter_css_next", KERNEL_OBJECT),
    ("bpf_iter_css_task_destroy", KERNEL_OBJECT),
    ("bpf_iter_css_task_new", KERNEL_OBJECT),
    ("bpf_iter_css_task_next", KERNEL_OBJECT),
    ("bpf_iter_dmabuf_destroy", SLEEPS),
    ("bpf_iter_dmabuf_new", SLEEPS),
    ("bpf_iter_dmabuf_next", SLEEPS),
    ("bpf_iter_kmem_cache_destroy", SLEEPS),
    ("bpf_iter_kmem_cache_new", SLEEPS),
    ("bpf_iter_kmem_cache_next", SLEEPS),
    ("bpf_iter_task_destroy", KERNEL_OBJECT),
    ("bpf_iter_task_new", KERNEL_OBJECT),
    ("bpf_iter_task_next", KERNEL_OBJECT),
    ("bpf_iter_task_vma_destroy", KERNEL_OBJECT),
    ("bpf_iter_task_vma_new", KERNEL_OBJECT),
    ("bpf_iter_task_vma_next", KERNEL_OBJECT),
    ("bpf_key_put", KERNEL_OBJECT),
    ("bpf_lookup_system_key", KERNEL_OBJECT),
    ("bpf_lookup_user_key", SLEEPS),
    ("bpf_mem_cgroup_flush_stats", KERNEL_OBJECT),
    ("bpf_mem_cgroup_memory_events", KERNEL_OBJECT),
    ("bpf_mem_cgroup_page_state", KERNEL_OBJECT),
    ("bpf_mem_cgroup_usage", KERNEL_OBJECT),
    ("bpf_mem_cgroup_vm_events", KERNEL_OBJECT),
    ("bpf_modify_return_test_tp", NOT_REVIEWED),
    ("bpf_probe_read_kernel_dynptr", ANY_READ),
    ("bpf_probe_read_kernel_str_dynptr", ANY_READ),
    ("bpf_probe_read_user_dynptr", ANY_READ),
    ("bpf_probe_read_user_str_dynptr", ANY_READ),
    ("bpf_put_mem_cgroup", KERNEL_OBJECT),
    ("bpf_rdonly_cast", KERNEL_OBJECT),
    ("bpf_send_signal_task", NOT_REVIEWED),
    ("bpf_stream_print_stack", ANY_READ),
    ("bpf_stream_vprintk", ANY_READ),
    ("bpf_task_work_schedule_resume", LATER),
    ("bpf_task_work_schedule_signal", LATER),
    ("bpf_verify_pkcs7_signature", SLEEPS),
    ("bpf_xdp_ct_alloc", KERNEL_OBJECT),
    ("bpf_xdp_ct_lookup", KERNEL_OBJECT),
    ("bpf_xdp_flow_lookup", KERNEL_OBJECT),
    ("bpf_xdp_get_xfrm_state", KERNEL_OBJECT),
    ("bpf_xdp_metadata_rx_hash", DEVICE),
    ("bpf_xdp_metadata_rx_timestamp", DEVICE),
    ("bpf_xdp_metadata_rx_vlan_tag", DEVICE),
    ("bpf_xdp_xfrm_state_release", KERNEL_OBJECT),
    ("crash_kexec", NOT_REVIEWED),
];

/// The kfunc of this name, if an isolated program may call it.
pub fn by_name(name: &str) -> Option<&'static Kfunc> {
    let at = ALLOWED
        .binary_search_by(|kfunc| kfunc.name.cmp(name))
        .ok()?;
    ALLOWED.get(at)
}

/// The kfunc with this number of ours.
pub fn by_id(id: u32) -> Option<&'static Kfunc> {
    ALLOWED.get(id.checked_sub(FIRST)? as usize)
}

/// Whether number `id` is a kfunc about the pages of an arena.
pub fn is_of_arena(id: u32) -> bool {
    by_id(id).is_some_and(|kfunc| kfunc.name.starts_with("bpf_arena_"))
}

/// Why an isolated program may not call the kfunc of this name.
pub fn refusal(name: &str) -> Option<&'static str> {
    if by_name(name).is_some() {
        return None;
    }
    match REFUSED.binary_search_by(|refused| refused.0.cmp(name)) {
        Ok(at) => REFUSED.get(at).map(|refused| refused.1),
        Err(_) => Some("this kernel's kfunc is unknown here"),
    }
}

/// Why a kfunc of a module is refused.
pub const OF_MODULE: &str = "kfuncs of modules are not isolated";

/// Those that modules have for XDP programs (net/netfilter/nf_conntrack_bpf.c, nf_nat_bpf.c,
/// nf_flow_table_bpf.c).
pub static OF_MODULES: [&str; 12] = [
    "bpf_ct_change_status",
    "bpf_ct_change_timeout",
    "bpf_ct_insert_entry",
    "bpf_ct_release",
    "bpf_ct_set_nat_info",
    "bpf_ct_set_status",
    "bpf_ct_set_timeout",
    "bpf_skb_ct_alloc",
    "bpf_skb_ct_lookup",
    "bpf_xdp_ct_alloc",
    "bpf_xdp_ct_lookup",
    "bpf_xdp_flow_lookup",
];

/// Whether `reason` is that it may sleep. Of those that are refused for another one nothing is
/// known.
pub fn sleeps(reason: &str) -> bool {
    reason == SLEEPS
}

#[cfg(test)]
mod tests {
    use super::super::{helper, name, Callee};
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn the_table_is_sorted_and_numbered() {
        assert!(ALLOWED.windows(2).all(|pair| pair[0].name < pair[1].name));
        for (n, kfunc) in ALLOWED.iter().enumerate() {
            assert_eq!(kfunc.call.id, FIRST + n as u32);
            assert_eq!(
                helper(kfunc.call.id).map(|call| call.id),
                Some(kfunc.call.id)
            );
            assert_eq!(name(kfunc.call.id), Some(kfunc.name));
            assert_eq!(
                by_name(kfunc.name).map(|found| found.name),
                Some(kfunc.name)
            );
            assert!(refusal(kfunc.name).is_none());
            assert!(kfunc.args.len() <= 5, "{}", kfunc.name);
        }
        assert!(REFUSED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, reason) in REFUSED {
            assert!(
                by_name(name).is_none(),
                "{name} is both allowed and refused"
            );
            assert_eq!(refusal(name), Some(reason));
        }
        assert!(by_id(FIRST + ALLOWED.len() as u32).is_none());
        assert!(by_id(0).is_none());
    }

    #[test]
    fn gates_fit_their_arguments() {
        for kfunc in &ALLOWED {
            let call = &kfunc.call;
            let takes_ctx = kfunc.args.first() == Some(&ArgKind::Ctx);
            assert_eq!(call.takes_ctx, takes_ctx, "{}", kfunc.name);
            let scalar = call.gate == Gate::Scalar;
            assert!(
                !scalar || !kfunc.args.iter().any(|arg| arg.is_pointer()),
                "{} takes a pointer through the scalar gate",
                kfunc.name
            );
            assert!(!scalar || call.acquires.is_none() && call.releases.is_none());
            for (n, arg) in kfunc.args.iter().enumerate() {
                let sized = matches!(arg, ArgKind::Mem { .. } | Buffer);
                let size = matches!(kfunc.args.get(n + 1), Some(ArgKind::Size { .. }));
                assert_eq!(sized, size, "{}", kfunc.name);
            }
        }
    }

    #[test]
    fn kfuncs_of_arenas_are_known_by_their_numbers() {
        let arena = |name: &str| is_of_arena(by_name(name).unwrap().call.id);
        assert!(arena("bpf_arena_alloc_pages") && arena("bpf_arena_reserve_pages"));
        assert!(!arena("bpf_dynptr_adjust") && !is_of_arena(0));
    }

    #[test]
    fn a_kfunc_is_named_as_one() {
        let lock = by_name("bpf_rcu_read_lock").unwrap().call.id;
        assert_eq!(Callee(lock).to_string(), "kfunc bpf_rcu_read_lock");
        assert_eq!(Callee(1).to_string(), "helper map_lookup_elem#1");
        assert!(refusal("bpf_rdonly_cast").is_some());
        assert!(refusal("bpf_of_another_kernel").is_some());
    }
}
