// SPDX-License-Identifier: GPL-2.0
//! Generated programs of one function.

use super::program::Program;
use bailey::pure::catalog::id;
use bailey::pure::insn::{alu, class, jmp, mode, size, Insn, K, REG_1, REG_FP, X};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

/// The context's register in generated programs.
const CTX: u8 = 6;
/// Counts how often instruction 0 was run.
const PASSES: u8 = 7;
/// Counts down the innermost loop.
const LOOP: u8 = 8;
/// Never used by generated programs: stands for AX in the interpreter.
pub const SPARE: u8 = 9;
/// Bytes of packet behind the context's pointer.
pub const PACKET: usize = 128;

/// So many cases, or as many as `PROPTEST_CASES` says, and no files left behind
/// by a failure.
pub fn config(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|cases| cases.parse().ok()).unwrap_or(cases),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A piece of a structured program.
#[derive(Clone, Debug)]
pub enum Step {
    Plain(Insn),
    Imm64(u8, u64),
    Helper(u32),
    /// Skips the body if the comparison holds.
    Unless(Insn, Vec<Step>),
    /// Skips the body with a 32-bit jump.
    Jump32(Vec<Step>),
    Loop(u8, Vec<Step>),
    ExitIf(Insn),
    /// Back to instruction 0 until it ran so often; with a 32-bit jump or not.
    Restart(u8, bool),
}

fn data() -> Range<u8> {
    0u8..6
}

pub fn sizes() -> impl Strategy<Value = u8> {
    prop_oneof![Just(size::B), Just(size::H), Just(size::W), Just(size::DW)]
}

/// Arithmetic between such registers.
pub fn arithmetic(reg: Range<u8>) -> impl Strategy<Value = Insn> {
    let op = prop_oneof![
        Just(alu::ADD),
        Just(alu::SUB),
        Just(alu::MUL),
        Just(alu::OR),
        Just(alu::AND),
        Just(alu::LSH),
        Just(alu::RSH),
        Just(alu::XOR),
        Just(alu::MOV),
        Just(alu::ARSH),
    ];
    (
        any::<bool>(),
        op,
        reg.clone(),
        reg,
        any::<bool>(),
        any::<i32>(),
    )
        .prop_map(|(wide, op, dst, src, by_reg, imm)| {
            let shift = matches!(op, alu::LSH | alu::RSH | alu::ARSH);
            let imm = if shift { imm & 31 } else { imm };
            match (wide, by_reg) {
                (true, true) => Insn::alu64_reg(op, dst, src),
                (true, false) => Insn::alu64_imm(op, dst, imm),
                (false, true) => Insn::alu32_reg(op, dst, src),
                (false, false) => Insn::alu32_imm(op, dst, imm),
            }
        })
}

fn memory() -> impl Strategy<Value = Insn> {
    (0..4, sizes(), data(), 0i16..16, any::<i32>(), any::<bool>()).prop_map(
        |(what, size, reg, slot, imm, on_stack)| {
            let (base, off) = if on_stack {
                (REG_FP, -8 * (slot + 1))
            } else {
                (CTX, 8 * slot % (PACKET as i16 - 8))
            };
            match what {
                0 => Insn::st(size, base, off, imm),
                1 => Insn::stx(size, base, reg, off),
                _ => Insn::ldx(size, reg, base, off),
            }
        },
    )
}

/// A comparison of such registers; the distance is filled in later.
pub fn comparison(reg: Range<u8>) -> impl Strategy<Value = Insn> {
    let op = prop_oneof![
        Just(jmp::JEQ),
        Just(jmp::JGT),
        Just(jmp::JGE),
        Just(jmp::JSET),
        Just(jmp::JNE),
        Just(jmp::JSGT),
        Just(jmp::JSGE),
        Just(jmp::JLT),
        Just(jmp::JLE),
        Just(jmp::JSLT),
        Just(jmp::JSLE),
    ];
    let class = prop_oneof![Just(class::JMP), Just(class::JMP32)];
    let operand = prop_oneof![Just(K), Just(X)];
    let imm = prop_oneof![any::<i32>(), -2i32..3];
    (class, op, operand, reg.clone(), reg, imm).prop_map(|(class, op, operand, dst, src, imm)| {
        if operand == K {
            Insn::new(class | op | K, dst, 0, 0, imm)
        } else {
            Insn::new(class | op | X, dst, src, 0, 0)
        }
    })
}

