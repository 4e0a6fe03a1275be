// SPDX-License-Identifier: GPL-2.0
//! The way of an event that came while confined, from the stub's last
//! instruction (helpers/event.S) to what is done about it.
//!
//! Here PKRS is the kernel's, the kernel's event stacks are back, the stack is
//! the run's kernel stack, interrupts are off.

use super::frame::{self, Interrupted, Point};
use super::{interrupts, violation};
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use crate::pure::nesting::{self, Bottom, Confined, Frame};
use crate::pure::violation::Kind;
use crate::run::{self, Run};

const DB: u64 = 1;
const NMI: u64 = 2;
const BP: u64 = 3;
const DF: u64 = 8;
const GP: u64 = 13;
const PF: u64 = 14;
const MC: u64 = 18;
/// First vector that is no exception.
const EXTERNAL: u64 = 32;

/// Which IST entry `vector` uses, as numbered in struct bailey_cpu.ist, and its
/// landing stack.
fn ist(vector: u64) -> Option<usize> {
    match vector {
        DF => Some(nesting::DF),
        NMI => Some(nesting::NMI),
        DB => Some(nesting::DB),
        MC => Some(nesting::MC),
        _ => None,
    }
}

/// RFLAGS bits that a program may have: CF, PF, AF, ZF, SF, OF.
const ARITHMETIC: u64 = 0x8d5;
/// The bit that is always set.
const FIXED: u64 = 0x2;
/// RFLAGS.RF: the next instruction's own breakpoint does not stop it. Who comes
/// from one would not get past it otherwise (SDM volume 3, "Instruction-Breakpoint
/// Exception Condition").
const RF: u64 = 0x10000;
const IF: u64 = 0x200;

/// Called by the event stubs; see helpers/event.S for what the result does.
///
/// # Safety
///
/// `event` and `run` are on this CPU's kernel stack, as event.S laid them.
#[no_mangle]
unsafe extern "C" fn bailey_event(event: *mut b::bailey_event, run: *mut b::bailey_run) -> u32 {
    // SAFETY: promised by the caller; nothing else refers to them now.
    let (event, run) = unsafe { (&mut *event, Run::from_raw(run)) };
    let cpu = run::this_cpu();
    cpu.events += 1;
    if let Some(stack) = ist(event.vector) {
        return with_own_stack(event, run, cpu, stack);
    }
    match handle(event, run) {
        Outcome::Kernel => {
            event.handler = handler(event.vector);
            event.stack = 0;
            event.kflags = FIXED | if run.interrupts() { IF } else { 0 };
            b::BAILEY_EVENT_KERNEL
        }
        Outcome::Replay => {
            event.handler = handler(event.vector);
            event.stack = 0;
            event.kflags = FIXED;
            cpu.replays += 1;
            b::BAILEY_EVENT_REPLAY
        }
        Outcome::Resume => b::BAILEY_EVENT_RESUME,
        Outcome::Violation { kind, rip, addr } => {
            // An aborted run must not leave an accepted interrupt in service.
            if run.entered_with_interrupts() {
                interrupts::recover(cpu);
            }
            violation::record(run, kind, rip, addr);
            b::BAILEY_EVENT_ABORT
        }
    }
}

/// The kernel's handler of `vector`.
fn handler(vector: u64) -> u64 {
    // SAFETY: written once, before the stubs were put into the IDT; vector < 256.
    unsafe { b::bailey_event_handlers[(vector & 0xff) as usize] }
}

/// The order in which handlers are called when several events have come. NMIs
/// first: their handler relies on there being no other, which is so until a
/// handler returns.
const ORDER: [u64; 4] = [NMI, DB, MC, DF];

/// The bit of `vector` in a set of those that have a stack of their own.
fn bit(vector: u64) -> u32 {
    1 << (vector & 31)
}

/// Takes the next one of `set`.
fn next(set: &mut u32) -> Option<u64> {
    let vector = ORDER.into_iter().find(|&vector| *set & bit(vector) != 0)?;
    *set &= !bit(vector);
    Some(vector)
}

