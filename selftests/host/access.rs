// SPDX-License-Identifier: GPL-2.0
//! What a faulting instruction was about to do: held against iced-x86 over
//! every form the JIT emits, and against memory for what it does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/decode.rs"]
#[allow(dead_code)]
mod decode;
#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/jit.rs"]
#[allow(dead_code)]
mod jit;
#[path = "common/likely.rs"]
mod likely;
#[path = "common/access.rs"]
mod mediated;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::access::{apply_rmw, effective_address, loaded, memory_access, stored, Op};
use bailey::pure::insn::{class, mode, size, Insn};
use bailey::pure::x86::{Decoder, JitForms};
use decode::iced;
use jit::{x86_reg, Config};
use likely::likely;
use mediated::{agreed, number};
use proptest::prelude::*;

const PLAIN: Config = Config {
    ibt: false,
    poisoned: false,
    bmi2: true,
    rethunk: None,
    sls: false,
    stack_depth: 0,
    padding: false,
    tail_calls: false,
    arena: None,
};

const SIZES: [(u8, u8); 4] = [(size::B, 1), (size::H, 2), (size::W, 4), (size::DW, 8)];
/// Displacements around the border between one and four bytes.
const OFFS: [i16; 9] = [0, 1, -1, 127, -128, 128, -129, i16::MAX, i16::MIN];

/// The machine code of one BPF instruction, as the JIT emits it.
fn emitted(insn: Insn) -> Vec<u8> {
    let image = jit::compile(&[insn, Insn::exit()], 0, 0, &PLAIN);
    image.code[image.addrs[0]..image.addrs[1]].to_vec()
}

fn bases() -> impl Iterator<Item = u8> {
    0..=10
}

fn data() -> impl Iterator<Item = u8> {
    0..10
}

#[test]
fn every_load_of_the_jit_is_read_right() {
    for base in bases() {
        for dst in data() {
            for off in OFFS {
                for (code, bytes) in SIZES {
                    let access = agreed(&emitted(Insn::ldx(code, dst, base, off)));
                    assert_eq!(
                        (access.op, access.size, access.sign_extend),
                        (Op::Load, bytes, false)
                    );
                    assert_eq!(
                        (access.base, access.reg, access.disp),
                        (x86_reg(base), x86_reg(dst), i32::from(off))
                    );
                    if bytes == 8 {
                        continue;
                    }
                    let sx = Insn::new(class::LDX | mode::MEMSX | code, dst, base, off, 0);
                    let access = agreed(&emitted(sx));
                    assert_eq!(
                        (access.op, access.size, access.sign_extend, access.dest),
                        (Op::Load, bytes, true, 8)
                    );
                }
            }
        }
    }
}

#[test]
fn every_store_of_the_jit_is_read_right() {
    for base in bases() {
        for off in OFFS {
            for (code, bytes) in SIZES {
                for src in data() {
                    let access = agreed(&emitted(Insn::stx(code, base, src, off)));
                    assert_eq!((access.op, access.size), (Op::Store, bytes));
                    assert_eq!(
                        (access.base, access.reg, access.disp),
                        (x86_reg(base), x86_reg(src), i32::from(off))
                    );
                }
                for imm in [0, 1, -1, 127, 128, -129, i32::MAX, i32::MIN] {
                    let access = agreed(&emitted(Insn::st(code, base, off, imm)));
                    assert_eq!((access.op, access.size), (Op::StoreImm, bytes));
                    let regs = [0; 16];
                    let mask = u64::MAX >> (64 - 8 * u32::from(bytes));
                    assert_eq!(stored(&access, &regs), i64::from(imm) as u64 & mask);
                }
            }
        }
    }
}

#[test]
fn every_atomic_of_the_jit_is_read_right() {
    let ops = [
        (0x00, Op::Add),
        (0x40, Op::Or),
        (0x50, Op::And),
        (0xa0, Op::Xor),
        (0x01, Op::FetchAdd),
        (0xe1, Op::Exchange),
        (0xf1, Op::CompareExchange),
    ];
    for base in bases() {
        for src in data() {
            for off in OFFS {
                for (code, bytes) in [(size::W, 4), (size::DW, 8)] {
                    for (imm, op) in ops {
                        let insn = Insn::new(class::STX | mode::ATOMIC | code, base, src, off, imm);
                        let access = agreed(&emitted(insn));
                        assert_eq!((access.op, access.size), (op, bytes));
                        assert_eq!(
                            (access.base, access.reg, access.disp),
                            (x86_reg(base), x86_reg(src), i32::from(off))
                        );
                        assert!(access.is_write());
                    }
                }
            }
        }
    }
}

#[test]
fn a_fetching_and_or_xor_is_a_load_and_a_compare_and_exchange() {
    for imm in [0x41, 0x51, 0xa1] {
        for (base, src) in [(0, 0), (0, 3), (3, 0), (10, 5), (7, 9)] {
            let insn = Insn::new(class::STX | mode::ATOMIC | size::DW, base, src, -8, imm);
            let code = emitted(insn);
            let mut at = 0;
            let mut accesses = Vec::new();
            while at < code.len() {
                let insn = JitForms.decode(&code[at..]).unwrap();
                let next = at + usize::from(insn.len);
                if insn.is_memory() {
                    accesses.push(agreed(&code[at..next]).op);
                }
                at = next;
            }
            assert_eq!(accesses, [Op::Load, Op::CompareExchange]);
        }
    }
}