fn helpers() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(id::KTIME_GET_NS),
        Just(id::MAP_LOOKUP_ELEM),
        Just(id::GET_NUMA_NODE_ID),
        Just(id::GET_SMP_PROCESSOR_ID),
        Just(id::XDP_ADJUST_HEAD),
        Just(id::TAIL_CALL),
    ]
}

fn leaf() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => arithmetic(data()).prop_map(Step::Plain),
        4 => memory().prop_map(Step::Plain),
        1 => (data(), any::<u64>()).prop_map(|(dst, value)| Step::Imm64(dst, value)),
        2 => helpers().prop_map(Step::Helper),
        1 => comparison(data()).prop_map(Step::ExitIf),
        1 => (1u8..4, any::<bool>()).prop_map(|(passes, wide)| Step::Restart(passes, wide)),
    ]
}

fn branching() -> impl Strategy<Value = Step> {
    leaf().prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            3 => (comparison(data()), vec(inner.clone(), 1..6))
                .prop_map(|(insn, body)| Step::Unless(insn, body)),
            1 => vec(inner, 1..4).prop_map(Step::Jump32),
        ]
    })
}

/// The steps of a program. Loops are not nested: they share a counter.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => branching(),
        1 => (1u8..5, vec(branching(), 1..5)).prop_map(|(count, body)| Step::Loop(count, body)),
    ];
    vec(step, 0..24)
}

fn emit(steps: &[Step], insns: &mut Vec<Insn>) {
    for step in steps {
        match step {
            Step::Plain(insn) => insns.push(*insn),
            Step::Imm64(dst, value) => insns.extend(Insn::ld_imm64(*dst, *value)),
            // The verifier has its own opcode for tail calls.
            Step::Helper(id::TAIL_CALL) => {
                insns.push(Insn::new(class::JMP | jmp::TAIL_CALL, 0, 0, 0, 0));
            }
            Step::Helper(id) => insns.push(Insn::call(*id as i32)),
            Step::Unless(insn, body) => {
                let mut inner = Vec::new();
                emit(body, &mut inner);
                insns.push(insn.with_jump(0).unwrap());
                let at = insns.len();
                emit(body, insns);
                insns[at - 1] = insn.with_jump((insns.len() - at) as i64).unwrap();
            }
            Step::Jump32(body) => {
                insns.push(Insn::ja32(0));
                let at = insns.len();
                emit(body, insns);
                insns[at - 1] = Insn::ja32((insns.len() - at) as i32);
            }
            Step::Loop(count, body) => {
                insns.push(Insn::mov64_imm(LOOP, i32::from(*count)));
                let start = insns.len();
                emit(body, insns);
                insns.push(Insn::alu64_imm(alu::SUB, LOOP, 1));
                let back = start as i64 - insns.len() as i64 - 1;
                insns.push(Insn::jmp_imm(jmp::JNE, LOOP, 0, 0).with_jump(back).unwrap());
            }
            Step::ExitIf(insn) => {
                insns.push(insn.with_jump(1).unwrap());
                insns.push(Insn::exit());
            }
            Step::Restart(passes, true) => {
                insns.push(Insn::jmp_imm(jmp::JGE, PASSES, i32::from(*passes), 1));
                insns.push(Insn::ja32(-(insns.len() as i32) - 1));
            }
            Step::Restart(passes, false) => {
                let back = -(insns.len() as i64) - 1;
                insns.push(
                    Insn::jmp_imm(jmp::JLT, PASSES, i32::from(*passes), 0)
                        .with_jump(back)
                        .unwrap(),
                );
            }
        }
    }
}

/// The program that the steps make.
pub fn assemble(steps: &[Step]) -> Program {
    let mut insns = vec![
        // Instruction 0 can be run again: all else is set up once.
        Insn::alu64_imm(alu::ADD, PASSES, 1),
        Insn::jmp_imm(jmp::JNE, PASSES, 1, 7),
        Insn::mov64_reg(CTX, REG_1),
        Insn::mov64_imm(0, 10),
        Insn::mov64_imm(1, 11),
        Insn::mov64_imm(2, 12),
        Insn::mov64_imm(3, 13),
        Insn::mov64_imm(4, 14),
        Insn::mov64_imm(5, 15),
    ];
    emit(steps, &mut insns);
    insns.push(Insn::exit());
    Program::new(insns)
}