/// An NMI, #DB, #MC or #DF. Of the first three none is lost, whatever becomes of
/// the run: who sent them waits for their handlers.
fn with_own_stack(
    event: &mut b::bailey_event,
    run: &mut Run,
    cpu: &mut b::bailey_cpu,
    stack: usize,
) -> u32 {
    let vector = event.vector;
    if run.entered_with_interrupts() && !breach::without(b::BAILEY_WITHOUT_RECOVER) {
        // It can have come in a stub, whatever its frame says. The stub's interrupt is in service
        // then, and would be lost and the CPU deaf: send it again.
        interrupts::recover(cpu);
    }
    let mut pending = if vector == DF { 0 } else { bit(vector) };
    if in_machine_check() {
        // It has come in the stub of a #MC. No need to ask the frame.
        pending |= bit(MC);
    }
    let upper = Interrupted(run).frame(event.event_rsp, vector == DF);
    event.error = upper.error;
    let below = nesting::unwind(&Interrupted(run), stack, upper);
    let outcome = match below {
        // The control: as if there were but NMIs that are interrupted.
        Some(Bottom { met, .. })
            if met & !(1 << nesting::NMI) != 0 && breach::without(b::BAILEY_WITHOUT_NESTING) =>
        {
            pending = 0;
            impossible(&upper)
        }
        Some(bottom) => {
            if bottom.met != 0 || bottom.frame.rip != upper.rip {
                cpu.undone += 1;
            }
            pending |= missed(cpu, &bottom);
            go_on(event, run, &bottom)
        }
        None => impossible(&upper),
    };
    let after = match outcome {
        Outcome::Kernel | Outcome::Resume => b::BAILEY_EVENT_KERNEL,
        Outcome::Replay => {
            cpu.replays += 1;
            b::BAILEY_EVENT_REPLAY
        }
        Outcome::Violation { kind, rip, addr } => {
            violation::record(run, kind, rip, addr);
            b::BAILEY_EVENT_ABORT
        }
    };
    (event.pending, event.after) = (pending, after);
    rest(event, cpu)
}

/// Of the events in whose stubs others have come: sends NMIs again, and says whose
/// handlers are still to be called. The frames may be forged. So of a #DB the CPU
/// is asked, #MCs are not looked for here, since it knows them by itself, and an NMI
/// is the one event that says nothing: whoever waits for it looks for its cause.
fn missed(cpu: &mut b::bailey_cpu, bottom: &Bottom) -> u32 {
    if bottom.has_met(nesting::NMI) {
        interrupts::nmi_again(cpu);
    }
    // SAFETY: reads a register of the CPU.
    if bottom.has_met(nesting::DB) && unsafe { b::bailey_cpu_in_debug_exception() } != 0 {
        return bit(DB);
    }
    0
}

/// Whether the CPU has begun a machine check whose handler has not been called.
fn in_machine_check() -> bool {
    // SAFETY: reads a register of the CPU.
    let begun = unsafe { b::bailey_cpu_in_machine_check() } != 0;
    begun && !breach::without(b::BAILEY_WITHOUT_NESTING)
}

/// Where the run goes on behind an NMI, #DB, #MC or #DF and those below it.
fn go_on(event: &mut b::bailey_event, run: &mut Run, bottom: &Bottom) -> Outcome {
    let (image, below) = (run.image(), &bottom.frame);
    let overflow = event.vector == DF || bottom.has_met(nesting::DF);
    match frame::judge(image, below.rip, event.r9) {
        Point::Program(at) if run.may_have_rsp(below.rsp) => {
            if overflow {
                return Outcome::Violation {
                    kind: Kind::Stack,
                    rip: at,
                    addr: DF,
                };
            }
            resume_at(event, run, below, at);
            event.rsp = below.rsp;
            begin_again(event, image, at);
        }
        Point::Gate(label) if !overflow => resume_at(event, run, below, label),
        Point::Tail if !overflow => return Outcome::Replay,
        _ => return impossible(below),
    }
    if event.vector == DB || bottom.has_met(nesting::DB) {
        event.rflags |= RF;
    }
    event.rflags |= below.rflags & RF;
    Outcome::Kernel
}

/// The next handler that is to be called, or what comes then.
fn rest(event: &mut b::bailey_event, cpu: &b::bailey_cpu) -> u32 {
    let Some(vector) = next(&mut event.pending) else {
        return event.after;
    };
    event.handler = handler(vector);
    event.stack = ist(vector)
        .and_then(|n| cpu.ist.get(n))
        .map_or(0, |&top| top);
    event.kflags = FIXED;
    if event.pending == 0 && event.after != b::BAILEY_EVENT_ABORT {
        event.after
    } else {
        b::BAILEY_EVENT_NEXT
    }
}

/// Called when one of several handlers has returned; like bailey_event().
///
/// # Safety
///
/// `event` is on this CPU's kernel stack, as bailey_event() left it.
#[no_mangle]
unsafe extern "C" fn bailey_event_rest(event: *mut b::bailey_event) -> u32 {
    // SAFETY: promised by the caller; nothing else refers to it now.
    rest(unsafe { &mut *event }, run::this_cpu())
}

