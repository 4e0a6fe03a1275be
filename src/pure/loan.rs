// SPDX-License-Identifier: GPL-2.0
//! Loans: kernel memory that a helper let the program have.
//!
//! A pointer that a helper returns (a hash map's value, a socket, a
//! ring-buffer record) stays a kernel address that confined code cannot reach.
//! Each access to it faults, is looked up here and carried out by the kernel.
//! What is not on loan to this run is a violation.
//!
//! The set has a fixed size. A program with a loop can be lent more than fits,
//! but it can use no more than it can name: 64 words of BPF stack and 11
//! registers. So a full set is cleaned by the oldest loan that no live word
//! points into ([`Loans::make_room`]).

/// How many loans a run has at once. More than the [`LIVE_WORDS`] that can
/// point into one and what a ledger pins together.
pub const CAPACITY: usize = 144;

/// Words in which a program can keep a pointer: its stack and its registers
/// r0 to r10.
pub const LIVE_WORDS: usize = 512 / 8 + 11;

// A dynptr keeps a loan as a word does.
const _: () = assert!(LIVE_WORDS + super::ledger::CAPACITY + super::objects::CAPACITY < CAPACITY);

/// What was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An inner map, as a handle: it may be passed to helpers, no byte of it is
    /// the program's to read.
    Map,
    /// A map's value.
    MapValue,
    /// A ring-buffer record, which the ledger holds; or the copy of one, of which
    /// the tag is where the record is.
    RingbufRecord,
    /// A socket or its common part; the ledger holds it.
    Socket,
    /// A part of a record that a dynptr points to; the tag is where that begins.
    Slice,
    /// An object that the program has allocated, to which it has a reference;
    /// the ledger holds it.
    Owned,
    /// Such an object without a reference: while a lock is held, or as long as
    /// RCU keeps it.
    Borrowed,
    /// An object of the kernel's, to read alone, which is there as long as the loan;
    /// the tag is its type's number in the kernel's BTF.
    KernelObject,
    /// The same, while the run has a reference to it; the ledger holds it.
    Reference,
    /// The place where the kernel has written down where per-CPU memory is, to read alone;
    /// the tag is how many bytes each CPU has of it.
    PerCpu,
}

impl Kind {
    /// Whether the loan lasts until it is removed, live or not.
    const fn is_pinned(self) -> bool {
        matches!(
            self,
            Self::RingbufRecord | Self::Socket | Self::Owned | Self::Reference
        )
    }
}

/// One range of kernel memory on loan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub len: u32,
    /// Whether the program may write it.
    pub write: bool,
    /// What it is.
    pub kind: Kind,
    /// The caller's: of a value or object, which of its bytes are not lent; 0 if all are.
    pub tag: u64,
}

impl Loan {
    /// Whether the `size` bytes from `addr` on all lie in the loan.
    pub const fn covers(&self, addr: u64, size: u32) -> bool {
        match addr.checked_sub(self.start) {
            Some(offset) => offset <= self.len as u64 && size as u64 <= self.len as u64 - offset,
            None => false,
        }
    }
}

/// The newest loan as an audit looks at it first: one without a tag, whose bytes an `int` counts.
/// No bytes if it is another one, or none was lent since one ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: u64,
    len: u32,
    write: bool,
}

impl Open {
    const NONE: Self = Self {
        start: 0,
        len: 0,
        write: false,
    };

    fn of(loan: &Loan) -> Self {
        if loan.kind == Kind::Map || loan.tag != 0 || i32::try_from(loan.len).is_err() {
            return Self::NONE;
        }
        Self {
            start: loan.start,
            len: loan.len,
            write: loan.write,
        }
    }
}

/// Whether two ranges, each a start and a length, have no byte in common. A range
/// of no bytes lies apart from any.
pub const fn apart(start: u64, len: u64, other: u64, other_len: u64) -> bool {
    let (low, low_len, high, high_len) = if start <= other {
        (start, len, other, other_len)
    } else {
        (other, other_len, start, len)
    };
    low_len <= high - low || high_len == 0
}

