// SPDX-License-Identifier: GPL-2.0
//! What a faulting instruction was about to do to memory.
//!
//! An access to a loan faults and is carried out by the kernel. Here the
//! instruction is read: where it goes, how wide, and what it does to registers
//! and flags. The forms are those that the JIT emits for loads, stores and
//! atomics (`emit_ldx()`, `emit_ldsx()`, `emit_stx()`, `BPF_ST` and
//! `emit_atomic_rmw()` in `arch/x86/net/bpf_jit_comp.c`); any other is not
//! mediated. An atomic AND, OR or XOR that fetches is a loop around a
//! compare-and-exchange, so no form of its own.

use super::x86::{OpcodeMap, X86Insn, RAX};

/// What is done to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The register becomes what is read.
    Load,
    /// What is in the register is written.
    Store,
    /// The immediate is written.
    StoreImm,
    /// Atomically add the register.
    Add,
    /// Atomically AND with the register.
    And,
    /// Atomically OR with the register.
    Or,
    /// Atomically XOR with the register.
    Xor,
    /// Atomically add the register, which becomes what was there.
    FetchAdd,
    /// Atomically exchange with the register.
    Exchange,
    /// Atomically write the register if RAX equals what is there, else RAX
    /// becomes what is there. ZF tells which.
    CompareExchange,
}

/// Number of the register that has an arena's base: r12, by which the JIT indexes each
/// access to one.
pub const ARENA_BASE: u8 = 12;

/// One access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// What is done.
    pub op: Op,
    /// Bytes of memory: 1, 2, 4 or 8.
    pub size: u8,
    /// Number of the base register.
    pub base: u8,
    /// Number of the index register, if there is one.
    pub index: Option<u8>,
    /// What the index is multiplied by: 1, 2, 4 or 8.
    pub scale: u8,
    /// Displacement in bytes.
    pub disp: i32,
    /// Number of the register operand; of no meaning with
    /// [`Op::StoreImm`].
    pub reg: u8,
    /// Loads: whether what is read is sign-extended rather than zero-extended.
    pub sign_extend: bool,
    /// Bytes of the register operand that are written: 4 (the upper half
    /// becomes 0) or 8. Loads, and atomics that fetch.
    pub dest: u8,
    /// The immediate of [`Op::StoreImm`], sign-extended.
    pub imm: i32,
    /// Length of the instruction in bytes: where to go on.
    pub len: u8,
}

/// What the access that `insn` makes is, or `None` if `insn` is none of the
/// forms that are mediated.
pub fn memory_access(insn: &X86Insn) -> Option<Access> {
    if !insn.is_memory() || insn.addrsize || insn.rep || insn.repne {
        return None;
    }
    if insn.segment.is_some() || insn.vex.is_some() {
        return None;
    }
    let w = insn.w();
    // 66 belongs to 16-bit stores, and the JIT never gives them REX.W.
    if insn.opsize && w {
        return None;
    }
    let wide = match (w, insn.opsize) {
        (true, _) => 8,
        (false, true) => 2,
        (false, false) => 4,
    };
    let dest = if w { 8 } else { 4 };

    let (base, index, scale) = address(insn)?;
    let access = Access {
        op: Op::Load,
        size: wide,
        base,
        index,
        scale,
        disp: insn.disp,
        reg: insn.reg()?,
        sign_extend: false,
        dest,
        imm: 0,
        len: insn.len,
    };
    let loads = |size: u8, sign_extend: bool| Access {
        size,
        sign_extend,
        ..access
    };
    let does = |op: Op| Access { op, ..access };

    let found = match (insn.map, insn.opcode, insn.lock, insn.opsize) {
        (OpcodeMap::OneByte, 0x8b, false, false) => access,
        (OpcodeMap::OneByte, 0x63, false, false) if w => loads(4, true),
        (OpcodeMap::Escape0f, 0xb6, false, false) => loads(1, false),
        (OpcodeMap::Escape0f, 0xb7, false, false) => loads(2, false),
        (OpcodeMap::Escape0f, 0xbe, false, false) => loads(1, true),
        (OpcodeMap::Escape0f, 0xbf, false, false) => loads(2, true),
        // Without REX, 4 to 7 are the high halves of ax, cx, dx and bx.
        (OpcodeMap::OneByte, 0x88, false, false) if insn.rex != 0 || access.reg < 4 => Access {
            size: 1,
            ..does(Op::Store)
        },
        (OpcodeMap::OneByte, 0x89, false, _) => does(Op::Store),
        (OpcodeMap::OneByte, 0xc6, false, false) if insn.digit() == Some(0) => Access {
            size: 1,
            imm: i32::try_from(insn.imm).ok()?,
            ..does(Op::StoreImm)
        },
        (OpcodeMap::OneByte, 0xc7, false, _) if insn.digit() == Some(0) => Access {
            imm: i32::try_from(insn.imm).ok()?,
            ..does(Op::StoreImm)
        },
        (OpcodeMap::OneByte, 0x01, true, false) => does(Op::Add),
        (OpcodeMap::OneByte, 0x09, true, false) => does(Op::Or),
        (OpcodeMap::OneByte, 0x21, true, false) => does(Op::And),
        (OpcodeMap::OneByte, 0x31, true, false) => does(Op::Xor),
        (OpcodeMap::Escape0f, 0xc1, true, false) => does(Op::FetchAdd),
        (OpcodeMap::Escape0f, 0xb1, true, false) => does(Op::CompareExchange),
        // An exchange with memory locks by itself.
        (OpcodeMap::OneByte, 0x87, _, false) => does(Op::Exchange),
        _ => return None,
    };
    Some(found)
}

