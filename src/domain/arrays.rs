// SPDX-License-Identifier: GPL-2.0
//! Arrays whose values have pages to themselves.
//!
//! The kernel lays an array out so if it is to be mmapped (BPF_F_MMAPABLE).
//! While it allocates and frees an array we set that flag, and at no other
//! time: user space and the verifier see the map as it was asked for. Maps that
//! outlive the module keep the flag, so that the kernel frees them rightly.
//!
//! The list has per-CPU arrays as well, whose values are in memory of ours
//! ([`super::per_cpu`]).
//!
//! Lock: the list's mutex; nothing is taken under it.

use super::per_cpu;
use super::pieces::Pieces;
use crate::bindings as b;
use core::ptr::NonNull;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};

/// What of a map is ours.
pub(super) enum Kind {
    /// That its values have pages to themselves.
    Pages,
    /// The memory of its values, which each CPU has its own of.
    PerCpu(Pieces),
}

impl Kind {
    fn pieces(&self) -> Option<&Pieces> {
        match self {
            Self::PerCpu(pieces) => Some(pieces),
            Self::Pages => None,
        }
    }
}

struct Arrays {
    /// `None` before the module is ready and when it leaves: no more arrays are
    /// laid out by us.
    ours: Option<RBTree<usize, Kind>>,
}

pub(super) type Node = RBTreeNodeReservation<usize, Kind>;

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

/// The memory of `map`'s values, if it is a per-CPU array of ours. It is there as
/// long as the map is.
pub(crate) fn pieces_of(map: *mut b::bpf_map) -> Option<NonNull<Pieces>> {
    let arrays = ARRAYS.lock();
    let kind = arrays.ours.as_ref()?.get(&(map as usize))?;
    kind.pieces().map(NonNull::from)
}

/// Calls `report` for each per-CPU array of ours, with the bytes that each CPU has.
pub(crate) fn for_each_per_cpu(mut report: impl FnMut(&b::bpf_map, u64)) {
    let arrays = ARRAYS.lock();
    for (&map, kind) in arrays.ours.iter().flat_map(|ours| ours.iter()) {
        if let Some(pieces) = kind.pieces() {
            // SAFETY: a map leaves the list when it is freed, under the same lock.
            report(unsafe { &*(map as *const b::bpf_map) }, pieces.bytes());
        }
    }
}

/// Room on the list; `None` if the module is leaving or there is no memory.
pub(super) fn reserve() -> Option<Node> {
    let open = ARRAYS.lock().ours.is_some();
    open.then(|| Node::new(GFP_KERNEL).ok()).flatten()
}

/// Puts a fresh map on the list; `false` if the module is leaving.
pub(super) fn insert(node: Node, map: *mut b::bpf_map, kind: Kind) -> bool {
    let mut arrays = ARRAYS.lock();
    let Some(ours) = &mut arrays.ours else {
        return false;
    };
    ours.insert(node.into_node(map as usize, kind));
    true
}

/// Takes a map off the list.
pub(super) fn remove(map: *mut b::bpf_map) -> Option<Kind> {
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

/// Instead of `array_map_alloc()`.
///
/// # Safety
///
/// Called by the hook, with the attributes that the caller passed.
#[no_mangle]
unsafe extern "C" fn bailey_on_array_map_alloc(attr: *mut b::bpf_attr) -> *mut b::bpf_map {
    // SAFETY: of the union's members this is the one that is filled for a map's creation.
    let create = unsafe { &(*attr).__bindgen_anon_1 };
    let ours = match create.map_type {
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY if create.map_flags & b::BPF_F_MMAPABLE == 0 => {
            // SAFETY: promised by the caller.
            reserve().map(|node| unsafe { with_pages(attr, node) })
        }
        // SAFETY: as above.
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY => unsafe { per_cpu::create(attr) },
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
    match remove(map) {
        // SAFETY: nobody uses the map any more; it was made by `per_cpu::create`.
        Some(Kind::PerCpu(pieces)) => return unsafe { per_cpu::end(map, pieces) },
        // SAFETY: nobody uses the map any more but the original.
        Some(Kind::Pages) => unsafe { (*map).map_flags |= b::BPF_F_MMAPABLE },
        None => {}
    }
    // SAFETY: the original, as it would have been called.
    unsafe { b::bailey_k_array_map_free(map) };
}
