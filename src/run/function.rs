// SPDX-License-Identifier: GPL-2.0
//! Functions of a program that are entered by themselves: a helper calls them
//! back, or the program calls them through the helper gate.
//!
//! A call by the program stays in its run: the caller is written down
//! ([`callers`]), the function's exit takes it from there. It does not if
//! something has attached to the function: then the kernel calls the function's
//! image, or what has taken its place, as it would any other.
//!
//! What the kernel calls is a run of its own, nested in one of the same program,
//! and shares with it the context, the packet, loans and ledger. It is entered
//! by `bailey_enter_function` in helpers/gate.S, and what it is given is what
//! the kernel gives: pointers to its own memory are replaced by what the program
//! may have, as the site says through which the run below has left.

use super::audit::{audit, refuse, Audited};
use super::helper::Kept;
use super::lending::{give_value, lend};
use super::shadow::LINE;
use super::{callers, graph, later, objects, this_cpu, Run};
use crate::bindings as b;
use crate::load::site::effect;
use crate::load::Image;
use crate::pure::catalog::id;
use crate::pure::loan::{Kind as Lent, Loan};
use core::mem::size_of;

/// Runs that may be inside each other, since each takes a resume slot. The
/// verifier's own limit for callbacks in callbacks is 8 (`MAX_CALL_FRAMES`), for
/// a run and for one in an interrupt.
pub(super) const NESTED: u64 = 20;
const _: () = assert!(NESTED + 8 < b::SLOT_LEVELS as u64);

/// Bytes of the kernel's stack that must be left for one more run inside of this:
/// for what it takes itself, for what a helper of it does, and for an event's
/// handler.
const STACK: u64 = 5 << 10;

/// Whether one more run can be inside of the one that is under way.
pub(super) fn has_room() -> bool {
    let cpu = this_cpu();
    // SAFETY: looks at the stack pointer and at words of this CPU's.
    let left = unsafe { b::bailey_stack_left() };
    (cpu.slot - cpu.slot_base) >> b::SLOT_SHIFT < NESTED && left >= STACK
}

/// What a callback returns that ends a helper's loop.
const STOP: u64 = 1;

/// Whether the run is one of a function.
pub(super) fn is_nested(run: &Run) -> bool {
    run.raw.work & (b::BAILEY_WORK_CALLBACK | b::BAILEY_WORK_FUNCTION) != 0
}

/// Calls what runs functions of the program meanwhile: a helper, or one of the
/// functions themselves.
pub(super) fn call(
    run: &mut Run,
    site: &b::bailey_site,
    args: &mut [u64; 5],
    kept: &Kept,
) -> Audited<u64> {
    if site.helper == b::BAILEY_SITE_FUNCTION {
        if !is_attached(site.func) {
            match run.program().images().get(site.size as usize) {
                // One with a may_goto has a count of its own: a run.
                Some(image) if image.loops != 0 => {}
                image => return enter(run, site, image, args, kept),
            }
        }
    }
    if !has_room() {
        return no_room(run);
    }
    audit(run, site, args)?;
    let ctx = args[0];
    // What a nested run is lent goes here.
    if run.level().is_none() {
        return refuse(ctx);
    }
    if site.effects & effect::SYNC_BEFORE != 0 {
        run.sync_back();
    }
    run.raw.work &= !b::BAILEY_WORK_CALLED;
    let raw = run.expose();
    // SAFETY: a helper's address comes from the kernel's own prototype, a function's is that of
    // its image; every argument is what they ask for.
    let result = unsafe { b::bailey_call_helper(site.func, args.as_ptr()) };
    // SAFETY: this run's record. Nested runs have written it through its address: so it is read.
    let (action, work) = unsafe {
        (
            (&raw const (*raw).action).read_volatile(),
            (&raw const (*raw).work).read_volatile(),
        )
    };
    run.raw.work = work;
    if action == b::BAILEY_ABORT {
        // A nested run was stopped, and this one with it: the gate sees to that.
        run.raw.action = action;
        return Ok(0);
    }
    if action == b::BAILEY_THROWN {
        run.raw.action = b::BAILEY_GO_ON;
        // SAFETY: as above.
        let cookie = unsafe { (&raw const (*raw).thrown).read_volatile() };
        return throw(run, cookie);
    }
    // A replacement may have changed the packet; the function itself has worked on the copy.
    if site.effects & effect::SYNC_AFTER != 0 && work & b::BAILEY_WORK_CALLED == 0 && !run.sync_in()
    {
        return refuse(ctx);
    }
    Ok(result)
}

