// SPDX-License-Identifier: GPL-2.0
//! The check of a program's machine code.

use super::dice::Dice;
use super::host::decode::{iced, Agreed};
use super::host::image::{finish, judge, Finished, ARENA_BASE, BASE, FORBIDDEN, THUNK};
use super::host::jit::Config;
use super::host::program::Program;
use bailey::pure::image::{self, bitmap_len, scan, Expect, SiteHit, Stub};
use bailey::pure::insn::{alu, class, jmp, mode, size, Insn};
use bailey::pure::rewrite::Action;
use bailey::pure::x86::{Decoder, JitForms, X86Insn};

/// Longest image, in bytes.
const LONGEST: usize = 4096;

/// Bits of an input's first byte.
const AGREED: u8 = 1;
const RETURN_THUNK: u8 = 2;
const ARENA: u8 = 4;
const TRAMPOLINE: u8 = 8;

/// A decoder, or one that takes a `hlt` for a nop.
struct Subject {
    agreed: bool,
    planted: bool,
}

impl Decoder for Subject {
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn> {
        if self.planted && bytes.first() == Some(&0xf4) {
            return JitForms.decode(&[0x90]);
        }
        if self.agreed {
            Agreed.decode(bytes)
        } else {
            JitForms.decode(bytes)
        }
    }
}

/// Where the jump behind the first `leave` goes.
fn thunk(code: &[u8]) -> Option<u64> {
    let leave = code.windows(2).position(|bytes| bytes == [0xc9, 0xe9])?;
    let jump = iced(&code[leave + 1..], BASE + leave as u64 + 1)?;
    Some(jump.near_branch_target())
}

/// The first byte says for what kind of program, the rest is its image, in which every call but
/// the first is one of a stub. Asserts that an image that is taken does nothing but what
/// confined code may, as iced-x86 reads it. Goes on from what is taken: what is
/// refused leads to more that is.
pub fn check(input: &[u8], planted: bool) -> bool {
    let Some((&flags, code)) = input.split_first() else {
        return false;
    };
    if code.len() > LONGEST {
        return false;
    }
    let has = |flag: u8| flags & flag != 0;
    let subject = Subject {
        agreed: has(AGREED),
        planted,
    };
    let mut code = code.to_vec();
    let mut hits = Vec::new();
    let scanned = scan(&code, BASE, &subject, &mut |hit| {
        hits.push(hit);
        Ok(())
    });
    for hit in &hits {
        let call = iced(&code[hit.offset as usize..], BASE + u64::from(hit.offset));
        let call = call.expect("a call is an instruction");
        assert!(call.is_call_near(), "{call}");
        assert_eq!(
            (call.next_ip(), call.near_branch_target()),
            (BASE + u64::from(hit.next), hit.target)
        );
    }
    // The enter gate is what is called first, but by a trampoline.
    if has(TRAMPOLINE) && hits.first().is_some_and(|hit| matches!(hit.offset, 0 | 4)) {
        hits.remove(0);
    }
    let enter = if hits.is_empty() {
        THUNK
    } else {
        hits.remove(0).target
    };
    // As the glue has it: another call is a site's, which it makes a jump to the site's stub.
    let inside = |target: u64| target.wrapping_sub(BASE) < code.len() as u64;
    if hits
        .iter()
        .any(|hit| hit.target == enter || inside(hit.target))
    {
        return false;
    }
    for hit in &hits {
        code[hit.offset as usize] = 0xe9;
    }
    let expect = Expect {
        base: BASE,
        enter,
        return_thunk: thunk(&code).filter(|_| has(RETURN_THUNK)),
        arena: has(ARENA).then_some(ARENA_BASE),
        trampoline: has(TRAMPOLINE),
    };
    let mut starts = vec![0xff; bitmap_len(code.len())];
    let ends = |hit: &SiteHit| hit.offset & 1 == 0 || hit.next as usize >= code.len();
    let taken = image::check(
        &code,
        &expect,
        &subject,
        &mut starts,
        &mut |offset, target| {
            let site = hits.iter().find(|hit| hit.offset == offset);
            match site {
                Some(hit) if hit.target == target && ends(hit) => Stub::Ends,
                Some(hit) if hit.target == target => Stub::Returns,
                _ => Stub::None,
            }
        },
    );
    let Ok(report) = taken else {
        return false;
    };
    assert!(scanned.is_ok(), "an image that could not be scanned");
    assert!(report.body <= report.end && report.end as usize <= code.len());
    for hit in hits.iter().filter(|hit| !ends(hit)) {
        assert!(hit.next < report.end, "a stub goes back to nowhere");
    }
    let finished = Finished {
        code: Vec::new(),
        addrs: Vec::new(),
        sites: vec![Action::Exit; hits.len()],
        hits,
        expect,
    };
    judge(&finished, &code, &report, &starts);
    true
}

