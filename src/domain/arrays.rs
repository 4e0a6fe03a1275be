// SPDX-License-Identifier: GPL-2.0
//! Arrays whose values have pages to themselves.
//!
//! The kernel lays an array out so if it is to be mmapped (BPF_F_MMAPABLE).
//! While it allocates and frees an array we set that flag, and at no other
//! time: user space and the verifier see the map as it was asked for. Maps that
//! outlive the module keep the flag, so that the kernel frees them rightly.
//!
//! Of a per-CPU array each value is a piece of per-CPU memory, beside whatever
//! else is there. We make it one piece for all values, on pages of its own
//! (helpers/array.c); the kernel's operations go on as ever. Only we can free it,
//! so such an array holds the module. Arrays with fields of the kernel's in their
//! values, and those that are more than a piece of per-CPU memory can be, stay
//! the kernel's.
//!
//! Lock: the list's mutex; nothing is taken under it.

use crate::bindings as b;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};

/// What of an array is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// That its values have pages to themselves.
    Pages,
    /// The memory of its values, which each CPU has its own of.
    PerCpu,
}

struct Arrays {
    /// `None` before the module is ready and when it leaves: no more arrays are
    /// laid out by us.
    ours: Option<RBTree<usize, Kind>>,
}

type Node = RBTreeNodeReservation<usize, Kind>;

kernel::sync::global_lock! {
    // SAFETY: initialized by `Hooked::new`, before the hooks are installed.
    unsafe(uninit) static ARRAYS: Mutex<Arrays> = Arrays {
        ours: None,
    };
}

/// While it lives, arrays are laid out on pages of their own. Dropped before
/// the hooks are removed.
pub(crate) struct Layout(());

impl Layout {
    /// Prepares the list; the hooks come after.
    pub(crate) fn new() -> Self {
        // SAFETY: called once, from the module's init.
        unsafe { ARRAYS.init() };
        ARRAYS.lock().ours = Some(RBTree::new());
        Self(())
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        let mut arrays = ARRAYS.lock();
        for (&map, _) in arrays.ours.take().iter().flat_map(|ours| ours.iter()) {
            // No per-CPU array is left, for each holds the module.
            // SAFETY: a map leaves the list when it is freed, under the same lock.
            unsafe { (*(map as *mut b::bpf_map)).map_flags |= b::BPF_F_MMAPABLE };
        }
    }
}

/// Whether `map` is a per-CPU array that was laid out by us.
pub(crate) fn is_per_cpu(map: *mut b::bpf_map) -> bool {
    let arrays = ARRAYS.lock();
    let kind = arrays
        .ours
        .as_ref()
        .and_then(|ours| ours.get(&(map as usize)));
    kind == Some(&Kind::PerCpu)
}

/// Calls `report` for each per-CPU array that was laid out by us.
pub(crate) fn for_each_per_cpu(mut report: impl FnMut(&b::bpf_map)) {
    let arrays = ARRAYS.lock();
    for (&map, kind) in arrays.ours.iter().flat_map(|ours| ours.iter()) {
        if *kind == Kind::PerCpu {
            // SAFETY: a map leaves the list when it is freed, under the same lock.
            report(unsafe { &*(map as *const b::bpf_map) });
        }
    }
}

/// Puts a fresh map on the list; `false` if the module is leaving.
fn insert(node: Node, map: *mut b::bpf_map, kind: Kind) -> bool {
    let mut arrays = ARRAYS.lock();
    let Some(ours) = &mut arrays.ours else {
        return false;
    };
    ours.insert(node.into_node(map as usize, kind));
    true
}

/// Takes a map off the list.
fn remove(map: *mut b::bpf_map) -> Option<Kind> {
    let node = ARRAYS.lock().ours.as_mut()?.remove_node(&(map as usize))?;
    Some(node.to_key_value().1)
}

/// The kernel's `array_map_alloc()`. `None` if it gives no map, with what it
/// gave.
///
/// # Safety
///
/// Called in its place.
unsafe fn alloc(attr: *mut b::bpf_attr) -> Result<*mut b::bpf_map, *mut b::bpf_map> {
    // SAFETY: the original, as it would have been called.
    let map = unsafe { b::bailey_k_array_map_alloc(attr) };
    match kernel::error::from_err_ptr(map) {
        Ok(map) if !map.is_null() => Ok(map),
        _ => Err(map),
    }
}

