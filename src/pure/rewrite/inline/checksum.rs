// SPDX-License-Identifier: GPL-2.0
//! `bpf_csum_diff()` (net/core/filter.c), of sizes that are whole words: the Internet
//! checksum of what is in `to`, less that of what is in `from`, from a seed on.
//!
//! ```text
//!     if (w2 | w4) & 3 goto call
//!     w5 = w5                         the seed
//!     if w4 == 0 goto less
//! to:
//!     w0 = *(u32 *)(r3 + 0)
//!     r5 += r0
//!     r3 += 4
//!     w4 -= 4
//!     if w4 != 0 goto to
//!     fold r5
//!     if w2 == 0 goto done
//!     r3 = 0
//! from:
//!     ...                             r3 += the words of r1, as above
//!     fold r3
//!     w3 = ~w3
//!     r5 += r3
//!     fold r5
//!     goto done
//! less:
//!     if w2 == 0 goto done
//!     w5 = ~w5
//! only:
//!     ...                             r5 += the words of r1
//!     fold r5
//!     w5 = ~w5
//! done:
//!     r0 = w5, its halves added
//!     goto out
//! call:
//!     call bpf_csum_diff
//! out:
//! ```
//!
//! The helper has a case of its own for `from` alone, which gives another of the two zeros
//! of such arithmetic, and so has this. Words are added with 64 bits, which 2^30 of them
//! do not overflow. Where nothing but zeros is added, the sum is 0; else no fold makes it
//! 0, nor does any of the kernel's additions with a carry. So both have the same number.

use super::{op, op32, op32_imm, op_imm, plain, Emit, Part};
use crate::pure::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2};

const REG_3: u8 = 3;
const REG_4: u8 = 4;
const REG_5: u8 = 5;

fn jump(op: u8, reg: u8, imm: i32, distance: i16) -> Insn {
    Insn::new(class::JMP32 | op | K, reg, 0, distance, imm)
}

/// Adds the words at `at`, `len` bytes and more than 0, to `sum`, with R0.
fn words(sum: u8, at: u8, len: u8) -> [Insn; 5] {
    [
        Insn::ldx(size::W, REG_0, at, 0),
        op(alu::ADD, sum, REG_0),
        op_imm(alu::ADD, at, 4),
        op32_imm(alu::SUB, len, 4),
        jump(jmp::JNE, len, 0, -5),
    ]
}

/// Adds the high half of `sum` to the low one, with R0.
fn fold(sum: u8) -> [Insn; 4] {
    [
        op(alu::MOV, REG_0, sum),
        op_imm(alu::RSH, REG_0, 32),
        op32(alu::MOV, sum, sum),
        op(alu::ADD, sum, REG_0),
    ]
}

fn complement(reg: u8) -> Insn {
    op32_imm(alu::XOR, reg, u32::MAX)
}

pub(super) fn emit<E>(emit: Emit<'_, E>) -> Result<(), E> {
    let begin = [
        op32(alu::MOV, REG_0, REG_2),
        op32(alu::OR, REG_0, REG_4),
        jump(jmp::JSET, REG_0, 3, 61),
        op32(alu::MOV, REG_5, REG_5),
        jump(jmp::JEQ, REG_4, 0, 35),
    ];
    plain(emit, begin)?;
    plain(emit, words(REG_5, REG_3, REG_4))?;
    plain(emit, fold(REG_5))?;
    plain(emit, fold(REG_5))?;
    plain(
        emit,
        [jump(jmp::JEQ, REG_2, 0, 37), Insn::mov64_imm(REG_3, 0)],
    )?;
    plain(emit, words(REG_3, REG_1, REG_2))?;
    plain(emit, fold(REG_3))?;
    plain(emit, fold(REG_3))?;
    plain(emit, [complement(REG_3), op(alu::ADD, REG_5, REG_3)])?;
    plain(emit, fold(REG_5))?;
    let less = [
        Insn::ja(16),
        jump(jmp::JEQ, REG_2, 0, 15),
        complement(REG_5),
    ];
    plain(emit, less)?;
    plain(emit, words(REG_5, REG_1, REG_2))?;
    plain(emit, fold(REG_5))?;
    plain(emit, fold(REG_5))?;
    let done = [
        complement(REG_5),
        op32(alu::MOV, REG_0, REG_5),
        op32_imm(alu::RSH, REG_0, 16),
        op32(alu::MOV, REG_1, REG_5),
        op32_imm(alu::LSH, REG_1, 16),
        op32(alu::OR, REG_0, REG_1),
        op32(alu::ADD, REG_0, REG_5),
        op32_imm(alu::RSH, REG_0, 16),
        Insn::ja(1),
    ];
    plain(emit, done)?;
    emit(Part::Call)
}