/// Where trampolines and replacements are attached to an image: behind its
/// `endbr64` (`bpf_arch_text_poke()`, arch/x86/net/bpf_jit_comp.c).
const ATTACHED_AT: u64 = 4;
/// First byte of the five-byte nop that is there as long as nothing is.
const NOP: u8 = 0x0f;

/// Whether something has attached to the image at `image`.
fn is_attached(image: u64) -> bool {
    // SAFETY: text of a program that runs. Another CPU may patch it: one byte is read.
    unsafe { ((image + ATTACHED_AT) as *const u8).read_volatile() != NOP }
}

/// Goes on in a function, in this run. What it is passed is the program's own
/// and stays as it is.
fn enter(
    run: &mut Run,
    site: &b::bailey_site,
    image: Option<&'static Image>,
    args: &[u64; 5],
    kept: &Kept,
) -> Audited<u64> {
    let image = match image {
        Some(image) if image.calls == b::BAILEY_CALL_FUNCTION => image,
        _ => return refuse(site.func),
    };
    if !callers::push(run, kept) {
        return no_room(run);
    }
    run.raw.work |= b::BAILEY_WORK_INNER;
    run.raw.prog = image.as_raw();
    run.raw.site = image.sites;
    let low = run.frame().cursor;
    if run.carve_below(low & !(LINE - 1)).is_none() {
        // The end of the run takes the caller back.
        return no_room(run);
    }
    let slot = this_cpu().slot;
    // r11 rax rcx rdx rip cs rflags rsp ss
    let iret = [
        0,
        0,
        args[3],
        args[2],
        image.enter_return,
        u64::from(b::BAILEY_KERNEL_CS),
        FIXED | (run.raw.flags & super::IF),
        run.raw.dom_rsp,
        u64::from(b::BAILEY_KERNEL_DS),
    ];
    fill(slot + u64::from(b::SLOT_IRET), &iret);
    // For the way in from its first scalar helper.
    fill(slot + u64::from(b::SLOT_RSP), &[run.raw.dom_rsp]);
    fill(slot + u64::from(b::SLOT_REGS), &[args[0], args[1], args[4]]);
    run.raw.action = b::BAILEY_CALL;
    Ok(0)
}

/// Ends a run that is too deep to go on: no violation.
pub(super) fn no_room(run: &mut Run) -> Audited<u64> {
    this_cpu().no_frame += 1;
    run.raw.action = b::BAILEY_ABORT;
    Ok(0)
}

/// RFLAGS, bit 1.
const FIXED: u64 = 2;

/// Writes words of this run's own resume slot.
fn fill(at: u64, words: &[u64]) {
    for (at, &word) in (at..).step_by(8).zip(words) {
        // SAFETY: in the slot of this run, which runs inside of it do not use.
        unsafe { (at as *mut u64).write(word) };
    }
}

/// The exit of a function that was called in this run: back to its caller.
/// False if that cannot go on.
pub(super) fn leave(run: &mut Run) -> bool {
    let inner = run.raw.work & b::BAILEY_WORK_INNER != 0;
    if !inner {
        // The function has left for another program, which ends here.
        run.sync_back();
    }
    let Some(kept) = back(run) else {
        return false;
    };
    if !inner && !run.sync_in() {
        return false;
    }
    return_with(run, &kept);
    true
}

