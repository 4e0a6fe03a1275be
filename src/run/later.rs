// SPDX-License-Identifier: GPL-2.0
//! Runs that the kernel starts by itself, when what asked for them has long
//! returned: a timer's callback, in a softirq, or a workqueue's, in a task.
//!
//! Such a function is an image of a kind of its own, which no helper calls back:
//! that alone decides, not what is under way on the CPU. The run may have
//! interrupted another, of the same program even, or a helper that calls back: it
//! shares nothing with that. It has no context and no packet, a part of its own of
//! the frame, and loans, ledger and counts that begin empty.
//!
//! A workqueue calls it with nothing held but what keeps it on its CPU
//! (`bpf_wq_work()`, kernel/bpf/helpers.c), and the verifier lets it sleep. With
//! preemption off, as in every run, it is in a read-side section of RCU as a
//! packet's run is, and what sleeps it may not call: none of that is in the catalog.
//!
//! The kernel passes a map, a key and a value of it, of its own memory: the map's
//! address is what programs know a map by, the key is copied into the frame, the
//! value becomes the domain's or a loan.

use super::lending::{give_value, lend};
use super::{function, this_cpu, Run};
use crate::bindings as b;
use crate::pure::loan::{Kind as Lent, Loan};

/// Runs on top of those that may call back: one in a task, one in a softirq, and
/// what interrupts do beside.
const DEEPEST: u64 = function::NESTED + 4;
const _: () = assert!(DEEPEST + 4 <= b::SLOT_LEVELS as u64);

/// Fills the record of such a run and replaces its arguments. Returns 0, or 1 if
/// the run is turned away.
pub(super) fn begin(run: &mut Run, args: &mut [u64; 5]) -> u32 {
    let cpu = this_cpu();
    if run.program().is_turned_away() {
        cpu.refused += 1;
        return 1;
    }
    let frame = run.image().frame_here();
    let depth = (cpu.slot - cpu.slot_base) >> b::SLOT_SHIFT;
    if frame.is_null() || depth >= DEEPEST {
        return function::turned_away();
    }
    run.raw.frame = frame;
    // SAFETY: this CPU's frame; only its own runs move the cursor.
    run.raw.cursor = unsafe { (*frame).cursor };
    // It has no stack yet.
    run.raw.dom_rbp = run.raw.cursor;
    run.raw.dom_rsp = run.raw.cursor;
    match translate(run, args).and_then(|at| run.carve_below(at)) {
        Some(()) => 0,
        None => {
            run.end_level();
            // SAFETY: as above.
            unsafe { (*frame).cursor = run.raw.cursor };
            function::turned_away()
        }
    }
}

/// Replaces arguments. Returns where in the frame there is room below what was
/// copied into it.
fn translate(run: &mut Run, args: &mut [u64; 5]) -> Option<u64> {
    let map = args[0] as *mut b::bpf_map;
    // SAFETY: the kernel passes the map whose value holds the timer, which waits for the callback.
    let size = unsafe { (*map).key_size };
    // SAFETY: it passes a key of this map as well.
    let key = unsafe { function::copy_key(run, args[1], size.into())? };
    // Of the run's maps all but inner ones are known.
    if !run.program().maps().iter().any(|own| own.as_ptr() == map) {
        let inner = Loan {
            start: map as u64,
            len: 1,
            write: false,
            kind: Lent::Map,
            tag: 0,
        };
        lend(run, &[0; 4], inner).ok()?;
    }
    // None of R6 to R9 is the function's yet.
    let value = give_value(run, &[0; 4], map, args[2]).ok()?;
    *args = [args[0], key, value, 0, 0];
    Some(key)
}
