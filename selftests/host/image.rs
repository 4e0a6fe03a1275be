// SPDX-License-Identifier: GPL-2.0
//! The check of finished machine code: it takes what the JIT emits and nothing
//! else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "common/decode.rs"]
#[allow(dead_code)]
mod decode;
#[path = "common/image.rs"]
#[allow(dead_code)]
mod finished;
#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/jit.rs"]
#[allow(dead_code)]
mod jit;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;
#[path = "common/samples.rs"]
#[allow(dead_code)]
mod samples;

use bailey::pure::image::{
    arena_base, bitmap_len, check, is_start, scan, Fault, ImageError, SiteHit, Stub,
};
use bailey::pure::insn::{class, jmp, Insn, K, X};
use bailey::pure::rewrite::Known;
use bailey::pure::x86::{Decoder, JitForms};
use decode::{iced, Agreed};
use finished::*;
use generated::{any_insn, assemble, steps};
use jit::Config;
use program::Program;
use proptest::collection::vec;
use proptest::prelude::*;

fn configs() -> impl Strategy<Value = Config> {
    (
        any::<[bool; 4]>(),
        prop_oneof![Just(None), Just(Some(THUNK))],
        0u32..=512,
        any::<[bool; 3]>(),
    )
        .prop_map(
            |([ibt, poison, bmi2, sls], rethunk, stack_depth, [padding, tail_calls, arena])| {
                Config {
                    ibt,
                    poisoned: ibt && poison,
                    bmi2,
                    rethunk,
                    sls,
                    stack_depth,
                    padding,
                    tail_calls,
                    arena: arena.then_some(ARENA_BASE),
                }
            },
        )
}

/// Any program that the JIT takes: it need not make sense, only be well formed.
fn any_program() -> impl Strategy<Value = Program> {
    let ops = vec![
        jmp::JA,
        jmp::JEQ,
        jmp::JGT,
        jmp::JGE,
        jmp::JSET,
        jmp::JNE,
        jmp::JSGT,
        jmp::JSGE,
        jmp::JLT,
        jmp::JLE,
        jmp::JSLT,
        jmp::JSLE,
    ];
    let branch = (
        any::<bool>(),
        proptest::sample::select(ops),
        any::<bool>(),
        (0u8..10, 0u8..10),
        prop_oneof![any::<i32>(), -2i32..2],
    )
        .prop_map(|(wide, op, by_reg, (dst, src), imm)| {
            let class = if wide { class::JMP } else { class::JMP32 };
            vec![match op {
                jmp::JA if wide => Insn::ja(0),
                jmp::JA => Insn::ja32(0),
                _ if by_reg => Insn::new(class | op | X, dst, src, 0, 0),
                _ => Insn::new(class | op | K, dst, 0, 0, imm),
            }]
        });
    let piece = prop_oneof![
        10 => any_insn(),
        3 => branch,
        1 => Just(vec![Insn::call(5)]),
        1 => Just(vec![Insn::exit()]),
    ];
    (vec(piece, 1..80), vec(any::<prop::sample::Index>(), 80)).prop_map(|(pieces, targets)| {
        // Jumps go to the start of a piece, backwards as well.
        let mut starts = Vec::new();
        let mut insns = Vec::new();
        for piece in &pieces {
            starts.push(insns.len());
            insns.extend_from_slice(piece);
        }
        starts.push(insns.len());
        insns.push(Insn::exit());
        let mut next = targets.iter();
        for (index, insn) in insns.iter_mut().enumerate() {
            if insn.jump().is_some() {
                let target = starts[next.next().unwrap().index(starts.len())];
                let distance = target as i64 - index as i64 - 1;
                *insn = insn.with_jump(distance).unwrap();
            }
        }
        Program::new(insns)
    })
}

