// SPDX-License-Identifier: GPL-2.0
//! Arrays whose values have pages to themselves.
//!
//! The kernel lays an array out so if it is to be mmapped (BPF_F_MMAPABLE).
//! While it allocates and frees an array we set that flag, and at no other
//! time: user space and the verifier see the map as it was asked for. Maps that
//! outlive the module keep the flag, so that the kernel frees them rightly.
//!
//! Lock: the list's mutex; nothing is taken under it.

use crate::bindings as b;
use kernel::prelude::*;
use kernel::rbtree::{RBTree, RBTreeNodeReservation};

struct Arrays {
    /// `None` before the module is ready and when it leaves: no more arrays are
    /// laid out by us.
    ours: Option<RBTree<usize, ()>>,
}

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
        for (&map, ()) in arrays.ours.take().iter().flat_map(|ours| ours.iter()) {
            // SAFETY: a map leaves the list when it is freed, under the same lock.
            unsafe { (*(map as *mut b::bpf_map)).map_flags |= b::BPF_F_MMAPABLE };
        }
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
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    let node = (create.map_type == b::bpf_map_type_BPF_MAP_TYPE_ARRAY
        && create.map_flags & b::BPF_F_MMAPABLE == 0
        && ARRAYS.lock().ours.is_some())
    .then(|| RBTreeNodeReservation::<usize, ()>::new(GFP_KERNEL).ok())
    .flatten();
    let Some(node) = node else {
        // SAFETY: the original, as it would have been called.
        return unsafe { b::bailey_k_array_map_alloc(attr) };
    };
    create.map_flags |= b::BPF_F_MMAPABLE;
    // SAFETY: as above.
    let map = unsafe { b::bailey_k_array_map_alloc(attr) };
    // SAFETY: as at the start.
    unsafe { (*attr).__bindgen_anon_1.map_flags &= !b::BPF_F_MMAPABLE };
    if kernel::error::from_err_ptr(map).is_err() || map.is_null() {
        return map;
    }
    let mut arrays = ARRAYS.lock();
    if let Some(ours) = &mut arrays.ours {
        ours.insert(node.into_node(map as usize, ()));
        // SAFETY: a fresh map, known to nobody else.
        unsafe { (*map).map_flags &= !b::BPF_F_MMAPABLE };
    }
    map
}

/// Instead of `array_map_free()`.
///
/// # Safety
///
/// Called by the hook, with a map that nobody uses any more.
#[no_mangle]
unsafe extern "C" fn bailey_on_array_map_free(map: *mut b::bpf_map) {
    let ours = ARRAYS
        .lock()
        .ours
        .as_mut()
        .and_then(|ours| ours.remove_node(&(map as usize)));
    if ours.is_some() {
        // SAFETY: nobody uses the map any more but the original below.
        unsafe { (*map).map_flags |= b::BPF_F_MMAPABLE };
    }
    // SAFETY: the original, as it would have been called.
    unsafe { b::bailey_k_array_map_free(map) }
}
