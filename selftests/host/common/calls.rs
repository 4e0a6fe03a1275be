// SPDX-License-Identifier: GPL-2.0
//! Generated programs of several functions that call each other.
//!
//! Registers hold data, with which everything may be done, but for pointers to
//! the packet and to the caller's stack, which a function keeps where its
//! [`Style`] says. A call that would make the run too long is jumped over: its
//! site is still there.

use super::generated::{arithmetic, comparison, sizes};
use super::program::{Beyond, Program, TABLES_AT, THROW};
use bailey::pure::catalog::id;
use bailey::pure::insn::{
    alu, class, jmp, mode, pseudo, size, Insn, REG_1, REG_2, REG_FP, REG_PARAMS, X,
};
use bailey::pure::rewrite::functions::Function;
use proptest::collection::vec;
use proptest::prelude::*;
use std::ops::Range;

/// Registers of generated instructions, taken modulo those of the function.
const DATA: Range<u8> = 0..16;
/// Passed by the caller: how often the function may begin again.
const PASSES: u8 = 5;
/// Holds a pointer for one access.
const TEMP: u8 = 4;
/// Where a function of [`Style::Frame`] keeps things, below its frame pointer.
const PACKET_SLOT: i16 = -8;
const CALLER_SLOT: i16 = -16;
const PASSES_SLOT: i16 = -24;
const LOOP_SLOT: i16 = -32;
const SLOTS: i16 = 32;
/// Bytes of a caller's stack or of the packet that a function is given.
const LENT: i16 = 16;
/// Functions of this level and above do not throw: the exception callback may
/// call them.
const CALM: u8 = 6;
/// Instructions that the calls of a function may run, for each level below it.
const LONGEST: u64 = 1_000_000;

/// A call of a local function.
pub fn call_at(from: usize, to: usize) -> Insn {
    let distance = to as i64 - from as i64 - 1;
    Insn::new(class::JMP | jmp::CALL, 0, pseudo::CALL, 0, distance as i32)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Pointers lie in its frame, beside a buffer.
    Frame,
    /// Pointers lie in R8 and R9; it has no stack of its own.
    Registers,
    /// It looks at none of its arguments and has no stack.
    Deaf,
}

#[derive(Clone, Debug)]
enum Step {
    Plain(Insn),
    Imm64(u8, u64),
    /// Of the function's buffer, the packet or the caller's stack.
    Memory {
        of: u8,
        what: u8,
        size: u8,
        reg: u8,
        at: u16,
        imm: i32,
    },
    Helper(u32),
    Unless(Insn, Vec<Step>),
    Jump32(Vec<Step>),
    Loop(u8, Vec<Step>),
    ExitIf(Insn),
    /// Throws the register if the comparison does not hold, and more bits.
    ThrowIf(Insn, u8),
    /// Goes on with one of these, by the register.
    Table(u8, Vec<Vec<Step>>),
    /// Back to the function's first instruction; with a 32-bit jump or not.
    Restart(bool),
    Call {
        callee: prop::sample::Index,
        times: u8,
        own: bool,
        passes: u8,
        values: [u8; 4],
    },
}

#[derive(Clone, Debug)]
struct Body {
    style: Style,
    /// Calls go to functions of a higher level alone.
    level: u8,
    /// The place among the functions.
    order: u32,
    saved: u8,
    /// How each callee-saved register is first written.
    first: [u8; 4],
    buffer: i16,
    takes: i16,
    ending: u8,
    steps: Vec<Step>,
}

fn memory() -> impl Strategy<Value = Step> {
    (0u8..3, 0u8..5, sizes(), DATA, any::<u16>(), any::<i32>()).prop_map(
        |(of, what, size, reg, at, imm)| Step::Memory {
            of,
            what,
            size,
            reg,
            at,
            imm,
        },
    )
}

fn call() -> impl Strategy<Value = Step> {
    let times = prop_oneof![16 => Just(1u8), 4 => Just(2), 1 => 3u8..=70];
    (
        any::<prop::sample::Index>(),
        times,
        any::<bool>(),
        0u8..3,
        any::<[u8; 4]>(),
    )
        .prop_map(|(callee, times, own, passes, values)| Step::Call {
            callee,
            times,
            own,
            passes,
            values,
        })
}

