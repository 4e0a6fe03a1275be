// SPDX-License-Identifier: GPL-2.0
//! Calls that make or take objects which the program keeps on its stack:
//! dynptrs, iterators, saved interrupt flags. The objects themselves are in the
//! run's level (`crate::pure::objects`); what the program passes is the name of
//! one, and what the kernel gets is the address of the object.
//!
//! What an object points to is looked at anew at each call: memory must be the
//! run's, a record held, a packet that of the run.

use super::audit::{audit, reachable, refuse, Audited, Refused};
use super::helper::{has_room, Kept};
use super::lending::lend;
use super::level::Level;
use super::{locks, Run};
use crate::bindings as b;
use crate::breach;
use crate::load::site::{effect, flag, kind, returns};
use crate::pure::ledger::{Held, Kind as HeldKind};
use crate::pure::loan::{Kind as Lent, Loan};
use crate::pure::objects::{Kind, Object, Objects};
use core::mem::{offset_of, size_of};

// pure/objects.rs reads a dynptr as two words.
const _: () = assert!(
    size_of::<b::bpf_dynptr_kern>() == 16
        && offset_of!(b::bpf_dynptr_kern, data) == 0
        && offset_of!(b::bpf_dynptr_kern, size) == 8
        && offset_of!(b::bpf_dynptr_kern, offset) == 12
);

/// An argument that names an object.
#[derive(Clone, Copy)]
struct Named {
    /// The object's place.
    at: usize,
    kind: Kind,
    step: u8,
}

/// Calls a helper or kfunc that takes names of objects. Returns R0.
#[inline(never)]
pub(super) fn call(
    run: &mut Run,
    site: &b::bailey_site,
    args: &mut [u64; 5],
    kept: &Kept,
) -> Audited<u64> {
    let given = *args;
    audit(run, site, args)?;
    // The run has a level from here on.
    let Some(_) = run.level() else {
        return refuse(given[0]);
    };
    let mut named: [Option<Named>; 3] = [None; 3];
    for (n, arg) in site.args.iter().enumerate() {
        let of = || Kind::ALL.get(arg.size as usize).copied();
        let key = given[n];
        let (at, kind) = match arg.kind {
            kind::UNUSED => break,
            kind::DYNPTR if key == 0 && arg.flags & flag::NULLABLE != 0 => continue,
            kind::DYNPTR => live(run, key, Kind::is_dynptr)?,
            kind::OBJECT | kind::END_OBJECT => live(run, key, |kind| Some(kind) == of())?,
            kind::NEW_OBJECT => match of() {
                Some(kind) => begin(run, key, kind)?,
                None => return refuse(key),
            },
            kind::CLONE => match named[0] {
                Some(first) if given[0] != key => begin(run, key, first.kind)?,
                _ => return refuse(key),
            },
            _ => continue,
        };
        args[n] = state_of(run, at).ok_or_else(|| refused(key))?;
        let free = named.iter_mut().find(|named| named.is_none());
        *free.ok_or_else(|| refused(key))? = Some(Named {
            at,
            kind,
            step: arg.kind,
        });
    }
    let named = named.into_iter().flatten();
    let takes = named.clone().filter(|named| named.step != kind::NEW_OBJECT);
    let of_packet = takes.clone().any(|named| named.kind == Kind::Packet);

    let before = takes.clone().next().and_then(|first| object(run, first.at));
    if of_packet {
        if site.effects & effect::SYNC_BEFORE != 0 {
            run.sync_back();
        }
        if site.returns == returns::SLICE && !within_packet(run, before, &given) {
            return Ok(0);
        }
    }
    // SAFETY: the function's address is the kernel's own; each argument is what it takes: audited,
    // or the address of an object in kernel memory that only the kernel has written.
    let result = unsafe { b::bailey_call_helper(site.func, args.as_ptr()) };
    if of_packet && site.effects & effect::SYNC_AFTER != 0 && !run.sync_in() {
        return refuse(given[0]);
    }

    for named in named {
        let Some(level) = run.level() else { break };
        let held = named.kind.held(named.at);
        match named.step {
            kind::NEW_OBJECT if named.kind == Kind::LockFlags => {
                // They are there if the lock was taken, and then acquired before it.
                match locks::taken(args[0], result) {
                    0 => level.objects.end(named.at),
                    lock => locks::acquire(level, held, lock),
                }
            }
            kind::NEW_OBJECT => {
                let data = level.objects.get(named.at).map(|new| new.dynptr().data);
                let record = data.filter(|&data| named.kind == Kind::Record && data != 0);
                let record = record.map(|addr| Held {
                    kind: HeldKind::RingbufRecord,
                    addr,
                });
                if let Some(held) = held.or(record) {
                    let _ = level.ledger.acquire(held.kind, held.addr);
                }
                if breach::without(b::BAILEY_WITHOUT_OBJECTS) {
                    show(level, named.at);
                }
            }
            kind::END_OBJECT => {
                if named.kind == Kind::LockFlags {
                    locks::release(level, args[0]);
                }
                if let Some(held) = held {
                    let _ = level.ledger.release(held.kind, held.addr);
                }
                let data = before.map_or(0, |object| object.dynptr().data);
                if named.kind == Kind::Record && data != 0 {
                    let _ = level.ledger.release(HeldKind::RingbufRecord, data);
                    end_record(level, data);
                }
                level.objects.end(named.at);
            }
            _ => {}
        }
    }
    if result == 0 {
        return Ok(0);
    }
    match (site.returns, before) {
        (returns::SLICE, Some(of)) => slice(run, site, &given, kept, &of, result),
        (returns::INT, Some(of)) => int(run, &of, result),
        _ => Ok(result),
    }
}

