// SPDX-License-Identifier: GPL-2.0
//! x86-64 instructions, as far as the kernel's BPF JIT uses them.
//!
//! Two things are asked of machine code: whether a finished image holds only
//! what the JIT emits ([`super::image`]), and what a faulting instruction was
//! about to do ([`super::access`]). Both work on [`X86Insn`], the fields of one
//! instruction, which any decoder can fill. [`JitForms`] is one of ours: it
//! knows the opcodes of `arch/x86/net/bpf_jit_comp.c` and nothing else, so
//! that what it does not know is already refused. Encoding: SDM volume 2,
//! chapter 2.

/// Where an opcode is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpcodeMap {
    /// The opcode byte alone.
    OneByte,
    /// After `0f`.
    Escape0f,
    /// After `0f 38`.
    Escape0f38,
    /// After `0f 3a`.
    Escape0f3a,
    /// Anything else: refused by everything here.
    Other,
}

/// What a VEX prefix says beside the opcode map and the REX bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vex {
    /// The implied prefix: 0 none, 1 `66`, 2 `f3`, 3 `f2`.
    pub pp: u8,
    /// The extra register operand, 0 to 15 (already inverted).
    pub vvvv: u8,
    /// 256-bit vectors.
    pub l: bool,
}

/// The fields of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X86Insn {
    /// Length in bytes, prefixes included.
    pub len: u8,
    /// Prefix `66`.
    pub opsize: bool,
    /// Prefix `f3`.
    pub rep: bool,
    /// Prefix `f2`.
    pub repne: bool,
    /// Prefix `f0`.
    pub lock: bool,
    /// Prefix `67`.
    pub addrsize: bool,
    /// A segment prefix: `26`, `2e`, `36`, `3e`, `64` or `65`.
    pub segment: Option<u8>,
    /// REX, 0x40 to 0x4f, or 0. With VEX: the W, R, X and B that it says.
    pub rex: u8,
    /// The VEX prefix.
    pub vex: Option<Vex>,
    /// The opcode's map.
    pub map: OpcodeMap,
    /// The opcode.
    pub opcode: u8,
    /// The ModRM byte.
    pub modrm: Option<u8>,
    /// The SIB byte.
    pub sib: Option<u8>,
    /// Displacement, sign-extended; 0 if there is none.
    pub disp: i32,
    /// Immediate or jump distance, sign-extended; 0 if there is none.
    pub imm: i64,
}

/// Number of rax among the general registers.
pub const RAX: u8 = 0;
/// Number of rbx among the general registers.
pub const RBX: u8 = 3;
/// Number of the stack pointer among the general registers.
pub const RSP: u8 = 4;
/// Number of the frame pointer among the general registers.
pub const RBP: u8 = 5;
/// Number of r10, BPF's AX, among the general registers.
pub const R10: u8 = 10;
/// Number of r12 among the general registers.
pub const R12: u8 = 12;

impl X86Insn {
    const EMPTY: Self = Self {
        len: 0,
        opsize: false,
        rep: false,
        repne: false,
        lock: false,
        addrsize: false,
        segment: None,
        rex: 0,
        vex: None,
        map: OpcodeMap::OneByte,
        opcode: 0,
        modrm: None,
        sib: None,
        disp: 0,
        imm: 0,
    };

    /// REX.W: 64-bit operands.
    pub const fn w(&self) -> bool {
        self.rex & 8 != 0
    }

    /// The two high bits of ModRM; 3 is a register operand.
    pub const fn mode(&self) -> Option<u8> {
        match self.modrm {
            Some(modrm) => Some(modrm >> 6),
            None => None,
        }
    }

    /// Whether the ModRM operand is in memory.
    pub const fn is_memory(&self) -> bool {
        matches!(self.mode(), Some(0..=2))
    }

    /// ModRM.reg with REX.R: a register, 0 to 15.
    pub const fn reg(&self) -> Option<u8> {
        match self.modrm {
            Some(modrm) => Some(((modrm >> 3) & 7) | ((self.rex & 4) << 1)),
            None => None,
        }
    }

    /// ModRM.reg as part of the opcode, 0 to 7.
    pub const fn digit(&self) -> Option<u8> {
        match self.modrm {
            Some(modrm) => Some((modrm >> 3) & 7),
            None => None,
        }
    }

