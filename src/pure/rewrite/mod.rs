// SPDX-License-Identifier: GPL-2.0
//! What a verified program becomes.
//!
//! One more fix-up pass, run where `bpf_fixup_call_args()` begins
//! (`kernel/bpf/fixups.c`). The program's functions become one ([`functions`]),
//! its gates take the places of single instructions, and the [`prologue()`] goes
//! in front:
//!
//! ```text
//!     r2 = slot               (two slots)
//!     call enter
//!     if AX == 0 goto +1
//!     exit
//!     r1 = r0
//!     ... the program, in which every exit is a call of the exit gate
//! ```
//!
//! `enter` returns a second time, with AX set, when the run ends; only then is
//! that one `exit` reached, and so the one epilogue that the JIT emits, which
//! it emits at the first `exit` it sees.
//!
//! A function that the kernel may call, or that another may replace, is an image
//! of its own, with a [`function_prologue`].
//!
//! Before anything is changed every instruction is classified. A program with
//! one that cannot be isolated is refused as a whole.

mod action;
pub mod blinding;
mod exit;
mod facts;
pub mod functions;
pub mod inline;
pub mod jump_table;
mod knowledge;
mod may_goto;
mod next_call;
mod prologue;
mod refusal;

use super::insn::{alu, class, Insn, K};
pub use action::{classify, Action};
pub use exit::exits_behind;
pub use facts::{survey, CtxLayout, Facts};
pub use knowledge::{Known, PtrKind};
pub use may_goto::{timed_may_goto, MayGoto, LOOP_CHECK};
pub use next_call::NextCall;
pub use prologue::{
    function_prologue, prologue, ENTER_INDEX, EXIT_INDEX, FUNCTION_PROLOGUE_LEN, PROLOGUE_LEN,
};
pub use refusal::Refusal;

/// Whether this build drops `rX &= 0`, so that the verifier believes 0 while
/// the CPU holds any value. Test-only: see DESIGN 9.6, "Breach control".
pub const BREACH: bool = cfg!(bailey_breach);

/// Whether the program is without this instruction: breach build only, `rX &= 0`.
pub const fn is_dropped(insn: &Insn) -> bool {
    BREACH && insn.code == class::ALU64 | alu::AND | K && insn.imm == 0
}

/// Longest program taken, in slots before the prologue. The kernel's own limit
/// (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const MAX_LEN: usize = 1_000_000;

/// Most call sites of one program: a site's number is a `u16`.
pub const MAX_SITES: u32 = 0xffff;

/// What the breach build puts in the place of [`Action::DropMask`].
pub const fn dropped_mask() -> Insn {
    Insn::ja(0)
}
