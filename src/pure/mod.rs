// SPDX-License-Identifier: GPL-2.0
//! What Bailey decides, without what it touches.
//!
//! Everything here is arithmetic on values that the caller hands in: no
//! kernel, no `unsafe`, no allocation. The same files are compiled twice, as
//! part of the kernel module by Kbuild and as the crate `bailey` by cargo,
//! where they are held against other implementations of the same facts (an
//! eBPF interpreter, an x86 decoder, the `x86` crate's register bits).
//!
//! The way of a program load: [`insn`] and [`rewrite`] turn a verified program
//! into one with gates, [`catalog`] says which helpers it may call, [`reach`] how much of
//! the packet it uses, [`image`] checks the machine code that came out, [`stub`] makes what
//! leads from it to the gates. The way of a packet: [`pkrs`],
//! [`pool`] and [`region`] say what a domain may touch, [`loan`], [`access`]
//! and [`x86`] mediate what it may not, [`ledger`] remembers what it holds,
//! [`graph`] what it does with objects of its own, [`kernel_type`] of which of the kernel's
//! objects it can hold references, [`violation`] names what it
//! did wrong; [`nesting`] sorts events that came in each other's stubs. Of a hash
//! map, [`store`] is what the kernel trusts, apart from the values; [`pieces`] is
//! where values lie that each CPU has of its own.
#![forbid(unsafe_code)]
// Under Kbuild this is a private module of the module's crate, which uses a
// part of it at a time; under cargo the same items are a crate's public face.
#![allow(dead_code, unreachable_pub, unused_imports)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod access;
pub mod catalog;
pub mod graph;
pub mod heat;
pub mod image;
pub mod insn;
pub mod kernel_type;
pub mod ledger;
pub mod loan;
pub mod nesting;
pub mod objects;
pub mod pieces;
pub mod pkrs;
pub mod pool;
pub mod range;
pub mod reach;
pub mod region;
pub mod rewrite;
pub mod shift;
pub mod store;
pub mod stub;
pub mod violation;
pub mod x86;
