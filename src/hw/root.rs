// SPDX-License-Identifier: GPL-2.0
//! Page tables in which one domain's span and windows exist and no other's
//! (helpers/root.c).

use crate::bindings as b;
use crate::pure::region::{ROW, SPAN};
use kernel::error::to_result;
use kernel::prelude::*;

/// A domain's page-table root. Dropped when no run is on it any more.
pub(crate) struct Root {
    raw: b::bailey_root,
    /// Where its span begins.
    span: u64,
}

impl Root {
    /// A root for the domain whose span begins at `span`, in which something is
    /// mapped.
    pub(crate) fn new(span: u64) -> Result<Self> {
        let mut root = b::bailey_root::default();
        // SAFETY: process context; `root` is valid for the write; init_mm is known, and every
        // CPU's words have their slots since the module's init.
        to_result(unsafe { b::bailey_root_make(&mut root, span as usize) })?;
        Ok(Self { raw: root, span })
    }

    /// What the gates write to CR3.
    pub(crate) fn cr3(&self) -> u64 {
        self.raw.cr3
    }

    /// From now on it has those other spans of its row that are `there`, by their first
    /// addresses. Of one that goes a run may see something until it ends.
    pub(crate) fn show(&mut self, there: impl Fn(u64) -> bool) {
        let bytes = u64::from(ROW) * SPAN;
        let row = self.span - self.span % bytes;
        for span in (0..u64::from(ROW)).map(|n| row + n * SPAN) {
            if span != self.span {
                let there = c_int::from(there(span));
                // SAFETY: made in `new`; a span of the same row, in the reserved region.
                unsafe { b::bailey_root_show(&mut self.raw, span as usize, there) };
            }
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // SAFETY: made in `new`. No CPU has it in CR3. What a TLB holds of its PCID is flushed
        // by the next load of a root, before anything is looked up in it.
        unsafe { b::bailey_root_free(&mut self.raw) };
    }
}