    /// The register of the ModRM operand, 0 to 15, unless it is in memory.
    pub const fn rm_reg(&self) -> Option<u8> {
        match self.modrm {
            Some(modrm) if modrm >= 0xc0 => Some((modrm & 7) | ((self.rex & 1) << 3)),
            _ => None,
        }
    }

    /// The register in the opcode's low three bits with REX.B, 0 to 15.
    pub const fn opcode_reg(&self) -> u8 {
        (self.opcode & 7) | ((self.rex & 1) << 3)
    }

    /// Whether it has no prefix but REX.
    pub const fn is_plain(&self) -> bool {
        !self.opsize
            && !self.rep
            && !self.repne
            && !self.lock
            && !self.addrsize
            && self.segment.is_none()
            && self.vex.is_none()
    }
}

/// What takes machine code apart.
///
/// The answer must be the instruction at the start of `bytes`; `None` if that
/// is none that is known, or `bytes` ends within it.
pub trait Decoder {
    /// The instruction at the start of `bytes`.
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn>;

    /// The same, where [`decode`](Self::decode) has been or will be asked about these
    /// bytes, so that a second opinion need not be had twice.
    fn decode_again(&self, bytes: &[u8]) -> Option<X86Insn> {
        self.decode(bytes)
    }
}

/// Decodes the opcodes that the JIT emits and refuses all others.
///
/// It is as strict as the JIT is narrow: no prefix twice, REX last, no segments,
/// no absolute or RIP-relative operands. That an opcode is decoded does not
/// mean that the JIT emits it with these operands; [`super::image`] decides
/// that.
#[derive(Clone, Copy, Debug, Default)]
pub struct JitForms;

/// What follows an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Immediate {
    None,
    Byte,
    /// 16 bits with `66`, else 32.
    Word,
    Long,
    /// 64 bits with REX.W, else 32.
    Quad,
}

/// Whether an opcode has a ModRM byte, and what immediate.
const fn form(map: OpcodeMap, opcode: u8, digit: u8) -> Option<(bool, Immediate)> {
    use Immediate::{Byte, Long, None as No, Quad, Word};
    let form = match map {
        OpcodeMap::OneByte => match opcode {
            // add, or, and, sub, xor, cmp: r/m from register
            0x01 | 0x09 | 0x21 | 0x29 | 0x31 | 0x39 => (true, No),
            // the same, eax/rax from immediate
            0x05 | 0x0d | 0x25 | 0x2d | 0x35 => (false, Word),
            // push, pop
            0x50..=0x5f => (false, No),
            0x63 => (true, No),
            0x69 => (true, Word),
            0x6b => (true, Byte),
            0x70..=0x7f => (false, Byte),
            0x81 => (true, Word),
            0x83 => (true, Byte),
            0x85 | 0x87 | 0x88 | 0x89 | 0x8b => (true, No),
            0x90 | 0x99 => (false, No),
            0xb8..=0xbf => (false, Quad),
            0xc1 => (true, Byte),
            0xc6 => (true, Byte),
            0xc7 => (true, Word),
            0xc3 | 0xc9 | 0xcc => (false, No),
            0xd1 | 0xd3 => (true, No),
            0xe8 | 0xe9 => (false, Long),
            0xeb => (false, Byte),
            // test has an immediate, neg, div and idiv have none
            0xf7 if digit <= 1 => (true, Word),
            0xf7 => (true, No),
            _ => return None,
        },
        OpcodeMap::Escape0f => match opcode {
            // endbr64, long nops, cmove, lfence
            0x1e | 0x1f | 0x44 | 0xae => (true, No),
            0x80..=0x8f => (false, Long),
            // imul, movzx, movsx, cmpxchg, xadd
            0xaf | 0xb1 | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xc1 => (true, No),
            // bswap
            0xc8..=0xcf => (false, No),
            _ => return None,
        },
        // shlx, shrx, sarx
        OpcodeMap::Escape0f38 => match opcode {
            0xf7 => (true, No),
            _ => return None,
        },
        _ => return None,
    };
    Some(form)
}

/// Bytes not yet taken.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline(always)]
    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline(always)]
    fn take<const LEN: usize>(&mut self) -> Option<[u8; LEN]> {
        let bytes = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += LEN;
        Some(*bytes)
    }

    #[inline(always)]
    fn signed_byte(&mut self) -> Option<i32> {
        self.take().map(|bytes| i8::from_le_bytes(bytes).into())
    }

    #[inline(always)]
    fn signed_long(&mut self) -> Option<i32> {
        self.take().map(i32::from_le_bytes)
    }
}

