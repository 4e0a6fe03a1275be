// SPDX-License-Identifier: GPL-2.0
//! Events while confined: the stubs in front of the kernel's IDT entries, what
//! may be believed of a frame, and violations.

pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod interrupts;
pub(crate) mod stubs;
pub(crate) mod violation;
