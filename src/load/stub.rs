// SPDX-License-Identifier: GPL-2.0
//! Stubs: the few bytes of code that belong to one call site.
//!
//! All stubs of a program lie in one chunk of the kernel's BPF text packs,
//! within reach of a direct call from JITed code, each in a slot of its own so
//! that its target is unique. They are written once, when the addresses to go
//! back to are known, and never changed.

use super::Reason;
use crate::bindings as b;
use crate::pure::rewrite;
use crate::pure::stub::{self, Place};
use core::ffi::c_void;
use core::slice;
use kernel::prelude::*;

pub(super) use crate::pure::stub::{Enter, Kind, ENTER_LEN, INT3, OUT, SLOT};

// A bit for the number of a register is what the gates take it for.
const _: () = assert!(
    b::BAILEY_NAMES_BX == 1 << 3
        && b::BAILEY_NAMES_R13 == 1 << 13
        && b::BAILEY_NAMES_R14 == 1 << 14
        && b::BAILEY_NAMES_R15 == 1 << 15
);

/// Asserts that the template of the gates is the one known here.
pub(super) fn check_template() -> Result {
    // SAFETY: constants of gate.S.
    let (size, out) = unsafe { (b::bailey_stub_size, b::bailey_stub_out_offset) };
    if size as usize == stub::TEMPLATE_LEN && out as usize == OUT {
        return Ok(());
    }
    pr_err!(
        "the stub template has {} bytes and its way out at {}\n",
        size,
        out
    );
    Err(EINVAL)
}

fn gate() -> u64 {
    b::bailey_helper_gate as *const () as u64
}

/// A chunk of text with one stub for each site of a program.
pub(super) struct Stubs {
    base: *mut c_void,
    count: usize,
}

// SAFETY: owned text; only `new`, `write` and `drop` touch it.
unsafe impl Send for Stubs {}
// SAFETY: shared references give out addresses alone.
unsafe impl Sync for Stubs {}

/// Fills what no stub covers with traps.
///
/// # Safety
///
/// `area` has `size` writable bytes.
pub(super) unsafe extern "C" fn trap(area: *mut c_void, size: c_uint) {
    // SAFETY: bpf_prog_pack_alloc() hands in `size` writable bytes.
    unsafe { core::ptr::write_bytes(area.cast::<u8>(), INT3, size as usize) };
}

impl Stubs {
    /// Room for `count` stubs.
    pub(super) fn new(count: usize) -> Result<Self, Reason> {
        if count > rewrite::MAX_SITES as usize + 1 {
            return Err(Reason::NoMemory);
        }
        // SAFETY: process context; `trap` fills what it is given.
        let base =
            unsafe { b::bailey_k_bpf_prog_pack_alloc((count * SLOT) as u32, Some(trap), false) };
        if base.is_null() {
            return Err(Reason::NoMemory);
        }
        Ok(Self { base, count })
    }

    /// Where the stub of site `number` begins.
    pub(super) fn address(&self, number: usize) -> u64 {
        self.base as u64 + (number * SLOT) as u64
    }

    /// Where the way out of the stub of site `number` begins.
    pub(super) fn out(&self, number: usize, kind: Kind) -> u64 {
        match kind {
            Kind::Enter => self.address(number),
            _ => self.address(number) + OUT as u64,
        }
    }

    /// The site whose stub begins at `address`.
    pub(super) fn site_of(&self, address: u64) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(self.base as u64)?).ok()?;
        let number = offset / SLOT;
        (offset % SLOT == 0 && number < self.count).then_some(number)
    }

    /// Writes the `count` stubs of an image whose first site is `first`, that of `enter`. `site`
    /// gives each one's kind and the address to go back to.
    pub(super) fn write(
        &self,
        first: usize,
        count: usize,
        enter: &Enter,
        mut site: impl FnMut(usize) -> (Kind, u64),
    ) -> Result {
        let mut text: KVVec<u8> = KVVec::from_elem(INT3, count * SLOT, GFP_KERNEL)?;
        // SAFETY: the template has so many bytes (`check_template`).
        let template =
            unsafe { slice::from_raw_parts(b::bailey_stub_template.as_ptr(), stub::TEMPLATE_LEN) };
        for (number, slot) in (first..).zip(text.chunks_exact_mut(SLOT)) {
            let (kind, back) = site(number);
            let place = Place {
                at: self.address(number),
                back,
                gate: gate(),
                site: ((number - first) as u32) << b::SITE_SHIFT,
            };
            let slot: &mut [u8; SLOT] = slot.try_into().map_err(|_| EINVAL)?;
            stub::write(slot, kind, enter, template, &place).map_err(|flaw| match flaw {
                stub::Flaw::Reach => ERANGE,
                stub::Flaw::Room => EINVAL,
            })?;
        }
        if first + count > self.count {
            return Err(EINVAL);
        }
        let to = self.address(first) as *mut c_void;
        // SAFETY: these stubs are part of the chunk, and nothing runs them yet.
        unsafe { b::bailey_k_text_poke_copy(to, text.as_ptr().cast(), text.len()) };
        Ok(())
    }
}

impl Drop for Stubs {
    fn drop(&mut self) {
        // SAFETY: from bpf_prog_pack_alloc() with this size; no program runs it any more: they
        // are dropped with their program, after its last run, in process context.
        unsafe { b::bailey_k_bpf_prog_pack_free(self.base, (self.count * SLOT) as u32) };
    }
}
