// SPDX-License-Identifier: GPL-2.0
//! The audit of a call's arguments, before the call.
//!
//! Nothing that the verifier concluded is relied on: each argument is checked
//! against what this run was given. The kernel's own tables (the site, the
//! program's maps) say what the argument must be.

use super::lending::{fields_of, spares_fields};
use super::{locks, pointers, records, Run};
use crate::bindings as b;
use crate::breach;
use crate::domain::fields::Fields;
use crate::domain::mapped::{Mapped, Seen};
use crate::event::frame::byte;
use crate::load::call_maps::is_of;
use crate::load::site::{flag, kind};
use crate::load::MapRef;
use crate::pure::catalog::id;
use crate::pure::kernel_type::KernelType;
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::Kind as Lent;
use crate::pure::range;

/// An argument that is not what it must be.
pub(super) struct Refused {
    pub(super) addr: u64,
}

pub(super) type Audited<T> = core::result::Result<T, Refused>;

pub(super) fn refuse<T>(addr: u64) -> Audited<T> {
    Err(Refused { addr })
}

/// Whether the program may have the kernel read (and write) `len` bytes at
/// `addr`: they are its own, its domain's values, or on loan to this run.
pub(super) fn reachable(run: &mut Run, addr: u64, len: u64, write: bool) -> bool {
    if addr.checked_add(len).is_none() {
        return false;
    }
    if !breach::confines() {
        return true;
    }
    run.owns(addr, len) || beyond_its_own(run, None, addr, len, write)
}

/// The same for an argument of `site`.
fn reaches(run: &mut Run, site: &b::bailey_site, addr: u64, len: u64, write: bool) -> bool {
    if addr.checked_add(len).is_none() {
        return false;
    }
    !breach::confines() || run.owns(addr, len) || beyond_its_own(run, Some(site), addr, len, write)
}

/// The same of what is not the run's own part of its frame; `site` is to know about the map.
fn beyond_its_own(
    run: &mut Run,
    site: Option<&b::bailey_site>,
    addr: u64,
    len: u64,
    write: bool,
) -> bool {
    let values = run.values();
    if let Some(mapped) = values.and_then(|values| values.showing(addr, len, write)) {
        if let Some(site) = site {
            note(run, site, mapped);
        }
        return true;
    }
    if values.is_some_and(|values| values.lends(addr, len, write)) {
        return true;
    }
    let Ok(len) = u32::try_from(len) else {
        return false;
    };
    run.used_level().is_some_and(|level| {
        level
            .loans
            .find(addr, len, write)
            .is_some_and(|loan| spares_fields(loan, addr, len))
    })
}

/// Where the site says in which map's values an argument was last, if it does.
#[inline(always)]
fn seen(site: &b::bailey_site) -> Option<&Seen> {
    let says = site.audited & b::BAILEY_SITE_SEEN as u8 != 0;
    // SAFETY: put there by the load; it lives as long as the table.
    says.then(|| unsafe { &*(site.values_kernel as *const Seen) })
}

/// Whether `len` bytes at `value` are of that map.
#[inline(always)]
fn seen_before(site: &b::bailey_site, value: u64, len: u64) -> bool {
    // SAFETY: the load has set it.
    seen(site).is_some_and(|seen| unsafe { seen.shows(value, len) })
}

/// Whether they are on the newest loan.
#[inline(always)]
fn lent_last(run: &mut Run, value: u64, len: u64, write: bool) -> bool {
    let level = run.used_level();
    level.is_some_and(|level| level.loans.newest_grants(value, len, write))
}

/// Writes down in whose values an argument is. Not of maps that are not the program's own,
/// which may go while it stays, and of those that it may not write.
#[cold]
fn note(run: &Run, site: &b::bailey_site, mapped: &Mapped) {
    let maps = run.program().maps().iter().map(MapRef::as_ptr);
    if let Some(seen) = seen(site).filter(|_| mapped.is_writable_of(maps)) {
        // SAFETY: one of the program's own maps; what its sites have seen goes before these.
        unsafe { seen.set(mapped) };
    }
}

