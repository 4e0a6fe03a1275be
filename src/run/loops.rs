// SPDX-License-Identifier: GPL-2.0
//! `may_goto`: loops that end when they have taken too long.
//!
//! The verifier has a count and a time stamp on the program's stack, one of each
//! for each function under way. That stack is the domain's, so an isolated program
//! has its count in a register that no program names (r12, which a stub counts
//! down), and its time stamp lies on the kernel's stack, above the run's record. So
//! each function with a `may_goto` is a run of its own: the program's, a callback's,
//! or one that the kernel calls inside of the run.
//!
//! In a program with an arena that register has the arena's base. There the count stays where
//! the verifier has put it: a domain that sets it up again has a run that does not end, which it
//! could have without a `may_goto`.
//!
//! When the count has come to its end the program loads from an address at which
//! nothing is. That is the check, made when the access is not one to a loan.

use super::Run;
use crate::bindings as b;

/// Where checks load from: the last page, which is never mapped (`IS_ERR_VALUE()`,
/// include/linux/err.h).
const CHECKED_AT: u64 = 0u64.wrapping_sub(4096);

/// What AX is in x86.
const AX: u8 = 10;

/// Whether a load of `size` bytes from `addr` into register `reg` is a check.
pub(super) fn is_check(addr: u64, size: u8, reg: u8) -> bool {
    addr >= CHECKED_AT && size == 8 && reg == AX
}

/// The new count, as the kernel has it: 0 when the time is over. `None` if the run
/// is none with a `may_goto`.
pub(super) fn check(run: &mut Run) -> Option<u64> {
    let state = state(run)?;
    // SAFETY: of the layout of the kernel's own structure (helpers/load.c), on this CPU's stack.
    Some(unsafe { b::bailey_k_bpf_check_timed_may_goto(state.cast()) })
}

/// The time of the program that a run goes on in begins anew. False if the run
/// has no count of its own to begin with.
pub(super) fn begin(run: &mut Run) -> bool {
    let Some(state) = state(run) else {
        return false;
    };
    // SAFETY: what the entry gate has laid there; nothing else refers to it.
    unsafe { (*state).timestamp = 0 };
    true
}

/// What an entry gate has laid above the run's record, if it was one of those.
fn state(run: &mut Run) -> Option<*mut b::bailey_loops> {
    let gates = [
        b::bailey_enter_loops_return,
        b::bailey_enter_function_loops_return,
        b::bailey_enter_arena_loops_return,
        b::bailey_enter_function_arena_loops_return,
    ];
    let returns = |gate: unsafe extern "C" fn()| gate as *const () as u64 == run.raw.ret;
    gates.into_iter().any(returns).then(|| {
        // The return address is the record's last word.
        (&raw mut run.raw).wrapping_add(1).cast()
    })
}
