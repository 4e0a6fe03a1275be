// SPDX-License-Identifier: GPL-2.0
//! Constant blinding: what it makes of a rewritten program.
//!
//! With `net.core.bpf_jit_harden` the kernel splits each constant in two before
//! it compiles (`bpf_jit_blind_constants()`, kernel/bpf/core.c). That is after
//! the rewrite, the program becomes up to three and a half times as long, and
//! the load fails if a 16-bit jump does not reach its target any more. So the
//! layout leaves room ([`REACH`]), and [`survey`] counts, before anything is
//! changed.

use super::super::insn::{alu, class, jmp, mode, Insn, K, REG_AX, X};

/// A jump over no more slots than this reaches its target after blinding as
/// well: two slots become seven at most, those of a 64-bit constant.
pub const REACH: i64 = i16::MAX as i64 * 2 / 7;

/// Slots that blinding makes of this one (`bpf_jit_blind_insn()`); the verifier
/// marks no zero extensions for this JIT.
pub const fn slots(insn: &Insn) -> u32 {
    if names_scratch(insn) {
        return 1;
    }
    if insn.is_ld_imm64_tail() {
        return 3;
    }
    if insn.is_ld_imm64() {
        return 4;
    }
    let immediate = insn.code & X == K;
    let splits = match insn.class() {
        class::ALU | class::ALU64 => match insn.op() {
            // dst ^= dst
            alu::MOV if insn.imm == 0 => false,
            alu::ADD | alu::SUB | alu::AND | alu::OR | alu::XOR => immediate,
            alu::MUL | alu::MOV | alu::DIV | alu::MOD => immediate,
            _ => false,
        },
        class::JMP | class::JMP32 => match insn.op() {
            jmp::JEQ | jmp::JNE | jmp::JSET => immediate,
            jmp::JGT | jmp::JGE | jmp::JLT | jmp::JLE => immediate,
            jmp::JSGT | jmp::JSGE | jmp::JSLT | jmp::JSLE => immediate,
            _ => false,
        },
        class::ST => matches!(insn.mode(), mode::MEM | mode::PROBE_MEM32),
        _ => false,
    };
    if splits {
        3
    } else {
        1
    }
}

/// What uses the register that blinding needs stays as it is.
const fn names_scratch(insn: &Insn) -> bool {
    insn.dst() == REG_AX || insn.src() == REG_AX
}

/// Finds out where each instruction is after blinding; one more word for the
/// end. A jump leads to the first slot of what its target becomes and leaves from
/// the last of its own. Returns the first 16-bit jump that does not reach, or
/// that leads out of the program.
pub fn survey(insns: &[Insn], positions: &mut [u32]) -> Result<(), usize> {
    if positions.len() <= insns.len() {
        return Err(0);
    }
    let mut at = 0u32;
    for (insn, position) in insns.iter().zip(positions.iter_mut()) {
        *position = at;
        at = at.saturating_add(slots(insn));
    }
    if let Some(end) = positions.get_mut(insns.len()) {
        *end = at;
    }
    for (index, insn) in insns.iter().enumerate() {
        let Some(distance) = insn.jump() else {
            continue;
        };
        let blinded = distance_of(index, distance, positions).ok_or(index)?;
        if insn.with_jump(blinded).is_none() {
            return Err(index);
        }
    }
    Ok(())
}

/// The distance of the jump at `index` after blinding.
fn distance_of(index: usize, distance: i32, positions: &[u32]) -> Option<i64> {
    let target = usize::try_from(index as i64 + 1 + i64::from(distance)).ok()?;
    let next = positions.get(index + 1)?;
    Some(i64::from(*positions.get(target)?) - i64::from(*next))
}
