// SPDX-License-Identifier: GPL-2.0
//! Arenas, as domains see them.
//!
//! A program addresses an arena by 32 bits and a base in a register. The kernel's base is that
//! of its own mapping, which a confined program cannot reach. A domain has a base of its own, a
//! window of the region, at which it sees the same pages: not from the start, since they come
//! and go as programs and user space ask for them, but each from the first access on, which
//! faults ([`Arena::shows`]). From then on an access costs what it costs without isolation.
//!
//! When the kernel frees a page of an arena it has taken it out of its own page tables before,
//! flushes just these addresses, and frees it after that (`arena_free_pages()`,
//! `arena_free_worker()`, kernel/bpf/arena.c). That flush is hooked while there is an arena
//! here: what domains see goes before it returns. And each page that a domain sees has a
//! reference of ours, so that none is anybody else's as long as it is seen.
//!
//! Lock order: `SHOWN` is taken with interrupts off, in any context but an NMI, and nothing is
//! taken under it. It makes "is the page in the kernel's tables, then it is in the domain's" and
//! "it is not any more" follow each other.

use crate::bindings as b;
use crate::btf;
use crate::pure::pkrs::Key;
use crate::pure::region::{Part, Window, PAGE};
use core::ptr;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::SetOnce;

/// Pages that are taken from domains between two flushes.
const BATCH: usize = 64;
/// Pages that are looked at while interrupts are off.
const STRETCH: u64 = 512;

/// Bytes that 32 bits address.
const BAND: u64 = 1 << 32;

/// Where an arena's pages are.
#[derive(Clone, Copy)]
struct Shown {
    /// What the low half of their addresses in user space is added to, in the kernel's mapping.
    kernel: u64,
    /// The same in a domain's.
    domain: u64,
    /// Those low halves.
    low: Part,
}

impl Shown {
    /// Which of the pages that the kernel has from `start` to `end` are the arena's, by their
    /// low halves. Nothing, if there are any that are not.
    fn part(&self, start: u64, end: u64) -> Option<Part> {
        let kernel = Part {
            start: self.kernel,
            end: self.kernel + BAND,
        };
        if start >= end || !kernel.contains(start, end - start) {
            return None;
        }
        let part = Part {
            start: (start - self.kernel).max(self.low.start),
            end: (end - self.kernel).min(self.low.end),
        };
        (part.start < part.end).then_some(part)
    }
}

kernel::sync::global_lock! {
    // SAFETY: initialized by `init`, before the first program is loaded.
    unsafe(uninit) static SHOWN: SpinLock<KVec<Shown>> = KVec::new();
}

/// Where the kernel's record of an arena (`struct bpf_arena`, kernel/bpf/arena.c) has what we
/// read of it.
#[derive(Clone, Copy)]
struct Members {
    user_vm_start: u32,
    user_vm_end: u32,
    /// The page that stands for all that is not there once the kernel itself has come to such an
    /// address.
    scratch_page: u32,
}

/// Of this kernel; not set if it has other ones.
static MEMBERS: SetOnce<Members> = SetOnce::new();

/// Prepares the list.
///
/// # Safety
///
/// Called once, from the module's init.
pub(super) unsafe fn init() {
    // SAFETY: promised by the caller.
    unsafe { SHOWN.init() };
    let member = |member| u32::try_from(btf::member_at(c"bpf_arena", member)?).ok();
    let members = || {
        Some(Members {
            user_vm_start: member(c"user_vm_start")?,
            user_vm_end: member(c"user_vm_end")?,
            scratch_page: member(c"scratch_page")?,
        })
    };
    match members() {
        Some(members) => {
            MEMBERS.populate(members);
        }
        None => {
            pr_warn!("struct bpf_arena is another one: programs with arenas are not isolated\n")
        }
    }
}

/// With the list locked.
fn with_shown<T>(with: impl FnOnce(&mut KVec<Shown>) -> T) -> T {
    // SAFETY: restored below.
    let flags = unsafe { b::bailey_irq_save() };
    let result = with(&mut SHOWN.lock());
    // SAFETY: as saved above.
    unsafe { b::bailey_irq_restore(flags) };
    result
}

/// An arena in a domain. Dropped when no run uses its addresses any more.
pub(crate) struct Arena {
    window: Window,
    shown: Shown,
    /// Of the kernel's scratch page, where its `struct page` is.
    scratch: u64,
    key: Atomic<u32>,
}

impl Arena {
    /// Whether `map` is one.
    ///
    /// # Safety
    ///
    /// `map` is alive.
    pub(crate) unsafe fn is(map: *const b::bpf_map) -> bool {
        // SAFETY: promised by the caller.
        unsafe { (*map).map_type == b::bpf_map_type_BPF_MAP_TYPE_ARENA }
    }

