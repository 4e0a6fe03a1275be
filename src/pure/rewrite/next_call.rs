// SPDX-License-Identifier: GPL-2.0
//! What lies between two calls, if it is nothing but moves: then both can be made in one
//! stay in the kernel, which saves two writes of the key. One look whether a register is a
//! number, such as 0, may be among them: if that leads elsewhere, the second call is not
//! made.
//!
//! What the moves leave in each register is written down as a sum of a number and one
//! thing that is known when the first call has been made. The instructions themselves
//! stay: whoever jumps between the calls, or goes elsewhere there, still finds them.

use super::super::insn::{alu, class, jmp, Insn, K, REG_0, REG_1, REG_FP, X};

/// Where a register's value comes from: a place in what [`NextCall::moves`] adds to.
type Source = u8;
/// Nowhere: it is a number.
const NUMBER: Source = 0;
/// What the first call has returned.
const RESULT: Source = 1;
/// The frame pointer.
const FRAME: Source = 2;
/// The first of R6 to R9 as they were before.
const KEPT_FROM: Source = 3;
/// So many places, as a power of two.
const SOURCES: usize = 8;
const _: () = assert!(KEPT_FROM as usize + KEPT <= SOURCES);

/// A register's value: the sum of what is in a place and a number, or its low half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Value {
    source: Source,
    add: u64,
    mask: u64,
}

impl Value {
    const fn of(source: Source) -> Self {
        Self {
            source,
            add: 0,
            mask: u64::MAX,
        }
    }

    const fn number(add: u64) -> Self {
        Self {
            add,
            ..Self::of(NUMBER)
        }
    }

    /// With a number more, if that can be written down.
    fn plus(self, number: u64) -> Option<Self> {
        let add = self.add.wrapping_add(number);
        (self.mask == u64::MAX).then_some(Self { add, ..self })
    }

    /// Its low half.
    fn low(self) -> Self {
        let mask = u64::from(u32::MAX);
        if self.source == NUMBER {
            Self::number(self.add & mask)
        } else {
            Self { mask, ..self }
        }
    }

    #[inline(always)]
    fn resolve(&self, sources: &[u64; SOURCES]) -> u64 {
        let base = sources.get(usize::from(self.source) % SOURCES);
        let base = base.copied().unwrap_or_default();
        base.wrapping_add(self.add) & self.mask
    }
}

/// How many arguments a call has at most, and how many registers outlive it.
pub const ARGS: usize = 5;
/// See [`ARGS`].
pub const KEPT: usize = 4;

/// A look at a register, behind which the second call comes or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    value: Value,
    number: u64,
    /// It comes if the value is the number; else, if it is not.
    comes_if_equal: bool,
}

impl Look {
    /// What a conditional jump looks at; behind it the program goes on if it does not jump.
    fn of(insn: &Insn, registers: &Registers) -> Option<Self> {
        let number = i64::from(insn.imm) as u64;
        let value = registers.get(insn.dst())?;
        let (value, number) = match insn.class() {
            class::JMP => (value, number),
            class::JMP32 => (value.low(), number & u64::from(u32::MAX)),
            _ => return None,
        };
        let comes_if_equal = match (insn.op(), insn.code & X) {
            (jmp::JEQ, K) => false,
            (jmp::JNE, K) => true,
            _ => return None,
        };
        Some(Self {
            value,
            number,
            comes_if_equal,
        })
    }
}

/// R1 to R9 as the second call finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextCall {
    /// R1 to R5, of which the call looks at the first `count`; what nobody has set is 0.
    args: [Value; ARGS],
    count: usize,
    /// R6 to R9.
    kept: [Value; KEPT],
    changes: bool,
    look: Option<Look>,
}

/// What is known of R0 to R9. A call leaves nothing in R1 to R5.
struct Registers {
    result: Value,
    args: [Option<Value>; ARGS],
    kept: [Value; KEPT],
}

const REG_6: u8 = REG_1 + ARGS as u8;

