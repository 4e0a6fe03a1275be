// SPDX-License-Identifier: GPL-2.0
//! The forms of instructions that the JIT emits, and what each of them is to the check of an
//! image. Whatever else the decoder knows has no kind.

use super::super::access::{memory_access, Op, ARENA_BASE};
use super::super::x86::{OpcodeMap, X86Insn, R10, R12, RAX, RBP, RBX, RSP};

/// What an instruction is to the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Computes in registers; stack and frame pointer are not written.
    Plain,
    /// Reads or writes memory; stack and frame pointer are not written.
    Memory,
    Endbr,
    Nop,
    Push,
    /// Of any register but the stack pointer.
    Pop {
        frame_pointer: bool,
    },
    /// `mov rbp, rsp`
    SetFrame,
    /// `mov rax, rsp`
    TakeStack,
    /// `sub rsp, n`
    Reserve(u32),
    /// `add rsp, n`
    Unreserve,
    /// `add rbp, n`: into a function's frame, and out of it
    /// ([`super::super::rewrite::functions`]).
    MoveFrame,
    /// `test r10, r10`
    TestAx,
    /// A conditional jump, with its distance.
    Branch(i64),
    /// An unconditional jump, with its distance.
    Jump(i64),
    Call(i64),
    Leave,
    Ret,
    Int3,
}

/// What `insn` is, if the JIT emits it in this form.
pub(super) fn kind(insn: &X86Insn) -> Option<Kind> {
    if insn.addrsize || insn.repne || insn.segment.is_some() {
        return None;
    }
    // f3 makes endbr64 and nothing else.
    if insn.rep {
        let endbr = insn.map == OpcodeMap::Escape0f
            && insn.opcode == 0x1e
            && insn.modrm == Some(0xfa)
            && insn.rex == 0
            && !insn.opsize
            && !insn.lock;
        return endbr.then_some(Kind::Endbr);
    }
    if insn.lock {
        return memory(insn);
    }
    match insn.map {
        OpcodeMap::OneByte => one_byte(insn),
        OpcodeMap::Escape0f => escape_0f(insn),
        OpcodeMap::Escape0f38 => shift_x(insn),
        OpcodeMap::Escape0f3a | OpcodeMap::Other => None,
    }
}

