// SPDX-License-Identifier: GPL-2.0
//! Per-CPU hash maps whose elements come as they are needed (`BPF_F_NO_PREALLOC`).
//!
//! The kernel takes the values of such a map from an allocator for small pieces, and looks at
//! the map's flag whenever an element comes or goes (`htab_is_prealloc()`,
//! kernel/bpf/hashtab.c). To have values in memory of ours its code must not find the flag;
//! everybody else must. So such a map is two. What everybody has is the *front*: no more than
//! a `struct bpf_map`, with the flag. *Behind* it is a preallocated map of the kernel's with
//! values as [`super::per_cpu`] gives them, which nobody else knows. Each operation of the
//! front is the kernel's own, on the map behind.
//!
//! What user space does with values goes by the map's type and not by its operations
//! (`bpf_map_copy_value()` and `bpf_map_update_value()`, kernel/bpf/syscall.c). There
//! helpers/hook.c puts the map behind in the front's place.
//!
//! The kernel puts its own operations into a new map. Until ours follow
//! (src/store/create.rs) the front is without the flag, so that they do nothing with it but
//! look whether the types of key and value are fine.
//!
//! Programs that take such maps out of maps of maps call our operations with maps of the
//! kernel's, too: those are behind themselves.

use super::per_cpu;
use super::pieces::Pieces;
use crate::bindings as b;
use crate::btf::member_at;
use crate::store;
use core::mem::size_of;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::SetOnce;

/// Where an iterator over a hash map has the map that it walks (`struct
/// bpf_iter_seq_hash_map_info`). Empty if this kernel's fronts would not do.
static WALKED: SetOnce<usize> = SetOnce::new();

/// Looks how the kernel iterates, and puts the tables together.
pub(super) fn init() {
    let walked = member_at(c"bpf_iter_seq_hash_map_info", c"htab");
    // The kernel takes a map's address for that of the hash map.
    let (Some(walked), Some(0)) = (walked, member_at(c"bpf_htab", c"map")) else {
        pr_warn!("per-CPU hash maps without preallocation stay the kernel's: it iterates in another way\n");
        return;
    };
    let of = kernels();
    // SAFETY: the kernel's tables are found; ours are read by nobody yet.
    unsafe {
        let Some(info) = of.iter_seq_info.as_ref() else {
            return;
        };
        b::bailey_front_seq_info = b::bpf_iter_seq_info {
            init_seq_private: Some(begin),
            ..*info
        };
        b::bailey_front_ops = operations(of);
    }
    WALKED.populate(walked);
}

/// The kernel's operations of per-CPU hash maps.
fn kernels() -> &'static b::bpf_map_ops {
    // SAFETY: written before anything reads it (`ksym::resolve`); the table is a constant of
    // the kernel.
    unsafe { &*b::bailey_htab_percpu_map_ops }
}

/// Those of a front. Of the kernel's it has what needs no hash map: the others would take the
/// front for one.
fn operations(of: &b::bpf_map_ops) -> b::bpf_map_ops {
    b::bpf_map_ops {
        map_alloc_check: of.map_alloc_check,
        map_alloc: of.map_alloc,
        map_meta_equal: of.map_meta_equal,
        map_set_for_each_callback_args: of.map_set_for_each_callback_args,
        map_update_batch: of.map_update_batch,
        map_delete_batch: of.map_delete_batch,
        map_free: Some(free),
        map_get_next_key: Some(get_next_key),
        map_lookup_elem: Some(lookup),
        map_lookup_percpu_elem: Some(lookup_percpu),
        map_lookup_and_delete_elem: Some(lookup_and_delete),
        map_update_elem: Some(update),
        map_delete_elem: Some(delete),
        map_seq_show_elem: Some(seq_show),
        map_for_each_callback: Some(for_each),
        map_mem_usage: Some(mem_usage),
        map_lookup_batch: Some(lookup_batch),
        map_lookup_and_delete_batch: Some(lookup_and_delete_batch),
        // SAFETY: found before (`ksym::resolve`).
        map_btf_id: unsafe { b::bailey_btf_bpf_map_id },
        iter_seq_info: &raw const b::bailey_front_seq_info,
        ..b::bpf_map_ops::default()
    }
}

/// Whether a map with these operations is a front or, of inner ones, a pattern for such.
pub(crate) fn is_front(ops: *const b::bpf_map_ops) -> bool {
    ptr::eq(ops, &raw const b::bailey_front_ops)
}