fn refused(addr: u64) -> Refused {
    Refused { addr }
}

fn object(run: &mut Run, at: usize) -> Option<Object> {
    run.used_level()?.objects.get(at).copied()
}

/// The address of the object in place `at`, for the kernel.
fn state_of(run: &mut Run, at: usize) -> Option<u64> {
    let object = run.used_level()?.objects.get_mut(at)?;
    Some((&raw mut object.state) as u64)
}

/// The object named `key`, which must be of a kind that `fits`, and reach what
/// it says.
fn live(run: &mut Run, key: u64, fits: impl Fn(Kind) -> bool) -> Audited<(usize, Kind)> {
    if breach::without(b::BAILEY_WITHOUT_OBJECTS) {
        believe(run, key);
    }
    let context = run.raw.ctx;
    let level = run.used_level().ok_or_else(|| refused(key))?;
    let (at, object) = match level.objects.find(key) {
        Some((at, object)) if fits(object.kind) => (at, *object),
        _ => return refuse(key),
    };
    if !Objects::is_live(&object, &level.ledger, context) {
        return refuse(key);
    }
    if object.kind == Kind::Memory {
        let memory = object.dynptr();
        let start = memory.data.wrapping_add(u64::from(memory.offset));
        // It was lent once, but what is lent may be taken back.
        if memory.data != 0
            && memory.size != 0
            && !reachable(run, start, u64::from(memory.size), true)
        {
            return refuse(start);
        }
    }
    Ok((at, object.kind))
}

/// The control: the dynptr of memory named `key` is what the program's stack says.
#[cold]
fn believe(run: &mut Run, key: u64) {
    let Some(level) = run.used_level() else {
        return;
    };
    let Some((at, _)) = level.objects.find(key) else {
        return;
    };
    let memory = level.objects.get_mut(at);
    if let Some(object) = memory.filter(|object| object.kind == Kind::Memory) {
        // SAFETY: the name was found on the run's own stack when the object was made.
        object.state = unsafe { (key as *const [u64; 2]).read_volatile() };
    }
}

/// The control: the dynptr of memory in place `at` is on the program's stack, too.
#[cold]
fn show(level: &Level, at: usize) {
    let memory = level.objects.get(at);
    if let Some(object) = memory.filter(|object| object.kind == Kind::Memory) {
        // SAFETY: as in `believe`.
        unsafe { (object.key as *mut [u64; 2]).write_volatile(object.state) };
    }
}

/// Makes an object of `kind` named `key`, which must be on the run's own stack.
fn begin(run: &mut Run, key: u64, kind: Kind) -> Audited<(usize, Kind)> {
    if key % 8 != 0 || !run.owns(key, kind.size()) {
        return refuse(key);
    }
    // What it acquires, if it does.
    has_room(run, &[key; 5])?;
    let low = run.raw.dom_rsp;
    let level = run.level().ok_or_else(|| refused(key))?;
    match level.objects.begin(key, kind, low) {
        Ok(at) => Ok((at, kind)),
        Err(_) => refuse(key),
    }
}