fn leaf() -> impl Strategy<Value = Step> {
    let helper = prop::sample::select(vec![
        id::KTIME_GET_NS,
        id::MAP_LOOKUP_ELEM,
        id::GET_SMP_PROCESSOR_ID,
        id::TAIL_CALL,
    ]);
    prop_oneof![
        5 => arithmetic(DATA).prop_map(Step::Plain),
        4 => memory(),
        1 => (DATA, any::<u64>()).prop_map(|(dst, value)| Step::Imm64(dst, value)),
        2 => helper.prop_map(Step::Helper),
        1 => comparison(DATA).prop_map(Step::ExitIf),
        1 => (comparison(DATA), DATA).prop_map(|(insn, reg)| Step::ThrowIf(insn, reg)),
        2 => any::<bool>().prop_map(Step::Restart),
        18 => call(),
    ]
}

fn branching() -> impl Strategy<Value = Step> {
    leaf().prop_recursive(2, 8, 4, |inner| {
        prop_oneof![
            3 => (comparison(DATA), vec(inner.clone(), 1..5))
                .prop_map(|(insn, body)| Step::Unless(insn, body)),
            1 => vec(inner.clone(), 1..3).prop_map(Step::Jump32),
            1 => (DATA, vec(vec(inner, 0..3), 1..7))
                .prop_map(|(reg, bodies)| Step::Table(reg, bodies)),
        ]
    })
}

fn body(level: Range<u8>) -> impl Strategy<Value = Body> {
    let step = prop_oneof![
        8 => branching(),
        1 => (1u8..4, vec(branching(), 1..4)).prop_map(|(count, body)| Step::Loop(count, body)),
    ];
    let style = prop_oneof![
        4 => Just(Style::Frame),
        2 => Just(Style::Registers),
        2 => Just(Style::Deaf),
    ];
    (
        (style, level, any::<u32>(), 0u8..16, any::<[u8; 4]>()),
        (LENT..80, prop_oneof![3 => Just(0i16), 1 => 1i16..8], 0u8..3),
        vec(step, 0..12),
    )
        .prop_map(
            |((style, level, order, saved, first), (buffer, takes, ending), steps)| Body {
                style,
                level,
                order,
                saved,
                first,
                buffer,
                takes: if level == 0 || style == Style::Deaf {
                    0
                } else {
                    takes
                },
                ending,
                steps,
            },
        )
}

/// What the generator knows of a function.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Bytes of stack, and arguments on it that it passes at most.
    pub depth: u32,
    pub passes: u32,
    /// Callee-saved registers that it writes.
    pub saved: u32,
    /// The functions that it calls, once for each site.
    pub callees: Vec<usize>,
    /// It throws exceptions.
    pub throws: bool,
}

/// A program and what the generator knows of it.
#[derive(Clone, Debug)]
pub struct Called {
    pub program: Program,
    pub shapes: Vec<Shape>,
}

impl Called {
    /// Whether the entry reaches each function.
    pub fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.shapes.len()];
        let mut next = vec![0];
        while let Some(number) = next.pop() {
            if !std::mem::replace(&mut reached[number], true) {
                let shape = &self.shapes[number];
                next.extend(&shape.callees);
                next.extend(self.program.beyond.callback.filter(|_| shape.throws));
            }
        }
        reached
    }

    /// Call sites of each function in those that the entry reaches.
    pub fn sites(&self) -> Vec<u32> {
        let mut sites = vec![0; self.shapes.len()];
        for (shape, reached) in self.shapes.iter().zip(self.reached()) {
            for callee in shape.callees.iter().filter(|_| reached) {
                sites[*callee] += 1;
            }
        }
        sites
    }
}

