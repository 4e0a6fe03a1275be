// SPDX-License-Identifier: GPL-2.0
//! What a violation leaves behind: a counter, a record, a trace event, a line
//! in the log, and by policy a quarantined program.

use crate::bindings as b;
use crate::pure::violation::{Kind, Record, Ring};
use crate::run::{self, Run};
use core::sync::atomic::{AtomicU64, Ordering};
use kernel::prelude::*;

/// How many of the last violations debugfs shows.
pub(crate) const KEPT: usize = 64;

kernel::sync::global_lock! {
    // SAFETY: initialized by `init`, before the first program.
    unsafe(uninit) static RECORDS: SpinLock<Ring<KEPT>> = Ring::new();
}

/// Prepares the records.
pub(crate) fn init() {
    // SAFETY: called once, from the module's init.
    unsafe { RECORDS.init() };
}

/// Calls `report` for each of the last violations, oldest first.
pub(crate) fn for_each(mut report: impl FnMut(&Record)) {
    // SAFETY: restored below; see `record`.
    let flags = unsafe { b::bailey_irq_save() };
    let records = RECORDS.lock();
    for record in records.iter() {
        report(record);
    }
    drop(records);
    // SAFETY: as saved above.
    unsafe { b::bailey_irq_restore(flags) };
}

/// Lines in the log: so many in each interval.
const LOG_BURST: u64 = 10;
const LOG_INTERVAL_NS: u64 = 5_000_000_000;
static LOG_START: AtomicU64 = AtomicU64::new(0);
static LOG_LINES: AtomicU64 = AtomicU64::new(0);

fn may_log(now: u64) -> bool {
    let start = LOG_START.load(Ordering::Relaxed);
    if now.wrapping_sub(start) > LOG_INTERVAL_NS {
        LOG_START.store(now, Ordering::Relaxed);
        let missed = LOG_LINES
            .swap(0, Ordering::Relaxed)
            .saturating_sub(LOG_BURST);
        if missed > 0 {
            pr_warn!("{} more violations were not logged\n", missed);
        }
    }
    LOG_LINES.fetch_add(1, Ordering::Relaxed) < LOG_BURST
}

/// The run's program did at `rip` what it may not, with or at `addr`.
///
/// Interrupts are off or on; PKRS is the kernel's.
pub(crate) fn record(run: &mut Run, kind: Kind, rip: u64, addr: u64) {
    let program = run.program();
    // SAFETY: it runs.
    unsafe { program.note_id() };
    let cpu = run::this_cpu();
    cpu.violations += 1;
    program.count_violation();
    // SAFETY: the parameter is an int that is read whole.
    if unsafe { (&raw const b::bailey_violation_abort).read_volatile() } == 0 {
        program.quarantine();
    }
    let at = u32::try_from(rip.wrapping_sub(run.image().image)).unwrap_or(u32::MAX);
    // SAFETY: reads the clock; any context.
    let now = unsafe { b::bailey_now() };
    // An interrupt may bring a run of its own, with a violation of its own.
    // SAFETY: restored below.
    let flags = unsafe { b::bailey_irq_save() };
    RECORDS.lock().push(Record {
        time_ns: now,
        program: program.id(),
        name: program.name_bytes(),
        kind,
        addr,
        at,
    });
    // SAFETY: as saved above.
    unsafe { b::bailey_irq_restore(flags) };
    let name = program.name();
    // SAFETY: name and kind are NUL-terminated for the length of the call.
    unsafe {
        b::bailey_trace_violation(
            program.id(),
            name.as_char_ptr(),
            at,
            rip,
            addr,
            kind_name(kind).as_char_ptr(),
        )
    };
    if may_log(now) {
        pr_warn!(
            "program {} ({}) stopped: {} at instruction {:#x} (+{:#x}), address {:#x}\n",
            program.id(),
            name,
            kind.name(),
            rip,
            at,
            addr
        );
    }
}

fn kind_name(kind: Kind) -> &'static CStr {
    match kind {
        Kind::Read => c"read",
        Kind::Write => c"write",
        Kind::Fetch => c"fetch",
        Kind::Argument => c"argument",
        Kind::Budget => c"budget",
        Kind::Stack => c"stack",
        Kind::Frame => c"frame",
        Kind::Instruction => c"instruction",
    }
}
