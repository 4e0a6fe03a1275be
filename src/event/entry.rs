// SPDX-License-Identifier: GPL-2.0
//! The way of an event that came while confined, from the stub's last
//! instruction (helpers/event.S) to what is done about it.
//!
//! Here PKRS is the kernel's, the kernel's event stacks are back, the stack is
//! the run's kernel stack, interrupts are off.

use super::frame::{self, Frame, Point};
use super::{interrupts, violation};
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use crate::pure::violation::Kind;
use crate::run::{self, Run};

const DB: u64 = 1;
const NMI: u64 = 2;
const BP: u64 = 3;
const DF: u64 = 8;
const PF: u64 = 14;
const MC: u64 = 18;
/// First vector that is no exception.
const EXTERNAL: u64 = 32;

/// Which IST entry `vector` uses, as numbered in struct bailey_cpu.ist.
fn ist(vector: u64) -> Option<usize> {
    match vector {
        DF => Some(0),
        NMI => Some(1),
        DB => Some(2),
        MC => Some(3),
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
    match handle(event, run, cpu) {
        Outcome::Kernel(vector, interrupts) => {
            // SAFETY: written once, before the stubs were put into the IDT; vector < 256.
            event.handler = unsafe { b::bailey_event_handlers[(vector & 0xff) as usize] };
            event.stack = ist(vector).map_or(0, |n| cpu.ist[n]);
            event.kflags = FIXED | if interrupts { IF } else { 0 };
            b::BAILEY_EVENT_KERNEL
        }
        Outcome::Replay(vector) => {
            // SAFETY: as above.
            event.handler = unsafe { b::bailey_event_handlers[(vector & 0xff) as usize] };
            event.stack = ist(vector).map_or(0, |n| cpu.ist[n]);
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

/// Called on the way from a landing in phase IN to its label (helpers/event.S):
/// an event stub may have been interrupted before it had set its phase.
///
/// # Safety
///
/// `run` is this CPU's innermost run, on its kernel stack; interrupts are off.
#[no_mangle]
unsafe extern "C" fn bailey_recover(run: *mut b::bailey_run) {
    // SAFETY: promised by the caller.
    let run = unsafe { Run::from_raw(run) };
    if run.entered_with_interrupts() {
        interrupts::recover(run::this_cpu());
    }
}

enum Outcome {
    /// The kernel's handler for the vector, then resume; whether it sees IF.
    Kernel(u64, bool),
    /// The kernel's handler, then the tail once more.
    Replay(u64),
    Resume,
    Violation {
        kind: Kind,
        rip: u64,
        addr: u64,
    },
}

fn handle(event: &mut b::bailey_event, run: &mut Run, cpu: &mut b::bailey_cpu) -> Outcome {
    let vector = event.vector;
    let error = frame::has_error(vector);
    let top = event.event_rsp + frame::PUSHED + frame::FRAME + if error { 8 } else { 0 };
    let fits = match ist(vector) {
        Some(n) => top == run.frame().landing[n],
        None => run.may_have_top(top),
    };
    if !fits {
        return Outcome::Violation {
            kind: Kind::Frame,
            rip: 0,
            addr: event.event_rsp,
        };
    }
    if matches!(vector, NMI | DB | MC) && run.entered_with_interrupts() {
        // It can have come in a stub, whatever its frame says. The stub's interrupt is in service
        // then, and would be lost and the CPU deaf: send it again.
        interrupts::recover(cpu);
    }
    let pushed = Frame::read(event.event_rsp, error);
    event.error = pushed.error;
    let image = run.image();

    if vector == BP {
        return text_poke(event, run, image, &pushed);
    }
    match frame::judge(image, pushed.rip, event.r9) {
        Point::Program(rip) => {
            // The frame's own word, since alignment hid the truth; it chooses between two values.
            if !run.may_have_rsp(pushed.rsp) || (ist(vector).is_none() && pushed.rsp & !15 != top) {
                return impossible(&pushed);
            }
            resume_at(event, run, &pushed, rip);
            event.rsp = pushed.rsp;
            begin_again(event, image, rip);
            own(event, run, image, vector, rip)
        }
        Point::Gate(label) if is_asynchronous(vector) => {
            resume_at(event, run, &pushed, label);
            Outcome::Kernel(vector, run.interrupts())
        }
        Point::Tail if is_asynchronous(vector) => Outcome::Replay(vector),
        Point::Stub if matches!(vector, NMI | DB | MC) => {
            undo(event, run, cpu, image, vector, &pushed)
        }
        _ => impossible(&pushed),
    }
}

/// An NMI, #DB or #MC in an event stub that had not yet set its phase: whatever the
/// stub had interrupted goes on. The stub's interrupt has been sent again; if it was
/// an NMI, in which a #DB or #MC has come, that is sent again, too: it is the one
/// event that says nothing, so whoever waits for it looks for its cause.
fn undo(
    event: &mut b::bailey_event,
    run: &mut Run,
    cpu: &mut b::bailey_cpu,
    image: &Image,
    vector: u64,
    pushed: &Frame,
) -> Outcome {
    cpu.undone += 1;
    let Some((mut below, in_nmi)) = frame::below_stub(pushed, run) else {
        return impossible(pushed);
    };
    if in_nmi {
        if vector == NMI {
            // None comes before the last one's handler has ended.
            return impossible(pushed);
        }
        interrupts::nmi_again(cpu);
        match frame::judge(image, below.rip, event.r9) {
            Point::Tail => return Outcome::Replay(vector),
            // The NMI itself had come in the stub of an interrupt.
            Point::Stub => match frame::below_stub(&below, run) {
                Some((interrupted, false)) => below = interrupted,
                _ => return impossible(&below),
            },
            Point::Program(_) if !run.may_have_rsp(below.rsp) => return impossible(&below),
            _ => {}
        }
    }
    match frame::judge(image, below.rip, event.r9) {
        point @ (Point::Program(at) | Point::Gate(at)) => {
            resume_at(event, run, &below, at);
            if matches!(point, Point::Program(_)) {
                event.rsp = below.rsp;
                begin_again(event, image, at);
            }
            Outcome::Kernel(vector, false)
        }
        _ => impossible(&below),
    }
}

fn impossible(frame: &Frame) -> Outcome {
    Outcome::Violation {
        kind: Kind::Frame,
        rip: frame.rip,
        addr: frame.rsp,
    }
}

/// Whether the event is none of the program's doing.
fn is_asynchronous(vector: u64) -> bool {
    vector >= EXTERNAL || matches!(vector, NMI | DB | MC)
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
    event.rflags = (from.rflags & ARITHMETIC)
        | FIXED
        | if run.interrupts() { IF } else { 0 }
        | if event.vector == DB { RF } else { 0 };
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

/// An event at an instruction of the program.
fn own(
    event: &mut b::bailey_event,
    run: &mut Run,
    image: &Image,
    vector: u64,
    rip: u64,
) -> Outcome {
    if is_asynchronous(vector) {
        return Outcome::Kernel(vector, run.interrupts());
    }
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
    Outcome::Violation {
        kind: if vector == DF {
            Kind::Stack
        } else {
            Kind::Instruction
        },
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