/// Has the run go on behind its call with these in R6 to R9.
pub(super) fn return_with(run: &mut Run, kept: &Kept) {
    fill(this_cpu().slot + u64::from(b::SLOT_REGS), kept);
    run.raw.action = b::BAILEY_RETURN;
}

/// An exception in an image that is not the program's own: all functions end,
/// up to the program itself, which goes on at its callback. Returns R0.
pub(super) fn throw(run: &mut Run, cookie: u64) -> Audited<u64> {
    while run.raw.work & b::BAILEY_WORK_INNER != 0 && back(run).is_some() {}
    if run.raw.work & b::BAILEY_WORK_SHARED != 0 {
        // SAFETY: the run below is out of confinement and waits for this one.
        let below = unsafe { &mut *run.raw.prev };
        below.thrown = cookie;
        below.action = b::BAILEY_THROWN;
        run.raw.action = b::BAILEY_END;
        return Ok(STOP);
    }
    let landing = run.image().landing;
    if landing.is_null() {
        return refuse(cookie);
    }
    run.raw.site = landing;
    Ok(cookie)
}

/// Ends every function that was called in this run: it is stopped.
pub(super) fn unwind(run: &mut Run) {
    while callers::under_way(&run.raw) > 0 && back(run).is_some() {}
}

/// Back to the caller. Returns its R6 to R9.
fn back(run: &mut Run) -> Option<Kept> {
    let inner = run.raw.work & b::BAILEY_WORK_INNER != 0;
    if !inner {
        run.end_level();
        // SAFETY: this CPU's frame; only its own runs move the cursor.
        unsafe { (*run.raw.frame).cursor = run.raw.cursor };
    }
    let lent = run.raw.work & b::BAILEY_WORK_LEVEL;
    let level = run.raw.shadow.level;
    let kept = callers::pop(run)?;
    if inner && lent != 0 {
        // What the function was lent is its caller's.
        run.raw.work |= lent;
        run.raw.shadow.level = level;
    }
    Some(kept)
}

/// Called behind `bailey_enter_function`: fills the record of a function's run and
/// replaces those of its arguments that are not the program's. Returns 0, or 1
/// if the run is turned away.
///
/// # Safety
///
/// `run` is the new record on this CPU's kernel stack, of which `prog`, `flags` and the saved
/// registers are set; `args` are R1 to R5.
#[no_mangle]
unsafe extern "C" fn bailey_function(run: *mut b::bailey_run, args: *mut u64) -> u32 {
    let below = this_cpu().run;
    // SAFETY: promised by the caller; the run below, if there is one, is out of confinement.
    let (run, args, below) = unsafe {
        (
            Run::from_raw(run),
            &mut *args.cast::<[u64; 5]>(),
            below.as_mut(),
        )
    };
    run.raw.ctx = 0;
    run.raw.frame = core::ptr::null_mut();
    run.raw.action = b::BAILEY_GO_ON;
    run.raw.work = 0;
    run.raw.count = core::ptr::null_mut();
    run.raw.shadow = b::bailey_shadow::default();
    if run.image().calls == b::BAILEY_CALL_LATER {
        return later::begin(run, args);
    }
    let Some(below) = below else {
        return turned_away();
    };
    // SAFETY: the run below has left through a site of its image, which lives as long as it.
    let site = unsafe { below.site.as_ref() };
    let calls_back = site.filter(|site| site.effects & effect::CALLS_BACK != 0);
    let (Some(site), true) = (calls_back, is_of_below(run, below)) else {
        // Nobody of ours has called it.
        return turned_away();
    };
    if below.action != b::BAILEY_GO_ON {
        // An earlier callback was stopped, or has thrown an exception.
        return 1;
    }
    run.raw.prev = below;
    run.raw.ctx = below.ctx;
    run.raw.frame = below.frame;
    run.raw.count = below.count;
    run.raw.shadow = below.shadow;
    run.raw.shadow.element = 0;
    run.raw.work = b::BAILEY_WORK_SHARED
        | (below.work & (b::BAILEY_WORK_PACKET | b::BAILEY_WORK_LEVEL))
        | if site.helper == b::BAILEY_SITE_FUNCTION {
            b::BAILEY_WORK_FUNCTION
        } else {
            b::BAILEY_WORK_CALLBACK
        };
    // SAFETY: this CPU's frame; only its own runs move the cursor.
    run.raw.cursor = unsafe { (*run.raw.frame).cursor };
    // It has no stack yet.
    run.raw.dom_rbp = run.raw.cursor;
    run.raw.dom_rsp = run.raw.cursor;
    match translate(run, site, args).and_then(|at| run.carve_below(at & !(LINE - 1))) {
        Some(()) => 0,
        None => {
            below.action = b::BAILEY_ABORT;
            drop_element(run);
            // SAFETY: as above.
            unsafe { (*run.raw.frame).cursor = run.raw.cursor };
            turned_away()
        }
    }
}