/// The same of an arena: with the base of it for an index.
fn of_arena(code: &[u8], opcode: usize, base: u8) -> Vec<u8> {
    let reg = code[opcode + 1] & 0x38;
    let rex = 0x42 | (code[opcode - 1] & 0x0c) | (base >> 3);
    let mut arena = code[..opcode - 1].to_vec();
    arena.extend([rex, code[opcode], 0x44 | reg, 0x20 | (base & 7), 0x10]);
    arena
}

#[test]
fn accesses_to_an_arena_are_known_by_their_index() {
    for base in (0..16).filter(|&base| base != 4) {
        for reg in (0..16u8).filter(|&reg| reg != 4) {
            let (rex, modrm) = (0x48 | ((reg & 8) >> 1), 0x40 | ((reg & 7) << 3));
            for (op, code) in [
                (Op::Load, vec![rex, 0x8b, modrm]),
                (Op::Store, vec![rex, 0x89, modrm]),
                (Op::Exchange, vec![rex, 0x87, modrm]),
                (Op::Xor, vec![0xf0, rex, 0x31, modrm]),
            ] {
                let opcode = code.len() - 2;
                let access = agreed(&of_arena(&code, opcode, base));
                assert!(access.is_arena());
                assert_eq!((access.op, access.base, access.reg), (op, base, reg));
                let mut regs = [0; 16];
                regs[usize::from(base)] = 0x1234_5678;
                regs[12] = if base == 12 {
                    0x1234_5678
                } else {
                    0xffff_0000_0000_0000
                };
                let at = regs[usize::from(base)] + regs[12] + 0x10;
                assert_eq!(effective_address(&access, &regs), at);
                let into = matches!(op, Op::Load | Op::Exchange).then_some(reg);
                assert_eq!(access.reads_into(), into);
            }
        }
    }
    let swap = agreed(&[0xf0, 0x4a, 0x0f, 0xb1, 0x4c, 0x27, 0]);
    assert!(swap.is_arena() && swap.reads_into() == Some(0));
    // By another register, or by more than once it.
    assert!(!agreed(&[0x4a, 0x8b, 0x44, 0x2f, 0]).is_arena());
    assert!(!agreed(&[0x4a, 0x8b, 0x44, 0x67, 0]).is_arena());
    assert!(!agreed(&[0x49, 0x8b, 0x44, 0x24, 0]).is_arena());
}

#[test]
fn what_is_not_mediated_is_none() {
    for (name, code) in [
        ("add [rax], ecx without lock", &[0x01u8, 0x48, 0][..]),
        ("lock mov", &[0xf0, 0x89, 0x48, 0]),
        ("lock add rax, rcx", &[0xf0, 0x48, 0x01, 0xc8]),
        ("mov eax, ecx", &[0x89, 0xc8]),
        ("mov [rax], ah", &[0x88, 0x60, 0]),
        ("mov ax, [rax]", &[0x66, 0x8b, 0x40, 0]),
        ("mov [rax], rcx with 66", &[0x66, 0x48, 0x89, 0x48, 0]),
        ("movsxd eax, [rax]", &[0x63, 0x40, 0]),
        ("mov eax, [eax]", &[0x67, 0x8b, 0x40, 0]),
        ("rep mov", &[0xf3, 0x8b, 0x40, 0]),
        ("mov eax, [rip]", &[0x8b, 0x05, 0, 0, 0, 0]),
        ("mov eax, [abs32]", &[0x8b, 0x04, 0x25, 0, 0, 0, 0]),
        ("xabort", &[0xc6, 0xf8, 1]),
        ("lock xadd byte", &[0xf0, 0x0f, 0xc0, 0x48, 0]),
        ("push [rax]", &[0xff, 0x70, 0]),
        ("nop [rax]", &[0x0f, 0x1f, 0x40, 0]),
        ("test eax, ecx", &[0x85, 0xc8]),
        ("cmp [rax], ecx", &[0x39, 0x48, 0]),
        ("", &[]),
    ] {
        let access = JitForms.decode(code).as_ref().and_then(memory_access);
        assert_eq!(access, None, "{name}");
    }
}

