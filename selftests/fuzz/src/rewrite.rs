// SPDX-License-Identifier: GPL-2.0
//! A program of several functions and the image of one that it becomes.

use super::dice::Dice;
use super::host::machine::{Machine, Outcome};
use super::host::program::{lay_out, lay_out_blinded, Laid, LAYOUT};
use bailey::pure::insn::{
    alu, class, jmp, mode, pseudo, size, Insn, REG_1, REG_AX, REG_FP, REG_PARAMS,
};
use bailey::pure::rewrite::functions::{Function, Origin, MAX_STACK_ARGUMENTS};
use bailey::pure::rewrite::{classify, survey, Known, PtrKind};

/// Most instructions.
const LONGEST: usize = 256;
/// Steps of a program that is compared. Its image may take more, by calls and ways back.
const STEPS: u64 = 2000;
const IMAGE_STEPS: u64 = 40 * STEPS;
/// Distances from one frame of a program to the next, with few bits in common. A program that does
/// the same with each does not look at where its frames are, which in its image is elsewhere.
const FRAMES_APART: [u64; 4] = [0x1_0000, 0x1_0008, 0x1_a5a8, 0x15_5558];

/// Bits of an input's first byte.
const RAW: u8 = 1;
const BLINDED: u8 = 2;

/// A program as the first bytes of an input say it is cut: how many functions, the length and
/// the stack of each.
struct Source {
    raw: bool,
    blinded: bool,
    insns: Vec<Insn>,
    functions: Vec<Function>,
}

impl Source {
    fn read(input: &[u8]) -> Option<Self> {
        let (head, rest) = input.split_at_checked(2)?;
        let number = usize::from(head[1] % 4) + 1;
        let (sizes, rest) = rest.split_at_checked(2 * number)?;
        let insns: Vec<Insn> = rest
            .chunks_exact(8)
            .take(LONGEST)
            .map(|slot| {
                let off = i16::from_le_bytes([slot[2], slot[3]]);
                let imm = i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]);
                Insn::new(slot[0], slot[1] & 0xf, slot[1] >> 4, off, imm)
            })
            .collect();
        let mut functions: Vec<Function> = Vec::new();
        let mut start = 0;
        for (at, size) in sizes.chunks_exact(2).enumerate() {
            let left = u32::try_from(insns.len()).ok()?.checked_sub(start)?;
            let len = if at + 1 == number {
                left
            } else {
                u32::from(size[0]).min(left)
            };
            if len == 0 {
                return None;
            }
            let depth = 8 * u32::from(size[1] % 65);
            functions.push(Function::new(start, start + len, depth));
            start += len;
        }
        Some(Self {
            raw: head[0] & RAW != 0,
            blinded: head[0] & BLINDED != 0,
            insns,
            functions,
        })
    }

    /// Makes it what the verifier lets through, as far as form goes: registers there are, jumps
    /// and calls that lead to instructions, functions that end.
    fn mend(&mut self) {
        let mut wide = false;
        for function in &self.functions {
            let (start, end) = (function.start as usize, function.end as usize);
            for at in start..end {
                let insn = &mut self.insns[at];
                if std::mem::take(&mut wide) {
                    *insn = Insn::new(0, 0, 0, 0, insn.imm);
                    continue;
                }
                wide = insn.is_ld_imm64();
                let last = at + 1 == end;
                if last && (wide || !(insn.is_jump_always() || insn.is_exit())) {
                    *insn = Insn::exit();
                    wide = false;
                }
                mend_registers(insn);
            }
        }
        let starts = |insns: &[Insn], at: usize| at == 0 || !insns[at - 1].is_ld_imm64();
        for function in &self.functions {
            let (start, end) = (function.start as usize, function.end as usize);
            for at in start..end {
                let insn = self.insns[at];
                if insn.is_pseudo_call() {
                    let to = at as i64 + 1 + i64::from(insn.imm);
                    let known = |function: &Function| i64::from(function.start) == to;
                    if !self.functions.iter().any(known) {
                        let number = insn.imm.unsigned_abs() as usize % self.functions.len();
                        let to = i64::from(self.functions[number].start);
                        self.insns[at].imm = (to - at as i64 - 1) as i32;
                    }
                } else if let Some(distance) = insn.jump() {
                    let len = (end - start) as i64;
                    let to = at as i64 + 1 + i64::from(distance) - start as i64;
                    let mut to = start + to.rem_euclid(len) as usize;
                    to -= usize::from(!starts(&self.insns, to));
                    let distance = to as i64 - at as i64 - 1;
                    self.insns[at] = insn.with_jump(distance).expect("it is short");
                }
            }
        }
    }

    fn depth(&self, start: usize) -> u32 {
        let mut functions = self.functions.iter();
        let function = functions.find(|function| function.start as usize == start);
        function.map_or(0, |function| function.depth)
    }

    /// What the program does, if it keeps the verifier's rules, ends soon and does not look at
    /// where its frames are.
    fn run(&self) -> Option<Outcome> {
        let depth = |start| self.depth(start);
        let mut outcome = None;
        for apart in FRAMES_APART {
            let mut machine = Machine::program(&self.insns, &depth).frames_apart(apart);
            let found = machine.run_for(STEPS).ok()?;
            if *outcome.get_or_insert_with(|| found.clone()) != found {
                return None;
            }
            if machine.most_frames == 1 {
                break;
            }
        }
        outcome
    }
}

