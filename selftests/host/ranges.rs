// SPDX-License-Identifier: GPL-2.0
//! The arithmetic of ranges that audits rest on, held against that of sets of bytes in twice
//! the width: every combination in windows at both ends of the address space, and any
//! numbers beside them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bailey::pure::loan::{apart, Kind, Loan, LoanError, Loans};
use bailey::pure::range::holds;
use proptest::prelude::*;

/// Addresses at both ends, and around the middle, where the sign is.
fn addresses() -> Vec<u64> {
    let middle = 1u64 << 63;
    let near = |from: u64| (0..18).map(move |n| from.wrapping_add(n));
    near(0)
        .chain(near(middle - 9))
        .chain(near(u64::MAX - 17))
        .collect()
}

/// Lengths: few bytes, about as many as go from one window into another, and all.
fn lengths() -> Vec<u64> {
    let middle = 1u64 << 63;
    (0..20)
        .chain(middle - 20..middle + 20)
        .chain(u64::MAX - 20..=u64::MAX)
        .collect()
}

/// Lengths of loans and of accesses to them.
fn short_lengths() -> Vec<u32> {
    (0..20).chain(u32::MAX - 3..=u32::MAX).collect()
}

/// Whether every byte from `addr` on is one from `low` to below `high`; where there is none,
/// whether `addr` is in between or just behind.
fn within(low: u64, high: u64, addr: u64, len: u64) -> bool {
    let end = u128::from(addr) + u128::from(len);
    low <= addr && end <= u128::from(high)
}

fn loan(start: u64, len: u32) -> Loan {
    Loan {
        start,
        len,
        write: false,
        kind: Kind::MapValue,
        tag: 0,
    }
}

/// Asserts what is to be true of a loan and an access to it.
fn check_loan(start: u64, len: u32, addr: u64, size: u32) {
    let lent = loan(start, len);
    let end = u128::from(start) + u128::from(len);
    let is_within = start <= addr && u128::from(addr) + u128::from(size) <= end;
    assert_eq!(
        lent.covers(addr, size),
        is_within,
        "{lent:?} {addr:x} {size}"
    );

    let mut loans = Loans::new();
    let taken = loans.insert(lent);
    if len == 0 || end > u128::from(u64::MAX) {
        assert_eq!(taken, Err(LoanError::Range), "{lent:?}");
        assert!(loans.find(addr, size, false).is_none());
        return;
    }
    assert_eq!(taken, Ok(()), "{lent:?}");
    assert_eq!(loans.find(addr, size, false).is_some(), is_within);
    assert!(
        loans.find(addr, size, true).is_none(),
        "it is not to be written"
    );
}

fn check_apart(start: u64, len: u64, other: u64, other_len: u64) {
    let end = |start: u64, len: u64| u128::from(start) + u128::from(len);
    let disjoint = len == 0
        || other_len == 0
        || end(start, len) <= u128::from(other)
        || end(other, other_len) <= u128::from(start);
    assert_eq!(
        apart(start, len, other, other_len),
        disjoint,
        "{start:x} {len:x} {other:x} {other_len:x}"
    );
}

#[test]
fn a_range_holds_what_lies_in_it_and_nothing_else() {
    let (addresses, lengths) = (addresses(), lengths());
    let (mut held, mut not) = (0u64, 0u64);
    for &low in &addresses {
        for &high in &addresses {
            for &addr in &addresses {
                for &len in &lengths {
                    let expected = within(low, high, addr, len);
                    assert_eq!(
                        holds(low, high, addr, len),
                        expected,
                        "{low:x} {high:x} {addr:x} {len:x}"
                    );
                    *if expected { &mut held } else { &mut not } += 1;
                }
            }
        }
    }
    assert!(held > 100_000 && not > 100_000, "{held} {not}");
}

#[test]
fn a_loan_covers_what_lies_in_it_and_nothing_else() {
    for &start in &addresses() {
        for &len in &short_lengths() {
            for &addr in &addresses() {
                for &size in &short_lengths() {
                    check_loan(start, len, addr, size);
                }
            }
        }
    }
}

#[test]
fn ranges_are_apart_that_share_no_byte() {
    let (addresses, lengths) = (addresses(), lengths());
    for &start in &addresses {
        for &other in &addresses {
            for &len in &lengths {
                for &other_len in &lengths {
                    check_apart(start, len, other, other_len);
                }
            }
        }
    }
}

/// Any number, or one near another.
fn near(of: u64) -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (-64i64..64).prop_map(move |by| of.wrapping_add_signed(by))
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_range_holds_what_lies_in_it(
        (low, high, addr, len) in any::<u64>().prop_flat_map(|low| {
            (Just(low), near(low), near(low), prop_oneof![0u64..128, any::<u64>()])
        })
    ) {
        prop_assert_eq!(holds(low, high, addr, len), within(low, high, addr, len));
    }

    #[test]
    fn any_loan_covers_what_lies_in_it(
        (start, len, addr, size) in any::<u64>().prop_flat_map(|start| {
            let short = || prop_oneof![0u32..128, any::<u32>()];
            (Just(start), short(), near(start), short())
        })
    ) {
        check_loan(start, len, addr, size);
    }
}