impl Decoder for JitForms {
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn> {
        let mut insn = X86Insn::EMPTY;
        let mut cursor = Cursor { bytes, at: 0 };
        self.prefixes(&mut insn, &mut cursor)?;

        let mut opcode = cursor.byte()?;
        if opcode == 0xc4 {
            opcode = Self::vex(&mut insn, &mut cursor)?;
        } else if opcode == 0x0f {
            insn.map = OpcodeMap::Escape0f;
            opcode = cursor.byte()?;
        }
        insn.opcode = opcode;

        let digit = cursor.peek().map_or(0, |modrm| (modrm >> 3) & 7);
        let (has_modrm, immediate) = form(insn.map, opcode, digit)?;
        // The long forms belong to VEX alone and the rest to no VEX.
        if insn.vex.is_some() != (insn.map == OpcodeMap::Escape0f38) {
            return None;
        }
        if has_modrm {
            Self::operand(&mut insn, &mut cursor)?;
        }
        insn.imm = match immediate {
            Immediate::None => 0,
            Immediate::Byte => cursor.signed_byte()?.into(),
            Immediate::Word if insn.opsize && !insn.w() => {
                cursor.take().map(i16::from_le_bytes)?.into()
            }
            Immediate::Quad if insn.w() => cursor.take().map(i64::from_le_bytes)?,
            // A 16-bit operand with these opcodes is none of the JIT's.
            Immediate::Quad | Immediate::Long if insn.opsize => return None,
            _ => cursor.signed_long()?.into(),
        };
        // The longest instruction the CPU takes (SDM volume 2, 2.3.11).
        if cursor.at > 15 {
            return None;
        }
        insn.len = u8::try_from(cursor.at).ok()?;
        Some(insn)
    }
}

impl JitForms {
    #[inline(always)]
    fn prefixes(&self, insn: &mut X86Insn, cursor: &mut Cursor<'_>) -> Option<()> {
        loop {
            let repeated = match cursor.peek()? {
                0x66 => core::mem::replace(&mut insn.opsize, true),
                0xf3 => core::mem::replace(&mut insn.rep, true),
                0xf2 => core::mem::replace(&mut insn.repne, true),
                0xf0 => core::mem::replace(&mut insn.lock, true),
                rex @ 0x40..=0x4f => {
                    insn.rex = rex;
                    cursor.at += 1;
                    return Some(());
                }
                _ => return Some(()),
            };
            if repeated {
                return None;
            }
            cursor.at += 1;
        }
    }

    /// The three-byte VEX prefix behind its `c4`; returns the opcode.
    fn vex(insn: &mut X86Insn, cursor: &mut Cursor<'_>) -> Option<u8> {
        // SDM volume 2, 2.3.6: VEX with any of these is an invalid opcode.
        if insn.opsize || insn.rep || insn.repne || insn.lock || insn.rex != 0 {
            return None;
        }
        let second = cursor.byte()?;
        let third = cursor.byte()?;
        insn.map = match second & 0x1f {
            2 => OpcodeMap::Escape0f38,
            _ => return None,
        };
        insn.rex = 0x40 | ((third >> 7) << 3) | ((!second >> 5) & 7);
        insn.vex = Some(Vex {
            pp: third & 3,
            vvvv: (!third >> 3) & 0xf,
            l: third & 4 != 0,
        });
        cursor.byte()
    }

    #[inline(always)]
    fn operand(insn: &mut X86Insn, cursor: &mut Cursor<'_>) -> Option<()> {
        let modrm = cursor.byte()?;
        insn.modrm = Some(modrm);
        let (mode, rm) = (modrm >> 6, modrm & 7);
        if mode == 3 {
            return Some(());
        }
        if rm == 4 {
            let sib = cursor.byte()?;
            insn.sib = Some(sib);
            // No base, but a 32-bit address.
            if mode == 0 && sib & 7 == 5 {
                return None;
            }
        } else if mode == 0 && rm == 5 {
            // RIP-relative.
            return None;
        }
        insn.disp = match mode {
            0 => 0,
            1 => cursor.signed_byte()?,
            _ => cursor.signed_long()?,
        };
        Some(())
    }
}
