// SPDX-License-Identifier: GPL-2.0
//! The JIT that the other tests use emits what the kernel's does.
//!
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/decode.rs"]
#[allow(dead_code)]
mod decode;
#[path = "common/jit.rs"]
#[allow(dead_code)]
mod jit;
#[path = "common/samples.rs"]
mod samples;

use bailey::pure::image::scan;
use bailey::pure::insn::{alu, Insn, K};
use bailey::pure::x86::{Decoder, JitForms, OpcodeMap};
use decode::{iced, Agreed};
use jit::{compile, Config};
use samples::{samples, Sample};

/// The instructions of an image with their places.
fn instructions(code: &[u8]) -> Vec<(usize, bailey::pure::x86::X86Insn)> {
    let mut at = 0;
    let mut insns = Vec::new();
    while at < code.len() {
        let insn = JitForms.decode(&code[at..]).expect("decoded");
        insns.push((at, insn));
        at += usize::from(insn.len);
    }
    insns
}

/// The program with the addresses that the image has, in the order in which
/// they come: each `mov r, imm64` is one `ld_imm64`.
fn with_addresses(sample: &Sample) -> Vec<Insn> {
    let mut wide = instructions(&sample.code)
        .into_iter()
        .filter(|(_, insn)| {
            insn.map == OpcodeMap::OneByte && insn.opcode & 0xf8 == 0xb8 && insn.w()
        })
        .map(|(_, insn)| insn.imm as u64);
    let mut program = sample.program.clone();
    let mut index = 0;
    while index < program.len() {
        let insn = program[index];
        if insn.is_ld_imm64() {
            let value =
                u64::from(insn.imm as u32) | (u64::from(program[index + 1].imm as u32) << 32);
            let long = value != u64::from(value as u32) && value as i64 != i64::from(value as i32);
            if insn.src() != 0 || long {
                let address = wide.next().expect("a mov of 64 bits");
                let loads = Insn::ld_imm64(insn.dst(), address);
                program[index..index + 2].copy_from_slice(&loads);
            }
            index += 1;
        }
        index += 1;
    }
    assert_eq!(wide.next(), None);
    program
}

fn stack_depth(sample: &Sample) -> u32 {
    instructions(&sample.code)
        .iter()
        .take(8)
        .find(|(_, insn)| insn.opcode == 0x81 && insn.modrm == Some(0xec) && insn.w())
        .map_or(0, |(_, insn)| insn.imm as u32)
}

/// The code with the distance of every call set to 0.
fn without_distances(code: &[u8]) -> Vec<u8> {
    let mut code = code.to_vec();
    for (at, insn) in instructions(&code.clone()) {
        if insn.map == OpcodeMap::OneByte && insn.opcode == 0xe8 {
            code[at + 1..at + 5].fill(0);
        }
    }
    code
}

#[test]
fn the_kernels_images_are_decoded_as_iced_decodes_them() {
    for sample in samples() {
        for (at, insn) in instructions(&sample.code) {
            let rest = &sample.code[at..];
            assert_eq!(Agreed.decode(rest), Some(insn), "{} +{at:#x}", sample.name);
        }
    }
}

#[test]
fn the_kernels_images_call_what_their_programs_call() {
    for sample in samples() {
        let calls = sample.program.iter().filter(|insn| insn.is_call()).count();
        let found = scan(&sample.code, sample.base, &JitForms, &mut |hit| {
            let insn = iced(
                &sample.code[hit.offset as usize..],
                sample.base + u64::from(hit.offset),
            );
            assert_eq!(insn.unwrap().near_branch_target(), hit.target);
            Ok(())
        });
        assert_eq!(found, Ok(calls as u32), "{}", sample.name);
    }
}

#[test]
fn our_jit_emits_what_the_kernels_emits() {
    for sample in samples() {
        let program = with_addresses(&sample);
        let config = Config {
            ibt: true,
            poisoned: false,
            bmi2: true,
            rethunk: None,
            sls: true,
            stack_depth: stack_depth(&sample),
            padding: false,
            tail_calls: false,
            arena: None,
        };
        let ours = compile(&program, sample.base, sample.base, &config);
        let (ours, theirs) = (
            without_distances(&ours.code),
            without_distances(&sample.code),
        );
        let differs = ours
            .iter()
            .zip(&theirs)
            .position(|(ours, theirs)| ours != theirs);
        assert_eq!(
            ours,
            theirs,
            "{} differs at {differs:x?}, lengths {} and {}",
            sample.name,
            ours.len(),
            theirs.len()
        );
    }
}

#[test]
fn the_samples_hold_constants_blinded_and_plain() {
    let blinded = |sample: &Sample| {
        sample
            .program
            .iter()
            .any(|insn| insn.code == 7 | alu::XOR | K && insn.dst() == 12)
    };
    assert!(samples().iter().any(blinded));
    assert!(!samples().iter().all(blinded));
}
