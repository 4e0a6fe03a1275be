// SPDX-License-Identifier: GPL-2.0
//! A program looks no further into its packet than was foretold, and writes nowhere else:
//! generated programs are run, step by step, and each access is held against the answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::insn::{alu, class, jmp, mode, size, Insn, REG_0, REG_1, REG_2, REG_FP, X};
use bailey::pure::reach::{number_places, reach, Knows, Reach, State, Takes, ALL};
use bailey::pure::rewrite::PtrKind;
use generated::config;
use program::LAYOUT;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::ops::Range;

/// What a call with this `imm` takes: memory in R2, its length in R3.
const READS_12: i32 = 1;
const WRITES_6: i32 = 2;
const READS_COUNTED: i32 = 3;
const WRITES_COUNTED: i32 = 4;
const READS_ANYTHING: i32 = 5;
const UNHEARD_OF: i32 = 6;
/// Of the packet, from the place in R2 on, as many bytes as R4 says.
const COPIES_OUT: i32 = 7;
const COPIES_INTO: i32 = 8;

/// What the verifier knew: the context is in R1 and [`CTX`] alone.
struct Known<'a>(&'a [Insn], Vec<Heard>);

/// Index, place and length.
type Heard = (usize, Option<u32>, Option<u32>);

impl Knows for Known<'_> {
    fn pointer(&self, index: usize) -> PtrKind {
        match self.0[index].base() {
            Some(REG_1 | CTX) => PtrKind::Ctx,
            // It keeps one kind of several.
            _ => PtrKind::MapValue,
        }
    }

    fn takes(&self, index: usize) -> Option<[Takes; 5]> {
        let second = match self.0[index].imm {
            READS_12 => Takes::Bytes {
                len: 12,
                write: false,
            },
            WRITES_6 => Takes::Bytes {
                len: 6,
                write: true,
            },
            READS_COUNTED => Takes::Counted { write: false },
            WRITES_COUNTED => Takes::Counted { write: true },
            READS_ANYTHING => Takes::Unknown,
            COPIES_OUT => Takes::Place { write: false },
            COPIES_INTO => Takes::Place { write: true },
            _ => return None,
        };
        let nothing = Takes::Nothing;
        Some([nothing, second, nothing, nothing, nothing])
    }

    fn hear(&mut self, index: usize, place: Option<u32>, len: Option<u32>) {
        self.1.retain(|heard| heard.0 != index);
        self.1.push((index, place, len));
    }
}

fn reach_of(insns: &[Insn]) -> Reach {
    reach_and_heard(insns).0
}

fn reach_and_heard(insns: &[Insn]) -> (Reach, Vec<Heard>) {
    let mut places = vec![0; insns.len()];
    let Some(count) = number_places(insns, &mut places) else {
        return (Reach::WHOLE, Vec::new());
    };
    let mut states = vec![State::default(); count];
    let mut known = Known(insns, Vec::new());
    let found = reach(insns, LAYOUT, &mut known, &places, &mut states);
    (found, known.1)
}

const fn bounds(sees: u32, writes: Range<u32>) -> Reach {
    Reach {
        sees,
        writes_from: writes.start,
        writes_to: writes.end,
    }
}

const CTX: u8 = 5;
/// A stack pointer.
const ALIAS: u8 = 4;
const SPARE: u8 = 3;
/// Addresses in the packet, and numbers.
const ADDRESSES: Range<u8> = 6..8;
const NUMBERS: Range<u8> = 8..10;

fn data(to: u8) -> Insn {
    Insn::ldx(size::DW, to, REG_1, LAYOUT.data)
}

#[test]
fn constant_offsets_are_added_up() {
    let program = [
        data(2),
        Insn::mov64_reg(3, 2),
        Insn::alu64_imm(alu::ADD, 3, 14),
        Insn::ldx(size::H, 4, 2, 12),
        Insn::ldx(size::W, 4, 3, 16),
        Insn::st(size::B, 3, 8, 7),
        Insn::stx(size::H, 3, 4, 10),
        Insn::mov64_imm(0, 2),
        Insn::exit(),
    ];
    assert_eq!(reach_of(&program), bounds(34, 22..26));
    assert_eq!(reach_of(&program[..4]), bounds(14, 0..0));
    assert_eq!(reach_of(&[data(2), Insn::exit()]), bounds(0, 0..0));
    assert_eq!(
        reach_of(&[Insn::mov64_imm(0, 2), Insn::exit()]),
        bounds(0, 0..0)
    );
}

