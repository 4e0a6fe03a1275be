// SPDX-License-Identifier: GPL-2.0
//! Jumps through a table, without an indirect branch.
//!
//! Confined code has none (DESIGN invariant 3). A program's tables hold numbers
//! instead of addresses: the places that any of its tables leads to are
//! numbered in the order in which they lie, so those of one function are in a
//! row. `gotox` becomes a binary search among the places of its function; it
//! needs no register but the one with the number, and changes none.
//!
//! ```text
//!     if rX > 5 goto right            rX: the numbers 4 to 7, say
//!     if rX > 4 goto +1
//!     goto place 4
//!     goto place 5
//! right:
//!     if rX > 6 goto +1               ... and so on; above the last number:
//!     r0 = -4096
//!     r0 = *(u64 *)(r0 + 0)           a violation
//! ```
//!
//! The register is the domain's, so it can hold anything. A number below the
//! function's first leads to its first place: another place of the program,
//! as good as any for whoever forges it. One above the last ends the run: so
//! does [`NOWHERE`], which stands in a table where the verifier took the place
//! out of the program, and where the kernel itself would jump to address 0.

use super::super::insn::{jmp, size, Insn, REG_0};
use super::functions::MAX_CALLS;

/// What a table holds where it leads nowhere.
pub const NOWHERE: u64 = u64::MAX;

/// Most places of one function: the comparisons are 16-bit jumps.
pub const MAX_PLACES: usize = MAX_CALLS as usize;

/// What is read where no verified program comes. In the hole at the end of all
/// addresses (Documentation/arch/x86/x86_64/mm.rst): nothing is ever there.
pub const NOT_THERE: i32 = -4096;

/// Where no verified program comes: the run ends by a violation.
pub const DEAD_END: [Insn; 3] = [
    Insn::mov64_imm(REG_0, NOT_THERE),
    Insn::ldx(size::DW, REG_0, REG_0, 0),
    // Not reached.
    Insn::ja32(-2),
];

/// The places that a program's tables lead to: indices of instructions,
/// ascending, none twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a>(&'a [u32]);

impl<'a> Places<'a> {
    /// `None` if they are not in order.
    pub fn new(places: &'a [u32]) -> Option<Self> {
        let ordered = places.windows(2).all(|two| two.first() < two.last());
        ordered.then_some(Self(places))
    }

    /// What a table that leads to `place` holds.
    pub fn number(&self, place: u32) -> Option<u64> {
        self.0
            .binary_search(&place)
            .ok()
            .map(|number| number as u64)
    }

    /// Those from `start` to before `end`, and the number of the first.
    pub fn within(&self, start: u32, end: u32) -> (u32, &'a [u32]) {
        let first = self.0.partition_point(|place| *place < start);
        let behind = self.0.partition_point(|place| *place < end);
        (first as u32, self.0.get(first..behind).unwrap_or(&[]))
    }
}

/// Slots of the search among so many places.
pub const fn slots(places: usize) -> u32 {
    2 * places as u32 + DEAD_END.len() as u32
}

/// The search that stands for `gotox reg`, from slot `at` of the image on.
/// `goto` makes the jump from a slot to a place.
pub fn emit<E>(
    reg: u8,
    (first, places): (u32, &[u32]),
    at: u32,
    goto: &dyn Fn(u32, u32) -> Insn,
    next: &mut dyn FnMut(Insn) -> Result<(), E>,
) -> Result<(), E> {
    // The dead end is the last leaf, so it counts as one.
    let (left, right) = places.split_at((places.len() + 1).div_ceil(2).min(places.len()));
    let left_len = (2 * left.len() as u32).saturating_sub(1);
    let Some(last) = (first + left.len() as u32)
        .checked_sub(1)
        .filter(|_| left_len > 0)
    else {
        return DEAD_END.into_iter().try_for_each(next);
    };
    next(Insn::jmp_imm(jmp::JGT, reg, last as i32, left_len as i16))?;
    emit_known(reg, (first, left), at + 1, goto, next)?;
    emit(reg, (last + 1, right), at + 1 + left_len, goto, next)
}

