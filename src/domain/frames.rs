// SPDX-License-Identifier: GPL-2.0
//! A domain's frames: for each CPU a stack region and the landing stacks.
//!
//! A CPU gets its frame with the first run there: then its pages are allocated, on
//! its own node, and mapped. So a domain takes memory for the CPUs that run its
//! programs, not for each that could. A run may be anywhere but in an NMI, so
//! nothing of this sleeps: the page tables are made with the domain, and if no page
//! is free the run is turned away and the next one tries again. The frame stays
//! until the domain goes.

use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::pkrs::Key;
use crate::pure::region::{Frame, Part, Span, PAGE};
use core::cell::UnsafeCell;
use core::pin::Pin;
use core::ptr;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_spinlock, SpinLock};

/// Bytes of one landing stack: an event's frame and a stub's four words.
const LANDING: u64 = 1024;

/// Four landing stacks fit a frame's landing pages.
const _: () = assert!(4 * LANDING <= PAGE * super::LANDING_PAGES as u64);

/// One CPU's.
struct Place {
    /// What the gates read of it, once it is in `by_cpu`.
    record: UnsafeCell<b::bailey_frame>,
    at: Frame,
    /// Whether any page of it may be mapped; set under the lock, never taken back.
    touched: Atomic<u32>,
}

/// What new frames get.
struct Rights {
    key: Key,
    pkrs: u32,
    root: u64,
}

pub(crate) struct Frames {
    /// Read by the gates, each CPU its own word, which it alone writes.
    by_cpu: KVec<UnsafeCell<*mut b::bailey_frame>>,
    /// By CPU number; none for those that can never come.
    places: KVec<Option<Place>>,
    /// Taken with interrupts off, since a run may be in an interrupt.
    rights: Pin<KBox<SpinLock<Rights>>>,
}

// SAFETY: the pointers are into `places`, which this owns.
unsafe impl Send for Frames {}
// SAFETY: a word of `by_cpu` is written by its own CPU alone, and is null or stays what it is; the
// gates write a frame's cursor on its own CPU alone, and `set_pkrs` and `set_root` single words
// that gates read.
unsafe impl Sync for Frames {}

impl Frames {
    /// Page tables for the frame of every possible CPU in `span`, with no pages yet.
    pub(crate) fn new(span: &Span, key: Key, pkrs: u32, domain: u32) -> Result<Self> {
        let mut frames = Self {
            by_cpu: KVec::new(),
            places: KVec::new(),
            rights: KBox::pin_init(
                new_spinlock!(Rights { key, pkrs, root: 0 }, "bailey_frames"),
                GFP_KERNEL,
            )?,
        };
        // One more, which stays null: the index of a CPU whose keys are not on.
        for _ in 0..=cpus::count() {
            let none = UnsafeCell::new(ptr::null_mut());
            frames.by_cpu.push(none, GFP_KERNEL)?;
        }
        for _ in 0..cpus::count() {
            frames.places.push(None, GFP_KERNEL)?;
        }
        for cpu in cpus::possible() {
            let at = span.frame(cpu).ok_or(EINVAL)?;
            let (from, pages) = (at.landing.start, (at.stack.end - at.landing.start) / PAGE);
            // SAFETY: the frame lies in the reserved region and is unmapped: its domain is new.
            to_result(unsafe { b::bailey_region_prepare(from as usize, pages as usize) })?;
            let mut record = b::bailey_frame {
                landing: [0; 4],
                cursor: at.stack.end,
                bottom: at.stack.start,
                pkrs,
                domain,
                root: 0,
                top: at.stack.end,
            };
            for (n, top) in (1u64..).zip(record.landing.iter_mut()) {
                *top = at.landing.start + n * LANDING;
            }
            *frames.places.get_mut(cpu as usize).ok_or(EINVAL)? = Some(Place {
                record: UnsafeCell::new(record),
                at,
                touched: Atomic::new(0),
            });
        }
        Ok(frames)
    }