#[test]
fn a_headers_own_length_has_a_bound() {
    // (tcp->doff * 4) behind the header, as clang has it.
    let program = [
        data(2),
        Insn::ldx(size::B, 3, 2, 46),
        Insn::alu32_imm(alu::RSH, 3, 2),
        Insn::alu32_imm(alu::AND, 3, 60),
        Insn::alu64_imm(alu::ADD, 2, 34),
        Insn::alu64_reg(alu::ADD, 2, 3),
        Insn::ldx(size::B, 0, 2, 3),
        Insn::exit(),
    ];
    assert_eq!(reach_of(&program), bounds(34 + 60 + 4, 0..0));
    // Without the mask there are 63.
    let mut other = program;
    other[3] = Insn::mov64_reg(0, 0);
    assert_eq!(reach_of(&other), bounds(34 + 63 + 4, 0..0));
    // Without a bound, all.
    other[1] = Insn::ldx(size::DW, 3, 2, 46);
    other[2] = Insn::mov64_reg(0, 0);
    assert_eq!(reach_of(&other), Reach::WHOLE);
}

#[test]
fn copies_by_place_reach_as_far_as_their_numbers() {
    let copy = |call, place: Insn, len: Insn| {
        [
            Insn::ldx(size::B, 6, REG_FP, -1),
            Insn::mov64_reg(3, REG_FP),
            place,
            len,
            Insn::call(call),
            Insn::exit(),
        ]
    };
    let place = Insn::mov64_imm(REG_2, 14);
    let len = Insn::mov64_imm(4, 20);
    let out = copy(COPIES_OUT, place, len);
    assert_eq!(
        reach_and_heard(&out),
        (bounds(34, 0..0), vec![(4, Some(14), Some(20))])
    );
    assert_eq!(reach_of(&copy(COPIES_INTO, place, len)), bounds(34, 14..34));
    // What has a bound, and is not the same each time.
    let byte = copy(COPIES_INTO, Insn::mov64_reg(REG_2, 6), len);
    assert_eq!(
        reach_and_heard(&byte),
        (bounds(255 + 20, 0..275), vec![(4, None, Some(20))])
    );
    let byte = copy(COPIES_OUT, place, Insn::mov64_reg(4, 6));
    assert_eq!(
        reach_and_heard(&byte),
        (bounds(14 + 255, 0..0), vec![(4, Some(14), None)])
    );
    // The helper takes the low halves.
    let [low, high] = Insn::ld_imm64(REG_2, 0xffff_0000_000e);
    let wide = [
        low,
        high,
        len,
        Insn::mov64_reg(3, REG_FP),
        Insn::call(COPIES_OUT),
        Insn::exit(),
    ];
    assert_eq!(reach_of(&wide).sees, ALL);
    // What has none, and what is an address.
    let word = Insn::ldx(size::DW, REG_2, REG_FP, -8);
    assert_eq!(reach_of(&copy(COPIES_OUT, word, len)), Reach::WHOLE);
    let frame = Insn::mov64_reg(REG_2, REG_FP);
    assert_eq!(reach_of(&copy(COPIES_OUT, frame, len)), Reach::WHOLE);
    let far = Insn::mov64_imm(REG_2, 0xffff);
    assert_eq!(reach_of(&copy(COPIES_OUT, far, len)), Reach::WHOLE);
}

#[test]
fn places_of_several_ways_are_not_the_same_each_time() {
    let program = [
        Insn::mov64_imm(REG_2, 0),
        Insn::mov64_imm(4, 8),
        Insn::jmp_imm(jmp::JEQ, 3, 0, 1),
        Insn::mov64_imm(REG_2, 40),
        Insn::call(COPIES_OUT),
        Insn::exit(),
    ];
    assert_eq!(
        reach_and_heard(&program),
        (bounds(48, 0..0), vec![(4, None, Some(8))])
    );
}

