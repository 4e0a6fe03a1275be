// SPDX-License-Identifier: GPL-2.0
//! A program's random numbers, which it makes without a gate: they are SplitMix64's, and
//! numbers of readings of the TSC that lie close together have nothing in common.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::id;
use bailey::pure::insn::{size, Insn, REG_0, REG_1};
use bailey::pure::rewrite::functions::{Function, Leaps, Origin};
use bailey::pure::rewrite::inline::{Inline, What};
use machine::Machine;
use program::{lay_out_with, Laid};
use proptest::prelude::*;

const TSC_AT: u64 = 0x5000_0000_0000;

/// The image of a program that returns one. The stub reads the TSC from a word beside it.
fn laid_out(secret: u64) -> (Laid, Vec<Insn>) {
    let insns = [Insn::call(id::GET_PRANDOM_U32 as i32), Insn::exit()];
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let inlined = [Inline::new(0, What::Random(secret)).unwrap()];
    let leaps = Leaps {
        inlined: &inlined,
        ..Leaps::default()
    };
    let laid = lay_out_with(&insns, &functions, leaps).unwrap();
    let asks = |(origin, _): &(Origin, Insn)| *origin == Origin::Asks(0);
    assert_eq!(laid.code.iter().filter(|part| asks(part)).count(), 1);
    let mut image = Insn::ld_imm64(REG_1, TSC_AT).to_vec();
    image.extend(laid.code.iter().map(|part| {
        if asks(part) {
            Insn::ldx(size::DW, REG_0, REG_1, 0)
        } else {
            part.1
        }
    }));
    (laid, image)
}

fn random((laid, image): &(Laid, Vec<Insn>), tsc: u64) -> u64 {
    let read = |address, len| (address == TSC_AT && len == 8).then_some(tsc);
    let outcome = Machine::image(image, laid.stack)
        .beside(&read)
        .run()
        .expect("the image");
    assert!(outcome.calls.is_empty());
    outcome.verdict
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
    z ^ (z >> 31)
}

#[test]
fn the_mixing_is_that_of_the_paper() {
    // The first numbers of SplitMix64 with the seed 1234567, as its test vectors have them.
    let gamma = 0x9e3779b97f4a7c15u64;
    let first = mixed(1234567u64.wrapping_add(gamma));
    let second = mixed(1234567u64.wrapping_add(gamma.wrapping_mul(2)));
    assert_eq!([first, second], [6457827717110365317, 3203168211198807973]);
}

proptest! {
    #[test]
    fn a_number_is_the_tsc_and_the_secret_mixed(secret in any::<u64>(), tsc in any::<u64>()) {
        let expected = mixed(tsc.wrapping_add(secret)) & 0xffff_ffff;
        prop_assert_eq!(random(&laid_out(secret), tsc), expected);
    }
}

/// The sum of squares of how far the counts of `numbers` in 256 places are from even, which
/// has a mean of 255 and a deviation of 23.
fn chi_square(numbers: impl Iterator<Item = u8>) -> f64 {
    let mut counts = [0f64; 256];
    let mut all = 0f64;
    for number in numbers {
        counts[usize::from(number)] += 1.0;
        all += 1.0;
    }
    let even = all / 256.0;
    counts.iter().map(|n| (n - even) * (n - even) / even).sum()
}

#[test]
fn numbers_of_close_readings_have_nothing_in_common() {
    for (secret, apart) in [
        (0, 1),
        (0x1234_5678_9abc_def0, 2),
        (1, 37),
        (u64::MAX, 1 << 12),
    ] {
        let image = laid_out(secret);
        let begin = 0x0123_4567_89ab;
        let numbers: Vec<u64> = (0..4096)
            .map(|n| random(&image, begin + n * apart))
            .collect();
        let is_even = |numbers: &mut dyn Iterator<Item = u8>| {
            let far = chi_square(numbers);
            assert!((130.0..400.0).contains(&far), "{far}");
        };
        for byte in 0..4 {
            is_even(&mut numbers.iter().map(|number| (number >> (8 * byte)) as u8));
            let pairs = numbers.windows(2);
            is_even(&mut pairs.map(|pair| ((pair[0] ^ pair[1]) >> (8 * byte)) as u8));
        }
        // And nothing with those of another call at the same time.
        let other = laid_out(secret ^ 0x8000_0000_0000_0001);
        let both = (0u64..)
            .zip(&numbers)
            .map(|(n, number)| (number ^ random(&other, begin + n * apart)) as u8);
        is_even(&mut both.take(4096));
    }
}
