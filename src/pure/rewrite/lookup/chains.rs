// SPDX-License-Identifier: GPL-2.0
//! Look-ups in a hash map with a store (`crate::pure::store`), of keys of four or eight
//! bytes, where the domain can read keys, elements and buckets ([`Index`]): what
//! [`Table::find`](crate::pure::store::Table::find) does, in the program's own
//! instructions.
//!
//! ```text
//!     w5 = hash of the key            (crate::pure::store::hash)
//!     r4 = the keys
//!     r0 = *(u64 *)(r4 + buckets + 8 * (w5 & mask))
//!     r5 |= r0 & losses
//!     w0 = w0                         the first element
//!     r3 = *(r2 + 0)                  the key
//! next:
//!     if w0 >= elements goto end
//!     w1 = *(u32 *)(r4 + elements + 12 * r0 + 4)
//!     if w1 != w5 goto other
//!     r1 = *(r4 + stride * r0)
//!     if r1 == r3 goto found
//! other:
//!     r0 = *(u32 *)(r4 + elements + 12 * r0)
//!     goto next
//! found:
//!     r0 = values + stride * r0
//!     goto done
//! end:
//!     r1 = losses of bucket w5 & mask
//!     r5 >>= 32
//!     r0 = 0
//!     if r1 == r5 goto done
//!     call bpf_map_lookup_elem        another element was taken out meanwhile
//! done:
//! ```
//!
//! It does not begin again itself: the helper does. R2 stays the key's address for that.

use super::{plain, Emit, Part};
use crate::pure::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2, X};
use crate::pure::store::hash::START;
use crate::pure::store::{Index, ELEMENT, HASH, LOSSES, NEXT};

const REG_3: u8 = 3;
const REG_4: u8 = 4;
const REG_5: u8 = 5;

/// A hash map with a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// Where the domain has its keys, elements and buckets.
    pub at: u64,
    /// How they lie there.
    pub index: Index,
    /// The domain's address of the first value, and bytes from one to the next.
    pub values: u64,
    /// Bytes from one value to the next.
    pub value_stride: u32,
    /// Bytes of a key: four or eight, with eight from one to the next.
    pub key_size: u32,
    /// Elements.
    pub elements: u32,
    /// Buckets: a power of two.
    pub buckets: u32,
    /// What the hashes begin with.
    pub seed: u32,
}

/// Bytes from one key to the next.
pub const KEY_STRIDE: u32 = 8;

fn op(op: u8, dst: u8, src: u8) -> Insn {
    Insn::alu64_reg(op, dst, src)
}

fn op_imm(op: u8, dst: u8, imm: u32) -> Insn {
    Insn::alu64_imm(op, dst, imm as i32)
}

fn op32(op: u8, dst: u8, src: u8) -> Insn {
    Insn::alu32_reg(op, dst, src)
}

fn op32_imm(op: u8, dst: u8, imm: u32) -> Insn {
    Insn::alu32_imm(op, dst, imm as i32)
}

/// `x = (x ^ y) - rol(y, by)`: a step of the hash's end.
fn step((x, y, by): (u8, u8, u32)) -> [Insn; 7] {
    [
        op32(alu::MOV, REG_0, y),
        op32_imm(alu::LSH, REG_0, by),
        op32(alu::MOV, REG_1, y),
        op32_imm(alu::RSH, REG_1, 32 - by),
        op32(alu::OR, REG_0, REG_1),
        op32(alu::XOR, x, y),
        op32(alu::SUB, x, REG_0),
    ]
}

/// The steps; those before the third are of constants where the key is one word.
const STEPS: [(u8, u8, u32); 7] = [
    (REG_5, REG_4, 14),
    (REG_3, REG_5, 11),
    (REG_4, REG_3, 25),
    (REG_5, REG_4, 16),
    (REG_3, REG_5, 4),
    (REG_4, REG_3, 14),
    (REG_5, REG_4, 24),
];

impl Chains {
    /// Whether the instructions have room for its numbers, and it is of a kind that they
    /// are for.
    pub fn fits(&self) -> bool {
        let fits = |number: u64| i32::try_from(number).is_ok();
        matches!(self.key_size, 4 | 8)
            && self.buckets.is_power_of_two()
            && self.elements > 0
            && fits(self.elements.into())
            && fits(self.value_stride.into())
            && fits(self.index.len)
    }