pub(super) fn turned_away() -> u32 {
    this_cpu().no_frame += 1;
    1
}

/// Whether both are runs of one program.
fn is_of_below(run: &Run, below: &b::bailey_run) -> bool {
    // SAFETY: a run's image lives as long as the run.
    let image = unsafe { Image::from_raw(below.prog) };
    image.record == run.image().record
}

/// Replaces arguments. Returns where in the frame there is room below what was
/// copied into it.
fn translate(run: &mut Run, site: &b::bailey_site, args: &mut [u64; 5]) -> Option<u64> {
    let at = run.raw.cursor;
    if site.helper == b::BAILEY_SITE_FUNCTION {
        if let Some(n) = run.image().ctx_arg.checked_sub(1) {
            *args.get_mut(n as usize)? = run.raw.shadow.ctx;
        }
        return Some(at);
    }
    if site.helper == id::USER_RINGBUF_DRAIN {
        // The dynptr is the kernel's; its name, 16 bytes that are nobody else's.
        let key = at.checked_sub(LINE)? & !(LINE - 1);
        if key < run.frame().bottom || !objects::begin_sample(run, key, args[0]) {
            return None;
        }
        run.raw.shadow.element = key;
        args[0] = key;
        return Some(key);
    }
    if site.effects & effect::GRAPH != 0 {
        return graph::lend_nodes(run, site, args).then_some(at);
    }
    if site.helper != id::FOR_EACH_MAP_ELEM {
        if site.helper == id::FIND_VMA {
            lend_area(run, args[1])?;
        }
        // A number or what is on loan, and what the program itself has passed.
        return Some(at);
    }
    let map = args[0] as *mut b::bpf_map;
    // SAFETY: the helper passes the map that it was given, which the audit found to be the run's.
    let size = u64::from(unsafe { (*map).key_size });
    // SAFETY: the helper passes a key of this map.
    let key = unsafe { copy_key(run, args[1], size)? };
    let value = args[2];
    let lent = run
        .used_level()?
        .loans
        .all()
        .iter()
        .any(|loan| loan.kind == Lent::MapValue && loan.start == value);
    // None of R6 to R9 is the function's yet.
    let seen = give_value(run, &[0; 4], map, value).ok()?;
    if !lent && seen == value {
        run.raw.shadow.element = value;
    }
    args[1] = key;
    args[2] = seen;
    Some(key)
}

/// Lends the area of user memory that a callback is given, until it ends. If a run
/// below has it, until that ends.
fn lend_area(run: &mut Run, start: u64) -> Option<()> {
    let area = Loan {
        start,
        len: size_of::<b::vm_area_struct>() as u32,
        write: false,
        kind: Lent::KernelObject,
        tag: 0,
    };
    let is_it = |loan: &Loan| loan.kind == area.kind && loan.start == area.start;
    if !run.used_level()?.loans.all().iter().any(is_it) {
        lend(run, &[0; 4], area).ok()?;
        run.raw.shadow.element = start;
    }
    Some(())
}

