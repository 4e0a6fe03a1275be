// SPDX-License-Identifier: GPL-2.0
//! Page tables in which one domain's span exists and no other's
//! (helpers/root.c).

use crate::bindings as b;
use kernel::error::to_result;
use kernel::prelude::*;

/// A domain's page-table root. Dropped when no run is on it any more.
pub(crate) struct Root(b::bailey_root);

impl Root {
    /// A root for the domain whose span begins at `span`, in which something is
    /// mapped.
    pub(crate) fn new(span: u64) -> Result<Self> {
        let mut root = b::bailey_root::default();
        // SAFETY: process context; `root` is valid for the write; init_mm is known, and every
        // CPU's words have their slots since the module's init.
        to_result(unsafe { b::bailey_root_make(&mut root, span as usize) })?;
        Ok(Self(root))
    }

    /// What the gates write to CR3.
    pub(crate) fn cr3(&self) -> u64 {
        self.0.cr3
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // SAFETY: made in `new`. No CPU has it in CR3. What a TLB holds of its PCID is flushed
        // by the next load of a root, before anything is looked up in it.
        unsafe { b::bailey_root_free(&mut self.0) };
    }
}
