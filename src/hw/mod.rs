// SPDX-License-Identifier: GPL-2.0
//! The hardware: what the CPU must be, its keys, its per-CPU words, its page
//! tables for user mode and for domains.

pub(crate) mod clock;
pub(crate) mod cpus;
pub(crate) mod features;
pub(crate) mod root;
pub(crate) mod tables;
pub(crate) mod user_tree;