/// Why a loan was not taken into the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoanError {
    /// No room: call [`Loans::make_room`], then insert again.
    Full,
    /// No bytes, or a range that runs over the end of the address space.
    Range,
}

/// The loans of one run, oldest first.
#[derive(Debug)]
pub struct Loans {
    open: Open,
    loans: [Loan; CAPACITY],
    len: usize,
}

impl Loans {
    /// Nothing lent.
    pub const fn new() -> Self {
        Self {
            open: Open::NONE,
            loans: [Loan {
                start: 0,
                len: 0,
                write: false,
                kind: Kind::MapValue,
                tag: 0,
            }; CAPACITY],
            len: 0,
        }
    }

    /// Every loan, oldest first.
    pub fn all(&self) -> &[Loan] {
        self.loans.get(..self.len).unwrap_or(&[])
    }

    /// Nothing is lent any more.
    pub fn clear(&mut self) {
        self.len = 0;
        self.open.len = 0;
    }

    /// Lends a range. One that starts where a loan of the same kind and tag
    /// does is that loan, which grows to the longer of both, becomes writable
    /// if either is, and counts as the newest.
    pub fn insert(&mut self, loan: Loan) -> Result<(), LoanError> {
        if loan.len == 0 || loan.start.checked_add(u64::from(loan.len)).is_none() {
            return Err(LoanError::Range);
        }
        let same = self.all().iter().position(|other| {
            other.start == loan.start && other.kind == loan.kind && other.tag == loan.tag
        });
        let mut merged = loan;
        if let Some(at) = same {
            if at + 1 == self.len {
                // Already the newest, as when one value is looked up again and again.
                if let Some(newest) = self.loans.get_mut(at) {
                    newest.len = newest.len.max(loan.len);
                    newest.write |= loan.write;
                    self.open = Open::of(newest);
                }
                return Ok(());
            }
            if let Some(old) = self.take(at) {
                merged.len = merged.len.max(old.len);
                merged.write |= old.write;
            }
        }
        let slot = self.loans.get_mut(self.len).ok_or(LoanError::Full)?;
        *slot = merged;
        self.len = self.len.saturating_add(1);
        self.open = Open::of(&merged);
        Ok(())
    }

    /// Whether the newest loan grants the `size` bytes from `addr` on, of which none are the
    /// kernel's: then it is what [`find`](Self::find) comes to. If that would take more than a
    /// look, it does not. Of no bytes it says nothing.
    #[inline(always)]
    pub fn newest_grants(&self, addr: u64, size: u64, write: bool) -> bool {
        let left = u64::from(self.open.len).checked_sub(addr.wrapping_sub(self.open.start));
        left.is_some_and(|left| size <= left) && (!write || self.open.write)
    }

    /// The newest loan in which all `size` bytes from `addr` on lie, and which
    /// grants writing if `write` is asked for.
    pub fn find(&self, addr: u64, size: u32, write: bool) -> Option<&Loan> {
        self.all().iter().rev().find(|loan| {
            loan.kind != Kind::Map && loan.covers(addr, size) && (loan.write || !write)
        })
    }

    /// Ends every slice of the record at `data`.
    pub fn remove_slices(&mut self, data: u64) {
        self.retain(|loan| loan.kind != Kind::Slice || loan.tag != data);
    }

    /// The loan of an object that starts at `start`, owned or borrowed.
    pub fn object(&self, start: u64) -> Option<&Loan> {
        self.all()
            .iter()
            .rev()
            .find(|loan| loan.start == start && matches!(loan.kind, Kind::Owned | Kind::Borrowed))
    }

    /// Ends every loan of a borrowed object that `ends` by its tag.
    pub fn end_borrowed(&mut self, mut ends: impl FnMut(u64) -> bool) {
        if self.all().iter().any(|loan| loan.kind == Kind::Borrowed) {
            self.retain(|loan| loan.kind != Kind::Borrowed || !ends(loan.tag));
        }
    }

