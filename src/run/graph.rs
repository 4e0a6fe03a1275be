// SPDX-License-Identifier: GPL-2.0
//! Calls on objects that the program allocates, and on the lists, trees and
//! pointers in which it keeps them; what a pointer can lead to beside them is in
//! [`super::pointers`].
//!
//! An object is kernel memory and stays that: the program has a loan of it, with
//! holes where the kernel's fields are. A loan is *owned* while the ledger holds
//! a reference; when that is handed over (to a list, a tree, a pointer) or given
//! up, the loan ends. What is in a list or tree, and what was read out of a
//! pointer, is *borrowed*: until the lock is released, or until the run ends. The
//! kernel frees an object no sooner than an RCU grace period after its last
//! reference, and preemption is off for the whole of a run: so memory that is on
//! loan is there.
//!
//! Of each argument everything is asked anew: that an object is on loan to this
//! run, of the type that the list, tree, pointer or call is for, and owned where
//! it is handed over; that a list or tree is a field in a value or object on
//! loan, and that the run holds the lock that stands before it.
//!
//! While the kernel searches a tree it asks the program which of two nodes comes
//! first. That function runs confined, inside of the call, and can change neither
//! trees nor locks. If it goes astray it is not asked again; the kernel finds a
//! place for the node as if the answer were always the same, and then the node is
//! taken out again and given back.

use super::audit::{audit_callback, holds, refuse, Audited, Refused};
use super::helper::Kept;
use super::lending::{fields_of, lend, make_room};
use super::level::Level;
use super::{function, pointers, Run};
use crate::bindings as b;
use crate::domain::fields::{Fields, Pointee, Target, Type};
use crate::load::site::{effect, kind, returns};
use crate::pure::graph::{may_while_searching, Part};
use crate::pure::ledger::Kind as Held;
use crate::pure::loan::{Kind as Lent, Loan, CAPACITY};

/// The part that an argument of a site is.
fn part(site: &b::bailey_site, n: usize) -> Option<Part> {
    let arg = site.args.get(n).filter(|arg| arg.kind == kind::GRAPH)?;
    Part::by_number(arg.size)
}

/// What the load knows of the objects that a site is about.
fn of_site(site: &b::bailey_site) -> Type {
    Type {
        size: site.size,
        // SAFETY: a record of the program's BTF, which lives as long as the program.
        fields: unsafe { Fields::of_tag(site.values_domain) },
    }
}

/// Whether the call may be made now, though the run holds a lock.
pub(super) fn may_while_locked(run: &Run, site: &b::bailey_site) -> bool {
    let Some(first) = part(site, 0) else {
        return false;
    };
    first.may_while_locked() && (!searches(run) || may_while_searching(first, part(site, 1)))
}

/// Whether the kernel is searching a tree for the sake of the run, or of one that
/// it is inside of.
pub(super) fn searches(run: &Run) -> bool {
    let mut at = &run.raw;
    while at.work & b::BAILEY_WORK_SHARED != 0 && !at.prev.is_null() {
        // SAFETY: nested runs end before the one below.
        at = unsafe { &*at.prev };
        // SAFETY: it has left through a site of its image, which lives as long as it.
        if unsafe { at.site.as_ref() }.is_some_and(|site| site.effects & effect::GRAPH != 0) {
            return true;
        }
    }
    false
}

/// What a call is about, as far as its arguments have been looked at.
#[derive(Default)]
struct About {
    /// What the result is: the objects of a list, tree, pointer, or of the site.
    target: Option<Target>,
    /// The same of a pointer that leads elsewhere than to allocated objects.
    pointee: Option<Pointee>,
    /// The object that is handed over.
    given: Option<u64>,
    /// The same of what such pointers lead to.
    reference: Option<(Held, u64)>,
    /// Whether that is given up for good.
    dropped: bool,
    /// Whether that becomes a part of a list or tree.
    linked: bool,
}