/// Programs of so many functions.
pub fn programs(functions: Range<usize>) -> impl Strategy<Value = Called> {
    let others = (functions.start - 1)..(functions.end - 1);
    (body(0..1), vec(body(1..8), others)).prop_map(|(entry, mut others)| {
        others.sort_by_key(|body| body.order);
        others.insert(0, entry);
        assemble(&others)
    })
}

/// A function while it is written.
struct Writer<'a> {
    bodies: &'a [Body],
    body: &'a Body,
    is_entry: bool,
    /// Longest run of each function of a higher level.
    costs: &'a [u64],
    insns: Vec<Insn>,
    /// Calls, to be given their distance later.
    calls: Vec<(usize, usize)>,
    /// Where it loads the address of a table, and where the table leads.
    tables: Vec<(usize, Vec<usize>)>,
    shape: Shape,
    spent: u64,
    times: u64,
    restarts: bool,
}

impl Writer<'_> {
    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    /// The registers for data.
    fn data(&self) -> Vec<u8> {
        let saved = (6..10).filter(|reg| self.body.saved & (1 << (reg - 6)) != 0);
        let data = (0..6).chain(saved);
        match self.body.style {
            Style::Registers => data.filter(|reg| *reg < 8).collect(),
            _ => data.collect(),
        }
    }

    fn reg(&self, number: u8) -> u8 {
        let data = self.data();
        data[usize::from(number) % data.len()]
    }

    fn with_regs(&self, insn: Insn) -> Insn {
        let src = if insn.code & X != 0 {
            self.reg(insn.src())
        } else {
            0
        };
        Insn::new(insn.code, self.reg(insn.dst()), src, insn.off, insn.imm)
    }

    /// R1 to R5 hold nothing behind a call.
    fn refill(&mut self) {
        for reg in 1..6 {
            self.push(Insn::mov64_imm(reg, 100 + i32::from(reg)));
        }
    }

    fn start(&mut self) {
        let body = self.body;
        if body.style == Style::Deaf {
            self.push(Insn::mov64_imm(0, i32::from(body.first[0])));
            self.refill();
        } else {
            // The instruction that Restart goes back to.
            self.push(Insn::alu64_imm(alu::SUB, PASSES, 1));
            self.push(Insn::mov64_imm(0, 7));
            for number in 1..=body.takes {
                self.push(Insn::ldx(size::DW, TEMP, REG_PARAMS, 8 * number));
                self.push(Insn::alu64_imm(alu::MUL, 0, 31));
                self.push(Insn::alu64_reg(alu::ADD, 0, TEMP));
            }
        }
        match body.style {
            Style::Frame => {
                self.push(Insn::stx(size::DW, REG_FP, REG_1, PACKET_SLOT));
                self.push(Insn::stx(size::DW, REG_FP, REG_2, CALLER_SLOT));
                self.push(Insn::stx(size::DW, REG_FP, PASSES, PASSES_SLOT));
                let low = -SLOTS - body.buffer;
                for at in (0..body.buffer - 8).step_by(8).chain([body.buffer - 8]) {
                    self.push(Insn::stx(size::DW, REG_FP, 3, low + at));
                }
                self.shape.depth = -low as u32;
            }
            Style::Registers => {
                self.push(Insn::mov64_reg(8, REG_1));
                self.push(Insn::mov64_reg(9, REG_2));
            }
            Style::Deaf => {}
        }
        let buffer = -SLOTS - body.buffer;
        for reg in self.data().into_iter().filter(|reg| *reg >= 6) {
            let how = body.first[usize::from(reg) - 6];
            match (how % 6, body.style) {
                (1, _) => self.push(Insn::mov64_reg(reg, 3)),
                (2, _) => self.insns.extend(Insn::ld_imm64(reg, u64::from(how) << 33)),
                (3, Style::Frame) => self.push(Insn::ldx(size::DW, reg, REG_FP, buffer)),
                (4, Style::Frame) => {
                    // Load-acquire: of the class of stores.
                    let code = class::STX | mode::ATOMIC | size::DW;
                    self.push(Insn::new(code, reg, REG_FP, buffer, 0x100));
                }
                (5, Style::Frame | Style::Registers) => {
                    self.push(Insn::ldx(size::H, reg, REG_1, 2));
                }
                _ => self.push(Insn::mov64_imm(reg, i32::from(how))),
            }
        }
        for reg in [REG_1, REG_2, TEMP, PASSES] {
            self.push(Insn::mov64_imm(reg, 10 + i32::from(reg)));
        }
    }

    fn memory(&mut self, of: u8, what: u8, size: u8, reg: u8, at: u16, imm: i32) {
        let len = i16::from(Insn::ldx(size, 0, 0, 0).access_bytes());
        let style = self.body.style;
        let (base, low, room) = match (of, style) {
            (_, Style::Deaf) => return,
            (0, Style::Frame) => (REG_FP, -SLOTS - self.body.buffer, self.body.buffer),
            (1, Style::Frame) => (PACKET_SLOT as u8, 0, LENT),
            (_, Style::Frame) => (CALLER_SLOT as u8, 0, LENT),
            (1, Style::Registers) => (8, 0, LENT),
            (_, Style::Registers) => (9, 0, LENT),
        };
        let off = low + (at % (room - len + 1) as u16) as i16;
        let mut reg = self.reg(reg);
        let through_slot = base > REG_FP;
        let base = if through_slot {
            if reg == TEMP {
                reg = 0;
            }
            self.push(Insn::ldx(size::DW, TEMP, REG_FP, i16::from(base as i8)));
            TEMP
        } else {
            base
        };
        self.push(match what {
            0 => Insn::st(size, base, off, imm),
            1 => Insn::stx(size, base, reg, off),
            2 if len >= 4 => Insn::new(class::STX | mode::ATOMIC | size, base, reg, off, 0x01),
            _ => Insn::ldx(size, reg, base, off),
        });
        if through_slot {
            self.push(Insn::mov64_imm(TEMP, 5));
        }
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Plain(insn) => {
                let insn = self.with_regs(*insn);
                self.push(insn);
            }
            Step::Imm64(dst, value) => {
                let dst = self.reg(*dst);
                self.insns.extend(Insn::ld_imm64(dst, *value));
            }
            Step::Memory {
                of,
                what,
                size,
                reg,
                at,
                imm,
            } => self.memory(*of, *what, *size, *reg, *at, *imm),
            Step::Helper(id::TAIL_CALL) => {
                if self.is_entry {
                    self.push(Insn::new(class::JMP | jmp::TAIL_CALL, 0, 0, 0, 0));
                    self.refill();
                }
            }
            Step::Helper(id) => {
                self.push(Insn::call(*id as i32));
                self.refill();
            }
            Step::Unless(insn, body) => {
                let insn = self.with_regs(*insn);
                self.skipping(insn, body);
            }
            Step::Jump32(body) => self.skipping(Insn::ja32(0), body),
            Step::Loop(count, body) if self.body.style == Style::Frame => {
                self.push(Insn::st(size::DW, REG_FP, LOOP_SLOT, i32::from(*count)));
                let start = self.insns.len();
                self.times = u64::from(*count);
                self.steps(body);
                self.times = 1;
                self.push(Insn::ldx(size::DW, TEMP, REG_FP, LOOP_SLOT));
                self.push(Insn::alu64_imm(alu::SUB, TEMP, 1));
                self.push(Insn::stx(size::DW, REG_FP, TEMP, LOOP_SLOT));
                let back = start as i64 - self.insns.len() as i64 - 1;
                self.push(Insn::jmp_imm(jmp::JNE, TEMP, 0, 0).with_jump(back).unwrap());
            }
            Step::Loop(_, body) => self.steps(body),
            Step::ExitIf(insn) => {
                let insn = self.with_regs(*insn);
                self.push(insn.with_jump(1).unwrap());
                self.push(Insn::exit());
            }
            Step::ThrowIf(insn, reg) if self.body.level < CALM => {
                let reg = self.reg(*reg);
                let insn = self.with_regs(*insn);
                self.push(insn.with_jump(4).unwrap());
                self.push(Insn::jmp_imm(jmp::JSET, reg, 0x1f, 3));
                self.push(Insn::jmp_imm(jmp::JSET, reg, 0x101, 2));
                self.push(Insn::mov64_reg(REG_1, reg));
                self.push(Insn::new(class::JMP | jmp::CALL, 0, 2, 0, THROW));
                self.shape.throws = true;
            }
            Step::ThrowIf(..) => {}
            Step::Table(reg, bodies) => self.table(*reg, bodies),
            Step::Restart(wide) if self.body.style == Style::Frame => {
                self.restarts = true;
                for (reg, slot) in [
                    (REG_1, PACKET_SLOT),
                    (REG_2, CALLER_SLOT),
                    (PASSES, PASSES_SLOT),
                ] {
                    self.push(Insn::ldx(size::DW, reg, REG_FP, slot));
                }
                if *wide {
                    self.push(Insn::jmp_imm(jmp::JSLE, PASSES, 0, 1));
                    let back = -(self.insns.len() as i32) - 1;
                    self.push(Insn::ja32(back));
                } else {
                    let back = -(self.insns.len() as i64) - 1;
                    let jump = Insn::jmp_imm(jmp::JSGT, PASSES, 0, 0);
                    self.push(jump.with_jump(back).unwrap());
                }
                self.push(Insn::mov64_imm(REG_1, 3));
                self.push(Insn::mov64_imm(REG_2, 4));
            }
            Step::Restart(_) => {}
            Step::Call {
                callee,
                times,
                own,
                passes,
                values,
            } => self.call(callee, *times, *own, *passes, *values),
        }
    }

    /// Powers of two are the tables' sizes: the last place fills them.
    fn table(&mut self, reg: u8, bodies: &[Vec<Step>]) {
        let reg = self.reg(reg);
        let other = if reg == TEMP { 3 } else { TEMP };
        let size = bodies.len().next_power_of_two();
        self.push(Insn::mov64_reg(other, reg));
        self.push(Insn::alu64_imm(alu::AND, other, size as i32 - 1));
        self.push(Insn::alu64_imm(alu::LSH, other, 3));
        let at = self.insns.len();
        // The address comes later.
        self.insns.extend(Insn::ld_imm64(reg, 0));
        self.push(Insn::alu64_reg(alu::ADD, reg, other));
        self.push(Insn::ldx(size::DW, reg, reg, 0));
        self.push(Insn::new(class::JMP | jmp::JA | X, reg, 0, 0, 0));
        let (mut leads_to, mut ends) = (Vec::new(), Vec::new());
        for body in bodies {
            leads_to.push(self.insns.len());
            // Where it jumps is none of the program's business.
            self.push(Insn::mov64_imm(reg, bodies.len() as i32));
            self.push(Insn::mov64_imm(other, 6));
            self.steps(body);
            ends.push(self.insns.len());
            self.push(Insn::ja(0));
        }
        for at in ends {
            let distance = (self.insns.len() - at - 1) as i64;
            self.insns[at] = Insn::ja(0).with_jump(distance).unwrap();
        }
        let last = leads_to[leads_to.len() - 1];
        leads_to.resize(size, last);
        self.tables.push((at, leads_to));
    }

    /// `jump` over the body.
    fn skipping(&mut self, jump: Insn, body: &[Step]) {
        self.push(jump);
        let at = self.insns.len();
        self.steps(body);
        self.insns[at - 1] = jump.with_jump((self.insns.len() - at) as i64).unwrap();
    }

    fn call(
        &mut self,
        callee: &prop::sample::Index,
        times: u8,
        own: bool,
        passes: u8,
        values: [u8; 4],
    ) {
        let deaf = self.body.style == Style::Deaf;
        let mut callees: Vec<usize> = (0..self.bodies.len())
            .filter(|n| self.bodies[*n].level > self.body.level)
            .filter(|n| !deaf || self.bodies[*n].style == Style::Deaf)
            .collect();
        let nearest = callees.iter().map(|n| self.bodies[*n].level).min();
        if values[3] % 2 == 0 {
            // For deep chains.
            callees.retain(|n| Some(self.bodies[*n].level) == nearest);
        }
        if callees.is_empty() {
            return;
        }
        let callee = callees[callee.index(callees.len())];
        let cost = u64::from(times) * self.times * self.costs[callee];
        let fits = self.spent + cost <= LONGEST * u64::from(8 - self.body.level);
        let jump = self.insns.len();
        if fits {
            self.spent += cost;
        } else {
            self.push(Insn::ja(0));
        }
        for _ in 0..times {
            if self.bodies[callee].style != Style::Deaf {
                self.arguments(callee, own, passes, values);
            }
            self.calls.push((self.insns.len(), callee));
            self.shape.callees.push(callee);
            // To be overwritten.
            self.push(Insn::exit());
            if self.bodies[callee].style != Style::Deaf {
                self.refill();
            }
        }
        if self.bodies[callee].style == Style::Deaf {
            // Twice in a row means just that.
            self.refill();
        }
        let to = self.reg(values[0]);
        self.push(Insn::alu64_reg(alu::XOR, to, 0));
        if !fits {
            let distance = (self.insns.len() - jump - 1) as i64;
            self.insns[jump] = Insn::ja(0).with_jump(distance).unwrap();
        }
    }

    fn arguments(&mut self, callee: usize, own: bool, passes: u8, values: [u8; 4]) {
        let takes = self.bodies[callee].takes;
        self.shape.passes = self.shape.passes.max(takes as u32);
        for number in 1..=takes {
            let value = values[number as usize % 4];
            self.push(if value % 3 == 0 {
                Insn::st(size::DW, REG_PARAMS, -8 * number, -i32::from(value))
            } else {
                let reg = self.reg(value.wrapping_add(number as u8));
                Insn::stx(size::DW, REG_PARAMS, reg, -8 * number)
            });
        }
        let value = self.reg(values[0]);
        self.push(Insn::mov64_reg(3, value));
        self.push(Insn::mov64_imm(4, i32::from(values[1])));
        self.push(Insn::mov64_imm(PASSES, i32::from(passes)));
        match self.body.style {
            Style::Frame => {
                self.push(Insn::ldx(size::DW, REG_1, REG_FP, PACKET_SLOT));
                if own {
                    let low = -SLOTS - self.body.buffer;
                    let at = i16::from(values[2]) % (self.body.buffer - LENT + 1);
                    self.push(Insn::mov64_reg(REG_2, REG_FP));
                    self.push(Insn::alu64_imm(alu::ADD, REG_2, i32::from(low + at)));
                } else {
                    self.push(Insn::ldx(size::DW, REG_2, REG_FP, CALLER_SLOT));
                }
            }
            Style::Registers => {
                self.push(Insn::mov64_reg(REG_1, 8));
                self.push(Insn::mov64_reg(REG_2, 9));
            }
            Style::Deaf => unreachable!("it has no pointers to pass"),
        }
    }

    fn end(&mut self) {
        match self.body.ending {
            // The last instruction jumps to the exit.
            1 => self.insns.extend([Insn::ja(1), Insn::exit(), Insn::ja(-2)]),
            2 => self
                .insns
                .extend([Insn::ja32(1), Insn::exit(), Insn::ja32(-2)]),
            _ => self.push(Insn::exit()),
        }
    }
}