proptest! {
    #![proptest_config(generated::config(600))]

    #[test]
    fn every_image_the_jit_makes_is_taken(program in any_program(), config in configs()) {
        let finished = finish(&program, &config);
        for decoder in [&JitForms as &dyn Decoder, &Agreed] {
            let report = finished.check_with(&finished.code, decoder);
            prop_assert!(report.is_ok(), "{:?}", report);
            let report = report.unwrap();
            prop_assert_eq!(report.stub_jumps as usize, finished.sites.len());
            prop_assert_eq!(report.end as usize, finished.code.len());
            // BPF instruction 5 of the rewritten program is `r1 = r0`.
            prop_assert_eq!(report.body as usize, finished.addrs[5]);
            let saved = [6u8, 7, 8, 9].iter().filter(|reg| {
                program.insns.iter().any(|insn| insn.dst() == **reg || insn.src() == **reg)
            }).count() as u32;
            let counted = if config.tail_calls { 16 } else { 0 }
                + if config.arena.is_some() { 8 } else { 0 };
            let frame = config.stack_depth.next_multiple_of(8) + 8 * saved + counted;
            prop_assert_eq!(report.frame, frame);
            prop_assert_eq!(report.counts, config.tail_calls);
            let endbr = if config.ibt { 4 } else { 0 };
            prop_assert_eq!(report.tail_entry, endbr + 12);
        }
    }

    #[test]
    fn every_image_of_a_sensible_program_is_taken(steps in steps(), config in configs()) {
        let finished = finish(&assemble(&steps), &config);
        prop_assert!(finished.check_with(&finished.code, &JitForms).is_ok());
    }

    /// Its functions are one, so its calls and ways back are jumps.
    #[test]
    fn every_image_of_a_program_of_functions_is_taken(
        called in calls::programs(2..7), config in configs(),
    ) {
        let finished = finish(&called.program, &config);
        let mut starts = vec![0; bitmap_len(finished.code.len())];
        let report = finished.check_into(&finished.code, &JitForms, &mut starts);
        prop_assert!(report.is_ok(), "{:?}", report);
        judge(&finished, &finished.code, &report.unwrap(), &starts);
    }

    #[test]
    fn the_bitmap_holds_exactly_the_instructions(program in any_program(), config in configs()) {
        let finished = finish(&program, &config);
        let mut starts = vec![0xff; bitmap_len(finished.code.len())];
        finished.check_into(&finished.code, &JitForms, &mut starts).unwrap();
        let mut at = 0;
        for offset in 0..finished.code.len() {
            let expected = offset == at;
            if expected {
                at += iced(&finished.code[at..], 0).unwrap().len();
            }
            prop_assert_eq!(is_start(&starts, offset as u32), expected, "{:#x}", offset);
        }
        prop_assert!(!is_start(&starts, finished.code.len() as u32 + 8));
    }

    #[test]
    fn padding_behind_the_end_is_no_code(program in any_program(), config in configs(), len in 1usize..40) {
        let finished = finish(&program, &config);
        let mut code = finished.code.clone();
        code.extend(std::iter::repeat_n(0xcc, len));
        let report = finished.check_with(&code, &JitForms).unwrap();
        prop_assert_eq!(report.end as usize, finished.code.len());
        // Nothing else may follow.
        code.push(0x90);
        let error = finished.check_with(&code, &JitForms).unwrap_err();
        prop_assert_eq!(error.fault, Fault::End);
    }

    /// The heart: whatever single byte of an image is changed, either the
    /// image is refused, or it still holds nothing that breaks confinement, by
    /// the judgement of another decoder.
    #[test]
    fn an_image_with_a_changed_byte_is_refused_or_harmless(
        program in any_program(), config in configs(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 64),
    ) {
        let finished = finish(&program, &config);
        for (at, byte) in changes {
            let mut code = finished.code.clone();
            code[at.index(finished.code.len())] = byte;
            let mut starts = vec![0; bitmap_len(code.len())];
            if let Ok(report) = finished.check_into(&code, &JitForms, &mut starts) {
                judge(&finished, &code, &report, &starts);
            }
        }
    }

    /// The same with a dangerous instruction written over the image.
    #[test]
    fn an_image_with_an_instruction_written_over_it_is_refused_or_harmless(
        program in any_program(), config in configs(),
        at in any::<prop::sample::Index>(), index in 0usize..FORBIDDEN.len(),
    ) {
        let finished = finish(&program, &config);
        let mut code = finished.code.clone();
        let at = at.index(code.len());
        let patch = FORBIDDEN[index].1;
        let end = (at + patch.len()).min(code.len());
        code[at..end].copy_from_slice(&patch[..end - at]);
        let mut starts = vec![0; bitmap_len(code.len())];
        if let Ok(report) = finished.check_into(&code, &JitForms, &mut starts) {
            judge(&finished, &code, &report, &starts);
        }
    }
}

