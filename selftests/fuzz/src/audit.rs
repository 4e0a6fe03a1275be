// SPDX-License-Identifier: GPL-2.0
//! What audits rest on: ranges, loans, the ledger and the objects on a stack.

mod ranges;
mod run;

use arbitrary::{Result, Unstructured};

/// Takes the bytes for any numbers and calls, and asserts that ranges hold what lies in them,
/// and that a run has been lent, holds and keeps what a list of all that happened says. Goes on from each input.
pub fn check(input: &[u8], planted: bool) -> bool {
    // Too short an input ends where its bytes do.
    let _ = step(&mut Unstructured::new(input), planted);
    true
}

fn step(input: &mut Unstructured<'_>, planted: bool) -> Result<()> {
    match input.int_in_range(0u8..=7)? {
        0 => ranges::check_ranges(input),
        1 => ranges::check_layout(input),
        2 => ranges::check_room(input),
        _ => run::check(input, planted),
    }
}

/// A number, often one at which something may turn over.
fn number(input: &mut Unstructured<'_>) -> Result<u64> {
    let near = i64::from(input.arbitrary::<i8>()?);
    let from = match input.int_in_range(0u8..=6)? {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << 63,
        3 => 1 << input.int_in_range(0u8..=63)?,
        4 => 0x1000 * u64::from(input.arbitrary::<u8>()?),
        5 => 0xffff_8880_0000_0000 + 8 * u64::from(input.arbitrary::<u16>()?),
        _ => input.arbitrary()?,
    };
    Ok(from.wrapping_add_signed(near))
}

/// Nothing: the fuzzer finds its inputs alone.
pub fn seeds() -> Vec<Vec<u8>> {
    vec![vec![0; 64], (0..=255).collect()]
}
