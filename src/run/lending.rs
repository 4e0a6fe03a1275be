// SPDX-License-Identifier: GPL-2.0
//! How a run gets its loans, and what of one is not lent.

use super::audit::{refuse, Audited};
use super::helper::Kept;
use super::level::Level;
use super::Run;
use crate::bindings as b;
use crate::domain::fields::Fields;
use crate::pure::loan::{Kind as Lent, Loan, LoanError};

/// Whether `len` bytes at `addr`, which are on loan, are none of the kernel's own
/// fields in the value.
pub(super) fn spares_fields(loan: &Loan, addr: u64, len: u32) -> bool {
    // The tags of other loans are no records.
    !matches!(loan.kind, Lent::MapValue | Lent::Owned | Lent::Borrowed)
        || loan.tag == 0
        || fields_of(loan).spare(addr - loan.start, len.into())
}

/// The fields in a value or object that is on loan.
pub(super) fn fields_of(loan: &Loan) -> Fields {
    // SAFETY: the tags of this run's loans are those of its maps, or of types in the BTF of the
    // program or of such a map. They outlive the run: programs hold theirs, and inner maps are
    // freed after an RCU grace period.
    unsafe { Fields::of_tag(loan.tag) }
}

/// Writes down a loan; if the set is full, the oldest that no live word of the
/// program points into makes room.
pub(super) fn lend(run: &mut Run, kept: &[u64], loan: Loan) -> Audited<()> {
    let Some(level) = run.level() else {
        return refuse(loan.start);
    };
    match level.loans.insert(loan) {
        Ok(()) => Ok(()),
        Err(LoanError::Range) => refuse(loan.start),
        Err(LoanError::Full) => lend_in_place_of(run, kept, loan),
    }
}

#[cold]
fn lend_in_place_of(run: &mut Run, kept: &[u64], loan: Loan) -> Audited<()> {
    while make_room(run, kept) {
        let Some(level) = run.level() else { break };
        if level.loans.insert(loan).is_ok() {
            return Ok(());
        }
    }
    refuse(loan.start)
}

/// Ends the oldest loan that no word of the program points into; `kept` are those
/// beside its stack. Whether there was one.
pub(super) fn make_room(run: &mut Run, kept: &[u64]) -> bool {
    let words = Iterator::chain(run.kept_words(), kept.iter().copied());
    let Some(level) = run.level() else {
        return false;
    };
    let Level { loans, objects, .. } = level;
    loans.make_room(Iterator::chain(words, objects.pointers()))
}

/// What the program gets for the value at `value` of `map`, which may be of any
/// type that has values: its address in the domain, or a loan.
pub(super) fn give_value(
    run: &mut Run,
    kept: &Kept,
    map: *mut b::bpf_map,
    value: u64,
) -> Audited<u64> {
    let seen = run.values().and_then(|values| values.address(map, value));
    if let Some(addr) = seen {
        return Ok(addr);
    }
    // SAFETY: the caller has found `map` to be one of this run's.
    let (size, write, fields) = unsafe {
        (
            (*map).value_size,
            (*map).map_flags & b::BPF_F_RDONLY_PROG == 0,
            Fields::of(map),
        )
    };
    let loan = Loan {
        start: value,
        len: size,
        write,
        kind: Lent::MapValue,
        tag: fields.tag(),
    };
    lend(run, kept, loan)?;
    Ok(value)
}
