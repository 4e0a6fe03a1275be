// SPDX-License-Identifier: GPL-2.0
//! What a program did that ended its run, and the last few such records.

use super::pkrs::{PF_INSTR, PF_WRITE};
use core::fmt;

/// What a program did. The names are those in debugfs and the tracepoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// It read memory that is neither its domain's nor on loan to it.
    Read = 0,
    /// It wrote such memory, or wrote what is lent for reading.
    Write = 1,
    /// It jumped where no code of its is.
    Fetch = 2,
    /// A helper's argument failed its audit.
    Argument = 3,
    /// It ran for too long, or took too much.
    Budget = 4,
    /// Its stack ran over.
    Stack = 5,
    /// An event frame in its pages was not what the CPU could have pushed.
    Frame = 6,
    /// It raised an exception, or accessed a loan with an instruction that is
    /// not mediated.
    Instruction = 7,
}

/// How many kinds there are.
pub const KINDS: usize = 8;

impl Kind {
    /// Every kind, by rising number.
    pub const ALL: [Self; KINDS] = [
        Self::Read,
        Self::Write,
        Self::Fetch,
        Self::Argument,
        Self::Budget,
        Self::Stack,
        Self::Frame,
        Self::Instruction,
    ];

    /// Its name in debugfs, one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Fetch => "fetch",
            Self::Argument => "argument",
            Self::Budget => "budget",
            Self::Stack => "stack",
            Self::Frame => "frame",
            Self::Instruction => "instruction",
        }
    }

    /// The kind of a page fault, by its error code (SDM volume 3, 4.7).
    pub const fn of_fault(error_code: u64) -> Self {
        if error_code & PF_INSTR != 0 {
            Self::Fetch
        } else if error_code & PF_WRITE != 0 {
            Self::Write
        } else {
            Self::Read
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
    /// The program's id.
    pub program: u32,
    /// Its name, filled up with NULs (`bpf_prog_aux.name`).
    pub name: [u8; 16],
    /// What it did.
    pub kind: Kind,
    /// The address it used, or the argument that failed.
    pub addr: u64,
    /// Where: bytes from the start of its machine code.
    pub at: u32,
}

/// The last `N` records, and how many there have been.
#[derive(Debug)]
pub struct Ring<const N: usize> {
    records: [Option<Record>; N],
    total: u64,
}

impl<const N: usize> Ring<N> {
    /// No records yet.
    pub const fn new() -> Self {
        Self {
            records: [None; N],
            total: 0,
        }
    }

    /// Adds a record, in the place of the oldest if the ring is full.
    pub fn push(&mut self, record: Record) {
        let slot = self.slot(self.total);
        if let Some(place) = self.records.get_mut(slot) {
            *place = Some(record);
        }
        self.total = self.total.wrapping_add(1);
    }

    /// How many records there have been since the beginning.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The records still there, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Record> + '_ {
        let kept = self.total.min(N as u64);
        (self.total.wrapping_sub(kept)..self.total)
            .filter_map(move |number| self.records.get(self.slot(number))?.as_ref())
    }

    fn slot(&self, number: u64) -> usize {
        number.checked_rem(N as u64).unwrap_or(0) as usize
    }
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn record(program: u32) -> Record {
        Record {
            time_ns: 0,
            program,
            name: [0; 16],
            kind: Kind::Read,
            addr: 0,
            at: 0,
        }
    }

    #[test]
    fn numbers_and_names_are_distinct() {
        for (number, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            assert!(kind.name().bytes().all(|byte| byte.is_ascii_lowercase()));
            assert!(Kind::ALL
                .iter()
                .all(|other| *other == kind || other.name() != kind.name()));
        }
    }

    #[test]
    fn a_fault_is_named_by_its_error_code() {
        assert_eq!(Kind::of_fault(0b10_0001), Kind::Read);
        assert_eq!(Kind::of_fault(0b10_0011), Kind::Write);
        assert_eq!(Kind::of_fault(0b01_0001), Kind::Fetch);
    }

    #[test]
    fn a_ring_keeps_the_last_records_in_order() {
        let mut ring = Ring::<4>::new();
        assert_eq!(ring.iter().count(), 0);
        for program in 0..11 {
            ring.push(record(program));
            let kept: Vec<u32> = ring.iter().map(|record| record.program).collect();
            let first = program.saturating_sub(3);
            assert_eq!(kept, (first..=program).collect::<Vec<_>>());
        }
        assert_eq!(ring.total(), 11);
    }

    #[test]
    fn a_ring_without_room_only_counts() {
        let mut ring = Ring::<0>::new();
        ring.push(record(1));
        assert_eq!((ring.total(), ring.iter().count()), (1, 0));
    }
}
