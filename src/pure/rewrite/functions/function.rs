// SPDX-License-Identifier: GPL-2.0
//! One function of a program, and what is found out about it before any image is laid out.

use super::super::super::insn::{class, mode, Insn, REG_AX, REG_FP, REG_PARAMS};
use super::super::Refusal;
use super::frame::{is_frame_sum, keeps_frame};
use super::{starting_at, target, At, MAX_DEPTH, MAX_STACK_ARGUMENTS};

/// First callee-saved register, and how many there are.
const REG_6: u8 = 6;
const SAVED: u8 = 4;

/// One function of a program, and what is found out about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Function {
    /// Index of its first instruction.
    pub start: u32,
    /// Index behind its last one.
    pub end: u32,
    /// Bytes of stack that the verifier counted.
    pub depth: u32,
    /// It is called through a gate, not in goto form.
    pub gated: bool,
    /// It is called in goto form, and through a gate where the switch is on.
    pub switched: bool,
    /// Its address is taken: the kernel may call it.
    pub taken: bool,
    /// It makes a tail call.
    pub tail_calls: bool,
    /// Bit n: it writes R6 + n.
    pub(super) saves: u8,
    /// Bit n: it leaves register n alone. 0 if it calls anything.
    pub(super) spare: u16,
    /// The frame pointer moves for it.
    pub(super) moves: bool,
    /// Arguments on the stack that it passes, at most, and that it takes.
    pub(super) passes: u32,
    pub(super) takes: u32,
    /// It is part of the image that is being laid out.
    pub(super) member: bool,
    /// Its calls were looked at.
    pub(super) scanned: bool,
    /// Call sites of it in the image.
    pub(super) calls: u32,
    /// Where its call sites begin in [`Scratch::calls`].
    pub(super) first_call: u32,
    /// The register with the number of the call site, if it is not in the area.
    pub(super) number_in: Option<u8>,
    /// Where its way back begins.
    pub(super) back: u32,
    /// For each register its first jump through a table by that register, from 1.
    pub(super) searches: [u32; REG_FP as usize],
    /// An exception may come out of it.
    pub(super) throws: bool,
    /// Bytes from the frame pointer, as it is in it, down to its frame.
    pub(super) below: u32,
    /// Bytes of stack from the frame pointer downwards, callees included.
    pub(super) stack: u32,
    /// Frames of the deepest chain of calls that it begins, its own included.
    pub(super) frames: usize,
}

impl Function {
    /// A function of `program[start..end]` with `depth` bytes of stack.
    pub fn new(start: u32, end: u32, depth: u32) -> Self {
        Self {
            start,
            end,
            depth,
            ..Self::default()
        }
    }

    /// Whether the last [`Layout`] contains it.
    pub const fn is_member(&self) -> bool {
        self.member
    }

    /// Whether it takes arguments on the stack.
    pub const fn takes_stack(&self) -> bool {
        self.takes > 0
    }

    /// Bytes of its own stack, arguments that it passes included.
    pub(super) fn frame(&self) -> u32 {
        self.depth.next_multiple_of(8) + 8 * self.passes
    }

    /// Whether its way back asks for the site's number.
    pub(super) const fn is_numbered(&self) -> bool {
        self.calls > 1
    }

    /// Whether its area has the site's number.
    pub(super) const fn stores_number(&self) -> bool {
        self.is_numbered() && self.number_in.is_none()
    }

    /// Slots of a call of it in goto form, up to where it goes back to.
    pub(super) fn call_len(&self) -> u32 {
        let before = u32::from(self.is_numbered()) + self.saves.count_ones();
        before + 1 + u32::from(self.moves) + u32::from(self.switched)
    }

    /// Bytes between its frame and its caller's stack.
    pub(super) fn area(&self) -> u32 {
        8 * (u32::from(self.stores_number()) + self.saves.count_ones())
    }

    /// The callee-saved registers it writes, and where in the area each lies.
    pub(super) fn saved(&self) -> impl Iterator<Item = (u8, i16)> {
        let saves = self.saves;
        (0..SAVED)
            .filter(move |n| saves & (1 << n) != 0)
            .map(|n| REG_6 + n)
            .zip((i16::from(self.stores_number())..).map(|word| 8 * word))
    }

    /// Where from the frame pointer something is that is `off` bytes from its frame.
    pub(super) fn at_frame(&self, off: i16) -> i16 {
        off.wrapping_sub(self.below as i16)
    }
}

