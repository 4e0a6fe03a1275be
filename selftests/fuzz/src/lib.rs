// SPDX-License-Identifier: GPL-2.0
//! What is fuzzed of the pure logic, and what holds it against another opinion.
//!
//! Each target takes any bytes and panics where the logic and its judge differ: [`decode`] and
//! [`image`] are judged by iced-x86, [`audit`] by sums in twice the width and by lists, and
//! [`rewrite`] by an interpreter that runs a program before and after. A target can have a fault
//! planted into the logic, or into what it is asked, which must be found: else nothing is shown
//! by a run that finds none.

mod dice;
mod host;

pub mod audit;
pub mod decode;
pub mod image;
pub mod rewrite;

/// Whether the environment asks for the fault that each target can plant (`FUZZ_PLANTED`).
pub fn fault_is_planted() -> bool {
    static PLANTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var_os("FUZZ_PLANTED").is_some())
}

/// What is fuzzed, and what the fuzzer begins with.
pub struct Target {
    /// Its name, and that of its program.
    pub name: &'static str,
    /// Takes an input, and whether to plant the fault; panics where judge and logic differ.
    /// Whether to go on from the input.
    pub check: fn(&[u8], bool) -> bool,
    /// Inputs with which nothing is wrong.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that inputs may well contain.
    pub words: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "audit",
        check: audit::check,
        seeds: audit::seeds,
        words: Vec::new,
    },
    Target {
        name: "decode",
        check: decode::check,
        seeds: decode::seeds,
        words: Vec::new,
    },
    Target {
        name: "image",
        check: image::check,
        seeds: image::seeds,
        words: image::words,
    },
    Target {
        name: "rewrite",
        check: rewrite::check,
        seeds: rewrite::seeds,
        words: rewrite::words,
    },
];
