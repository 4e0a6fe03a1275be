// SPDX-License-Identifier: GPL-2.0
//! Bailey's pure logic, as cargo builds and tests it on the host.
//!
//! The kernel module has its own root, `src/bailey_main.rs`; the two share
//! `src/pure/`, which knows neither of them.
#![no_std]
#![forbid(unsafe_code)]

pub mod pure;