type Written = (
    Vec<Insn>,
    Vec<(usize, usize)>,
    Vec<(usize, Vec<usize>)>,
    Shape,
);

/// The exception callback: the kernel's own, or one with a frame, two exits and
/// a call if there is a function for it.
fn write_callback(bodies: &[Body]) -> Written {
    let how = bodies[0].first[1];
    let mut shape = Shape::default();
    let mut calls = Vec::new();
    if how % 4 == 0 {
        let code = vec![Insn::mov64_reg(0, REG_1), Insn::exit()];
        return (code, calls, Vec::new(), shape);
    }
    let mut code = vec![
        Insn::mov64_reg(6, REG_1),
        Insn::stx(size::DW, REG_FP, REG_1, -i16::from(how / 8) * 8 - 8),
    ];
    shape.depth = u32::from(how / 8) * 8 + 8;
    shape.saved = 1;
    let callee =
        (0..bodies.len()).find(|n| bodies[*n].level >= CALM && bodies[*n].style == Style::Deaf);
    if let Some(callee) = callee {
        calls.push((code.len(), callee));
        shape.callees.push(callee);
        code.push(Insn::exit());
        code.push(Insn::alu64_reg(alu::XOR, 6, 0));
    }
    code.extend([
        Insn::mov64_reg(0, 6),
        Insn::jmp_imm(jmp::JSET, 0, 4, 1),
        Insn::exit(),
        Insn::ldx(size::DW, REG_1, REG_FP, -i16::from(how / 8) * 8 - 8),
        Insn::alu64_imm(alu::MUL, REG_1, 31),
        Insn::alu64_reg(alu::ADD, 0, REG_1),
        Insn::exit(),
    ]);
    (code, calls, Vec::new(), shape)
}