/// Programs have eleven registers. Arguments on the stack are read above and written below
/// another base, eight bytes each.
fn mend_registers(insn: &mut Insn) {
    let wide = insn.access_bytes() == 8 && insn.mode() == mode::MEM;
    let base = insn.base() == Some(REG_PARAMS) && wide;
    let number = (insn.off.unsigned_abs() / 8).wrapping_sub(1) % MAX_STACK_ARGUMENTS as u16 + 1;
    let off = 8 * number as i16;
    let real = |reg: u8| if reg > REG_FP { reg % 11 } else { reg };
    let (dst, src) = (real(insn.dst()), real(insn.src()));
    *insn = match insn.class() {
        class::LDX if base => Insn::new(insn.code, dst, REG_PARAMS, off, insn.imm),
        class::ST | class::STX if base => Insn::new(insn.code, REG_PARAMS, src, -off, insn.imm),
        _ => Insn::new(insn.code, dst, src, insn.off, insn.imm),
    };
}

/// What the verifier could have known of the instruction at `at`.
fn known(source: &Source, at: usize) -> Known {
    let insn = &source.insns[at];
    let kinds = [
        PtrKind::Unknown,
        PtrKind::Ctx,
        PtrKind::Stack,
        PtrKind::Packet,
        PtrKind::MapValue,
        PtrKind::LentObject,
        PtrKind::Followed,
        PtrKind::KernelObject,
        PtrKind::Other(9),
    ];
    Known {
        helper: insn.is_helper_call().then_some(insn.imm as u32),
        ptr: kinds[at.wrapping_mul(7) % if source.raw { kinds.len() } else { 5 }],
        ..Known::default()
    }
}

/// Asserts that a program is refused or laid out with a place for each of its instructions and
/// jumps inside alone, and that the image does what the program does. Raw bytes, which no
/// verifier has seen, need not make sense. Whether to go on from the input: a program that was
/// not compared leads to others that are not.
pub fn check(input: &[u8], planted: bool) -> bool {
    let Some(mut source) = Source::read(input) else {
        return false;
    };
    if !source.raw {
        source.mend();
    }
    survey_counts(&source);
    let laid = if source.blinded {
        lay_out_blinded(&source.insns, &source.functions)
    } else {
        lay_out(&source.insns, &source.functions)
    };
    let Ok(mut laid) = laid else {
        return source.raw;
    };
    if planted {
        forget_saved(&mut laid);
    }
    if source.raw {
        return true;
    }
    check_shape(&source, &laid);
    // A call that needs a gate needs more than an interpreter.
    if laid.code.iter().any(|(_, insn)| insn.is_pseudo_call()) {
        return true;
    }
    let Some(expected) = source.run() else {
        return false;
    };
    let image = laid.insns();
    let found = Machine::image(&image, laid.stack).run_for(IMAGE_STEPS);
    assert_eq!(
        found.as_ref(),
        Ok(&expected),
        "{:?}\n{image:?}",
        source.insns
    );
    true
}

/// The fault that can be planted: R6 to R9 of a caller do not come back.
fn forget_saved(laid: &mut Laid) {
    for (origin, insn) in &mut laid.code {
        let added = matches!(origin, Origin::Added | Origin::For(_));
        if added && insn.is_load() && (6..10).contains(&insn.dst()) {
            *insn = Insn::ja(0);
        }
    }
}

