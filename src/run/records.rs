// SPDX-License-Identifier: GPL-2.0
//! Records of ring buffers: their bytes in the run's frame.
//!
//! In the ring, a record's header, which the kernel trusts, lies beside its bytes,
//! and beside those the next record's. So the program gets a copy of the bytes in
//! its frame, below all that is carved of that, to read and write at full speed;
//! they go to the ring when the record is submitted. Until then nobody looks at them
//! there: the header says that the record is in the making. What the reserving
//! helper found in the ring is copied first, since a program may submit what it has
//! not written.
//!
//! A record that is large, or for which there is no room, is a loan in the ring.

use super::audit::Audited;
use super::helper::Kept;
use super::lending::lend;
use super::shadow::{copy_bytes, LINE};
use super::{objects, Run};
use crate::bindings as b;
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::{Kind as Lent, Loan};

/// Bytes of the largest record that is copied: more is copied than is written, then.
const LARGEST: u32 = 4096;

/// What the program gets for a record of `len` bytes at `record`.
pub(super) fn give(run: &mut Run, kept: &Kept, record: u64, len: u32) -> Audited<u64> {
    let room = if len <= LARGEST {
        carve(run, len)
    } else {
        None
    };
    // The tag of a copy is where the record is.
    let (start, tag) = match room {
        Some(at) => {
            // SAFETY: the helper has reserved so many bytes for this run; those at `at` are of
            // its part of the frame.
            unsafe { copy_bytes(at, record, len.into()) };
            (at, record)
        }
        None => (record, 0),
    };
    let loan = Loan {
        start,
        len,
        write: true,
        kind: Lent::RingbufRecord,
        tag,
    };
    lend(run, kept, loan)?;
    Ok(start)
}

/// Takes `len` bytes off the frame, if the half of it stays free for runs inside of
/// this.
fn carve(run: &mut Run, len: u32) -> Option<u64> {
    let (bottom, top) = (run.frame().bottom, run.frame().top);
    let at = run.frame().cursor.checked_sub(len.into())? & !(LINE - 1);
    if at < bottom + (top - bottom) / 2 {
        return None;
    }
    set_cursor(run, at);
    Some(at)
}

fn set_cursor(run: &mut Run, at: u64) {
    // SAFETY: this CPU's frame; only its own runs move the cursor, and nested ones put it back.
    unsafe { (&raw mut (*run.raw.frame).cursor).write_volatile(at) };
}

/// Whether the program may submit or discard the record that it knows by `addr`;
/// then where it is. What of its bytes is in the frame goes there if it `submits`.
pub(super) fn take(run: &mut Run, addr: u64, submits: bool) -> Option<u64> {
    let level = run.used_level()?;
    let mut copies = level.loans.all().iter().rev();
    let copy = copies.find(|loan| is_copy(loan) && loan.start == addr);
    let record = copy.map_or(addr, |loan| loan.tag);
    if !level.ledger.holds(Held::RingbufRecord, record) {
        return None;
    }
    if let Some(loan) = copy.filter(|_| submits) {
        // SAFETY: as in `give`: the record is still this run's, who cannot change where it is.
        unsafe { copy_bytes(record, addr, loan.len.into()) };
    }
    Some(record)
}

fn is_copy(loan: &Loan) -> bool {
    loan.kind == Lent::RingbufRecord && loan.tag != 0
}

/// The record at `record` has been submitted or discarded. The frame's room below
/// the copies that are left is free.
pub(super) fn end(run: &mut Run, record: u64) {
    let Some(level) = run.used_level() else {
        return;
    };
    let mut loans = level.loans.all().iter().rev();
    let copy = loans.find(|loan| is_copy(loan) && loan.tag == record);
    let Some(start) = copy.map(|loan| loan.start) else {
        objects::end_record(level, record);
        return;
    };
    level.loans.remove(Lent::RingbufRecord, start);
    let copies = level.loans.all().iter().filter(|loan| is_copy(loan));
    let carved = (run.raw.dom_rsp - u64::from(b::BAILEY_STACK_ROOM)) & !(LINE - 1);
    let lowest = copies.map(|loan| loan.start).fold(carved, u64::min);
    set_cursor(run, lowest);
}