#[test]
fn what_is_spilled_is_found_again() {
    for (base, off) in [(REG_FP, -8), (REG_FP, -512), (ALIAS, -8), (ALIAS, 0)] {
        let program = [
            data(2),
            Insn::mov64_reg(ALIAS, REG_FP),
            Insn::alu64_imm(alu::ADD, ALIAS, -24),
            Insn::alu64_imm(alu::ADD, 2, 20),
            Insn::stx(size::DW, base, 2, off),
            Insn::call(READS_12),
            Insn::ldx(size::DW, 0, base, off),
            Insn::st(size::W, 0, 4, 0),
            Insn::exit(),
        ];
        let expected = bounds(32, 24..28);
        assert_eq!(reach_of(&program), expected, "{base} {off}");
    }
}

#[test]
fn loops_that_go_on_see_all() {
    let program = [
        data(2),
        Insn::ldx(size::B, 3, 2, 0),
        Insn::alu64_imm(alu::ADD, 2, 1),
        Insn::jmp_imm(jmp::JNE, 3, 0, -3),
        Insn::exit(),
    ];
    assert_eq!(reach_of(&program), Reach::WHOLE);
    // One that stays where it is does not.
    let mut still = program;
    still[2] = Insn::alu64_imm(alu::ADD, 4, 1);
    assert_eq!(reach_of(&still), bounds(1, 0..0));
}

#[test]
fn an_arena_is_not_the_packet() {
    const ARENA: u8 = 6;
    let of_arena = |code, dst, src, imm| Insn::new(code, dst, src, 8, imm);
    let program = [
        data(2),
        // The cast to its addresses, loads, stores, atomics that fetch and that do not.
        Insn::new(0xbf, ARENA, ARENA, 1, 1),
        of_arena(0xb9, 3, ARENA, 0),
        of_arena(0xd1, 4, ARENA, 0),
        of_arena(0xbb, ARENA, 2, 0),
        of_arena(0xba, ARENA, 0, 7),
        of_arena(0xfb, ARENA, 3, 0x01),
        of_arena(0xfb, ARENA, 3, 0x40),
        of_arena(0xfb, ARENA, 3, 0xf1),
        Insn::ldx(size::B, 5, 2, 11),
        Insn::mov64_imm(0, 2),
        Insn::exit(),
    ];
    assert_eq!(reach_of(&program), bounds(12, 0..0));
    // What it reads there may be any number.
    let mut added = program;
    added[9] = Insn::alu64_reg(alu::ADD, 2, 3);
    added[10] = Insn::ldx(size::B, 5, 2, 11);
    assert_eq!(reach_of(&added), Reach::WHOLE);
    // A pointer to the packet that a fetch writes over is none any more.
    let mut fetched = program;
    fetched[6] = of_arena(0xfb, ARENA, 2, 0xe1);
    fetched[9] = Insn::mov64_imm(5, 0);
    assert_eq!(reach_of(&fetched), bounds(0, 0..0));
}

#[test]
fn what_is_not_followed_sees_all() {
    let end = Insn::exit();
    for program in [
        [data(2), Insn::call(UNHEARD_OF), end],
        [data(2), Insn::call(READS_ANYTHING), end],
        [data(2), Insn::call(READS_COUNTED), end],
        [
            Insn::ldx(size::DW, 2, REG_1, LAYOUT.data_meta),
            Insn::mov64_imm(0, 0),
            end,
        ],
        [data(2), Insn::ldx(size::B, 0, 2, -1), end],
        [data(2), Insn::new(0x0d, 2, 0, 0, 0), end],
        [data(2), Insn::new(0x85, 0, 1, 0, 0), end],
        [data(2), Insn::ldx(size::DW, 0, 2, i16::MAX), end],
    ] {
        let found = reach_of(&program);
        let fits = program[1].off == i16::MAX;
        assert_eq!(found == Reach::WHOLE, !fits, "{program:?}");
    }
    let far = [
        data(2),
        Insn::alu64_imm(alu::ADD, 2, 0x1_0000),
        Insn::ldx(size::B, 0, 2, 0),
        end,
    ];
    assert_eq!(reach_of(&far), Reach::WHOLE);
}

