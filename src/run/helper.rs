// SPDX-License-Identifier: GPL-2.0
//! The slow half of the helper gate: helpers with arguments that point
//! somewhere are audited before the call and their results are turned into
//! what the program may use.
//!
//! Nothing that the verifier concluded is relied on: each argument is checked
//! against what this run was given. The kernel's own tables (the site, the
//! program's maps) say what the argument must be.

use super::level::Level;
use super::{copies, function, graph, locks, objects, pointers, records, tail, Run};
use crate::bindings as b;
use crate::breach;
use crate::domain::fields::Fields;
use crate::domain::mapped::{Mapped, Seen};
use crate::event::frame::byte;
use crate::event::violation;
use crate::kernel_types;
use crate::load::call_maps::is_of;
use crate::load::site::{effect, flag, kind, resource, returns};
use crate::load::MapRef;
use crate::pure::catalog::{id, printk_args, PrintkArg};
use crate::pure::kernel_type::KernelType;
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::{Kind as Lent, Loan, LoanError};
use crate::pure::range;
use crate::pure::region::PAGE;
use crate::pure::violation::Kind;
use core::mem::size_of;

/// An argument that is not what it must be.
pub(super) struct Refused {
    pub(super) addr: u64,
}

pub(super) type Audited<T> = core::result::Result<T, Refused>;

pub(super) fn refuse<T>(addr: u64) -> Audited<T> {
    Err(Refused { addr })
}

/// Longest format that `trace_printk` is given: the BPF stack's size.
const FORMAT: usize = 512;

/// Called by the helper gate for sites that are not scalar. Returns R0.
///
/// # Safety
///
/// `run` is this CPU's innermost run, out of confinement in its helper gate; `regs` is what the
/// gate has pushed on the kernel's stack.
#[no_mangle]
unsafe extern "C" fn bailey_helper(run: *mut b::bailey_run, regs: *mut Registers) -> u64 {
    // SAFETY: promised by the caller.
    let (run, Registers { args, kept }) = unsafe { (Run::from_raw(run), &mut *regs) };
    // SAFETY: set by the gate from the program's own table, which lives as long as the program.
    let site = unsafe { &*run.raw.site };
    match call(run, site, args, kept) {
        Ok(result) => {
            if site.effects & effect::LAST != 0 {
                run.raw.action = b::BAILEY_END;
            }
            result
        }
        Err(refused) => {
            violation::record(run, Kind::Argument, site.ret, refused.addr);
            run.raw.action = b::BAILEY_ABORT;
            0
        }
    }
}

/// R1 to R9, as the helper gate pushes them.
#[repr(C)]
struct Registers {
    args: [u64; 5],
    kept: Kept,
}

/// R6 to R9: where a program keeps pointers over a call, beside its stack.
pub(super) type Kept = [u64; 4];

fn call(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5], kept: &Kept) -> Audited<u64> {
    if let Some(lock) = locks::last(run) {
        if !locks::may_while_held(run, site) {
            return refuse(lock);
        }
    }
    if site.effects & effect::SPECIAL != 0 {
        return special(run, site, args, kept);
    }
    let ctx = args[0];
    audit(run, site, args)?;
    if site.effects & effect::SYNC_BEFORE != 0 {
        run.sync_back();
    }
    if site.effects & effect::ACQUIRES != 0 {
        has_room(run, args)?;
    }
    // SAFETY: the helper's address comes from the kernel's own prototype, and every argument is
    // what that prototype asks for.
    let result = unsafe { b::bailey_call_helper(site.func, args.as_ptr()) };
    settle(run, site, args, ctx, kept, result)
}

