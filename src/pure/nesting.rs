// SPDX-License-Identifier: GPL-2.0
//! Events that came in each other's stubs, before any of these had noted what it
//! is: who had interrupted whom, found in what the stubs have pushed.
//!
//! All of it lies where a domain can write. So an address is read only if it is
//! one of the few at which a frame can be, and what is found says no more than
//! "may be so": each answer must be safe whatever the truth.

/// What a stub has pushed below the CPU's frame, lowest address first, and the
/// frame itself. A copy: it is read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The registers of what was interrupted.
    pub rdx: u64,
    /// As above.
    pub rcx: u64,
    /// As above.
    pub rbp: u64,
    /// As above.
    pub rax: u64,
    /// The error code, or 0.
    pub error: u64,
    /// Where it was interrupted.
    pub rip: u64,
    /// CS and SS: never looked at, but where the attackers' control wants it.
    pub selectors: (u64, u64),
    /// The flags.
    pub rflags: u64,
    /// The stack pointer.
    pub rsp: u64,
}

/// Bytes of SS, RSP, RFLAGS, CS, RIP.
pub const FRAME: u64 = 40;
/// Bytes of rax, rbp, rcx, rdx, which a stub pushes in this order.
pub const PUSHED: u64 = 32;

/// The landing stacks, in the order of struct bailey_frame and of the TSS.
pub const DF: usize = 0;
/// As above.
pub const NMI: usize = 1;
/// As above.
pub const DB: usize = 2;
/// As above.
pub const MC: usize = 3;

/// The confined CPU that was interrupted.
pub trait Confined {
    /// How many registers a stub had pushed before the instruction at `rip`, if
    /// that is one of a stub that had not yet noted what it is.
    fn pushed(&self, rip: u64) -> Option<u64>;
    /// The tops of the landing stacks.
    fn landing(&self) -> [u64; 4];
    /// Whether a frame on the program's stack can end here.
    fn may_have_top(&self, top: u64) -> bool;
    /// Whether the program can have this stack pointer.
    fn may_have_rsp(&self, rsp: u64) -> bool;
    /// A word of a landing stack or of the program's.
    fn word(&self, at: u64) -> u64;
    /// Whether CS and SS are wanted: not but in the attackers' control.
    fn wants_selectors(&self) -> bool {
        false
    }

    /// Reads what lies at `at`, which the caller has found to be where the CPU
    /// must have pushed it.
    fn frame(&self, at: u64, error: bool) -> Frame {
        let frame = at + PUSHED + if error { 8 } else { 0 };
        Frame {
            rdx: self.word(at),
            rcx: self.word(at + 8),
            rbp: self.word(at + 16),
            rax: self.word(at + 24),
            error: if error { self.word(at + PUSHED) } else { 0 },
            rip: self.word(frame),
            selectors: if self.wants_selectors() {
                (self.word(frame + 8), self.word(frame + 32))
            } else {
                (0, 0)
            },
            rflags: self.word(frame + 16),
            rsp: self.word(frame + 24),
        }
    }
}

/// What lies below an event that has come in the stub of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bottom {
    /// What all of them have interrupted, with the registers it had.
    pub frame: Frame,
    /// Which events' stubs were interrupted, a bit for each landing stack; of
    /// those on the program's own stack nothing is said.
    pub met: u32,
}

impl Bottom {
    /// Whether the stub of that event was interrupted.
    #[must_use]
    pub const fn has_met(&self, event: usize) -> bool {
        (self.met >> event) & 1 != 0
    }
}

/// Goes down from `upper`, the frame of the event on landing stack `event`, to
/// what was interrupted first. `None` if no CPU can have pushed that.
///
/// Each landing stack is met once: no NMI comes before the last one's handler has
/// returned, a second #MC ends the machine, and a second #DB or #DF would have
/// overwritten the first.
pub fn unwind(cpu: &impl Confined, event: usize, upper: Frame) -> Option<Bottom> {
    let mut bottom = Bottom {
        frame: upper,
        met: 0,
    };
    let mut seen = 1u32 << event;
    while let Some(pushed) = cpu.pushed(bottom.frame.rip) {
        match below(cpu, &bottom.frame, pushed)? {
            (_, Some(event)) if (seen >> event) & 1 != 0 => return None,
            (frame, Some(event)) => {
                seen |= 1 << event;
                bottom.met |= 1 << event;
                bottom.frame = frame;
            }
            // What comes on the program's own stack comes in no stub: interrupts are off there,
            // and a stub makes no exception.
            (frame, None) if cpu.pushed(frame.rip).is_some() => return None,
            (frame, None) => bottom.frame = frame,
        }
    }
    Some(bottom)
}

/// What a stub had interrupted that was itself interrupted, when it had pushed so
/// many registers; and the landing stack it is on, if it is on one. The hostile
/// stack pointer only chooses among the few places at which its frame can be.
fn below(cpu: &impl Confined, upper: &Frame, pushed: u64) -> Option<(Frame, Option<usize>)> {
    let above = upper.rsp.wrapping_add(8 * pushed);
    let (rip_at, place) = match (0..)
        .zip(cpu.landing())
        .find(|&(event, top)| above == top - FRAME - if event == DF { 8 } else { 0 })
    {
        Some((event, top)) => (top - FRAME, Some(event)),
        None => {
            // With an error code the frame is one word longer, and tops are 16 bytes apart.
            let rip_at = if above.wrapping_add(FRAME) % 16 == 0 {
                above
            } else {
                above.wrapping_add(8)
            };
            if !cpu.may_have_top(rip_at.wrapping_add(FRAME)) {
                return None;
            }
            (rip_at, None)
        }
    };
    let rsp = cpu.word(rip_at + 24);
    if place.is_none() && (!cpu.may_have_rsp(rsp) || rsp & !15 != rip_at.wrapping_add(FRAME)) {
        return None;
    }
    // A register that was not pushed yet is still in the upper frame.
    let register = |number: u64, upper: u64| {
        if number <= pushed {
            cpu.word(above.wrapping_sub(8 * number))
        } else {
            upper
        }
    };
    let frame = Frame {
        rax: register(1, upper.rax),
        rbp: register(2, upper.rbp),
        rcx: register(3, upper.rcx),
        rdx: register(4, upper.rdx),
        error: 0,
        rip: cpu.word(rip_at),
        selectors: upper.selectors,
        rflags: cpu.word(rip_at + 16),
        rsp,
    };
    Some((frame, place))
}
