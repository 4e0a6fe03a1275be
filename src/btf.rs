// SPDX-License-Identifier: GPL-2.0
//! What the kernel's own BTF says of structures that no header for modules has.

use crate::bindings as b;
use kernel::prelude::*;

/// How many bytes into `of` its member is. `None` if this kernel's has no such member. Process
/// context; the symbols are resolved.
pub(crate) fn member_at(of: &CStr, member: &CStr) -> Option<usize> {
    // SAFETY: both are NUL-terminated.
    let at = unsafe { b::bailey_member_at(of.as_char_ptr(), member.as_char_ptr()) };
    usize::try_from(at).ok()
}
