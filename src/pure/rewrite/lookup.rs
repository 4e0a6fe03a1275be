// SPDX-License-Identifier: GPL-2.0
//! Look-ups in arrays, without leaving confinement.
//!
//! Where a program looks its key up in one array, always the same, whose values lie
//! in a row in its domain, the call becomes what the verifier makes of it on a stock
//! kernel (`array_map_gen_lookup()`, kernel/bpf/arraymap.c), with the domain's
//! address of the first value:
//!
//! ```text
//!     r0 = *(u32 *)(r2 + 0)           the key: a load like any other
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
//!
//! Nothing is lent and nothing audited: whatever the program puts into the registers,
//! what comes out is a number, which opens no page. What it has in R1, the map, is not
//! looked at, since the map is known.

use super::super::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2};

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

/// A call of `bpf_map_lookup_elem()` that needs no gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Index of the call in the program.
    index: u32,
    row: Row,
}

/// One of the instructions that stand for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is the same in every image.
    Plain(Insn),
    /// The call of the stub that answers the CPU's number.
    CpuNumber,
}

impl Lookup {
    /// The call at `index`. `None` if the comparison and the products of the forms above
    /// have no room for the array.
    pub fn new(index: u32, row: Row) -> Option<Self> {
        let fits = |number: u64| i32::try_from(number).is_ok();
        let all_fit = fits(row.entries.into()) && fits(row.stride.into()) && fits(row.each);
        (row.entries > 0 && all_fit).then_some(Self { index, row })
    }

    /// The call at `index`, of look-ups in the order of their indices.
    pub fn at(lookups: &[Self], index: usize) -> Option<&Self> {
        let number = lookups.binary_search_by_key(&index, |lookup| lookup.index as usize);
        lookups.get(number.ok()?)
    }

    /// Instructions, as slots.
    pub const fn slots(&self) -> u32 {
        let more = if self.row.each != 0 { 3 } else { 0 };
        8 + self.row.masked as u32 + more
    }

    /// Hands the instructions to `emit`, one after the other.
    pub fn emit<E>(&self, emit: &mut dyn FnMut(Part) -> Result<(), E>) -> Result<(), E> {
        let row = &self.row;
        // The CPU's number comes in R0.
        let key = if row.each != 0 { REG_1 } else { REG_0 };
        let [low, high] = Insn::ld_imm64(REG_1, row.values);
        // Over all but the first two and the last.
        let over = self.slots() as i16 - 3;
        let beyond = class::JMP32 | jmp::JGE | K;
        emit(Part::Plain(Insn::ldx(size::W, key, REG_2, 0)))?;
        emit(Part::Plain(Insn::new(
            beyond,
            key,
            0,
            over,
            row.entries as i32,
        )))?;
        if row.masked {
            let mask = row.entries.next_power_of_two().wrapping_sub(1);
            emit(Part::Plain(Insn::alu32_imm(alu::AND, key, mask as i32)))?;
        }
        emit(Part::Plain(Insn::alu64_imm(
            alu::MUL,
            key,
            row.stride as i32,
        )))?;
        if row.each != 0 {
            emit(Part::CpuNumber)?;
            emit(Part::Plain(Insn::alu64_imm(
                alu::MUL,
                REG_0,
                row.each as i32,
            )))?;
            emit(Part::Plain(Insn::alu64_reg(alu::ADD, REG_0, REG_1)))?;
        }
        [
            low,
            high,
            Insn::alu64_reg(alu::ADD, REG_0, REG_1),
            Insn::ja(1),
            Insn::mov64_imm(REG_0, 0),
        ]
        .into_iter()
        .try_for_each(|insn| emit(Part::Plain(insn)))
    }
}