/// The kernel's operations for maps like `map`, and a front's in their place, if it could be
/// one.
pub(crate) fn for_map(map: &b::bpf_map) -> Option<(*const b::bpf_map_ops, *const b::bpf_map_ops)> {
    let could = map.map_type == b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH
        && map.map_flags & b::BPF_F_NO_PREALLOC != 0
        && WALKED.as_ref().is_some();
    could.then_some((ptr::from_ref(kernels()), &raw const b::bailey_front_ops))
}

/// Whether a map that is to be as `create` says gets a front. Each of its keys takes so many
/// bytes, with the values of all CPUs.
pub(super) fn suits(create: &b::bpf_attr__bindgen_ty_1, element_bytes: u64) -> bool {
    let bytes = u64::from(create.max_entries).checked_mul(element_bytes);
    create.map_type == b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH
        && WALKED.as_ref().is_some()
        && bytes.is_some_and(|bytes| bytes <= store::most_unasked())
}

/// A front for `behind`, with the kernel's operations still. `None` if there is no memory.
///
/// # Safety
///
/// `behind` was made by `attr`, but without the flag, and nobody else knows it; process
/// context.
pub(super) unsafe fn of(
    behind: *mut b::bpf_map,
    attr: *mut b::bpf_attr,
) -> Option<*mut b::bpf_map> {
    let bytes = size_of::<b::bailey_front>() as u64;
    // SAFETY: process context.
    let front = unsafe { b::bailey_k_bpf_map_area_alloc(bytes, b::NUMA_NO_NODE) };
    let front = front.cast::<b::bailey_front>();
    // SAFETY: fresh and zeroed, if it is there.
    let this = unsafe { front.as_mut() }?;
    // SAFETY: `attr` is as the kernel passed it.
    unsafe { b::bailey_k_bpf_map_init_from_attr(&mut this.map, attr) };
    this.map.map_flags &= !b::BPF_F_NO_PREALLOC;
    // SAFETY: promised by the caller. The kernel counts the keys of the map behind, and frees
    // the counters with that; it asks its operations whether it holds maps (`free_htab_elem()`).
    unsafe {
        (*behind).ops = kernels();
        this.map.elem_count = (*behind).elem_count;
    }
    this.behind = behind;
    Some(&raw mut this.map)
}

/// Makes the map's operations those of a front, and gives it its flag.
///
/// # Safety
///
/// `map` was made by [`of`], the kernel has put into it what it does, and nobody else knows
/// it.
pub(crate) unsafe fn take_over(map: *mut b::bpf_map) {
    // SAFETY: promised by the caller. The types live longer than the front (`bpf_map_free()`,
    // kernel/bpf/syscall.c), and so than the map behind, which shows elements by them.
    unsafe {
        let behind = &mut *(*map.cast::<b::bailey_front>()).behind;
        let map = &mut *map;
        behind.btf = map.btf;
        behind.btf_key_type_id = map.btf_key_type_id;
        behind.btf_value_type_id = map.btf_value_type_id;
        map.map_flags |= b::BPF_F_NO_PREALLOC;
        map.ops = &raw const b::bailey_front_ops;
    }
}

/// Frees a front and the map behind it.
///
/// # Safety
///
/// As of [`per_cpu::end`], of the map behind.
pub(super) unsafe fn end(map: *mut b::bpf_map, pieces: Pieces) {
    let front = map.cast::<b::bailey_front>();
    // SAFETY: made by `of`, and nobody uses it any more; the rest is promised by the caller.
    unsafe {
        let behind = (*front).behind;
        b::bailey_area_free(front.cast());
        per_cpu::end(behind, pieces);
    }
}

/// The map whose elements are those of `map`.
///
/// # Safety
///
/// `map` is a front, or a per-CPU hash map of the kernel's.
#[inline(always)]
unsafe fn behind(map: *mut b::bpf_map) -> *mut b::bpf_map {
    // SAFETY: promised by the caller; a map with these operations was made by `of`, but for
    // patterns of inner maps, which no operation gets.
    unsafe {
        if is_front((*map).ops) {
            (*map.cast::<b::bailey_front>()).behind
        } else {
            map
        }
    }
}

/// Operations that are the kernel's on the map behind. `or` is what they return if this kernel
/// had none.
macro_rules! forward {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $op:ident or $none:expr;)*) => {
        $(
            #[doc = concat!("`", stringify!($op), "`.")]
            ///
            /// # Safety
            ///
            /// Called by the kernel with a front, or a map of the kernel's in its place, and
            /// what the operation takes.
            unsafe extern "C" fn $name(map: *mut b::bpf_map, $($arg: $type),*) $(-> $result)? {
                match kernels().$op {
                    // SAFETY: the kernel's own, called as it would have been.
                    Some(own) => unsafe { own(behind(map), $($arg),*) },
                    None => $none,
                }
            }
        )*
    };
}

