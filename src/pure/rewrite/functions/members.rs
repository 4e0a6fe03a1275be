// SPDX-License-Identifier: GPL-2.0
//! The functions that an image is made of, and the calls among them.

use super::super::super::insn::{Insn, REG_1, REG_AX};
use super::super::{jump_table, Refusal};
use super::frame::is_frame_sum;
use super::{At, Function, Layout, MAX_CALLS};

/// Registers that may hold a site's number: those that calls need not keep, and
/// that of the JIT and the verifier.
const NUMBER_REGS: [u8; 6] = [5, 4, 3, 2, REG_1, REG_AX];

impl Layout<'_> {
    pub(super) fn find_members(&mut self) -> At<()> {
        for function in self.functions.iter_mut() {
            (function.member, function.scanned) = (false, false);
            function.calls = 0;
            function.searches.fill(0);
        }
        match self.functions.get_mut(self.entry) {
            Some(entry) => entry.member = true,
            None => return Err((0, Refusal::Functions)),
        }
        if self.leaps.landing {
            let callback = self.leaps.callback;
            match callback.and_then(|callback| self.functions.get_mut(callback)) {
                Some(callback) => callback.member = true,
                None => return Err((0, Refusal::Functions)),
            }
        }
        loop {
            let next = (0..self.functions.len())
                .find(|&n| self.function(n).member && !self.function(n).scanned);
            let Some(number) = next else {
                return Ok(());
            };
            for (index, insn) in self.body(number) {
                if insn.is_tail_call() && number != self.entry {
                    return Err((index, Refusal::TailCallInFunction));
                }
                if self.leaps.is_jump(insn) {
                    self.find_callback(index, insn)?;
                }
                let last = index + 1 == self.function(number).end as usize;
                if last && insn.is_kfunc_call() && !self.leaps.is_throw(insn) {
                    return Err((index, Refusal::Functions));
                }
                if insn.is_gotox() {
                    let places = self.places_of(number).1.len();
                    if places == 0 || places > jump_table::MAX_PLACES {
                        return Err((index, Refusal::JumpTable));
                    }
                    let mut places = self.places_of(number).1.iter();
                    let moves = places.any(|&place| is_frame_sum(self.insns, place as usize));
                    let function = self.functions.get_mut(number);
                    let search = function
                        .and_then(|function| {
                            function.moves |= moves;
                            function.searches.get_mut(usize::from(insn.dst()))
                        })
                        .ok_or((index, Refusal::UnknownOpcode(insn.code)))?;
                    if *search == 0 {
                        *search = index as u32 + 1;
                    }
                }
                if !insn.is_pseudo_call() {
                    continue;
                }
                let callee = self.callee(index, insn)?;
                if self.function(callee).gated {
                    if self.function(callee).takes > 0 {
                        return Err((index, Refusal::StackArgument));
                    }
                    continue;
                }
                if self.is_root(callee) {
                    return Err((index, Refusal::Recursion));
                }
                if let Some(callee) = self.functions.get_mut(callee) {
                    callee.member = true;
                    callee.calls += 1;
                    if callee.calls > MAX_CALLS {
                        return Err((index, Refusal::TooManySites));
                    }
                }
            }
            if let Some(function) = self.functions.get_mut(number) {
                function.scanned = true;
            }
        }
    }

    /// The call of a kernel function at `index` is one of `bpf_throw()`: then
    /// its callback is a member.
    fn find_callback(&mut self, index: usize, call: &Insn) -> At<()> {
        let callback = self
            .leaps
            .callback
            .filter(|callback| *callback != self.entry && self.leaps.is_throw(call));
        match callback.and_then(|callback| self.functions.get_mut(callback)) {
            Some(callback) => callback.member = true,
            None => return Err((index, Refusal::Functions)),
        }
        Ok(())
    }

    /// Notes the call sites of each member, in the order of their indices.
    pub(super) fn note_calls(&mut self) -> At<()> {
        let mut next = 0;
        for function in self.functions.iter_mut().filter(|f| f.member) {
            function.first_call = next;
            next += function.calls;
            // Counted once more below.
            function.calls = 0;
        }
        if self.scratch.calls.len() < next as usize {
            return Err((0, Refusal::TooLong));
        }
        for number in 0..self.functions.len() {
            if !self.function(number).member {
                continue;
            }
            for (index, insn) in self.body(number) {
                let callee = self.inner_callee(index, insn)?;
                let Some(callee) = callee.and_then(|callee| self.functions.get_mut(callee)) else {
                    continue;
                };
                let at = (callee.first_call + callee.calls) as usize;
                callee.calls += 1;
                if let Some(call) = self.scratch.calls.get_mut(at) {
                    *call = index as u32;
                }
            }
        }
        Ok(())
    }

    /// Finds registers for the numbers of sites. Blinding constants takes one of
    /// them; through a switch that is on go arguments, in the others.
    pub(super) fn choose_registers(&mut self, blinded: bool) {
        for function in self.functions.iter_mut().filter(|f| f.member) {
            let is_free = |&&reg: &&u8| {
                let fits = if reg == REG_AX {
                    !blinded
                } else {
                    !function.switched
                };
                fits && function.spare & (1 << reg) != 0
            };
            let free = NUMBER_REGS.iter().find(is_free).copied();
            function.number_in = free.filter(|_| function.is_numbered());
        }
    }

    pub(super) fn calls_of(&self, callee: &Function) -> &[u32] {
        let first = callee.first_call as usize;
        self.scratch
            .calls
            .get(first..first + callee.calls as usize)
            .unwrap_or(&[])
    }
}