#[test]
fn every_program_of_the_corpus_becomes_an_image_that_is_taken() {
    for sample in samples::samples() {
        // Which helper a call is for is not known here; any will do.
        let known = |insn: &Insn| Known {
            helper: insn.is_helper_call().then_some(5),
            ..Known::default()
        };
        let insns: Vec<Insn> = sample
            .program
            .iter()
            .map(|insn| match insn.is_kfunc_call() {
                true => Insn::call(5),
                false => *insn,
            })
            .collect();
        let known = insns.iter().map(known).collect();
        let program = Program {
            known,
            ..Program::new(insns)
        };
        for config in [
            Config::PLAIN,
            Config {
                rethunk: Some(THUNK),
                bmi2: false,
                ..Config::PLAIN
            },
        ] {
            let finished = finish(&program, &config);
            let report = finished.check_with(&finished.code, &Agreed);
            assert!(report.is_ok(), "{}: {report:?}", sample.name);
        }
    }
}

/// The judge of changed images can find something: with the bitmap and report
/// of the image as it was, so that the check has no say.
#[test]
fn the_judge_finds_what_breaks_confinement() {
    let judges = |patch: &[u8]| {
        let (finished, code, _) = patched(&[]);
        let mut starts = vec![0; bitmap_len(code.len())];
        let report = finished.check_into(&code, &JitForms, &mut starts).unwrap();
        let code = patched(patch).1;
        // Every byte a start: only the instruction itself is judged.
        let starts = vec![0xff; starts.len()];
        std::panic::catch_unwind(|| judge_body(&finished, &code, &report, &starts)).is_err()
    };
    assert!(!judges(&[0x90]), "the control");
    for (name, patch) in FORBIDDEN {
        let named = [
            "ret",
            "leave",
            "call rel32",
            "call rax",
            "jmp rax",
            "jmp [rax]",
            "wrmsr",
            "wrpkru",
            "cli",
            "mov cr4, rax",
            "iretq",
            "syscall",
            "mov rsp, rax",
            "pop rbp",
            "mov rax, gs:[rax+0]",
            "rep movsb",
            "xbegin",
            "mov gs, eax",
            "popf",
        ];
        if named.contains(name) {
            assert!(judges(patch), "{name}");
        }
    }
    assert!(judges(&jump_to(roomy().1, THUNK)), "a jump to anywhere");
}

/// A small program with room for a patch in its body.
fn roomy() -> (Finished, usize) {
    let insns = vec![
        Insn::mov64_imm(3, 1),
        // Sixteen bytes and more of plain instructions.
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[0],
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[1],
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[0],
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[1],
        Insn::call(5),
        Insn::mov64_imm(0, 2),
        Insn::exit(),
    ];
    let finished = finish(&Program::new(insns), &Config::PLAIN);
    let room = finished.addrs[7];
    (finished, room)
}

/// `roomy()` with `patch` in its body, the rest of the room filled with nops.
fn patched(patch: &[u8]) -> (Finished, Vec<u8>, usize) {
    let (finished, room) = roomy();
    let mut code = finished.code.clone();
    code[room..room + 20].fill(0x90);
    code[room..room + patch.len()].copy_from_slice(patch);
    (finished, code, room)
}

#[test]
fn forbidden_instructions_are_refused_in_a_body() {
    let (finished, code, _) = patched(&[]);
    assert!(finished.check_with(&code, &JitForms).is_ok(), "the control");
    for (name, patch) in FORBIDDEN {
        let (finished, code, room) = patched(patch);
        for decoder in [&JitForms as &dyn Decoder, &Agreed] {
            let error = finished.check_with(&code, decoder).expect_err(name);
            assert_eq!(error.offset as usize, room, "{name}: {error}");
        }
    }
}

