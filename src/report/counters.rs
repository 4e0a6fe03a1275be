// SPDX-License-Identifier: GPL-2.0
//! Counters: one file each, a header line and the sum over all CPUs.
//!
//! What every run would have to count is not counted twice: runs and helper
//! calls are the sum over programs, and the key is written as often to the
//! kernel's as it was to a domain's.

use crate::bindings as b;
use crate::hw::cpus;
use crate::load::counts;
use kernel::debugfs::Writer;
use kernel::fmt;
use kernel::prelude::*;

/// A counter and its file.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    file: &'static CStr,
    read: fn() -> u64,
}

/// The sum of one of the per-CPU words; each is read whole, no CPU is stopped.
fn sum(read: fn(*const b::bailey_cpu) -> u64) -> u64 {
    cpus::possible()
        .map(|cpu| read(cpus::words(cpu)))
        .fold(0, u64::wrapping_add)
}

impl Counter {
    pub(super) fn file(&self) -> &'static CStr {
        self.file
    }
}

macro_rules! counters {
    ($($field:ident, $file:literal;)*) => {
        &[$(Counter {
            file: $file,
            // SAFETY: per-CPU words of this module; one aligned word is read whole.
            read: || sum(|words| unsafe { (&raw const (*words).$field).read_volatile() }),
        }),*]
    };
}

/// Counters that are not words of their own.
pub(super) static DERIVED: &[Counter] = &[
    Counter {
        file: c"runs",
        read: counts::runs,
    },
    Counter {
        file: c"helper_calls",
        read: counts::helper_calls,
    },
    Counter {
        file: c"key_writes",
        read: || {
            // SAFETY: as above.
            2 * sum(|words| unsafe { (&raw const (*words).entries).read_volatile() })
        },
    },
];

/// Every counter that is a per-CPU word.
pub(super) static ALL: &[Counter] = counters! {
    bytes_copied, c"bytes_copied";
    loan_accesses, c"loan_accesses";
    arena_faults, c"arena_faults";
    violations, c"violations_total";
    aborts, c"aborts";
    refused, c"refused_runs";
    no_frame, c"frame_full";
    events, c"events";
    replays, c"event_replays";
    landings, c"event_landings";
    undone, c"event_undone";
    recovered, c"interrupts_recovered";
};

impl Writer for Counter {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "value")?;
        writeln!(f, "{}", (self.read)())
    }
}
