// SPDX-License-Identifier: GPL-2.0
//! The instructions that a program, or a function that is an image of its own, begins with.

use super::super::insn::{jmp, Insn, REG_1, REG_2, REG_AX};

/// Slots of the [`prologue`].
pub const PROLOGUE_LEN: usize = 6;

/// Slots of the [`function_prologue`].
pub const FUNCTION_PROLOGUE_LEN: usize = 5;

/// The program's new start. `slot` is the argument of the enter gate, and
/// `enter_imm` the distance of its address from `__bpf_call_base`.
pub const fn prologue(slot: u64, enter_imm: i32) -> [Insn; PROLOGUE_LEN] {
    let [low, high] = Insn::ld_imm64(REG_2, slot);
    [
        low,
        high,
        Insn::call(enter_imm),
        Insn::jmp_imm(jmp::JEQ, REG_AX, 0, 1),
        Insn::exit(),
        Insn::mov64_reg(REG_1, 0),
    ]
}

/// The new start of a function that is entered by itself, called back by the
/// kernel or called through a gate. It has arguments, which the gate gives
/// back; of their registers none is written.
pub const fn function_prologue(image: u64, enter_imm: i32) -> [Insn; FUNCTION_PROLOGUE_LEN] {
    let [low, high] = Insn::ld_imm64(0, image);
    [
        low,
        high,
        Insn::call(enter_imm),
        Insn::jmp_imm(jmp::JEQ, REG_AX, 0, 1),
        Insn::exit(),
    ]
}

/// Index of the call of the enter gate in a rewritten program.
pub const ENTER_INDEX: usize = 2;

/// Index of the one `exit` in a rewritten program.
pub const EXIT_INDEX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prologue_is_what_the_gates_expect() {
        let prologue = prologue(0xffff_c900_1234_5678, -77);
        assert_eq!(prologue[ENTER_INDEX], Insn::call(-77));
        assert!(prologue[EXIT_INDEX].is_exit());
        // `if AX == 0 goto +1` skips the exit.
        let skip = EXIT_INDEX - 1;
        let target = skip as i32 + 1 + prologue[skip].jump().unwrap();
        assert_eq!(target as usize, EXIT_INDEX + 1);
        assert_eq!(prologue[skip].dst(), REG_AX);
    }
}