    /// Ends every loan of `kind` that starts at `start`; whether there was
    /// one.
    pub fn remove(&mut self, kind: Kind, start: u64) -> bool {
        let before = self.len;
        let is_it = |loan: &Loan| loan.kind == kind && loan.start == start;
        // Mostly it is the newest, and no other one.
        if let Some((newest, others)) = self.all().split_last() {
            if is_it(newest) && !others.iter().any(is_it) {
                self.len = others.len();
                self.open.len = 0;
                return true;
            }
        }
        self.retain(|loan| loan.kind != kind || loan.start != start);
        self.len != before
    }

    /// Ends every loan for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&Loan) -> bool) {
        let mut kept = 0usize;
        for at in 0..self.len {
            let Some(loan) = self.loans.get(at).copied() else {
                break;
            };
            if keep(&loan) {
                if let Some(slot) = self.loans.get_mut(kept) {
                    *slot = loan;
                    kept = kept.saturating_add(1);
                }
            }
        }
        self.len = kept;
        self.open.len = 0;
    }

    /// Ends the oldest loan that the program can no longer use; whether there
    /// was one.
    ///
    /// `live` yields every word in which the program may keep a pointer: its
    /// registers and its stack. A loan is in use while a word points into it
    /// or just behind its end, as a pointer does after the last step of a
    /// loop. Should that leave no room (a word just behind one loan may be the
    /// start of the next), only words that point into it count; then at most
    /// [`LIVE_WORDS`] loans that do not overlap are in use.
    ///
    /// A pointer that the program keeps only as a distance from somewhere else
    /// is not seen. One loan at a time ends, the oldest first, to make that as
    /// rare as can be; an access that comes after all is a violation, never an
    /// unchecked access.
    pub fn make_room<I>(&mut self, live: I) -> bool
    where
        I: Iterator<Item = u64> + Clone,
    {
        for behind in [1u64, 0] {
            let unused = self.all().iter().position(|loan| {
                let reach = u64::from(loan.len).saturating_add(behind);
                !loan.kind.is_pinned()
                    && !live
                        .clone()
                        .any(|word| word.wrapping_sub(loan.start) < reach)
            });
            if let Some(at) = unused {
                return self.take(at).is_some();
            }
        }
        false
    }

    /// Takes out the loan at `at`, keeping the order of the rest.
    fn take(&mut self, at: usize) -> Option<Loan> {
        let loan = self.all().get(at).copied()?;
        let mut index = 0usize;
        self.retain(|_| {
            let keep = index != at;
            index = index.wrapping_add(1);
            keep
        });
        Some(loan)
    }
}

impl Default for Loans {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    fn value(start: u64, len: u32) -> Loan {
        Loan {
            start,
            len,
            write: true,
            kind: Kind::MapValue,
            tag: 0,
        }
    }

    #[test]
    fn borrowed_objects_end_and_owned_ones_stay() {
        let object = |start, kind, tag| Loan {
            start,
            len: 32,
            write: true,
            kind,
            tag,
        };
        let mut loans = Loans::new();
        for loan in [
            object(64, Kind::Owned, 1),
            object(128, Kind::Borrowed, 1),
            object(192, Kind::Borrowed, 2),
            object(256, Kind::MapValue, 1),
        ] {
            loans.insert(loan).unwrap();
        }
        assert_eq!(loans.object(64).map(|loan| loan.kind), Some(Kind::Owned));
        assert!(loans.object(72).is_none(), "only its start is an object");
        assert!(loans.object(256).is_none(), "a value is none");
        loans.end_borrowed(|tag| tag == 1);
        assert!(loans.object(128).is_none() && loans.find(128, 1, false).is_none());
        assert!(loans.object(64).is_some() && loans.object(192).is_some());
        assert!(loans.find(256, 1, false).is_some());
        while loans.make_room(core::iter::empty()) {}
        assert!(loans.object(64).is_some(), "the ledger holds it");
    }

