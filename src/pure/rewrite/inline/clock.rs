// SPDX-License-Identifier: GPL-2.0
//! The time, from a page that the domain reads, as user space reads it from the vDSO's:
//! what the kernel's own `__ktime_get_fast_ns()` computes (kernel/time/timekeeping.c).
//!
//! ```text
//!     r4 = the page
//! again:
//!     w5 = its sequence               which half to read: of two, of which one is whole
//!     r2 = r5
//!     w2 &= 1
//!     r2 <<= the size of a half
//!     r2 += r4
//!     r0 = the TSC                    by a stub of the site, which writes R0 and R3
//!     r1 = the TSC then
//!     r0 -= r1
//!     r1 = the longest time since
//!     if r0 > r1 goto call            too long, or back; or the clock is another
//!     r1 = nanoseconds of a tick
//!     r0 *= r1
//!     r1 = the fraction then
//!     r0 += r1
//!     r1 = how far both are shifted
//!     r0 >>= r1
//!     r1 = the time then
//!     r0 += r1
//!     w1 = its sequence
//!     if w1 != w5 goto again
//!     goto out
//! call:
//!     the helper
//! out:
//! ```
//!
//! Of the coarse time, which is that of the last tick, there is nothing to compute: it is read
//! between the two readings of the sequence, whatever the kernel tells the time by.
//!
//! The page is written by one CPU at a time, and who reads it never waits for the writer: while
//! one half changes, the sequence leads to the other (`seqcount_latch_t`, include/linux/seqlock.h).

use super::{op, op32_imm, op_imm, plain, Emit, Part};
use crate::pure::catalog::id;
use crate::pure::insn::{alu, class, jmp, size, Insn, REG_0, REG_1, REG_2, X};
use core::mem::{offset_of, size_of};

const REG_4: u8 = 4;
const REG_5: u8 = 5;

/// The times that helpers tell, as [`Half`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `bpf_ktime_get_ns()`: `CLOCK_MONOTONIC`.
    Monotonic,
    /// `bpf_ktime_get_boot_ns()`: `CLOCK_BOOTTIME`.
    Boot,
    /// `bpf_ktime_get_tai_ns()`: `CLOCK_TAI`.
    Tai,
    /// `bpf_ktime_get_coarse_ns()`: `CLOCK_MONOTONIC_COARSE`.
    Coarse,
}

impl Which {
    /// What the helper of this number tells.
    pub const fn by_helper(number: u32) -> Option<Self> {
        match number {
            id::KTIME_GET_NS => Some(Self::Monotonic),
            id::KTIME_GET_BOOT_NS => Some(Self::Boot),
            id::KTIME_GET_TAI_NS => Some(Self::Tai),
            id::KTIME_GET_COARSE_NS => Some(Self::Coarse),
            _ => None,
        }
    }

    /// Whether it goes on between what the kernel says of its clock: told by the TSC.
    pub const fn ticks(self) -> bool {
        !matches!(self, Self::Coarse)
    }
}

/// The kernel's clock at one time, its `struct tk_read_base`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Half {
    /// The TSC then.
    pub cycles: u64,
    /// Ticks since then up to which the product below has room.
    pub longest: u64,
    /// Nanoseconds of a tick, shifted.
    pub mult: u32,
    /// Bits by which this and the fraction are shifted to the left.
    pub shift: u32,
    /// The fraction of a nanosecond then and all that is not in the times below, shifted.
    pub fraction: u64,
    /// Nanoseconds of [`Which`], in its order. The last is all there is of the coarse time, the
    /// others are what the rest is added to.
    pub then: [u64; 4],
}

impl Half {
    /// Where the TSC is not the kernel's clock: nobody computes with it.
    pub const fn none(coarse: u64) -> Self {
        Self {
            // Any reading is more than 0 ticks behind this one, but the last before the TSC wraps.
            cycles: u64::MAX,
            longest: 0,
            mult: 0,
            shift: 0,
            fraction: 0,
            then: [0, 0, 0, coarse],
        }
    }

    /// Its words, in order.
    pub const fn words(&self) -> [u64; WORDS] {
        let [mono, boot, tai, coarse] = self.then;
        [
            self.cycles,
            self.longest,
            self.mult as u64 | ((self.shift as u64) << 32),
            self.fraction,
            mono,
            boot,
            tai,
            coarse,
        ]
    }
}

/// Words of a half.
pub const WORDS: usize = size_of::<Half>() / size_of::<u64>();
const HALF_SHIFT: u32 = size_of::<Half>().trailing_zeros();
const _: () = assert!(size_of::<Half>() == 1 << HALF_SHIFT);

/// Where the halves lie in the page. Its first word is the sequence.
pub const HALVES: usize = size_of::<Half>();

/// A reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The page's address, as the domain reads it.
    pub page: u64,
    /// Which time.
    pub which: Which,
}

const fn at(word: usize) -> i16 {
    (HALVES + word) as i16
}

impl Clock {
    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        let load = |word| Insn::ldx(size::DW, REG_1, REG_2, at(word));
        let load_half = |word| Insn::ldx(size::W, REG_1, REG_2, at(word));
        let then = offset_of!(Half, then) + size_of::<u64>() * self.which as usize;
        let [low, high] = Insn::ld_imm64(REG_4, self.page);
        plain(
            emit,
            [
                low,
                high,
                // again:
                Insn::ldx(size::W, REG_5, REG_4, 0),
                Insn::mov64_reg(REG_2, REG_5),
                op32_imm(alu::AND, REG_2, 1),
                op_imm(alu::LSH, REG_2, HALF_SHIFT),
                op(alu::ADD, REG_2, REG_4),
            ],
        )?;
        if !self.which.ticks() {
            return plain(
                emit,
                [
                    Insn::ldx(size::DW, REG_0, REG_2, at(then)),
                    Insn::ldx(size::W, REG_1, REG_4, 0),
                    Insn::new(class::JMP32 | jmp::JNE | X, REG_1, REG_5, -8, 0),
                ],
            );
        }
        emit(Part::Ask)?;
        plain(
            emit,
            [
                load(offset_of!(Half, cycles)),
                op(alu::SUB, REG_0, REG_1),
                load(offset_of!(Half, longest)),
                Insn::new(class::JMP | jmp::JGT | X, REG_0, REG_1, 11, 0),
                load_half(offset_of!(Half, mult)),
                op(alu::MUL, REG_0, REG_1),
                load(offset_of!(Half, fraction)),
                op(alu::ADD, REG_0, REG_1),
                load_half(offset_of!(Half, shift)),
                op(alu::RSH, REG_0, REG_1),
                load(then),
                op(alu::ADD, REG_0, REG_1),
                Insn::ldx(size::W, REG_1, REG_4, 0),
                Insn::new(class::JMP32 | jmp::JNE | X, REG_1, REG_5, -20, 0),
                Insn::ja(1),
            ],
        )?;
        emit(Part::Call)
    }
}
