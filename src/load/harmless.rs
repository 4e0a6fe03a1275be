// SPDX-License-Identifier: GPL-2.0
//! Programs that need no isolation, whatever the verifier believed of them.
//!
//! Strict policy refuses what cannot be isolated. libbpf, before it loads
//! anything, asks the kernel what it can do by loading programs of a few
//! instructions of other types; were those refused too, no tool could load an
//! XDP program under strict policy. So a program passes that reaches nothing
//! but its own stack and values of its maps, at addresses that stand in its
//! instructions: straight-line code without calls, in which every access can
//! be judged without knowing what any register holds at run time.

use super::knowledge::Knowledge;
use crate::bindings as b;
use crate::pure::insn::{alu, class, mode, Insn, REG_FP, X};

/// Longest program judged.
const MAX_LEN: usize = 16;
/// `MAX_BPF_STACK`
const STACK: i64 = 512;

/// What a register is known to hold.
#[derive(Clone, Copy)]
enum Holds {
    Anything,
    /// The address of this many bytes that may be read and written from it.
    Memory {
        below: i64,
        above: i64,
    },
}

/// Whether the program reaches nothing but its own memory.
pub(super) fn harmless(known: &Knowledge) -> bool {
    let insns = known.insns();
    if insns.len() > MAX_LEN || known.functions() != 1 {
        return false;
    }
    let mut regs = [Holds::Anything; 16];
    regs[usize::from(REG_FP)] = Holds::Memory {
        below: STACK,
        above: 0,
    };
    let mut index = 0;
    while let Some(insn) = insns.get(index) {
        let to = usize::from(insn.dst());
        let from = usize::from(insn.src());
        if insn.is_exit() {
            return index + 1 == insns.len();
        } else if insn.is_ld_imm64() && insn.dst() < REG_FP {
            regs[to] = match known.value_of(index) {
                Some(map) => value(map, known.value_offset(index)),
                None if insn.src() == 0 => Holds::Anything,
                None => return false,
            };
            index += 1;
        } else if matches!(insn.class(), class::ALU | class::ALU64)
            && insn.dst() < REG_FP
            && insn.off == 0
            && insn.op() <= alu::END
        {
            let copies = insn.code == class::ALU64 | alu::MOV | X && insn.imm == 0;
            regs[to] = if copies { regs[from] } else { Holds::Anything };
        } else if insn.mode() == mode::MEM && (insn.is_load() || insn.is_store()) {
            let loads = insn.is_load();
            if !reaches(regs[if loads { from } else { to }], insn) {
                return false;
            }
            if loads {
                if insn.dst() >= REG_FP {
                    return false;
                }
                regs[to] = Holds::Anything;
            }
        } else {
            return false;
        }
        index += 1;
    }
    false
}

/// What may be reached from `offset` bytes into the value of `map`.
fn value(map: *mut b::bpf_map, offset: u32) -> Holds {
    // SAFETY: a map that the verifier's `env` holds a reference to.
    let map = unsafe { &*map };
    let flags = b::BPF_F_RDONLY_PROG | b::BPF_F_WRONLY_PROG;
    if map.map_type != b::bpf_map_type_BPF_MAP_TYPE_ARRAY
        || map.map_flags & flags != 0
        || !map.record.is_null()
        || offset > map.value_size
    {
        return Holds::Anything;
    }
    Holds::Memory {
        below: i64::from(offset),
        above: i64::from(map.value_size - offset),
    }
}

/// Whether the access stays within what its register is the address of.
fn reaches(from: Holds, insn: &Insn) -> bool {
    let start = i64::from(insn.off);
    let end = start + i64::from(insn.access_bytes());
    match from {
        Holds::Anything => false,
        Holds::Memory { below, above } => start >= -below && end <= above,
    }
}
