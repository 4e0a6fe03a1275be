// SPDX-License-Identifier: GPL-2.0
//! Per-CPU arrays whose values have pages to themselves.
//!
//! Of a per-CPU array each value is a small piece of per-CPU memory, beside whatever
//! else is there; the map itself has but a pointer to it in a *slot*, one behind the
//! other. So the map stays the kernel's, with all its operations. It is made as an array, which
//! is laid out in the same way and has no per-CPU memory; then the slots get the addresses
//! of values in memory of ours ([`Pieces`]).
//!
//! Only we can free that memory, so such a map holds the module. Maps with fields
//! of the kernel's in their values and values larger than a piece of per-CPU memory stay
//! the kernel's.

use super::arrays::{self, Kind};
use super::pieces::Pieces;
use crate::bindings as b;
use core::mem::size_of;
use core::slice;
use kernel::error::from_err_ptr;

/// Bytes of a slot: a per-CPU pointer.
const SLOT: u32 = size_of::<u64>() as u32;

/// Writes to each slot of `map` what `value` says of its number; `false` if that is
/// nothing.
///
/// # Safety
///
/// `map` was made by [`create`], or is being made there, and nobody else uses it.
unsafe fn fill(map: *mut b::bpf_map, value: impl Fn(u32) -> Option<u64>) -> bool {
    // SAFETY: promised by the caller: a `struct bpf_array` with as many slots as entries.
    let slots = unsafe {
        let first = b::bailey_array_per_cpu_slots(map);
        slice::from_raw_parts_mut(first, (*map).max_entries as usize)
    };
    for (index, slot) in (0..).zip(slots) {
        let Some(value) = value(index) else {
            return false;
        };
        *slot = value;
    }
    true
}

/// A per-CPU array of ours. `None` if it is to be the kernel's.
///
/// # Safety
///
/// `attr` is the creation of a per-CPU array that the type's check has passed; process context.
pub(crate) unsafe fn create(attr: *mut b::bpf_attr) -> Option<*mut b::bpf_map> {
    // SAFETY: of the union's members this is the one that is filled for a map's creation; this
    // module's own code runs, so it is there.
    unsafe {
        if (*attr).__bindgen_anon_1.value_size > b::BAILEY_PER_CPU_PIECE
            || !crate::store::wanted()
            || b::bailey_store_plain_values(attr) == 0
            || b::bailey_module_try_get() == 0
        {
            return None;
        }
    }
    // SAFETY: promised by the caller.
    let made = unsafe { made_as_array(attr) };
    if made.is_none() {
        // SAFETY: the reference taken above. We are in a hook, which the exit waits for.
        unsafe { b::bailey_module_drop() };
    }
    made
}

/// The map, made as an array.
///
/// # Safety
///
/// As of [`create`].
unsafe fn made_as_array(attr: *mut b::bpf_attr) -> Option<*mut b::bpf_map> {
    let node = arrays::reserve()?;
    // SAFETY: as in `create`.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    let asked = (create.map_type, create.value_size);
    let (map_type, value_size) = asked;
    (create.map_type, create.value_size) = (b::bpf_map_type_BPF_MAP_TYPE_ARRAY, SLOT);
    // SAFETY: the original, which looks at these attributes and calls nobody else with them.
    let map = unsafe { b::bailey_k_array_map_alloc(attr) };
    // SAFETY: as above.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    (create.map_type, create.value_size) = asked;
    let map = from_err_ptr(map).ok().filter(|map| !map.is_null())?;
    // SAFETY: a fresh map that nobody else knows.
    unsafe {
        (*map).map_type = map_type;
        (*map).value_size = value_size;
        b::bailey_array_make_per_cpu(map, value_size);
    }
    // SAFETY: as above.
    let filled = unsafe {
        Pieces::new(map, (*map).max_entries, value_size)
            .filter(|pieces| fill(map, |index| pieces.value(index)))
    };
    if let Some(pieces) = filled {
        // The reference to the module keeps the list open.
        arrays::insert(node, map, Kind::PerCpu(pieces));
        return Some(map);
    }
    // SAFETY: nobody knows the map, whose slots are emptied.
    unsafe {
        fill(map, |_| Some(0));
        b::bailey_k_array_map_free(map);
    }
    None
}

/// Frees a map that [`create`] has made, and what it took for it.
///
/// # Safety
///
/// Nobody uses the map any more; we are in a hook, which the module's exit waits
/// for.
pub(crate) unsafe fn end(map: *mut b::bpf_map, pieces: Pieces) {
    // SAFETY: promised by the caller. A record is there only if the kernel refused the map
    // (src/store/create.rs), and then all values are empty.
    unsafe {
        (*map).record = core::ptr::null_mut();
        fill(map, |_| Some(0));
        b::bailey_k_array_map_free(map);
    }
    drop(pieces);
    // SAFETY: the reference that `create` took.
    unsafe { b::bailey_module_drop() };
}
