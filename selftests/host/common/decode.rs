// SPDX-License-Identifier: GPL-2.0
//! iced-x86 beside our own decoder: another implementation of the same manual.

use bailey::pure::x86::{Decoder, JitForms, X86Insn};
use proptest::collection::vec;
use proptest::prelude::*;

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

/// Bytes that have a chance to be something: prefixes, an opcode, a tail.
pub fn likely() -> impl Strategy<Value = Vec<u8>> {
    let prefix = proptest::sample::select(vec![
        0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65,
    ]);
    let opcode = prop_oneof![
        4 => any::<u8>().prop_map(|opcode| vec![opcode]),
        3 => any::<u8>().prop_map(|opcode| vec![0x0f, opcode]),
        1 => any::<[u8; 3]>().prop_map(|rest| vec![0xc4, rest[0], rest[1], rest[2]]),
        1 => (any::<u8>(), any::<u8>())
            .prop_map(|(second, third)| vec![0xc4, second & 0xe0 | 2, third, 0xf7]),
    ];
    (
        vec(prefix, 0..3),
        proptest::option::of(0x40u8..0x50),
        opcode,
        vec(any::<u8>(), 0..16),
    )
        .prop_map(|(prefixes, rex, opcode, tail)| {
            let mut bytes = prefixes;
            bytes.extend(rex);
            bytes.extend(opcode);
            bytes.extend(tail);
            bytes
        })
}
