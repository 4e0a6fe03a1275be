// SPDX-License-Identifier: GPL-2.0
//! iced-x86 beside our own decoder: another implementation of the same manual.

use bailey::pure::x86::{Decoder, JitForms, X86Insn};

/// Takes the length from iced-x86, as the kernel's glue may take it from
/// `insn_decode()`, and refuses what the two do not agree on.
pub struct Agreed;

impl Decoder for Agreed {
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn> {
        let theirs = iced(bytes, 0)?;
        let ours = JitForms.decode(bytes)?;
        (theirs.len() == usize::from(ours.len)).then_some(ours)
    }
}

/// The instruction at the start of `bytes`, run at `ip`, as iced-x86 has it.
pub fn iced(bytes: &[u8], ip: u64) -> Option<iced_x86::Instruction> {
    let mut decoder =
        iced_x86::Decoder::with_ip(64, bytes, ip, iced_x86::DecoderOptions::NO_INVALID_CHECK);
    let insn = decoder.decode();
    (!insn.is_invalid()).then_some(insn)
}