/// Copies a key of `size` bytes into the frame, below what is carved of it. Returns
/// where, or `None` if there is no room.
///
/// # Safety
///
/// `size` bytes at `from` are mapped.
pub(super) unsafe fn copy_key(run: &mut Run, from: u64, size: u64) -> Option<u64> {
    let key = run.raw.cursor.checked_sub(size)? & !(LINE - 1);
    if key < run.frame().bottom {
        return None;
    }
    // Taken before it is written: a run in an interrupt carves below the cursor.
    // SAFETY: this CPU's frame; only its own runs move the cursor, and nested ones put it back.
    unsafe { (&raw mut (*run.raw.frame).cursor).write_volatile(key) };
    for n in 0..size {
        // SAFETY: promised by the caller; the room is this run's part of the frame.
        unsafe { ((key + n) as *mut u8).write_volatile(((from + n) as *const u8).read_volatile()) };
    }
    Some(key)
}

/// Ends the sample that a callback was given, or the loan of a node or area; or the loan of the value, unless the
/// callback has left a pointer to it on the stack of a function below. It runs no
/// more.
pub(super) fn drop_element(run: &mut Run) {
    let element = core::mem::take(&mut run.raw.shadow.element);
    let (true, Some(below)) = (element != 0, run.shared()) else {
        return;
    };
    if run
        .used_level()
        .is_some_and(|level| objects::end_sample(level, element) || graph::end_node(level, element))
    {
        return;
    }
    let Some(level) = run.used_level() else {
        return;
    };
    let is_it = |loan: &Loan| loan.kind == Lent::MapValue && loan.start == element;
    let Some(&loan) = level.loans.all().iter().rev().find(|loan| is_it(loan)) else {
        // What the kernel has only for as long as it calls back.
        level.loans.remove(Lent::KernelObject, element);
        return;
    };
    // What it has had on its own stack does not count.
    run.raw.dom_rbp = below.dom_rsp;
    run.raw.dom_rsp = below.dom_rsp;
    let alone = below.work & (b::BAILEY_WORK_SHARED | b::BAILEY_WORK_INNER) == 0;
    if alone && run.raw.work & b::BAILEY_WORK_INNER == 0 {
        // As nearly always; the same words, without the search for where they are.
        let gate = core::ptr::from_ref(below) as u64;
        let high = super::stack_top(below).min(run.frame().top);
        if points_into(&loan, below.dom_rsp, high)
            || points_into(&loan, gate - 8 * super::KEPT, gate)
        {
            return;
        }
    } else {
        for word in run.kept_words() {
            if loan.covers(word, 0) {
                return;
            }
        }
    }
    level.loans.remove(Lent::MapValue, element);
}

/// Whether a word between two addresses, both found to be the run's, points into
/// a loan or just behind it.
fn points_into(loan: &Loan, low: u64, high: u64) -> bool {
    let mut at = low;
    while at < high {
        let offset = crate::event::frame::word(at).wrapping_sub(loan.start);
        if offset <= u64::from(loan.len) {
            return true;
        }
        at += 8;
    }
    false
}

/// The end of a function's run. Returns what its caller gets.
pub(super) fn exit(run: &mut Run, result: u64) -> u64 {
    let shared = run.raw.work & b::BAILEY_WORK_SHARED != 0;
    if shared {
        drop_element(run);
    }
    // SAFETY: the run below is out of confinement and waits for this one.
    let below = unsafe { &mut *run.raw.prev };
    if run.raw.action == b::BAILEY_ABORT {
        below.action = b::BAILEY_ABORT;
        return STOP;
    }
    if shared && run.raw.work & b::BAILEY_WORK_FUNCTION != 0 {
        // Who has attached to its end looks at the real packet.
        run.sync_back();
        below.work |= b::BAILEY_WORK_CALLED;
    }
    result
}
