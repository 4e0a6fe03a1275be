// SPDX-License-Identifier: GPL-2.0
//! The way back from a function to the one of its call sites that called it.

use super::super::super::insn::{jmp, size, Insn, REG_1, REG_FP};
use super::super::Refusal;
use super::{Function, Layout, Origin};

/// One step of the search for a site. Calls are by index, numbers in order.
enum Step {
    /// Goes to this site.
    Goto(u32),
    /// Goes to this site if the number is above.
    Above(u32, u32),
    /// Goes to this site if it is not above.
    UpTo(u32, u32),
    /// Goes over so many slots if it is above.
    Over(u32, u32),
}

impl Layout<'_> {
    pub(super) fn emit_back<E: From<(usize, Refusal)>>(
        &self,
        number: usize,
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let function = self.function(number);
        let end = function.end as usize - 1;
        let ends_here = self.insns.get(end).is_some_and(Insn::is_exit);
        let mut origin = if ends_here {
            Origin::For(end)
        } else {
            Origin::Added
        };
        let mut at = function.back;
        let mut next = |insn: Insn| {
            at += 1;
            emit(core::mem::replace(&mut origin, Origin::Added), insn)
        };
        if function.stores_number() {
            next(Insn::ldx(size::DW, REG_1, REG_FP, function.at_frame(0)))?;
        }
        for (reg, word) in function.saved() {
            next(Insn::ldx(size::DW, reg, REG_FP, function.at_frame(word)))?;
        }
        let from = function.back + function.area() / 8;
        let reg = function.number_in.unwrap_or(REG_1);
        let to = |at: u32, index: u32| i64::from(self.site(&function, index)) - i64::from(at) - 1;
        let calls = self.calls_of(&function);
        self.search(calls, 0, from, &mut |at, step| {
            let (op, last, distance) = match step {
                Step::Goto(index) => return next(Insn::ja32(to(at, index) as i32)),
                Step::Above(last, index) => (jmp::JGT, last, to(at, index)),
                Step::UpTo(last, index) => (jmp::JLE, last, to(at, index)),
                Step::Over(last, slots) => (jmp::JGT, last, i64::from(slots)),
            };
            let off = i16::try_from(distance).map_err(|_| (end, Refusal::JumpTooFar))?;
            next(Insn::jmp_imm(op, reg, last as i32, off))
        })
    }

    /// A binary search for a site by its number; `calls` are those from number
    /// `first` on, and the search begins at slot `at`. Of two sites that are left,
    /// one is where the comparison itself jumps to, if that reaches.
    fn search<E>(
        &self,
        calls: &[u32],
        first: u32,
        at: u32,
        next: &mut dyn FnMut(u32, Step) -> Result<(), E>,
    ) -> Result<(), E> {
        let (left, right) = halves(calls);
        let last = (first + left.len() as u32).saturating_sub(1);
        match (left, right) {
            ([], _) => Ok(()),
            ([site], []) => next(at, Step::Goto(*site)),
            (_, [site]) if !self.is_far(*site as usize) => {
                next(at, Step::Above(last, *site))?;
                self.search(left, first, at + 1, next)
            }
            ([site], _) if !self.is_far(*site as usize) => {
                next(at, Step::UpTo(last, *site))?;
                self.search(right, last + 1, at + 1, next)
            }
            _ => {
                let slots = self.search_len(left);
                next(at, Step::Over(last, slots))?;
                self.search(left, first, at + 1, next)?;
                self.search(right, last + 1, at + 1 + slots, next)
            }
        }
    }

    /// Slots of such a search.
    fn search_len(&self, calls: &[u32]) -> u32 {
        match halves(calls) {
            ([], _) => 0,
            (_, []) => 1,
            (others, [site]) | ([site], others) if !self.is_far(*site as usize) => {
                1 + self.search_len(others)
            }
            (left, right) => 1 + self.search_len(left) + self.search_len(right),
        }
    }

    /// Where the callee goes back to of its call at `index`.
    pub(super) fn site(&self, callee: &Function, index: u32) -> u32 {
        self.at(index as usize) + callee.call_len()
    }

    /// Slots of a function's way back.
    pub(super) fn back_len(&self, function: &Function) -> u32 {
        function.area() / 8 + self.search_len(self.calls_of(function))
    }
}

/// Both halves of the sites of a search; the left one is not the shorter.
fn halves(calls: &[u32]) -> (&[u32], &[u32]) {
    calls.split_at(calls.len().div_ceil(2))
}
