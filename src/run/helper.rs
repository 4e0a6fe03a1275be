// SPDX-License-Identifier: GPL-2.0
//! The slow half of the helper gate: helpers with arguments that point
//! somewhere are audited before the call and their results are turned into
//! what the program may use.
//!
//! The audit is in [`super::audit`], what becomes of results in [`super::results`].

use super::audit::{audit, holds, reachable, refuse, terminated, Audited, Refused};
use super::results::settle;
use super::{copies, function, graph, locks, objects, tail, Run};
use crate::bindings as b;
use crate::breach;
use crate::event::violation;
use crate::load::next_calls::NextSite;
use crate::load::site::{effect, resource};
use crate::pure::catalog::{printk_args, PrintkArg};
use crate::pure::kernel_type::KernelType;
use crate::pure::ledger::Kind as Held;
use crate::pure::violation::Kind;

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
    let (run, regs) = unsafe { (Run::from_raw(run), &mut *regs) };
    // SAFETY: set by the gate from the program's own table, which lives as long as the program.
    let site = unsafe { &*run.raw.site };
    if let Some(next) = NextSite::behind(run.image(), site) {
        return in_a_row(run, site, next, regs);
    }
    match call(run, site, &mut regs.args, &regs.kept) {
        Ok(result) => {
            if site.effects & effect::LAST != 0 {
                run.raw.action = b::BAILEY_END;
            }
            result
        }
        Err(refused) => stop(run, site, &refused),
    }
}

/// Ends the run: the call of `site` is refused.
fn stop(run: &mut Run, site: &b::bailey_site, refused: &Refused) -> u64 {
    violation::record(run, Kind::Argument, site.ret, refused.addr);
    run.raw.action = b::BAILEY_ABORT;
    0
}

/// Makes the call of `site`, then `next`, with what the moves between them leave, and those
/// that are behind that, as far as they come. Returns R0 of the last.
#[inline(never)]
fn in_a_row(run: &mut Run, site: &b::bailey_site, next: &NextSite, regs: &mut Registers) -> u64 {
    let (mut site, mut plain, mut changed) = (site, next.follows_plain, false);
    let mut next = Some(next);
    loop {
        let result = match one_of_row(run, site, plain, regs) {
            Ok(result) => result,
            Err(refused) => return stop(run, site, &refused),
        };
        if site.effects & effect::LAST != 0 {
            run.raw.action = b::BAILEY_END;
        }
        // A call that ends the run, or has it go on elsewhere, is the last one.
        if run.raw.action != b::BAILEY_GO_ON {
            return result;
        }
        let frame = run.raw.dom_rbp;
        let Some(comes) = next.filter(|next| next.call.comes(result, frame, &regs.kept)) else {
            if changed {
                function::return_with(run, &regs.kept);
            }
            return result;
        };
        let moved = &comes.call;
        changed |= moved.moves(result, frame, &mut regs.args, &mut regs.kept);
        if comes.follows_lock {
            // SAFETY: reads the flags.
            run.raw.flags = unsafe { b::bailey_flags() };
        }
        plain = comes.is_plain;
        run.raw.site = comes.site(run.image());
        // SAFETY: a site of the image, whose table lives as long as the program.
        site = unsafe { &*run.raw.site };
        // SAFETY: the program's own counter; preemption is off in a run.
        unsafe { b::bailey_count_once(site.calls) };
        next = NextSite::behind(run.image(), site);
    }
}

/// As the gate itself makes a call that is not audited, or as one that is.
#[inline(always)]
fn one_of_row(
    run: &mut Run,
    site: &b::bailey_site,
    plain: bool,
    regs: &mut Registers,
) -> Audited<u64> {
    if !plain || !run.interrupts() {
        return call(run, site, &mut regs.args, &regs.kept);
    }
    if site.map != 0 {
        regs.args[0] = site.map;
    }
    // SAFETY: the helper's address comes from the kernel's own prototype, which takes numbers
    // alone, behind the site's map if it has one.
    Ok(unsafe { b::bailey_call_helper(site.func, regs.args.as_ptr()) })
}

/// R1 to R9, as the helper gate pushes them.
#[repr(C)]
struct Registers {
    args: [u64; 5],
    kept: Kept,
}

/// R6 to R9: where a program keeps pointers over a call, beside its stack.
pub(super) type Kept = [u64; 4];

#[inline(always)]
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
    let reads_twice = site.effects & effect::READS_TWICE != 0 && copies::are_needed(site, args);
    let result = if reads_twice && !breach::without(b::BAILEY_WITHOUT_HEADERS) {
        copies::call(site, args)?
    } else {
        // SAFETY: as in `call`.
        unsafe { b::bailey_call_helper(site.func, args.as_ptr()) }
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
pub(super) fn kind_of(resource: u8) -> Held {
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
