// SPDX-License-Identifier: GPL-2.0
//! `bpf_get_prandom_u32()`: the TSC and a secret of the call's own, mixed as SplitMix64 mixes its
//! counter (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
//!
//! ```text
//!     r0 = the TSC                    by a stub of the site, which writes R0 and R3
//!     r1 = the secret
//!     r0 += r1
//!     r1 = r0 >> 30, r0 ^= r1, r0 *= 0xbf58476d1ce4e5b9
//!     r1 = r0 >> 27, r0 ^= r1, r0 *= 0x94d049bb133111eb
//!     r1 = r0 >> 31, r0 ^= r1
//!     w0 = w0
//! ```
//!
//! The mixing is one to one, and between two readings of the TSC on a CPU it counts on. So as in
//! the kernel's generator there is nothing to be seen of one number in the next, and who does not
//! know the secret does not know the number. As there, it is none to make keys of.

use super::{op, op32, op_imm, plain, Emit, Part};
use crate::pure::insn::{alu, Insn, REG_0, REG_1};

/// What the mixing shifts and multiplies by; the last step does not multiply.
const STEPS: [(u32, Option<u64>); 3] = [
    (30, Some(0xbf58_476d_1ce4_e5b9)),
    (27, Some(0x94d0_49bb_1331_11eb)),
    (31, None),
];

pub(super) fn emit<E>(secret: u64, emit: Emit<'_, E>) -> Result<(), E> {
    emit(Part::Ask)?;
    plain(emit, Insn::ld_imm64(REG_1, secret))?;
    plain(emit, [op(alu::ADD, REG_0, REG_1)])?;
    for (shift, factor) in STEPS {
        let mixed = [
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::RSH, REG_1, shift),
            op(alu::XOR, REG_0, REG_1),
        ];
        plain(emit, mixed)?;
        if let Some(factor) = factor {
            plain(emit, Insn::ld_imm64(REG_1, factor))?;
            plain(emit, [op(alu::MUL, REG_0, REG_1)])?;
        }
    }
    plain(emit, [op32(alu::MOV, REG_0, REG_0)])
}