/// Base, index and scale of the memory operand (SDM volume 2, 2.1.5).
fn address(insn: &X86Insn) -> Option<(u8, Option<u8>, u8)> {
    let (mode, rm) = (insn.mode()?, insn.modrm? & 7);
    let b = (insn.rex & 1) << 3;
    if rm != 4 {
        // RIP-relative is none of the JIT's.
        return if mode == 0 && rm == 5 {
            None
        } else {
            Some((rm | b, None, 1))
        };
    }
    let sib = insn.sib?;
    let base = sib & 7;
    if mode == 0 && base == 5 {
        return None;
    }
    let index = ((sib >> 3) & 7) | ((insn.rex & 2) << 2);
    // 4 is no index; 12 is one.
    Some((base | b, (index != 4).then_some(index), 1 << (sib >> 6)))
}

impl Access {
    /// Whether it is one to an arena, if the program has one: where it goes is the sum of the
    /// arena's base, a register of 32 bits and the displacement.
    pub const fn is_arena(&self) -> bool {
        matches!(self.index, Some(ARENA_BASE)) && self.scale == 1
    }

    /// The register that memory is read into.
    pub const fn reads_into(&self) -> Option<u8> {
        match self.op {
            Op::Load | Op::FetchAdd | Op::Exchange => Some(self.reg),
            Op::CompareExchange => Some(RAX),
            _ => None,
        }
    }

    /// Whether memory is written: all but loads, a compare-and-exchange that
    /// fails included, as the CPU has it.
    pub const fn is_write(&self) -> bool {
        !matches!(self.op, Op::Load)
    }

    /// The bits of a value that the access moves.
    const fn mask(&self) -> u64 {
        match self.size {
            1 => 0xff,
            2 => 0xffff,
            4 => 0xffff_ffff,
            _ => u64::MAX,
        }
    }
}

fn register(regs: &[u64; 16], number: u8) -> u64 {
    regs.get(usize::from(number)).copied().unwrap_or(0)
}

/// Where the access goes. `regs` are the general registers by their x86
/// numbers: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15.
pub fn effective_address(access: &Access, regs: &[u64; 16]) -> u64 {
    let index = access.index.map_or(0, |index| register(regs, index));
    register(regs, access.base)
        .wrapping_add(index.wrapping_mul(u64::from(access.scale)))
        .wrapping_add_signed(i64::from(access.disp))
}

/// What the register operand of a load becomes, all 64 bits, when memory holds
/// `raw` (the bytes read, in the low end).
pub fn loaded(access: &Access, raw: u64) -> u64 {
    let raw = raw & access.mask();
    if !access.sign_extend {
        return raw;
    }
    let value = match access.size {
        1 => i64::from(raw as i8),
        2 => i64::from(raw as i16),
        4 => i64::from(raw as i32),
        _ => raw as i64,
    } as u64;
    if access.dest == 8 {
        value
    } else {
        value & 0xffff_ffff
    }
}

/// What a store writes, in the low end.
pub fn stored(access: &Access, regs: &[u64; 16]) -> u64 {
    let value = match access.op {
        Op::StoreImm => i64::from(access.imm) as u64,
        _ => register(regs, access.reg),
    };
    value & access.mask()
}

/// What an atomic operation leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rmw {
    /// What memory holds now.
    pub memory: u64,
    /// What the register operand holds now, all 64 bits, if it changed.
    pub reg: Option<u64>,
    /// What RAX holds now, all 64 bits, if it changed.
    pub rax: Option<u64>,
    /// ZF, if the program looks at it: the JIT's loops around a
    /// compare-and-exchange do, and nothing looks at the flags of the others.
    pub zf: Option<bool>,
}

/// What an atomic operation does when memory holds `old`, or `None` if
/// `access` is a load or a store.
///
/// The caller makes it atomic, for example by trying until memory still held
/// `old` when `memory` is written.
pub fn apply_rmw(access: &Access, old: u64, regs: &[u64; 16]) -> Option<Rmw> {
    let mask = access.mask();
    let old = old & mask;
    let operand = register(regs, access.reg) & mask;
    let plain = |memory: u64| Rmw {
        memory: memory & mask,
        reg: None,
        rax: None,
        zf: None,
    };
    // A register that receives 4 bytes loses its upper half.
    let fetched = |memory: u64| Rmw {
        reg: Some(old),
        ..plain(memory)
    };
    let result = match access.op {
        Op::Load | Op::Store | Op::StoreImm => return None,
        Op::Add => plain(old.wrapping_add(operand)),
        Op::And => plain(old & operand),
        Op::Or => plain(old | operand),
        Op::Xor => plain(old ^ operand),
        Op::FetchAdd => fetched(old.wrapping_add(operand)),
        Op::Exchange => fetched(operand),
        Op::CompareExchange => {
            let equal = old == register(regs, 0) & mask;
            Rmw {
                rax: (!equal).then_some(old),
                zf: Some(equal),
                ..plain(if equal { operand } else { old })
            }
        }
    };
    Some(result)
}
