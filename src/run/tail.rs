// SPDX-License-Identifier: GPL-2.0
//! Tail calls. The target of an isolated program runs on in the same kernel
//! frame: its context is built anew, and the first program's epilogue returns
//! for both.
//!
//! The count is the kernel's own: a word on the kernel's stack, in the frame of
//! the chain's first program, to which each program is given a pointer (`rax` in
//! `emit_prologue_tail_call()`, arch/x86/net/bpf_jit_comp.c). So it goes on where
//! programs that are isolated and such that are not call each other.

use super::{function, Run};
use crate::bindings as b;
use crate::load;

/// How often a chain may go on (MAX_TAIL_CALL_CNT, include/linux/bpf.h).
const LIMIT: u64 = 33;

/// The run goes on when what it is in has ended.
const INSIDE: u32 = b::BAILEY_WORK_CALLS | b::BAILEY_WORK_CALLBACK | b::BAILEY_WORK_FUNCTION;

/// What R0 is after a tail call that did not happen: nothing that a verified
/// program reads.
const FELL_THROUGH: u64 = 0;

/// Goes on as the program in slot `args[2]` of the prog array `args[1]`, both
/// audited. Returns the target's context, or R0 if there is no such program.
pub(super) fn call(run: &mut Run, args: &[u64; 5]) -> u64 {
    let map = args[1] as *mut b::bpf_map;
    // SAFETY: the audit found the map to be one of the program's.
    let target = unsafe { b::bailey_prog_array_entry(map, args[2] as u32) };
    if target.is_null() {
        return FELL_THROUGH;
    }
    // SAFETY: a program with a tail call was entered with a pointer to its chain's count, or in a
    // run that was: the word lies in a frame of the kernel's stack that outlives the run, and only
    // programs of this chain, which run one at a time, use it. What the kernel calls later has
    // none, and the verifier lets it make no tail call.
    let Some(count) = (unsafe { run.raw.count.as_mut() }) else {
        return FELL_THROUGH;
    };
    if *count >= LIMIT {
        return FELL_THROUGH;
    }
    *count += 1;
    // SAFETY: a prog array's entry lives until an RCU grace period after its removal.
    let isolated = unsafe { load::isolated((*target).aux) };
    let Some((program, image)) = isolated.and_then(|program| Some((program, program.main()?)))
    else {
        return leave_confinement(run, target);
    };
    let loops = image.loops != 0;
    if loops && (run.raw.work & INSIDE != 0 || !super::loops::begin(run)) {
        // It has a count of its own, which is not begun in a run that has none, or whose count is
        // that of who goes on after it.
        return leave_confinement(run, target);
    }
    let (arena, own) = (image.arena, run.image().arena);
    if arena != own && (run.raw.work & INSIDE != 0 || own == 0) {
        // Its base would stand in a register that has that of who goes on after it, or that is
        // our caller's still.
        return leave_confinement(run, target);
    }
    if program.is_turned_away() {
        // Quarantined: as its own gate would do.
        super::this_cpu().refused += 1;
        leave(run);
        run.raw.work &= !b::BAILEY_WORK_PACKET;
        run.raw.action = b::BAILEY_END;
        return 0;
    }
    let frame = image.frame_here();
    if frame.is_null() {
        super::this_cpu().no_frame += 1;
        run.raw.action = b::BAILEY_ABORT;
        return 0;
    }
    // What the first program has carved is free again; of a function, what it has itself.
    let inner = run.raw.work & b::BAILEY_WORK_INNER != 0;
    let free = super::callers::low(run).filter(|_| inner);
    // SAFETY: this CPU's frame of the domain that the run has been in.
    unsafe { (*run.raw.frame).cursor = free.unwrap_or(run.raw.cursor) };
    let shows = inner && frame == run.raw.frame && run.shows(image.flags);
    leave(run);
    run.raw.prog = image.as_raw();
    run.raw.frame = frame;
    // SAFETY: the counters of the program that comes; a run does not migrate.
    unsafe { b::bailey_count_once(image.runs) };
    let carved = if shows {
        run.carve_stack(image.flags)
    } else {
        // SAFETY: as the enter gate reads it.
        run.raw.cursor = unsafe { (*frame).cursor };
        run.carve()
    };
    match carved {
        Some(ctx) => {
            run.raw.site = image.sites;
            if loops || arena != 0 {
                run.raw.action = b::BAILEY_AFRESH;
            }
            ctx
        }
        None => {
            super::this_cpu().no_frame += 1;
            run.raw.action = b::BAILEY_ABORT;
            0
        }
    }
}

/// Nothing that the program was lent or that its run shares goes on to the
/// target.
fn leave(run: &mut Run) {
    if run.raw.work & b::BAILEY_WORK_INNER != 0 {
        // The caller goes on, and may have been left pointers to what the function was lent.
        super::callers::keep_loans(run);
        run.raw.shadow.element = 0;
    } else if run.raw.work & b::BAILEY_WORK_SHARED != 0 {
        super::function::drop_element(run);
    } else {
        // The verifier lets no program go that holds anything.
        run.end_level();
    }
    run.raw.work &= !(b::BAILEY_WORK_SHARED | b::BAILEY_WORK_INNER | b::BAILEY_WORK_LEVEL);
}

/// The target is not isolated, which policy permitted, or must begin a run of its
/// own: it is entered as the JIT's own tail calls do, with the real context. If one
/// that is not isolated makes a tail call to an isolated program, that is another
/// run.
fn leave_confinement(run: &mut Run, target: *mut b::bpf_prog) -> u64 {
    // Of a function the target takes the place within the run, which waits for it here.
    let nested = run.raw.work & INSIDE != 0;
    if nested && !function::has_room() {
        super::this_cpu().no_frame += 1;
        run.raw.action = b::BAILEY_ABORT;
        return 0;
    }
    // It may change the packet: whose function has left sees to that.
    leave(run);
    run.raw.work &= !b::BAILEY_WORK_PACKET;
    if !nested {
        run.raw.action = b::BAILEY_LEAVE;
        // SAFETY: the entry is alive (RCU). It was compiled by the JIT as this run's program was.
        return unsafe { b::bailey_tail_address(target) };
    }
    run.raw.action = b::BAILEY_END;
    let (ctx, count) = (run.raw.ctx, run.raw.count);
    run.expose();
    // SAFETY: as above; it takes the context that our caller gave us, and the chain's count.
    unsafe { b::bailey_run_tail(ctx, b::bailey_tail_address(target), count) }
}
