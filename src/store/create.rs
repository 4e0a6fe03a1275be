// SPDX-License-Identifier: GPL-2.0
//! How a hash map or a trie becomes a store.
//!
//! `htab_map_alloc()` is hooked and returns a store instead. The kernel puts
//! its own operations into it, asks them whether the types of key and value
//! are fine (of a preallocated map they look at nothing but `struct bpf_map`, so
//! every store is said to be one until then),
//! and comes to `security_bpf_map_create()` before anybody can see the map.
//! There the operations become ours. If the kernel gives up before that, it
//! frees the map by `htab_map_free()`, which is hooked for those.
//!
//! What a trie does is compiled without hooks (`CFLAGS_REMOVE_lpm_trie.o`,
//! kernel/bpf/Makefile). So the kernel's trie stays, empty, and at
//! `security_bpf_map_create()` gets the store beside it, with our operations.
//!
//! A map of maps keeps a pattern of its inner maps, by which programs are
//! verified. The kernel puts the pattern's operations right into programs, so
//! all maps that may come into an outer one must understand the same ones.
//! Ours work with maps of the kernel's too, so each pattern that could fit
//! a store gets ours; a store is kept out of outer maps that were made before.

use super::{ops, Made, Store, Trie};
use crate::bindings as b;
use crate::domain::arrays;
use core::ptr;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// A store that lives.
struct Known {
    store: Made,
    /// It has the kernel's operations still.
    pending: bool,
}

struct Registry {
    /// No store is made before the module is ready and when it leaves.
    open: bool,
    stores: KVVec<Known>,
}

// SAFETY: what pointers lead to is followed under the mutex alone, and leaves the list before it
// is freed.
unsafe impl Send for Registry {}

kernel::sync::global_lock! {
    // SAFETY: initialized by `Stores::new`, before the hooks are installed.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry {
        open: false,
        stores: KVVec::new(),
    };
}

/// Patterns of inner maps that hold the module.
static PATTERNS: Atomic<i32> = Atomic::new(0);

/// How many patterns of inner maps hold the module.
pub(crate) fn patterns() -> i32 {
    PATTERNS.load(Relaxed)
}

/// Calls `report` for each store, with its number, name, most keys and bytes.
pub(crate) fn for_each(mut report: impl FnMut(u32, &CStr, u32, u64)) {
    for known in &REGISTRY.lock().stores {
        // SAFETY: it is freed after it has left the list.
        let (map, bytes) = unsafe { (&*known.store.map(), known.store.usage()) };
        let name = CStr::from_bytes_until_nul(&map.name).unwrap_or(c"");
        report(map.id, name, map.max_entries, bytes);
    }
}

/// Makes a store known.
fn insert(store: Made, pending: bool) -> Result {
    let known = Known { store, pending };
    Ok(REGISTRY.lock().stores.push(known, GFP_KERNEL)?)
}

/// A store is to be freed.
pub(super) fn forget(store: Made) {
    let stores = &mut REGISTRY.lock().stores;
    if let Some(at) = stores.iter().position(|known| known.store == store) {
        let _ = stores.remove(at);
    }
}

/// Has `then` decide over a map that is a store with the kernel's operations:
/// whether it stays one.
fn pending(map: *mut b::bpf_map, then: impl FnOnce(Made) -> bool) -> bool {
    let stores = &mut REGISTRY.lock().stores;
    let is_it = |known: &&mut Known| known.pending && known.store.map() == map;
    match stores.iter_mut().find(is_it) {
        Some(known) => {
            known.pending = then(known.store);
            true
        }
        None => false,
    }
}

/// While it lives, hash maps and tries become stores. Dropped before the hooks are
/// removed.
pub(crate) struct Stores(());

impl Stores {
    /// Prepares the operations; the hooks come after.
    pub(crate) fn new() -> Self {
        super::ops::init();
        // SAFETY: called once, from the module's init.
        unsafe { REGISTRY.init() };
        REGISTRY.lock().open = true;
        Self(())
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        REGISTRY.lock().open = false;
    }
}

/// Whether the parameter asks for stores, and for per-CPU arrays of ours.
pub(crate) fn wanted() -> bool {
    // SAFETY: an int, read whole.
    unsafe { (&raw const b::bailey_stores).read_volatile() != 0 }
}

/// What `create` makes, known and with a reference to the module. `pending`: it has
/// the kernel's operations still.
fn made(pending: bool, create: impl FnOnce() -> Result<Made>) -> Option<Made> {
    if !wanted()
        || !REGISTRY.lock().open
        // SAFETY: this module's own code runs, so it is there.
        || unsafe { b::bailey_module_try_get() } == 0
    {
        return None;
    }
    let store = create().and_then(|store| {
        insert(store, pending).inspect_err(|_| {
            // SAFETY: nobody knows it yet.
            unsafe { store.free() };
        })?;
        Ok(store)
    });
    if store.is_err() {
        // SAFETY: the reference taken above. We are in a hook, which the exit waits for.
        unsafe { b::bailey_module_drop() };
    }
    store.ok()
}

/// A store for `attr`. `None` if it is to be a map of the kernel's.
///
/// # Safety
///
/// As of [`Store::create`].
unsafe fn store_for(attr: *mut b::bpf_attr) -> Option<Made> {
    // SAFETY: of the union's members this is the one that is filled.
    let create = unsafe { &(*attr).__bindgen_anon_1 };
    // SAFETY: as above; process context.
    if !Store::suits(create) || unsafe { b::bailey_store_plain_values(attr) } == 0 {
        return None;
    }
    // SAFETY: promised by the caller.
    made(true, || unsafe { Store::create(attr) }.map(Made::Hash))
}

