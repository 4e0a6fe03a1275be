// SPDX-License-Identifier: GPL-2.0
//! What a run has: loans, what the ledger holds, objects on its stack. Each beside a list that
//! is searched from one end to the other.

use super::number;
use arbitrary::{Result, Unstructured};
use bailey::pure::kernel_type::KernelType;
use bailey::pure::ledger::{self, Held, Ledger, LedgerError};
use bailey::pure::loan::{self, Loan, LoanError, Loans};
use bailey::pure::objects::{self, ObjectError, Objects};

const LOAN_KINDS: [loan::Kind; 10] = [
    loan::Kind::Map,
    loan::Kind::MapValue,
    loan::Kind::RingbufRecord,
    loan::Kind::Socket,
    loan::Kind::Slice,
    loan::Kind::Owned,
    loan::Kind::Borrowed,
    loan::Kind::KernelObject,
    loan::Kind::Reference,
    loan::Kind::PerCpu,
];

const HELD_KINDS: [ledger::Kind; 13] = [
    ledger::Kind::SpinLock,
    ledger::Kind::ResSpinLock,
    ledger::Kind::LockFlags,
    ledger::Kind::RingbufRecord,
    ledger::Kind::Socket,
    ledger::Kind::RcuRead,
    ledger::Kind::PreemptOff,
    ledger::Kind::IrqFlags,
    ledger::Kind::BitsIterator,
    ledger::Kind::Object,
    ledger::Kind::Placing,
    ledger::Kind::Reference(KernelType::Task),
    ledger::Kind::PerCpuObject,
];

/// A run, and the same as lists.
struct Run {
    loans: Loans,
    lent: Vec<Loan>,
    ledger: Ledger,
    held: Vec<Held>,
    objects: Objects,
    places: [Option<objects::Object>; objects::CAPACITY],
    /// The size of an access is not looked at.
    planted: bool,
}

pub(super) fn check(input: &mut Unstructured<'_>, planted: bool) -> Result<()> {
    let mut run = Run {
        loans: Loans::new(),
        lent: Vec::new(),
        ledger: Ledger::new(),
        held: Vec::new(),
        objects: Objects::new(),
        places: [None; objects::CAPACITY],
        planted,
    };
    while !input.is_empty() {
        match input.int_in_range(0u8..=20)? {
            0..=3 => run.lend(input)?,
            // So many at once that the set is full soon.
            4 => run.lend_many(input)?,
            5..=8 => run.access(input)?,
            9 => run.take_back(input)?,
            10 => run.make_room(input)?,
            11..=13 => run.acquire(input)?,
            14..=15 => run.release(input)?,
            16..=18 => run.begin(input)?,
            19 => run.end(input)?,
            _ => run.point(input)?,
        }
        run.compare();
    }
    Ok(())
}

/// Few addresses, so that they meet, or any.
fn address(input: &mut Unstructured<'_>) -> Result<u64> {
    if input.ratio(3u8, 4u8)? {
        return Ok(0x1000 + 8 * u64::from(input.int_in_range(0u8..=40)?));
    }
    number(input)
}

fn length(input: &mut Unstructured<'_>) -> Result<u32> {
    if input.ratio(3u8, 4u8)? {
        return Ok(u32::from(input.int_in_range(0u8..=72)?));
    }
    input.arbitrary()
}

/// Whether `size` bytes at `addr` are of `loan`.
fn covers(loan: &Loan, addr: u64, size: u32) -> bool {
    let end = u128::from(loan.start) + u128::from(loan.len);
    addr >= loan.start && u128::from(addr) + u128::from(size) <= end
}

/// Whether all of it is the run's, so that one look can say so.
fn is_open(loan: &Loan) -> bool {
    loan.kind != loan::Kind::Map && loan.tag == 0 && i32::try_from(loan.len).is_ok()
}

impl Run {
    fn compare(&self) {
        assert_eq!(self.loans.all(), self.lent);
        assert_eq!(self.ledger.held(), self.held);
        assert_eq!(self.ledger.is_empty(), self.held.is_empty());
        assert_eq!(self.ledger.has_room(), self.held.len() < ledger::CAPACITY);
        let mut places = [None; objects::CAPACITY];
        for (at, object) in self.objects.all() {
            places[at] = Some(*object);
        }
        assert_eq!(places, self.places);
    }

