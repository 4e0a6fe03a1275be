// SPDX-License-Identifier: GPL-2.0
//! What the running kernel says of the types of its objects to which programs can
//! hold a reference ([`KernelType`]): their numbers in its BTF, their sizes, and
//! the functions by which a reference is given up.

use crate::bindings as b;
use crate::pure::kernel_type::KernelType;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::atomic::{Atomic, Relaxed};

/// What the kernel has of a type; all 0 if it has no such type.
struct Entry {
    id: Atomic<u32>,
    size: Atomic<u32>,
    destructor: Atomic<u64>,
}

impl Entry {
    const fn none() -> Self {
        Self {
            id: Atomic::new(0),
            size: Atomic::new(0),
            destructor: Atomic::new(0),
        }
    }
}

/// By the number of the type. Written by [`init`] before any program is loaded.
static TYPES: [Entry; KernelType::ALL.len()] = [const { Entry::none() }; KernelType::ALL.len()];

/// Asks the kernel. Process context; the symbols are resolved.
///
/// # Errors
///
/// `ENOMEM`. A type that this kernel does not have is no error: none of its
/// functions is there either, and no value has pointers to it.
pub(crate) fn init() -> Result {
    for (of, entry) in KernelType::ALL.into_iter().zip(&TYPES) {
        let name = CString::try_from_fmt(fmt!("{}", of.name()))?;
        // SAFETY: the name is NUL-terminated; the kernel's BTF, and the names in it, are never freed.
        let (id, size, destructor) = unsafe {
            let id = b::bailey_struct_number(name.as_char_ptr());
            let Ok(id) = u32::try_from(id) else { continue };
            let size = b::bailey_struct_size(b::bailey_k_bpf_get_btf_vmlinux(), id);
            let function = b::bailey_destructor_name(id);
            if function.is_null() {
                continue;
            }
            (id, size, b::bailey_k_kallsyms_lookup_name(function) as u64)
        };
        if size == 0 || destructor == 0 {
            continue;
        }
        entry.id.store(id, Relaxed);
        entry.size.store(size, Relaxed);
        entry.destructor.store(destructor, Relaxed);
    }
    Ok(())
}

/// Its number in the kernel's BTF, and how many bytes an object has; `None` if this
/// kernel has no such type.
pub(crate) fn of(of: KernelType) -> Option<(u32, u32)> {
    let entry = &TYPES[of as usize];
    let id = entry.id.load(Relaxed);
    (id != 0).then(|| (id, entry.size.load(Relaxed)))
}

/// The type with number `id` in the kernel's BTF.
pub(crate) fn by_id(id: u32) -> Option<KernelType> {
    let mut all = KernelType::ALL.into_iter();
    all.find(|&known| of(known).is_some_and(|(number, _)| number == id))
}

/// Gives a reference up, as the kernel itself does with one in a value that is
/// deleted (`bpf_obj_free_fields()`, kernel/bpf/syscall.c). Returns 0.
///
/// # Safety
///
/// `addr` is an object of type `of`, and a reference to it is the caller's.
pub(crate) unsafe fn give_up(of: KernelType, addr: u64) -> u64 {
    let function = TYPES[of as usize].destructor.load(Relaxed);
    // SAFETY: the kernel's own function for that, which takes the object's address alone; that
    // there is a reference says the caller, so the type is known.
    unsafe { b::bailey_call_helper(function, [addr, 0, 0, 0, 0].as_ptr()) };
    0
}
