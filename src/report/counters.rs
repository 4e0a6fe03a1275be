// SPDX-License-Identifier: GPL-2.0
//! Counters: one file each, a header line and the sum over all CPUs.

use crate::bindings as b;
use crate::hw::cpus;
use kernel::debugfs::Writer;
use kernel::fmt;
use kernel::prelude::*;

/// A counter of the per-CPU words.
#[derive(Clone, Copy)]
pub(crate) struct Counter {
    file: &'static CStr,
    read: fn(*const b::bailey_cpu) -> u64,
}

impl Counter {
    pub(super) fn file(&self) -> &'static CStr {
        self.file
    }

    /// The sum over all CPUs; each is read whole, none is stopped.
    pub(super) fn sum(&self) -> u64 {
        cpus::possible()
            .map(|cpu| (self.read)(cpus::words(cpu)))
            .fold(0, u64::wrapping_add)
    }
}

macro_rules! counters {
    ($($field:ident, $file:literal;)*) => {
        &[$(Counter {
            file: $file,
            read: |words| {
                // SAFETY: per-CPU words of this module; one aligned word is read whole.
                unsafe { (&raw const (*words).$field).read_volatile() }
            },
        }),*]
    };
}

/// Every counter.
pub(super) static ALL: &[Counter] = counters! {
    runs, c"runs";
    helper_calls, c"helper_calls";
    key_writes, c"key_writes";
    bytes_copied, c"bytes_copied";
    loan_accesses, c"loan_accesses";
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
        writeln!(f, "{}", self.sum())
    }
}
