// SPDX-License-Identifier: GPL-2.0
//! Look-ups in an array whose values lie in a row in the domain: what the verifier
//! makes of them on a stock kernel (`array_map_gen_lookup()`, kernel/bpf/arraymap.c),
//! with the domain's address of the first value.
//!
//! ```text
//!     r0 = *(u32 *)(r2 + 0)           the key
//!     if w0 >= entries goto none
//!     w0 &= mask                      where the kernel does so
//!     r0 *= stride
//!     r1 = the first value
//!     r0 += r1
//!     goto +1
//! none:
//!     r0 = 0
//! ```
//!
//! Of a per-CPU array each CPU has such a row. Its number comes from the stub that
//! answers `bpf_get_smp_processor_id()`, which writes R0 alone:
//!
//! ```text
//!     r1 = *(u32 *)(r2 + 0)
//!     if w1 >= entries goto none
//!     w1 &= mask
//!     r1 *= stride
//!     call the stub
//!     r0 *= bytes from one CPU's row to the next
//!     r0 += r1
//!     r1 = the first value of CPU 0
//!     ...                             as above
//! ```

use super::{plain, Emit, Part};
use crate::pure::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2};

/// An array whose values lie in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The domain's address of the first value.
    pub values: u64,
    /// Values.
    pub entries: u32,
    /// Bytes from one value to the next.
    pub stride: u32,
    /// If each CPU has a row: bytes from one to the next. Else 0.
    pub each: u64,
    /// Whether the index is masked, so that none beyond the end is used on a path
    /// that the CPU only guesses (`bypass_spec_v1` is not set).
    pub masked: bool,
}

impl Row {
    /// Whether the comparison and the products have room for its numbers.
    pub(super) fn fits(&self) -> bool {
        let fits = |number: u64| i32::try_from(number).is_ok();
        self.entries > 0 && fits(self.entries.into()) && fits(self.stride.into()) && fits(self.each)
    }

    pub(super) const fn slots(&self) -> u32 {
        let more = if self.each != 0 { 3 } else { 0 };
        8 + self.masked as u32 + more
    }

    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        // The CPU's number comes in R0.
        let key = if self.each != 0 { REG_1 } else { REG_0 };
        let [low, high] = Insn::ld_imm64(REG_1, self.values);
        // Over all but the first two and the last.
        let over = self.slots() as i16 - 3;
        let beyond = class::JMP32 | jmp::JGE | K;
        let mask = self.entries.next_power_of_two().wrapping_sub(1);
        let mask = Insn::alu32_imm(alu::AND, key, mask as i32);
        let first = [
            Insn::ldx(size::W, key, REG_2, 0),
            Insn::new(beyond, key, 0, over, self.entries as i32),
        ];
        plain(emit, first)?;
        plain(emit, self.masked.then_some(mask))?;
        plain(emit, [Insn::alu64_imm(alu::MUL, key, self.stride as i32)])?;
        if self.each != 0 {
            emit(Part::Ask)?;
            let row = [
                Insn::alu64_imm(alu::MUL, REG_0, self.each as i32),
                Insn::alu64_reg(alu::ADD, REG_0, REG_1),
            ];
            plain(emit, row)?;
        }
        let last = [
            low,
            high,
            Insn::alu64_reg(alu::ADD, REG_0, REG_1),
            Insn::ja(1),
            Insn::mov64_imm(REG_0, 0),
        ];
        plain(emit, last)
    }
}
