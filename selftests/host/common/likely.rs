// SPDX-License-Identifier: GPL-2.0
//! Bytes that may be x86 instructions.

use proptest::collection::vec;
use proptest::prelude::*;

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
