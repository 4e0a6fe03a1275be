// SPDX-License-Identifier: GPL-2.0
//! What may be believed of a frame that was pushed where a domain can write:
//! nothing but what agrees with the kernel's own tables (DESIGN invariant 4).

use super::stubs;
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use crate::pure::nesting::Confined;
use crate::run::Run;

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

/// The same in the attackers' control that leaves out who may have which stack pointer: then a
/// forged one leads anywhere, also to where nothing is. 0 there.
#[cold]
fn word_anywhere(addr: u64) -> u64 {
    let mut word = 0u64;
    let to = &raw mut word;
    // SAFETY: it takes any address, and writes to `word`, which has room.
    unsafe { b::copy_from_kernel_nofault(to.cast(), addr as *const _, size_of::<u64>()) };
    word
}

/// One byte of memory that the caller has found the run to reach.
pub(crate) fn byte(addr: u64) -> u8 {
    // SAFETY: reachable, so mapped; volatile as above.
    unsafe { (addr as *const u8).read_volatile() }
}

/// This CPU, whose run was interrupted.
pub(crate) struct Interrupted<'a>(pub(crate) &'a Run);

impl Confined for Interrupted<'_> {
    fn pushed(&self, rip: u64) -> Option<u64> {
        pushed(rip)
    }

    fn landing(&self) -> [u64; 4] {
        self.0.frame().landing
    }

    fn may_have_top(&self, top: u64) -> bool {
        self.0.may_have_top(top)
    }

    fn may_have_rsp(&self, rsp: u64) -> bool {
        self.0.may_have_rsp(rsp)
    }

    fn word(&self, at: u64) -> u64 {
        if breach::without(b::BAILEY_WITHOUT_RSP) {
            return word_anywhere(at);
        }
        word(at)
    }

    fn wants_selectors(&self) -> bool {
        breach::without(b::BAILEY_WITHOUT_SELECTORS)
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
    } else if breach::without(b::BAILEY_WITHOUT_RIP) {
        Point::Program(rip)
    } else {
        Point::Impossible
    }
}

/// How many of rax, rbp, rcx and rdx an event stub had pushed before the
/// instruction at `rip`; `None` if that is none of a stub's, or one behind the
/// store that notes in kernel memory what has come.
fn pushed(rip: u64) -> Option<u64> {
    let within = |from: unsafe extern "C" fn(), to: unsafe extern "C" fn()| {
        (addr(from)..addr(to)).contains(&rip)
    };
    if within(b::bailey_event_pushed_rdx, b::bailey_event_again)
        || within(b::bailey_event_landed, b::bailey_event_noted)
    {
        Some(4)
    } else if within(b::bailey_event_pushed_rcx, b::bailey_event_pushed_rdx) {
        Some(3)
    } else if within(b::bailey_event_entry, b::bailey_event_pushed_rcx) {
        Some(2)
    } else {
        stubs::pushed(rip)
    }
}
