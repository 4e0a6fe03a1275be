// SPDX-License-Identifier: GPL-2.0
//! The `may_goto` of programs: an instruction that ends a loop which takes too long.

use super::super::insn::{alu, jmp, size, Insn, REG_AX, REG_FP};

/// Of a `may_goto`, which ends a loop that takes too long: the instruction
/// itself, or one of those that the verifier puts in its place
/// ([`timed_may_goto`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayGoto {
    /// The instruction itself, which the verifier's last passes replace.
    Itself,
    /// The load of the count.
    Count,
    /// The call that asks for the time when the count has come to its end.
    Check,
}

/// How far behind the load of its count a `may_goto` asks for the time.
const CHECK_BEHIND_COUNT: usize = 5;

/// What the instruction at `index` is of a `may_goto` that the verifier has
/// replaced (`bpf_do_misc_fixups()`, kernel/bpf/fixups.c), if it is a part that
/// changes. `imm` is that of a call of `arch_bpf_timed_may_goto()`.
///
/// ```text
///     AX = *(u64 *)(r10 + off)      the count
///     if AX == 0 goto out
///     AX -= 1
///     if AX != 0 goto +2
///     AX = off
///     call arch_bpf_timed_may_goto  the check: a new count, or 0
///     *(u64 *)(r10 + off) = AX
/// ```
///
/// The count that is in the domain decides nothing any more: the load becomes a
/// stub's, which has a count of its own.
pub fn timed_may_goto(insns: &[Insn], index: usize, imm: i32) -> Option<MayGoto> {
    let insn = insns.get(index)?;
    let (count, part) = if insn.is_helper_call() && insn.imm == imm {
        (index.checked_sub(CHECK_BEHIND_COUNT)?, MayGoto::Check)
    } else if insn.is_load() && insn.dst() == REG_AX {
        (index, MayGoto::Count)
    } else {
        return None;
    };
    let rest = insns.get(count..)?;
    let [load, is_out, less, is_left, off, check, store, ..] = rest else {
        return None;
    };
    let at = load.off;
    let is_it = *load == Insn::ldx(size::DW, REG_AX, REG_FP, at)
        && *is_out == Insn::jmp_imm(jmp::JEQ, REG_AX, 0, is_out.off)
        && *less == Insn::alu64_imm(alu::SUB, REG_AX, 1)
        && *is_left == Insn::jmp_imm(jmp::JNE, REG_AX, 0, 2)
        && *off == Insn::mov64_imm(REG_AX, at.into())
        && *check == Insn::call(imm)
        && *store == Insn::stx(size::DW, REG_FP, REG_AX, at);
    // Nothing is at the end of the address space: the check is answered there.
    (is_it && (-4096..0).contains(&at)).then_some(part)
}

/// What a `may_goto`'s check becomes. AX is a small negative number then.
pub const LOOP_CHECK: Insn = Insn::ldx(size::DW, REG_AX, REG_AX, 0);

#[cfg(test)]
mod tests {
    use super::super::{classify, Action, Known, Refusal};
    use super::*;

    #[test]
    fn a_may_goto_is_known_by_all_its_instructions() {
        let (dw, ax, fp) = (size::DW, REG_AX, REG_FP);
        let program = [
            Insn::mov64_imm(0, 0),
            Insn::ldx(dw, ax, fp, -24),
            Insn::jmp_imm(jmp::JEQ, ax, 0, 9),
            Insn::alu64_imm(alu::SUB, ax, 1),
            Insn::jmp_imm(jmp::JNE, ax, 0, 2),
            Insn::mov64_imm(ax, -24),
            Insn::call(77),
            Insn::stx(dw, fp, ax, -24),
            Insn::exit(),
        ];
        for index in 0..program.len() {
            let expected = match index {
                1 => Some(MayGoto::Count),
                6 => Some(MayGoto::Check),
                _ => None,
            };
            assert_eq!(timed_may_goto(&program, index, 77), expected, "{index}");
            assert_eq!(timed_may_goto(&program, index, 78), None);
        }
        for changed in 1..8 {
            let mut other = program;
            other[changed] = if changed == 2 {
                Insn::jmp_imm(jmp::JEQ, 1, 0, 9)
            } else {
                Insn::mov64_imm(2, 1)
            };
            for index in 0..program.len() {
                assert_eq!(timed_may_goto(&other, index, 77), None, "{changed}");
            }
        }
        let known = |may_goto| Known {
            may_goto,
            ..Known::default()
        };
        let at = |index: usize| known(timed_may_goto(&program, index, 77));
        assert_eq!(classify(&program[1], &at(1)), Ok(Action::LoopCount));
        assert_eq!(classify(&program[6], &at(6)), Ok(Action::LoopCheck));
        assert_eq!(
            classify(&program[6], &known(None)),
            Err(Refusal::UnknownCall)
        );
        let itself = Insn::new(0xe5, 0, 0, 2, 0);
        assert_eq!(
            classify(&itself, &known(Some(MayGoto::Itself))),
            Ok(Action::Keep)
        );
    }
}
