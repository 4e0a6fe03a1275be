// SPDX-License-Identifier: GPL-2.0
//! The decoder that judges finished images: ours, which knows the JIT's
//! opcodes alone, with the kernel's own (arch/x86/lib/insn.c) as a second
//! opinion on where each instruction ends.

use crate::bindings as b;
use crate::pure::x86::{Decoder, JitForms, X86Insn};
use core::mem::MaybeUninit;

/// Decodes what both decoders take for the same number of bytes.
pub(crate) struct Both;

impl Decoder for Both {
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn> {
        let insn = JitForms.decode(bytes)?;
        (kernel_length(bytes)? == insn.len).then_some(insn)
    }

    fn decode_again(&self, bytes: &[u8]) -> Option<X86Insn> {
        JitForms.decode(bytes)
    }
}

/// Length of the instruction at the start of `bytes`, as the kernel sees it.
fn kernel_length(bytes: &[u8]) -> Option<u8> {
    let mut insn = MaybeUninit::<b::insn>::uninit();
    let len = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    // SAFETY: `bytes` has `len` bytes, and the decoder reads no more. It begins by writing all of
    // `insn` (`insn_init()`).
    unsafe {
        let err = b::bailey_k_insn_decode(
            insn.as_mut_ptr(),
            bytes.as_ptr().cast(),
            len,
            b::insn_mode_INSN_MODE_64,
        );
        (err == 0).then(|| insn.assume_init_ref().length)
    }
}