/// Any instruction that the JIT takes in a main program that can be isolated,
/// jumps and calls left out. Registers may hold anything.
pub fn any_insn() -> impl Strategy<Value = Vec<Insn>> {
    let reg = 0u8..10;
    let base = prop_oneof![Just(REG_FP), 0u8..10];
    let imm = prop_oneof![any::<i32>(), -200i32..200, Just(0), Just(1)];
    let off = prop_oneof![any::<i16>(), -140i16..140];
    let width = prop_oneof![Just(class::ALU), Just(class::ALU64)];
    let operand = prop_oneof![Just(K), Just(X)];

    let arithmetic = (
        width.clone(),
        0u8..14,
        operand,
        reg.clone(),
        reg.clone(),
        imm.clone(),
    )
        .prop_filter_map(
            "no such operation",
            |(class, op, operand, dst, src, imm)| {
                let op = op << 4;
                let src_of = if operand == X { src } else { 0 };
                let insn = |imm, off| Insn::new(class | op | operand, dst, src_of, off, imm);
                match op {
                    alu::NEG => Some(Insn::new(class | op, dst, 0, 0, 0)),
                    alu::END => {
                        let imm = [16, 32, 64][imm.unsigned_abs() as usize % 3];
                        if class == class::ALU64 && operand == X {
                            return None;
                        }
                        Some(Insn::new(class | op | operand, dst, 0, 0, imm))
                    }
                    alu::DIV | alu::MOD => {
                        let imm = if imm == 0 { 1 } else { imm };
                        Some(insn(if operand == K { imm } else { 0 }, i16::from(src & 1)))
                    }
                    alu::MOV if operand == X => {
                        let choices: &[i16] = if class == class::ALU64 {
                            &[0, 8, 16, 32]
                        } else {
                            &[0, 8, 16]
                        };
                        Some(insn(
                            0,
                            choices[imm.unsigned_abs() as usize % choices.len()],
                        ))
                    }
                    alu::LSH | alu::RSH | alu::ARSH if operand == K => Some(insn(imm & 31, 0)),
                    _ => Some(insn(if operand == K { imm } else { 0 }, 0)),
                }
            },
        )
        .prop_map(|insn| vec![insn]);

    let load = (
        sizes(),
        any::<bool>(),
        reg.clone(),
        base.clone(),
        off.clone(),
    )
        .prop_map(|(size, sign, dst, base, off)| {
            let mode = if sign && size != size::DW {
                mode::MEMSX
            } else {
                mode::MEM
            };
            vec![Insn::new(class::LDX | mode | size, dst, base, off, 0)]
        });
    let store = (
        sizes(),
        any::<bool>(),
        base.clone(),
        reg.clone(),
        off.clone(),
        imm,
    )
        .prop_map(|(size, by_reg, base, src, off, imm)| {
            vec![if by_reg {
                Insn::stx(size, base, src, off)
            } else {
                Insn::st(size, base, off, imm)
            }]
        });
    // add, or, and, xor; the same fetching; xchg, cmpxchg
    let atomic = prop_oneof![
        Just(0x00),
        Just(0x40),
        Just(0x50),
        Just(0xa0),
        Just(0x01),
        Just(0x41),
        Just(0x51),
        Just(0xa1),
        Just(0xe1),
        Just(0xf1)
    ];
    let atomic = (
        atomic,
        any::<bool>(),
        base.clone(),
        reg.clone(),
        off.clone(),
    )
        .prop_map(|(op, wide, base, src, off)| {
            let size = if wide { size::DW } else { size::W };
            vec![Insn::new(
                class::STX | mode::ATOMIC | size,
                base,
                src,
                off,
                op,
            )]
        });
    let ordered = (any::<bool>(), sizes(), base, reg.clone(), off).prop_map(
        |(acquire, size, base, reg, off)| {
            let code = class::STX | mode::ATOMIC | size;
            vec![if acquire {
                Insn::new(code, reg, base, off, 0x100)
            } else {
                Insn::new(code, base, reg, off, 0x110)
            }]
        },
    );
    let imm64 = (reg, any::<u64>()).prop_map(|(dst, value)| Insn::ld_imm64(dst, value).to_vec());
    let barrier = Just(vec![Insn::new(class::ST | mode::NOSPEC, 0, 0, 0, 0)]);

    prop_oneof![
        8 => arithmetic,
        3 => load,
        3 => store,
        2 => atomic,
        1 => ordered,
        1 => imm64,
        1 => barrier,
    ]
}