impl Registers {
    fn get(&self, register: u8) -> Option<Value> {
        match register {
            REG_0 => Some(self.result),
            REG_FP => Some(Value::of(FRAME)),
            REG_1..REG_6 => *self.args.get(usize::from(register - REG_1))?,
            _ => self
                .kept
                .get(usize::from(register.checked_sub(REG_6)?))
                .copied(),
        }
    }

    fn set(&mut self, register: u8, value: Value) -> Option<()> {
        match register {
            REG_0 => self.result = value,
            REG_1..REG_6 => *self.args.get_mut(usize::from(register - REG_1))? = Some(value),
            _ => {
                *self
                    .kept
                    .get_mut(usize::from(register.checked_sub(REG_6)?))? = value
            }
        }
        Some(())
    }
}

/// Most instructions between two calls that are looked at: each register set twice, and all
/// by 64-bit immediates.
const MOST: usize = 4 * (REG_FP as usize + 1);

impl NextCall {
    /// What is between a call and the next one, which `insns` begins behind and goes up to
    /// and which has `count` arguments; `None` if something is that a move is not, or too
    /// much.
    pub fn between(insns: &[Insn], count: usize) -> Option<Self> {
        if insns.len() > MOST {
            return None;
        }
        let before = [0, 1, 2, 3].map(|number| Value::of(KEPT_FROM + number));
        let mut registers = Registers {
            result: Value::of(RESULT),
            args: [None; ARGS],
            kept: before,
        };
        let mut look = None;
        let mut insns = insns.iter();
        while let Some(insn) = insns.next() {
            if *insn == Insn::ja(0) {
                continue;
            }
            if matches!(insn.class(), class::JMP | class::JMP32) {
                match look.replace(Look::of(insn, &registers)?) {
                    None => continue,
                    Some(_) => return None,
                }
            }
            // A map's address, or that of a value in one, is there by now; a function's is not.
            let value = if insn.is_ld_imm64() && !insn.is_pseudo_func() {
                let low = u64::from(insn.imm as u32);
                let high = u64::from(insns.next()?.imm as u32);
                Value::number((high << 32) | low)
            } else {
                result_of(insn, &registers)?
            };
            registers.set(insn.dst(), value)?;
        }
        Some(Self {
            args: registers.args.map(|arg| arg.unwrap_or(Value::number(0))),
            count,
            kept: registers.kept,
            changes: registers.kept != before,
            look,
        })
    }

    /// Whether the second call comes at all, when `result` is what the first has returned and
    /// `kept` are R6 to R9.
    #[inline(always)]
    pub fn comes(&self, result: u64, frame: u64, kept: &[u64; KEPT]) -> bool {
        self.look.is_none_or(|look| {
            let is_number = look.value.resolve(&sources(result, frame, kept)) == look.number;
            is_number == look.comes_if_equal
        })
    }

    /// Makes the moves: `args` are R1 to R5, `kept` R6 to R9. Returns whether one of these is
    /// another than it was.
    #[inline(always)]
    pub fn moves(
        &self,
        result: u64,
        frame: u64,
        args: &mut [u64; ARGS],
        kept: &mut [u64; KEPT],
    ) -> bool {
        let sources = sources(result, frame, kept);
        for (arg, value) in args.iter_mut().zip(&self.args).take(self.count) {
            *arg = value.resolve(&sources);
        }
        if self.changes {
            for (register, value) in kept.iter_mut().zip(&self.kept) {
                *register = value.resolve(&sources);
            }
        }
        self.changes
    }
}

/// What [`Value`]s are sums with.
#[inline(always)]
fn sources(result: u64, frame: u64, kept: &[u64; KEPT]) -> [u64; SOURCES] {
    [0, result, frame, kept[0], kept[1], kept[2], kept[3], 0]
}