/// Changes an image by whole instructions, so that what follows is still one; `None` if that is
/// left to libFuzzer. `size` bytes of `data` are the image.
pub fn mutate(data: &mut [u8], size: usize, seed: u32) -> Option<usize> {
    let mut dice = Dice::new(seed);
    if dice.below(2) == 0 {
        return None;
    }
    let mut insns = Vec::new();
    let mut at = 1;
    while let Some(insn) = data.get(at..size).and_then(|rest| JitForms.decode(rest)) {
        let next = at + usize::from(insn.len);
        insns.push(at..next);
        at = next;
    }
    let insn = dice.choose(&insns)?.clone();
    let (start, len) = (insn.start, insn.len());
    match dice.below(4) {
        // A word over as many instructions as it takes, the rest of them nops.
        0 => {
            let word = *dice.choose(FORBIDDEN)?;
            let end = start + word.1.len();
            let end = insns
                .iter()
                .map(|insn| insn.end)
                .find(|behind| *behind >= end)?;
            data[start..end].fill(0x90);
            data[start..start + word.1.len()].copy_from_slice(word.1);
        }
        1 => data[insn].fill(0x90),
        // Another one of the image's, of the same length or with nops behind.
        2 => {
            let from = dice.choose(&insns)?.clone();
            if from.len() > len {
                return None;
            }
            data[insn].fill(0x90);
            data.copy_within(from, start);
        }
        _ => data[start + dice.below(len)] ^= 1 << dice.below(8),
    }
    Some(size)
}

/// What must never be in a body.
pub fn words() -> Vec<Vec<u8>> {
    FORBIDDEN.iter().map(|(_, bytes)| bytes.to_vec()).collect()
}

/// Images of a program, as the JIT makes them for several kinds of kernel.
pub fn seeds() -> Vec<Vec<u8>> {
    let atomic = |op| Insn::new(class::STX | mode::ATOMIC | size::DW, 6, 3, 8, op);
    let mut insns = vec![
        Insn::mov64_reg(6, 1),
        Insn::ldx(size::DW, 2, 6, 0),
        Insn::new(class::LDX | mode::MEMSX | size::B, 7, 2, 300, 0),
        Insn::stx(size::B, 10, 7, -8),
        Insn::st(size::H, 10, -16, 0x1234),
        Insn::alu64_reg(alu::LSH, 7, 3),
        Insn::alu32_imm(alu::MUL, 7, 77),
        Insn::alu64_reg(alu::DIV, 8, 7),
        Insn::new(class::ALU | alu::END | 8, 4, 0, 0, 16),
        atomic(0x01),
        atomic(0x51),
        atomic(0xf1),
        Insn::call(5),
        Insn::jmp_imm(jmp::JSGT, 7, 4, 1),
        Insn::exit(),
        Insn::call(1),
        Insn::mov64_imm(0, 2),
    ];
    insns.extend(Insn::ld_imm64(9, 0x1234_5678_9abc_def0));
    insns.push(Insn::exit());
    let kinds = [
        (0, Config::PLAIN),
        (
            RETURN_THUNK | AGREED,
            Config {
                rethunk: Some(THUNK),
                bmi2: false,
                ibt: false,
                ..Config::PLAIN
            },
        ),
        (
            ARENA,
            Config {
                arena: Some(ARENA_BASE),
                padding: true,
                ..Config::PLAIN
            },
        ),
        (
            TRAMPOLINE,
            Config {
                tail_calls: true,
                sls: false,
                ..Config::PLAIN
            },
        ),
    ];
    let short = vec![Insn::mov64_imm(0, 2), Insn::exit()];
    let mut seeds = Vec::new();
    for (flags, config) in kinds {
        for insns in [&insns, &short] {
            let finished = finish(&Program::new(insns.clone()), &config);
            let mut seed = finished.code;
            for hit in finished.hits {
                seed[hit.offset as usize] = 0xe8;
            }
            seed.insert(0, flags);
            seeds.push(seed);
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_an_image_that_is_taken() {
        for seed in seeds() {
            assert!(check(&seed, false), "{seed:02x?}");
        }
    }
}
