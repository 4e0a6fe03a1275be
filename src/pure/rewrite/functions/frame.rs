// SPDX-License-Identifier: GPL-2.0
//! The functions' frames on the one stack of an image.

use super::super::super::insn::{alu, class, Insn, REG_FP, X};
use super::super::Refusal;
use super::{At, Function, Layout, MAX_DEPTH, MAX_FRAMES, MAX_STACK};

/// Whether `insn` copies the frame pointer.
pub(super) fn is_frame_copy(insn: &Insn) -> bool {
    insn.code == class::ALU64 | alu::MOV | X
        && insn.src() == REG_FP
        && insn.dst() < REG_FP
        && (insn.off, insn.imm) == (0, 0)
}

/// Whether a frame pointer is copied and a number added, by the instructions at
/// `index` - 1 and `index`.
pub(super) fn is_frame_sum(insns: &[Insn], index: usize) -> bool {
    let (Some(copy), Some(add)) = (insns.get(index.wrapping_sub(1)), insns.get(index)) else {
        return false;
    };
    is_frame_copy(copy) && *add == Insn::alu64_imm(alu::ADD, copy.dst(), add.imm)
}

/// Whether all that `insn` does with the frame pointer, if anything, is to copy
/// it, or to load or store below it.
pub(super) fn keeps_frame(insn: &Insn) -> bool {
    let (dst, src) = (insn.dst() == REG_FP, insn.src() == REG_FP);
    if insn.base() == Some(REG_FP) {
        let near = (-(MAX_DEPTH as i16)..0).contains(&insn.off);
        return near && dst != src;
    }
    !(dst || src) || is_frame_copy(insn)
}

impl Layout<'_> {
    /// Finds where each member's frame is, and how much stack it needs with all
    /// that it calls. Along a recursion the frames grow until they are too many.
    /// The exception callback's frame is where the entry's was.
    pub(super) fn measure_stack(&mut self) -> At<()> {
        for function in self.functions.iter_mut().filter(|f| f.member) {
            function.throws = false;
            function.below = 0;
            function.stack = function.frame();
            function.frames = 1;
        }
        loop {
            let mut changed = false;
            for number in 0..self.functions.len() {
                let function = self.function(number);
                if !function.member {
                    continue;
                }
                let end = function.below + function.frame();
                let (mut stack, mut frames) = (function.stack.max(end), function.frames);
                let mut throws = function.throws;
                for (index, insn) in self.body(number) {
                    let throw = self.leaps.is_jump(insn);
                    // With a landing, what any call leads to may throw.
                    if throw || self.leaps.landing && insn.is_call() {
                        let callback = self.leaps.callback.unwrap_or(self.entry);
                        stack = stack.max(self.function(callback).stack);
                        throws |= throw;
                    }
                    let Some(number) = self.inner_callee(index, insn)? else {
                        continue;
                    };
                    let callee = self.function(number);
                    let at = end + callee.area();
                    let moved = if callee.moves { at } else { 0 };
                    stack = stack.max(moved + callee.stack);
                    frames = frames.max(1 + callee.frames);
                    throws |= callee.throws;
                    if frames > MAX_FRAMES || at.max(stack) > MAX_STACK {
                        return Err((index, Refusal::Recursion));
                    }
                    if callee.below < at && !callee.moves {
                        changed = true;
                        if let Some(callee) = self.functions.get_mut(number) {
                            callee.below = at;
                        }
                    }
                }
                if throws && Some(number) == self.leaps.callback {
                    return Err((function.start as usize, Refusal::Recursion));
                }
                if (stack, frames, throws) != (function.stack, function.frames, function.throws) {
                    changed = true;
                    if let Some(function) = self.functions.get_mut(number) {
                        (function.stack, function.frames) = (stack, frames);
                        function.throws = throws;
                    }
                }
            }
            if !changed {
                return Ok(());
            }
        }
    }

    /// The sum of a frame pointer and a number that the instruction at `index` of
    /// a function makes, where its frame is.
    pub(super) fn frame_sum(&self, function: &Function, index: usize) -> Option<Insn> {
        if index >= function.end as usize || !is_frame_sum(self.insns, index) {
            return None;
        }
        let add = self.insns.get(index)?;
        let imm = add.imm.checked_sub(function.below as i32)?;
        Some(Insn::alu64_imm(alu::ADD, add.dst(), imm))
    }
}
