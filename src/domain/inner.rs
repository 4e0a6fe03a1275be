// SPDX-License-Identifier: GPL-2.0
//! Maps in maps: what is in an outer map that a domain's programs use is the
//! domain's, too, as long as it is there.
//!
//! The kernel tells when a map goes into another or comes out (`bpf_map_fd_get_ptr`,
//! `bpf_map_fd_put_ptr`, helpers/hook.c), partly where nothing may sleep. So a work
//! item looks what is in the outer maps now, and domains take up what is new and let
//! go what is no longer there. Until then the values of a new one are loans, and one
//! that was taken out is held.

use super::REGISTRY;
use crate::bindings as b;
use kernel::prelude::*;

kernel::sync::global_lock! {
    // SAFETY: initialized by `init`, before any program is loaded.
    unsafe(uninit) static PASS: Mutex<()> = ();
}

/// Makes passes possible.
///
/// # Safety
///
/// Called once, before any program is loaded.
pub(super) unsafe fn init() {
    // SAFETY: promised by the caller.
    unsafe { PASS.init() };
}

/// Whether maps of this type hold maps.
pub(crate) fn is_outer(map_type: u32) -> bool {
    matches!(
        map_type,
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY_OF_MAPS | b::bpf_map_type_BPF_MAP_TYPE_HASH_OF_MAPS
    )
}

/// Has every domain know what is in its outer maps. Process context.
pub(crate) fn follow() {
    // One at a time: each clears only what it has itself marked, and then waited for.
    let _pass = PASS.lock();
    let (mut outer, mut parts) = (false, false);
    // From before it is looked, so that what changes meanwhile is told.
    // SAFETY: written here alone, one pass at a time; C reads it whole.
    unsafe { (&raw mut b::bailey_outer_maps).write_volatile(1) };
    {
        let registry = REGISTRY.lock();
        for entry in &registry.entries {
            let domain = &entry.domain;
            let may = |map: *mut b::bpf_map| !super::is_elsewhere(&registry.entries, domain, map);
            let (has_outer, has_left) = domain.values.follow(domain, may);
            outer |= has_outer;
            parts |= has_left;
        }
        // SAFETY: as above. No program comes to use an outer map while the mutex is held.
        unsafe { (&raw mut b::bailey_outer_maps).write_volatile(outer.into()) };
    }
    if parts {
        // SAFETY: process context; it may sleep, and no lock is held that CPU hotplug takes.
        unsafe { b::bailey_cpu_wait_for_runs() };
        let registry = REGISTRY.lock();
        for entry in &registry.entries {
            // SAFETY: what is parting was marked above, and every run of before is over.
            unsafe { entry.domain.values.clear_parted() };
        }
    }
}

/// A pass is due, as the kernel has told.
///
/// # Safety
///
/// Called by the work item of helpers/inner.c.
#[no_mangle]
unsafe extern "C" fn bailey_follow_inner() {
    follow();
}

/// No pass is under way any more, and none comes: the hooks are gone, and the last domain.
pub(crate) fn stop() {
    // SAFETY: process context.
    unsafe { b::bailey_inner_stop() };
}

/// Calls `found` with each map that is in `outer`, held as long as the call.
///
/// # Safety
///
/// `outer` is an outer map, and stays one meanwhile; process context.
pub(super) unsafe fn each<F>(outer: *mut b::bpf_map, mut found: F) -> Result
where
    F: FnMut(*mut b::bpf_map),
{
    /// Called by C for each map.
    ///
    /// # Safety
    ///
    /// `arg` is an `F`, which nobody else uses meanwhile.
    unsafe extern "C" fn call<F>(arg: *mut c_void, inner: *mut b::bpf_map)
    where
        F: FnMut(*mut b::bpf_map),
    {
        // SAFETY: promised by the caller.
        let found = unsafe { &mut *arg.cast::<F>() };
        found(inner);
    }
    // SAFETY: promised by the caller; `found` outlives the call.
    match unsafe { b::bailey_each_inner(outer, Some(call::<F>), (&raw mut found).cast()) } {
        err if err < 0 => Err(Error::from_errno(err)),
        _ => Ok(()),
    }
}