/// Called on the way from a landing to its label (helpers/event.S), again behind
/// each handler: the next one that is to be called, with a frame on its stack that
/// returns there. `rbp` is what the label gets.
///
/// # Safety
///
/// `run` is this CPU's innermost run, on its kernel stack; interrupts are off; nothing
/// else refers to `rbp`.
#[no_mangle]
unsafe extern "C" fn bailey_landing(run: *mut b::bailey_run, rbp: *mut u64) -> b::bailey_call {
    let at = run as u64;
    // SAFETY: promised by the caller.
    let (run, rbp) = unsafe { (Run::from_raw(run), &mut *rbp) };
    let cpu = run::this_cpu();
    if cpu.landed & b::BAILEY_LANDED_NEW != 0 {
        if let Some(own) = landed(run, cpu) {
            *rbp = own;
        }
    }
    let mut call = b::bailey_call {
        stack: 0,
        handler: 0,
    };
    if let Some(vector) = next(&mut cpu.landed) {
        call.handler = handler(vector);
        let frame = [
            0,
            b::bailey_landed as *const () as u64,
            u64::from(b::BAILEY_KERNEL_CS),
            FIXED,
            at,
            u64::from(b::BAILEY_KERNEL_DS),
        ];
        // The error code is #DF's alone.
        let words = if vector == DF {
            &frame[..]
        } else {
            &frame[1..]
        };
        let top = ist(vector)
            .and_then(|n| cpu.ist.get(n))
            .map_or(0, |&top| top);
        call.stack = top - core::mem::size_of_val(words) as u64;
        // SAFETY: the kernel's stack of this CPU for the vector, which is not in use: what has
        // come is on the landing stacks.
        unsafe {
            core::ptr::copy_nonoverlapping(words.as_ptr(), call.stack as *mut u64, words.len());
        }
    }
    call
}

/// What has landed is in `cpu.landed`, but for those that had not come so far when
/// another came: these are added. Returns rbp as the gate had it, if the first of
/// them is not the one that came in the gate.
fn landed(run: &Run, cpu: &mut b::bailey_cpu) -> Option<u64> {
    let noted = cpu.landed;
    cpu.landed = ORDER.into_iter().map(bit).sum::<u32>() & noted;
    let recovers = !breach::without(b::BAILEY_WITHOUT_RECOVER);
    if noted & b::BAILEY_LANDED_IN != 0 && run.entered_with_interrupts() && recovers {
        // The truth may be a stub, whose interrupt is in service.
        interrupts::recover(cpu);
    }
    if breach::without(b::BAILEY_WITHOUT_NESTING) {
        // The control: who has been interrupted by another is forgotten.
        let first = bit(cpu.landed_first.into());
        if cpu.landed != first {
            cpu.landed &= !first;
        }
        return None;
    }
    let (mut rbp, at) = (None, Interrupted(run));
    for vector in ORDER.into_iter().filter(|&vector| noted & bit(vector) != 0) {
        let Some((stack, &top)) = ist(vector).and_then(|n| Some((n, run.frame().landing.get(n)?)))
        else {
            continue;
        };
        let error = vector == DF;
        let size = nesting::FRAME + nesting::PUSHED + if error { 8 } else { 0 };
        match nesting::unwind(&at, stack, at.frame(top - size, error)) {
            Some(mut bottom) if bottom.met != 0 => {
                cpu.undone += 1;
                if noted & bit(NMI) != 0 {
                    bottom.met &= !(1 << nesting::NMI);
                }
                cpu.landed |= missed(cpu, &bottom);
                if u64::from(cpu.landed_first) == vector {
                    rbp = Some(bottom.frame.rbp);
                }
            }
            _ => {}
        }
    }
    // Where the stub of a #MC goes on, that is called for by itself.
    let goes_on = cpu.restart == b::bailey_event_again as *const () as u64;
    if !(goes_on && cpu.event_vector == MC) && in_machine_check() {
        cpu.landed |= bit(MC);
    }
    rbp
}

enum Outcome {
    /// The kernel's handler for the vector, then resume.
    Kernel,
    /// The kernel's handler, then the tail once more.
    Replay,
    Resume,
    Violation {
        kind: Kind,
        rip: u64,
        addr: u64,
    },
}