/// The same where the number is not above the last of `places`.
fn emit_known<E>(
    reg: u8,
    (first, places): (u32, &[u32]),
    at: u32,
    goto: &dyn Fn(u32, u32) -> Insn,
    next: &mut dyn FnMut(Insn) -> Result<(), E>,
) -> Result<(), E> {
    let (left, right) = places.split_at(places.len().div_ceil(2));
    if right.is_empty() {
        return match left.first() {
            Some(&place) => next(goto(at, place)),
            None => Ok(()),
        };
    }
    let left_len = 2 * left.len() as u32 - 1;
    let last = first + left.len() as u32 - 1;
    next(Insn::jmp_imm(jmp::JGT, reg, last as i32, left_len as i16))?;
    emit_known(reg, (first, left), at + 1, goto, next)?;
    emit_known(reg, (last + 1, right), at + 1 + left_len, goto, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn search(first: u32, places: &[u32]) -> Vec<Insn> {
        let mut insns = Vec::new();
        let goto = |from: u32, place: u32| Insn::ja32(place as i32 - from as i32 - 1);
        emit(
            3,
            (first, places),
            0,
            &goto,
            &mut |insn| -> Result<(), ()> {
                insns.push(insn);
                Ok(())
            },
        )
        .unwrap();
        insns
    }

    /// Where the search leads, and in how many steps; `None`: the violation.
    fn follow(insns: &[Insn], number: u64) -> (Option<u32>, usize) {
        let mut at = 0;
        for steps in 1.. {
            let insn = insns[at];
            if insn == DEAD_END[0] {
                assert_eq!(insns[at..], DEAD_END);
                return (None, steps);
            }
            at += 1;
            if insn.is_jump_always() {
                return (Some((at as i32 + insn.jump().unwrap()) as u32), steps);
            }
            assert_eq!(insn, Insn::jmp_imm(jmp::JGT, 3, insn.imm, insn.off));
            if number > i64::from(insn.imm) as u64 {
                at += insn.jump().unwrap() as usize;
            }
        }
        unreachable!()
    }

    #[test]
    fn every_number_leads_to_its_place_and_what_is_none_to_a_violation() {
        for count in (1..70).chain([255, 256, 1000, MAX_PLACES as u32]) {
            for first in [0, 1, 77, 900_000] {
                let places: Vec<u32> = (0..count).map(|n| 100_000 + 3 * n).collect();
                let insns = search(first, &places);
                assert_eq!(insns.len() as u32, slots(places.len()));
                let most = (count + 1).next_power_of_two().ilog2() as usize + 1;
                for (number, place) in (u64::from(first)..).zip(&places) {
                    let (found, steps) = follow(&insns, number);
                    assert_eq!(found, Some(*place));
                    assert!(steps <= most, "{count}: {steps} steps");
                }
                let end = u64::from(first + count);
                for number in [end, end + 1, 1 << 31, 1 << 32, 1 << 63, NOWHERE] {
                    assert_eq!(follow(&insns, number).0, None);
                    // The lower half is a valid number.
                    let half = u64::from(first) | (number.max(1 << 32) & !0xffff_ffff);
                    assert_eq!(follow(&insns, half).0, None);
                }
                for number in 0..u64::from(first).min(3) {
                    assert_eq!(follow(&insns, number).0, Some(places[0]));
                }
            }
        }
    }

    #[test]
    fn places_are_numbered_as_they_lie() {
        let places = Places::new(&[3, 4, 10, 11, 12, 40]).unwrap();
        assert_eq!(places.within(0, 10), (0, &[3, 4][..]));
        assert_eq!(places.within(10, 13), (2, &[10, 11, 12][..]));
        assert_eq!(places.within(13, 40), (5, &[][..]));
        assert_eq!(places.within(40, 50), (5, &[40][..]));
        assert_eq!(places.within(50, 10), (6, &[][..]));
        assert_eq!(places.number(12), Some(4));
        assert_eq!(places.number(13), None);
        assert!(Places::new(&[3, 3]).is_none() && Places::new(&[4, 3]).is_none());
        assert!(Places::new(&[]).is_some());
    }
}
