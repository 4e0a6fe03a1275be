// SPDX-License-Identifier: GPL-2.0
//! Why a program cannot be isolated.

use super::super::catalog;
use super::{MAX_LEN, MAX_SITES};
use core::fmt;

/// Why a program cannot be isolated. `Display` is one line for the verifier
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its functions are not what the verifier lets pass.
    Functions,
    /// Its functions call each other in a circle, or too deep.
    Recursion,
    /// A function that it calls makes a tail call.
    TailCallInFunction,
    /// One of its global functions takes what is not audited.
    FunctionArgument,
    /// Its stack does not fit a frame.
    StackTooDeep,
    /// A callback makes a tail call or takes arguments on the stack.
    Callback,
    /// A function is called back both at once and later.
    CallbackTwice,
    /// It calls this kfunc, which is not known as safe.
    Kfunc(&'static str),
    /// It calls a function of a module.
    ModuleKfunc,
    /// It jumps through a table without places, or with too many.
    JumpTable,
    /// It computes a per-CPU address.
    PercpuAddress,
    /// It follows pointers that it has read out of objects of the kernel's.
    Followed,
    /// It calls a function on strings, and one may be where such a pointer leads.
    FollowedString,
    /// It addresses a variable of the kernel.
    KernelVariable,
    /// It reads an object of the kernel directly.
    KernelObject,
    /// It goes through a pointer of this unknown `enum bpf_reg_type`.
    Pointer(u32),
    /// It contains a `may_goto` of another form than those known here.
    MayGoto,
    /// A `may_goto` is in a function that is part of another's image.
    LoopInFunction,
    /// It calls this helper, which is not known as safe.
    Helper(u32),
    /// It calls an address that is no helper's.
    UnknownCall,
    /// It contains a classic packet load.
    PacketInstruction,
    /// It uses arguments on the stack otherwise than functions do.
    StackArgument,
    /// It contains an unknown opcode.
    UnknownOpcode(u8),
    /// It has more than [`MAX_LEN`] instructions.
    TooLong,
    /// It has more than [`MAX_SITES`] call sites.
    TooManySites,
    /// A jump no longer reaches its target.
    JumpTooFar,
    /// One does not once constants are blinded.
    Blinding,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Functions => f.write_str("its functions are not in order"),
            Self::Recursion => f.write_str("its functions call each other too deep"),
            Self::TailCallInFunction => f.write_str("a tail call in a function without a gate"),
            Self::FunctionArgument => f.write_str("a global function takes what is not audited"),
            Self::StackTooDeep => f.write_str("its functions need too much stack"),
            Self::Callback => f.write_str("a callback that makes tail calls is not isolated"),
            Self::CallbackTwice => {
                f.write_str(
                    "a callback of a timer or workqueue is not isolated if it may be another helper's too",
                )
            }
            Self::Kfunc(name) => write!(
                f,
                "kfunc {name} is not isolated: {}",
                catalog::kfuncs::refusal(name).unwrap_or("not known as safe"),
            ),
            Self::ModuleKfunc => f.write_str(catalog::kfuncs::OF_MODULE),
            Self::JumpTable => f.write_str("a jump table leads nowhere or to too many places"),
            Self::PercpuAddress => f.write_str("per-CPU addresses are not isolated"),
            Self::Followed => f.write_str(
                "it follows pointers of the kernel's (parameter kernel_reads=1 lets it)",
            ),
            Self::FollowedString => f.write_str(
                "a string may be where a pointer of the kernel's leads (parameter kernel_reads=1 lets it)",
            ),
            Self::KernelVariable => f.write_str("direct access to a kernel variable"),
            Self::KernelObject => f.write_str(
                "direct access to a kernel object that was not lent (kernel_reads=1 lets it read those that it comes to by pointers)",
            ),
            Self::Pointer(kind) => write!(f, "access through an unknown kind of pointer ({kind})"),
            Self::MayGoto => f.write_str("a may_goto of an unknown form"),
            Self::LoopInFunction => f.write_str(
                "may_goto is not isolated in an exception's callback, or in a callback that is called as well",
            ),
            Self::Helper(id) => write!(
                f,
                "helper {}#{id} is not isolated: {}",
                catalog::name(id).unwrap_or("unknown"),
                catalog::refusal(id).unwrap_or("not known as safe"),
            ),
            Self::UnknownCall => f.write_str("call of an unknown address"),
            Self::PacketInstruction => f.write_str("LD_ABS and LD_IND are not isolated"),
            Self::StackArgument => f.write_str("unknown use of arguments on the stack"),
            Self::UnknownOpcode(code) => write!(f, "unknown opcode {code:#04x}"),
            Self::TooLong => write!(f, "more than {MAX_LEN} instructions"),
            Self::TooManySites => write!(f, "more than {MAX_SITES} call sites"),
            Self::JumpTooFar => f.write_str("a jump no longer reaches its target"),
            Self::Blinding => {
                f.write_str("with constants blinded a jump would not reach its target")
            }
        }
    }
}