    #[test]
    fn an_access_must_lie_in_one_loan_entirely() {
        let mut loans = Loans::new();
        loans.insert(value(1000, 16)).unwrap();
        loans.insert(value(1016, 16)).unwrap();
        assert!(loans.find(1000, 8, true).is_some());
        assert!(loans.find(1008, 8, true).is_some());
        assert!(loans.find(1012, 8, true).is_none(), "across two loans");
        assert!(loans.find(1028, 8, true).is_none(), "over the end");
        assert!(loans.find(999, 1, false).is_none());
        assert!(loans.find(1032, 1, false).is_none());
        assert!(loans.find(u64::MAX, 8, false).is_none());
    }

    #[test]
    fn a_read_only_loan_is_not_written() {
        let mut loans = Loans::new();
        loans
            .insert(Loan {
                write: false,
                kind: Kind::Socket,
                ..value(4096, 64)
            })
            .unwrap();
        assert!(loans.find(4096, 4, false).is_some());
        assert!(loans.find(4096, 4, true).is_none());
    }

    #[test]
    fn the_same_loan_twice_is_one_loan() {
        let mut loans = Loans::new();
        for _ in 0..1000 {
            loans.insert(value(64, 8)).unwrap();
        }
        loans.insert(value(64, 32)).unwrap();
        loans.insert(value(64, 8)).unwrap();
        assert_eq!(loans.all(), &[value(64, 32)]);
    }

    #[test]
    fn only_the_newest_loan_is_granted_at_a_look() {
        let of = |start, kind, tag| Loan {
            kind,
            tag,
            ..value(start, 8)
        };
        let granted = |loans: &Loans| -> Vec<u64> {
            let starts = (0..8).map(|n| n * 64);
            starts
                .filter(|&at| loans.newest_grants(at, 8, true))
                .collect()
        };
        let mut loans = Loans::new();
        assert_eq!(granted(&loans), []);
        loans.insert(value(64, 8)).unwrap();
        loans.insert(value(128, 8)).unwrap();
        assert_eq!(granted(&loans), [128]);
        assert!(loans.newest_grants(132, 4, true) && !loans.newest_grants(132, 5, false));
        loans.insert(value(64, 8)).unwrap();
        assert_eq!(granted(&loans), [64], "lent again, it is the newest");
        loans.remove(Kind::MapValue, 64);
        assert_eq!(granted(&loans), [], "who ends one looks for none");
        loans.insert(value(128, 8)).unwrap();
        assert_eq!(granted(&loans), [128]);
        loans.insert(of(192, Kind::MapValue, 7)).unwrap();
        assert_eq!(granted(&loans), [], "not all of it is lent");
        loans.insert(of(256, Kind::Map, 0)).unwrap();
        assert_eq!(granted(&loans), [], "a handle");
        loans.insert(of(320, Kind::Borrowed, 0)).unwrap();
        assert_eq!(granted(&loans), [320]);
        loans.end_borrowed(|_| true);
        assert_eq!(granted(&loans), []);
        loans.insert(value(128, 8)).unwrap();
        loans.retain(|_| false);
        assert_eq!(granted(&loans), []);
        loans
            .insert(Loan {
                write: false,
                ..value(64, 8)
            })
            .unwrap();
        assert!(loans.newest_grants(64, 8, false) && !loans.newest_grants(64, 8, true));
        loans.clear();
        assert!(!loans.newest_grants(64, 8, false));
    }

    #[test]
    fn an_impossible_range_is_refused() {
        let mut loans = Loans::new();
        assert_eq!(loans.insert(value(64, 0)), Err(LoanError::Range));
        assert_eq!(loans.insert(value(u64::MAX - 3, 8)), Err(LoanError::Range));
    }

    #[test]
    fn a_full_set_gives_up_the_oldest_unused_loan() {
        let mut loans = Loans::new();
        for index in 0..CAPACITY as u64 {
            loans.insert(value(index * 64, 64)).unwrap();
        }
        assert_eq!(loans.insert(value(1 << 20, 8)), Err(LoanError::Full));
        // Words into loans 0 and 1; loan 2 is the oldest without.
        assert!(loans.make_room([5u64, 100].into_iter()));
        assert!(loans.find(0, 8, true).is_some());
        assert!(loans.find(64, 8, true).is_some());
        assert!(loans.find(128, 8, true).is_none());
        loans.insert(value(1 << 20, 8)).unwrap();
    }

