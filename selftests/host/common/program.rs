// SPDX-License-Identifier: GPL-2.0
//! Generated programs, and the rewrite as the kernel glue carries it out.

use bailey::pure::catalog::id;
use bailey::pure::insn::{alu, class, jmp, mode, size, Insn, K, REG_1, REG_FP, X};
use bailey::pure::rewrite::functions::{measure, Function, Layout, Leaps, Origin, Scratch};
use bailey::pure::rewrite::jump_table::Places;
use bailey::pure::rewrite::{self, Action, CtxLayout, Facts, Known, Refusal};
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

/// Where `struct xdp_buff` of Linux 7.2 has its fields.
pub const LAYOUT: CtxLayout = CtxLayout {
    data: 0,
    data_end: 8,
    data_meta: 16,
    rxq: 32,
    txq: 40,
};

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

/// `imm` of a call of `bpf_throw()` in generated programs.
pub const THROW: i32 = 0x7777;

/// Where the jump tables of generated programs lie.
pub const TABLES_AT: u64 = 0x2000_0000;

/// Exceptions and jump tables of a program.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    /// The function that exceptions lead to.
    pub callback: Option<usize>,
    /// Where its tables lead, in order.
    pub places: Vec<u32>,
    /// What they hold, one behind the other.
    pub tables: Vec<u64>,
}

impl Beyond {
    pub fn leaps(&self) -> Leaps<'_> {
        Leaps {
            throw: Some(THROW),
            callback: self.callback,
            landing: false,
            gated: false,
            places: Places::new(&self.places).unwrap(),
            inlined: &[],
        }
    }
}

/// A verified program, and what the verifier knew of it.
#[derive(Clone, Debug)]
pub struct Program {
    pub insns: Vec<Insn>,
    pub known: Vec<Known>,
    /// Its functions in order, the entry first.
    pub functions: Vec<Function>,
    pub beyond: Beyond,
}

impl Program {
    /// A program that calls helpers by number, and of functions none but the
    /// entry.
    pub fn new(insns: Vec<Insn>) -> Self {
        let end = insns.len() as u32;
        Self::with_functions(insns, vec![Function::new(0, end, 0)])
    }

    /// A program that calls helpers by number.
    pub fn with_functions(insns: Vec<Insn>, functions: Vec<Function>) -> Self {
        let known = insns
            .iter()
            .map(|insn| Known {
                helper: insn.is_helper_call().then_some(insn.imm as u32),
                throws: insn.is_kfunc_call() && insn.imm == THROW,
                ..Known::default()
            })
            .collect();
        Self {
            insns,
            known,
            functions,
            beyond: Beyond::default(),
        }
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
        Just(id::GET_PRANDOM_U32),
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

/// A program's functions as one.
#[derive(Clone, Debug)]
pub struct Laid {
    pub code: Vec<(Origin, Insn)>,
    /// Bytes of stack below the entry's frame pointer.
    pub stack: u32,
    /// Where each instruction of the program is, if its function is there.
    pub positions: Vec<Option<usize>>,
    /// Which functions are there.
    pub members: Vec<bool>,
    /// The exception callback, if it is there.
    pub callback: Option<usize>,
}

impl Laid {
    /// The instructions, every switch off.
    pub fn insns(&self) -> Vec<Insn> {
        self.insns_with(&mut |_| None)
    }

    /// The same, each switch as `switch` says of the call it is at: a call of
    /// that number, or off.
    pub fn insns_with(&self, switch: &mut dyn FnMut(usize) -> Option<i32>) -> Vec<Insn> {
        let insns = self.code.iter().map(|(origin, insn)| match *origin {
            Origin::Switch(index) => match switch(index) {
                Some(number) => Insn::new(insn.code, 0, insn.src(), 0, number),
                None => Insn::ja(0),
            },
            _ => *insn,
        });
        insns.collect()
    }
}

/// The layout as the kernel glue carries it out.
pub fn lay_out(insns: &[Insn], functions: &[Function]) -> Result<Laid, (usize, Refusal)> {
    lay_out_with(insns, functions, Leaps::default())
}

/// The same with room for blinded constants.
pub fn lay_out_blinded(insns: &[Insn], functions: &[Function]) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, 0, Leaps::default(), true)
}

/// The same of a program with exceptions or jump tables.
pub fn lay_out_with(
    insns: &[Insn],
    functions: &[Function],
    leaps: Leaps<'_>,
) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, 0, leaps, false)
}

/// The image of function `entry`.
pub fn lay_out_entry(
    insns: &[Insn],
    functions: &[Function],
    entry: usize,
    leaps: Leaps<'_>,
) -> Result<Laid, (usize, Refusal)> {
    carry_out(insns, functions, entry, leaps, false)
}

fn carry_out(
    insns: &[Insn],
    functions: &[Function],
    entry: usize,
    leaps: Leaps<'_>,
    blinded: bool,
) -> Result<Laid, (usize, Refusal)> {
    let mut functions = functions.to_vec();
    measure(insns, &mut functions)?;
    // Nothing may hang on what the memory held.
    let calls = insns.iter().filter(|insn| insn.is_pseudo_call()).count();
    let mut position = vec![0xdead_beef; insns.len()];
    let mut calls = vec![0xdead_beef; calls];
    let mut far = vec![0xff; insns.len().div_ceil(8)];
    let scratch = Scratch {
        position: &mut position,
        calls: &mut calls,
        far: &mut far,
    };
    let layout = Layout::new(insns, &mut functions, entry, leaps, blinded, scratch)?;
    let mut code = Vec::new();
    layout.emit(&mut |origin, insn| -> Result<(), (usize, Refusal)> {
        code.push((origin, insn));
        Ok(())
    })?;
    assert_eq!(code.len(), layout.len(), "as many as announced");
    let (stack, positions) = (
        layout.stack(),
        (0..insns.len()).map(|at| layout.position(at)).collect(),
    );
    let members: Vec<bool> = functions.iter().map(Function::is_member).collect();
    Ok(Laid {
        code,
        stack,
        positions,
        callback: leaps.callback.filter(|callback| members[*callback]),
        members,
    })
}

/// A rewritten program.
#[derive(Clone, Debug)]
pub struct Rewritten {
    pub insns: Vec<Insn>,
    /// What each site is for; its number is its place here.
    pub sites: Vec<Action>,
    pub facts: Facts,
    /// Bytes of stack that it uses.
    pub stack: u32,
}

/// The rewrite as the kernel glue carries it out. Site `n` calls `call(n)`.
pub fn rewrite(
    program: &Program,
    slot: u64,
    enter: i32,
    call: impl Fn(usize) -> i32,
) -> Result<Rewritten, Refusal> {
    let facts = rewrite::survey(&program.insns, LAYOUT, true, |index| program.known[index])
        .map_err(|(_, refusal)| refusal)?;
    let laid = lay_out_with(&program.insns, &program.functions, program.beyond.leaps())
        .map_err(|(_, refusal)| refusal)?;
    // Jumps are relative: what goes in front moves nothing.
    let mut insns = rewrite::prologue(slot, enter).to_vec();
    let mut sites = Vec::new();
    for (origin, mut insn) in laid.code {
        if let Origin::Kept(index) = origin {
            let action = rewrite::classify(&program.insns[index], &program.known[index])?;
            if action == Action::DropMask {
                insn = rewrite::dropped_mask();
            } else if action.is_site() {
                insn = Insn::call(call(sites.len()));
                sites.push(action);
            }
        }
        insns.push(insn);
    }
    Ok(Rewritten {
        insns,
        sites,
        facts,
        stack: laid.stack,
    })
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