/// Replaces what must be replaced and refuses what is not the run's. What most calls have
/// is here: a map that the load knows, the context, memory in the run's own part of its frame, on
/// the newest loan, or in the map's values in which an argument of this site was last; at numbers
/// nobody looks. From the first argument on that is none of these, the rest is audited by
/// [`audit_from`].
#[inline(always)]
pub(super) fn audit(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5]) -> Audited<()> {
    if breach::without(b::BAILEY_WITHOUT_MAPS) {
        return audit_from(run, site, args, 0);
    }
    if let Some(map) = args.get_mut(usize::from(site.map_arg)) {
        *map = site.map;
    }
    let (low, high) = run.own();
    let mut left = site.audited & !(b::BAILEY_SITE_SEEN as u8);
    while left != 0 {
        let n = left.trailing_zeros() as usize;
        left &= left - 1;
        let (Some(arg), Some(&value)) = (site.args.get(n), args.get(n)) else {
            break;
        };
        let mut is_known = |len| {
            range::holds(low, high, value, len)
                || seen_before(site, value, len)
                || lent_last(run, value, len, arg.flags & flag::WRITE != 0)
        };
        if arg.kind == kind::MEM {
            // The length is the next argument: the load takes no other site (src/load/site.rs).
            let len = args.get(n + 1).copied().unwrap_or(0);
            if !is_known(len) {
                audit_memory(run, site, arg, value, len)?;
            }
            continue;
        }
        if arg.kind <= kind::LAST_SIZED && is_known(arg.size.into()) {
            continue;
        }
        let is_ctx = arg.kind == kind::CTX && value == run.raw.shadow.ctx && value != 0;
        if !is_ctx || breach::without(b::BAILEY_WITHOUT_SHADOW) {
            return audit_from(run, site, args, n);
        }
        args[n] = run.raw.ctx;
    }
    Ok(())
}

/// Memory of `len` bytes that is not in the run's own part of its frame.
#[inline(never)]
fn audit_memory(
    run: &mut Run,
    site: &b::bailey_site,
    arg: &b::bailey_arg,
    value: u64,
    len: u64,
) -> Audited<()> {
    if len == 0 {
        return Ok(());
    }
    // A length is a u32 to the verifier, an int to most helpers.
    if len > i32::MAX as u64 {
        return refuse(len);
    }
    // Nothing may be at 0 where the prototype has it so, but of no length: the helper goes by the
    // length (check_helper_mem_access(), kernel/bpf/verifier.c).
    let absent = value == 0 && arg.flags & flag::ABSENT != 0;
    if !absent && !reaches(run, site, value, len, arg.flags & flag::WRITE != 0) {
        return refuse(value);
    }
    Ok(())
}

fn is_map_kind(kind: u8) -> bool {
    matches!(kind, kind::MAP | kind::KNOWN_MAP)
}

