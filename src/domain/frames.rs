// SPDX-License-Identifier: GPL-2.0
//! A domain's frames: for each CPU a stack region and the landing stacks.

use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::pkrs::Key;
use crate::pure::region::{Part, Span, PAGE};
use core::ptr;
use kernel::prelude::*;

/// Bytes of one landing stack: an event's frame and a stub's four words.
const LANDING: u64 = 1024;

/// Four landing stacks fit a frame's landing pages.
const _: () = assert!(4 * LANDING <= PAGE * super::LANDING_PAGES as u64);

pub(crate) struct Frames {
    by_cpu: KVec<*mut b::bailey_frame>,
    records: KVec<KBox<b::bailey_frame>>,
    mapped: KVec<Part>,
}

// SAFETY: the pointers are into `records`, which this owns.
unsafe impl Send for Frames {}
// SAFETY: shared use is reading addresses; the gates write a frame's cursor on its own CPU alone,
// and `set_pkrs` and `set_root` single words that gates read.
unsafe impl Sync for Frames {}

impl Frames {
    /// Maps a frame for every possible CPU in `span`.
    pub(crate) fn new(span: &Span, key: Key, pkrs: u32, domain: u32) -> Result<Self> {
        let mut frames = Self {
            by_cpu: KVec::new(),
            records: KVec::new(),
            mapped: KVec::new(),
        };
        // One more, which stays null: the index of a CPU whose keys are not on.
        for _ in 0..=cpus::count() {
            frames.by_cpu.push(ptr::null_mut(), GFP_KERNEL)?;
        }
        for cpu in cpus::possible() {
            let at = span.frame(cpu).ok_or(EINVAL)?;
            frames.map(at.landing, key)?;
            frames.map(at.stack, key)?;
            let mut record = KBox::new(
                b::bailey_frame {
                    landing: [0; 4],
                    cursor: at.stack.end,
                    bottom: at.stack.start,
                    pkrs,
                    domain,
                    root: 0,
                    top: at.stack.end,
                },
                GFP_KERNEL,
            )?;
            for (n, top) in (1u64..).zip(record.landing.iter_mut()) {
                *top = at.landing.start + n * LANDING;
            }
            let slot = frames.by_cpu.get_mut(cpu as usize).ok_or(EINVAL)?;
            *slot = &raw mut *record;
            frames.records.push(record, GFP_KERNEL)?;
        }
        Ok(frames)
    }

    fn map(&mut self, part: Part, key: Key) -> Result {
        let pages = part.len() / PAGE;
        self.mapped.reserve(1, GFP_KERNEL)?;
        // SAFETY: the part lies in the reserved region and is unmapped: its domain is new.
        let err = unsafe {
            b::bailey_region_map(part.start as usize, pages as usize, key.number().into(), -1)
        };
        if err != 0 {
            return Err(Error::from_errno(err));
        }
        self.mapped.push(part, GFP_KERNEL)?;
        Ok(())
    }

    /// What ways into confinement write to PKRS from now on.
    pub(crate) fn set_pkrs(&self, pkrs: u32) {
        for frame in self.each() {
            // SAFETY: a record of ours; one aligned word, which gates only read.
            unsafe { (&raw mut (*frame).pkrs).write_volatile(pkrs) };
        }
    }

    /// What they write to CR3 from now on; 0: nothing.
    pub(crate) fn set_root(&self, cr3: u64) {
        for frame in self.each() {
            // SAFETY: as above.
            unsafe { (&raw mut (*frame).root).write_volatile(cr3) };
        }
    }

    fn each(&self) -> impl Iterator<Item = *mut b::bailey_frame> + '_ {
        self.by_cpu.iter().copied().filter(|frame| !frame.is_null())
    }

    /// Gives every page another key. The caller flushes.
    pub(crate) fn tag(&self, key: Key) {
        for part in &self.mapped {
            super::tag(part.start, part.len() / PAGE, key);
        }
    }

    /// By index of the CPU (struct bailey_cpu); null where there is no such CPU.
    pub(crate) fn as_ptr(&self) -> *mut *mut b::bailey_frame {
        self.by_cpu.as_ptr().cast_mut()
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        for part in &self.mapped {
            // SAFETY: mapped by `map`; no program of the domain is left that could use it.
            unsafe { b::bailey_region_unmap(part.start as usize, (part.len() / PAGE) as usize) };
        }
    }
}