/// What the JIT emits for an arena: accesses by its base and a register, of every kind, and
/// the cast to its addresses in user space.
const ARENA: &[(&str, &[u8])] = &[
    ("mov rax, [rdi+r12+0]", &[0x4a, 0x8b, 0x44, 0x27, 0]),
    (
        "movzx eax, byte [r8+r12+1]",
        &[0x43, 0x0f, 0xb6, 0x44, 0x20, 1],
    ),
    ("movsxd rsi, [r13+r12-1]", &[0x4b, 0x63, 0x74, 0x25, 0xff]),
    (
        "mov [rsi+r12+4096], eax",
        &[0x42, 0x89, 0x84, 0x26, 0, 0x10, 0, 0],
    ),
    (
        "mov word [rbx+r12+0], 7",
        &[0x66, 0x42, 0xc7, 0x44, 0x23, 0, 7, 0],
    ),
    ("mov byte [rbx+r12+0], 7", &[0x42, 0xc6, 0x44, 0x23, 0, 7]),
    (
        "lock or [r14+r12+0], rax",
        &[0xf0, 0x4b, 0x09, 0x44, 0x26, 0],
    ),
    (
        "lock xadd [rdi+r12+0], rax",
        &[0xf0, 0x4a, 0x0f, 0xc1, 0x44, 0x27, 0],
    ),
    (
        "lock cmpxchg [rdi+r12+0], ecx",
        &[0xf0, 0x42, 0x0f, 0xb1, 0x4c, 0x27, 0],
    ),
    ("xchg [rdi+r12+0], rcx", &[0x4a, 0x87, 0x4c, 0x27, 0]),
    ("rol rdi, 32", &[0x48, 0xc1, 0xc7, 32]),
    ("cmove rdi, r11", &[0x49, 0x0f, 0x44, 0xfb]),
];

/// A program that saves what it keeps for its caller, with room for a patch.
fn saving(config: &Config) -> (Finished, usize) {
    let save = (6..10).map(|reg| Insn::mov64_imm(reg, 0));
    let insns = save.chain([
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[0],
        Insn::ld_imm64(4, 0x1122_3344_5566_7788)[1],
        Insn::exit(),
    ]);
    let finished = finish(&Program::new(insns.collect()), config);
    let room = finished.addrs[10];
    (finished, room)
}

#[test]
fn what_is_done_to_an_arena_is_taken_where_there_is_one() {
    let with = Config {
        arena: Some(ARENA_BASE),
        ..Config::PLAIN
    };
    for (name, patch) in ARENA {
        for decoder in [&JitForms as &dyn Decoder, &Agreed] {
            let insn = decoder.decode(patch).expect(name);
            assert_eq!(usize::from(insn.len), patch.len(), "{name}");
            for config in [&with, &Config::PLAIN] {
                let (finished, room) = saving(config);
                let mut code = finished.code.clone();
                code[room..room + 10].fill(0x90);
                code[room..room + patch.len()].copy_from_slice(patch);
                match finished.check_with(&code, decoder) {
                    Ok(report) => {
                        assert!(config.arena.is_some() || insn.sib.is_none(), "{name}");
                        assert_eq!(report.names & (1 << 12), 0);
                    }
                    Err(error) => {
                        assert!(config.arena.is_none(), "{name}: {error}");
                        assert_eq!((error.offset as usize, error.fault), (room, Fault::Arena));
                    }
                }
            }
        }
    }
    // By its base alone, which is set once, saved before and not written else.
    let (finished, room) = saving(&with);
    let at = arena_base(&finished.code, ARENA_BASE, &JitForms).unwrap() as usize;
    assert!(finished.check_with(&finished.code, &JitForms).is_ok());
    for (place, bytes) in [
        (at, &[0x10u8][..]),
        (at - 2, &[0x90; 10]),
        (at - 1, &[0xbd]),
        (room, &[0x49, 0x01, 0xc4]),
        (room, &[0x41, 0xbc, 0, 0, 0, 0]),
    ] {
        let mut code = finished.code.clone();
        code[place..place + bytes.len()].copy_from_slice(bytes);
        let error = finished.check_with(&code, &JitForms).unwrap_err();
        assert!(
            matches!(error.fault, Fault::Arena | Fault::Saved | Fault::Call),
            "{bytes:02x?}: {error}"
        );
    }
}

#[test]
fn the_base_of_an_arena_is_found_in_the_prologue_alone() {
    const KERNEL: u64 = 0xffff_c900_1234_0000;
    let mut set = vec![0x49, 0xbc];
    set.extend(KERNEL.to_le_bytes());
    let prologue = [
        0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, 0x41, 0x54, 0x53,
    ];
    let call = [0xe8, 0, 0, 0, 0];
    let image = |parts: &[&[u8]]| parts.concat();
    let found = |code: &[u8], base| arena_base(code, base, &JitForms);

    let good = image(&[&prologue, &set, &call]);
    let at = found(&good, KERNEL).unwrap() as usize;
    assert_eq!(good[at..at + 8], KERNEL.to_le_bytes());
    assert_eq!(at, prologue.len() + 2);
    assert_eq!(found(&good, KERNEL + 4096), None);
    assert_eq!(found(&image(&[&prologue, &call, &set]), KERNEL), None);
    assert_eq!(found(&image(&[&prologue, &call]), KERNEL), None);
    assert_eq!(found(&good[..at], KERNEL), None);
    assert_eq!(found(&[], KERNEL), None);
    // Another register, and 32 bits of it.
    for (byte, other) in [(1, 0xbd), (0, 0x48), (0, 0x41)] {
        let mut code = good.clone();
        code[prologue.len() + byte] = other;
        assert_eq!(found(&code, KERNEL), None, "{:02x?}", code);
    }
}

