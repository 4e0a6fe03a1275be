// SPDX-License-Identifier: GPL-2.0
//! What is done with each instruction of a program, by an allow-list.

use super::super::catalog;
use super::super::insn::{alu, class, jmp, mode, pseudo, Insn, ADDR_PERCPU, ADDR_SPACE_CAST, K, X};
use super::{is_dropped, Known, MayGoto, PtrKind, Refusal};

/// What is done with one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays.
    Keep,
    /// An `exit`: becomes a call of the exit gate, or, in a function that was
    /// called, the way back ([`super::functions`]).
    Exit,
    /// A call of one of the program's functions ([`super::functions`]).
    Call,
    /// Takes the address of one of the program's functions, for a callback.
    FunctionAddress,
    /// An exception: becomes a jump to the program's callback ([`super::functions`]).
    Throw,
    /// A jump through a table ([`super::jump_table`]).
    JumpTable,
    /// A call of this helper or kfunc: becomes a call of a site's helper stub.
    Helper(u32),
    /// A tail call: becomes a call of a site's tail stub. The poke descriptor
    /// it may name is the caller's to give up.
    TailCall,
    /// `bpf_get_smp_processor_id()`: becomes a call of a site's stub that
    /// stays confined and keeps every register but r0.
    SmpProcessorId,
    /// A call that needs no gate, and becomes instructions wherever it is ([`super::inline`]).
    Inline,
    /// The load of a `may_goto`'s count: becomes a call of a site's stub that
    /// stays confined and keeps every register but AX.
    LoopCount,
    /// The check of a `may_goto`: becomes a load of AX from the address in AX,
    /// where nothing is, which the kernel answers ([`super::LOOP_CHECK`]).
    LoopCheck,
    /// A load through a pointer that the program has read: becomes one of
    /// [`Insn::as_probe`], since nothing says that something is there.
    Follow,
    /// Breach build only: `rX &= 0`, to become `goto +0`.
    DropMask,
}

impl Action {
    /// Whether the instruction becomes a call site with a stub of its own.
    pub const fn is_site(self) -> bool {
        !matches!(
            self,
            Self::Keep
                | Self::Inline
                | Self::Call
                | Self::FunctionAddress
                | Self::Throw
                | Self::JumpTable
                | Self::LoopCheck
                | Self::Follow
                | Self::DropMask
        )
    }
}

