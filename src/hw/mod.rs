// SPDX-License-Identifier: GPL-2.0
//! The hardware: what the CPU must be, its keys, its per-CPU words.

pub(crate) mod cpus;
pub(crate) mod features;
pub(crate) mod tables;