#[test]
fn what_a_helper_is_given_is_seen() {
    let with = |call, len| {
        let program = [
            data(2),
            Insn::alu64_imm(alu::ADD, 2, 14),
            Insn::mov64_imm(3, len),
            Insn::call(call),
            Insn::exit(),
        ];
        reach_of(&program)
    };
    assert_eq!(with(READS_12, 99), bounds(26, 0..0));
    assert_eq!(with(WRITES_6, 99), bounds(20, 14..20));
    assert_eq!(with(READS_COUNTED, 20), bounds(34, 0..0));
    assert_eq!(with(WRITES_COUNTED, 20), bounds(34, 14..34));
}

#[test]
fn a_swapped_word_is_no_half() {
    // le64 is of the class of 32-bit arithmetic.
    let program = [
        data(2),
        Insn::mov64_imm(3, -1),
        Insn::new(class::ALU | alu::END, 3, 0, 0, 64),
        Insn::alu64_imm(alu::RSH, 3, 16),
        Insn::alu64_imm(alu::RSH, 3, 30),
        Insn::alu64_reg(alu::ADD, 2, 3),
        Insn::ldx(size::B, 0, 2, 0),
        Insn::exit(),
    ];
    // 2^18 - 1 is further than packets go; of a half nothing would be left.
    assert_eq!(reach_of(&program), Reach::WHOLE);
}

/// A part of a generated program.
#[derive(Clone, Debug)]
enum Step {
    One(Insn),
    Several(Vec<Insn>),
    /// A jump over so many steps, forward or back.
    Jump(Insn, i8),
}

fn sizes() -> impl Strategy<Value = u8> {
    prop_oneof![Just(size::B), Just(size::H), Just(size::W), Just(size::DW)]
}

fn few(step: impl Strategy<Value = Insn> + 'static) -> BoxedStrategy<Step> {
    step.prop_map(Step::One).boxed()
}

fn addresses() -> BoxedStrategy<Step> {
    let slots = prop_oneof![
        Just((REG_FP, -8i16)),
        Just((REG_FP, -16)),
        Just((REG_FP, -24)),
        Just((ALIAS, 0)),
        Just((ALIAS, 8)),
    ];
    let (a, b, n) = (ADDRESSES, ADDRESSES, NUMBERS);
    prop_oneof![
        few(a
            .clone()
            .prop_map(|to| Insn::ldx(size::DW, to, CTX, LAYOUT.data))),
        few((a.clone(), b.clone()).prop_map(|(to, from)| Insn::mov64_reg(to, from))),
        few((a.clone(), -40..200i32).prop_map(|(to, by)| Insn::alu64_imm(alu::ADD, to, by))),
        few(
            (a.clone(), n.clone(), any::<bool>()).prop_map(|(to, by, less)| {
                Insn::alu64_reg(if less { alu::SUB } else { alu::ADD }, to, by)
            })
        ),
        (a.clone(), n.clone()).prop_map(|(to, by)| {
            Step::Several(vec![
                Insn::mov64_reg(SPARE, by),
                Insn::alu64_reg(alu::ADD, SPARE, to),
                Insn::mov64_reg(to, SPARE),
            ])
        }),
        (n, a.clone(), b.clone()).prop_map(|(to, from, less)| {
            Step::Several(vec![
                Insn::mov64_reg(to, from),
                Insn::alu64_reg(alu::SUB, to, less),
            ])
        }),
        few(
            (slots.clone(), a.clone()).prop_map(|((base, off), from)| Insn::stx(
                size::DW,
                base,
                from,
                off
            ))
        ),
        few((slots, a).prop_map(|((base, off), to)| Insn::ldx(size::DW, to, base, off))),
    ]
    .boxed()
}

fn numbers() -> BoxedStrategy<Step> {
    let ops = prop_oneof![
        Just(alu::ADD),
        Just(alu::SUB),
        Just(alu::MUL),
        Just(alu::OR),
        Just(alu::AND),
        Just(alu::XOR),
        Just(alu::MOV),
    ];
    let shifts = prop_oneof![Just(alu::LSH), Just(alu::RSH), Just(alu::ARSH)];
    let wide = prop_oneof![Just(class::ALU), Just(class::ALU64)];
    let (a, n, m) = (ADDRESSES, NUMBERS, NUMBERS);
    prop_oneof![
        few((sizes(), n.clone(), a, 0..64i16)
            .prop_map(|(size, to, base, off)| Insn::ldx(size, to, base, off))),
        few((wide.clone(), ops.clone(), n.clone(), -3..100i32)
            .prop_map(|(class, op, to, by)| Insn::new(class | op, to, 0, 0, by))),
        few(
            (wide.clone(), ops, n.clone(), m).prop_map(|(class, op, to, by)| Insn::new(
                class | op | X,
                to,
                by,
                0,
                0
            ))
        ),
        few(
            (wide.clone(), shifts, n.clone(), 0..32i32).prop_map(|(class, op, to, by)| Insn::new(
                class | op,
                to,
                0,
                0,
                by
            ))
        ),
        few((wide, n, prop_oneof![Just(16), Just(32), Just(64)])
            .prop_map(|(class, to, bits)| Insn::new(class | alu::END, to, 0, 0, bits))),
    ]
    .boxed()
}

