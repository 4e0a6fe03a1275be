// SPDX-License-Identifier: GPL-2.0
//! The entry of libFuzzer into [`bailey_fuzz::rewrite`].
#![no_main]

use libfuzzer_sys::{fuzz_target, Corpus};

fuzz_target!(|input: &[u8]| -> Corpus {
    match bailey_fuzz::rewrite::check(input, bailey_fuzz::fault_is_planted()) {
        true => Corpus::Keep,
        false => Corpus::Reject,
    }
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
    bailey_fuzz::rewrite::mutate(data, size, seed)
        .unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, most))
});
