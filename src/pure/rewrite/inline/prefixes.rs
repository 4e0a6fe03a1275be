// SPDX-License-Identifier: GPL-2.0
//! Look-ups in a trie with a store (`crate::pure::store::trie`), where the domain can read
//! state, nodes and words ([`Index`]): what [`Trie::find`](crate::pure::store::trie::Trie::find)
//! does, in the program's own instructions.
//!
//! ```text
//!     w4 = *(u32 *)(r2 + 0)           bits of the key
//!     w0 = 0
//!     if w4 > bits goto done          more than there may be
//!     ...                             r4, r5: below
//!     r3 = taken << 32                nodes that were ever taken; nothing is found yet
//!     w0 = root
//! next:
//!     if w0 >= nodes goto end
//!     w1 = ~bits of the node
//!     if w1 s>= its parent's goto call
//!     if w1 < the key's goto end      it is longer than the key
//!     ...                             r4 has w1, r5 a word of the key
//!     r1 = that word of the node
//!     r1 ^= r5
//!     r1 >>= r4                       by 63 - bits, so the node's bits and one more are left
//!     if r1 > 1 goto end
//!     if w0 >= real goto inner
//!     low half of r3 = w0 + 1         a prefix of the key's
//! inner:
//!     if w4 == the key's goto end
//!     w0 = child[(r5 >> r4) & 1]
//!     goto next
//! end:
//!     w1 = taken - r3 >> 32
//!     if w1 >= spare goto call
//!     w0 = w3
//!     if w0 == 0 goto done
//!     r0 = values + stride * (r0 - 1)
//!     goto done
//! call:
//!     call bpf_map_lookup_elem        nodes were used again meanwhile
//! done:
//! ```
//!
//! Each node is longer than the one above, or the walk ends: so it ends whatever others do
//! to the nodes. It does not begin again itself: the helper does. R2 stays the key's address
//! for that.
//!
//! Lengths are kept as their complements: these are what shifts take, who look at no more
//! than six bits. The key's is in the low half of R5, if that has room for it below 32 bits
//! of data, or in the high half of R4. R0 stays a node's number: an address is the first
//! one divided by the bytes from one to the next, the number added, and the sum shifted back.
//!
//! A key of up to eight bytes of data is read once. Longer ones are read at each node, as on
//! a stock kernel.

use super::{code, op, op32, op32_imm, op_imm, Emit};
use crate::pure::insn::{alu, jmp, size, Insn, REG_0, REG_1, REG_2};
use crate::pure::store::trie::{Index, Shape, CHILD, LEN, NODE, ROOT, TAKEN};
use core::mem::size_of;

const REG_3: u8 = 3;
const REG_4: u8 = 4;
const REG_5: u8 = 5;

/// Where the bits of a key begin, behind their number.
const DATA: u32 = size_of::<u32>() as u32;

/// Most bytes of such bits: those of an IPv6 address.
const LONGEST: u32 = 16;

/// Bits of a word.
const WORD: u32 = u64::BITS;

/// By how much the number of a child is multiplied for its address, and that of a node for
/// that of its first child.
const CHILD_SHIFT: u32 = size_of::<u32>().trailing_zeros();
const FIRST_SHIFT: u32 = NODE.trailing_zeros() - CHILD_SHIFT;
const _: () = assert!(NODE.is_power_of_two());

/// A trie with a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Where the domain has its state, nodes and words.
    pub at: u64,
    /// How they lie there.
    pub index: Index,
    /// How large it is.
    pub shape: Shape,
    /// The domain's address of the first value.
    pub values: u64,
    /// Bytes from one value to the next.
    pub value_stride: u32,
}

/// A place that jumps lead to.
#[derive(Clone, Copy, Debug)]
enum Place {
    Next,
    Part,
    Whole,
    Inner,
    End,
    Call,
    Done,
}

impl From<Place> for usize {
    fn from(place: Place) -> Self {
        place as Self
    }
}

type Code<'a, E> = code::Code<'a, E, Place>;

/// `reg = value`
fn constant(reg: u8, value: u64) -> [Insn; 2] {
    Insn::ld_imm64(reg, value)
}