/// Makes a call on allocated objects. Returns R0.
#[inline(never)]
pub(super) fn call(
    run: &mut Run,
    site: &b::bailey_site,
    args: &mut [u64; 5],
    kept: &Kept,
) -> Audited<u64> {
    let first = args[0];
    // The run has a level from here on.
    let Some(level) = run.level() else {
        return refuse(first);
    };
    // While an object is owned its loan lasts, so both must have room.
    if matches!(site.returns, returns::OWNED | returns::PER_CPU) && !level.ledger.has_room() {
        return refuse(first);
    }
    // What the arguments are of must not be what goes.
    let mut words = [0; 9];
    for (word, from) in words.iter_mut().zip(args.iter().chain(kept)) {
        *word = *from;
    }
    let gives = matches!(
        site.returns,
        returns::OWNED | returns::BORROWED | returns::PER_CPU
    );
    if gives && level.loans.all().len() == CAPACITY && !make_room(run, &words) {
        return refuse(first);
    }
    let calls_back = site.effects & effect::CALLS_BACK != 0;
    if calls_back && !function::has_room() {
        return function::no_room(run);
    }
    let about = audit(run, site, args)?;
    if let Some(object) = about.given {
        begin_handing_over(run, object)?;
    }
    let raw = run.expose();
    // SAFETY: the function's address is the kernel's own; each argument is what it takes, as the
    // audit has found.
    let result = unsafe { b::bailey_call_helper(site.func, args.as_ptr()) };
    if calls_back {
        // SAFETY: this run's record. Nested runs have written it through its address: so it is
        // read.
        let (action, work) = unsafe {
            (
                (&raw const (*raw).action).read_volatile(),
                (&raw const (*raw).work).read_volatile(),
            )
        };
        run.raw.work = work;
        if action != b::BAILEY_GO_ON {
            run.raw.action = b::BAILEY_ABORT;
            take_back(run, &about, args, result);
            return Ok(0);
        }
    }
    if let Some(object) = about.given {
        end_handing_over(run, object, about.linked);
    }
    if let Some((held, object)) = about.reference {
        pointers::hand_over(run, held, object, about.dropped);
    }
    if result == 0 {
        return Ok(0);
    }
    if let Some(pointee) = about.pointee {
        return pointers::receive(run, kept, pointee, result).map(|()| result);
    }
    let kind = match site.returns {
        returns::OWNED => Lent::Owned,
        returns::BORROWED => Lent::Borrowed,
        _ => return Ok(result),
    };
    let target = about.target.ok_or(Refused { addr: result })?;
    let start = result.wrapping_sub(target.node);
    if kind == Lent::Owned {
        // There is room: looked at before the call.
        let level = run.level().ok_or(Refused { addr: start })?;
        let _ = level.ledger.acquire(Held::Object, start);
    }
    lend(run, kept, loan(start, target.of, kind))?;
    Ok(result)
}

pub(super) fn loan(start: u64, of: Type, kind: Lent) -> Loan {
    Loan {
        start,
        len: of.size,
        write: true,
        kind,
        tag: of.fields.tag(),
    }
}

/// Looks at every argument, and replaces those that are the verifier's.
fn audit(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5]) -> Audited<About> {
    let mut about = About::default();
    for (n, arg) in args.iter_mut().enumerate() {
        let value = *arg;
        if site.args[n].kind == kind::UNUSED {
            break;
        }
        let Some(part) = part(site, n) else {
            *arg = audit_callback(run, &site.args[n], value)?;
            continue;
        };
        let target = about.target;
        match part {
            Part::Size => {
                about.target = Some(Target {
                    of: of_site(site),
                    node: 0,
                });
                *arg = site.size.into();
            }
            Part::Meta => *arg = site.values_kernel,
            Part::Offset => *arg = site.values_len,
            Part::List => {
                let field_type = b::btf_field_type_BPF_LIST_HEAD;
                about.target = Some(collection(run, value, field_type)?);
            }
            Part::Tree => {
                let field_type = b::btf_field_type_BPF_RB_ROOT;
                about.target = Some(collection(run, value, field_type)?);
            }
            Part::NewNode => {
                let target = target.ok_or(Refused { addr: value })?;
                // The kernel goes by what the verifier found: it must be the list's.
                if target.of.fields != of_site(site).fields || target.node != site.values_len {
                    return refuse(value);
                }
                let object = node(run, value, target)?;
                give(run, object, target.of)?;
                about.given = Some(object);
                about.linked = true;
            }
            Part::Node => {
                node(run, value, target.ok_or(Refused { addr: value })?)?;
            }
            Part::Owned => {
                let of = type_of(run, value)?;
                if of.fields != of_site(site).fields {
                    return refuse(value);
                }
                give(run, value, of)?;
                about.given = Some(value);
            }
            Part::Object => {
                let of = type_of(run, value)?;
                if of.fields != of_site(site).fields || !of.fields.is_counted() {
                    return refuse(value);
                }
                about.target = Some(Target { of, node: 0 });
            }
            Part::Pointer => match pointers::pointer(run, value)? {
                Pointee::Allocated(of) => about.target = Some(Target { of, node: 0 }),
                pointee => about.pointee = Some(pointee),
            },
            Part::PerCpuSize => {
                about.pointee = Some(Pointee::PerCpu(site.size));
                *arg = site.size.into();
            }
            Part::PerCpu => {
                if !holds(run, Held::PerCpuObject, value) {
                    return refuse(value);
                }
                about.reference = Some((Held::PerCpuObject, value));
                about.dropped = true;
            }
            Part::OwnedOrNull => {
                if let Some(pointee) = about.pointee.filter(|_| value != 0) {
                    about.reference = Some((pointers::owned(run, pointee, value)?, value));
                } else if value != 0 {
                    let target = target.ok_or(Refused { addr: value })?;
                    if type_of(run, value)? != target.of {
                        return refuse(value);
                    }
                    give(run, value, target.of)?;
                    about.given = Some(value);
                }
            }
        }
    }
    Ok(about)
}