/// A survey counts what the instructions are one by one, and takes none that is refused.
fn survey_counts(source: &Source) {
    let known = |at| known(source, at);
    let actions = source
        .insns
        .iter()
        .enumerate()
        .map(|(at, insn)| classify(insn, &known(at)));
    let facts = survey(&source.insns, LAYOUT, false, known);
    let refused = actions.clone().position(|action| action.is_err());
    assert_eq!(facts.as_ref().err().map(|error| error.0), refused);
    let Ok(facts) = facts else {
        return;
    };
    let sites = actions.flatten().filter(|action| action.is_site()).count();
    assert_eq!(facts.sites() as usize, sites);
    let exits = source.insns.iter().filter(|insn| insn.is_exit()).count();
    assert_eq!(facts.exits() as usize, exits);
}

/// Every jump leads to an instruction, and nothing but the entry ends the run.
fn check_shape(source: &Source, laid: &Laid) {
    let code = &laid.code;
    let len = code.len() as i64;
    for (at, (origin, insn)) in code.iter().enumerate() {
        if let Some(distance) = insn.jump() {
            let to = at as i64 + 1 + i64::from(distance);
            assert!((0..len).contains(&to), "{insn:?} at {at} of {len}");
            let before = usize::try_from(to).ok().and_then(|to| to.checked_sub(1));
            let wide = before.is_some_and(|before| code[before].1.is_ld_imm64());
            assert!(!wide, "{insn:?} at {at} leads into an instruction");
        }
        if insn.is_exit() {
            let Origin::Kept(from) = *origin else {
                panic!("an exit is added at {at}");
            };
            assert!((from as u32) < source.functions[0].end);
        }
        if let Origin::Kept(from) = *origin {
            assert_eq!(insn.code & 7, source.insns[from].code & 7, "at {at}");
            assert_eq!(laid.positions[from], Some(at));
        }
        // AX is the kernel's own.
        let reads_ax = matches!(insn.class(), class::LDX | class::ALU64) && insn.src() == REG_AX;
        assert!(!reads_ax || *origin != Origin::Added, "{insn:?} at {at}");
    }
    // What the last one is does not go on.
    let last = code.last().expect("a program is not empty").1;
    let ends = last.is_exit() || last.is_jump_always();
    assert!(ends, "{last:?} goes on over the end");
}

/// Changes a program by whole instructions; `None` if that is left to libFuzzer. `size` bytes of
/// `data` are the input, which may grow to all of it.
pub fn mutate(data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
    let mut dice = Dice::new(seed);
    if dice.below(4) == 0 || size < 2 {
        return None;
    }
    let number = usize::from(data[1] % 4) + 1;
    let head = 2 + 2 * number;
    let slots = size.checked_sub(head)? / 8;
    if slots == 0 {
        return None;
    }
    let slot = dice.below(slots);
    let (at, end) = (head + 8 * slot, head + 8 * slots);
    // The length of the function that it is in, but for the last.
    let mut behind = 0;
    let length = (0..number - 1).map(|n| 2 + 2 * n).find(|length| {
        behind += usize::from(data[*length]);
        slot < behind
    });
    match dice.below(7) {
        kind @ 0..=2 if end + 8 <= data.len() => {
            let new: [u8; 8] = if kind == 0 {
                let from = head + 8 * dice.below(slots);
                data[from..from + 8].try_into().ok()?
            } else {
                let mut word: [u8; 8] = dice.choose(&words())?.as_slice().try_into().ok()?;
                if dice.below(2) == 0 {
                    word[1] = (dice.below(11) + 16 * dice.below(11)) as u8;
                }
                word
            };
            data.copy_within(at..end, at + 8);
            data[at..at + 8].copy_from_slice(&new);
            if let Some(length) = length {
                data[length] = data[length].saturating_add(1);
            }
            return Some(end + 8);
        }
        3 if slots > 1 => {
            data.copy_within(at + 8..end, at);
            if let Some(length) = length {
                data[length] = data[length].saturating_sub(1);
            }
            return Some(end - 8);
        }
        4 => data[at + 1] = (dice.below(11) + 16 * dice.below(11)) as u8,
        5 => {
            let off = dice.below(33) as i16 - 16;
            let off = if dice.below(2) == 0 { off } else { 8 * off };
            data[at + 2..at + 4].copy_from_slice(&off.to_le_bytes());
        }
        _ => {
            let imm = dice.below(65) as i32 - 32;
            data[at + 4..at + 8].copy_from_slice(&imm.to_le_bytes());
        }
    }
    Some(end)
}

