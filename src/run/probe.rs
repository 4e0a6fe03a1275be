// SPDX-License-Identifier: GPL-2.0
//! Loads through pointers that the program has itself read out of an object of
//! the kernel's (`BPF_PROBE_MEM`). Nobody has lent what is there, and nothing may
//! be there: the JIT has an entry for each in the program's exception table, by
//! which the stock kernel makes a fault a 0.
//!
//! Unless the parameter `kernel_reads` is 1 there are none in isolated programs.
//! With it a program can read what it likes, as `bpf_probe_read_kernel()` lets
//! programs without isolation; it can write no more than before.

use super::mediate::set_register;
use super::this_cpu;
use crate::bindings as b;
use crate::load::Image;
use crate::pure::access::{loaded, Access, Op};
use core::mem::size_of;

/// Whether programs that are loaded now may follow pointers of the kernel's.
pub(crate) fn is_allowed() -> bool {
    // SAFETY: the parameter is an int that is read whole.
    unsafe { (&raw const b::bailey_kernel_reads).read_volatile() != 0 }
}

/// Whether the instruction at `rip` is such a load.
fn is_probe(image: &Image, rip: u64) -> bool {
    let entries = image.probes as u64;
    let size = size_of::<b::exception_table_entry>() as u64;
    (0..u64::from(image.probe_count)).any(|n| {
        let at = entries + n * size;
        // SAFETY: the table has that many entries, behind the image's text, and is there as long
        // as it; they no longer change.
        let to = i64::from(unsafe { (*(at as *const b::exception_table_entry)).insn });
        // `ex_to_insn()`, lib/extable.c: the word is the first.
        at.wrapping_add_signed(to) == rip
    })
}

/// Carries out the load at `rip` if it is such a one: what is not there is 0.
/// `event` then goes on behind it. Whether it was.
#[cold]
#[inline(never)]
pub(super) fn read(
    event: &mut b::bailey_event,
    image: &Image,
    rip: u64,
    access: &Access,
    addr: u64,
) -> bool {
    // The table has accesses to the program's arena, too.
    if access.op != Op::Load || access.is_arena() || !is_probe(image, rip) {
        return false;
    }
    let mut raw = 0u64;
    let to = &raw mut raw;
    // SAFETY: it takes any address, and writes to `raw`, which has room for the largest access.
    let failed = unsafe {
        b::copy_from_kernel_nofault(to.cast(), addr as *const _, access.size.into()) != 0
    };
    let value = if failed { 0 } else { loaded(access, raw) };
    set_register(event, access.reg, value);
    this_cpu().loan_accesses += 1;
    event.rip = rip + u64::from(access.len);
    true
}
