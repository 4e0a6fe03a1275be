// SPDX-License-Identifier: GPL-2.0
//! What lies between two calls: what is written down of it is what an interpreter of eBPF
//! makes of it, and nothing else is taken for moves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::insn::{alu, class, jmp, Insn, K, REG_FP};
use bailey::pure::rewrite::NextCall;
use machine::{Machine, STACK_TOP};
use proptest::prelude::*;

/// What the first call has returned, and what it found in R6 to R9.
const RESULT: u64 = 0xffff_fff0_0000_0007;
const KEPT: [u64; 4] = [6, 0xffff_ffff_0000_0007, 0x8000_0000, u64::MAX];

/// What is in a register that the second call does not look at.
const JUNK: u64 = 0x5a5a;

/// Moves, and sums with numbers, as compilers put them in front of a call.
fn moves() -> impl Strategy<Value = Vec<Insn>> {
    let from = prop_oneof![Just(0u8), 6u8..=REG_FP];
    prop_oneof![
        Just(vec![Insn::ja(0)]),
        (0u8..10, from.clone()).prop_map(|(dst, src)| vec![Insn::mov64_reg(dst, src)]),
        (0u8..10, from).prop_map(|(dst, src)| vec![Insn::alu32_reg(alu::MOV, dst, src)]),
        (0u8..10, any::<i32>()).prop_map(|(dst, imm)| vec![Insn::mov64_imm(dst, imm)]),
        (0u8..10, any::<i32>()).prop_map(|(dst, imm)| vec![Insn::alu32_imm(alu::MOV, dst, imm)]),
        (0u8..10, any::<u64>()).prop_map(|(dst, imm)| Insn::ld_imm64(dst, imm).to_vec()),
        (1u8..6, any::<i32>()).prop_map(|(dst, imm)| vec![
            Insn::mov64_reg(dst, REG_FP),
            Insn::alu64_imm(alu::ADD, dst, imm),
        ]),
    ]
}

/// A look at a register, at what it is or something else; who jumps there jumps over all.
fn look() -> impl Strategy<Value = Insn> {
    let register = prop_oneof![Just(0u8), 6u8..=REG_FP];
    let number = prop_oneof![
        Just(0),
        Just(6),
        Just(7),
        Just(RESULT as i32),
        Just(i32::MIN),
        any::<i32>()
    ];
    let class = prop_oneof![Just(class::JMP), Just(class::JMP32)];
    let op = prop_oneof![Just(jmp::JEQ), Just(jmp::JNE)];
    (register, number, class, op)
        .prop_map(|(dst, imm, class, op)| Insn::new(class | op | K, dst, 0, ELSEWHERE, imm))
}

/// Far behind everything.
const ELSEWHERE: i16 = 1000;

/// These, and whatever else.
fn anything() -> impl Strategy<Value = Vec<Insn>> {
    let other = generated::arithmetic(0..10).prop_map(|insn| vec![insn]);
    let look = look().prop_map(|insn| vec![insn]);
    prop_oneof![16 => moves(), 2 => other, 2 => generated::any_insn(), 1 => look]
}

fn joined(parts: Vec<Vec<Insn>>) -> Vec<Insn> {
    parts.into_iter().flatten().collect()
}

/// R0 to R9 as the interpreter leaves them, and whether it came to the end and not elsewhere;
/// `None` if it stumbles.
fn ran(insns: &[Insn]) -> Option<([u64; 10], bool)> {
    let mut machine = Machine::image(insns, 0);
    for (number, value) in [
        (0, RESULT),
        (6, KEPT[0]),
        (7, KEPT[1]),
        (8, KEPT[2]),
        (9, KEPT[3]),
    ] {
        machine.regs[number] = value;
    }
    while machine.pc < insns.len() {
        let before = machine.pc;
        assert_eq!(machine.step().ok()?, None);
        assert!(machine.pc > before);
    }
    let registers = core::array::from_fn(|number| machine.regs[number]);
    Some((registers, machine.pc == insns.len()))
}

/// `count`: of how many arguments the second call has.
fn judge(insns: &[Insn], count: usize, next: &NextCall) {
    let (after, comes) = ran(insns).expect("moves alone");
    assert_eq!(next.comes(RESULT, STACK_TOP, &KEPT), comes, "{insns:?}");
    if !comes {
        return;
    }
    let (mut args, mut kept) = ([JUNK; 5], KEPT);
    let changes = next.moves(RESULT, STACK_TOP, &mut args, &mut kept);
    let is_set = |reg: usize| {
        let mut insns = insns.iter();
        let mut is_set = false;
        while let Some(insn) = insns.next() {
            let is_jump = matches!(insn.class(), class::JMP | class::JMP32);
            is_set |= !is_jump && usize::from(insn.dst()) == reg;
            if insn.is_ld_imm64() {
                insns.next();
            }
        }
        is_set
    };
    for (reg, value) in (1..).zip(args) {
        let expected = match (reg <= count, is_set(reg)) {
            (false, _) => JUNK,
            (true, true) => after[reg],
            // Which the verifier lets no call look at.
            (true, false) => 0,
        };
        assert_eq!(value, expected, "R{reg} of {insns:?}");
    }
    assert_eq!(kept, after[6..], "{insns:?}");
    assert!(changes || kept == KEPT, "{insns:?}");
}

proptest! {
    #![proptest_config(generated::config(20_000))]

    #[test]
    fn moves_are_followed(parts in prop::collection::vec(moves(), 0..12), count in 0usize..6) {
        let insns = joined(parts);
        let next = NextCall::between(&insns, count).expect("moves alone");
        judge(&insns, count, &next);
    }

    #[test]
    fn a_look_is_followed(
        before in prop::collection::vec(moves(), 0..6),
        look in look(),
        after in prop::collection::vec(moves(), 0..6),
    ) {
        let insns = [joined(before), vec![look], joined(after)].concat();
        let next = NextCall::between(&insns, 5).expect("moves and a look");
        judge(&insns, 5, &next);
    }

    #[test]
    fn what_is_followed_was_moves(parts in prop::collection::vec(anything(), 0..6)) {
        let insns = joined(parts);
        if let Some(next) = NextCall::between(&insns, 5) {
            judge(&insns, 5, &next);
        }
    }
}