/// Instead of `htab_map_alloc()`.
///
/// # Safety
///
/// Called by the hook, with the attributes that the caller passed.
#[no_mangle]
unsafe extern "C" fn bailey_on_htab_map_alloc(attr: *mut b::bpf_attr) -> *mut b::bpf_map {
    // SAFETY: promised by the caller.
    match unsafe { store_for(attr) } {
        Some(store) => store.map(),
        // SAFETY: the original, as it would have been called.
        None => unsafe { b::bailey_k_htab_map_alloc(attr) },
    }
}

/// Instead of `htab_map_free()`.
///
/// # Safety
///
/// Called by the hook, with a map that nobody uses any more.
#[no_mangle]
unsafe extern "C" fn bailey_on_htab_map_free(map: *mut b::bpf_map) {
    let mut ours = None;
    pending(map, |store| {
        ours = Some(store);
        true
    });
    match ours {
        // SAFETY: a store that never became a map; the reference is `made`'s.
        Some(store) => unsafe { store.end() },
        // SAFETY: the original, as it would have been called.
        None => unsafe { b::bailey_k_htab_map_free(map) },
    }
}

/// Instead of `security_bpf_map_create()`.
///
/// # Safety
///
/// Called by the hook, with a map that nobody else knows yet.
#[no_mangle]
unsafe extern "C" fn bailey_on_security_bpf_map_create(
    map: *mut b::bpf_map,
    attr: *mut b::bpf_attr,
    token: *mut b::bpf_token,
    kernel: bool,
) -> c_int {
    // SAFETY: nobody else knows the map.
    let plain = unsafe { b::bailey_map_has_record(map) } == 0;
    let mut fits = plain || arrays::pieces_of(map).is_none();
    pending(map, |_| {
        // SAFETY: nobody else knows the map, and it is a store.
        let map = unsafe { &mut *map };
        fits = plain;
        match ops::for_type(map.map_type) {
            Some((_, ours)) if fits => {
                map.ops = ours;
                // SAFETY: of the union's members this is the one that is filled.
                let asked = unsafe { (*attr).__bindgen_anon_1.map_flags };
                map.map_flags |= asked & b::BPF_F_NO_PREALLOC;
            }
            _ => {}
        }
        !fits
    });
    if !fits {
        // Another BTF came to the same descriptor while the map was made. The kernel frees it now.
        return EINVAL.to_errno();
    }
    // SAFETY: nobody else knows the map.
    if plain && unsafe { Trie::suits(map) } {
        // SAFETY: as above.
        if let Some(Made::Trie(trie)) = made(false, || unsafe { Trie::create(map) }.map(Made::Trie))
        {
            // SAFETY: as above; who gives the map up from here on frees it by our operations.
            unsafe { Trie::take_over(trie) };
        }
    }
    // SAFETY: the original, as it would have been called.
    unsafe { b::bailey_k_security_bpf_map_create(map, attr, token, kernel) }
}

/// Instead of `bpf_map_meta_alloc()`, which makes a pattern of inner maps.
///
/// # Safety
///
/// Called by the hook.
#[no_mangle]
unsafe extern "C" fn bailey_on_bpf_map_meta_alloc(fd: c_int) -> *mut b::bpf_map {
    // SAFETY: the original, as it would have been called.
    let meta = unsafe { b::bailey_k_bpf_map_meta_alloc(fd) };
    if from_err_ptr(meta).is_err() || meta.is_null() {
        return meta;
    }
    // SAFETY: fresh, and known to nobody else.
    unsafe {
        let Some((kernels, ours)) = ops::for_type((*meta).map_type) else {
            return meta;
        };
        let is_ours = ptr::eq((*meta).ops, ours);
        let fits = ptr::eq((*meta).ops, kernels) && b::bailey_map_has_record(meta) == 0;
        // Where the pattern is a store's, that store has a reference: this one is had, too.
        if (is_ours || (fits && wanted())) && b::bailey_module_try_get() != 0 {
            (*meta).ops = ours;
            PATTERNS.fetch_add(1, Relaxed);
        } else if is_ours {
            (*meta).ops = kernels;
        }
    }
    meta
}

/// At `bpf_map_meta_free()`.
///
/// # Safety
///
/// Called by the hook, with a pattern that nobody uses any more.
#[no_mangle]
unsafe extern "C" fn bailey_on_bpf_map_meta_free(meta: *mut b::bpf_map) {
    // SAFETY: `meta` is freed after this; the reference is that of `bailey_on_bpf_map_meta_alloc`.
    unsafe {
        if ops::are_ours((*meta).ops) {
            PATTERNS.fetch_add(-1, Relaxed);
            b::bailey_module_drop();
        }
    }
}

/// Instead of `bpf_map_meta_equal()`, which says whether a map may come into an
/// outer one with this pattern.
///
/// # Safety
///
/// Called by the hook, with two maps.
#[no_mangle]
unsafe extern "C" fn bailey_on_bpf_map_meta_equal(
    meta: *const b::bpf_map,
    map: *const b::bpf_map,
) -> bool {
    // SAFETY: the original, as it would have been called.
    if !unsafe { b::bailey_k_bpf_map_meta_equal(meta, map) } {
        return false;
    }
    // SAFETY: both are maps.
    let fits = unsafe { !ops::are_ours((*map).ops) || ptr::eq((*meta).ops, (*map).ops) };
    if !fits {
        pr_warn!(
            "an outer map from before takes no hash map or trie from after the module was loaded (load with stores=0)\n"
        );
    }
    fits
}