/// The type of the object at `start`, which is on loan.
fn type_of(run: &mut Run, start: u64) -> Audited<Type> {
    let level = run.used_level().ok_or(Refused { addr: start })?;
    let loan = level.loans.object(start).ok_or(Refused { addr: start })?;
    Ok(Type {
        size: loan.len,
        fields: fields_of(loan),
    })
}

/// The object whose node, as `target` has it, is at `addr`; it is on loan.
fn node(run: &mut Run, addr: u64, target: Target) -> Audited<u64> {
    let start = addr.checked_sub(target.node).ok_or(Refused { addr })?;
    if type_of(run, start)? != target.of {
        return refuse(addr);
    }
    Ok(start)
}

/// Whether the object at `start` may be handed over: the run owns it, and no
/// lock that it holds is in it.
fn give(run: &mut Run, start: u64, of: Type) -> Audited<()> {
    let level = run.used_level().ok_or(Refused { addr: start })?;
    let mut locks = level.ledger.locks();
    let inside = locks.any(|lock| lock.wrapping_sub(start) < of.size.into());
    if inside || !level.ledger.holds(Held::Object, start) {
        return refuse(start);
    }
    Ok(())
}

/// A value or object on loan to the run.
pub(super) struct Whole {
    pub(super) start: u64,
    pub(super) fields: Fields,
    /// Of an object: whether the run owns it.
    pub(super) kind: Lent,
}

/// Finds the value or object on loan of which `find` wants what it returns.
pub(super) fn find<T>(run: &mut Run, addr: u64, find: impl Fn(&Whole) -> Option<T>) -> Option<T> {
    if let Some(level) = run.used_level() {
        let loans = level.loans.all().iter().rev();
        let mut loans = loans.filter(|loan| loan.covers(addr, 1));
        let found = loans.find_map(|loan| {
            let of = matches!(loan.kind, Lent::MapValue | Lent::Owned | Lent::Borrowed);
            let whole = of.then(|| Whole {
                start: loan.start,
                fields: fields_of(loan),
                kind: loan.kind,
            });
            find(&whole?)
        });
        if found.is_some() {
            return found;
        }
    }
    run.values()?.iter().find_map(|map| {
        find(&Whole {
            start: map.value_start(addr)?,
            fields: map.fields(),
            kind: Lent::MapValue,
        })
    })
}

/// What the list or tree at `addr` is for: a field of type `field_type` of a value
/// or of an object that the run owns. The run holds the lock before it.
fn collection(run: &mut Run, addr: u64, field_type: u32) -> Audited<Target> {
    let found = find(run, addr, |whole| {
        let target = whole.fields.target(addr - whole.start, field_type)?;
        let lock = whole.start.checked_add(whole.fields.lock()?)?;
        (whole.kind != Lent::Borrowed).then_some((target, lock, whole.start, whole.kind))
    });
    let (target, lock, start, kind) = found.ok_or(Refused { addr })?;
    let level = run.used_level().ok_or(Refused { addr })?;
    let owned = kind != Lent::Owned || level.ledger.holds(Held::Object, start);
    if !owned || !level.ledger.locks().any(|held| held == lock) {
        return refuse(addr);
    }
    Ok(target)
}

