// SPDX-License-Identifier: GPL-2.0
//! What the verifier knew of an instruction, as far as it matters here.

use super::MayGoto;

/// What the verifier knew of the pointer of a load or store
/// (`bpf_insn_aux_data.ptr_type`).
///
/// For pointers other than [`Ctx`](Self::Ctx), `Socket` and those to objects the
/// verifier keeps one type of possibly several: an instruction that one path
/// reaches with a stack pointer and another with a packet pointer has either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtrKind {
    /// Nothing: the verifier itself put the instruction there.
    #[default]
    Unknown,
    /// The context.
    Ctx,
    /// The program's stack.
    Stack,
    /// Packet data or metadata.
    Packet,
    /// A map's value.
    MapValue,
    /// A map's key, as a callback gets it.
    MapKey,
    /// Memory that a helper returned, such as a ring-buffer record.
    Mem,
    /// A socket or its common part, which a helper returned.
    Socket,
    /// An object of the kernel's that was lent to the run: a BTF pointer that a
    /// helper returned or a callback was given.
    LentObject,
    /// What is reached by pointers that the program has read out of such an
    /// object, where that is allowed.
    Followed,
    /// An object of the kernel's that was not lent: a `struct bpf_map`, or what is
    /// reached where that is not allowed.
    KernelObject,
    /// Any other `enum bpf_reg_type`.
    Other(u32),
}

/// What the verifier knew of an instruction, as the caller found it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Calls: the helper's number, found by reversing the address in `imm`.
    pub helper: Option<u32>,
    /// What it is of a `may_goto` that asks for the time.
    pub may_goto: Option<MayGoto>,
    /// Calls: the target is `bpf_throw()`.
    pub throws: bool,
    /// Calls of kfuncs: the name, if it is one of the kernel's own.
    pub kfunc: Option<&'static str>,
    /// Loads and stores: the kind of pointer.
    pub ptr: PtrKind,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A load or store through `ptr`.
    pub(in super::super) fn with(ptr: PtrKind) -> Known {
        Known {
            ptr,
            ..Known::default()
        }
    }

    /// A call of helper `id`.
    pub(in super::super) fn helper(id: u32) -> Known {
        Known {
            helper: Some(id),
            ..Known::default()
        }
    }
}
