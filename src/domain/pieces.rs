// SPDX-License-Identifier: GPL-2.0
//! Per-CPU memory for the values of a map, with pages to itself.
//!
//! The kernel gives per-CPU memory in pieces of at most 32 KiB. The values of a
//! map are one after another in as many pieces of whole pages as they need; none
//! lies in two. A domain is shown them the same way, piece behind piece, one CPU's
//! after the other's.

use crate::bindings as b;
use crate::pure::pieces::Split;
use crate::pure::region::PAGE;
use kernel::prelude::*;

/// The pieces of one map.
pub(crate) struct Pieces {
    split: Split,
    /// Their per-CPU pointers, in ascending order.
    at: KVVec<u64>,
}

impl Pieces {
    /// Zeroed memory for so many values of `value_size` bytes. `None` if there is
    /// none, or if values are larger than a piece can be.
    pub(crate) fn new(map: *const b::bpf_map, count: u32, value_size: u32) -> Option<Self> {
        let most = u64::from(b::BAILEY_PER_CPU_PIECE);
        let split = Split::new(count.into(), value_size.into(), most)?;
        let mut pieces = Self {
            at: KVVec::with_capacity(split.pieces() as usize, GFP_KERNEL).ok()?,
            split,
        };
        for _ in 0..split.pieces() {
            // SAFETY: process context; a map that is being made.
            let piece = unsafe { b::bailey_per_cpu_pages(map, split.piece_bytes() as usize) };
            if piece == 0 {
                return None;
            }
            pieces.at.push(piece, GFP_KERNEL).ok()?;
            Split::sort_in(&mut pieces.at);
        }
        Some(pieces)
    }

    /// The per-CPU pointer of value number `index`.
    pub(crate) fn value(&self, index: u32) -> Option<u64> {
        let (piece, at) = self.split.place(index.into())?;
        Some(self.at.get(piece as usize)? + at)
    }

    /// Where in a CPU's values the byte with this per-CPU pointer is.
    #[inline]
    pub(crate) fn position(&self, pointer: u64) -> Option<u64> {
        self.split.position(&self.at, pointer)
    }

    /// The per-CPU pointer of page number `page` of a CPU's values.
    pub(crate) fn page(&self, page: u64) -> Option<u64> {
        let pages = self.split.piece_bytes() / PAGE;
        let piece = page.checked_div(pages)?;
        Some(self.at.get(piece as usize)? + (page - piece * pages) * PAGE)
    }

    /// The per-CPU pointer of the first value, and how many bytes of values
    /// follow without a gap.
    pub(crate) fn first(&self) -> (u64, u64) {
        let at = self.at.first().copied().unwrap_or(0);
        (at, self.split.values_of(0))
    }

    /// Whether a CPU's values are one behind the other, with nothing between them.
    pub(crate) fn are_row(&self) -> bool {
        self.split.is_row()
    }

    /// Bytes of a CPU's values, all pieces.
    pub(crate) fn bytes(&self) -> u64 {
        self.split.pieces() * self.split.piece_bytes()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for &piece in &self.at {
            // SAFETY: from `new`; the map that used it is gone.
            unsafe { b::bailey_per_cpu_free(piece) };
        }
    }
}
