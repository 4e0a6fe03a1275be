// SPDX-License-Identifier: GPL-2.0
//! Returns that the kernel holds: what goes on when a function of the program
//! ends that was called through the helper gate.
//!
//! The function runs in the run that called it. Its caller's part of that run
//! is written down here, in a stack for each CPU, and comes back at the
//! function's exit. A run inside of a run ends before what it interrupted goes
//! on, so one stack serves all runs of a CPU.

use super::{this_cpu, Run};
use crate::bindings as b;
use core::mem::MaybeUninit;
use kernel::prelude::*;

/// Calls under way on one CPU, all runs taken together: 33 tail calls, each
/// out of the deepest of 8 frames, and those of the last program.
const DEPTH: usize = 34 * 7;

/// A caller, while its function runs.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    prog: *mut b::bailey_prog,
    site: *mut b::bailey_site,
    frame: *mut b::bailey_frame,
    /// Of the run, to give back to the frame at its end.
    cursor: u64,
    /// Where the frame's own cursor was.
    low: u64,
    dom_rsp: u64,
    dom_rbp: u64,
    shadow: b::bailey_shadow,
    work: u32,
    /// R6 to R9.
    pub(super) kept: [u64; 4],
}

/// The stack of one CPU.
pub(crate) struct Callers([MaybeUninit<Caller>; DEPTH]);

impl Callers {
    /// An empty stack.
    pub(crate) fn new() -> Result<KVBox<Self>> {
        // In place: it is too large for a kernel stack.
        let callers = KVBox::<Self>::new_uninit(GFP_KERNEL)?;
        // SAFETY: elements that are not written yet are `MaybeUninit`.
        Ok(unsafe { callers.assume_init() })
    }
}

/// Element `number` of this CPU's stack.
fn slot(number: usize) -> Option<&'static mut MaybeUninit<Caller>> {
    if number >= DEPTH {
        return None;
    }
    // SAFETY: the address of this CPU's `Callers`, whose elements only the run that pushed them
    // uses.
    let callers = unsafe { &mut *(this_cpu().callers as *mut Callers) };
    callers.0.get_mut(number)
}

/// How many calls of functions are under way in `run`.
pub(super) fn under_way(run: &b::bailey_run) -> u64 {
    if run.work & b::BAILEY_WORK_CALLS == 0 {
        return 0;
    }
    run.calls
}

/// Writes down how `run` is now, with R6 to R9. False if there is no room.
pub(super) fn push(run: &mut Run, kept: &[u64; 4]) -> bool {
    let cpu = this_cpu();
    let Some(slot) = slot(cpu.callers_top as usize) else {
        return false;
    };
    cpu.callers_top += 1;
    run.raw.calls = under_way(&run.raw) + 1;
    slot.write(Caller {
        prog: run.raw.prog,
        site: run.raw.site,
        frame: run.raw.frame,
        cursor: run.raw.cursor,
        low: run.frame().cursor,
        dom_rsp: run.raw.dom_rsp,
        dom_rbp: run.raw.dom_rbp,
        shadow: run.raw.shadow,
        work: run.raw.work,
        kept: *kept,
    });
    run.raw.work |= b::BAILEY_WORK_CALLS;
    true
}

/// Puts `run` back to what it was at its last push. Returns that caller's R6
/// to R9, or `None` if there is none.
pub(super) fn pop(run: &mut Run) -> Option<[u64; 4]> {
    let left = under_way(&run.raw).checked_sub(1)?;
    let cpu = this_cpu();
    let at = cpu.callers_top.checked_sub(1)?;
    // SAFETY: below the top all are written, and the last `calls` are this run's.
    let caller = unsafe { slot(at as usize)?.assume_init_read() };
    run.raw.calls = left;
    cpu.callers_top = at;
    run.raw.prog = caller.prog;
    run.raw.site = caller.site;
    run.raw.frame = caller.frame;
    run.raw.cursor = caller.cursor;
    run.raw.dom_rsp = caller.dom_rsp;
    run.raw.dom_rbp = caller.dom_rbp;
    run.raw.shadow = caller.shadow;
    run.raw.work = caller.work;
    // SAFETY: this CPU's frame; only its own runs move the cursor.
    unsafe { (*run.raw.frame).cursor = caller.low };
    Some(caller.kept)
}

/// Where the frame's cursor was before the function that `run` is in.
pub(super) fn low(run: &Run) -> Option<u64> {
    (under_way(&run.raw) > 0)
        .then(|| top(0))?
        .map(|caller| caller.low)
}

/// Hands what the function that `run` is in was lent to its caller.
pub(super) fn keep_loans(run: &Run) {
    if run.raw.work & b::BAILEY_WORK_LEVEL == 0 || under_way(&run.raw) == 0 {
        return;
    }
    let at = this_cpu().callers_top.checked_sub(1);
    if let Some(slot) = at.and_then(|at| slot(at as usize)) {
        // SAFETY: as in `pop`.
        let caller = unsafe { slot.assume_init_mut() };
        caller.work |= b::BAILEY_WORK_LEVEL;
        caller.shadow.level = run.raw.shadow.level;
    }
}

/// The caller that is `n` below the innermost of this CPU.
pub(super) fn top(n: u64) -> Option<&'static Caller> {
    let at = this_cpu().callers_top.checked_sub(n + 1)?;
    // SAFETY: as in `pop`.
    Some(unsafe { slot(at as usize)?.assume_init_ref() })
}

impl Caller {
    /// Whether the caller was in a function that shares with its own caller.
    pub(super) fn is_inner(&self) -> bool {
        self.work & b::BAILEY_WORK_INNER != 0
    }

    /// Where its image's stack ends.
    pub(super) fn stack_top(&self) -> u64 {
        // SAFETY: a run's images live as long as the run.
        self.dom_rsp + unsafe { (*self.prog).depth }
    }
}