    fn insert(&mut self, new: Loan) {
        let end = u128::from(new.start) + u128::from(new.len);
        let same = |old: &Loan| (old.start, old.kind, old.tag) == (new.start, new.kind, new.tag);
        let expected = if new.len == 0 || end > u128::from(u64::MAX) {
            Err(LoanError::Range)
        } else if let Some(at) = self.lent.iter().position(same) {
            let old = self.lent.remove(at);
            self.lent.push(Loan {
                len: new.len.max(old.len),
                write: new.write || old.write,
                ..new
            });
            Ok(())
        } else if self.lent.len() == loan::CAPACITY {
            Err(LoanError::Full)
        } else {
            self.lent.push(new);
            Ok(())
        };
        assert_eq!(self.loans.insert(new), expected, "{new:?}");
        if let Some(newest) = self.lent.last().filter(|_| expected.is_ok()) {
            let (len, write) = (newest.len.into(), newest.write);
            let at_once = self.loans.newest_grants(newest.start, len, write);
            assert_eq!(at_once, is_open(newest), "{newest:?}");
        }
    }

    fn lend(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let new = Loan {
            start: address(input)?,
            len: length(input)?,
            write: input.arbitrary()?,
            kind: *input.choose(&LOAN_KINDS)?,
            tag: u64::from(input.int_in_range(0u8..=3)?),
        };
        self.insert(new);
        Ok(())
    }

    fn lend_many(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (start, kind) = (address(input)?, *input.choose(&LOAN_KINDS)?);
        let apart = u64::from(input.int_in_range(1u8..=64)?);
        let len = u32::from(input.int_in_range(1u8..=64)?);
        for number in 0..u64::from(input.int_in_range(1u8..=150)?) {
            self.insert(Loan {
                start: start.wrapping_add(number * apart),
                len,
                write: false,
                kind,
                tag: 0,
            });
        }
        Ok(())
    }

    fn access(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (addr, size) = (address(input)?, length(input)?);
        let write: bool = input.arbitrary()?;
        let grants = |loan: &&Loan| {
            loan.kind != loan::Kind::Map && covers(loan, addr, size) && (loan.write || !write)
        };
        let asked = if self.planted { size.min(1) } else { size };
        let found = self.loans.find(addr, asked, write);
        let expected = self.lent.iter().rev().find(grants);
        assert_eq!(found, expected, "{size} bytes at {addr:#x}");
        // The look before the search: the newest loan alone, if all of its bytes are the run's.
        let at_once = self.loans.newest_grants(addr, asked.into(), write);
        let newest = self.lent.last().filter(grants);
        assert!(
            size == 0 || !at_once || newest.is_some_and(is_open),
            "{size} bytes at {addr:#x}"
        );
        let is_object = |loan: &&Loan| {
            let object = matches!(loan.kind, loan::Kind::Owned | loan::Kind::Borrowed);
            object && loan.start == addr
        };
        let object = self.lent.iter().rev().find(is_object);
        assert_eq!(self.loans.object(addr), object);
        Ok(())
    }

    fn take_back(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let addr = address(input)?;
        let kind = *input.choose(&LOAN_KINDS)?;
        let tag = u64::from(input.int_in_range(0u8..=3)?);
        match input.int_in_range(0u8..=5)? {
            0 => {
                self.loans.clear();
                self.lent.clear();
            }
            1 => {
                self.loans.remove_slices(tag);
                let slice = |loan: &Loan| loan.kind == loan::Kind::Slice && loan.tag == tag;
                self.lent.retain(|loan| !slice(loan));
            }
            2 => {
                self.loans.end_borrowed(|of| of == tag);
                let ends = |loan: &Loan| loan.kind == loan::Kind::Borrowed && loan.tag == tag;
                self.lent.retain(|loan| !ends(loan));
            }
            _ => {
                let before = self.lent.len();
                self.lent
                    .retain(|loan| (loan.kind, loan.start) != (kind, addr));
                assert_eq!(self.loans.remove(kind, addr), self.lent.len() != before);
            }
        }
        Ok(())
    }

    /// The oldest goes that no word points into, or just behind if there is such a one.
    fn make_room(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let mut live = Vec::new();
        for _ in 0..input.int_in_range(0..=loan::LIVE_WORDS)? {
            live.push(address(input)?);
        }
        let pinned = |loan: &Loan| {
            matches!(
                loan.kind,
                loan::Kind::RingbufRecord
                    | loan::Kind::Socket
                    | loan::Kind::Owned
                    | loan::Kind::Reference
            )
        };
        let unused = |loan: &Loan, behind: u128| {
            let (start, end) = (
                u128::from(loan.start),
                u128::from(loan.start) + u128::from(loan.len),
            );
            let points = |word: &u64| (start..end + behind).contains(&u128::from(*word));
            !pinned(loan) && !live.iter().any(points)
        };
        let oldest = [1, 0]
            .into_iter()
            .find_map(|behind| self.lent.iter().position(|loan| unused(loan, behind)));
        if let Some(at) = oldest {
            self.lent.remove(at);
        }
        assert_eq!(self.loans.make_room(live.iter().copied()), oldest.is_some());
        Ok(())
    }

