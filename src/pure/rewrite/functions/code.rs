// SPDX-License-Identifier: GPL-2.0
//! The instructions of an image, one after the other.

use super::super::super::insn::{alu, class, size, Insn, REG_FP};
use super::super::inline;
use super::super::jump_table::{self, DEAD_END};
use super::super::Refusal;
use super::frame::is_frame_copy;
use super::function::{has_registers, stack_argument};
use super::{Function, Layout, Origin};

impl Layout<'_> {
    pub(super) fn emit_insn<E: From<(usize, Refusal)>>(
        &self,
        number: usize,
        index: usize,
        insn: Insn,
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let function = self.function(number);
        if insn.is_pseudo_call() || self.leaps.gated && self.leaps.is_throw(&insn) {
            match self.inner_callee(index, &insn)? {
                Some(callee) => {
                    self.emit_call(&function, &self.function(callee), (index, insn), emit)?;
                }
                None => emit(Origin::Kept(index), insn)?,
            }
            if self.is_last(number, index) {
                DEAD_END
                    .into_iter()
                    .try_for_each(|insn| emit(Origin::Added, insn))?;
            }
            return Ok(());
        }
        if self.leaps.is_throw(&insn) {
            let callback = self.function(self.leaps.callback.unwrap_or(self.entry));
            let to = self.at(callback.start as usize);
            return emit(Origin::For(index), self.goto(self.at(index), to));
        }
        if insn.is_gotox() {
            let mut origin = Origin::For(index);
            let search = self.search_of(number, &insn);
            if search != index {
                return emit(origin, self.goto(self.at(index), self.at(search)));
            }
            return jump_table::emit(
                insn.dst(),
                self.places_of(number),
                self.at(index),
                &|from, place| self.goto(from, self.at(place as usize)),
                &mut |insn| emit(core::mem::replace(&mut origin, Origin::Added), insn),
            );
        }
        if let Some(inline) = self.leaps.inline(index, &insn) {
            let mut origin = Origin::For(index);
            return inline.emit(&mut |part| match part {
                inline::Part::Plain(new) => {
                    emit(core::mem::replace(&mut origin, Origin::Added), new)
                }
                inline::Part::Ask => emit(Origin::Asks(index), insn),
                inline::Part::Call => emit(Origin::Kept(index), insn),
            });
        }
        if insn.is_exit() && !self.is_root(number) {
            if index + 1 == function.end as usize {
                return Ok(());
            }
            return emit(Origin::For(index), self.goto(self.at(index), function.back));
        }
        if let Some(distance) = insn.jump() {
            let distance = self.distance(index, distance);
            let fits = distance.abs() <= self.reach && !self.is_far(index);
            if let Some(near) = insn.with_jump(distance).filter(|_| fits) {
                return emit(Origin::Kept(index), near);
            }
            let target = (i64::from(self.at(index)) + 1 + distance) as u32;
            if insn.is_jump_always() {
                return emit(Origin::For(index), self.goto(self.at(index), target));
            }
            // if ... goto +1; goto +1; goto far
            let taken = insn.with_jump(1).ok_or((index, Refusal::JumpTooFar))?;
            emit(Origin::Kept(index), taken)?;
            emit(Origin::Added, Insn::ja(1))?;
            return emit(Origin::Added, self.goto(self.at(index) + 2, target));
        }
        if has_registers(&insn) {
            if let Some(argument) = stack_argument(&insn) {
                let word = 8 * (argument.map_err(|refusal| (index, refusal))? as i16 - 1);
                let incoming = insn.class() == class::LDX;
                if incoming && self.is_root(number) {
                    return Err((index, Refusal::StackArgument).into());
                }
                let base = if incoming {
                    function.area() as i16
                } else {
                    function.at_frame(-(function.frame() as i16))
                };
                return emit(Origin::Kept(index), insn.rebased(REG_FP, base + word));
            }
        }
        if function.below > 0 {
            if insn.base() == Some(REG_FP) {
                let mut insn = insn;
                insn.off = function.at_frame(insn.off);
                return emit(Origin::Kept(index), insn);
            }
            if let Some(sum) = self.frame_sum(&function, index) {
                return emit(Origin::Kept(index), sum);
            }
            if is_frame_copy(&insn) && self.frame_sum(&function, index + 1).is_none() {
                emit(Origin::Kept(index), insn)?;
                let down = Insn::alu64_imm(alu::ADD, insn.dst(), -(function.below as i32));
                return emit(Origin::Added, down);
            }
        }
        emit(Origin::Kept(index), insn)
    }

    fn emit_call<E: From<(usize, Refusal)>>(
        &self,
        caller: &Function,
        callee: &Function,
        (index, call): (usize, Insn),
        emit: &mut dyn FnMut(Origin, Insn) -> Result<(), E>,
    ) -> Result<(), E> {
        let down = if callee.moves {
            caller.below + caller.frame() + callee.area()
        } else {
            callee.below
        };
        let below = i16::try_from(down).map_err(|_| (index, Refusal::StackTooDeep))?;
        let mut origin = Origin::For(index);
        let mut next = |insn: Insn| emit(core::mem::replace(&mut origin, Origin::Added), insn);
        if callee.is_numbered() {
            let number = self
                .calls_of(callee)
                .binary_search(&(index as u32))
                .map_err(|_| (index, Refusal::Functions))? as i32;
            next(match callee.number_in {
                Some(reg) => Insn::mov64_imm(reg, number),
                None => Insn::st(size::DW, REG_FP, -below, number),
            })?;
        }
        for (reg, word) in callee.saved() {
            next(Insn::stx(size::DW, REG_FP, reg, word - below))?;
        }
        if callee.moves {
            next(Insn::alu64_imm(alu::ADD, REG_FP, -i32::from(below)))?;
        }
        if callee.switched {
            emit(Origin::Switch(index), call)?;
            origin = Origin::Added;
        }
        let here = self.at(index) + callee.call_len() - 1;
        let into = self.goto(here, self.at(callee.start as usize));
        emit(origin, into)?;
        if callee.moves {
            let up = Insn::alu64_imm(alu::ADD, REG_FP, i32::from(below));
            emit(Origin::Added, up)?;
        }
        Ok(())
    }
}
