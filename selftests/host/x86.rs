// SPDX-License-Identifier: GPL-2.0
//! The decoder of the JIT's forms, held against iced-x86 on bytes of any kind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/decode.rs"]
#[allow(dead_code)]
mod decode;
#[path = "common/likely.rs"]
mod likely;

use bailey::pure::x86::{Decoder, JitForms, OpcodeMap};
use decode::compare;
use likely::likely;
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_decoded_is_what_iced_decodes(bytes in likely()) {
        compare(&bytes);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in vec(any::<u8>(), 0..20)) {
        compare(&bytes);
    }

    #[test]
    fn an_instruction_cut_short_is_none(bytes in likely()) {
        if let Some(insn) = JitForms.decode(&bytes) {
            for len in 0..usize::from(insn.len) {
                prop_assert_eq!(JitForms.decode(&bytes[..len]), None);
            }
            // What follows does not matter.
            prop_assert_eq!(JitForms.decode(&bytes[..usize::from(insn.len)]), Some(insn));
        }
    }
}

#[test]
fn every_opcode_that_is_decoded_is_compared() {
    // Each opcode with each ModRM byte, with and without 66 and REX.
    let mut compared = 0;
    for head in [
        &[][..],
        &[0x66],
        &[0x48],
        &[0x66, 0x48],
        &[0x45],
        &[0xf0],
        &[0xf3],
        &[0xf2],
        &[0xf0, 0x4d],
    ] {
        for escape in [&[][..], &[0x0f]] {
            for opcode in 0..=255u8 {
                for modrm in 0..=255u8 {
                    let mut bytes = head.to_vec();
                    bytes.extend_from_slice(escape);
                    bytes.extend([
                        opcode, modrm, 0x91, 0x82, 0xf3, 0x74, 0x65, 0x56, 0x47, 0x38,
                    ]);
                    compared += u32::from(compare(&bytes));
                }
            }
        }
    }
    assert!(compared > 100_000, "{compared}");
}

#[test]
fn fields_are_read_right() {
    // lock cmpxchg [r13-8], r11
    let insn = JitForms
        .decode(&[0xf0, 0x4d, 0x0f, 0xb1, 0x5d, 0xf8])
        .unwrap();
    assert_eq!(insn.map, OpcodeMap::Escape0f);
    assert!(insn.lock && insn.w() && insn.is_memory());
    assert_eq!((insn.opcode, insn.reg(), insn.disp), (0xb1, Some(11), -8));
    // shlx r13, r13, r8
    let insn = JitForms.decode(&[0xc4, 0x42, 0xb9, 0xf7, 0xed]).unwrap();
    let vex = insn.vex.unwrap();
    assert_eq!((vex.pp, vex.vvvv, vex.l), (1, 8, false));
    assert_eq!((insn.reg(), insn.rm_reg()), (Some(13), Some(13)));
    assert!(insn.w());
    // movabs r15, imm64
    let insn = JitForms
        .decode(&[0x49, 0xbf, 1, 2, 3, 4, 5, 6, 7, 0x88])
        .unwrap();
    assert_eq!((insn.len, insn.opcode_reg()), (10, 15));
    assert_eq!(insn.imm as u64, 0x8807_0605_0403_0201);
}

#[test]
fn what_the_jit_never_emits_is_not_decoded() {
    for bytes in [
        &[0xffu8, 0xd0][..],
        &[0x0f, 0x30],
        &[0xf4],
        &[0x65, 0x8b, 0x40, 0],
        &[0x67, 0x8b, 0x40, 0],
        &[0x66, 0x66, 0x90],
        &[0x48, 0x48, 0x89, 0xc0],
        &[0x48, 0x66, 0x89, 0xc0],
        &[0x66, 0xe9, 0, 0],
        &[0xc5, 0xf8, 0x77],
        &[0xc4, 0xe1, 0x78, 0xf7, 0xc0],
        &[0x62, 0xf1, 0x7c, 0x48, 0x28, 0xc0],
        &[],
    ] {
        assert_eq!(JitForms.decode(bytes), None, "{bytes:02x?}");
    }
}