impl Prefixes {
    /// Whether the instructions have room for its numbers, and its keys are of a size that
    /// they are for.
    pub fn fits(&self) -> bool {
        let fits = |number: u64| i32::try_from(number).is_ok();
        let nodes = (u64::from(self.shape.most) + u64::from(self.shape.spare)) * 2;
        let size = self.shape.bits / 8;
        self.shape.bits % 8 == 0
            && (1..=LONGEST).contains(&size)
            && matches!(size % 8, 0 | 1 | 2 | 4)
            && self.shape.most != 0
            && fits(nodes)
            && fits(self.value_stride.into())
            && self.is_aligned(self.index.nodes, NODE)
            && self.is_aligned(self.index.words, self.each())
    }

    /// Whether what begins there has an address that is divided by `each`, a power of two,
    /// without a rest.
    fn is_aligned(&self, begin: u64, each: u64) -> bool {
        self.at.wrapping_add(begin) & each.wrapping_sub(1) == 0
    }

    /// Bytes of a node's words: a power of two, since there are one or two.
    fn each(&self) -> u64 {
        (self.shape.width() * size_of::<u64>()) as u64
    }

    /// Whether a key's length lies below its data in one word.
    const fn is_narrow(&self) -> bool {
        self.shape.bits <= WORD / 2
    }

    /// `r1 = begin + each * number`, where R0 is the number. `each` is a power of two.
    fn address<E>(&self, code: &mut Code<'_, E>, begin: u64, each: u64) -> Result<(), E> {
        let shift = each.trailing_zeros();
        code.insns(constant(REG_1, self.at.wrapping_add(begin) >> shift))?;
        code.insns([op(alu::ADD, REG_1, REG_0), op_imm(alu::LSH, REG_1, shift)])
    }

    /// Word number `at` of the key to R5, filled up with zeroes.
    fn word<E>(&self, code: &mut Code<'_, E>, at: u32) -> Result<(), E> {
        let load = match (self.shape.bits / 8).saturating_sub(8 * at) {
            1 => size::B,
            2 => size::H,
            4 => size::W,
            _ => size::DW,
        };
        let here = (DATA + 8 * at) as i16;
        code.insns([Insn::ldx(load, REG_5, REG_2, here), Insn::swap64(REG_5)])
    }

    /// Leaves unless the node is longer than the one above it, and no longer than the key.
    /// R1 has the complement of its length, and then R4 has.
    fn descend<E>(&self, code: &mut Code<'_, E>) -> Result<(), E> {
        code.if_regs(jmp::JSGE, REG_1, REG_4, Place::Call)?;
        if self.is_narrow() {
            code.if_regs(jmp::JLT, REG_1, REG_5, Place::End)?;
            return code.insn(op32(alu::MOV, REG_4, REG_1));
        }
        code.insn(op_imm(alu::RSH, REG_4, 32))?;
        code.if_regs(jmp::JLT, REG_1, REG_4, Place::End)?;
        code.insns([op_imm(alu::LSH, REG_4, 32), op(alu::OR, REG_4, REG_1)])
    }

    /// Goes to the end unless the node's bits are the key's. R5 is then the word of the key
    /// in which its next bit is.
    fn compare<E>(&self, code: &mut Code<'_, E>) -> Result<(), E> {
        let width = self.shape.width() as u32;
        for at in 0..width {
            if width > 1 {
                self.word(code, at)?;
            }
            self.address(code, self.index.words, self.each())?;
            code.insns([
                Insn::ldx(size::DW, REG_1, REG_1, (8 * at) as i16),
                op(alu::XOR, REG_1, REG_5),
            ])?;
            let end = WORD * (at + 1);
            if self.shape.bits >= end {
                // The word is more than has to be the same.
                code.if_low(jmp::JSGE, REG_4, (end as i32).wrapping_neg(), Place::Part)?;
                code.if_whole(jmp::JNE, REG_1, 0, Place::End)?;
            }
        }
        if self.shape.bits == WORD * width {
            code.goto(Place::Whole)?;
        }
        code.place(Place::Part);
        code.insn(op(alu::RSH, REG_1, REG_4))?;
        code.if_whole(jmp::JGT, REG_1, 1, Place::End)?;
        code.place(Place::Whole);
        Ok(())
    }