fn one_byte(insn: &X86Insn) -> Option<Kind> {
    let in_memory = insn.is_memory();
    let opsize_ok = match insn.opcode {
        0x89 | 0xc7 => in_memory && !insn.w(),
        0xc1 => insn.digit() == Some(1) && !insn.w(),
        0x90 => true,
        _ => false,
    };
    if insn.opsize && !opsize_ok {
        return None;
    }
    match insn.opcode {
        // Loads, stores and exchange.
        0x88 | 0x89 | 0x8b | 0x63 | 0x87 | 0xc6 | 0xc7 if in_memory => memory(insn),
        // With constant blinding.
        0x01 if insn.w() && insn.rm_reg()? == RBP && insn.reg()? == R10 => Some(Kind::MoveFrame),
        // r/m op= reg
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 => registers(insn.rm_reg()?, insn.reg()?),
        // cmp, test
        0x39 => readable(insn.rm_reg()?, insn.reg()?),
        0x85 => {
            let (rm, reg) = (insn.rm_reg()?, insn.reg()?);
            if rm == R10 && reg == R10 && insn.w() {
                return Some(Kind::TestAx);
            }
            readable(rm, reg)
        }
        0x89 => {
            let (rm, reg) = (insn.rm_reg()?, insn.reg()?);
            if reg == RSP && insn.w() && rm == RBP {
                return Some(Kind::SetFrame);
            }
            if reg == RSP && insn.rex == 0x48 && rm == RAX {
                return Some(Kind::TakeStack);
            }
            registers(rm, reg)
        }
        0x63 if insn.w() => registers(insn.reg()?, insn.rm_reg()?),
        0x69 | 0x6b => registers(insn.reg()?, insn.rm_reg()?),
        // eax op= imm
        0x05 | 0x0d | 0x25 | 0x2d | 0x35 => Some(Kind::Plain),
        0x81 | 0x83 => {
            let rm = insn.rm_reg()?;
            let bytes = u32::try_from(insn.imm).ok();
            match insn.digit()? {
                0 if rm == RSP && insn.w() => bytes.map(|_| Kind::Unreserve),
                5 if rm == RSP && insn.w() => bytes.map(Kind::Reserve),
                0 if rm == RBP && insn.w() => Some(Kind::MoveFrame),
                0 | 1 | 4 | 5 | 6 => free(rm).then_some(Kind::Plain),
                // cmp
                7 => (rm != RSP).then_some(Kind::Plain),
                _ => None,
            }
        }
        0xb8..=0xbf => free(insn.opcode_reg()).then_some(Kind::Plain),
        0xc7 if insn.w() && insn.digit() == Some(0) => free(insn.rm_reg()?).then_some(Kind::Plain),
        // rol, of the cast to an arena's addresses in user space
        0xc1 if insn.digit() == Some(0) => {
            (insn.w() && insn.imm == 32 && free(insn.rm_reg()?)).then_some(Kind::Plain)
        }
        0xc1 if insn.opsize => (free(insn.rm_reg()?) && insn.imm == 8).then_some(Kind::Plain),
        0xc1 | 0xd1 | 0xd3 => match insn.digit()? {
            4 | 5 | 7 => free(insn.rm_reg()?).then_some(Kind::Plain),
            _ => None,
        },
        0xf7 => {
            let rm = insn.rm_reg()?;
            match insn.digit()? {
                // test, div, idiv
                0 | 6 | 7 => (rm != RSP).then_some(Kind::Plain),
                // neg
                3 => free(rm).then_some(Kind::Plain),
                _ => None,
            }
        }
        0x99 => Some(Kind::Plain),
        0x50..=0x57 => (insn.rex & 0xe == 0 || insn.rex == 0x41)
            .then_some(insn.opcode_reg())
            .filter(|reg| *reg != RSP)
            .map(|_| Kind::Push),
        0x58..=0x5f => (insn.rex & 0xe == 0 || insn.rex == 0x41)
            .then_some(insn.opcode_reg())
            .filter(|reg| *reg != RSP)
            .map(|reg| Kind::Pop {
                frame_pointer: reg == RBP,
            }),
        0x70..=0x7f if insn.rex == 0 => Some(Kind::Branch(insn.imm)),
        0xe9 | 0xeb if insn.rex == 0 => Some(Kind::Jump(insn.imm)),
        0xe8 if insn.rex == 0 => Some(Kind::Call(insn.imm)),
        // With REX.B this would exchange r8 and rax.
        0x90 if insn.rex == 0 => Some(Kind::Nop),
        0xc9 if insn.rex == 0 => Some(Kind::Leave),
        0xc3 if insn.rex == 0 => Some(Kind::Ret),
        0xcc if insn.rex == 0 => Some(Kind::Int3),
        _ => None,
    }
}

fn escape_0f(insn: &X86Insn) -> Option<Kind> {
    if insn.opsize {
        // nopw
        return (insn.opcode == 0x1f && insn.digit() == Some(0) && insn.rex == 0)
            .then_some(Kind::Nop);
    }
    match insn.opcode {
        0x1f => (insn.digit() == Some(0) && insn.rex == 0).then_some(Kind::Nop),
        0x80..=0x8f if insn.rex == 0 => Some(Kind::Branch(insn.imm)),
        0x44 | 0xaf => registers(insn.reg()?, insn.rm_reg()?),
        0xb6 | 0xb7 | 0xbe | 0xbf => {
            if insn.is_memory() {
                return memory(insn);
            }
            registers(insn.reg()?, insn.rm_reg()?)
        }
        0xc8..=0xcf => free(insn.opcode_reg()).then_some(Kind::Plain),
        // lfence
        0xae if insn.modrm == Some(0xe8) && insn.rex == 0 => Some(Kind::Plain),
        _ => None,
    }
}

