// SPDX-License-Identifier: GPL-2.0
//! Per-CPU arrays and hash maps whose values have pages to themselves.
//!
//! Of a per-CPU map each value is a small piece of per-CPU memory, beside whatever
//! else is there; the map itself has but a pointer to it in a *slot*: of an array
//! in a row, of a hash map behind the key of each preallocated element. What the
//! kernel trusts of such a map (chains, keys, lists of free and of recently used
//! elements) is apart from the values already. So the map stays the kernel's, with
//! all its operations. It is made as one of a type that is laid out in the same way
//! and has no per-CPU memory; then the slots get the addresses of values in memory
//! of ours ([`Pieces`]).
//!
//! A hash map whose elements come as they are needed is made in the same way, and is
//! behind the one that everybody sees ([`super::front`]).
//!
//! Only we can free that memory, so such a map holds the module. Maps with fields
//! of the kernel's in their values and values larger than a piece of per-CPU memory stay
//! the kernel's.
//!
//! Where a hash map's slots are is said by the kernel's BTF, as its structures
//! are in no header. If they are not as is described here, nothing is changed.

use super::arrays::{self, Kind};
use super::front;
use super::pieces::Pieces;
use crate::bindings as b;
use crate::btf::member_at;
use crate::hw::cpus;
use core::mem::size_of;
use kernel::error::from_err_ptr;
use kernel::prelude::*;
use kernel::sync::SetOnce;

/// Bytes of a slot: a per-CPU pointer.
const SLOT: u32 = size_of::<u64>() as u32;

/// Where members of `struct bpf_htab` and `struct htab_elem` are
/// (kernel/bpf/hashtab.c).
struct HashMembers {
    elems: usize,
    elem_size: usize,
    key: usize,
}

/// Empty if this kernel has others.
static HASH: SetOnce<HashMembers> = SetOnce::new();

/// Finds out how the kernel lays hash maps out.
pub(super) fn init() {
    let members = || {
        Some(HashMembers {
            elems: member_at(c"bpf_htab", c"elems")?,
            elem_size: member_at(c"bpf_htab", c"elem_size")?,
            key: member_at(c"htab_elem", c"key")?,
        })
    };
    match members() {
        Some(members) => {
            HASH.populate(members);
        }
        None => {
            pr_warn!("the kernel's hash maps are unknown: those for each CPU stay as they are\n")
        }
    }
    front::init();
}

/// Bytes that a preallocated hash map takes for each of its keys.
fn element_bytes(create: &b::bpf_attr__bindgen_ty_1) -> Option<u64> {
    let rounded = |size: u32| u64::from(size).next_multiple_of(8);
    let values = rounded(create.value_size) * cpus::possible().count() as u64;
    Some(HASH.as_ref()?.key as u64 + rounded(create.key_size) + u64::from(SLOT) + values)
}

/// The words of a map that point to its values.
struct Slots {
    first: *mut u8,
    /// Bytes from one to the next.
    step: usize,
    count: u32,
}

impl Slots {
    /// Those of `map`. `None` if they are not where they should be.
    ///
    /// # Safety
    ///
    /// `map` was made by [`create`], or is being made there.
    unsafe fn of(map: *mut b::bpf_map) -> Option<Self> {
        // SAFETY: promised by the caller.
        let (map_type, key_size, count) =
            unsafe { ((*map).map_type, (*map).key_size, (*map).max_entries) };
        if map_type == b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY {
            // SAFETY: a `struct bpf_array`.
            let first = unsafe { b::bailey_array_per_cpu_slots(map) };
            return Some(Self {
                first: first.cast(),
                step: SLOT as usize,
                count,
            });
        }
        let hash = HASH.as_ref()?;
        let base = map.cast::<u8>();
        // SAFETY: a `struct bpf_htab`, whose members are there as the kernel's BTF says.
        let (elems, step) = unsafe {
            (
                base.add(hash.elems).cast::<*mut u8>().read(),
                base.add(hash.elem_size).cast::<u32>().read() as usize,
            )
        };
        let at = hash.key + key_size.next_multiple_of(8) as usize;
        if elems.is_null() || step != at + SLOT as usize {
            return None;
        }
        Some(Self {
            first: elems.wrapping_add(at),
            step,
            count,
        })
    }

    /// Writes to each slot what `value` says of its number; `false` if that is
    /// nothing.
    ///
    /// # Safety
    ///
    /// Nobody else uses the map.
    unsafe fn fill(&self, value: impl Fn(u32) -> Option<u64>) -> bool {
        for index in 0..self.count {
            let Some(value) = value(index) else {
                return false;
            };
            let slot = self.first.wrapping_add(index as usize * self.step);
            // SAFETY: one of `count` slots, 8-aligned, and nobody else's now.
            unsafe { slot.cast::<u64>().write(value) };
        }
        true
    }
}

/// The kernel's own function that frees `map`.
///
/// # Safety
///
/// `map` is a map that nobody uses any more, its slots empty.
unsafe fn free(map: *mut b::bpf_map) {
    // SAFETY: promised by the caller.
    unsafe {
        match (*map).map_type {
            b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY => b::bailey_k_array_map_free(map),
            _ => b::bailey_k_htab_map_free(map),
        }
    }
}

