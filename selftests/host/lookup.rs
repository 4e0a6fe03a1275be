// SPDX-License-Identifier: GPL-2.0
//! A look-up that needs no gate finds what `array_map_lookup_elem()` would
//! (kernel/bpf/arraymap.c), and what is around it goes on as it did.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::id;
use bailey::pure::insn::{alu, jmp, size, Insn, REG_0, REG_1, REG_2};
use bailey::pure::rewrite::functions::{Function, Leaps, Origin};
use bailey::pure::rewrite::lookup::{Lookup, Row};
use machine::Machine;
use program::{config, lay_out, lay_out_with, Laid};
use proptest::prelude::*;

const SUM: u8 = 6;
const KEY: u8 = 7;
const ROUNDS: u8 = 8;
/// Where the program below calls its helper.
const CALL: usize = 6;

/// Looks `keys` keys up, one after the other from `first` on, and returns the sum of
/// what was found. Jumps go forward and back over the call.
fn looking_up(first: u32, keys: i32) -> Vec<Insn> {
    vec![
        Insn::mov64_imm(SUM, 0),
        Insn::mov64_imm(ROUNDS, keys),
        Insn::alu32_imm(alu::MOV, KEY, first as i32),
        // The round.
        Insn::jmp_imm(jmp::JEQ, ROUNDS, 0, 8),
        Insn::mov64_imm(REG_1, 0x1234),
        Insn::stx(size::W, REG_2, KEY, 0),
        Insn::call(id::MAP_LOOKUP_ELEM as i32),
        Insn::alu64_reg(alu::ADD, SUM, REG_0),
        Insn::alu64_imm(alu::ADD, KEY, 1),
        Insn::alu64_imm(alu::SUB, ROUNDS, 1),
        Insn::ja(-8),
        Insn::exit(),
        Insn::mov64_reg(REG_0, SUM),
        Insn::exit(),
    ]
}

fn found(row: &Row, cpu: u64, key: u32) -> u64 {
    if key >= row.entries {
        return 0;
    }
    row.values + cpu * row.each + u64::from(key) * u64::from(row.stride)
}

/// The image with this look-up on CPU number `cpu`, which a stub answers.
fn laid_out(insns: &[Insn], row: Row, cpu: i32) -> (Laid, Vec<Insn>) {
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let lookups = [Lookup::new(CALL as u32, row).unwrap()];
    let leaps = Leaps {
        lookups: &lookups,
        ..Leaps::default()
    };
    let laid = lay_out_with(insns, &functions, leaps).unwrap();
    let answered = laid.code.iter().map(|(origin, insn)| match origin {
        Origin::Kept(CALL) => Insn::mov64_imm(REG_0, cpu),
        _ => *insn,
    });
    let image = answered.collect();
    (laid, image)
}

/// Arrays of all sizes, and keys around their ends.
fn arrays() -> impl Strategy<Value = (Row, u32)> {
    let most = i32::MAX as u32;
    let entries = prop_oneof![1u32..70, 1u32..=most, Just(1 << 16), Just(most)];
    let stride = prop_oneof![Just(8u32), 1u32..5000, Just(most & !7)];
    let each = prop_oneof![Just(0u64), (1u64..500).prop_map(|pages| pages << 12)];
    let row = (entries, stride, any::<u32>(), each, any::<bool>()).prop_map(
        |(entries, stride, values, each, masked)| Row {
            values: u64::from(values) << 31,
            entries,
            stride,
            each,
            masked,
        },
    );
    row.prop_flat_map(|row| {
        let entries = row.entries;
        let key = prop_oneof![
            0..entries,
            Just(0),
            (0u32..12).prop_map(move |n| entries.wrapping_sub(6).wrapping_add(n)),
            any::<u32>(),
        ];
        (Just(row), key)
    })
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn what_is_found_is_the_kernels(
        (row, first) in arrays(),
        keys in 0i32..9,
        cpu in 0i32..512,
    ) {
        let insns = looking_up(first, keys);
        let (laid, image) = laid_out(&insns, row, cpu);
        let outcome = Machine::image(&image, laid.stack).run().expect("the image");
        let keys = (0..keys as u32).map(|n| first.wrapping_add(n));
        let found = keys.map(|key| found(&row, cpu as u64, key));
        prop_assert_eq!(outcome.verdict, found.fold(0u64, u64::wrapping_add));
        prop_assert!(outcome.calls.is_empty());
    }
}

#[test]
fn without_it_the_call_stays() {
    let insns = looking_up(0, 1);
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let laid = lay_out(&insns, &functions).unwrap();
    assert_eq!(laid.insns(), insns);
}

#[test]
fn the_first_instruction_stands_for_the_call() {
    let insns = looking_up(0, 1);
    for (masked, each) in [(false, 0), (true, 0), (false, 4096), (true, 4096)] {
        let row = Row {
            entries: 10,
            stride: 8,
            each,
            masked,
            ..Row::default()
        };
        let slots = Lookup::new(0, row).unwrap().slots() as usize;
        let (laid, _) = laid_out(&insns, row, 0);
        let count = |wanted| {
            laid.code
                .iter()
                .filter(|(origin, _)| *origin == wanted)
                .count()
        };
        assert_eq!(laid.code.len(), insns.len() - 1 + slots);
        assert_eq!(laid.code[CALL].0, Origin::For(CALL));
        assert_eq!(count(Origin::Kept(CALL)), usize::from(each != 0));
        assert_eq!(count(Origin::Added), slots - 1 - usize::from(each != 0));
    }
}

#[test]
fn what_does_not_fit_keeps_its_gate() {
    let row = |entries, stride, each| Row {
        entries,
        stride,
        each,
        ..Row::default()
    };
    assert!(Lookup::new(0, row(1, 8, 0)).is_some());
    assert_eq!(Lookup::new(0, row(0, 8, 0)), None);
    assert_eq!(Lookup::new(0, row(1 << 31, 8, 0)), None);
    assert_eq!(Lookup::new(0, row(1, 1 << 31, 0)), None);
    assert_eq!(Lookup::new(0, row(1, 8, 1 << 31)), None);
}
