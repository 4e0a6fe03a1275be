// SPDX-License-Identifier: GPL-2.0
//! How often programs ran and called what.
//!
//! The gates count, each in a word of its CPU: a run when it begins, a call when it comes in. A
//! program's words are one array, since a call site or an image can hold the address of the one
//! that is to be counted in: two instructions, and no lock.

use super::program;
use crate::bindings as b;
use crate::pure::catalog::{kfuncs, name};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Runs of the program, of its functions within these, calls of what is no helper or kfunc.
const RUNS: usize = 0;
const NESTED: usize = 1;
const OTHER: usize = 2;
/// Calls of the first helper.
const FIRST: usize = 3;

/// Numbers of helpers and kfuncs are below.
const CALLEES: usize = kfuncs::FIRST as usize + kfuncs::ALLOWED.len();

/// What programs that are gone had counted.
struct Gone {
    runs: Atomic<u64>,
    calls: [Atomic<u64>; CALLEES],
}

static GONE: Gone = Gone {
    runs: Atomic::new(0),
    calls: [const { Atomic::new(0) }; CALLEES],
};

/// The counters of an isolated program.
pub(crate) struct Counts {
    /// Per CPU.
    words: *mut u64,
    /// Which helpers and kfuncs it calls, in the order of their words.
    callees: KVec<u32>,
}

// SAFETY: owned memory; each CPU adds to its own words.
unsafe impl Send for Counts {}
// SAFETY: as above.
unsafe impl Sync for Counts {}

impl Counts {
    /// Counters for what is called through `sites`.
    pub(super) fn new(sites: &[b::bailey_site]) -> Result<Self> {
        let mut callees = KVec::new();
        for site in sites.iter().filter(|site| name(site.helper).is_some()) {
            if !callees.contains(&site.helper) {
                callees.push(site.helper, GFP_KERNEL)?;
            }
        }
        // SAFETY: process context.
        let words = unsafe { b::bailey_counts_alloc((FIRST + callees.len()) as u32) };
        if words.is_null() {
            return Err(ENOMEM);
        }
        Ok(Self { words, callees })
    }

    fn word(&self, number: usize) -> *mut u64 {
        self.words.wrapping_add(number)
    }

    /// Where an image counts its runs; `begins` if they are not part of others.
    pub(super) fn of_runs(&self, begins: bool) -> *mut u64 {
        self.word(if begins { RUNS } else { NESTED })
    }

    /// Where calls of `callee` are counted.
    pub(super) fn of_calls(&self, callee: u32) -> *mut u64 {
        let place = self.callees.iter().position(|&id| id == callee);
        self.word(place.map_or(OTHER, |place| FIRST + place))
    }

    /// The sum over all CPUs; each word is read whole, no CPU is stopped.
    fn sum(&self, number: usize) -> u64 {
        // SAFETY: one of the words of this array.
        unsafe { b::bailey_count_sum(self.word(number)) }
    }

    /// Runs that began. Those of its functions that are entered by themselves are part of them.
    pub(crate) fn runs(&self) -> u64 {
        self.sum(RUNS)
    }

    /// Each helper or kfunc that it can call through the gate, and how often it did.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let callees = self.callees.iter().enumerate();
        callees.map(|(place, &id)| (id, self.sum(FIRST + place)))
    }

    /// All these calls.
    pub(crate) fn helper_calls(&self) -> u64 {
        self.calls().map(|(_, calls)| calls).sum()
    }

    /// Adds them to those of programs that are gone.
    pub(super) fn keep(&self) {
        GONE.runs.add(self.runs(), Relaxed);
        for (id, calls) in self.calls() {
            if let Some(gone) = GONE.calls.get(id as usize) {
                gone.add(calls, Relaxed);
            }
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        // SAFETY: from bailey_counts_alloc(); the program runs no more.
        unsafe { b::bailey_counts_free(self.words) };
    }
}

/// Runs since the module was loaded. Of this sum and those below: a program that goes meanwhile
/// may be missed.
pub(crate) fn runs() -> u64 {
    let mut sum = GONE.runs.load(Relaxed);
    program::for_each(|program| sum += program.counts().map_or(0, Counts::runs));
    sum
}

/// Helper calls since the module was loaded.
pub(crate) fn helper_calls() -> u64 {
    let mut sum = GONE.calls.iter().map(|calls| calls.load(Relaxed)).sum();
    program::for_each(|program| sum += program.counts().map_or(0, Counts::helper_calls));
    sum
}

/// The same of each helper and kfunc, by number.
pub(crate) fn calls() -> Result<KVec<u64>> {
    let mut sums = KVec::from_elem(0, CALLEES, GFP_KERNEL)?;
    for (sum, gone) in sums.iter_mut().zip(&GONE.calls) {
        *sum = gone.load(Relaxed);
    }
    program::for_each(|program| {
        for (id, calls) in program.counts().into_iter().flat_map(Counts::calls) {
            if let Some(sum) = sums.get_mut(id as usize) {
                *sum += calls;
            }
        }
    });
    Ok(sums)
}