    /// The key's hash to R5, with R3 and R4.
    fn hash<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        let start = START.wrapping_add(self.key_size).wrapping_add(self.seed);
        if self.key_size == 4 {
            // The first step leaves this of two equal words.
            let third = 0u32.wrapping_sub(start.rotate_left(14));
            let first = [
                Insn::ldx(size::W, REG_3, REG_2, 0),
                op32_imm(alu::ADD, REG_3, start),
                op32_imm(alu::XOR, REG_3, third),
                op32_imm(alu::SUB, REG_3, third.rotate_left(11)),
                op32_imm(alu::MOV, REG_4, start),
                op32_imm(alu::MOV, REG_5, third),
            ];
            plain(emit, first)?;
            return plain(emit, STEPS.into_iter().skip(2).flat_map(step));
        }
        let first = [
            Insn::ldx(size::W, REG_3, REG_2, 0),
            Insn::ldx(size::W, REG_4, REG_2, 4),
            op32_imm(alu::ADD, REG_3, start),
            op32_imm(alu::ADD, REG_4, start),
            op32_imm(alu::MOV, REG_5, start),
        ];
        plain(emit, first)?;
        plain(emit, STEPS.into_iter().flat_map(step))
    }

    pub(super) fn slots(&self) -> u32 {
        let mut slots = 0;
        // Counted by what is emitted, which cannot fail here.
        let _ = self.emit::<()>(&mut |_| {
            slots += 1;
            Ok(())
        });
        slots
    }

    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        let word = if self.key_size == 4 {
            size::W
        } else {
            size::DW
        };
        let [keys_low, keys_high] = Insn::ld_imm64(REG_4, self.at);
        let [values_low, values_high] = Insn::ld_imm64(REG_1, self.values);
        self.hash(emit)?;
        let begin = [
            keys_low,
            keys_high,
            op32(alu::MOV, REG_1, REG_5),
            op32_imm(alu::AND, REG_1, self.buckets.wrapping_sub(1)),
            op_imm(alu::LSH, REG_1, 3),
            op(alu::ADD, REG_1, REG_4),
            op_imm(alu::ADD, REG_1, self.index.buckets as u32),
            Insn::ldx(size::DW, REG_0, REG_1, 0),
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::RSH, REG_1, 32),
            op_imm(alu::LSH, REG_1, 32),
            op(alu::OR, REG_5, REG_1),
            op32(alu::MOV, REG_0, REG_0),
            Insn::ldx(word, REG_3, REG_2, 0),
        ];
        plain(emit, begin)?;
        let next = [
            Insn::new(
                class::JMP32 | jmp::JGE | K,
                REG_0,
                0,
                21,
                self.elements as i32,
            ),
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::MUL, REG_1, ELEMENT as u32),
            op(alu::ADD, REG_1, REG_4),
            op_imm(alu::ADD, REG_1, self.index.elements as u32),
            Insn::ldx(size::W, REG_1, REG_1, HASH as i16),
            Insn::new(class::JMP32 | jmp::JNE | X, REG_1, REG_5, 5, 0),
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::MUL, REG_1, KEY_STRIDE),
            op(alu::ADD, REG_1, REG_4),
            Insn::ldx(word, REG_1, REG_1, 0),
            Insn::new(class::JMP | jmp::JEQ | X, REG_1, REG_3, 5, 0),
            op_imm(alu::MUL, REG_0, ELEMENT as u32),
            op(alu::ADD, REG_0, REG_4),
            op_imm(alu::ADD, REG_0, self.index.elements as u32),
            Insn::ldx(size::W, REG_0, REG_0, NEXT as i16),
            Insn::ja(-17),
        ];
        plain(emit, next)?;
        let found = [
            op_imm(alu::MUL, REG_0, self.value_stride),
            values_low,
            values_high,
            op(alu::ADD, REG_0, REG_1),
            Insn::ja(10),
        ];
        plain(emit, found)?;
        let end = [
            op32(alu::MOV, REG_1, REG_5),
            op32_imm(alu::AND, REG_1, self.buckets.wrapping_sub(1)),
            op_imm(alu::LSH, REG_1, 3),
            op(alu::ADD, REG_1, REG_4),
            op_imm(alu::ADD, REG_1, self.index.buckets as u32),
            Insn::ldx(size::W, REG_1, REG_1, LOSSES as i16),
            op_imm(alu::RSH, REG_5, 32),
            Insn::mov64_imm(REG_0, 0),
            Insn::new(class::JMP | jmp::JEQ | X, REG_1, REG_5, 1, 0),
        ];
        plain(emit, end)?;
        emit(Part::Call)
    }
}