    /// The frame of the CPU that this runs on, whose index (struct bailey_cpu) is
    /// `cpu`. Null if its keys are not on or no page is free. Preemption is off.
    pub(crate) fn here(&self, cpu: u32) -> *mut b::bailey_frame {
        let (Some(word), Some(Some(place))) =
            (self.by_cpu.get(cpu as usize), self.places.get(cpu as usize))
        else {
            return ptr::null_mut();
        };
        // SAFETY: given back below.
        let flags = unsafe { b::bailey_irq_save() };
        // SAFETY: this CPU's word, which no interrupt writes now.
        let frame = unsafe { &mut *word.get() };
        if frame.is_null() {
            let rights = self.rights.lock();
            place.touched.store(1, Relaxed);
            let filled = fill(place.at.landing, rights.key) && fill(place.at.stack, rights.key);
            if filled {
                let record = place.record.get();
                // SAFETY: nobody has been given the record so far.
                unsafe {
                    (*record).pkrs = rights.pkrs;
                    (*record).root = rights.root;
                }
                *frame = record;
            }
        }
        let frame = *frame;
        // SAFETY: as taken above.
        unsafe { b::bailey_irq_restore(flags) };
        frame
    }

    /// Changes what frames have, and what new ones get. `set` is given each frame
    /// that may be in use, with rights that gates may read at any time.
    fn change(&self, change: impl Fn(&mut Rights), set: impl Fn(*mut b::bailey_frame)) {
        // SAFETY: given back below.
        let flags = unsafe { b::bailey_irq_save() };
        change(&mut self.rights.lock());
        // SAFETY: as taken above.
        unsafe { b::bailey_irq_restore(flags) };
        // A frame that is not seen to be touched here is given under the lock later, with the new
        // rights.
        self.touched().for_each(|place| set(place.record.get()));
    }

    fn touched(&self) -> impl Iterator<Item = &Place> {
        let places = self.places.iter().flatten();
        places.filter(|place| place.touched.load(Relaxed) != 0)
    }

    /// How many CPUs have one.
    pub(crate) fn count(&self) -> usize {
        self.touched().count()
    }

    /// What ways into confinement write to PKRS from now on.
    pub(crate) fn set_pkrs(&self, pkrs: u32) {
        self.change(
            |rights| rights.pkrs = pkrs,
            // SAFETY: a record of ours; one aligned word, which gates only read.
            |frame| unsafe { (&raw mut (*frame).pkrs).write_volatile(pkrs) },
        );
    }

    /// What they write to CR3 from now on; 0: nothing.
    pub(crate) fn set_root(&self, cr3: u64) {
        self.change(
            |rights| rights.root = cr3,
            // SAFETY: as above.
            |frame| unsafe { (&raw mut (*frame).root).write_volatile(cr3) },
        );
    }

    /// Gives every page another key. The caller flushes.
    pub(crate) fn tag(&self, key: Key) {
        self.change(|rights| rights.key = key, |_| ());
        for part in self.touched().flat_map(Place::parts) {
            super::tag(part.start, part.len() / PAGE, key);
        }
    }

    /// By index of the CPU (struct bailey_cpu); null where there is no frame yet.
    pub(crate) fn as_ptr(&self) -> *mut *mut b::bailey_frame {
        UnsafeCell::raw_get(self.by_cpu.as_ptr())
    }
}

impl Place {
    fn parts(&self) -> [Part; 2] {
        [self.at.landing, self.at.stack]
    }
}

/// Fresh pages for what of `part` has none yet. False if there are not enough.
fn fill(part: Part, key: Key) -> bool {
    let (from, pages) = (part.start as usize, (part.len() / PAGE) as usize);
    // SAFETY: a part of this CPU's frame, for which `new` has made the page tables; the caller has
    // interrupts off, so that no one else maps pages there.
    unsafe { b::bailey_region_fill(from, pages, key.number().into()) == 0 }
}

impl Drop for Frames {
    fn drop(&mut self) {
        for part in self.touched().flat_map(Place::parts) {
            // SAFETY: mapped by `fill`; no program of the domain is left that could use it.
            unsafe { b::bailey_region_unmap(part.start as usize, (part.len() / PAGE) as usize) };
        }
    }
}
