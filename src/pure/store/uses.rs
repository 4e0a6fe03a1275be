// SPDX-License-Identifier: GPL-2.0
//! What programs of a domain write when they look an element up themselves, in a map that
//! forgets what was not used for long: a mark for each element, and a log of those that were marked.
//!
//! ```text
//! values | marks, a byte each | head, a word | log, a word each
//! ```
//!
//! Who finds an element that is not marked marks it, and writes its number to the log. Before the
//! map chooses which element goes it reads on in the log, and takes the mark of each element that it
//! finds there: from then on it knows of that use itself. So it knows of every use, in so far as the
//! log has room, and as two CPUs do not write at once. An element that is not in the log for that is
//! marked still, when its turn to go comes.
//!
//! All of this is the domain's. Numbers and head may be anything.

/// At most so many numbers are in a log, and read at once.
const MOST: u32 = 1024;
const AT_ONCE: u32 = 128;

/// How marks and log lie behind a map's values, in bytes from the first value on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Uses {
    /// The first element's mark.
    pub marks: u64,
    /// How many numbers were written to the log.
    pub head: u64,
    /// The end.
    pub end: u64,
    /// Numbers in the log: a power of two.
    pub slots: u32,
}

/// Bytes from the head to the log's first number.
pub const LOG: i16 = 4;

impl Uses {
    /// Behind `values` bytes of so many elements' values.
    pub const fn new(values: u64, elements: u32) -> Self {
        let slots = match elements.checked_next_power_of_two() {
            Some(slots) if slots < MOST => slots,
            _ => MOST,
        };
        let head = (values + elements as u64).next_multiple_of(4);
        Self {
            marks: values,
            head,
            end: head + LOG as u64 + 4 * slots as u64,
            slots,
        }
    }

    /// Where number `at` of the log is.
    pub const fn number(&self, at: u32) -> u64 {
        self.head + LOG as u64 + 4 * (at & (self.slots - 1)) as u64
    }

    /// Which numbers of the log are to be read, the first and how many, by who has read up to
    /// `tail` when `head` is written. What was written over is left out.
    pub const fn unread(&self, head: u32, tail: u32) -> (u32, u32) {
        let count = head.wrapping_sub(tail);
        let (first, count) = if count > self.slots {
            (head.wrapping_sub(self.slots), self.slots)
        } else {
            (tail, count)
        };
        (first, if count < AT_ONCE { count } else { AT_ONCE })
    }
}
