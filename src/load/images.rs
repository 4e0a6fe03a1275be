// SPDX-License-Identifier: GPL-2.0
//! The images of a program as the gates and the events know them: one of the
//! program itself, and one of each function that is entered by itself.
//!
//! An image has a part of the program's call sites and of their stubs, in
//! order, of which the first is its enter. What is asked of a run's image never
//! looks at another's: a number or an address that is right for one image is
//! none for another.

use super::program::Program;
use super::stub::{self, Kind, SLOT};
use super::stub_kind;
use crate::bindings as b;
use crate::run::this_cpu;
use core::cell::UnsafeCell;
use core::ops::Deref;
use core::{ptr, slice};

/// Where the site's stub begins.
fn stub_of(site: &b::bailey_site) -> u64 {
    match stub_kind(site) {
        Kind::Enter => site.out,
        _ => site.out - stub::OUT as u64,
    }
}

/// The record of an image, which gates read and Rust writes during the load.
#[repr(transparent)]
pub(crate) struct Image(UnsafeCell<b::bailey_prog>);

impl Deref for Image {
    type Target = b::bailey_prog;
    fn deref(&self) -> &b::bailey_prog {
        // SAFETY: written during the load, by the loader alone; afterwards only the words `state`
        // and `id` change, of which any value is valid.
        unsafe { &*self.0.get() }
    }
}

impl Default for Image {
    fn default() -> Self {
        Self(UnsafeCell::new(b::bailey_prog::default()))
    }
}

impl Image {
    /// The image behind what a gate was given.
    ///
    /// # Safety
    ///
    /// `raw` was handed to the gates by this module and its program is alive,
    /// for as long as the reference is used: true during a run.
    pub(crate) unsafe fn from_raw<'a>(raw: *const b::bailey_prog) -> &'a Self {
        // SAFETY: promised by the caller; `Image` is transparent.
        unsafe { &*raw.cast::<Self>() }
    }

    /// What the gates are given to know the image by.
    pub(crate) fn as_raw(&self) -> *mut b::bailey_prog {
        self.0.get()
    }

    /// The program it belongs to.
    pub(crate) fn program(&self) -> &Program {
        // SAFETY: set when the record was made, before any gate was given the image; the program
        // owns its images.
        unsafe { &*(self.record as *const Program) }
    }

    /// Its domain's frame of the CPU that this runs on, as the enter gate finds it; null
    /// if there is none and no memory for it. Preemption is off.
    pub(crate) fn frame_here(&self) -> *mut b::bailey_frame {
        let cpu = this_cpu().index;
        // SAFETY: the array has an entry for every index; each CPU writes its own.
        let frame = unsafe { self.frames.add(cpu as usize).read() };
        if frame.is_null() {
            return self.first_frame(cpu);
        }
        frame
    }

    #[cold]
    fn first_frame(&self, cpu: u32) -> *mut b::bailey_frame {
        let domain = self.program().domain();
        domain.map_or(ptr::null_mut(), |domain| domain.frame_here(cpu))
    }

    /// Its call sites, the first of which is its enter.
    pub(crate) fn sites(&self) -> &[b::bailey_site] {
        // SAFETY: a part of the program's table, which does not move; complete before a run.
        unsafe { slice::from_raw_parts(self.sites, (self.site_bytes >> b::SITE_SHIFT) as usize) }
    }

    /// Whether an instruction of the image starts at `rip`. Safe on any `rip`,
    /// hostile ones included. Stubs are not the image: see `stub_at`.
    pub(crate) fn insn_start(&self, rip: u64) -> bool {
        let Some(offset) = rip
            .checked_sub(self.image)
            .filter(|&offset| offset < u64::from(self.image_len))
        else {
            return false;
        };
        // SAFETY: one bit for each byte of the image, from the load until the program goes; not
        // null once `image_len` is not 0.
        let byte = unsafe { *((self.starts + offset / 8) as *const u8) };
        byte & (1 << (offset % 8)) != 0
    }

    /// Whether `rip` lies before the body: at enter's `test r10, r10` or the
    /// jump behind it, where AX says that the program has only begun.
    pub(crate) fn has_only_begun(&self, rip: u64) -> bool {
        rip < self.body
    }

    /// The stub that `rip` lies in and how far in it. Safe on any `rip`. From
    /// within a stub that answers in confinement the offset is always 0: it may
    /// be run again from its start.
    pub(crate) fn stub_at(&self, rip: u64) -> Option<(u64, u64)> {
        let sites = self.sites();
        let base = stub_of(sites.first()?);
        let offset = rip.checked_sub(base)?;
        let number = (offset / SLOT as u64) as usize;
        let site = sites.get(number)?;
        let inside = match stub_kind(site) {
            Kind::Gate => offset % SLOT as u64,
            Kind::ProcessorId | Kind::LoopCount | Kind::Tsc => 0,
            // It is nothing but a way out.
            Kind::Enter if offset < stub::ENTER_LEN as u64 => stub::OUT as u64,
            Kind::Enter => return None,
        };
        Some((stub_of(site), inside))
    }
}
