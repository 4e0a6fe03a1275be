// SPDX-License-Identifier: GPL-2.0
//! Look-ups in a hash map with a store (`crate::pure::store`), where the domain can read
//! keys, elements and buckets ([`Index`]): what
//! [`Table::find`](crate::pure::store::Table::find) does, in the program's own
//! instructions.
//!
//! ```text
//!     w5 = hash of the key            (crate::pure::store::hash)
//!     r4 = the keys
//!     r0 = *(u64 *)(r4 + buckets + 8 * (w5 & mask))
//!     r5 |= r0 & losses
//!     w0 = w0                         the first element
//! next:
//!     if w0 >= elements goto end
//!     w1 = *(u32 *)(r4 + elements + 12 * r0 + 4)
//!     if w1 != w5 goto other
//!     ...                             the keys
//! other:
//!     r0 = *(u32 *)(r4 + elements + 12 * r0)
//!     goto next
//! found:
//!     ...                             of a map that forgets: that it was used
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
//! A key of four or eight bytes is kept in R3:
//!
//! ```text
//!     r1 = *(r4 + key stride * r0)
//!     if r1 == r3 goto found
//! ```
//!
//! Others are compared piece by piece, which takes one register more:
//!
//! ```text
//!     r1 = r4 + key stride * r0
//!     r3 = *(r1 + 0)
//!     r4 = *(r2 + 0)
//!     if r3 != r4 goto differs
//!     ...                             and so on, to the key's end
//!     goto found
//! differs:
//!     r4 = the keys
//! ```
//!
//! Of a map that has a value for each CPU each CPU has a row of values. Its number comes from
//! the stub that answers `bpf_get_smp_processor_id()`, which writes R0 alone:
//!
//! ```text
//!     r0 = stride * r0
//!     r3 = r0
//!     call the stub
//!     r0 = bytes from one CPU's row to the next * r0
//!     r0 += r3
//!     r0 += values
//! ```
//!
//! It does not begin again itself: the helper does. R2 stays the key's address for that.
//!
//! In a map that forgets what was not used for long, what is found is marked, and its number goes to
//! the log ([`Uses`]), if it is not marked yet:
//!
//! ```text
//!     r1 = values + marks
//!     r1 += r0
//!     r3 = *(u8 *)(r1)
//!     if r3 != 0 goto known
//!     *(u8 *)(r1) = 1
//!     r1 = values + head
//!     r4 = *(u32 *)(r1)
//!     w3 = w4
//!     w3 &= slots - 1
//!     r3 <<= 2
//!     r3 += r1
//!     *(u32 *)(r3 + log) = r0
//!     w4 += 1
//!     *(u32 *)(r1) = r4
//! known:
//! ```

use super::{op, op32, op32_imm, op_imm, plain, Emit, Part};
use crate::pure::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2, X};
use crate::pure::store::hash::START;
use crate::pure::store::uses::{Uses, LOG};
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
    /// The domain's address of the first value.
    pub values: u64,
    /// Bytes from one value to the next.
    pub value_stride: u32,
    /// If each CPU has a row of values: bytes from one to the next. Else 0.
    pub each: u64,
    /// Bytes of a key: at most [`LONGEST`].
    pub key_size: u32,
    /// Bytes from one key to the next.
    pub key_stride: u32,
    /// Elements.
    pub elements: u32,
    /// Buckets: a power of two.
    pub buckets: u32,
    /// What the hashes begin with.
    pub seed: u32,
    /// Of a map that forgets: where it is noted what was used.
    pub uses: Option<Uses>,
}

/// Longer keys are left to the helper: the instructions for one of 64 bytes are some 330.
pub const LONGEST: u32 = 64;

/// The pieces of `len` bytes that loads are made of: each one's distance from the
/// start, and its bytes.
fn pieces(len: u32) -> impl Iterator<Item = (i16, u32)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let left = len.checked_sub(at)?;
        let bytes = match left {
            0 => return None,
            1 => 1,
            2..=3 => 2,
            4..=7 => 4,
            _ => 8,
        };
        let piece = (i16::try_from(at).ok()?, bytes);
        at += bytes;
        Some(piece)
    })
}

/// How a load of so many bytes is encoded.
const fn size_of_load(bytes: u32) -> u8 {
    match bytes {
        1 => size::B,
        2 => size::H,
        4 => size::W,
        _ => size::DW,
    }
}

/// Instructions that go on to a chain's next element.
const OTHER: i16 = 5;

/// The hash's three words.
const STATE: [u8; 3] = [REG_3, REG_4, REG_5];