/// Calls that most programs do not make, out of the way of those that they do.
#[inline(never)]
fn special(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5], kept: &Kept) -> Audited<u64> {
    if site.effects & effect::GRAPH != 0 {
        return graph::call(run, site, args, kept);
    }
    if site.effects & effect::CALLS_BACK != 0 {
        return function::call(run, site, args, kept);
    }
    if site.effects & effect::THROWS != 0 {
        return function::throw(run, args[0]);
    }
    if site.effects & effect::IN_PACKET != 0 && run.raw.ctx == 0 {
        return refuse(site.func);
    }
    if site.effects & effect::OBJECTS != 0 {
        return objects::call(run, site, args, kept);
    }
    if site.effects & effect::NESTS != 0 {
        return nest(run, site, args);
    }
    if site.effects & effect::NEVER != 0 {
        // Only a forged frame leads here with such a site, whose stub may have no way back.
        return refuse(0);
    }
    let ctx = args[0];
    audit(run, site, args)?;
    if site.effects & effect::PRINTK != 0 {
        return print(run, site, args);
    }
    if site.effects & effect::SYNC_BEFORE != 0 {
        run.sync_back();
    }
    if site.effects & effect::TAIL_CALL != 0 {
        return Ok(tail::call(run, args));
    }
    if site.effects & effect::ACQUIRES != 0 {
        has_room(run, args)?;
    }
    let result = if breach::without(b::BAILEY_WITHOUT_HEADERS) {
        // SAFETY: as in `call`.
        unsafe { b::bailey_call_helper(site.func, args.as_ptr()) }
    } else {
        copies::call(site, args)?
    };
    settle(run, site, args, ctx, kept, result)
}

/// Calls what begins or ends a section that has no address: they nest, and all
/// that counts is how many are open.
#[inline(never)]
fn nest(run: &mut Run, site: &b::bailey_site, args: &[u64; 5]) -> Audited<u64> {
    let kind = kind_of(site.resource);
    let ends = site.effects & effect::RELEASES != 0;
    if ends && !holds(run, kind, 0) {
        // A forged frame can lead to an end that no beginning led to.
        return refuse(0);
    }
    let level = run.level().ok_or(Refused { addr: 0 })?;
    if !ends && !level.ledger.has_room() {
        return refuse(0);
    }
    // SAFETY: as in `call`; it takes no arguments.
    let result = unsafe { b::bailey_call_helper(site.func, args.as_ptr()) };
    let _ = if ends {
        level.ledger.release(kind, 0)
    } else {
        level.ledger.acquire(kind, 0)
    };
    Ok(result)
}

/// What the ledger calls the resource of a site.
fn kind_of(resource: u8) -> Held {
    match resource {
        resource::SPIN_LOCK => Held::SpinLock,
        resource::RINGBUF_RECORD => Held::RingbufRecord,
        resource::RCU_READ => Held::RcuRead,
        resource::PREEMPT_OFF => Held::PreemptOff,
        resource::RES_SPIN_LOCK => Held::ResSpinLock,
        _ => match KernelType::by_number(resource.wrapping_sub(resource::REFERENCE)) {
            Some(of) => Held::Reference(of),
            None => Held::Socket,
        },
    }
}