/// The same from argument `first` on, for arguments of any kind.
#[inline(never)]
fn audit_from(
    run: &mut Run,
    site: &b::bailey_site,
    args: &mut [u64; 5],
    first: usize,
) -> Audited<()> {
    let mut map: *const b::bpf_map = core::ptr::null();
    let seen = site.args.iter().zip(args.iter()).take(first);
    for (_, &known) in seen.filter(|(arg, _)| arg.kind == kind::KNOWN_MAP) {
        map = known as *const b::bpf_map;
    }
    for n in first..args.len() {
        let arg = site.args[n];
        let value = args[n];
        let write = arg.flags & flag::WRITE != 0;
        match arg.kind {
            // Arguments are used from the first on.
            kind::UNUSED => break,
            kind::SCALAR | kind::SIZE | kind::ALLOC_SIZE => {}
            kind::CTX => {
                if value != run.raw.shadow.ctx || value == 0 {
                    return refuse(value);
                }
                if !breach::without(b::BAILEY_WITHOUT_SHADOW) {
                    args[n] = run.raw.ctx;
                }
            }
            kind::MAP | kind::KNOWN_MAP => {
                if breach::without(b::BAILEY_WITHOUT_MAPS) {
                    // The control: what the program says is a map.
                } else if site.map != 0 {
                    args[n] = site.map;
                } else if !is_map(run, value, arg.size) {
                    return refuse(value);
                }
                map = args[n] as *const b::bpf_map;
            }
            kind::MAP_KEY | kind::MAP_VALUE => {
                if map.is_null() {
                    return refuse(value);
                }
                let size = if site.map != 0 {
                    arg.size
                } else {
                    // SAFETY: `map` is a map that this run may use: checked just above. (In that
                    // control the program passes maps of its own alone.)
                    unsafe {
                        if arg.kind == kind::MAP_KEY {
                            (*map).key_size
                        } else {
                            (*map).value_size
                        }
                    }
                };
                // Queue, stack and bloom maps have no key.
                if size != 0 && !reaches(run, site, value, size.into(), write) {
                    return refuse(value);
                }
            }
            kind::MEM => {
                let len = args.get(usize::from(arg.size_arg)).copied().unwrap_or(0);
                audit_memory(run, site, &arg, value, len)?;
            }
            kind::WORDS => {
                // The helper takes as many as fit a word's half, and reads none at 0.
                let words = args.get(usize::from(arg.size_arg)).copied().unwrap_or(0) as u32;
                if words != 0 && value != 0 && !reachable(run, value, u64::from(words) * 8, false) {
                    return refuse(value);
                }
            }
            // Names: found by `objects::call`, which every site with one leads to.
            kind::NEW_OBJECT | kind::CLONE | kind::OBJECT | kind::END_OBJECT | kind::DYNPTR => {}
            kind::MEM_FIXED => {
                let absent = value == 0 && arg.flags & flag::NULLABLE != 0;
                if !absent && !reaches(run, site, value, arg.size.into(), write) {
                    return refuse(value);
                }
            }
            kind::LOCK => {
                let may = locks::may(run, site, arg.size, args);
                if !may && !breach::without(b::BAILEY_WITHOUT_LEDGER) {
                    return refuse(value);
                }
            }
            kind::RINGBUF_RECORD => {
                let submits = site.helper == id::RINGBUF_SUBMIT;
                match records::take(run, value, submits) {
                    Some(record) => args[n] = record,
                    None if breach::without(b::BAILEY_WITHOUT_RECORDS) => {}
                    None => return refuse(value),
                }
            }
            kind::SOCKET => {
                if !holds(run, Held::Socket, value) {
                    return refuse(value);
                }
            }
            kind::KERNEL_OBJECT => {
                if !is_lent_object(run, value, arg.size) {
                    return refuse(value);
                }
            }
            kind::REFERENCE => {
                let of = KernelType::by_number(arg.size as u8);
                if !of.is_some_and(|of| holds(run, Held::Reference(of), value)) {
                    return refuse(value);
                }
            }
            kind::PER_CPU => {
                if pointers::per_cpu_size(run, value).is_none() {
                    return refuse(value);
                }
            }
            kind::CALLBACK => args[n] = audit_callback(run, &arg, value)?,
            kind::FIELD => {
                let Some(fields) = field(run, value, arg.size) else {
                    return refuse(value);
                };
                // The map behind it must be the one whose value it is in.
                let next = site.args.get(n + 1).filter(|arg| is_map_kind(arg.kind));
                if next.is_some_and(|next| !is_map_of(run, site, fields, args[n + 1], next.size)) {
                    return refuse(args[n + 1]);
                }
            }
            kind::AUX => args[n] = run.program().aux() as u64,
            kind::CONST_STR => {
                if !constant(run, value) {
                    return refuse(value);
                }
            }
            _ => return refuse(value),
        }
    }
    Ok(())
}

