// SPDX-License-Identifier: GPL-2.0
//! Ranges of addresses.

/// Whether `len` bytes at `addr` lie between `low` and `high`, which is the first
/// address behind. No bytes lie there if `addr` does, `high` included; in a range of which the
/// end is before the beginning nothing lies.
#[inline(always)]
pub const fn holds(low: u64, high: u64, addr: u64, len: u64) -> bool {
    low <= addr && addr <= high && len <= high.wrapping_sub(addr)
}
