// SPDX-License-Identifier: GPL-2.0
//! What the module tells about itself: /sys/kernel/debug/bailey.
//!
//! Every table has a header line; columns are separated by single blanks, so
//! that awk needs no more than their numbers. docs/usage.md describes them.

mod calls;
mod counters;
mod helpers;
mod tables;

use kernel::debugfs::{Dir, File};
use kernel::prelude::*;

/// The directory and its files; dropping it removes them.
pub(crate) struct Report {
    _counters: KVec<Pin<KBox<File<counters::Counter>>>>,
    _status: Pin<KBox<File<tables::Status>>>,
    _programs: Pin<KBox<File<tables::Programs>>>,
    _calls: Pin<KBox<File<calls::Calls>>>,
    _helpers: Pin<KBox<File<helpers::Helpers>>>,
    _maps: Pin<KBox<File<tables::Maps>>>,
    _stores: Pin<KBox<File<tables::Stores>>>,
    _domains: Pin<KBox<File<tables::Domains>>>,
    _keys: Pin<KBox<File<tables::Keys>>>,
    _violations: Pin<KBox<File<tables::Violations>>>,
    _dir: Dir,
}

impl Report {
    /// Creates the files.
    pub(crate) fn new() -> Result<Self> {
        let dir = Dir::new(c"bailey");
        let mut files = KVec::new();
        for counter in Iterator::chain(counters::ALL.iter(), counters::DERIVED) {
            let file = KBox::pin_init(
                dir.read_only_file(counter.file(), Ok::<_, Error>(*counter)),
                GFP_KERNEL,
            )?;
            files.push(file, GFP_KERNEL)?;
        }
        macro_rules! file {
            ($name:literal, $what:expr) => {
                KBox::pin_init(dir.read_only_file($name, Ok::<_, Error>($what)), GFP_KERNEL)?
            };
        }
        Ok(Self {
            _status: file!(c"status", tables::Status),
            _programs: file!(c"programs", tables::Programs),
            _calls: file!(c"calls", calls::Calls),
            _helpers: file!(c"helpers", helpers::Helpers),
            _maps: file!(c"maps", tables::Maps),
            _stores: file!(c"stores", tables::Stores),
            _domains: file!(c"domains", tables::Domains),
            _keys: file!(c"keys", tables::Keys),
            _violations: file!(c"violations", tables::Violations),
            _counters: files,
            _dir: dir,
        })
    }
}