/// The callee-saved registers that `insn` may write, one bit each from R6 on.
fn saved_written(insn: &Insn) -> u8 {
    let bit = |reg: u8| match reg.checked_sub(REG_6) {
        Some(n) if n < SAVED => 1 << n,
        _ => 0,
    };
    match insn.class() {
        class::LD | class::LDX | class::ALU | class::ALU64 => bit(insn.dst()),
        // Fetched values go into the source, an acquired one into the destination.
        class::STX if insn.mode() != mode::MEM => bit(insn.src()) | bit(insn.dst()),
        _ => 0,
    }
}

/// Which argument on the stack (from 1) a load or store is for, if it is one:
/// incoming ones lie above `REG_PARAMS`, outgoing ones below.
pub(super) fn stack_argument(insn: &Insn) -> Option<Result<u32, Refusal>> {
    let (distance, fine) = match insn.class() {
        class::LDX if insn.src() == REG_PARAMS => (i32::from(insn.off), insn.dst() != REG_PARAMS),
        class::ST | class::STX if insn.dst() == REG_PARAMS => (
            -i32::from(insn.off),
            insn.class() == class::ST || insn.src() != REG_PARAMS,
        ),
        _ if insn.dst() == REG_PARAMS || insn.src() == REG_PARAMS => (0, false),
        _ => return None,
    };
    let whole = insn.mode() == mode::MEM && insn.access_bytes() == 8;
    let number = distance as u32 / 8;
    if !fine || !whole || distance % 8 != 0 || !(1..=MAX_STACK_ARGUMENTS).contains(&number) {
        return Some(Err(Refusal::StackArgument));
    }
    Some(Ok(number))
}

/// The registers that `insn` names, one bit each, and those that the JIT uses for
/// it.
fn named(insn: &Insn) -> u16 {
    let atomic = insn.class() == class::STX && insn.mode() != mode::MEM;
    let used = if atomic { 1 << REG_AX } else { 0 };
    used | (1 << insn.dst()) | (1 << insn.src())
}

/// Whether a register field of `insn` can name `REG_PARAMS`: calls and 64-bit
/// loads keep other numbers there.
pub(super) fn has_registers(insn: &Insn) -> bool {
    !(insn.is_call() || insn.class() == class::LD)
}

/// Notes what each function does, and that control stays in it. `functions`
/// are those of `insns`, in order, without a gap.
pub fn measure(insns: &[Insn], functions: &mut [Function]) -> At<()> {
    let mut next = 0;
    for function in functions.iter_mut() {
        let (start, end) = (function.start as usize, function.end as usize);
        if start != next || end <= start || end > insns.len() {
            return Err((start, Refusal::Functions));
        }
        if function.depth > MAX_DEPTH {
            return Err((start, Refusal::StackTooDeep));
        }
        next = end;
        let body = insns.get(start..end).unwrap_or(&[]);
        let (mut saves, mut passes, mut takes) = (0, 0, 0);
        let (mut spare, mut moves) = (u16::MAX, false);
        for (index, insn) in (start..).zip(body) {
            saves |= saved_written(insn);
            spare &= if insn.is_call() || insn.is_tail_call() {
                0
            } else {
                !named(insn)
            };
            if let Some(distance) = insn.jump() {
                let target = target(index, distance);
                if target < start as i64 || target >= end as i64 {
                    return Err((index, Refusal::Functions));
                }
                // Between the two, the second would have to do without the first.
                moves |= is_frame_sum(insns, target as usize);
            }
            if has_registers(insn) {
                moves |= !keeps_frame(insn);
                if let Some(argument) = stack_argument(insn) {
                    let number = argument.map_err(|refusal| (index, refusal))?;
                    if insn.class() == class::LDX {
                        takes = takes.max(number);
                    } else {
                        passes = passes.max(number);
                    }
                }
            }
        }
        // bpf_throw(), and a function that always calls it, do not return: what followed was
        // dead and is gone.
        let ends = body.last().is_some_and(|last| {
            last.is_exit()
                || last.is_jump_always()
                || last.is_gotox()
                || last.is_pseudo_call()
                || last.is_kfunc_call()
        });
        if !ends {
            return Err((end - 1, Refusal::Functions));
        }
        function.saves = saves;
        function.passes = passes;
        function.takes = takes;
        function.spare = spare;
        function.moves = moves || takes > 0;
        function.taken = false;
        function.tail_calls = body.iter().any(Insn::is_tail_call);
    }
    if next != insns.len() {
        return Err((next, Refusal::Functions));
    }
    for (index, insn) in insns.iter().enumerate() {
        if insn.is_pseudo_func() {
            let number = starting_at(functions, target(index, insn.imm));
            match number.and_then(|number| functions.get_mut(number)) {
                Some(function) => function.taken = true,
                None => return Err((index, Refusal::Functions)),
            }
        }
    }
    Ok(())
}
