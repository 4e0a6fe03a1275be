// SPDX-License-Identifier: GPL-2.0
//! What may be believed of a frame that was pushed where a domain can write:
//! nothing but what agrees with the kernel's own tables (DESIGN invariant 4).

use super::stubs;
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use crate::run::Run;

/// What a stub has pushed below the CPU's frame, lowest address first, and the
/// frame itself. A copy: it is read once.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbp: u64,
    pub(crate) rax: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    /// CS and SS: never looked at, but where the attackers' control wants it.
    pub(crate) selectors: (u64, u64),
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
}

/// Bytes of SS, RSP, RFLAGS, CS, RIP.
pub(crate) const FRAME: u64 = 40;
/// Bytes of rax, rbp, rcx, rdx.
pub(crate) const PUSHED: u64 = 32;

/// Whether the CPU pushes an error code for `vector` (SDM volume 3, table 7-1).
pub(crate) fn has_error(vector: u64) -> bool {
    matches!(vector, 8 | 10..=14 | 17 | 21 | 29 | 30)
}

/// One word of domain memory.
pub(crate) fn word(addr: u64) -> u64 {
    // SAFETY: callers pass addresses that they computed from a frame's or landing stack's bounds:
    // mapped while the run lasts. Another CPU may write it at any time, hence volatile.
    unsafe { (addr as *const u64).read_volatile() }
}

/// One byte of memory that the caller has found the run to reach.
pub(crate) fn byte(addr: u64) -> u8 {
    // SAFETY: reachable, so mapped; volatile as above.
    unsafe { (addr as *const u8).read_volatile() }
}

impl Frame {
    /// Reads what lies at `at`, which the caller has found to be where the CPU
    /// must have pushed it.
    pub(crate) fn read(at: u64, error: bool) -> Self {
        let frame = at + PUSHED + if error { 8 } else { 0 };
        Self {
            rdx: word(at),
            rcx: word(at + 8),
            rbp: word(at + 16),
            rax: word(at + 24),
            error: if error { word(at + PUSHED) } else { 0 },
            rip: word(frame),
            selectors: if breach::without(b::BAILEY_WITHOUT_SELECTORS) {
                (word(frame + 8), word(frame + 32))
            } else {
                (0, 0)
            },
            rflags: word(frame + 16),
            rsp: word(frame + 24),
        }
    }
}

/// What a saved instruction pointer says, after it was checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// An instruction of the program itself.
    Program(u64),
    /// Confined code of a gate: go on at this label, which starts with `cli`
    /// or with instructions that may run twice.
    Gate(u64),
    /// The tail into confinement, which is run again from the slot.
    Tail,
    /// An event stub that had not yet left confinement.
    Stub,
    /// Nothing that a confined CPU can have executed.
    Impossible,
}

fn addr(label: unsafe extern "C" fn()) -> u64 {
    label as usize as u64
}

/// Judges `rip`, saved while `image` was confined, or when an event landed in the
/// stub of another: that one had come just before the way in, or just behind the
/// way out. `r9` is the register, not what a domain could write.
pub(crate) fn judge(image: &Image, rip: u64, r9: u64) -> Point {
    if image.insn_start(rip) {
        return Point::Program(rip);
    }
    if let Some((stub, offset)) = image.stub_at(rip) {
        // SAFETY: constants of this module.
        let (out, size) = unsafe {
            (
                u64::from(b::bailey_stub_out_offset),
                u64::from(b::bailey_stub_size),
            )
        };
        return match offset {
            o if o < out => Point::Gate(stub),
            // The wrmsr, and what is behind it: the way back in.
            o if o >= out && o < size => Point::Tail,
            _ => Point::Impossible,
        };
    }
    let within = |from: unsafe extern "C" fn(), to: unsafe extern "C" fn()| {
        (addr(from)..addr(to)).contains(&rip)
    };
    let is_site = r9 % (1 << b::SITE_SHIFT) == 0 && r9 < u64::from(image.site_bytes);
    if within(b::bailey_helper_gate, b::bailey_helper_z_end) && !is_site {
        // No stub has been there: the gate would take r9 for the offset of a site. It is the
        // whole register that it adds, and the half that it compares.
        Point::Impossible
    } else if within(b::bailey_helper_gate, b::bailey_helper_w) {
        Point::Gate(addr(b::bailey_helper_gate))
    } else if within(b::bailey_helper_w, b::bailey_helper_z_end) {
        Point::Gate(addr(b::bailey_helper_w))
    } else if within(b::bailey_exit_gate, b::bailey_exit_w) {
        Point::Gate(addr(b::bailey_exit_gate))
    } else if within(b::bailey_exit_w, b::bailey_exit_z_end) {
        Point::Gate(addr(b::bailey_exit_w))
    } else if within(b::bailey_replay, b::bailey_iret_out_end) {
        Point::Tail
    } else if within(b::bailey_event_entry, b::bailey_event_again)
        || within(b::bailey_event_landed, b::bailey_event_landed_end)
        || stubs::progress(rip).is_some()
    {
        Point::Stub
    } else if breach::without(b::BAILEY_WITHOUT_RIP) {
        Point::Program(rip)
    } else {
        Point::Impossible
    }
}

/// The landing stack of NMIs, in [`b::bailey_frame`]'s order.
const NMI: usize = 1;

/// What an event stub had interrupted that was itself interrupted by an NMI, #DB
/// or #MC: its registers, and its frame; and whether it was the stub of an NMI,
/// whose frame is on its own landing stack.
///
/// `upper` is the frame of the NMI, #DB or #MC. The hostile `rsp` in it only chooses
/// among the few places at which the stub's frame can be.
pub(crate) fn below_stub(upper: &Frame, run: &Run) -> Option<(Frame, bool)> {
    let (pushed_rax, pushed_rbp, pushed_rcx, pushed_rdx) = match stubs::progress(upper.rip) {
        Some((rax, rbp)) => (rax, rbp, false, false),
        None => (
            true,
            true,
            upper.rip >= addr(b::bailey_event_pushed_rcx),
            upper.rip >= addr(b::bailey_event_pushed_rdx),
        ),
    };
    let words = [pushed_rax, pushed_rbp, pushed_rcx, pushed_rdx]
        .iter()
        .filter(|&&pushed| pushed)
        .count() as u64;
    let frame = upper.rsp.wrapping_add(8 * words);
    // With an error code the frame is one word longer, and tops are 16 bytes apart.
    let rip_at = if frame.wrapping_add(FRAME) % 16 == 0 {
        frame
    } else {
        frame.wrapping_add(8)
    };
    let top = rip_at.wrapping_add(FRAME);
    let nmi = run.frame().landing.get(NMI) == Some(&top) && rip_at == frame;
    if !nmi && !run.may_have_top(top) {
        return None;
    }
    let rsp = word(rip_at + 24);
    if !nmi && (!run.may_have_rsp(rsp) || rsp & !15 != top) {
        return None;
    }
    let below = Frame {
        rax: if pushed_rax {
            word(frame - 8)
        } else {
            upper.rax
        },
        rbp: if pushed_rbp {
            word(frame - 16)
        } else {
            upper.rbp
        },
        rcx: if pushed_rcx {
            word(frame - 24)
        } else {
            upper.rcx
        },
        rdx: if pushed_rdx {
            word(frame - 32)
        } else {
            upper.rdx
        },
        error: 0,
        rip: word(rip_at),
        selectors: upper.selectors,
        rflags: word(rip_at + 16),
        rsp,
    };
    Some((below, nmi))
}
