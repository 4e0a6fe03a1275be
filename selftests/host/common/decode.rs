// SPDX-License-Identifier: GPL-2.0
//! iced-x86 beside our own decoder: another implementation of the same manual.

use bailey::pure::x86::{Decoder, JitForms, X86Insn};
use iced_x86::OpKind;

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

/// Asserts that what we decode, iced-x86 decodes to the same fields.
pub fn compare(bytes: &[u8]) -> bool {
    compare_with(&JitForms, bytes)
}

/// The same of another decoder than ours.
pub fn compare_with(decoder: &dyn Decoder, bytes: &[u8]) -> bool {
    let Some(ours) = decoder.decode(bytes) else {
        return false;
    };
    let Some(theirs) = iced(bytes, 0) else {
        // Encodings that no CPU takes: the check of images knows no such form.
        return false;
    };
    let len = usize::from(ours.len);
    assert_eq!(len, theirs.len(), "{bytes:02x?}: {theirs}");
    assert!(len <= 15 && len <= bytes.len());

    let offsets = {
        let mut decoder =
            iced_x86::Decoder::with_ip(64, bytes, 0, iced_x86::DecoderOptions::NO_INVALID_CHECK);
        let insn = decoder.decode();
        decoder.get_constant_offsets(&insn)
    };
    if ours.disp != 0 || offsets.has_displacement() {
        assert_eq!(
            i64::from(ours.disp),
            theirs.memory_displacement64() as i64,
            "{bytes:02x?}: {theirs}"
        );
    }
    let jump = (0..theirs.op_count()).any(|op| theirs.op_kind(op) == OpKind::NearBranch64);
    if jump {
        assert_eq!(
            (len as i64).wrapping_add(ours.imm) as u64,
            theirs.near_branch_target(),
            "{bytes:02x?}: {theirs}"
        );
    } else if offsets.has_immediate() {
        let size = offsets.immediate_size();
        let mask = u64::MAX >> (64 - 8 * size);
        let raw = bytes[offsets.immediate_offset()..][..size]
            .iter()
            .rev()
            .fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
        assert_eq!(ours.imm as u64 & mask, raw, "{bytes:02x?}: {theirs}");
        // Sign-extended.
        let unused = 64 - 8 * size as u32;
        assert_eq!(ours.imm << unused >> unused, ours.imm);
    } else if !matches!(ours.opcode, 0xd1) {
        assert_eq!(ours.imm, 0, "{bytes:02x?}: {theirs}");
    }
    assert_eq!(
        ours.lock,
        theirs.has_lock_prefix(),
        "{bytes:02x?}: {theirs}"
    );
    assert_eq!(ours.segment, None);
    assert!(!ours.addrsize);
    true
}