    /// The arena `map`, with nothing of it seen so far: the page tables are made, and so is
    /// the hook. The caller holds the registry's mutex.
    ///
    /// # Safety
    ///
    /// `map` is an arena that lives longer than this, and that has its place in user space:
    /// the verifier has seen a program with it.
    pub(super) unsafe fn new(map: *mut b::bpf_map, window: Window, key: Key) -> Result<Self> {
        let members = MEMBERS.copy().ok_or(ENOTSUPP)?;
        // SAFETY: promised by the caller; there the kernel's record has these words, by its own BTF.
        let (kernel, start, end, scratch) = unsafe {
            (
                b::bailey_k_bpf_arena_map_kern_vm_start(map),
                b::bailey_arena_word(map, members.user_vm_start),
                b::bailey_arena_word(map, members.user_vm_end),
                b::bailey_arena_word(map, members.scratch_page),
            )
        };
        // They have one upper half, and do not change once they are there.
        let low = start % BAND;
        let shown = Shown {
            kernel,
            domain: window.base(),
            low: Part {
                start: low,
                end: low + (end - start).min(BAND - low),
            },
        };
        let (at, pages) = (shown.domain + low, shown.low.len() / PAGE);
        // SAFETY: the window is the domain's and nothing is mapped there.
        to_result(unsafe { b::bailey_region_prepare(at as usize, pages as usize) })?;
        list(shown)?;
        Ok(Self {
            window,
            shown,
            scratch,
            key: Atomic::new(key.number().into()),
        })
    }

    /// The window in which it is seen.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Where its pages are, those that are there.
    pub(crate) fn part(&self) -> Part {
        Part {
            start: self.shown.domain + self.shown.low.start,
            end: self.shown.domain + self.shown.low.end,
        }
    }

    /// Whether the domain sees the `len` bytes at `addr`, at most a page: if it does not so far
    /// and the kernel has pages there, it does from now on.
    pub(crate) fn shows(&self, addr: u64, len: u64) -> bool {
        let (first, last) = (addr & !(PAGE - 1), (addr + len - 1) & !(PAGE - 1));
        self.shows_page(first) && (first == last || self.shows_page(last))
    }

    fn shows_page(&self, page: u64) -> bool {
        if !self.part().contains(page, PAGE) {
            return false;
        }
        let kernel = self.shown.kernel + (page - self.shown.domain);
        with_shown(|_| {
            let key = self.key.load(Relaxed);
            // SAFETY: both are addresses of this arena, whose table in the region was made with
            // it; the lock keeps its pages where they are.
            unsafe { b::bailey_arena_show(kernel as usize, page as usize, key, self.scratch) != 0 }
        })
    }

    /// Gives every page another key. The caller flushes.
    pub(super) fn tag(&self, key: Key) {
        // What is seen from here on has it.
        with_shown(|_| self.key.store(key.number().into(), Relaxed));
        let part = self.part();
        for at in (part.start..part.end).step_by((STRETCH * PAGE) as usize) {
            let pages = ((part.end - at) / PAGE).min(STRETCH);
            // A page that goes meanwhile must not come back.
            with_shown(|_| super::tag(at, pages, key));
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        unlist(self.shown.domain);
        let part = self.part();
        // SAFETY: addresses of this arena, which no run uses; nobody shows anything there any
        // more.
        unsafe { b::bailey_region_unmap(part.start as usize, (part.len() / PAGE) as usize) };
    }
}

/// The list with one more. Only who holds the registry's mutex changes it.
fn list(shown: Shown) -> Result {
    let len = with_shown(|list| list.len());
    if len == 0 {
        // SAFETY: process context; it is off, since nothing was in the list.
        to_result(unsafe { b::bailey_hook_flushes(1) })?;
    }
    let mut other = KVec::with_capacity(len + 1, GFP_KERNEL).inspect_err(|_| unhook())?;
    // Nothing is allocated or freed under the lock.
    with_shown(|list| {
        core::mem::swap(list, &mut other);
        for &shown in Iterator::chain(other.iter(), [&shown]) {
            // There is room for as many.
            let _ = list.push_within_capacity(shown);
        }
    });
    Ok(())
}

fn unlist(domain: u64) {
    let empty = with_shown(|list| {
        list.retain(|shown| shown.domain != domain);
        // Its room goes with the last of it.
        let is_empty = list.is_empty();
        is_empty.then(|| core::mem::replace(list, KVec::new()))
    });
    drop(empty);
    unhook();
}

/// Takes the hook away if nothing is in the list.
fn unhook() {
    if with_shown(|list| list.is_empty()) {
        // SAFETY: process context; it is on, since something was.
        unsafe { b::bailey_hook_flushes(0) };
    }
}

/// The kernel is about to flush what it had at these addresses. Those of an arena are no
/// more, then.
///
/// # Safety
///
/// Called by the hook, where interrupts are on.
#[no_mangle]
unsafe extern "C" fn bailey_on_flush_tlb_kernel_range(start: usize, end: usize) {
    let (mut from, end) = (start as u64, end as u64);
    // A flush of more is not one of an arena's pages.
    if !with_shown(|list| list.iter().any(|shown| shown.part(from, end).is_some())) {
        return;
    }
    while from < end {
        let to = end.min(from + STRETCH * PAGE);
        let mut taken = [ptr::null_mut(); BATCH];
        let mut count = 0;
        with_shown(|list| {
            for shown in list.iter() {
                let Some(part) = shown.part(from, to) else {
                    continue;
                };
                let room = &mut taken[count..];
                // SAFETY: addresses of an arena that is in the list, whose tables are there; the
                // room is as large as said; the lock is held.
                count += unsafe {
                    b::bailey_arena_take(
                        (shown.domain + part.start) as usize,
                        (part.len() / PAGE) as usize,
                        room.as_mut_ptr(),
                        room.len() as u32,
                    )
                } as usize;
            }
        });
        // SAFETY: taken above; interrupts are on, as promised by the caller.
        unsafe { b::bailey_arena_put(taken.as_mut_ptr(), count as u32) };
        // There may be more.
        if count < BATCH {
            from = to;
        }
    }
}