fn shift_x(insn: &X86Insn) -> Option<Kind> {
    let vex = insn.vex?;
    // Without an implied prefix it is bextr.
    if insn.opcode != 0xf7 || vex.l || vex.pp == 0 || vex.vvvv == RSP {
        return None;
    }
    registers(insn.reg()?, insn.rm_reg()?)
}

/// An access to memory, as mediation knows them all, addressed as the JIT does
/// it: by a register and a displacement of 8 or 32 bits, and to an arena with its base
/// for an index.
fn memory(insn: &X86Insn) -> Option<Kind> {
    if !matches!(insn.mode(), Some(1 | 2)) {
        return None;
    }
    let access = memory_access(insn)?;
    let arena = access.is_arena() && access.base != RSP;
    if insn.sib.is_some() && !arena {
        return None;
    }
    let operand_ok = match access.op {
        Op::Load | Op::FetchAdd | Op::Exchange => free(access.reg),
        Op::StoreImm => true,
        _ => access.reg != RSP,
    };
    operand_ok.then_some(Kind::Memory)
}

/// An instruction that writes `to` and reads `from`.
fn registers(to: u8, from: u8) -> Option<Kind> {
    (free(to) && from != RSP).then_some(Kind::Plain)
}

/// An instruction that reads both.
fn readable(one: u8, other: u8) -> Option<Kind> {
    (one != RSP && other != RSP).then_some(Kind::Plain)
}

/// Whether BPF code may write the register: all but stack and frame pointer.
const fn free(reg: u8) -> bool {
    reg != RSP && reg != RBP
}

/// The registers that a function keeps for its caller, but stack and frame pointer, one bit
/// each.
const KEPT: u32 = (1 << RBX) | (0xf << R12);

/// Those of these that `insn` names, a push or pop among others.
pub(super) fn kept(insn: &X86Insn) -> u32 {
    let has_digit = match insn.map {
        OpcodeMap::OneByte => matches!(
            insn.opcode,
            0x81 | 0x83 | 0xc1 | 0xc6 | 0xc7 | 0xd1 | 0xd3 | 0xf7
        ),
        OpcodeMap::Escape0f => matches!(insn.opcode, 0x1e | 0x1f | 0xae),
        _ => false,
    };
    let in_opcode = match insn.map {
        OpcodeMap::OneByte => matches!(insn.opcode, 0x50..=0x5f | 0xb8..=0xbf),
        OpcodeMap::Escape0f => matches!(insn.opcode, 0xc8..=0xcf),
        _ => false,
    };
    // The operand itself, or what its address begins with. An index is an arena's base.
    let low = insn.sib.or(insn.modrm);
    let operand = low.map(|byte| (byte & 7) | ((insn.rex & 1) << 3));
    // Without REX the bytes 4 to 7 are ah, ch, dh and bh.
    let byte = match (insn.map, insn.opcode) {
        (OpcodeMap::Escape0f, 0xb6 | 0xbe) => insn.rm_reg(),
        _ => None,
    };
    let all = [
        insn.reg().filter(|_| !has_digit),
        operand,
        byte.filter(|reg| insn.rex == 0 && *reg >= 4)
            .map(|reg| reg & 3),
        insn.vex.map(|vex| vex.vvvv),
        Some(insn.opcode_reg()).filter(|_| in_opcode),
    ];
    let set = |set: u32, reg: u8| set | (1 << (reg & 15));
    all.into_iter().flatten().fold(0, set) & KEPT
}

/// Whether `insn` is a `movabs` to the register of an arena's base.
pub(super) fn loads_base(insn: &X86Insn) -> bool {
    insn.map == OpcodeMap::OneByte
        && (0xb8..=0xbf).contains(&insn.opcode)
        && insn.w()
        && insn.opcode_reg() == ARENA_BASE
        && insn.is_plain()
}