/// Whether a slice lies in the packet as it is now. A dynptr keeps the size that
/// the packet had; the kernel's way into a buffer relies on it.
fn within_packet(run: &Run, of: Option<Object>, given: &[u64; 5]) -> bool {
    let Some(of) = of.map(|object| object.dynptr()) else {
        return false;
    };
    // SAFETY: the run's real context.
    let len = u64::from(unsafe { b::bailey_xdp_len(run.raw.ctx) });
    let end = u64::from(of.offset)
        .checked_add(given[1])
        .and_then(|at| at.checked_add(given[3]));
    end.is_some_and(|end| end <= len)
}

/// What the program gets for a slice at `result` of the dynptr `of`.
fn slice(
    run: &mut Run,
    site: &b::bailey_site,
    given: &[u64; 5],
    kept: &Kept,
    of: &Object,
    result: u64,
) -> Audited<u64> {
    let has_buffer = site.args[2].kind == kind::MEM && site.args[2].flags & flag::ABSENT != 0;
    let (buffer, len) = if has_buffer {
        (given[2], given[3])
    } else {
        (0, given[2])
    };
    if has_buffer && result == buffer {
        return Ok(result);
    }
    match of.kind {
        // The program's already.
        Kind::Memory => Ok(result),
        Kind::Packet => Ok(run.seen_at(result, len).unwrap_or_else(|| {
            // In one of the packet's other pages: as if it were in two of them.
            if buffer != 0 {
                // SAFETY: the slice lies in the packet, the buffer was audited.
                unsafe { super::shadow::copy_bytes(buffer, result, len) };
            }
            buffer
        })),
        _ => {
            let len = u32::try_from(len).map_err(|_| refused(len))?;
            if len != 0 {
                let loan = Loan {
                    start: result,
                    len,
                    write: true,
                    kind: Lent::Slice,
                    tag: of.dynptr().data,
                };
                lend(run, kept, loan)?;
            }
            Ok(result)
        }
    }
}

/// What the program gets for an int inside of an object: a copy, in its place.
fn int(run: &mut Run, of: &Object, result: u64) -> Audited<u64> {
    let key = of.key;
    if !run.owns(key, of.kind.size()) {
        return refuse(key);
    }
    // SAFETY: the function returns an address inside the object that it was given; the copy is on
    // the run's own stack, which another CPU may write as well.
    unsafe { (key as *mut i32).write_volatile((result as *const i32).read()) };
    Ok(key)
}

/// The record at `data` has been submitted or discarded.
pub(super) fn end_record(level: &mut Level, data: u64) {
    level.loans.remove(Lent::RingbufRecord, data);
    level.loans.remove_slices(data);
    level.objects.end_of(Kind::Record, data);
}

/// A callback is to get the kernel's dynptr at `dynptr`, under the name `key`.
/// False if there is no room for it.
pub(super) fn begin_sample(run: &mut Run, key: u64, dynptr: u64) -> bool {
    let Some(level) = run.used_level() else {
        return false;
    };
    let Ok(at) = level.objects.begin(key, Kind::Sample, key) else {
        return false;
    };
    let Some(object) = level.objects.get_mut(at) else {
        return false;
    };
    // SAFETY: bpf_user_ringbuf_drain() passes a dynptr of its own.
    object.state = unsafe { (dynptr as *const [u64; 2]).read() };
    true
}

/// The callback that was given a sample under the name `key` has ended; whether
/// there was one.
pub(super) fn end_sample(level: &mut Level, key: u64) -> bool {
    let sample = level.objects.find(key).map(|(_, object)| *object);
    let Some(sample) = sample.filter(|object| object.kind == Kind::Sample) else {
        return false;
    };
    let data = sample.dynptr().data;
    level.loans.remove_slices(data);
    level.objects.end_of(Kind::Sample, data);
    true
}

/// Gives back what an object holds. Returns 0.
pub(super) fn give_back(level: &mut Level, held: &Held) -> u64 {
    let Some(object) = level.objects.get_mut(held.addr as usize) else {
        return 0;
    };
    match held.kind {
        // SAFETY: flags that the kernel has written, of which the ledger says so.
        HeldKind::IrqFlags | HeldKind::LockFlags => unsafe {
            b::bailey_irq_restore(object.state[0] as usize);
        },
        HeldKind::BitsIterator => {
            let state = (&raw mut object.state).cast();
            // SAFETY: an iterator that bpf_iter_bits_new() has made and nobody has destroyed.
            unsafe { b::bailey_k_bpf_iter_bits_destroy(state) };
        }
        _ => {}
    }
    0
}