    fn write<E>(&self, code: &mut Code<'_, E>) -> Result<(), E> {
        let real = self.shape.real() as i32;
        let not = |reg| op32_imm(alu::XOR, reg, u32::MAX);
        code.insns([
            Insn::ldx(size::W, REG_4, REG_2, 0),
            op32_imm(alu::MOV, REG_0, 0),
        ])?;
        code.if_low(jmp::JGT, REG_4, self.shape.bits as i32, Place::Done)?;
        code.insn(not(REG_4))?;
        if self.shape.width() == 1 {
            self.word(code, 0)?;
        }
        if self.is_narrow() {
            code.insns([op(alu::OR, REG_5, REG_4), op32_imm(alu::MOV, REG_4, 0)])?;
        } else {
            code.insn(op_imm(alu::LSH, REG_4, 32))?;
        }
        code.insns(constant(REG_1, self.at))?;
        code.insns([
            Insn::ldx(size::DW, REG_3, REG_1, TAKEN as i16),
            op_imm(alu::LSH, REG_3, 32),
            Insn::ldx(size::W, REG_0, REG_1, ROOT as i16),
        ])?;

        code.place(Place::Next);
        code.if_low(jmp::JGE, REG_0, 2i32.wrapping_mul(real), Place::End)?;
        self.address(code, self.index.nodes, NODE)?;
        code.insns([Insn::ldx(size::W, REG_1, REG_1, LEN as i16), not(REG_1)])?;
        self.descend(code)?;
        self.compare(code)?;
        code.if_low(jmp::JGE, REG_0, real, Place::Inner)?;
        code.insns([
            op_imm(alu::RSH, REG_3, 32),
            op_imm(alu::LSH, REG_3, 32),
            op(alu::OR, REG_3, REG_0),
            op_imm(alu::ADD, REG_3, 1),
        ])?;
        code.place(Place::Inner);
        if self.is_narrow() {
            code.if_regs(jmp::JEQ, REG_4, REG_5, Place::End)?;
        } else {
            code.insns([op(alu::MOV, REG_1, REG_4), op_imm(alu::RSH, REG_1, 32)])?;
            code.if_regs(jmp::JEQ, REG_4, REG_1, Place::End)?;
        }
        // The children are counted as if they lay in a row.
        code.insns([
            op(alu::MOV, REG_1, REG_5),
            op(alu::RSH, REG_1, REG_4),
            op32_imm(alu::AND, REG_1, 1),
            op_imm(alu::LSH, REG_0, FIRST_SHIFT),
            op(alu::OR, REG_0, REG_1),
        ])?;
        self.address(code, self.index.nodes + CHILD as u64, 1 << CHILD_SHIFT)?;
        code.insn(Insn::ldx(size::W, REG_0, REG_1, 0))?;
        code.goto(Place::Next)?;

        code.place(Place::End);
        code.insns(constant(REG_1, self.at))?;
        code.insns([
            Insn::ldx(size::W, REG_1, REG_1, TAKEN as i16),
            op(alu::MOV, REG_4, REG_3),
            op_imm(alu::RSH, REG_4, 32),
            op32(alu::SUB, REG_1, REG_4),
        ])?;
        code.if_low(jmp::JGE, REG_1, self.shape.spare as i32, Place::Call)?;
        code.insn(op32(alu::MOV, REG_0, REG_3))?;
        code.if_low(jmp::JEQ, REG_0, 0, Place::Done)?;
        let stride = self.value_stride;
        code.insn(op_imm(alu::MUL, REG_0, stride))?;
        code.insns(constant(REG_1, self.values.wrapping_sub(stride.into())))?;
        code.insn(op(alu::ADD, REG_0, REG_1))?;
        code.goto(Place::Done)?;
        code.place(Place::Call);
        code.call()?;
        code.place(Place::Done);
        Ok(())
    }

    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        code::emit(emit, false, |code: &mut Code<'_, E>| self.write(code))
    }
}
