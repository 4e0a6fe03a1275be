// SPDX-License-Identifier: GPL-2.0
//! Instructions with jumps among them: these are written twice, since only then is known
//! where they lead.

use super::{Emit, Part};
use crate::pure::insn::{class, jmp, Insn, K, X};
use core::marker::PhantomData;

/// As many places as there may be.
const PLACES: usize = 16;

/// Where the instructions go: nowhere at first, when the places are found out. A `P` is
/// one of the places that jumps lead to.
pub(super) struct Code<'a, E, P> {
    emit: Option<Emit<'a, E>>,
    at: i16,
    places: [i16; PLACES],
    /// Whether loads are to be probes ([`Insn::as_probe`]).
    pub(super) probes: bool,
    of: PhantomData<P>,
}

/// Hands to `emit` what `write` writes, which is the same each time.
pub(super) fn emit<'a, E, P: Into<usize>>(
    emit: Emit<'a, E>,
    probes: bool,
    write: impl Fn(&mut Code<'a, E, P>) -> Result<(), E>,
) -> Result<(), E> {
    let mut code = Code {
        emit: None,
        at: 0,
        places: [0; PLACES],
        probes,
        of: PhantomData,
    };
    write(&mut code)?;
    let mut code = Code {
        emit: Some(emit),
        at: 0,
        ..code
    };
    write(&mut code)
}

impl<E, P: Into<usize>> Code<'_, E, P> {
    /// What comes next is there.
    pub(super) fn place(&mut self, place: P) {
        if let Some(at) = self.places.get_mut(place.into()) {
            *at = self.at;
        }
    }

    fn part(&mut self, part: Part) -> Result<(), E> {
        self.at += 1;
        match &mut self.emit {
            Some(emit) => emit(part),
            None => Ok(()),
        }
    }

    pub(super) fn insn(&mut self, insn: Insn) -> Result<(), E> {
        self.part(Part::Plain(insn))
    }

    pub(super) fn insns(&mut self, insns: impl IntoIterator<Item = Insn>) -> Result<(), E> {
        insns.into_iter().try_for_each(|insn| self.insn(insn))
    }

    /// The call of the helper itself.
    pub(super) fn call(&mut self) -> Result<(), E> {
        self.part(Part::Call)
    }

    pub(super) fn jump(
        &mut self,
        code: u8,
        (dst, src, imm): (u8, u8, i32),
        to: P,
    ) -> Result<(), E> {
        let to = self.places.get(to.into()).copied().unwrap_or(0);
        let distance = to.wrapping_sub(self.at).wrapping_sub(1);
        self.insn(Insn::new(code, dst, src, distance, imm))
    }

    pub(super) fn goto(&mut self, to: P) -> Result<(), E> {
        self.jump(class::JMP | jmp::JA, (0, 0, 0), to)
    }

    /// Jumps by the low halves of two registers.
    pub(super) fn if_regs(&mut self, op: u8, dst: u8, src: u8, to: P) -> Result<(), E> {
        self.jump(class::JMP32 | op | X, (dst, src, 0), to)
    }

    /// Jumps by the low half of a register.
    pub(super) fn if_low(&mut self, op: u8, reg: u8, imm: i32, to: P) -> Result<(), E> {
        self.jump(class::JMP32 | op | K, (reg, 0, imm), to)
    }

    /// Jumps by a register.
    pub(super) fn if_whole(&mut self, op: u8, reg: u8, imm: i32, to: P) -> Result<(), E> {
        self.jump(class::JMP | op | K, (reg, 0, imm), to)
    }

    /// Jumps unless two addresses are the same.
    pub(super) fn unless_same(&mut self, at: u8, end: u8, to: P) -> Result<(), E> {
        self.jump(class::JMP | jmp::JNE | X, (at, end, 0), to)
    }
}