/// Instructions that the JIT emits, each with a register that a function keeps for its caller in
/// another place.
const NAMING: &[(&str, &[u8])] = &[
    ("mov ebx, eax", &[0x89, 0xc3]),
    ("mov eax, ebx", &[0x89, 0xd8]),
    ("mov r13, rax", &[0x49, 0x89, 0xc5]),
    ("add r12, rax", &[0x49, 0x01, 0xc4]),
    ("cmp rax, r14", &[0x4c, 0x39, 0xf0]),
    ("test r15, r15", &[0x4d, 0x85, 0xff]),
    ("mov rax, [rbx+0]", &[0x48, 0x8b, 0x43, 0]),
    ("mov [r13+0], rax", &[0x49, 0x89, 0x45, 0]),
    ("mov [rax+0], r14", &[0x4c, 0x89, 0x70, 0]),
    ("mov [rax+0], bl", &[0x88, 0x58, 0]),
    ("movzx eax, bl", &[0x0f, 0xb6, 0xc3]),
    ("movsx eax, bh", &[0x0f, 0xbe, 0xc7]),
    ("lock xadd [rax+0], r15", &[0xf0, 0x4c, 0x0f, 0xc1, 0x78, 0]),
    ("mov dword [r15+0], 1", &[0x41, 0xc7, 0x47, 0, 1, 0, 0, 0]),
    ("mov ebx, 1", &[0xbb, 1, 0, 0, 0]),
    ("mov r13d, 1", &[0x41, 0xbd, 1, 0, 0, 0]),
    ("neg r14", &[0x49, 0xf7, 0xde]),
    ("shl rbx, 1", &[0x48, 0xd1, 0xe3]),
    ("imul rax, rbx", &[0x48, 0x0f, 0xaf, 0xc3]),
    ("imul rbx, rax, 3", &[0x48, 0x6b, 0xd8, 3]),
    ("bswap r15", &[0x49, 0x0f, 0xcf]),
    ("shlx rax, rcx, rbx", &[0xc4, 0xe2, 0xe1, 0xf7, 0xc1]),
    ("shlx rax, r14, rcx", &[0xc4, 0xc2, 0xf1, 0xf7, 0xc6]),
    ("shlx r13, rax, rcx", &[0xc4, 0x62, 0xf1, 0xf7, 0xe8]),
    ("push rbx", &[0x53]),
    ("pop r13", &[0x41, 0x5d]),
];

#[test]
fn a_register_of_the_kernel_is_named_only_if_it_is_saved() {
    for (name, patch) in NAMING {
        for decoder in [&JitForms as &dyn Decoder, &Agreed] {
            let (finished, code, room) = patched(patch);
            let error = finished.check_with(&code, decoder).expect_err(name);
            assert_eq!(
                (error.offset as usize, error.fault),
                (room, Fault::Saved),
                "{name}"
            );
        }
    }
    // The same where all four are saved; r12 never is.
    let (finished, at) = saving(&Config::PLAIN);
    for (name, patch) in NAMING {
        let mut code = finished.code.clone();
        code[at..at + 10].fill(0x90);
        code[at..at + patch.len()].copy_from_slice(patch);
        let mut starts = vec![0; bitmap_len(code.len())];
        let report = finished.check_into(&code, &JitForms, &mut starts);
        match report {
            Err(error) => {
                assert_eq!(error.fault, Fault::Saved, "{name}");
                assert_eq!(*name, "add r12, rax");
            }
            Ok(report) => {
                assert_eq!(report.names, 0xe008, "{name}");
                judge_saved(&code, &report, &starts, false);
            }
        }
    }
    // push rbx; push r13: in any other way than saved they are not taken back.
    let popped = finished
        .check_with(&finished.code, &JitForms)
        .unwrap()
        .epilogue as usize;
    assert_eq!(
        finished.code[popped..popped + 7],
        [0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x5b]
    );
    for pops in [
        [0x41, 0x5e, 0x41, 0x5f, 0x41, 0x5d, 0x5b],
        [0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x90],
        [0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5c, 0x5b],
        [0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x58],
    ] {
        let mut code = finished.code.clone();
        code[popped..popped + 7].copy_from_slice(&pops);
        assert!(
            finished.check_with(&code, &JitForms).is_err(),
            "{pops:02x?}"
        );
    }
    // Nor is one of the kernel's pushed twice, or changed before.
    let pushed = finished
        .code
        .windows(7)
        .position(|bytes| bytes == [0x53, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57])
        .unwrap();
    for pushes in [
        [0x53, 0x53, 0x90, 0x41, 0x56, 0x41, 0x57],
        [0x53, 0x41, 0x54, 0x41, 0x56, 0x41, 0x57],
        [0x31, 0xdb, 0x53, 0x41, 0x55, 0x41, 0x56],
    ] {
        let mut code = finished.code.clone();
        code[pushed..pushed + 7].copy_from_slice(&pushes);
        assert_eq!(
            finished.check_with(&code, &JitForms).unwrap_err().fault,
            Fault::Saved
        );
    }
}