/// `R0 = rol(y, by)`, with R1.
fn rotated(y: u8, by: u32) -> [Insn; 5] {
    [
        op32(alu::MOV, REG_0, y),
        op32_imm(alu::LSH, REG_0, by),
        op32(alu::MOV, REG_1, y),
        op32_imm(alu::RSH, REG_1, 32 - by),
        op32(alu::OR, REG_0, REG_1),
    ]
}

/// `x = (x - y) ^ rol(y, by); y += z`: a step of mixing three words in.
fn mix<E>(emit: Emit<'_, E>, (x, y, by, z): (u8, u8, u32, u8)) -> Result<(), E> {
    plain(emit, rotated(y, by))?;
    let rest = [
        op32(alu::SUB, x, y),
        op32(alu::XOR, x, REG_0),
        op32(alu::ADD, y, z),
    ];
    plain(emit, rest)
}

/// The steps of that.
const MIX: [(u8, u8, u32, u8); 6] = [
    (REG_3, REG_5, 4, REG_4),
    (REG_4, REG_3, 6, REG_5),
    (REG_5, REG_4, 8, REG_3),
    (REG_3, REG_5, 16, REG_4),
    (REG_4, REG_3, 19, REG_5),
    (REG_5, REG_4, 4, REG_3),
];

/// `x = (x ^ y) - rol(y, by)`: a step of the hash's end.
fn last<E>(emit: Emit<'_, E>, (x, y, by): (u8, u8, u32)) -> Result<(), E> {
    plain(emit, rotated(y, by))?;
    plain(emit, [op32(alu::XOR, x, y), op32(alu::SUB, x, REG_0)])
}

