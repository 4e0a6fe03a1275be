// SPDX-License-Identifier: GPL-2.0
//! The survey of constant blinding counts what the kernel does: here it is done
//! once more, one instruction after the other and jumps moved at each, as
//! `bpf_jit_blind_constants()` and `bpf_patch_insn_single()` (kernel/bpf/core.c)
//! have it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::insn::{jmp, size, Insn, REG_AX};
use bailey::pure::rewrite::blinding::{slots, survey, REACH};
use bailey::pure::rewrite::prologue;
use proptest::prelude::*;

/// How many instructions `bpf_jit_blind_insn()` makes of one, 0 for none, by its
/// list of opcodes.
fn rewritten(insn: &Insn) -> usize {
    const ARITHMETIC: [u8; 18] = [
        0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x94, 0xa4, 0xb4, 0x07, 0x17, 0x27, 0x37, 0x47, 0x57,
        0x97, 0xa7, 0xb7,
    ];
    const JUMPS: [u8; 22] = [
        0x15, 0x25, 0x35, 0x45, 0x55, 0x65, 0x75, 0xa5, 0xb5, 0xc5, 0xd5, 0x16, 0x26, 0x36, 0x46,
        0x56, 0x66, 0x76, 0xa6, 0xb6, 0xc6, 0xd6,
    ];
    const STORES: [u8; 8] = [0x62, 0x6a, 0x72, 0x7a, 0xa2, 0xaa, 0xb2, 0xba];
    if insn.dst() == REG_AX || insn.src() == REG_AX {
        return 0;
    }
    match insn.code {
        0xb4 | 0xb7 if insn.imm == 0 => 1,
        0x18 => 4,
        0x00 => 3,
        code if ARITHMETIC.contains(&code) => 3,
        code if JUMPS.contains(&code) => 3,
        code if STORES.contains(&code) => 3,
        _ => 0,
    }
}

/// An instruction as it stands, and the distance of its jump.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    insn: Option<Insn>,
    jump: Option<i64>,
}

/// Blinds a program. `Err` if a jump does not fit: `bpf_adj_branches()`, and the
/// extra of a jump back.
fn blind(insns: &[Insn]) -> Result<Vec<Slot>, ()> {
    let mut program: Vec<Slot> = insns
        .iter()
        .map(|insn| Slot {
            insn: Some(*insn),
            jump: insn.jump().map(i64::from),
        })
        .collect();
    let mut at = 0;
    while at < program.len() {
        let insn = program[at].insn.unwrap();
        let len = rewritten(&insn);
        if len <= 1 {
            at += 1;
            continue;
        }
        let delta = len as i64 - 1;
        let mut patch = vec![
            Slot {
                insn: None,
                jump: None
            };
            len
        ];
        // The jump is the last of them.
        patch[len - 1] = program[at];
        if let Some(jump) = patch[len - 1].jump.as_mut().filter(|jump| **jump < 0) {
            *jump -= 2;
        }
        let (pos, end_old) = (at as i64, at as i64 + 1);
        for (index, slot) in (0i64..).zip(program.iter_mut()) {
            let Some(jump) = slot.jump.as_mut().filter(|_| index != pos) else {
                continue;
            };
            if index < pos && index + *jump + 1 >= end_old {
                *jump += delta;
            } else if index > pos && index + *jump + 1 < end_old {
                *jump -= delta;
            }
        }
        program.splice(at..=at, patch);
        for slot in &program {
            if let (Some(insn), Some(jump)) = (slot.insn, slot.jump) {
                insn.with_jump(jump).ok_or(())?;
            }
        }
        at += len;
    }
    Ok(program)
}

/// Whether the survey says the same; whether the program can be blinded.
fn compare(insns: &[Insn]) -> bool {
    let mut positions = vec![u32::MAX; insns.len() + 1];
    let surveyed = survey(insns, &mut positions);
    let Ok(program) = blind(insns) else {
        assert!(surveyed.is_err());
        return false;
    };
    assert_eq!(surveyed, Ok(()));
    assert_eq!(positions[insns.len()] as usize, program.len());
    for (index, insn) in insns.iter().enumerate() {
        let last = positions[index + 1] as usize - 1;
        assert_eq!(program[last].insn, Some(*insn), "the last of its slots");
        if let Some(jump) = insn.jump() {
            let target = positions[(index as i64 + 1 + i64::from(jump)) as usize];
            let there = last as i64 + 1 + program[last].jump.unwrap();
            assert_eq!(there, i64::from(target));
        }
    }
    true
}