#[test]
fn forbidden_instructions_are_refused_before_enter() {
    for (name, patch) in FORBIDDEN {
        // Over `mov rsi, slot`, ten bytes, the rest nops.
        let (finished, _) = roomy();
        let start = finished.addrs[0];
        if patch.len() > 10 || matches!(*name, "endbr64" | "sub rsp, 8") {
            continue;
        }
        let mut code = finished.code.clone();
        code[start..start + 10].fill(0x90);
        assert!(finished.check_with(&code, &JitForms).is_ok(), "the control");
        code[start..start + patch.len()].copy_from_slice(patch);
        assert!(finished.check_with(&code, &JitForms).is_err(), "{name}");
    }
}

#[test]
fn the_count_of_tail_calls_is_taken_whole_and_once() {
    let config = Config {
        tail_calls: true,
        ..Config::PLAIN
    };
    let finished = finish(&Program::new(vec![Insn::exit()]), &config);
    let code = &finished.code;
    assert!(finished.check_with(code, &JitForms).unwrap().counts);
    let at = code
        .windows(4)
        .position(|bytes| bytes == [0x48, 0x83, 0xf8, 33])
        .unwrap();
    // Any of its bytes otherwise, the kernel's limit and distances included.
    for offset in at..at + 14 {
        for bit in 0..8 {
            let mut code = code.clone();
            code[offset] ^= 1 << bit;
            if let Ok(report) = finished.check_with(&code, &JitForms) {
                panic!("{:02x?}: {report:?}", &code[at..at + 14]);
            }
        }
    }
    // A part of it, or another one behind.
    let lengths = [4, 2, 1, 3, 2, 1, 1];
    let mut from = at;
    for len in lengths {
        let mut code = code.clone();
        code[from..from + len].fill(0x90);
        assert!(finished.check_with(&code, &JitForms).is_err());
        from += len;
    }
    // Not in a body.
    for patch in [&[0x48, 0x89, 0xe0][..], &[0x50, 0x48, 0x89, 0xe0]] {
        let (finished, code, _) = patched(patch);
        assert!(finished.check_with(&code, &JitForms).is_err());
    }
}

#[test]
fn a_call_left_in_the_body_is_refused() {
    let (finished, _) = roomy();
    for hit in &finished.hits {
        let mut code = finished.code.clone();
        code[hit.offset as usize] = 0xe8;
        let error = finished.check_with(&code, &JitForms).unwrap_err();
        assert_eq!(
            error,
            ImageError {
                offset: hit.offset,
                fault: Fault::Call
            }
        );
    }
}

/// A five-byte jump at `room` to `target`.
fn jump_to(room: usize, target: u64) -> [u8; 5] {
    let distance = target.wrapping_sub(BASE + room as u64 + 5) as i32;
    let [a, b, c, d] = distance.to_le_bytes();
    [0xe9, a, b, c, d]
}