/// What a move, or a sum with a number, leaves in its register.
fn result_of(insn: &Insn, registers: &Registers) -> Option<Value> {
    let wide = match insn.class() {
        class::ALU64 => true,
        class::ALU => false,
        _ => return None,
    };
    // With an offset a move extends a sign, or is one to another address space.
    if insn.off != 0 {
        return None;
    }
    let number = i64::from(insn.imm) as u64;
    let result = match (insn.op(), insn.code & X) {
        (alu::MOV, K) => Value::number(number),
        (alu::MOV, _) if insn.imm == 0 => registers.get(insn.src())?,
        (alu::ADD, K) => registers.get(insn.dst())?.plus(number)?,
        _ => return None,
    };
    Some(if wide { result } else { result.low() })
}

#[cfg(test)]
mod tests {
    use super::super::super::insn::size;
    use super::*;

    const KEPT_BEFORE: [u64; KEPT] = [6, (7 << 32) | 7, 8, 9];
    const FRAME_AT: u64 = 0xffff_8000_0000_1000;
    const RETURNED: u64 = 0xffff_ffff_ffff_fff2;

    /// R1 to R9 behind these, for a call with so many arguments.
    fn moved(insns: &[Insn], count: usize) -> Option<([u64; ARGS], [u64; KEPT])> {
        let (mut args, mut kept) = ([u64::MAX; ARGS], KEPT_BEFORE);
        let next = NextCall::between(insns, count)?;
        let changed = next.moves(RETURNED, FRAME_AT, &mut args, &mut kept);
        assert!(changed || kept == KEPT_BEFORE);
        Some((args, kept))
    }

    #[test]
    fn nothing_leaves_what_a_call_keeps() {
        let none = [u64::MAX; ARGS];
        assert_eq!(moved(&[], 0), Some((none, KEPT_BEFORE)));
        assert_eq!(moved(&[Insn::ja(0)], 0), Some((none, KEPT_BEFORE)));
        // What is looked at and was not set is nobody's.
        assert_eq!(moved(&[], 9), Some(([0; ARGS], KEPT_BEFORE)));
        let first = [0, u64::MAX, u64::MAX, u64::MAX, u64::MAX];
        assert_eq!(moved(&[], 1), Some((first, KEPT_BEFORE)));
    }

    #[test]
    fn moves_and_sums_are_followed() {
        let [low, high] = Insn::ld_imm64(1, 0x1234_5678_9abc_def0);
        let between = [
            low,
            high,
            Insn::mov64_reg(2, REG_FP),
            Insn::alu64_imm(alu::ADD, 2, -8),
            Insn::mov64_reg(3, 7),
            Insn::alu32_reg(alu::MOV, 3, 3),
            Insn::mov64_imm(4, -1),
            Insn::alu32_imm(alu::MOV, 5, -1),
            Insn::mov64_reg(8, 0),
            Insn::alu64_imm(alu::ADD, 8, 1),
            Insn::alu32_imm(alu::ADD, 6, -7),
        ];
        let args = [
            0x1234_5678_9abc_def0,
            FRAME_AT - 8,
            7,
            u64::MAX,
            0xffff_ffff,
        ];
        let kept = [0xffff_ffff, (7 << 32) | 7, RETURNED + 1, 9];
        assert_eq!(moved(&between, ARGS), Some((args, kept)));
    }