/// Whether elements are to come as they are needed.
fn is_on_demand(create: &b::bpf_attr__bindgen_ty_1) -> bool {
    create.map_flags & b::BPF_F_NO_PREALLOC != 0
}

/// A per-CPU map of ours. `None` if it is to be the kernel's.
///
/// # Safety
///
/// `attr` is a map's creation that the type's check has passed; process context.
pub(crate) unsafe fn create(attr: *mut b::bpf_attr) -> Option<*mut b::bpf_map> {
    // SAFETY: of the union's members this is the one that is filled for a map's creation.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    let map_type = create.map_type;
    // The types that are laid out in the same way: of hash maps, like the per-CPU ones, none that
    // has elements beyond its keys.
    let stand_in = match map_type {
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY => b::bpf_map_type_BPF_MAP_TYPE_ARRAY,
        _ if HASH.as_ref().is_none() => return None,
        _ if is_on_demand(create) && !front::suits(create, element_bytes(create)?) => return None,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH => b::bpf_map_type_BPF_MAP_TYPE_HASH_OF_MAPS,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH => b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH,
        _ => return None,
    };
    // SAFETY: as above; this module's own code runs, so it is there.
    unsafe {
        if create.value_size > b::BAILEY_PER_CPU_PIECE
            || !crate::store::wanted()
            || b::bailey_store_plain_values(attr) == 0
            || b::bailey_module_try_get() == 0
        {
            return None;
        }
    }
    // SAFETY: promised by the caller.
    let made = unsafe { made_as(attr, stand_in) };
    if made.is_none() {
        // SAFETY: the reference taken above. We are in a hook, which the exit waits for.
        unsafe { b::bailey_module_drop() };
    }
    made
}

/// The map, made as one of type `stand_in`.
///
/// # Safety
///
/// As of [`create`].
unsafe fn made_as(attr: *mut b::bpf_attr, stand_in: u32) -> Option<*mut b::bpf_map> {
    let node = arrays::reserve()?;
    // SAFETY: as in `create`.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    let asked = (create.map_type, create.value_size, create.map_flags);
    let ((map_type, value_size, _), on_demand) = (asked, is_on_demand(create));
    (create.map_type, create.value_size) = (stand_in, SLOT);
    create.map_flags &= !b::BPF_F_NO_PREALLOC;
    // SAFETY: the originals, which look at these attributes and call nobody else with them.
    let map = unsafe {
        match stand_in {
            b::bpf_map_type_BPF_MAP_TYPE_ARRAY => b::bailey_k_array_map_alloc(attr),
            _ => b::bailey_k_htab_map_alloc(attr),
        }
    };
    // SAFETY: as above.
    let create = unsafe { &mut (*attr).__bindgen_anon_1 };
    (create.map_type, create.value_size, create.map_flags) = asked;
    let map = from_err_ptr(map).ok().filter(|map| !map.is_null())?;
    // SAFETY: a fresh map that nobody else knows.
    unsafe {
        (*map).map_type = map_type;
        (*map).value_size = value_size;
        if map_type == b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY {
            b::bailey_array_make_per_cpu(map, value_size);
        }
    }
    // SAFETY: as above. The number of values is the map's, which may have made it up to a
    // multiple of the CPUs.
    let filled = unsafe {
        let pieces = Pieces::new(map, (*map).max_entries, value_size);
        Slots::of(map)
            .zip(pieces)
            .filter(|(slots, pieces)| slots.fill(|index| pieces.value(index)))
    };
    if let Some((_, pieces)) = filled {
        // The reference to the module keeps the list open, here and below.
        if !on_demand {
            arrays::insert(node, map, Kind::PerCpu(pieces));
            return Some(map);
        }
        // SAFETY: a fresh map that nobody else knows, with the attributes that it was made by.
        if let Some(front) = unsafe { front::of(map, attr) } {
            arrays::insert(node, front, Kind::Front(pieces));
            return Some(front);
        }
    }
    // SAFETY: nobody knows the map. If its slots are where they should be, they are emptied;
    // else nothing was written.
    unsafe {
        if let Some(slots) = Slots::of(map) {
            slots.fill(|_| Some(0));
        }
        free(map);
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
        if let Some(slots) = Slots::of(map) {
            slots.fill(|_| Some(0));
        }
        free(map);
    }
    drop(pieces);
    // SAFETY: the reference that `create` took.
    unsafe { b::bailey_module_drop() };
}

/// Instead of `htab_map_free()`: whether `map` was a per-CPU map of ours.
///
/// # Safety
///
/// As of [`end`].
pub(crate) unsafe fn end_if_ours(map: *mut b::bpf_map) -> bool {
    match arrays::remove(map) {
        Some(Kind::PerCpu(pieces)) => {
            // SAFETY: promised by the caller; it was on the list.
            unsafe { end(map, pieces) };
            true
        }
        Some(Kind::Front(pieces)) => {
            // SAFETY: as above.
            unsafe { front::end(map, pieces) };
            true
        }
        _ => false,
    }
}