forward! {
    fn get_next_key(key: *mut c_void, next: *mut c_void) -> c_int = map_get_next_key
        or EINVAL.to_errno();
    fn lookup(key: *mut c_void) -> *mut c_void = map_lookup_elem or ptr::null_mut();
    fn lookup_percpu(key: *mut c_void, cpu: u32) -> *mut c_void = map_lookup_percpu_elem
        or ptr::null_mut();
    fn lookup_and_delete(key: *mut c_void, value: *mut c_void, flags: u64) -> c_int =
        map_lookup_and_delete_elem or EINVAL.to_errno();
    fn update(key: *mut c_void, value: *mut c_void, flags: u64) -> c_long = map_update_elem
        or EINVAL.to_errno() as c_long;
    fn delete(key: *mut c_void) -> c_long = map_delete_elem or EINVAL.to_errno() as c_long;
    fn seq_show(key: *mut c_void, m: *mut b::seq_file) = map_seq_show_elem or ();
    fn lookup_batch(attr: *const b::bpf_attr, uattr: *mut b::bpf_attr) -> c_int = map_lookup_batch
        or EINVAL.to_errno();
    fn lookup_and_delete_batch(attr: *const b::bpf_attr, uattr: *mut b::bpf_attr) -> c_int =
        map_lookup_and_delete_batch or EINVAL.to_errno();
}

/// A program's callback and the map that it knows, while the kernel goes through the map
/// behind.
struct Walk {
    map: *mut b::bpf_map,
    callback: unsafe extern "C" fn(u64, u64, u64, u64, u64) -> u64,
    ctx: *mut c_void,
}

/// `map_for_each_callback`.
///
/// # Safety
///
/// Called by the kernel with a front, or a map of the kernel's in its place, and a program's
/// callback.
unsafe extern "C" fn for_each(
    map: *mut b::bpf_map,
    callback: b::bpf_callback_t,
    ctx: *mut c_void,
    flags: u64,
) -> c_long {
    let (Some(walk_through), Some(callback)) = (kernels().map_for_each_callback, callback) else {
        return EINVAL.to_errno() as c_long;
    };
    let mut walk = Walk { map, callback, ctx };
    // SAFETY: the kernel's own, called as it would have been; it calls back before it returns.
    unsafe { walk_through(behind(map), Some(each), (&raw mut walk).cast(), flags) }
}

/// Called by the kernel for each element of the map behind.
///
/// # Safety
///
/// `walk` is the [`Walk`] of [`for_each`].
unsafe extern "C" fn each(_behind: u64, key: u64, value: u64, walk: u64, unused: u64) -> u64 {
    // SAFETY: promised by the caller; a callback of a program's, called as the kernel calls it.
    unsafe {
        let walk = &*(walk as *const Walk);
        (walk.callback)(walk.map as u64, key, value, walk.ctx as u64, unused)
    }
}

/// `map_mem_usage`.
///
/// # Safety
///
/// Called by the kernel with a front.
unsafe extern "C" fn mem_usage(map: *const b::bpf_map) -> u64 {
    let of_behind = match kernels().map_mem_usage {
        // SAFETY: promised by the caller; the kernel's own, called as it would have been.
        Some(usage) => unsafe { usage(behind(map.cast_mut())) },
        None => 0,
    };
    of_behind + size_of::<b::bailey_front>() as u64
}

/// `map_free`.
///
/// # Safety
///
/// Called by the kernel with a front that nobody uses any more.
unsafe extern "C" fn free(map: *mut b::bpf_map) {
    // SAFETY: promised by the caller. The reference to the module goes last.
    unsafe { per_cpu::end_if_ours(map) };
}

/// `init_seq_private` of iterators: the kernel's, and then what is walked is the map behind,
/// while programs are shown the front.
///
/// # Safety
///
/// Called by the kernel with room for its own iterator, and a front that it holds.
unsafe extern "C" fn begin(private: *mut c_void, aux: *mut b::bpf_iter_aux_info) -> c_int {
    // SAFETY: promised by the caller; the iterator has the address of a hash map there, as the
    // kernel's BTF says.
    unsafe {
        let own = kernels().iter_seq_info.as_ref();
        let (Some(begin), Some(&walked)) =
            (own.and_then(|info| info.init_seq_private), WALKED.as_ref())
        else {
            return EINVAL.to_errno();
        };
        let err = begin(private, aux);
        if err == 0 {
            let map = (*aux).map;
            private
                .byte_add(walked)
                .cast::<*mut b::bpf_map>()
                .write(behind(map));
        }
        err
    }
}