#[test]
fn a_jump_lands_on_an_instruction_of_the_body_or_is_refused() {
    let (finished, room) = roomy();
    let mut starts = vec![0; bitmap_len(finished.code.len())];
    let report = finished
        .check_into(&finished.code, &JitForms, &mut starts)
        .unwrap();
    for target in 0..finished.code.len() + 4 {
        let (finished, mut code, _) = patched(&jump_to(room, BASE + target as u64));
        // Three nops behind it, then the rest as it was.
        code[room + 5..].copy_from_slice(&patched(&[]).1[room + 5..]);
        let in_room = (room..room + 20).contains(&target);
        let inside_jump = (room + 1..room + 5).contains(&target);
        let start = if in_room {
            !inside_jump
        } else {
            target >= report.body as usize && is_start(&starts, target as u32)
        };
        assert_eq!(
            finished.check_with(&code, &JitForms).is_ok(),
            start && target < finished.code.len(),
            "to {target:#x}"
        );
    }
}

#[test]
fn no_site_jumps_to_the_stub_of_another() {
    let (finished, room) = roomy();
    let (site, exit) = (finished.hits[0], finished.hits[1]);
    for target in [site.target, exit.target, finished.expect.enter, THUNK] {
        let (finished, code, _) = patched(&jump_to(room, target));
        let error = finished.check_with(&code, &JitForms).unwrap_err();
        assert_eq!((error.offset as usize, error.fault), (room, Fault::Jump));
    }
    let mut code = finished.code.clone();
    let at = site.offset as usize;
    for target in [exit.target, site.target + 1, site.target - 1] {
        code[at..at + 5].copy_from_slice(&jump_to(at, target));
        assert_eq!(
            finished.check_with(&code, &JitForms).unwrap_err().fault,
            Fault::Jump
        );
    }
}

#[test]
fn a_short_or_conditional_jump_never_leaves_the_image() {
    // A stub so near that two bytes reach it does not exist, but the callback
    // must not even be asked.
    let (finished, code, room) = patched(&[0xeb, 0x7f]);
    assert!(room + 0x81 > code.len());
    let mut starts = vec![0; bitmap_len(code.len())];
    for patch in [
        &[0xebu8, 0x7f][..],
        &[0x74, 0x7f],
        &[0x0f, 0x84, 0, 0, 1, 0],
    ] {
        let (_, code, _) = patched(patch);
        let mut asked = 0;
        let result = check(
            &code,
            &finished.expect,
            &JitForms,
            &mut starts,
            &mut |_, _| {
                asked += 1;
                Stub::Ends
            },
        );
        assert_eq!(
            result,
            Err(ImageError {
                offset: room as u32,
                fault: Fault::Jump
            })
        );
        assert_eq!(asked, 0);
    }
}

#[test]
fn a_stub_that_returns_needs_somewhere_to_return_to() {
    let (finished, _) = roomy();
    let last = *finished.hits.last().unwrap();
    assert_eq!(last.next as usize, finished.code.len());
    let mut starts = vec![0; bitmap_len(finished.code.len())];
    let mut with = |kind| {
        check(
            &finished.code,
            &finished.expect,
            &JitForms,
            &mut starts,
            &mut |_, _| kind,
        )
    };
    assert!(with(Stub::Ends).is_ok());
    assert_eq!(
        with(Stub::Returns),
        Err(ImageError {
            offset: last.offset,
            fault: Fault::Jump
        })
    );
}

#[test]
fn code_that_runs_over_its_end_is_refused() {
    let (finished, _) = roomy();
    for tail in [&[0x90u8][..], &[0x31, 0xc0], &[0x74, 0xfe]] {
        let mut code = finished.code.clone();
        code.extend_from_slice(tail);
        assert_eq!(
            finished.check_with(&code, &JitForms).unwrap_err().fault,
            Fault::End
        );
    }
    // Cut anywhere it is refused, too.
    for len in 0..finished.code.len() {
        assert!(finished
            .check_with(&finished.code[..len], &JitForms)
            .is_err());
    }
}