/// Whether `addr` is that of the lock, a field of type `field_type`, in an object
/// that the run owns.
pub(super) fn is_lock(run: &mut Run, addr: u64, field_type: u32) -> bool {
    let found = run.used_level().and_then(|level| {
        let mut loans = level.loans.all().iter();
        loans.find(|loan| {
            loan.kind == Lent::Owned
                && fields_of(loan)
                    .offset(field_type)
                    .is_some_and(|lock| loan.start.checked_add(lock) == Some(addr))
        })
    });
    found.is_some()
}

/// From here on the object is not the program's to hand over once more.
fn begin_handing_over(run: &mut Run, object: u64) -> Audited<()> {
    let level = run.level().ok_or(Refused { addr: object })?;
    level
        .ledger
        .release(Held::Object, object)
        .map_err(|_| Refused { addr: object })?;
    // In the place that has just become free.
    let _ = level.ledger.acquire(Held::Placing, object);
    Ok(())
}

/// The object is handed over, or was given up by the kernel, which found it in
/// another list. What is linked can be used until the lock is released, as the
/// verifier has it.
fn end_handing_over(run: &mut Run, object: u64, linked: bool) {
    let Some(level) = run.level() else {
        return;
    };
    let _ = level.ledger.release(Held::Placing, object);
    if level.ledger.holds(Held::Object, object) {
        // By another reference.
        return;
    }
    let mut lent = level.loans.all().iter();
    let lent = lent
        .find(|loan| loan.kind == Lent::Owned && loan.start == object)
        .copied();
    level.loans.remove(Lent::Owned, object);
    if let Some(lent) = lent.filter(|_| linked) {
        // In the place that has just become free.
        let _ = level.loans.insert(Loan {
            kind: Lent::Borrowed,
            ..lent
        });
    }
}

/// The function that was to say the order was stopped: so the node is in the
/// wrong place. It is taken out, and the run ends with a reference to it; or the
/// kernel has not taken it at all.
fn take_back(run: &mut Run, about: &About, args: &[u64; 5], result: u64) {
    let (Some(object), Some(level)) = (about.given, run.level()) else {
        return;
    };
    if result as i32 == 0 {
        // SAFETY: tree and node as the audit has found them; the lock is still held.
        let node = unsafe {
            b::bailey_k_bpf_rbtree_remove(
                args[0] as *mut b::bpf_rb_root,
                args[1] as *mut b::bpf_rb_node,
            )
        };
        if !node.is_null() {
            return;
        }
    }
    let _ = level.ledger.release(Held::Placing, object);
}

/// The lock is released: what was borrowed for its sake is no longer. Objects that
/// cannot be in a list or tree were read out of a pointer, and stay.
pub(super) fn end_borrowed(level: &mut Level) {
    level.loans.end_borrowed(|tag| {
        // SAFETY: the tags of loans are those of records that outlive the run.
        unsafe { Fields::of_tag(tag) }.has_nodes()
    });
}

/// Lends the two nodes that the kernel asks the program to compare; false if there
/// is no room.
pub(super) fn lend_nodes(run: &mut Run, site: &b::bailey_site, nodes: &[u64; 5]) -> bool {
    for &at in nodes.iter().take(2) {
        let start = at.wrapping_sub(site.values_len);
        let Some(level) = run.used_level() else {
            return false;
        };
        if level.loans.object(start).is_some() {
            continue;
        }
        // What is in the tree is of the type of what is added.
        let added = nodes[0].wrapping_sub(site.values_len);
        let Ok(of) = type_of(run, added) else {
            return false;
        };
        // None of R6 to R9 is the function's yet.
        if lend(run, &[0; 4], loan(start, of, Lent::Borrowed)).is_err() {
            return false;
        }
        run.raw.shadow.element = start;
    }
    true
}

/// Ends the loan of the node that a comparison was given for its own sake; whether
/// `start` is one.
pub(super) fn end_node(level: &mut Level, start: u64) -> bool {
    level.loans.remove(Lent::Borrowed, start)
}

/// Gives up a reference that the run holds; it holds no lock.
pub(super) fn give_back(level: &Level, start: u64) -> u64 {
    let mut loans = level.loans.all().iter();
    let lent = loans.find(|loan| loan.kind == Lent::Owned && loan.start == start);
    if let Some(lent) = lent {
        let record = fields_of(lent).record();
        // SAFETY: a reference that the ledger held; preemption is off, so the run does not
        // migrate.
        unsafe { b::bailey_k___bpf_obj_drop_impl(start as *mut core::ffi::c_void, record, false) };
    }
    0
}