    #[test]
    fn a_pointer_just_behind_the_end_keeps_its_loan() {
        let mut loans = Loans::new();
        loans.insert(value(1000, 16)).unwrap();
        loans.insert(value(5000, 16)).unwrap();
        assert!(loans.make_room([1016u64].into_iter()));
        assert_eq!(loans.all(), &[value(1000, 16)]);
    }

    #[test]
    fn what_the_ledger_holds_is_never_given_up() {
        let mut loans = Loans::new();
        for index in 0..CAPACITY as u64 {
            loans
                .insert(Loan {
                    kind: Kind::RingbufRecord,
                    ..value(index * 64, 64)
                })
                .unwrap();
        }
        assert!(!loans.make_room(core::iter::empty()));
        assert!(loans.remove(Kind::RingbufRecord, 64));
        assert!(!loans.remove(Kind::RingbufRecord, 64));
        assert!(!loans.remove(Kind::Socket, 128));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The claim the capacity rests on.
        #[test]
        fn a_full_set_always_makes_room_whatever_is_live(
            lens in proptest::collection::vec(1u32..64, CAPACITY),
            gaps in proptest::collection::vec(0u64..3, CAPACITY),
            pinned in 0usize..super::super::ledger::CAPACITY + 1,
            picks in proptest::collection::vec((0usize..CAPACITY, 0u64..65), LIVE_WORDS),
        ) {
            let mut loans = Loans::new();
            let mut start = 1 << 20;
            for (index, (len, gap)) in lens.iter().zip(&gaps).enumerate() {
                let kind = if index < pinned { Kind::Socket } else { Kind::MapValue };
                loans.insert(Loan { kind, ..value(start, *len) }).unwrap();
                start += u64::from(*len) + gap;
            }
            let all: Vec<Loan> = loans.all().to_vec();
            let live: Vec<u64> = picks
                .iter()
                .map(|&(index, at)| all[index].start + at % (u64::from(all[index].len) + 1))
                .collect();
            prop_assert!(loans.make_room(live.iter().copied()));
            let gone: Vec<&Loan> = all.iter().filter(|loan| !loans.all().contains(loan)).collect();
            prop_assert_eq!(gone.len(), 1);
            prop_assert_eq!(gone[0].kind, Kind::MapValue);
            prop_assert!(!live.iter().any(|word| word.wrapping_sub(gone[0].start) < u64::from(gone[0].len)));
            prop_assert!(loans.insert(value(8, 8)).is_ok());
        }

        /// Byte by byte.
        #[test]
        fn ranges_lie_apart_if_they_share_no_byte(
            start in 0u64..40, len in 0u64..20, other in 0u64..40, other_len in 0u64..20,
        ) {
            let shared = (start..start + len).any(|at| (other..other + other_len).contains(&at));
            prop_assert_eq!(apart(start, len, other, other_len), !shared);
            let end = u64::MAX - 64;
            prop_assert_eq!(apart(end + start, len, end + other, other_len), !shared);
        }

        /// Against a plain list that never forgets.
        #[test]
        fn find_grants_exactly_what_was_lent(
            lent in proptest::collection::vec((0u64..4096, 1u32..64, any::<bool>()), 1..100),
            addr in 0u64..4200, size in prop_oneof![Just(1u32), Just(2), Just(4), Just(8)],
            write in any::<bool>(),
        ) {
            let mut loans = Loans::new();
            for (index, &(start, len, write)) in lent.iter().enumerate() {
                loans.insert(Loan { write, tag: index as u64, ..value(start, len) }).unwrap();
            }
            let granted = lent.iter().any(|&(start, len, may_write)| {
                addr >= start
                    && addr + u64::from(size) <= start + u64::from(len)
                    && (may_write || !write)
            });
            prop_assert_eq!(loans.find(addr, size, write).is_some(), granted);
        }
    }
}
