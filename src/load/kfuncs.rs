// SPDX-License-Identifier: GPL-2.0
//! Kfuncs as the kernel has them: which one a call calls, and how the helper
//! gate calls it.
//!
//! Before `bpf_do_misc_fixups()` a call has the number of the kfunc in the
//! kernel's BTF; after it, the distance of its address from `__bpf_call_base`.
//!
//! The gate calls by pointer, and a kfunc's `endbr64` is sealed: nobody but the
//! JIT was ever to call it, and that calls directly. So each has a way in of
//! its own, made once: an `endbr64` and a direct jump.

use super::helpers::HelperSet;
use super::knowledge::Knowledge;
use super::Reason;
use crate::bindings as b;
use crate::pure::catalog::kfuncs::{self, Kfunc};
use core::ffi::c_void;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Bytes from one way in to the next.
const SLOT: usize = 16;
const SIZE: usize = SLOT * kfuncs::ALLOWED.len();

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const JMP_REL32: u8 = 0xe9;
const LEN: usize = ENDBR64.len() + 5;
const _: () = assert!(LEN <= SLOT);

/// Where the ways in begin. Written by `init` before any program is loaded.
static WAYS: Atomic<u64> = Atomic::new(0);

/// The kernel's address of a kfunc, as the verifier finds it for our programs; 0 if this
/// kernel has none of that name.
fn address(kfunc: &Kfunc) -> Result<u64> {
    let name = CString::try_from_fmt(fmt!("{}", kfunc.function))?;
    // SAFETY: the name is NUL-terminated.
    Ok(unsafe { b::bailey_k_kallsyms_lookup_name(name.as_char_ptr()) } as u64)
}

/// Makes the ways in.
pub(super) fn init() -> Result {
    // SAFETY: process context; `trap` fills what it is given.
    let base =
        unsafe { b::bailey_k_bpf_prog_pack_alloc(SIZE as u32, Some(super::stub::trap), false) };
    if base.is_null() {
        return Err(ENOMEM);
    }
    WAYS.store(base as u64, Relaxed);
    write(base).inspect_err(|_| exit())
}

fn write(base: *mut c_void) -> Result {
    let mut text: KVec<u8> = KVec::from_elem(super::stub::INT3, SIZE, GFP_KERNEL)?;
    for (n, (slot, kfunc)) in text
        .chunks_exact_mut(SLOT)
        .zip(&kfuncs::ALLOWED)
        .enumerate()
    {
        let to = address(kfunc)?;
        if to == 0 {
            continue;
        }
        let next = base as u64 + (n * SLOT + LEN) as u64;
        let distance = i32::try_from(to.wrapping_sub(next) as i64).map_err(|_| ERANGE)?;
        slot[..4].copy_from_slice(&ENDBR64);
        slot[4] = JMP_REL32;
        slot[5..LEN].copy_from_slice(&distance.to_le_bytes());
    }
    // SAFETY: the chunk has `SIZE` bytes, and nothing runs them yet.
    unsafe { b::bailey_k_text_poke_copy(base, text.as_ptr().cast(), SIZE) };
    Ok(())
}

/// Gives their memory back. No program that calls them is left.
pub(super) fn exit() {
    let base = WAYS.load(Relaxed) as *mut c_void;
    // SAFETY: from bpf_prog_pack_alloc() with this size; process context.
    unsafe { b::bailey_k_bpf_prog_pack_free(base, SIZE as u32) };
}

/// Where kfunc `id` is: for the gate, and for calls in programs. `None` if this
/// kernel has none of that name.
pub(super) fn addresses(id: u32) -> Result<Option<(u64, u64)>, Reason> {
    let Some(kfunc) = kfuncs::by_id(id) else {
        return Ok(None);
    };
    let direct = address(kfunc).map_err(|_| Reason::NoMemory)?;
    let way = WAYS.load(Relaxed) + u64::from(id - kfuncs::FIRST) * SLOT as u64;
    Ok((direct != 0).then_some((way, direct)))
}

/// The name of the kfunc that the call at `index` calls, before
/// `bpf_do_misc_fixups()`; `None` if it is not one of the kernel's own.
pub(super) fn name_by_number(known: &Knowledge, index: usize) -> Option<&'static str> {
    let insn = known.insns()[index];
    if !insn.is_kfunc_call() || insn.off != 0 {
        return None;
    }
    // SAFETY: the verifier has found the number in the kernel's BTF, which stays for good, and so
    // do the names in it.
    let name = unsafe {
        let name = b::bailey_kfunc_name(insn.imm as u32);
        (!name.is_null()).then(|| CStr::from_char_ptr(name))?
    };
    name.to_str().ok()
}

/// Adds the kfuncs that the program calls, before `bpf_do_misc_fixups()`.
pub(super) fn note(known: &Knowledge, set: &mut HelperSet) {
    let calls = 0..known.insns().len();
    for kfunc in calls.filter_map(|index| kfuncs::by_name(name_by_number(known, index)?)) {
        set.insert(kfunc.call.id);
    }
}
