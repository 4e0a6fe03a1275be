// SPDX-License-Identifier: GPL-2.0
//! Values of one size in memory that comes in pieces of limited size.

use super::region::PAGE;

/// How the values of a map are distributed over pieces of whole pages, all of
/// one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    count: u64,
    stride: u64,
    /// Values in a piece; in the last one there may be fewer.
    per_piece: u64,
}

impl Split {
    /// `count` values of `value_size` bytes, each filled up to a multiple of 8, in
    /// pieces of at most `most` bytes (whole pages). `None` if a value is more
    /// than that, or if there is none.
    pub fn new(count: u64, value_size: u64, most: u64) -> Option<Self> {
        let stride = value_size.checked_next_multiple_of(8)?;
        let fit = most.checked_div(stride)?;
        if fit == 0 || count == 0 {
            return None;
        }
        // As even as can be, so that no piece is much emptier than the others.
        let pieces = count.div_ceil(fit);
        let mut per_piece = count.div_ceil(pieces.max(1));
        // So many fill pages to their ends.
        let filling = PAGE >> stride.trailing_zeros().min(PAGE.trailing_zeros());
        if pieces > 1 && filling <= fit {
            per_piece = per_piece
                .next_multiple_of(filling)
                .min(fit - fit.checked_rem(filling)?);
        }
        Some(Self {
            count,
            stride,
            per_piece,
        })
    }

    /// Whether all values are in one row, each so many bytes behind the one before, if the pieces
    /// are put one behind the other.
    pub fn is_row(&self) -> bool {
        self.pieces() == 1 || self.per_piece * self.stride == self.piece_bytes()
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u64 {
        self.count.div_ceil(self.per_piece.max(1))
    }

    /// Bytes of each piece.
    pub fn piece_bytes(&self) -> u64 {
        (self.per_piece * self.stride).next_multiple_of(PAGE)
    }

    /// Bytes of piece number `piece` that are values.
    pub fn values_of(&self, piece: u64) -> u64 {
        let before = piece.saturating_mul(self.per_piece);
        self.count.saturating_sub(before).min(self.per_piece) * self.stride
    }

    /// In which piece value number `index` is, and how many bytes behind its start.
    pub fn place(&self, index: u64) -> Option<(u64, u64)> {
        let piece = index.checked_div(self.per_piece)?;
        let before = piece * self.per_piece;
        (index < self.count).then(|| (piece, (index - before) * self.stride))
    }

    /// Puts the last of `starts` where it belongs among the others, which ascend.
    pub fn sort_in(starts: &mut [u64]) {
        for last in (1..starts.len()).rev() {
            match starts.get_mut(last - 1..=last) {
                Some([before, at]) if *before > *at => core::mem::swap(before, at),
                _ => break,
            }
        }
    }

    /// Where the byte at `address` is, if the pieces, which begin at the
    /// ascending addresses `starts`, are put one behind the other. `None` if it is of
    /// no value.
    #[inline]
    pub fn position(&self, starts: &[u64], address: u64) -> Option<u64> {
        let piece = starts
            .partition_point(|&start| start <= address)
            .checked_sub(1)?;
        let at = address - starts.get(piece)?;
        let piece = piece as u64;
        (at < self.values_of(piece)).then(|| piece * self.piece_bytes() + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn each_value_has_a_place_of_its_own_and_is_found_there(
            count in 1u64..5000,
            value_size in 1u64..40_000,
            gap in 0u64..3,
        ) {
            let most = 8 * PAGE;
            let Some(split) = Split::new(count, value_size, most) else {
                prop_assert!(value_size > most);
                return Ok(());
            };
            prop_assert!(split.piece_bytes() <= most);
            prop_assert_eq!(split.piece_bytes() % PAGE, 0);
            // No more pieces than are needed, or such as have nothing behind their values.
            let stride = value_size.next_multiple_of(8);
            let fit = most / stride;
            let full = (1..=fit).rev().find(|n| n * stride % PAGE == 0);
            prop_assert!(split.pieces() <= count.div_ceil(full.unwrap_or(fit)));
            prop_assert_eq!(split.is_row(), count <= fit || full.is_some());
            let step = split.piece_bytes() + gap * PAGE;
            let starts: Vec<u64> = (0..split.pieces()).map(|n| PAGE + n * step).collect();
            let mut end = 0;
            for index in 0..count {
                let (piece, at) = split.place(index).unwrap();
                prop_assert!(at + value_size <= split.values_of(piece));
                prop_assert!(at + value_size <= split.piece_bytes());
                let address = starts[piece as usize] + at;
                let position = split.position(&starts, address).unwrap();
                prop_assert!(position >= end);
                prop_assert!(!split.is_row() || position == index * stride);
                end = position + value_size;
                prop_assert_eq!(split.position(&starts, address + value_size - 1), Some(end - 1));
            }
            prop_assert!(end <= split.pieces() * split.piece_bytes());
            prop_assert_eq!(split.place(count), None);
            prop_assert_eq!(split.position(&starts, PAGE - 1), None);
            for (piece, start) in starts.iter().enumerate() {
                let behind = start + split.values_of(piece as u64);
                let next = starts.get(piece + 1);
                prop_assert!(next == Some(&behind) || split.position(&starts, behind).is_none());
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_sorted_in_one_by_one_ascends(mut wanted in proptest::collection::vec(any::<u64>(), 0..40)) {
            let mut starts = Vec::new();
            for &start in &wanted {
                starts.push(start);
                Split::sort_in(&mut starts);
            }
            wanted.sort_unstable();
            prop_assert_eq!(starts, wanted);
        }
    }

    #[test]
    fn nothing_fits_nowhere() {
        assert_eq!(Split::new(0, 8, PAGE), None);
        assert_eq!(Split::new(1, PAGE + 1, PAGE), None);
        assert_eq!(Split::new(1, 0, PAGE), None);
        assert_eq!(Split::new(1, u64::MAX, PAGE), None);
    }
}