/// The program that the functions make.
fn assemble(bodies: &[Body]) -> Called {
    let mut order: Vec<usize> = (0..bodies.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse(bodies[*n].level));
    let mut costs = vec![0; bodies.len()];
    let mut written: Vec<_> = bodies.iter().map(|_| None).collect();
    for number in order {
        let mut writer = Writer {
            bodies,
            body: &bodies[number],
            is_entry: number == 0,
            costs: &costs,
            insns: Vec::new(),
            calls: Vec::new(),
            tables: Vec::new(),
            shape: Shape::default(),
            spent: 0,
            times: 1,
            restarts: false,
        };
        writer.start();
        writer.steps(&bodies[number].steps);
        writer.end();
        let saved = writer.data().iter().filter(|reg| **reg >= 6).count() as u32;
        let pointers = 2 * u32::from(bodies[number].style == Style::Registers);
        writer.shape.saved = saved + pointers;
        let passes = if writer.restarts { 3 } else { 1 };
        let cost = (4 * writer.insns.len() as u64 + writer.spent) * passes;
        let Writer {
            insns,
            calls,
            tables,
            shape,
            ..
        } = writer;
        costs[number] = cost;
        written[number] = Some((insns, calls, tables, shape));
    }
    let throws = written.iter().flatten().any(|function| function.3.throws);
    let callback = throws.then_some(bodies.len());
    written.extend(callback.map(|_| Some(write_callback(bodies))));

    let (mut insns, mut functions, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut calls, mut tables) = (Vec::new(), Vec::new());
    for (code, its_calls, its_tables, shape) in written.into_iter().flatten() {
        let start = insns.len();
        insns.extend(code);
        calls.extend(its_calls.iter().map(|(at, callee)| (start + at, *callee)));
        tables.extend(its_tables.into_iter().map(|(at, leads_to)| {
            let leads_to: Vec<u32> = leads_to.iter().map(|to| (start + to) as u32).collect();
            (start + at, leads_to)
        }));
        functions.push(Function::new(start as u32, insns.len() as u32, shape.depth));
        shapes.push(shape);
    }
    for (at, callee) in calls {
        insns[at] = call_at(at, functions[callee].start as usize);
    }
    let mut beyond = Beyond {
        callback,
        ..Beyond::default()
    };
    beyond.places = tables.iter().flat_map(|table| table.1.clone()).collect();
    beyond.places.sort_unstable();
    beyond.places.dedup();
    for (at, leads_to) in tables {
        let address = TABLES_AT + 8 * beyond.tables.len() as u64;
        let reg = insns[at].dst();
        insns[at..at + 2].copy_from_slice(&Insn::ld_imm64(reg, address));
        let places = beyond.leaps().places;
        let numbers = leads_to.iter().map(|to| places.number(*to).unwrap());
        let numbers: Vec<u64> = numbers.collect();
        beyond.tables.extend(numbers);
    }
    let mut program = Program::with_functions(insns, functions);
    program.beyond = beyond;
    Called { program, shapes }
}