/// An array with the flag for pages of its own while it is allocated.
///
/// # Safety
///
/// As of [`alloc`].
unsafe fn with_pages(attr: *mut b::bpf_attr, node: Node) -> *mut b::bpf_map {
    // SAFETY: of the union's members this is the one that is filled for a map's creation, here
    // and below.
    unsafe { (*attr).__bindgen_anon_1.map_flags |= b::BPF_F_MMAPABLE };
    // SAFETY: promised by the caller.
    let map = unsafe { alloc(attr) };
    // SAFETY: as above.
    unsafe { (*attr).__bindgen_anon_1.map_flags &= !b::BPF_F_MMAPABLE };
    match map {
        Ok(map) => {
            if insert(node, map, Kind::Pages) {
                // SAFETY: a fresh map, known to nobody else.
                unsafe { (*map).map_flags &= !b::BPF_F_MMAPABLE };
            }
            map
        }
        Err(none) => none,
    }
}

/// A per-CPU array of ours. `None` if it is to be the kernel's.
///
/// # Safety
///
/// As of [`alloc`].
unsafe fn per_cpu(attr: *mut b::bpf_attr, node: Node) -> Option<*mut b::bpf_map> {
    // SAFETY: attributes for a map's creation, in process context; this module's own code runs, so
    // it is there.
    unsafe {
        if !crate::store::wanted()
            || b::bailey_array_per_cpu_len(attr) == 0
            || b::bailey_store_plain_values(attr) == 0
            || b::bailey_module_try_get() == 0
        {
            return None;
        }
    }
    // SAFETY: as in `with_pages`.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    let (map_type, value_size) = (create.map_type, create.value_size);
    create.map_type = b::bpf_map_type_BPF_MAP_TYPE_ARRAY;
    create.value_size = size_of::<u64>() as u32;
    // SAFETY: promised by the caller.
    let map = unsafe { alloc(attr) };
    // SAFETY: as above.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    (create.map_type, create.value_size) = (map_type, value_size);
    let made = map.ok().and_then(|map| {
        // SAFETY: a fresh array with values as large as pointers.
        if unsafe { b::bailey_array_make_per_cpu(map, value_size) } != 0 {
            // SAFETY: nobody knows it.
            unsafe { b::bailey_k_array_map_free(map) };
            return None;
        }
        // The reference to the module keeps the list open.
        insert(node, map, Kind::PerCpu).then_some(map)
    });
    if made.is_none() {
        // SAFETY: the reference taken above. We are in a hook, which the exit waits for.
        unsafe { b::bailey_module_drop() };
    }
    made
}

/// Instead of `array_map_alloc()`.
///
/// # Safety
///
/// Called by the hook, with the attributes that the caller passed.
#[no_mangle]
unsafe extern "C" fn bailey_on_array_map_alloc(attr: *mut b::bpf_attr) -> *mut b::bpf_map {
    // SAFETY: of the union's members this is the one that is filled for a map's creation.
    let create = unsafe { &(*attr).__bindgen_anon_1 };
    let kind = match create.map_type {
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY if create.map_flags & b::BPF_F_MMAPABLE == 0 => {
            Some(Kind::Pages)
        }
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY => Some(Kind::PerCpu),
        _ => None,
    };
    let open = || ARRAYS.lock().ours.is_some();
    let node = match kind {
        Some(_) if open() => Node::new(GFP_KERNEL).ok(),
        _ => None,
    };
    let ours = match (kind, node) {
        // SAFETY: promised by the caller.
        (Some(Kind::Pages), Some(node)) => Some(unsafe { with_pages(attr, node) }),
        // SAFETY: as above.
        (Some(Kind::PerCpu), Some(node)) => unsafe { per_cpu(attr, node) },
        _ => None,
    };
    // SAFETY: the original, as it would have been called.
    ours.unwrap_or_else(|| unsafe { b::bailey_k_array_map_alloc(attr) })
}

/// Instead of `array_map_free()`.
///
/// # Safety
///
/// Called by the hook, with a map that nobody uses any more.
#[no_mangle]
unsafe extern "C" fn bailey_on_array_map_free(map: *mut b::bpf_map) {
    let kind = remove(map);
    // SAFETY: nobody uses the map any more but the original. What `per_cpu` took is given back;
    // we are in a hook, which the exit waits for.
    unsafe {
        match kind {
            Some(Kind::PerCpu) => {
                b::bailey_array_end_per_cpu(map, Some(b::bailey_k_array_map_free));
                b::bailey_module_drop();
                return;
            }
            Some(Kind::Pages) => (*map).map_flags |= b::BPF_F_MMAPABLE,
            None => {}
        }
        b::bailey_k_array_map_free(map);
    }
}
