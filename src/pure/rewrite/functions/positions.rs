// SPDX-License-Identifier: GPL-2.0
//! Where in an image each instruction is, and which of its jumps are long ones.

use super::super::super::insn::Insn;
use super::super::jump_table::{self, DEAD_END};
use super::super::{Refusal, MAX_LEN};
use super::frame::is_frame_copy;
use super::{target, At, Layout};

impl Layout<'_> {
    /// Slots of a call.
    fn call_slots(&self, index: usize, call: &Insn) -> At<u32> {
        Ok(match self.inner_callee(index, call)? {
            Some(callee) => {
                let callee = self.function(callee);
                callee.call_len() + u32::from(callee.moves)
            }
            None => 1,
        })
    }

    /// Slots that the instruction at `index` of function `number` takes.
    fn slots(&self, number: usize, index: usize, insn: &Insn) -> At<u32> {
        if insn.is_pseudo_call() || self.leaps.gated && self.leaps.is_throw(insn) {
            let dead_end = if self.is_last(number, index) {
                DEAD_END.len() as u32
            } else {
                0
            };
            return Ok(self.call_slots(index, insn)? + dead_end);
        }
        if insn.is_gotox() {
            return Ok(if self.search_of(number, insn) == index {
                jump_table::slots(self.places_of(number).1.len())
            } else {
                1
            });
        }
        if let Some(inline) = self.leaps.inline(index, insn) {
            return Ok(inline.slots());
        }
        if insn.is_exit() && !self.is_root(number) {
            // The last one needs no jump: the way back follows.
            return Ok(u32::from(!self.is_last(number, index)));
        }
        let function = self.function(number);
        if is_frame_copy(insn) && function.below > 0 {
            return Ok(match self.frame_sum(&function, index + 1) {
                Some(_) => 1,
                None => 2,
            });
        }
        Ok(if self.is_far(index) { 3 } else { 1 })
    }

    /// Gives each instruction its place.
    pub(super) fn place(&mut self) -> At<()> {
        let mut at = 0u32;
        let mut place = |layout: &mut Self, number: usize| -> At<()> {
            for (index, insn) in layout.body(number) {
                if let Some(position) = layout.scratch.position.get_mut(index) {
                    *position = at;
                }
                at += layout.slots(number, index, insn)?;
            }
            let is_root = layout.is_root(number);
            let back_len = layout.back_len(&layout.function(number));
            if let Some(function) = layout.functions.get_mut(number) {
                function.back = at;
                if !is_root {
                    at += back_len;
                }
            }
            if at as usize > MAX_LEN {
                return Err((0, Refusal::TooLong));
            }
            Ok(())
        };
        place(self, self.entry)?;
        for number in 0..self.functions.len() {
            if number != self.entry && self.function(number).member {
                place(self, number)?;
            }
        }
        self.len = at;
        Ok(())
    }

    /// Distance of the jump at `index`, in slots of the image.
    pub(super) fn distance(&self, index: usize, distance: i32) -> i64 {
        let target = self.at(target(index, distance) as usize);
        i64::from(target) - i64::from(self.at(index)) - 1
    }

    /// Marks conditional jumps that go further than `reach`, and call sites that
    /// are so far from any place of the way back. Whether there is a new one.
    pub(super) fn find_far(&mut self, reach: i64) -> At<bool> {
        let mut found = false;
        let mut mark = |far: &mut [u8], index: usize| {
            found = true;
            if let Some(byte) = far.get_mut(index / 8) {
                *byte |= 1 << (index % 8);
            }
        };
        for number in 0..self.functions.len() {
            if !self.function(number).member {
                continue;
            }
            for (index, insn) in self.body(number) {
                let Some(distance) = insn.jump() else {
                    continue;
                };
                if insn.is_jump_always() || self.is_far(index) {
                    continue;
                }
                let distance = self.distance(index, distance);
                if distance.abs() > reach {
                    mark(self.scratch.far, index);
                }
            }
            let function = self.function(number);
            let start = i64::from(function.back);
            let end = start + i64::from(self.back_len(&function));
            for call in 0..function.calls as usize {
                let Some(&index) = self.calls_of(&function).get(call) else {
                    continue;
                };
                let site = i64::from(self.site(&function, index));
                let distance = (site - start).abs().max((site - end).abs());
                if distance > reach && !self.is_far(index as usize) {
                    mark(self.scratch.far, index as usize);
                }
            }
        }
        Ok(found)
    }
}