#[test]
fn the_second_return_of_enter_must_be_handled() {
    let (finished, _) = roomy();
    let report = finished.check_with(&finished.code, &JitForms).unwrap();
    let behind = report.enter as usize + 5;
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut code = finished.code.clone();
        change(&mut code);
        finished.check_with(&code, &JitForms).unwrap_err().fault
    };
    // test r10, r10; jz +n
    assert_eq!(finished.code[behind..behind + 4], [0x4d, 0x85, 0xd2, 0x74]);
    assert_eq!(refused(&|code| code[behind + 2] = 0xc0), Fault::Enter);
    assert_eq!(
        refused(&|code| code[behind] = 0x45),
        Fault::Enter,
        "32 bits"
    );
    assert_eq!(
        refused(&|code| code[behind + 3] = 0x75),
        Fault::Enter,
        "jnz"
    );
    assert_eq!(
        refused(&|code| code[behind + 3] = 0xeb),
        Fault::Enter,
        "jmp"
    );
    // Over less or more than the epilogue.
    for skip in [-3i8, 0, 1, 2, 4, 5, 100] {
        let right = (report.body - report.epilogue) as i8;
        if skip != right {
            // Whatever is said of it, it is refused.
            let _ = refused(&|code| code[behind + 4] = skip as u8);
        }
    }
    // The epilogue is leave; ret; int3 here.
    let epilogue = report.epilogue as usize;
    assert_eq!(
        finished.code[epilogue..report.body as usize],
        [0xc9, 0xc3, 0xcc]
    );
    assert!(matches!(
        refused(&|code| code[epilogue] = 0x90),
        Fault::Enter | Fault::Return
    ));
    assert_eq!(refused(&|code| code[epilogue + 1] = 0x90), Fault::Return);
    assert_eq!(refused(&|code| code[epilogue + 2] = 0xc3), Fault::Enter);
    // Another enter gate.
    assert_eq!(
        refused(&|code| code[report.enter as usize + 1] ^= 1),
        Fault::Call
    );
}

#[test]
fn a_trampoline_is_allowed_only_where_one_can_be() {
    let (finished, _) = roomy();
    let trampoline = jump_to(4, 0xffff_ffff_c000_1000);
    let mut code = finished.code.clone();
    code[4..9].copy_from_slice(&trampoline);
    code[4] = 0xe8;
    assert_eq!(
        finished.check_with(&code, &JitForms).unwrap_err().fault,
        Fault::Call
    );
    let mut attached = finished.clone();
    attached.expect.trampoline = true;
    assert!(attached.check_with(&code, &JitForms).is_ok());
    // A jump, as a replaced program has it, is none.
    code[4] = 0xe9;
    assert!(attached.check_with(&code, &JitForms).is_err());
    // Nor is a call anywhere else.
    let (_, body, room) = patched(&jump_to(roomy().1, 0xffff_ffff_c000_1000));
    let mut body = body;
    body[room] = 0xe8;
    assert_eq!(
        attached.check_with(&body, &JitForms).unwrap_err().fault,
        Fault::Call
    );
}

#[test]
fn a_bitmap_too_short_is_refused() {
    let (finished, _) = roomy();
    let mut starts = vec![0; bitmap_len(finished.code.len()) - 1];
    assert_eq!(
        finished
            .check_into(&finished.code, &JitForms, &mut starts)
            .unwrap_err()
            .fault,
        Fault::Length
    );
}

#[test]
fn a_scan_ends_with_the_callers_error() {
    let (finished, _) = roomy();
    let mut code = finished.code.clone();
    for hit in &finished.hits {
        code[hit.offset as usize] = 0xe8;
    }
    let refuse = |hit: SiteHit| ImageError {
        offset: hit.offset,
        fault: Fault::Site,
    };
    let mut seen = 0;
    let error = scan(&code, BASE, &JitForms, &mut |hit| {
        seen += 1;
        Err(refuse(hit))
    });
    assert_eq!(seen, 1);
    assert_eq!(error.unwrap_err().fault, Fault::Site);
    assert_eq!(scan(&code, BASE, &JitForms, &mut |_| Ok(())), Ok(3));
    assert_eq!(scan(&[], BASE, &JitForms, &mut |_| Ok(())), Ok(0));
}

#[test]
fn operands_that_look_like_calls_are_no_sites() {
    // mov rcx, imm64 full of e8 bytes
    let (_, mut code, room) =
        patched(&[0x48, 0xb9, 0xe8, 0xe8, 0xe8, 0xe8, 0xe8, 0xe8, 0xe8, 0xe8]);
    let before = scan(&code, BASE, &JitForms, &mut |_| Ok(())).unwrap();
    assert_eq!(before, 1, "enter");
    // Without the start of the instruction that holds them, they are.
    code[room..room + 2].fill(0x90);
    assert!(scan(&code, BASE, &JitForms, &mut |_| Ok(())).unwrap() > before);
}

#[test]
fn errors_say_what_and_where() {
    let error = ImageError {
        offset: 0x2a,
        fault: Fault::Return,
    };
    assert_eq!(error.to_string(), "return outside of the epilogue at +0x2a");
}
