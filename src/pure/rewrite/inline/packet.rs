// SPDX-License-Identifier: GPL-2.0
//! `bpf_xdp_load_bytes()` and `bpf_xdp_store_bytes()` (net/core/filter.c), where the bytes lie
//! in what the program has of the packet in its frame: it copies them itself.
//!
//! ```text
//!     if w4 > 65535 goto call         unless their number is always the same
//!     if w2 > 65535 goto call         unless the place is
//!     r5 = context->data
//!     r0 = context->data_end
//!     w2 = w2
//!     r5 += r2
//!     r0 -= r5
//!     w4 = w4
//!     if r0 s< r4 goto call           not in the part that is there, or not in the packet
//!     ...                             r4 bytes from r5 to r3, or from r3 to r5, with r0
//!     w0 = 0
//!     goto out
//! call:
//!     call the helper                 which knows the other parts, and the errors
//! out:
//! ```
//!
//! Some [`MOST_IN_ROW`] bytes whose number is always the same are copied by a load and a store
//! for each word. The last ones begin where they end with the others.

use super::{code, op, op32, op32_imm, op_imm, Emit};
use crate::pure::insn::{alu, class, jmp, size, Insn, REG_0, REG_1, REG_2, X};

const REG_3: u8 = 3;
const REG_4: u8 = 4;
const REG_5: u8 = 5;

/// The largest place, and number of bytes, of which the helper does not say that they are
/// too large.
const LARGEST: i32 = 0xffff;

/// So many bytes are copied one word after the other; more by going round.
const MOST_IN_ROW: u16 = 64;
/// The furthest place that is part of instructions.
const FURTHEST: u16 = 0x4000;

/// A call of one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// It is `bpf_xdp_store_bytes()`.
    pub stores: bool,
    /// Where `struct xdp_buff` has `data`,
    pub data: i16,
    /// and `data_end`.
    pub data_end: i16,
    /// Bytes from `data` on, if they are always as many.
    pub at: Option<u16>,
    /// How many bytes are copied, if they are always as many.
    pub len: Option<u16>,
}

/// A place that jumps lead to.
#[derive(Clone, Copy, Debug)]
enum Place {
    Next,
    Four,
    Two,
    One,
    Done,
    Call,
    Out,
}

impl From<Place> for usize {
    fn from(place: Place) -> Self {
        place as Self
    }
}

type Code<'a, E> = code::Code<'a, E, Place>;

/// From where, to where: register and distance.
type Way = ((u8, i16), (u8, i16));

impl<E> Code<'_, E> {
    /// Moves what `size` says, `further` bytes behind the beginning.
    fn move_one(&mut self, size: u8, (from, to): Way, further: i16) -> Result<(), E> {
        self.insns([
            Insn::ldx(size, REG_0, from.0, from.1.wrapping_add(further)),
            Insn::stx(size, to.0, REG_0, to.1.wrapping_add(further)),
        ])
    }

    /// Moves `len` bytes, at most [`MOST_IN_ROW`].
    fn move_row(&mut self, way: Way, len: i16) -> Result<(), E> {
        let words = len & !7;
        for at in (0..words).step_by(8) {
            self.move_one(size::DW, way, at)?;
        }
        match len & 7 {
            0 => Ok(()),
            1 => self.move_one(size::B, way, words),
            2 => self.move_one(size::H, way, words),
            4 => self.move_one(size::W, way, words),
            _ if words != 0 => self.move_one(size::DW, way, len - 8),
            3 => {
                self.move_one(size::H, way, 0)?;
                self.move_one(size::B, way, 2)
            }
            _ => {
                self.move_one(size::W, way, 0)?;
                self.move_one(size::W, way, len - 4)
            }
        }
    }

    /// Moves as many bytes as R4 says, which is lost, as are the registers of the way.
    fn move_all(&mut self, from: u8, to: u8) -> Result<(), E> {
        let way = ((from, 0), (to, 0));
        let step = |bytes: u32| {
            [
                op_imm(alu::ADD, from, bytes),
                op_imm(alu::ADD, to, bytes),
                op32_imm(alu::SUB, REG_4, bytes),
            ]
        };
        self.if_low(jmp::JLT, REG_4, 8, Place::Four)?;
        self.place(Place::Next);
        self.move_one(size::DW, way, 0)?;
        self.insns(step(8))?;
        self.if_low(jmp::JGE, REG_4, 8, Place::Next)?;
        self.place(Place::Four);
        self.if_low(jmp::JLT, REG_4, 4, Place::Two)?;
        self.move_one(size::W, way, 0)?;
        self.insns(step(4))?;
        self.place(Place::Two);
        self.if_low(jmp::JLT, REG_4, 2, Place::One)?;
        self.move_one(size::H, way, 0)?;
        self.insns(step(2))?;
        self.place(Place::One);
        self.if_low(jmp::JEQ, REG_4, 0, Place::Done)?;
        self.move_one(size::B, way, 0)
    }

    fn packet(&mut self, packet: &Packet) -> Result<(), E> {
        let len = packet.len.filter(|&len| len <= MOST_IN_ROW);
        let at = packet.at.filter(|&at| at <= FURTHEST);
        if len.is_none() {
            self.if_low(jmp::JGT, REG_4, LARGEST, Place::Call)?;
        }
        if at.is_none() {
            self.if_low(jmp::JGT, REG_2, LARGEST, Place::Call)?;
        }
        self.insns([
            Insn::ldx(size::DW, REG_5, REG_1, packet.data),
            Insn::ldx(size::DW, REG_0, REG_1, packet.data_end),
        ])?;
        if at.is_none() {
            self.insns([op32(alu::MOV, REG_2, REG_2), op(alu::ADD, REG_5, REG_2)])?;
        }
        self.insn(op(alu::SUB, REG_0, REG_5))?;
        let at = at.unwrap_or(0);
        match len {
            Some(len) => {
                let behind = i32::from(at) + i32::from(len);
                self.if_whole(jmp::JSLT, REG_0, behind, Place::Call)?;
            }
            None => {
                if at != 0 {
                    self.insn(op_imm(alu::SUB, REG_0, at.into()))?;
                }
                self.insn(op32(alu::MOV, REG_4, REG_4))?;
                let less = class::JMP | jmp::JSLT | X;
                self.jump(less, (REG_0, REG_4, 0), Place::Call)?;
            }
        }
        match len {
            Some(len) => {
                let (there, here) = ((REG_5, at as i16), (REG_3, 0));
                let way = if packet.stores {
                    (here, there)
                } else {
                    (there, here)
                };
                self.move_row(way, len as i16)?;
            }
            None => {
                if at != 0 {
                    self.insn(op_imm(alu::ADD, REG_5, at.into()))?;
                }
                if packet.stores {
                    self.move_all(REG_3, REG_5)?;
                } else {
                    self.move_all(REG_5, REG_3)?;
                }
            }
        }
        self.place(Place::Done);
        self.insn(op32_imm(alu::MOV, REG_0, 0))?;
        self.goto(Place::Out)?;
        self.place(Place::Call);
        self.call()?;
        self.place(Place::Out);
        Ok(())
    }
}

impl Packet {
    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        code::emit(emit, false, |code| code.packet(self))
    }
}