/// The steps of that; those before the third are of constants where the key is one word.
const LAST: [(u8, u8, u32); 7] = [
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
        (1..=LONGEST).contains(&self.key_size)
            && self.key_size <= self.key_stride
            && fits(self.key_stride.into())
            && self.buckets.is_power_of_two()
            && self.elements > 0
            && fits(self.elements.into())
            && fits(self.value_stride.into())
            && fits(self.each)
            && fits(self.index.len)
    }

    /// Word number `at` of the key to `to`, filled up with zeroes, with R1.
    fn word<E>(&self, emit: Emit<'_, E>, to: u8, at: u32) -> Result<(), E> {
        let here = (4 * at) as i16;
        match self.key_size.saturating_sub(4 * at) {
            1 => plain(emit, [Insn::ldx(size::B, to, REG_2, here)]),
            2 => plain(emit, [Insn::ldx(size::H, to, REG_2, here)]),
            3 => {
                let word = [
                    Insn::ldx(size::H, to, REG_2, here),
                    Insn::ldx(size::B, REG_1, REG_2, here + 2),
                    op32_imm(alu::LSH, REG_1, 16),
                    op32(alu::OR, to, REG_1),
                ];
                plain(emit, word)
            }
            _ => plain(emit, [Insn::ldx(size::W, to, REG_2, here)]),
        }
    }

    /// The key's hash to R5, with R0, R1, R3 and R4.
    fn hash<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        let words = self.key_size.div_ceil(4);
        let start = START.wrapping_add(words << 2).wrapping_add(self.seed);
        if words == 1 {
            // The first step leaves this of two equal words.
            let third = 0u32.wrapping_sub(start.rotate_left(14));
            self.word(emit, REG_3, 0)?;
            let first = [
                op32_imm(alu::ADD, REG_3, start),
                op32_imm(alu::XOR, REG_3, third),
                op32_imm(alu::SUB, REG_3, third.rotate_left(11)),
                op32_imm(alu::MOV, REG_4, start),
                op32_imm(alu::MOV, REG_5, third),
            ];
            plain(emit, first)?;
            return LAST
                .into_iter()
                .skip(2)
                .try_for_each(|step| last(emit, step));
        }
        for (at, to) in (0..).zip(STATE) {
            if at < words {
                self.word(emit, to, at)?;
                plain(emit, [op32_imm(alu::ADD, to, start)])?;
            } else {
                plain(emit, [op32_imm(alu::MOV, to, start)])?;
            }
        }
        let mut done = 3;
        while done < words {
            MIX.into_iter().try_for_each(|step| mix(emit, step))?;
            for (at, to) in (done..words).zip(STATE) {
                self.word(emit, REG_0, at)?;
                plain(emit, [op32(alu::ADD, to, REG_0)])?;
            }
            done += 3;
        }
        LAST.into_iter().try_for_each(|step| last(emit, step))
    }

    /// Notes that element R0 was used, with R1, R3 and R4.
    fn mark(&self) -> Option<[Insn; 16]> {
        let uses = self.uses?;
        let [marks_low, marks_high] = Insn::ld_imm64(REG_1, self.values.wrapping_add(uses.marks));
        let [head_low, head_high] = Insn::ld_imm64(REG_1, self.values.wrapping_add(uses.head));
        Some([
            marks_low,
            marks_high,
            op(alu::ADD, REG_1, REG_0),
            Insn::ldx(size::B, REG_3, REG_1, 0),
            Insn::new(class::JMP | jmp::JNE | K, REG_3, 0, 11, 0),
            Insn::st(size::B, REG_1, 0, 1),
            head_low,
            head_high,
            Insn::ldx(size::W, REG_4, REG_1, 0),
            op32(alu::MOV, REG_3, REG_4),
            op32_imm(alu::AND, REG_3, uses.slots.wrapping_sub(1)),
            op_imm(alu::LSH, REG_3, 2),
            op(alu::ADD, REG_3, REG_1),
            Insn::stx(size::W, REG_3, REG_0, LOG),
            op32_imm(alu::ADD, REG_4, 1),
            Insn::stx(size::W, REG_1, REG_4, 0),
        ])
    }

    /// The load by which a key of this size is compared, if it is one.
    fn whole(&self) -> Option<u8> {
        matches!(self.key_size, 4 | 8).then(|| size_of_load(self.key_size))
    }

    /// Instructions that compare keys.
    fn compare_len(&self) -> i16 {
        match self.whole() {
            Some(_) => 5,
            None => 6 + 3 * pieces(self.key_size).count() as i16,
        }
    }

    /// Compares the key of element R0 with the one that is looked up: jumps over what
    /// `OTHER` instructions do behind it if they are the same, and ends there if not.
    fn compare<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        let address = [
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::MUL, REG_1, self.key_stride),
            op(alu::ADD, REG_1, REG_4),
        ];
        plain(emit, address)?;
        if let Some(load) = self.whole() {
            let whole = [
                Insn::ldx(load, REG_1, REG_1, 0),
                Insn::new(class::JMP | jmp::JEQ | X, REG_1, REG_3, OTHER, 0),
            ];
            return plain(emit, whole);
        }
        let mut left = 3 * pieces(self.key_size).count() as i16;
        for (at, bytes) in pieces(self.key_size) {
            left -= 3;
            let piece = [
                Insn::ldx(size_of_load(bytes), REG_3, REG_1, at),
                Insn::ldx(size_of_load(bytes), REG_4, REG_2, at),
                Insn::new(class::JMP | jmp::JNE | X, REG_3, REG_4, left + 1, 0),
            ];
            plain(emit, piece)?;
        }
        let [keys_low, keys_high] = Insn::ld_imm64(REG_4, self.at);
        plain(emit, [Insn::ja(2 + OTHER), keys_low, keys_high])
    }

    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
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
        ];
        plain(emit, begin)?;
        plain(
            emit,
            self.whole().map(|load| Insn::ldx(load, REG_3, REG_2, 0)),
        )?;
        let compare = self.compare_len();
        let mark = self.mark();
        let mark_len = mark.map_or(0, |mark| mark.len() as i16);
        let row_len = if self.each != 0 { 4 } else { 0 };
        let next = [
            Insn::new(
                class::JMP32 | jmp::JGE | K,
                REG_0,
                0,
                compare + mark_len + row_len + 16,
                self.elements as i32,
            ),
            op(alu::MOV, REG_1, REG_0),
            op_imm(alu::MUL, REG_1, ELEMENT as u32),
            op(alu::ADD, REG_1, REG_4),
            op_imm(alu::ADD, REG_1, self.index.elements as u32),
            Insn::ldx(size::W, REG_1, REG_1, HASH as i16),
            Insn::new(class::JMP32 | jmp::JNE | X, REG_1, REG_5, compare, 0),
        ];
        plain(emit, next)?;
        self.compare(emit)?;
        let other = [
            op_imm(alu::MUL, REG_0, ELEMENT as u32),
            op(alu::ADD, REG_0, REG_4),
            op_imm(alu::ADD, REG_0, self.index.elements as u32),
            Insn::ldx(size::W, REG_0, REG_0, NEXT as i16),
            Insn::ja(-12 - compare),
        ];
        plain(emit, other)?;
        plain(emit, mark.into_iter().flatten())?;
        plain(emit, [op_imm(alu::MUL, REG_0, self.value_stride)])?;
        if self.each != 0 {
            plain(emit, [op(alu::MOV, REG_3, REG_0)])?;
            emit(Part::Ask)?;
            let row = [
                op_imm(alu::MUL, REG_0, self.each as u32),
                op(alu::ADD, REG_0, REG_3),
            ];
            plain(emit, row)?;
        }
        let found = [
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
