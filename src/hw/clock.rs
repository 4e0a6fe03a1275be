// SPDX-License-Identifier: GPL-2.0
//! The clock's page, from which confined programs tell the time (`pure/rewrite/inline/clock.rs`).
//!
//! It is the module's own, and read-only while confined, as resume slots are. The kernel says
//! what is new to those that mirror its clock for a guest, with each tick that changes it
//! (`update_pvclock_gtod()`, kernel/time/timekeeping.c): under its lock, so one CPU at a time.
//! It is asked for that only as long as a program reads the page.

use crate::bindings as b;
use crate::pure::pkrs::Key;
use crate::pure::rewrite::inline::clock::{Half, HALVES, WORDS};
use core::ptr;
use core::sync::atomic::{fence, AtomicPtr, AtomicU64, Ordering};
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::time::NSEC_PER_SEC;

/// The page as the kernel writes it, or null.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

struct Readers {
    count: u32,
    /// What the kernel's list of those that it tells has.
    block: b::notifier_block,
}

// SAFETY: the block is used under the mutex and by the kernel, which has a lock of its own.
unsafe impl Send for Readers {}

kernel::sync::global_lock! {
    // SAFETY: initialized by `Page::new`, before the first program.
    unsafe(uninit) static READERS: Mutex<Readers> = Readers {
        count: 0,
        block: b::notifier_block {
            notifier_call: Some(changed),
            next: ptr::null_mut(),
            priority: 0,
        },
    };
}

/// The module's ownership of the page. Dropped after the last program.
pub(crate) struct Page {
    mapped: *mut c_void,
    page: *mut c_void,
}

// SAFETY: an owned page, which init and drop of the module alone use through this.
unsafe impl Send for Page {}
// SAFETY: a shared `Page` gives no access to anything.
unsafe impl Sync for Page {}

impl Page {
    /// Makes it. Nothing is in it yet.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: called once, from the module's init.
        unsafe { READERS.init() };
        let mut page = ptr::null_mut();
        // SAFETY: returns a fresh page's mapping or null; `page` is valid for the write.
        let mapped = unsafe { b::bailey_keyed_page(u32::from(Key::EVENTS.number()), &mut page) };
        if mapped.is_null() {
            return Err(ENOMEM);
        }
        PAGE.store(mapped.cast(), Ordering::Relaxed);
        Ok(Self { mapped, page })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        PAGE.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: as returned by bailey_keyed_page; programs are gone, and with the last reader
        // the kernel has been told to say nothing more.
        unsafe { b::bailey_keyed_page_free(self.mapped, self.page) };
    }
}

/// A program that reads the page.
pub(crate) struct Reader(());

impl Reader {
    /// `None` if the kernel does not say what is new: then programs ask it.
    pub(crate) fn new() -> Option<Self> {
        let mut readers = READERS.lock();
        if readers.count == 0 {
            let block = &raw mut readers.block;
            // SAFETY: process context; the block stays where it is, in a static, until it is
            // unregistered, and `changed` may be called from now on.
            to_result(unsafe { b::pvclock_gtod_register_notifier(block) }).ok()?;
        }
        readers.count += 1;
        Some(Self(()))
    }

    /// The page's address, while confined as otherwise.
    pub(crate) fn address(&self) -> u64 {
        PAGE.load(Ordering::Relaxed) as u64
    }

    /// Whether there is something to compute with: the kernel tells the time by the TSC.
    pub(crate) fn is_ticking(&self) -> bool {
        // SAFETY: the page is there as long as there are programs.
        unsafe { word(offset_of_longest()).load(Ordering::Relaxed) != 0 }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut readers = READERS.lock();
        readers.count -= 1;
        if readers.count == 0 {
            let block = &raw mut readers.block;
            // SAFETY: process context; registered by the first reader. Behind this the kernel,
            // which calls `changed` under the lock that this takes, calls it no more.
            unsafe { b::pvclock_gtod_unregister_notifier(block) };
        }
    }
}

/// Which word of the page says whether its first half has something to compute with.
const fn offset_of_longest() -> usize {
    (HALVES + core::mem::offset_of!(Half, longest)) / size_of::<u64>()
}

/// A word of the page.
///
/// # Safety
///
/// The page is there; the word is one of its 512.
unsafe fn word(number: usize) -> &'static AtomicU64 {
    // SAFETY: promised by the caller.
    unsafe { &*PAGE.load(Ordering::Relaxed).add(number) }
}

/// The kernel's clock has changed; `of` is its `struct timekeeper`.
///
/// Readers are led by the sequence to the half that is whole, and read again if it has changed
/// meanwhile (`write_seqcount_latch()`, include/linux/seqlock.h).
///
/// # Safety
///
/// The kernel alone calls it, for a block that is registered, with its own clock and under the
/// lock of that.
unsafe extern "C" fn changed(_: *mut b::notifier_block, _: c_ulong, of: *mut c_void) -> c_int {
    // SAFETY: the kernel's own clock, under its lock.
    let keeper = unsafe { &*of.cast::<b::timekeeper>() };
    let words = half_of(keeper).words();
    for half in 0..2 {
        // SAFETY: the page is there as long as there are readers, and two halves are within it.
        // One writer at a time: the caller has its lock.
        unsafe {
            let sequence = word(0);
            sequence.store(sequence.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            fence(Ordering::Release);
            for (at, &value) in words.iter().enumerate() {
                let at = HALVES / size_of::<u64>() + half * WORDS + at;
                word(at).store(value, Ordering::Relaxed);
            }
            fence(Ordering::Release);
        }
    }
    // NOTIFY_DONE, include/linux/notifier.h
    0
}

/// What there is to compute with.
fn half_of(keeper: &b::timekeeper) -> Half {
    let read = &keeper.tkr_mono;
    // SAFETY: the kernel's clock always has a source, which lives as long as it is that.
    let clock = unsafe { &*read.clock };
    // As `ktime_get_coarse_ts64()`, which takes it apart for a `timespec64` first.
    let seconds = (keeper.xtime_sec as i64).wrapping_add(keeper.wall_to_monotonic.tv_sec);
    let coarse = seconds
        .wrapping_mul(NSEC_PER_SEC)
        .wrapping_add(keeper.wall_to_monotonic.tv_nsec as i64)
        .wrapping_add(keeper.coarse_nsec.into()) as u64;
    let is_tsc = clock.vdso_clock_mode == b::vdso_clock_mode_VDSO_CLOCKMODE_TSC;
    if !is_tsc || read.mask != u64::MAX {
        return Half::none(coarse);
    }
    let then = read.base as u64;
    // SAFETY: of the two that lie there, this is what the kernel's own clock has.
    let tai = unsafe { keeper.__bindgen_anon_1.offs_tai };
    Half {
        cycles: read.cycle_last,
        longest: clock.max_cycles,
        mult: read.mult,
        shift: read.shift,
        fraction: read.xtime_nsec,
        then: [
            then,
            then.wrapping_add(keeper.offs_boot as u64),
            then.wrapping_add(tai as u64),
            coarse,
        ],
    }
}