/// Instructions that a program may well have, as bytes.
pub fn words() -> Vec<Vec<u8>> {
    let insns = [
        Insn::exit(),
        Insn::ja(1),
        Insn::ja32(1),
        Insn::new(class::JMP | jmp::CALL, 0, pseudo::CALL, 0, 1),
        Insn::new(class::JMP | jmp::TAIL_CALL, 0, 0, 0, 0),
        Insn::jmp_imm(jmp::JGT, 1, 1, 1),
        Insn::ldx(size::DW, 1, REG_FP, -8),
        Insn::stx(size::DW, REG_FP, 9, -8),
        Insn::ldx(size::DW, 1, REG_PARAMS, 8),
        Insn::st(size::DW, REG_PARAMS, -8, 1),
        Insn::mov64_reg(2, REG_FP),
        Insn::alu64_imm(alu::ADD, 2, -8),
        Insn::mov64_imm(8, 1),
        Insn::alu64_reg(alu::ADD, 0, 8),
        Insn::new(class::STX | mode::ATOMIC | size::DW, REG_FP, 9, -8, 1),
        Insn::ld_imm64(9, 1)[0],
    ];
    insns.map(|insn| insn.to_bytes().to_vec()).to_vec()
}

/// Programs with calls, arguments on the stack, saved registers and loops.
pub fn seeds() -> Vec<Vec<u8>> {
    let call = |distance| Insn::new(class::JMP | jmp::CALL, 0, pseudo::CALL, 0, distance);
    let exit = Insn::exit();
    let arguments = vec![
        Insn::stx(size::DW, REG_FP, REG_1, -8),
        Insn::st(size::DW, REG_PARAMS, -8, 66),
        call(3),
        Insn::ldx(size::DW, 1, REG_FP, -8),
        Insn::ldx(size::W, 0, 1, 4),
        exit,
        Insn::ldx(size::DW, 6, REG_PARAMS, 8),
        Insn::mov64_reg(0, 6),
        exit,
    ];
    let sites = vec![
        Insn::mov64_imm(9, 3),
        Insn::mov64_imm(1, 1),
        call(11),
        Insn::mov64_imm(1, 2),
        call(9),
        Insn::alu64_imm(alu::SUB, 9, 1),
        Insn::jmp_imm(jmp::JNE, 9, 0, -6),
        Insn::mov64_reg(1, 0),
        Insn::mov64_reg(2, REG_FP),
        Insn::mov64_imm(3, 3),
        Insn::mov64_imm(4, 4),
        Insn::mov64_imm(5, 5),
        Insn::call(5),
        exit,
        // Function 1 writes R7, and calls function 2, which writes R8.
        Insn::mov64_reg(7, 1),
        Insn::stx(size::DW, REG_FP, 7, -8),
        Insn::jmp_imm(jmp::JEQ, 1, 1, 1),
        call(4),
        Insn::mov64_imm(0, 4),
        Insn::ldx(size::DW, 7, REG_FP, -8),
        Insn::alu64_reg(alu::ADD, 0, 7),
        exit,
        Insn::mov64_reg(8, 1),
        Insn::alu64_imm(alu::ADD, 8, 9),
        Insn::mov64_reg(2, REG_FP),
        Insn::alu64_imm(alu::ADD, 2, -16),
        Insn::stx(size::W, 2, 8, 4),
        Insn::ldx(size::W, 0, 2, 4),
        exit,
    ];
    let bytes = |head: &[u8], insns: &[Insn]| {
        let slots = insns.iter().flat_map(|insn| insn.to_bytes());
        head.iter().copied().chain(slots).collect::<Vec<u8>>()
    };
    let mut seeds = Vec::new();
    for flags in [0, RAW, BLINDED] {
        seeds.push(bytes(&[flags, 1, 6, 1, 0, 0], &arguments));
        seeds.push(bytes(&[flags, 2, 14, 0, 8, 1, 0, 2], &sites));
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_a_program_that_is_compared() {
        for seed in seeds() {
            let source = Source::read(&seed).unwrap();
            let outcome = source.run();
            assert!(outcome.is_some(), "{:?}", source.insns);
        }
    }

    #[test]
    fn a_program_that_makes_sense_is_not_mended() {
        for seed in seeds() {
            let mut source = Source::read(&seed).unwrap();
            let before = source.insns.clone();
            source.mend();
            assert_eq!(source.insns, before);
        }
    }
}