/// The address of the image that an argument says by its number; of one that is
/// entered as the helper enters it.
pub(super) fn audit_callback(run: &Run, arg: &b::bailey_arg, value: u64) -> Audited<u64> {
    let image = run.program().images().get(value as usize);
    let fits = |image: &&crate::load::Image| arg.kind == kind::CALLBACK && image.calls == arg.size;
    match image.filter(fits) {
        Some(image) => Ok(image.image),
        None => refuse(value),
    }
}

/// Whether at `addr` begins an object of the kernel's that is on loan, whose type
/// is number `type_id` in its BTF.
fn is_lent_object(run: &mut Run, addr: u64, type_id: u32) -> bool {
    run.used_level().is_some_and(|level| {
        level.loans.all().iter().any(|loan| {
            matches!(loan.kind, Lent::KernelObject | Lent::Reference)
                && loan.start == addr
                && loan.tag == type_id.into()
        })
    })
}

/// The fields of the value in which `addr` is the one of type `field_type`: a
/// value on loan to this run, or one of the domain's arrays that are lent.
pub(super) fn field(run: &mut Run, addr: u64, field_type: u32) -> Option<Fields> {
    let is_it = |start: u64, fields: &Fields| {
        let offset = fields.offset(field_type);
        offset.is_some_and(|offset| start.checked_add(offset) == Some(addr))
    };
    let lent = run.used_level().and_then(|level| {
        let values = level.loans.all().iter().rev();
        let mut values = values.filter(|loan| loan.kind == Lent::MapValue);
        let found = values.find(|loan| is_it(loan.start, &fields_of(loan)))?;
        Some(fields_of(found))
    });
    lent.or_else(|| {
        run.values()?.iter().find_map(|map| {
            let start = map.value_start(addr)?;
            Some(map.fields()).filter(|fields| is_it(start, fields))
        })
    })
}

/// Whether the map at `addr`, or the one that the site is always called with, is
/// the map whose values have `fields`.
fn is_map_of(run: &mut Run, site: &b::bailey_site, fields: Fields, addr: u64, types: u32) -> bool {
    if site.map == 0 && !is_map(run, addr, types) {
        return false;
    }
    let map = if site.map != 0 { site.map } else { addr };
    // SAFETY: a map of this run, so alive.
    fields == unsafe { Fields::of(map as *const b::bpf_map) }
}

/// Whether the run holds `kind` at `addr`.
pub(super) fn holds(run: &mut Run, kind: Held, addr: u64) -> bool {
    run.used_level()
        .is_some_and(|level| level.ledger.holds(kind, addr))
}

/// Whether `addr` is a map that the program uses, or an inner map that a
/// look-up of this run returned, and of one of `types`.
fn is_map(run: &mut Run, addr: u64, types: u32) -> bool {
    let known = run
        .program()
        .maps()
        .iter()
        .any(|map| map.as_ptr() as u64 == addr)
        || run.used_level().is_some_and(|level| {
            let mut loans = level.loans.all().iter();
            loans.any(|loan| loan.kind == Lent::Map && loan.start == addr)
        });
    // SAFETY: a map of this run, so alive.
    known && is_of(types, unsafe { (*(addr as *const b::bpf_map)).map_type })
}

/// The longest string, with its NUL, in bytes.
const STRING: u64 = u16::MAX as u64;

/// Whether a NUL is found before the memory the run may read ends. What is
/// found may be gone when it is looked at again.
pub(super) fn terminated(run: &mut Run, addr: u64) -> bool {
    (0..STRING)
        .map(|n| addr.wrapping_add(n))
        .take_while(|&at| reachable(run, at, 1, false))
        .any(|at| byte(at) == 0)
}

/// Whether a NUL is found before what is constant ends, so that it stays.
fn constant(run: &mut Run, addr: u64) -> bool {
    if !breach::confines() || breach::without(b::BAILEY_WITHOUT_STRING) {
        return terminated(run, addr);
    }
    let len = run.values().map_or(0, |values| values.constant_from(addr));
    (addr..addr.saturating_add(len.min(STRING))).any(|at| byte(at) == 0)
}
