// SPDX-License-Identifier: GPL-2.0
//! Text that the CPU runs before it has left the page tables of user mode
//! (helpers/user_tree.c).

use crate::bindings as b;
use crate::pure::region::PAGE;
use kernel::prelude::*;

/// Pages of text that are mapped in the user tree as well; dropping it unmaps
/// them there, on every CPU.
pub(crate) struct UserText {
    addr: u64,
    pages: u32,
}

impl UserText {
    /// Maps `len` bytes of text at `addr` in the user tree; `None` where there
    /// is no such tree. There is one `UserText` at a time.
    ///
    /// # Safety
    ///
    /// The bytes fill whole pages of the caller's own, which stay where they
    /// are while the `UserText` lives.
    pub(crate) unsafe fn map(addr: u64, len: usize) -> Result<Option<Self>> {
        // SAFETY: reads CPU features; no preconditions.
        if unsafe { b::bailey_user_tree_exists() } == 0 {
            return Ok(None);
        }
        if addr % PAGE != 0 || len as u64 % PAGE != 0 {
            return Err(EINVAL);
        }
        let pages = (len as u64 / PAGE) as u32;
        // SAFETY: whole pages, as promised by the caller; init_mm is known since `ksym::resolve`.
        let err = unsafe { b::bailey_user_tree_map(addr as usize, pages) };
        if err != 0 {
            pr_err!(
                "cannot load: event stubs do not get into the user page tables ({})\n",
                err
            );
            return Err(Error::from_errno(err));
        }
        Ok(Some(Self { addr, pages }))
    }
}

impl Drop for UserText {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`; process context, interrupts on.
        unsafe { b::bailey_user_tree_unmap(self.addr as usize, self.pages) };
    }
}