/// An event on the program's own stack.
fn handle(event: &mut b::bailey_event, run: &mut Run) -> Outcome {
    let vector = event.vector;
    let error = frame::has_error(vector);
    let top = event.event_rsp + nesting::PUSHED + nesting::FRAME + if error { 8 } else { 0 };
    if !run.may_have_top(top) {
        return Outcome::Violation {
            kind: Kind::Frame,
            rip: 0,
            addr: event.event_rsp,
        };
    }
    let pushed = Interrupted(run).frame(event.event_rsp, error);
    event.error = pushed.error;
    let image = run.image();

    if vector == BP {
        return text_poke(event, run, image, &pushed);
    }
    match frame::judge(image, pushed.rip, event.r9) {
        Point::Program(rip) => {
            // The frame's own word, since alignment hid the truth; it chooses between two values.
            if !run.may_have_rsp(pushed.rsp) || pushed.rsp & !15 != top {
                return impossible(&pushed);
            }
            resume_at(event, run, &pushed, rip);
            event.rsp = pushed.rsp;
            begin_again(event, image, rip);
            if vector >= EXTERNAL {
                event.rflags |= pushed.rflags & RF;
                return Outcome::Kernel;
            }
            fault(event, run, image, vector, rip)
        }
        Point::Gate(label) if vector >= EXTERNAL => {
            resume_at(event, run, &pushed, label);
            event.rflags |= pushed.rflags & RF;
            Outcome::Kernel
        }
        Point::Tail if vector >= EXTERNAL => Outcome::Replay,
        _ => impossible(&pushed),
    }
}

fn impossible(frame: &Frame) -> Outcome {
    Outcome::Violation {
        kind: Kind::Frame,
        rip: frame.rip,
        addr: frame.rsp,
    }
}

/// Fills in how the program goes on. Registers come from the stub's copies,
/// which are the program's own; everything the kernel relies on does not.
fn resume_at(event: &mut b::bailey_event, run: &mut Run, from: &Frame, rip: u64) {
    event.rax = from.rax;
    event.rcx = from.rcx;
    event.rdx = from.rdx;
    run.raw.dom_rbp = from.rbp;
    event.rip = rip;
    event.cs = u64::from(b::BAILEY_KERNEL_CS);
    event.rflags = (from.rflags & ARITHMETIC) | FIXED | if run.interrupts() { IF } else { 0 };
    event.rsp = run.raw.dom_rsp;
    event.ss = u64::from(b::BAILEY_KERNEL_DS);
    if breach::without(b::BAILEY_WITHOUT_FLAGS) {
        event.rflags = from.rflags;
    }
    if breach::without(b::BAILEY_WITHOUT_SELECTORS) {
        (event.cs, event.ss) = from.selectors;
    }
}

/// A program that has only begun begins again: at `test r10, r10`, with r10 as
/// enter left it. A forged frame could name the jump behind it, with ZF clear,
/// and so reach the epilogue.
fn begin_again(event: &mut b::bailey_event, image: &Image, rip: u64) {
    if breach::without(b::BAILEY_WITHOUT_BEGIN | b::BAILEY_WITHOUT_RIP) {
        return;
    }
    if image.has_only_begun(rip) {
        event.rip = image.enter_return;
        event.r10 = 0;
    }
}

/// An exception at an instruction of the program: its own doing. Out of the way of
/// interrupts, which come more often.
#[inline(never)]
fn fault(
    event: &mut b::bailey_event,
    run: &mut Run,
    image: &Image,
    vector: u64,
    rip: u64,
) -> Outcome {
    if vector == PF {
        return match run::mediate::access(event, run, image, rip) {
            Ok(()) => Outcome::Resume,
            Err(refused) => Outcome::Violation {
                kind: refused.kind,
                rip,
                addr: refused.addr,
            },
        };
    }
    // An address that is none faults in this way.
    if vector == GP && run::mediate::nowhere(event, run, image, rip) {
        return Outcome::Resume;
    }
    Outcome::Violation {
        kind: Kind::Instruction,
        rip,
        addr: vector,
    }
}

/// int3: the text of the running program is being patched.
fn text_poke(event: &mut b::bailey_event, run: &mut Run, image: &Image, pushed: &Frame) -> Outcome {
    let at = pushed.rip.wrapping_sub(1);
    if !image.insn_start(at) {
        return impossible(pushed);
    }
    let mut regs = b::pt_regs {
        ip: pushed.rip as usize,
        sp: run.raw.dom_rsp as usize,
        ..b::pt_regs::default()
    };
    // SAFETY: `regs` is a copy of ours; the handler reads and sets ip, and sp when it emulates a
    // call, which no confined program contains.
    let handled = unsafe { b::bailey_k_smp_text_poke_int3_handler(&mut regs) };
    if handled == 0 {
        return Outcome::Violation {
            kind: Kind::Instruction,
            rip: at,
            addr: 3,
        };
    }
    match frame::judge(image, regs.ip as u64, event.r9) {
        Point::Program(rip) | Point::Gate(rip) => {
            resume_at(event, run, pushed, rip);
            Outcome::Resume
        }
        _ => impossible(pushed),
    }
}