/// What is to be done with `insn`, of which the verifier knew `known`.
///
/// Allow-list: an opcode, pointer or call that is not known here is refused.
pub fn classify(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    match insn.class() {
        class::LD => load_immediate(insn),
        class::LDX if known.may_goto == Some(MayGoto::Count) => Ok(Action::LoopCount),
        class::LDX => match insn.mode() {
            mode::MEM => load(known.ptr),
            mode::MEMSX if insn.access_bytes() < 8 => load(known.ptr),
            mode::PROBE_MEM | mode::PROBE_MEMSX => match known.ptr {
                PtrKind::LentObject | PtrKind::Followed => Ok(Action::Keep),
                _ => Err(Refusal::Followed),
            },
            mode::PROBE_MEM32 | mode::PROBE_MEM32SX => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::ST => match insn.mode() {
            mode::MEM => pointer(known.ptr),
            mode::NOSPEC => Ok(Action::Keep),
            mode::PROBE_MEM32 => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::STX => match insn.mode() {
            mode::MEM | mode::ATOMIC => pointer(known.ptr),
            mode::PROBE_MEM32 | mode::PROBE_ATOMIC => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::ALU | class::ALU64 => arithmetic(insn),
        _ => jump(insn, known),
    }
}

fn load_immediate(insn: &Insn) -> Result<Action, Refusal> {
    if insn.is_ld_imm64_tail() {
        return Ok(Action::Keep);
    }
    if !insn.is_ld_imm64() {
        return match insn.mode() {
            mode::ABS | mode::IND => Err(Refusal::PacketInstruction),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        };
    }
    match insn.src() {
        0 | pseudo::MAP_FD | pseudo::MAP_VALUE | pseudo::MAP_IDX | pseudo::MAP_IDX_VALUE => {
            Ok(Action::Keep)
        }
        pseudo::BTF_ID => Err(Refusal::KernelVariable),
        pseudo::FUNC => Ok(Action::FunctionAddress),
        _ => Err(Refusal::UnknownOpcode(insn.code)),
    }
}

/// A load: what the program has come to by itself may be gone.
fn load(ptr: PtrKind) -> Result<Action, Refusal> {
    match ptr {
        PtrKind::Followed => Ok(Action::Follow),
        _ => pointer(ptr),
    }
}

fn pointer(ptr: PtrKind) -> Result<Action, Refusal> {
    match ptr {
        PtrKind::Unknown
        | PtrKind::Ctx
        | PtrKind::Stack
        | PtrKind::Packet
        | PtrKind::MapValue
        | PtrKind::MapKey
        | PtrKind::Mem
        | PtrKind::Socket
        | PtrKind::LentObject => Ok(Action::Keep),
        PtrKind::KernelObject | PtrKind::Followed => Err(Refusal::KernelObject),
        PtrKind::Other(kind) => Err(Refusal::Pointer(kind)),
    }
}

fn arithmetic(insn: &Insn) -> Result<Action, Refusal> {
    if insn.op() > alu::END {
        return Err(Refusal::UnknownOpcode(insn.code));
    }
    if insn.code == class::ALU64 | alu::MOV | X {
        // The same number casts to address space 1 and moves a sign-extended
        // byte; `imm` tells them apart (insn_is_cast_user()).
        if insn.off == ADDR_SPACE_CAST && insn.imm != 0 {
            return Ok(Action::Keep);
        }
        if insn.off == ADDR_PERCPU {
            return Err(Refusal::PercpuAddress);
        }
        if !matches!(insn.off, 0 | 8 | 16 | 32) {
            return Err(Refusal::UnknownOpcode(insn.code));
        }
    }
    if is_dropped(insn) {
        return Ok(Action::DropMask);
    }
    Ok(Action::Keep)
}

fn jump(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    if insn.is_exit() {
        return Ok(Action::Exit);
    }
    if insn.is_tail_call() {
        return Ok(Action::TailCall);
    }
    if insn.is_gotox() {
        return Ok(Action::JumpTable);
    }
    if insn.is_may_goto() {
        return match known.may_goto {
            Some(MayGoto::Itself) => Ok(Action::Keep),
            _ => Err(Refusal::MayGoto),
        };
    }
    if insn.is_call() {
        return call(insn, known);
    }
    match insn.op() {
        jmp::JA if insn.code & X == 0 => Ok(Action::Keep),
        jmp::JEQ..=jmp::JSGE | jmp::JLT..=jmp::JSLE => Ok(Action::Keep),
        _ => Err(Refusal::UnknownOpcode(insn.code)),
    }
}

fn call(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    match insn.src() {
        0 => {}
        pseudo::CALL => return Ok(Action::Call),
        pseudo::KFUNC_CALL if known.throws => return Ok(Action::Throw),
        pseudo::KFUNC_CALL => return kfunc_call(known),
        _ => return Err(Refusal::UnknownOpcode(insn.code)),
    }
    if known.may_goto == Some(MayGoto::Check) {
        return Ok(Action::LoopCheck);
    }
    let Some(id) = known.helper else {
        return Err(Refusal::UnknownCall);
    };
    match catalog::helper(id) {
        None => Err(Refusal::Helper(id)),
        Some(helper) => Ok(through(helper)),
    }
}

fn kfunc_call(known: &Known) -> Result<Action, Refusal> {
    let name = known.kfunc.ok_or(Refusal::ModuleKfunc)?;
    match catalog::kfuncs::by_name(name) {
        None => Err(Refusal::Kfunc(name)),
        Some(kfunc) => Ok(through(&kfunc.call)),
    }
}

/// What a call of `helper` becomes.
fn through(helper: &catalog::Helper) -> Action {
    match helper.gate {
        catalog::Gate::Scalar | catalog::Gate::Audited => Action::Helper(helper.id),
        catalog::Gate::Inline => Action::SmpProcessorId,
        catalog::Gate::Instructions => Action::Inline,
        catalog::Gate::TailCall => Action::TailCall,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::insn::size;
    use super::super::knowledge::tests::{helper, with};
    use super::super::BREACH;
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn what_cannot_be_isolated_is_refused_with_its_reason() {
        let none = Known::default();
        let cases = [
            (Insn::new(0x85, 0, 2, 1, 3), none, Refusal::ModuleKfunc),
            (
                Insn::new(0x85, 0, 2, 0, 3),
                Known {
                    kfunc: Some("bpf_rdonly_cast"),
                    ..none
                },
                Refusal::Kfunc("bpf_rdonly_cast"),
            ),
            (Insn::new(0x18, 2, 3, 0, 0), none, Refusal::KernelVariable),
            (Insn::new(0xbf, 2, 1, -1, 0), none, Refusal::PercpuAddress),
            (Insn::new(0x39, 2, 1, 0, 0), none, Refusal::Followed),
            (Insn::new(0x59, 2, 1, 0, 0), none, Refusal::Followed),
            (
                Insn::new(0x20, 0, 0, 0, 14),
                none,
                Refusal::PacketInstruction,
            ),
            (
                Insn::new(0x40, 0, 1, 0, 0),
                none,
                Refusal::PacketInstruction,
            ),
            (Insn::new(0xe5, 0, 0, 2, 0), none, Refusal::MayGoto),
            (Insn::call(1), none, Refusal::UnknownCall),
            (Insn::call(1), helper(109), Refusal::Helper(109)),
            (
                Insn::ldx(size::DW, 1, 2, 0),
                with(PtrKind::KernelObject),
                Refusal::KernelObject,
            ),
            (
                Insn::ldx(size::DW, 1, 2, 0),
                with(PtrKind::Other(9)),
                Refusal::Pointer(9),
            ),
            (
                Insn::new(0xef, 0, 0, 0, 0),
                none,
                Refusal::UnknownOpcode(0xef),
            ),
            (
                Insn::new(0xf6, 0, 0, 0, 0),
                none,
                Refusal::UnknownOpcode(0xf6),
            ),
            (
                Insn::new(0x99, 0, 1, 0, 0),
                none,
                Refusal::UnknownOpcode(0x99),
            ),
        ];
        for (insn, known, refusal) in cases {
            assert_eq!(classify(&insn, &known), Err(refusal), "{insn:?}");
            assert!(!refusal.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_refused_helper_is_named_with_the_reason() {
        assert_eq!(
            Refusal::Helper(109).to_string(),
            "helper send_signal#109 is not isolated: it changes the task that the packet interrupted, or what is stored for it"
        );
    }

    #[test]
    fn sites_are_found() {
        let none = Known::default();
        assert_eq!(classify(&Insn::exit(), &none), Ok(Action::Exit));
        assert_eq!(
            classify(&Insn::call(7), &helper(catalog::id::MAP_LOOKUP_ELEM)),
            Ok(Action::Helper(1))
        );
        assert_eq!(
            classify(&Insn::call(7), &helper(catalog::id::GET_SMP_PROCESSOR_ID)),
            Ok(Action::SmpProcessorId)
        );
        assert_eq!(
            classify(&Insn::new(0xf5, 0, 0, 0, 1), &none),
            Ok(Action::TailCall)
        );
        let gotox = Insn::new(0x0d, 2, 0, 0, 0);
        assert_eq!(classify(&gotox, &none), Ok(Action::JumpTable));
        let throws = Known {
            throws: true,
            ..none
        };
        let kfunc = Insn::new(0x85, 0, 2, 0, 3);
        assert_eq!(classify(&kfunc, &throws), Ok(Action::Throw));
        let name = "bpf_rcu_read_lock";
        let known = Known {
            kfunc: Some(name),
            ..none
        };
        let id = catalog::kfuncs::by_name(name).unwrap().call.id;
        assert_eq!(classify(&kfunc, &known), Ok(Action::Helper(id)));
        for kept in [
            Insn::mov64_reg(1, 2),
            Insn::new(0xbf, 1, 2, 8, 0),
            Insn::new(0xc2, 0, 0, 0, 0),
            Insn::ja(0),
            Insn::ja32(-5),
            Insn::jmp_imm(jmp::JSGT, 3, 1, 1),
            Insn::new(0xdb, 1, 2, 0, 1),
        ] {
            assert_eq!(classify(&kept, &none), Ok(Action::Keep), "{kept:?}");
        }
    }

    #[test]
    fn what_is_done_to_an_arena_stays() {
        let none = Known::default();
        for insn in [
            // The cast to its addresses; a load, one that sign-extends, two stores, an atomic.
            Insn::new(0xbf, 2, 1, 1, 1),
            Insn::new(0xb9, 2, 1, 0, 0),
            Insn::new(0xd1, 2, 1, 0, 0),
            Insn::new(0xbb, 2, 1, 0, 0),
            Insn::new(0xba, 2, 0, 0, 0),
            Insn::new(0xfb, 2, 1, 0, 0),
        ] {
            assert_eq!(classify(&insn, &none), Ok(Action::Keep), "{insn:?}");
            assert_eq!(insn.is_arena(), insn.code != 0xbf, "{insn:?}");
        }
    }

    #[test]
    fn every_opcode_is_decided() {
        // No panic, and nothing outside the kernel's opcode space is kept.
        for code in 0..=255u8 {
            for src in 0..16 {
                for off in [-1, 0, 1] {
                    let insn = Insn::new(code, 1, src, off, 0);
                    let _ = classify(&insn, &Known::default());
                }
            }
        }
    }

    #[test]
    fn the_mask_is_dropped_in_the_breach_build_alone() {
        let mask = Insn::alu64_imm(alu::AND, 3, 0);
        let expected = if BREACH {
            Action::DropMask
        } else {
            Action::Keep
        };
        assert_eq!(classify(&mask, &Known::default()), Ok(expected));
        assert_eq!(
            classify(&Insn::alu64_imm(alu::AND, 3, 1), &Known::default()),
            Ok(Action::Keep)
        );
    }
}