    #[test]
    fn a_look_says_whether_the_call_comes() {
        let narrow = |op, imm| Insn::new(class::JMP32 | op | K, 8, 0, 3, imm);
        // Of a register that the result is in, with a number more.
        let copies = [Insn::mov64_reg(8, 0), Insn::alu64_imm(alu::ADD, 8, 1)];
        let cases: &[(Insn, u64, bool)] = &[
            (Insn::jmp_imm(jmp::JEQ, 0, 0, 3), 0, false),
            (Insn::jmp_imm(jmp::JEQ, 0, 0, 3), 1, true),
            (Insn::jmp_imm(jmp::JEQ, 0, 0, 3), 1 << 32, true),
            (Insn::jmp_imm(jmp::JNE, 0, 0, 3), 0, true),
            (Insn::jmp_imm(jmp::JNE, 0, 0, 3), 1 << 63, false),
            (Insn::jmp_imm(jmp::JEQ, 0, -1, 3), u64::MAX, false),
            (Insn::jmp_imm(jmp::JEQ, 0, -1, 3), 0xffff_ffff, true),
            (Insn::jmp_imm(jmp::JEQ, 8, 8, 3), 7, false),
            (narrow(jmp::JEQ, -1), 0xffff_fffe, false),
            (narrow(jmp::JEQ, 0), 0xffff_ffff, false),
            (narrow(jmp::JEQ, 0), 0, true),
            (narrow(jmp::JNE, 1), 5 << 32, true),
            (Insn::jmp_imm(jmp::JNE, 7, 7, 3), 0, false),
            (Insn::jmp_imm(jmp::JEQ, REG_FP, 0, 3), 0, true),
        ];
        for &(look, result, comes) in cases {
            // What is moved behind it does not matter.
            let between = [copies[0], copies[1], look, Insn::mov64_imm(8, 0)];
            let next = NextCall::between(&between, 0).unwrap_or_default();
            assert!(next.look.is_some(), "{look:?}");
            assert_eq!(
                next.comes(result, FRAME_AT, &KEPT_BEFORE),
                comes,
                "{look:?} {result:x}"
            );
        }
        let always = NextCall::between(&copies, 0).unwrap_or_default();
        assert!(always.comes(0, FRAME_AT, &KEPT_BEFORE));
    }

    #[test]
    fn what_is_more_than_a_move_is_not_nothing() {
        let [mut function, high] = Insn::ld_imm64(2, 5);
        function = Insn::new(function.code, 2, 4, 0, 5);
        let cases: &[&[Insn]] = &[
            &[Insn::ldx(size::W, 1, REG_FP, -4)],
            &[Insn::st(size::W, REG_FP, -4, 0)],
            &[Insn::ja(1)],
            // A look at more than whether it is a number, at two, at what a call has left nothing
            // in, and a second look.
            &[Insn::jmp_imm(jmp::JGT, 0, 0, 3)],
            &[Insn::jmp_imm(jmp::JSET, 0, 1, 3)],
            &[Insn::jmp_reg(jmp::JEQ, 0, 6, 3)],
            &[Insn::jmp_imm(jmp::JEQ, 1, 0, 3)],
            &[
                Insn::jmp_imm(jmp::JEQ, 0, 0, 3),
                Insn::jmp_imm(jmp::JEQ, 6, 0, 3),
            ],
            &[Insn::exit()],
            &[Insn::call(1)],
            &[Insn::alu64_reg(alu::ADD, 6, 0)],
            &[Insn::alu64_imm(alu::MUL, 6, 2)],
            &[Insn::swap64(6)],
            &[Insn::mov64_reg(REG_FP, 6)],
            // To be had by a call no more, and of the low half of what is not known.
            &[Insn::mov64_reg(6, 1)],
            &[Insn::alu64_imm(alu::ADD, 3, 1)],
            &[
                Insn::alu32_reg(alu::MOV, 1, 0),
                Insn::alu64_imm(alu::ADD, 1, 1),
            ],
            // With a sign, to another space, of this CPU.
            &[Insn::new(class::ALU64 | alu::MOV | X, 1, 0, 32, 0)],
            &[Insn::new(class::ALU64 | alu::MOV | X, 1, 0, 1, 0)],
            &[Insn::new(class::ALU64 | alu::MOV | X, 1, 0, -1, 0)],
            // A function's address, and half an immediate.
            &[function, high],
            &[Insn::ld_imm64(1, 1)[0]],
            &[Insn::mov64_imm(1, 0); MOST + 1],
        ];
        for insns in cases {
            assert_eq!(moved(insns, 0), None, "{insns:?}");
        }
        assert!(moved(&[Insn::mov64_imm(1, 0); MOST], 0).is_some());
    }
}