/// A copy by place: of a constant one, or one that is in a register, mostly cut short.
fn copies() -> BoxedStrategy<Step> {
    let calls = prop_oneof![Just(COPIES_OUT), Just(COPIES_INTO)];
    let number = || {
        let cut = prop_oneof![4 => Just(63), 1 => Just(-1)];
        prop_oneof![
            (0..80i32).prop_map(|number| (None, number)),
            (NUMBERS, cut).prop_map(|(reg, mask)| (Some(reg), mask)),
        ]
    };
    let set = |to: u8, (reg, number): (Option<u8>, i32)| match reg {
        Some(reg) => [
            Insn::mov64_reg(to, reg),
            Insn::alu64_imm(alu::AND, to, number),
        ],
        None => [Insn::mov64_imm(to, number), Insn::mov64_reg(to, to)],
    };
    (calls, number(), number())
        .prop_map(move |(call, place, len)| {
            let mut several = Vec::new();
            several.extend(set(REG_2, place));
            several.extend(set(ALIAS, len));
            several.push(Insn::call(call));
            several.push(Insn::mov64_reg(ALIAS, REG_FP));
            several.push(Insn::alu64_imm(alu::ADD, ALIAS, -24));
            Step::Several(several)
        })
        .boxed()
}

fn accesses() -> BoxedStrategy<Step> {
    let (a, n) = (ADDRESSES, NUMBERS);
    let calls = prop_oneof![
        Just(READS_12),
        Just(WRITES_6),
        Just(READS_COUNTED),
        Just(WRITES_COUNTED),
    ];
    prop_oneof![
        few((sizes(), a.clone(), n.clone(), 0..64i16)
            .prop_map(|(size, base, from, off)| Insn::stx(size, base, from, off))),
        few((sizes(), a.clone(), 0..64i16, any::<i32>())
            .prop_map(|(size, base, off, imm)| Insn::st(size, base, off, imm))),
        few((a.clone(), n, 0..64i16).prop_map(|(base, from, off)| {
            Insn::new(class::STX | mode::ATOMIC | size::DW, base, from, off, 0)
        })),
        (calls, a, 0..80i32).prop_map(|(call, base, len)| {
            Step::Several(vec![
                Insn::mov64_reg(REG_2, base),
                Insn::mov64_imm(SPARE, len),
                Insn::call(call),
            ])
        }),
        copies(),
    ]
    .boxed()
}

fn jumps() -> BoxedStrategy<Step> {
    (NUMBERS, -3..200i32, -6..12i8)
        .prop_map(|(reg, imm, over)| Step::Jump(Insn::jmp_imm(jmp::JGT, reg, imm, 0), over))
        .boxed()
}

fn programs() -> impl Strategy<Value = Vec<Insn>> {
    let step = prop_oneof![3 => addresses(), 2 => numbers(), 3 => accesses(), 1 => jumps()];
    vec(step, 1..24).prop_map(|steps| assemble(&steps))
}

