// SPDX-License-Identifier: GPL-2.0
//! The entry of libFuzzer into [`bailey_fuzz::decode`].
#![no_main]

use libfuzzer_sys::{fuzz_target, Corpus};

fuzz_target!(|input: &[u8]| -> Corpus {
    match bailey_fuzz::decode::check(input, bailey_fuzz::fault_is_planted()) {
        true => Corpus::Keep,
        false => Corpus::Reject,
    }
});
