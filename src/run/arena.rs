// SPDX-License-Identifier: GPL-2.0
//! Accesses to an arena at which nothing was seen: the first to a page, and those to where
//! the arena has none. Of these the kernel makes a load 0 and a store nothing, by the
//! program's exception table, and says so in the program's stream (`ex_handler_bpf()`,
//! arch/x86/net/bpf_jit_comp.c).

use super::mediate::set_register;
use super::{this_cpu, Run};
use crate::bindings as b;
use crate::pure::access::Access;

/// Bit 0 of a page fault's error code: the page is there, and what was done is not allowed
/// (SDM volume 3, 5.7).
const PRESENT: u64 = 1;

/// Goes on with the instruction at `rip`, an access to an arena: it is done again, or it is as
/// the kernel has it. `event` is where it goes on from, at `rip` so far. Whether it goes on; else
/// it is one to something else.
#[inline(never)]
pub(super) fn access(
    event: &mut b::bailey_event,
    run: &Run,
    rip: u64,
    access: &Access,
    addr: u64,
) -> bool {
    let Some(arena) = run.values().and_then(|values| values.arena_at(addr)) else {
        return false;
    };
    // The error code lay where the domain can write: what is there was not to be made so.
    if event.error & PRESENT != 0 {
        return false;
    }
    this_cpu().arena_faults += 1;
    if arena.shows(addr, access.size.into()) {
        return true;
    }
    let at = addr.wrapping_sub(arena.window().base());
    // SAFETY: any context but an NMI; it looks for the program by an address in its text.
    unsafe {
        b::bailey_k_bpf_prog_report_arena_violation(access.is_write(), at as usize, rip as usize)
    };
    if let Some(reg) = access.reads_into() {
        set_register(event, reg, 0);
    }
    event.rip = rip + u64::from(access.len);
    true
}