fn assemble(steps: &[Step]) -> Vec<Insn> {
    let mut insns = vec![
        Insn::mov64_reg(CTX, REG_1),
        Insn::mov64_reg(ALIAS, REG_FP),
        Insn::alu64_imm(alu::ADD, ALIAS, -24),
        data(ADDRESSES.start),
        Insn::mov64_reg(ADDRESSES.start + 1, ADDRESSES.start),
        Insn::mov64_imm(NUMBERS.start, 3),
        Insn::mov64_imm(NUMBERS.start + 1, 0),
        Insn::stx(size::DW, REG_FP, ADDRESSES.start, -8),
        Insn::stx(size::DW, REG_FP, ADDRESSES.start, -16),
        Insn::stx(size::DW, REG_FP, ADDRESSES.start, -24),
    ];
    let mut starts = vec![];
    let mut at = insns.len();
    for step in steps {
        starts.push(at);
        at += match step {
            Step::Several(several) => several.len(),
            _ => 1,
        };
    }
    starts.push(at);
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::One(insn) => insns.push(*insn),
            Step::Several(several) => insns.extend(several),
            Step::Jump(jump, over) => {
                let to = (number as i64 + i64::from(*over)).clamp(0, steps.len() as i64);
                let distance = starts[to as usize] as i64 - starts[number] as i64 - 1;
                insns.push(jump.with_jump(distance).unwrap());
            }
        }
    }
    insns.push(Insn::exit());
    insns
}

/// Where things lie in the machine.
const DATA: u64 = 0x1_0000_0000_0000;
const FRAME: u64 = 0x2_0000_0000_0000;
const CONTEXT: u64 = 0x3_0000_0000_0000;
/// No packet is longer.
const LONGEST: u64 = 0xffff;
const STEPS: usize = 3000;

/// Bytes of the packet that were looked at: offset, length, written.
type Access = (u64, u64, bool);
/// A copy by place that a run has made: index, place and length.
type Copied = (usize, u32, u32);

/// Runs the program until it ends, takes too long, or goes where the verifier would not
/// have let it.
fn run(insns: &[Insn], packet: &[u8]) -> (Vec<Access>, Vec<Copied>) {
    let mut regs = [0u64; 11];
    (regs[1], regs[10]) = (CONTEXT, FRAME);
    let mut stack = [0u64; 64];
    let mut packet = packet.to_vec();
    let mut accesses = vec![];
    let mut copied = vec![];
    let mut pc = 0;
    for _ in 0..STEPS {
        let insn = insns[pc];
        let (dst, src) = (usize::from(insn.dst()), usize::from(insn.src()));
        let len = usize::from(insn.access_bytes());
        pc += 1;
        match insn.class() {
            class::LDX | class::ST | class::STX => {
                let base = usize::from(insn.base().unwrap());
                let at = regs[base].wrapping_add(insn.off as u64);
                let write = insn.class() != class::LDX;
                let value = if insn.class() == class::ST {
                    i64::from(insn.imm) as u64
                } else {
                    regs[src]
                };
                if at == CONTEXT {
                    regs[dst] = DATA;
                } else if (FRAME - 512..FRAME).contains(&at) {
                    let slot = &mut stack[((FRAME - at) / 8 - 1) as usize];
                    if write {
                        *slot = value;
                    } else {
                        regs[dst] = *slot;
                    }
                } else {
                    let off = at.wrapping_sub(DATA);
                    if off > LONGEST || off + len as u64 > LONGEST {
                        break;
                    }
                    accesses.push((off, len as u64, write));
                    let bytes = &mut packet[off as usize..][..len];
                    if write {
                        bytes.copy_from_slice(&value.to_le_bytes()[..len]);
                    } else {
                        let mut word = [0; 8];
                        word[..len].copy_from_slice(bytes);
                        regs[dst] = u64::from_le_bytes(word);
                    }
                }
            }
            class::ALU | class::ALU64 => {
                let by = if insn.code & X != 0 && insn.op() != alu::END {
                    regs[src]
                } else {
                    i64::from(insn.imm) as u64
                };
                regs[dst] = operate(&insn, regs[dst], by);
            }
            _ if insn.is_exit() => break,
            _ if insn.is_call() && matches!(insn.imm, COPIES_OUT | COPIES_INTO) => {
                let half = |reg: u8| regs[usize::from(reg)] as u32;
                let (place, len) = (half(REG_2), half(ALIAS));
                let end = u64::from(place) + u64::from(len);
                // Further the verifier lets a program go, and the helper refuses.
                if end <= LONGEST {
                    copied.push((pc - 1, place, len));
                    if len != 0 {
                        accesses.push((place.into(), len.into(), insn.imm == COPIES_INTO));
                    }
                }
                regs[usize::from(REG_0)] = u64::from(len);
            }
            _ if insn.is_call() => {
                let len = match insn.imm {
                    READS_12 => 12,
                    WRITES_6 => 6,
                    _ => regs[usize::from(SPARE)],
                };
                let off = regs[usize::from(REG_2)].wrapping_sub(DATA);
                if off > LONGEST || off + len > LONGEST {
                    break;
                }
                let write = matches!(insn.imm, WRITES_6 | WRITES_COUNTED);
                if len != 0 {
                    accesses.push((off, len, write));
                }
                regs[usize::from(REG_0)] = off ^ 0x55;
            }
            _ => {
                if regs[dst] > i64::from(insn.imm) as u64 {
                    pc = (pc as i64 + i64::from(insn.off)) as usize;
                }
            }
        }
    }
    (accesses, copied)
}

