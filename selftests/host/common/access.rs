// SPDX-License-Identifier: GPL-2.0
//! What iced-x86 says of an access to memory, beside what mediation says.

use super::decode::{iced, Agreed};
use bailey::pure::access::{memory_access, Access, Op};
use bailey::pure::x86::{Decoder, JitForms};
use iced_x86::{Mnemonic, OpKind, Register};

/// The x86 number of a general register of any width.
pub fn number(register: Register) -> u8 {
    register.full_register() as u8 - Register::RAX as u8
}

/// Asserts that iced-x86 sees the same access, and returns it.
pub fn agreed(code: &[u8]) -> Access {
    let insn = JitForms.decode(code).expect("decoded");
    assert_eq!(Agreed.decode(code), Some(insn));
    let access = memory_access(&insn).expect("mediated");
    let theirs = iced(code, 0).unwrap();
    assert_eq!(usize::from(access.len), theirs.len(), "{theirs}");
    assert_eq!(access.len as usize, code.len(), "{theirs}");
    assert_eq!(access.base, number(theirs.memory_base()), "{theirs}");
    match theirs.memory_index() {
        Register::None => assert_eq!(access.index, None, "{theirs}"),
        index => {
            assert_eq!(access.index, Some(number(index)), "{theirs}");
            assert_eq!(u32::from(access.scale), theirs.memory_index_scale());
        }
    }
    assert_eq!(
        i64::from(access.disp),
        theirs.memory_displacement64() as i64,
        "{theirs}"
    );
    assert_eq!(
        usize::from(access.size),
        theirs.memory_size().size(),
        "{theirs}"
    );
    let lock = theirs.has_lock_prefix();
    let (op, sign) = match theirs.mnemonic() {
        Mnemonic::Mov if theirs.op0_kind() == OpKind::Register => (Op::Load, false),
        Mnemonic::Mov if theirs.op1_kind() == OpKind::Register => (Op::Store, false),
        Mnemonic::Mov => (Op::StoreImm, false),
        Mnemonic::Movzx => (Op::Load, false),
        Mnemonic::Movsx | Mnemonic::Movsxd => (Op::Load, true),
        Mnemonic::Add if lock => (Op::Add, false),
        Mnemonic::And if lock => (Op::And, false),
        Mnemonic::Or if lock => (Op::Or, false),
        Mnemonic::Xor if lock => (Op::Xor, false),
        Mnemonic::Xadd if lock => (Op::FetchAdd, false),
        Mnemonic::Xchg => (Op::Exchange, false),
        Mnemonic::Cmpxchg if lock => (Op::CompareExchange, false),
        other => panic!("{other:?}"),
    };
    assert_eq!((access.op, access.sign_extend), (op, sign), "{theirs}");
    match op {
        Op::Load => {
            assert_eq!(access.reg, number(theirs.op0_register()), "{theirs}");
            assert_eq!(
                usize::from(access.dest),
                theirs.op0_register().size(),
                "{theirs}"
            );
        }
        Op::StoreImm => {
            let mask = u64::MAX >> (64 - 8 * u32::from(access.size));
            assert_eq!(
                i64::from(access.imm) as u64 & mask,
                theirs.immediate(1) & mask
            );
        }
        _ => {
            assert_eq!(access.reg, number(theirs.op1_register()), "{theirs}");
            // Not one of ah, ch, dh, bh.
            assert_eq!(theirs.op1_register().size(), usize::from(access.size));
            assert!(!(Register::AH..=Register::BH).contains(&theirs.op1_register()));
        }
    }
    access
}
