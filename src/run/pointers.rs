// SPDX-License-Identifier: GPL-2.0
//! Pointers in values and objects (`__kptr`), and what they lead to: objects that
//! programs allocate ([`super::graph`]), objects of the kernel's, and memory that is
//! another one on each CPU.
//!
//! A pointer's bytes are the kernel's: it gives up what is there with the value. A
//! program exchanges one (`bpf_kptr_xchg()`) for something to which it has a reference
//! of its own, which its ledger has; or it loads one, and what it leads to is on loan
//! until the run ends. The kernel frees all of these a grace period of RCU after the
//! last reference, and preemption is off for the whole of a run.
//!
//! Per-CPU memory is known by the place where the kernel has written down where it is.
//! That place is on loan, to read alone: the verifier has put a load of it in front of
//! each call that asks for the memory of one CPU. No address but one that was found so is
//! taken there, and what comes back is on loan.

use super::audit::{holds, refuse, Audited, Refused};
use super::graph::{find, loan};
use super::helper::Kept;
use super::lending::lend;
use super::Run;
use crate::bindings as b;
use crate::domain::fields::{Fields, Pointee, Type};
use crate::kernel_types;
use crate::pure::kernel_type::KernelType;
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::{Kind as Lent, Loan};
use core::ffi::c_void;
use core::mem::size_of;

/// What the pointer at `addr` leads to.
pub(super) fn pointer(run: &mut Run, addr: u64) -> Audited<Pointee> {
    find(run, addr, |whole| whole.fields.pointee(addr - whole.start)).ok_or(Refused { addr })
}

/// What the ledger has of the object at `start`, which the run can hand over to a
/// pointer that leads to such ones.
pub(super) fn owned(run: &mut Run, pointee: Pointee, start: u64) -> Audited<Held> {
    let held = match pointee {
        // Has a way of its own.
        Pointee::Allocated(_) => return refuse(start),
        Pointee::Kernel(of) => Held::Reference(of),
        Pointee::PerCpu(size) => {
            if per_cpu(run, |loan| loan.start == start) != Some(size) {
                return refuse(start);
            }
            Held::PerCpuObject
        }
    };
    if !holds(run, held, start) {
        return refuse(start);
    }
    Ok(held)
}

/// The reference is handed over, or given up for good. Per-CPU memory that is handed over can be
/// used on, as the verifier has it: its place stays on loan.
pub(super) fn hand_over(run: &mut Run, held: Held, object: u64, dropped: bool) {
    let Some(level) = run.level() else {
        return;
    };
    let _ = level.ledger.release(held, object);
    let ends = match held {
        Held::PerCpuObject => dropped.then_some(Lent::PerCpu),
        _ => (!level.ledger.holds(held, object)).then_some(Lent::Reference),
    };
    if let Some(kind) = ends {
        level.loans.remove(kind, object);
    }
}

/// The run has a reference to the object at `start` now; its ledger has room.
pub(super) fn receive(run: &mut Run, kept: &Kept, pointee: Pointee, start: u64) -> Audited<()> {
    let (held, kind) = match pointee {
        // Has a way of its own.
        Pointee::Allocated(_) => return refuse(start),
        Pointee::Kernel(of) => (Held::Reference(of), Lent::Reference),
        Pointee::PerCpu(_) => (Held::PerCpuObject, Lent::PerCpu),
    };
    let level = run.level().ok_or(Refused { addr: start })?;
    let _ = level.ledger.acquire(held, start);
    lend_pointee(run, kept, pointee, start, kind)
}

/// What the program loads from a pointer, whose bytes are the kernel's: the address, and
/// what is there is on loan. `None` if there is no pointer at `addr`. `words` may be pointers
/// of the program's.
pub(super) fn load(run: &mut Run, addr: u64, words: &[u64]) -> Option<u64> {
    let pointee = find(run, addr, |whole| {
        (whole.kind == Lent::MapValue).then(|| whole.fields.pointee(addr - whole.start))?
    })?;
    // SAFETY: a field of a value on loan, aligned. Once: another CPU may exchange it.
    let start = unsafe { (addr as *const u64).read_volatile() };
    if start == 0 {
        return Some(0);
    }
    let kind = match pointee {
        Pointee::Allocated(_) => Lent::Borrowed,
        Pointee::Kernel(_) => Lent::KernelObject,
        Pointee::PerCpu(_) => Lent::PerCpu,
    };
    let known = kind == Lent::Borrowed
        && run
            .used_level()
            .is_some_and(|level| level.loans.object(start).is_some());
    if !known {
        lend_pointee(run, words, pointee, start, kind).ok()?;
    }
    Some(start)
}

fn lend_pointee(
    run: &mut Run,
    words: &[u64],
    pointee: Pointee,
    start: u64,
    kind: Lent,
) -> Audited<()> {
    let (len, tag) = match pointee {
        Pointee::Allocated(of) => return lend(run, words, loan(start, of, kind)),
        Pointee::Kernel(of) => {
            let (id, size) = kernel_types::of(of).ok_or(Refused { addr: start })?;
            (size, id)
        }
        Pointee::PerCpu(size) => (size_of::<u64>() as u32, size),
    };
    let object = Loan {
        start,
        len,
        write: false,
        kind,
        tag: tag.into(),
    };
    lend(run, words, object)
}

/// How many bytes each CPU has of the per-CPU memory on loan that `is_it`.
fn per_cpu(run: &mut Run, is_it: impl Fn(&Loan) -> bool) -> Option<u32> {
    let mut loans = run.used_level()?.loans.all().iter();
    let loan = loans.find(|loan| loan.kind == Lent::PerCpu && is_it(loan))?;
    u32::try_from(loan.tag).ok()
}

/// The same of that which the kernel has at `base`: what a call that asks for the memory of
/// one CPU is passed.
pub(super) fn per_cpu_size(run: &mut Run, base: u64) -> Option<u32> {
    per_cpu(run, |loan| {
        // SAFETY: the place is on loan, so it is there, and the kernel has written it once.
        let at = unsafe { (loan.start as *const u64).read() };
        at == base
    })
}

/// Lends the memory of one CPU at `start`, `size` bytes.
pub(super) fn lend_memory(run: &mut Run, kept: &Kept, start: u64, size: u32) -> Audited<()> {
    let of = Type {
        size,
        fields: Fields::NONE,
    };
    lend(run, kept, loan(start, of, Lent::Borrowed))
}

/// Gives up a reference to an object of the kernel's that the run holds. Returns 0.
pub(super) fn give_back(of: KernelType, object: u64) -> u64 {
    // SAFETY: a reference that the ledger held.
    unsafe { kernel_types::give_up(of, object) }
}

/// Frees per-CPU memory that the run holds. Returns 0.
pub(super) fn free(place: u64) -> u64 {
    // SAFETY: a reference that the ledger held, to memory of numbers alone; preemption is off, so
    // the run does not migrate.
    unsafe { b::bailey_k___bpf_obj_drop_impl(place as *mut c_void, core::ptr::null(), true) };
    0
}