fn operate(insn: &Insn, dst: u64, by: u64) -> u64 {
    let wide = insn.class() == class::ALU64;
    let narrow = |value: u64| {
        if wide {
            value
        } else {
            u64::from(value as u32)
        }
    };
    let (one, other) = (narrow(dst), narrow(by));
    let shift = other as u32 & if wide { 63 } else { 31 };
    narrow(match insn.op() {
        alu::ADD => one.wrapping_add(other),
        alu::SUB => one.wrapping_sub(other),
        alu::MUL => one.wrapping_mul(other),
        alu::OR => one | other,
        alu::AND => one & other,
        alu::XOR => one ^ other,
        alu::MOV => other,
        alu::LSH => one << shift,
        alu::RSH => one >> shift,
        alu::ARSH if wide => (one as i64 >> shift) as u64,
        alu::ARSH => u64::from((one as i32 >> shift) as u32),
        // To little endian, where this is; or swapped, whatever there is.
        alu::END => {
            return match (insn.imm, wide) {
                (16, false) => u64::from(dst as u16),
                (16, true) => u64::from((dst as u16).swap_bytes()),
                (32, false) => u64::from(dst as u32),
                (32, true) => u64::from((dst as u32).swap_bytes()),
                (_, false) => dst,
                (_, true) => dst.swap_bytes(),
            }
        }
        op => panic!("no operation {op:#x}"),
    })
}

/// A packet of the longest, from a few bytes.
fn packet(seed: &[u8]) -> Vec<u8> {
    seed.iter().copied().cycle().take(1 << 16).collect()
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn no_program_looks_further(insns in programs(), seed in vec(any::<u8>(), 1..40)) {
        let (found, heard) = reach_and_heard(&insns);
        let (accesses, copied) = run(&insns, &packet(&seed));
        for (index, place, len) in copied.into_iter().filter(|_| found.sees != ALL) {
            let (_, at, bytes) = heard.iter().find(|heard| heard.0 == index).unwrap();
            prop_assert!(at.is_none_or(|at| at == place) && bytes.is_none_or(|bytes| bytes == len));
        }
        for (off, len, write) in accesses {
            let end = off + len;
            prop_assert!(found.sees == ALL || end <= found.sees.into(), "{off} {len} {found:?}");
            if write {
                prop_assert!(off >= found.writes_from.into(), "{off} {len} {found:?}");
                prop_assert!(found.writes_to == ALL || end <= found.writes_to.into());
                prop_assert!(found.writes_to <= found.sees);
            }
        }
    }

    /// Whatever it is given, there is an answer.
    #[test]
    fn there_is_an_answer(words in vec(any::<u64>(), 0..40)) {
        let insns: Vec<Insn> = words
            .iter()
            .map(|word| {
                let [code, regs, low, high, imm @ ..] = word.to_le_bytes();
                let off = i16::from_le_bytes([low, high]) % 50;
                Insn::new(code, regs & 15, regs >> 4, off, i32::from_le_bytes(imm))
            })
            .collect();
        let found = reach_of(&insns);
        prop_assert!(found.writes_to <= found.sees);
    }
}

/// The property above says something: of many programs that do look at their packet, the
/// answer is less than all of it.
#[test]
fn many_programs_have_a_bound() {
    let mut runner = TestRunner::deterministic();
    let mut bounded = 0;
    for _ in 0..1000 {
        let insns = programs().new_tree(&mut runner).unwrap().current();
        let looks = !run(&insns, &packet(&[1, 2, 3])).0.is_empty();
        bounded += u32::from(looks && reach_of(&insns).sees != ALL);
    }
    assert!(bounded > 250, "{bounded}");
}