#[test]
fn scaled_indices_and_wide_bases_are_read_right() {
    // Not the JIT's, but other decoders may hand them in.
    for scale in 0..4u8 {
        for index in 0..16u8 {
            for base in 0..16u8 {
                let rex = 0x48 | ((index >> 3) << 1) | (base >> 3);
                let sib = (scale << 6) | ((index & 7) << 3) | (base & 7);
                agreed(&[rex, 0x8b, 0x44, sib, 0x10]);
                agreed(&[rex, 0x89, 0x84, sib, 0x10, 0x20, 0, 0x80]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_mediated_iced_reads_the_same(bytes in likely()) {
        if let Some(insn) = JitForms.decode(&bytes) {
            if memory_access(&insn).is_some() {
                agreed(&bytes[..usize::from(insn.len)]);
            }
        }
    }
}

/// Memory as a machine has it.
fn bytes_of(value: u64, size: u8) -> u64 {
    value & (u64::MAX >> (64 - 8 * u32::from(size)))
}

proptest! {
    #![proptest_config(generated::config(4000))]

    #[test]
    fn addresses_are_those_iced_works_out(
        regs in any::<[u64; 16]>(), base in 0u8..11, reg in 0u8..10, off in any::<i16>(),
    ) {
        let code = emitted(Insn::ldx(size::DW, reg, base, off));
        let access = agreed(&code);
        let theirs = iced(&code, 0).unwrap();
        let expected = theirs
            .virtual_address(1, 0, |register, _, _| {
                Some(if register.is_segment_register() { 0 } else { regs[usize::from(number(register))] })
            })
            .unwrap();
        prop_assert_eq!(effective_address(&access, &regs), expected);
    }

    #[test]
    fn indexed_addresses_are_those_iced_works_out(
        regs in any::<[u64; 16]>(), rex in 0u8..8, sib in any::<u8>(), disp in any::<i32>(),
    ) {
        let mut code = vec![0x48 | (rex & 3), 0x8b, 0x84, sib];
        code.extend(disp.to_le_bytes());
        let access = agreed(&code);
        let theirs = iced(&code, 0).unwrap();
        let expected = theirs
            .virtual_address(1, 0, |register, _, _| {
                Some(if register.is_segment_register() { 0 } else { regs[usize::from(number(register))] })
            })
            .unwrap();
        prop_assert_eq!(effective_address(&access, &regs), expected);
    }

    /// BPF's own meaning of its loads, independent of x86.
    #[test]
    fn loads_leave_what_bpf_says(raw in any::<u64>(), which in 0usize..4, sign in any::<bool>()) {
        let (code, bytes) = SIZES[which];
        prop_assume!(!(sign && bytes == 8));
        let mode = if sign { mode::MEMSX } else { mode::MEM };
        let access = agreed(&emitted(Insn::new(class::LDX | mode | code, 3, 1, 0, 0)));
        let expected = match (bytes, sign) {
            (1, false) => u64::from(raw as u8),
            (2, false) => u64::from(raw as u16),
            (4, false) => u64::from(raw as u32),
            (1, true) => i64::from(raw as i8) as u64,
            (2, true) => i64::from(raw as i16) as u64,
            (4, true) => i64::from(raw as i32) as u64,
            _ => raw,
        };
        prop_assert_eq!(loaded(&access, raw), expected);
    }

    #[test]
    fn a_sign_extending_load_to_32_bits_clears_the_upper_half(raw in any::<u64>()) {
        // movsx eax, byte [rax+0]: not the JIT's, but a form that is mediated.
        let access = agreed(&[0x0f, 0xbe, 0x40, 0]);
        prop_assert_eq!(loaded(&access, raw), u64::from(i32::from(raw as i8) as u32));
    }

    /// BPF's own meaning of its atomics (`Documentation/bpf/standardization`,
    /// "Atomic operations"), on 32 and 64 bits.
    #[test]
    fn atomics_leave_what_bpf_says(
        regs in any::<[u64; 16]>(), old in any::<u64>(), wide in any::<bool>(), equal in any::<bool>(),
        op in proptest::sample::select(vec![0x00, 0x40, 0x50, 0xa0, 0x01, 0xe1, 0xf1]),
    ) {
        let (code, bytes) = if wide { (size::DW, 8) } else { (size::W, 4) };
        // src is BPF r3, x86 rdx; r0 is rax.
        let access = agreed(&emitted(Insn::new(class::STX | mode::ATOMIC | code, 1, 3, 0, op)));
        let mut regs = regs;
        if equal {
            regs[0] = old;
        }
        let (old, src, r0) = (bytes_of(old, bytes), bytes_of(regs[2], bytes), bytes_of(regs[0], bytes));
        let result = apply_rmw(&access, old, &regs).unwrap();
        let memory = match op {
            0x00 | 0x01 => bytes_of(old.wrapping_add(src), bytes),
            0x40 => old | src,
            0x50 => old & src,
            0xa0 => old ^ src,
            0xe1 => src,
            _ if old == r0 => src,
            _ => old,
        };
        prop_assert_eq!(result.memory, memory);
        prop_assert_eq!(result.reg, matches!(op, 0x01 | 0xe1).then_some(old));
        let cas = op == 0xf1;
        prop_assert_eq!(result.rax, (cas && old != r0).then_some(old));
        prop_assert_eq!(result.zf, cas.then_some(old == r0));
    }

    #[test]
    fn loads_and_stores_are_no_atomics(old in any::<u64>()) {
        for insn in [Insn::ldx(size::W, 1, 2, 0), Insn::stx(size::W, 1, 2, 0), Insn::st(size::B, 1, 0, 7)] {
            prop_assert_eq!(apply_rmw(&agreed(&emitted(insn)), old, &[0; 16]), None);
        }
    }
}
