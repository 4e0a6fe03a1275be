// SPDX-License-Identifier: GPL-2.0
//! Rounds of the policy for keys: how often each domain crosses is what its
//! programs' runs and helper calls count anyway, so runs pay nothing for it.

use super::program;
use crate::bindings as b;
use crate::domain;
use kernel::prelude::*;

/// A round; whether there shall be another.
///
/// # Safety
///
/// Called in process context, where it may sleep, between the module's init and
/// [`stop`].
#[no_mangle]
unsafe extern "C" fn bailey_round() -> c_int {
    let (domains, sharers) = domain::count();
    if sharers == 0 {
        return 0;
    }
    // Short of memory, this round is left out.
    if let Ok(mut crossings) = KVec::<(u32, u64)>::with_capacity(domains, GFP_KERNEL) {
        program::for_each(|program| {
            let Some(domain) = program.domain() else {
                return;
            };
            let add = program
                .counts()
                .map_or(0, |counts| counts.runs() + counts.helper_calls());
            match crossings.iter_mut().find(|(id, _)| *id == domain.id()) {
                Some((_, total)) => *total += add,
                // A domain that came meanwhile waits for the next round.
                None => drop(crossings.push_within_capacity((domain.id(), add))),
            }
        });
        domain::rebalance(&crossings);
    }
    1
}

/// No round is under way any more, and none comes: the hooks are gone, so that
/// no domain begins to share.
pub(super) fn stop() {
    // SAFETY: process context.
    unsafe { b::bailey_rounds_stop() };
}
