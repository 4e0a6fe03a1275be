// SPDX-License-Identifier: GPL-2.0
//! The way from a call to the program's exit, if there is nothing on it.

use super::super::insn::{alu, class, Insn, REG_0, X};

/// Most instructions that [`exits_behind`] looks at.
const WAY_TO_EXIT: u32 = 12;

/// Whether a program does nothing more behind the call at `index` than to exit with its
/// result: jumps, and moves of it from register to register. `halves`: its low half is
/// all that counts, and may be moved alone.
pub fn exits_behind(insns: &[Insn], index: usize, halves: bool) -> bool {
    let mut at = index as i64 + 1;
    // One bit for each register that has the result.
    let mut has = 1u16 << REG_0;
    for _ in 0..WAY_TO_EXIT {
        let Some(insn) = usize::try_from(at).ok().and_then(|at| insns.get(at)) else {
            return false;
        };
        if insn.is_exit() {
            return has & (1 << REG_0) != 0;
        }
        at += 1;
        let is_move = (insn.class() == class::ALU64 || halves && insn.class() == class::ALU)
            && insn.op() == alu::MOV
            && insn.code & X != 0
            && (insn.off, insn.imm) == (0, 0);
        if is_move {
            let moved = (has >> insn.src()) & 1;
            has = (has & !(1 << insn.dst())) | (moved << insn.dst());
        } else if insn.is_jump_always() {
            at += i64::from(insn.jump().unwrap_or(0));
        } else {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::super::insn::jmp;
    use super::*;

    #[test]
    fn an_exit_with_the_result_is_found() {
        let call = Insn::call(7);
        let set = Insn::mov64_imm(0, 1);
        let (keep, take) = (Insn::mov64_reg(6, 0), Insn::mov64_reg(0, 6));
        let low = Insn::alu32_reg(alu::MOV, 0, 6);
        let extended = Insn::new(class::ALU64 | alu::MOV | X, 0, 6, 8, 0);
        let behind = |insns: &[Insn]| exits_behind(insns, 0, true);
        let whole = |insns: &[Insn]| exits_behind(insns, 0, false);
        assert!(behind(&[call, Insn::exit()]));
        assert!(behind(&[call, Insn::ja(1), set, Insn::exit()]));
        assert!(behind(&[
            call,
            Insn::ja32(2),
            set,
            Insn::exit(),
            Insn::ja(-2)
        ]));
        assert!(behind(&[call, keep, Insn::ja(1), set, low, Insn::exit()]));
        assert!(behind(&[call, keep, take, Insn::exit()]));
        assert!(whole(&[call, keep, take, Insn::exit()]));
        assert!(!whole(&[call, keep, low, Insn::exit()]));
        assert!(!behind(&[call, set, Insn::exit()]));
        // Another register's, and half of it with its sign.
        assert!(!behind(&[call, take, Insn::exit()]));
        assert!(!behind(&[call, keep, extended, Insn::exit()]));
        assert!(!behind(&[
            call,
            Insn::jmp_imm(jmp::JEQ, 0, 0, 0),
            Insn::exit()
        ]));
        // Round and round, and out of the program: never verified, and no exit.
        assert!(!behind(&[call, Insn::ja(-1)]));
        assert!(!behind(&[call, Insn::ja(-9)]));
        assert!(!behind(&[call]));
    }
}