fn any_insn() -> impl Strategy<Value = Vec<Insn>> {
    let imm = prop_oneof![Just(0), any::<i32>()];
    let anything = (any::<u8>(), 0u8..13, 0u8..13, any::<i16>(), imm)
        .prop_map(|(code, dst, src, off, imm)| vec![Insn::new(code, dst, src, off, imm)]);
    let wide = (0u8..10, any::<u64>()).prop_map(|(dst, value)| Insn::ld_imm64(dst, value).to_vec());
    prop_oneof![5 => anything, 1 => wide]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4000, ..Default::default() })]

    #[test]
    fn the_survey_counts_what_the_kernel_does(
        pieces in proptest::collection::vec(any_insn(), 1..40),
        targets in proptest::collection::vec(any::<prop::sample::Index>(), 80),
    ) {
        let mut insns: Vec<Insn> = pieces.concat();
        let len = insns.len();
        for (at, target) in (0..len).zip(targets) {
            let distance = target.index(len) as i64 - at as i64 - 1;
            if let Some(jump) = insns[at].with_jump(distance) {
                insns[at] = jump;
            }
        }
        prop_assert!(compare(&insns));
    }

    #[test]
    fn every_opcode_counts_as_the_kernel_counts_it(
        code in any::<u8>(), dst in 0u8..16, src in 0u8..16, imm in any::<i32>(), zero in any::<bool>(),
    ) {
        let insn = Insn::new(code, dst, src, 0, if zero { 0 } else { imm });
        prop_assert_eq!(slots(&insn) as usize, rewritten(&insn).max(1));
    }
}

#[test]
fn a_jump_that_goes_too_far_is_found() {
    let constant = Insn::alu64_imm(0, 2, 77);
    let plain = Insn::mov64_reg(2, 3);
    let jump = |distance| Insn::jmp_imm(jmp::JEQ, 1, 5, distance);
    // Forwards: 500 constants are 1000 slots more.
    for (distance, fits) in [(31_767, true), (31_768, false)] {
        let mut insns = vec![plain; distance + 2];
        insns[0] = jump(distance as i16);
        insns[200..700].fill(constant);
        assert_eq!(compare(&insns), fits, "{distance}");
        let mut positions = vec![0; insns.len() + 1];
        assert_eq!(survey(&insns, &mut positions).err(), (!fits).then_some(0));
    }
    // Back: the jump itself is two more.
    for (distance, fits) in [(31_766, true), (31_767, false)] {
        let mut insns = vec![plain; distance + 1];
        insns[distance - 1] = jump(-(distance as i16));
        insns[200..700].fill(constant);
        assert_eq!(compare(&insns), fits, "{distance}");
    }
}

#[test]
fn what_the_layout_leaves_room_for_is_enough() {
    let distance = REACH as usize & !1;
    let store = Insn::st(size::DW, 10, -8, 7);
    for wide in [true, false] {
        let mut insns = vec![Insn::jmp_imm(jmp::JEQ, 1, 5, distance as i16)];
        while insns.len() <= distance {
            if wide {
                insns.extend(Insn::ld_imm64(2, u64::MAX));
            } else {
                insns.push(store);
            }
        }
        insns.push(Insn::jmp_imm(jmp::JEQ, 1, 5, 1 - distance as i16));
        let mut positions = vec![0; insns.len() + 1];
        assert_eq!(survey(&insns, &mut positions), Ok(()));
        let end = positions[distance + 1] - positions[1];
        assert_eq!(
            end as usize,
            if wide { distance * 7 / 2 } else { 3 * distance }
        );
    }
}

#[test]
fn a_jump_out_of_the_program_and_too_little_memory_are_found() {
    let mut positions = [0; 3];
    assert_eq!(survey(&[Insn::ja(1), Insn::exit()], &mut positions), Ok(()));
    assert_eq!(survey(&[Insn::ja(2), Insn::exit()], &mut positions), Err(0));
    assert_eq!(
        survey(&[Insn::exit(), Insn::ja(-3)], &mut positions),
        Err(1)
    );
    assert_eq!(survey(&[Insn::exit(); 3], &mut positions), Err(0));
}

#[test]
fn the_prologue_keeps_its_skip() {
    let insns = prologue(u64::MAX / 3, -5);
    assert!(compare(&insns));
    // Two slots of a constant become seven, nothing else changes.
    assert_eq!(insns.iter().map(slots).sum::<u32>(), insns.len() as u32 + 5);
}