/// Whether the run can hold one thing more.
pub(super) fn has_room(run: &mut Run, args: &[u64; 5]) -> Audited<()> {
    match run.level() {
        Some(level) if !level.ledger.has_room() => refuse(args[0]),
        _ => Ok(()),
    }
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

/// Replaces what must be replaced and refuses what is not the run's. What most calls have
/// is here: a map that the load knows, memory in the run's own part of its frame, the context;
/// at numbers nobody looks. From the first argument on that is none of these, the rest is audited
/// by [`audit_from`].
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
        if arg.kind == kind::MEM {
            // The length is the next argument: the load takes no other site (src/load/site.rs).
            let len = args.get(n + 1).copied().unwrap_or(0);
            if !range::holds(low, high, value, len) && !seen_before(site, value, len) {
                audit_memory(run, site, arg, value, len)?;
            }
            continue;
        }
        if arg.kind <= kind::LAST_SIZED {
            let len = arg.size.into();
            if range::holds(low, high, value, len) || seen_before(site, value, len) {
                continue;
            }
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
                let of = kernel_types::by_id(arg.size);
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

/// Whether a NUL is found before the memory the run may read ends. What is
/// found may be gone when it is looked at again.
fn terminated(run: &mut Run, addr: u64) -> bool {
    ends(addr, |at| reachable(run, at, 1, false))
}

/// Whether a NUL is found before what is constant ends, so that it stays.
fn constant(run: &mut Run, addr: u64) -> bool {
    if !breach::confines() || breach::without(b::BAILEY_WITHOUT_STRING) {
        return terminated(run, addr);
    }
    let values = run.values();
    ends(addr, |at| values.is_some_and(|v| v.is_constant(at)))
}

/// Whether a NUL is found while `may` grants the bytes, one after another.
fn ends(addr: u64, mut may: impl FnMut(u64) -> bool) -> bool {
    (0..u64::from(u16::MAX))
        .map(|n| addr.wrapping_add(n))
        .take_while(|&at| may(at))
        .any(|at| byte(at) == 0)
}

/// `trace_printk`: the format decides what arguments 3 to 5 are, so it is
/// copied before it is read (another CPU may write the original), and the copy
/// is what the helper gets. Out of line for the sake of the copy.
#[inline(never)]
fn print(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5]) -> Audited<u64> {
    let mut copy = [0u8; FORMAT];
    let len = args[1] as usize;
    let Some(bytes) = copy.get_mut(..len) else {
        return refuse(args[1]);
    };
    for (n, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: the audit found these bytes reachable.
        *byte = unsafe { ((args[0] + n as u64) as *const u8).read_volatile() };
    }
    // What the parser does not take the helper does not either: -EINVAL.
    if let Some(format) = printk_args(bytes) {
        for (n, what) in (2..).zip(format.args) {
            let Some(&value) = args.get(n) else { break };
            let fine = match what {
                PrintkArg::Unused | PrintkArg::Number => true,
                PrintkArg::UserString => false,
                PrintkArg::String => terminated(run, value),
                PrintkArg::Bytes(len) => reachable(run, value, len.into(), false),
            };
            if !fine {
                return refuse(value);
            }
        }
    }
    if !breach::without(b::BAILEY_WITHOUT_FORMAT) {
        args[0] = copy.as_ptr() as u64;
    }
    // SAFETY: as in `call`; the copy lives until the helper returns.
    Ok(unsafe { b::bailey_call_helper(site.func, args.as_ptr()) })
}

/// What the helper's result means for the run, and what of it the program gets.
#[inline(always)]
fn settle(
    run: &mut Run,
    site: &b::bailey_site,
    args: &[u64; 5],
    ctx: u64,
    kept: &Kept,
    result: u64,
) -> Audited<u64> {
    if site.effects & effect::SYNC_AFTER != 0 && !run.sync_in() {
        return refuse(ctx);
    }
    if site.effects & effect::RELEASES != 0 {
        let (kind, at) = (kind_of(site.resource), args[0]);
        if let Some(level) = run.level() {
            let released = level.ledger.release(kind, at);
            if released.is_err() && breach::without(b::BAILEY_WITHOUT_LEDGER) {
                level.ledger.pop();
            }
            match kind {
                Held::RingbufRecord => records::end(run, at),
                Held::Socket if !level.ledger.holds(kind, at) => {
                    level.loans.remove(Lent::Socket, at);
                }
                Held::SpinLock | Held::ResSpinLock => graph::end_borrowed(level),
                Held::Reference(_) if !level.ledger.holds(kind, at) => {
                    level.loans.remove(Lent::Reference, at);
                }
                _ => {}
            }
        }
    }
    if site.effects & effect::ACQUIRES != 0 {
        let kind = kind_of(site.resource);
        let at = match kind {
            Held::SpinLock => args[0],
            Held::ResSpinLock => locks::taken(args[0], result),
            _ => result,
        };
        if at != 0 {
            if let Some(level) = run.level() {
                let _ = level.ledger.acquire(kind, at);
            }
        }
    }
    if result == 0 {
        return Ok(0);
    }
    let loan = |start, len, write, kind| Loan {
        start,
        len,
        write,
        kind,
        tag: 0,
    };
    match site.returns {
        returns::MAP_VALUE if site.map != 0 => {
            if let Some(at) = mapped_value(site, result) {
                return Ok(at);
            }
            if site.values_len != 0 {
                return give_value(run, kept, site.map as *mut b::bpf_map, result);
            }
            let write = site.effects & effect::READ_ONLY == 0;
            let mut value = loan(result, site.size, write, Lent::MapValue);
            // SAFETY: a map that the program holds.
            value.tag = unsafe { Fields::of(site.map as *const b::bpf_map) }.tag();
            lend(run, kept, value)?;
        }
        returns::INNER_MAP if site.map != 0 => lend(run, kept, loan(result, 1, false, Lent::Map))?,
        returns::MAP_VALUE | returns::INNER_MAP => {
            let map = args[0] as *mut b::bpf_map;
            // SAFETY: the audit found `map` to be one of this run's.
            let kind = unsafe { (*map).map_type };
            if matches!(
                kind,
                b::bpf_map_type_BPF_MAP_TYPE_SOCKMAP | b::bpf_map_type_BPF_MAP_TYPE_SOCKHASH
            ) {
                // Taken, though the site could not know: the reference is the run's.
                let level = run.level().ok_or(Refused { addr: result })?;
                let _ = level.ledger.acquire(Held::Socket, result);
                let len = size_of::<b::sock>() as u32;
                lend(run, kept, loan(result, len, false, Lent::Socket))?;
                return Ok(result);
            }
            // SAFETY: the audit found `map` to be one of this run's.
            if unsafe { (*map).inner_map_meta.is_null() } {
                return give_value(run, kept, map, result);
            }
            lend(run, kept, loan(result, 1, false, Lent::Map))?;
        }
        returns::RINGBUF_RECORD => {
            let len = u32::try_from(args[1]).map_err(|_| Refused { addr: args[1] })?;
            if len != 0 {
                return records::give(run, kept, result, len);
            }
        }
        returns::SOCKET => {
            let len = size_of::<b::sock>() as u32;
            lend(run, kept, loan(result, len, false, Lent::Socket))?;
        }
        returns::SOCK_COMMON => {
            let len = size_of::<b::sock_common>() as u32;
            lend(run, kept, loan(result, len, false, Lent::Socket))?;
        }
        returns::PER_CPU_MEMORY => {
            let size = pointers::per_cpu_size(run, args[0]).ok_or(Refused { addr: args[0] })?;
            pointers::lend_memory(run, kept, result, size)?;
        }
        // The loan of the socket itself grows.
        returns::SOCKET_AS if result == args[0] => {
            lend(run, kept, loan(result, site.size, false, Lent::Socket))?;
        }
        // It would be another object, of which nobody says how long it is there.
        returns::SOCKET_AS => return refuse(result),
        returns::KERNEL_OBJECT | returns::REFERENCE => {
            let kind = if site.returns == returns::REFERENCE {
                Lent::Reference
            } else {
                Lent::KernelObject
            };
            let mut object = loan(result, site.size, false, kind);
            object.tag = site.values_len;
            lend(run, kept, object)?;
        }
        _ => {}
    }
    Ok(result)
}

/// The domain's address of the value at the kernel's address `value` of the
/// site's map, by what the load has found out of it once and for all. Of a
/// per-CPU map in one piece only this CPU's values are found.
#[inline(always)]
fn mapped_value(site: &b::bailey_site, value: u64) -> Option<u64> {
    let (mut start, mut domain) = (site.values_kernel, site.values_domain);
    if u32::from(site.values_pages) == b::BAILEY_SITE_PIECES {
        // SAFETY: the site's entry in its domain, which lives as long as the program.
        return unsafe { &*(start as *const Mapped) }.domain_address(value);
    }
    if site.values_pages != 0 {
        // SAFETY: no preconditions; a run stays on its CPU.
        unsafe {
            let cpu = b::bailey_cpu_number();
            start = b::bailey_per_cpu_address(start, cpu);
            domain += u64::from(cpu) * u64::from(site.values_pages) * PAGE;
        }
    }
    let at = value.wrapping_sub(start);
    (at < site.values_len).then(|| domain + at)
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

/// Gives back what a run still holds, last acquired first, through the
/// kernel's own release functions. Locks are first: giving an object back can take
/// another.
pub(super) fn give_back(level: &mut Level) {
    locks::give_back(level);
    while let Some(held) = level.ledger.pop() {
        // SAFETY: the ledger holds what helpers of this run acquired and no helper released.
        unsafe {
            match held.kind {
                // None is left.
                Held::SpinLock | Held::ResSpinLock | Held::LockFlags => 0,
                Held::RingbufRecord => b::bailey_k_bpf_ringbuf_discard(held.addr, 0, 0, 0, 0),
                Held::Socket => b::bailey_k_bpf_sk_release(held.addr, 0, 0, 0, 0),
                Held::RcuRead => b::bailey_rcu_read_unlock(),
                Held::PreemptOff => b::bailey_preempt_enable(),
                Held::IrqFlags | Held::BitsIterator => objects::give_back(level, &held),
                Held::Object | Held::Placing => graph::give_back(level, held.addr),
                Held::Reference(of) => pointers::give_back(of, held.addr),
                Held::PerCpuObject => pointers::free(held.addr),
            };
        }
    }
    level.loans.clear();
    level.objects.clear();
}