    fn acquire(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (kind, addr) = (*input.choose(&HELD_KINDS)?, address(input)?);
        for _ in 0..input.int_in_range(1u8..=8)? {
            let expected = if self.held.len() == ledger::CAPACITY {
                Err(LedgerError::Full)
            } else {
                self.held.push(Held { kind, addr });
                Ok(())
            };
            assert_eq!(self.ledger.acquire(kind, addr), expected);
        }
        Ok(())
    }

    fn release(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        if input.ratio(1u8, 4u8)? {
            assert_eq!(self.ledger.pop(), self.held.pop());
            return Ok(());
        }
        let (kind, addr) = (*input.choose(&HELD_KINDS)?, address(input)?);
        let newest = self
            .held
            .iter()
            .rposition(|held| *held == Held { kind, addr });
        assert_eq!(self.ledger.holds(kind, addr), newest.is_some());
        let expected = match newest {
            Some(at) => {
                self.held.remove(at);
                Ok(())
            }
            None => Err(LedgerError::NotHeld),
        };
        assert_eq!(self.ledger.release(kind, addr), expected);
        let is_lock = |held: &Held| {
            matches!(
                held.kind,
                ledger::Kind::SpinLock | ledger::Kind::ResSpinLock
            )
        };
        let last = self.held.iter().rposition(is_lock);
        assert_eq!(
            self.ledger.last_lock().map(|lock| lock.held),
            last.map(|at| self.held[at])
        );
        let locks = self.held.iter().filter(|held| is_lock(held));
        assert!(self.ledger.locks().eq(locks.map(|held| held.addr)));
        Ok(())
    }

    fn begin(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let (key, low) = (address(input)?, address(input)?);
        let kind = *input.choose(&objects::Kind::ALL)?;
        let object = objects::Object {
            key,
            kind,
            state: [0; objects::WORDS],
        };
        let there = |at: &usize| self.places[*at].as_ref().is_some_and(|old| old.key == key);
        let gone = |at: &usize| {
            self.places[*at]
                .as_ref()
                .is_some_and(|old| old.kind.is_dynptr() && old.key < low)
        };
        let mut all = 0..objects::CAPACITY;
        let expected = match all.clone().find(there) {
            Some(at) if self.places[at].is_some_and(|old| !old.kind.is_dynptr()) => {
                Err(ObjectError::Held)
            }
            Some(at) => Ok(at),
            None => all
                .clone()
                .find(|at| self.places[*at].is_none())
                .or_else(|| all.find(gone))
                .ok_or(ObjectError::Full),
        };
        assert_eq!(self.objects.begin(key, kind, low), expected);
        if let Ok(at) = expected {
            self.places[at] = Some(object);
        }
        let place = place_of(&self.places, key);
        assert_eq!(self.objects.find(key).map(|found| found.0), place);
        Ok(())
    }

    fn end(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = input.int_in_range(0..=objects::CAPACITY)?;
        match input.int_in_range(0u8..=8)? {
            0 => {
                self.objects.clear();
                self.places = [None; objects::CAPACITY];
            }
            1..=3 => {
                let (kind, data) = (*input.choose(&objects::Kind::ALL)?, address(input)?);
                self.objects.end_of(kind, data);
                for place in &mut self.places {
                    if place.is_some_and(|object| object.kind == kind && object.state[0] == data) {
                        *place = None;
                    }
                }
            }
            _ => {
                self.objects.end(at);
                if let Some(place) = self.places.get_mut(at) {
                    *place = None;
                }
            }
        }
        Ok(())
    }

    /// The kernel writes a dynptr, of which the pointer keeps a loan.
    fn point(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let at = input.int_in_range(0..=objects::CAPACITY)?;
        let state = [address(input)?, input.arbitrary()?];
        assert_eq!(
            self.objects.get(at),
            self.places.get(at).and_then(Option::as_ref)
        );
        if let Some(object) = self.objects.get_mut(at) {
            object.state = state;
        }
        if let Some(object) = self.places.get_mut(at).and_then(Option::as_mut) {
            object.state = state;
        }
        let memory = self
            .places
            .iter()
            .flatten()
            .filter(|object| object.kind == objects::Kind::Memory && object.state[0] != 0);
        let pointers = memory.map(|object| object.state[0].wrapping_add(object.state[1] >> 32));
        assert!(self.objects.pointers().eq(pointers));
        Ok(())
    }
}

/// The place of the object named `key`.
fn place_of(places: &[Option<objects::Object>], key: u64) -> Option<usize> {
    places
        .iter()
        .position(|place| place.is_some_and(|object| object.key == key))
}
