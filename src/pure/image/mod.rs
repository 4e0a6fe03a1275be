// SPDX-License-Identifier: GPL-2.0
//! The finished machine code of a program, and the check that it keeps
//! confinement.
//!
//! Invariant: confined code has no `ret`, no indirect branch and no call. Its
//! stack is writable, and the kernel is full of `wrmsr`: one return to a
//! forged address would be a full breakout. So after the JIT, [`scan`] finds
//! the call of each site, the caller turns each into a jump, and [`check`]
//! looks at every instruction of the result.
//!
//! What the JIT emits for a main program (`do_jit()` in
//! `arch/x86/net/bpf_jit_comp.c`), with the prologue of
//! [`super::rewrite::prologue`]:
//!
//! ```text
//! start:  endbr64; nop5; nop3; push rbp; mov rbp, rsp; endbr64
//!         sub rsp, depth
//!         (the count of tail calls, if the program makes any:)
//!         cmp rax, 33; ja 1f; push rax; mov rax, rsp; jmp 2f
//!     1:  push rax
//!     2:  push rax                rax points to the count
//!         push ...; mov rsi, slot
//!         call enter              the only call
//!         test r10, r10
//!         jz   body               r10 is BPF's AX
//!         pop ...; leave; ret     the only way out, in kernel mode
//! body:   ...                     confined from here on
//! ```
//!
//! The pushes are of the registers that a function keeps for its caller and the code names: the
//! kernel's values of those come back with the epilogue, and no others can change.
//!
//! Nothing before `body` is the target of a jump, so the `ret` is reached
//! through enter's second return alone. All code that can run is decoded from
//! the start without a gap and every jump lands on a decoded instruction, so no
//! other reading of the bytes can run.

mod kind;
mod shape;

use super::x86::{Decoder, OpcodeMap, X86Insn};
use core::fmt;
use kind::{kind, loads_base, Kind};
use shape::{Part, Shape};

/// A direct call in an image, as [`scan`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteHit {
    /// Where its `e8` is, in bytes from the start.
    pub offset: u32,
    /// Where the next instruction is, in bytes from the start.
    pub next: u32,
    /// The address it calls.
    pub target: u64,
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes that are no instruction the JIT emits.
    Unknown,
    /// A known instruction with operands or prefixes that the JIT never gives
    /// it.
    Form,
    /// An instruction that is known but has no place here.
    Order,
    /// A call of something else than the enter gate.
    Call,
    /// A `ret` or `leave` outside of the one epilogue.
    Return,
    /// The enter gate is not called, or its second return is not handled as
    /// the prologue does.
    Enter,
    /// A jump that lands neither on an instruction of the body nor on this
    /// site's stub.
    Jump,
    /// The code runs over its end.
    End,
    /// Longer than can be checked, or the caller's bitmap is too short.
    Length,
    /// The caller refused a site that [`scan`] found.
    Site,
    /// A register that a function keeps for its caller is named and not saved, or not
    /// taken back as it was saved.
    Saved,
    /// The base of an arena is not set once, or used by a program without one.
    Arena,
}

/// An image that is not let run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageError {
    /// Where, in bytes from the start.
    pub offset: u32,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.fault {
            Fault::Unknown => "unknown instruction",
            Fault::Form => "unknown form of an instruction",
            Fault::Order => "instruction out of place",
            Fault::Call => "call",
            Fault::Return => "return outside of the epilogue",
            Fault::Enter => "no call of the enter gate",
            Fault::Jump => "jump out of the program",
            Fault::End => "code runs over its end",
            Fault::Length => "image too long",
            Fault::Site => "unknown call site",
            Fault::Saved => "register that is not saved",
            Fault::Arena => "base of an arena",
        };
        write!(f, "{what} at +{:#x}", self.offset)
    }
}

/// What the image must be made for.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The address where the code will run.
    pub base: u64,
    /// The address of the enter gate.
    pub enter: u64,
    /// The kernel's return thunk, if the JIT jumps there instead of returning
    /// (`cpu_wants_rethunk()`).
    pub return_thunk: Option<u64>,
    /// The base of its arena, if the program has one.
    pub arena: Option<u64>,
    /// Whether a trampoline may be attached: then a call may be where the
    /// first five-byte nop is. Not so at load.
    pub trampoline: bool,
}

/// What [`check`] learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Instructions, padding not counted.
    pub insns: u32,
    /// Where the enter gate is called.
    pub enter: u32,
    /// Where the epilogue begins.
    pub epilogue: u32,
    /// Where the body begins: the first byte that runs confined.
    pub body: u32,
    /// Where the body ends: the first byte of the padding, or the length.
    pub end: u32,
    /// Bytes between rbp and rsp when the enter gate is called: BPF stack and
    /// saved registers.
    pub frame: u32,
    /// The registers that a function keeps for its caller and the body names, one bit each.
    pub names: u32,
    /// Jumps to stubs.
    pub stub_jumps: u32,
    /// Where tail calls enter it: behind `mov rbp, rsp`.
    pub tail_entry: u32,
    /// Whether it gives enter the count of tail calls.
    pub counts: bool,
}

/// Whether a jump out of the image is one to its site's stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stub {
    /// It is not.
    None,
    /// It is, and the stub goes back to the instruction behind the jump.
    Returns,
    /// It is, and the stub ends the run.
    Ends,
}

/// Bytes of bitmap for an image of `len` bytes.
pub const fn bitmap_len(len: usize) -> usize {
    len.div_ceil(8)
}

/// Whether an instruction of the body, or one before it, starts at `offset`
/// bytes from the start. `starts` is what [`check`] filled.
pub fn is_start(starts: &[u8], offset: u32) -> bool {
    starts
        .get((offset / 8) as usize)
        .is_some_and(|byte| byte & (1 << (offset % 8)) != 0)
}

/// Finds the direct calls in an image, by decoding from its start; a search
/// for the byte `e8` would find operands. Returns how many there are.
///
/// `sites` sees each call in order and ends the scan with an error of its own. What is
/// found is good for nothing before [`check`] has looked at the image.
pub fn scan<D: Decoder + ?Sized>(
    code: &[u8],
    base: u64,
    decoder: &D,
    sites: &mut dyn FnMut(SiteHit) -> Result<(), ImageError>,
) -> Result<u32, ImageError> {
    let mut found = 0u32;
    let mut walk = Walk::new(code, decoder, true)?;
    while let Some((offset, insn)) = walk.next()? {
        if insn.map == OpcodeMap::OneByte && insn.opcode == 0xe8 {
            let next = offset.saturating_add(u32::from(insn.len));
            sites(SiteHit {
                offset,
                next,
                target: base
                    .wrapping_add(u64::from(next))
                    .wrapping_add_signed(insn.imm),
            })?;
            found = found.saturating_add(1);
        }
    }
    Ok(found)
}

/// Where an image has the base of its arena in its prologue, as the 8 bytes of an immediate,
/// in bytes from the start: the one `movabs` to the register of an arena's base, of `base`,
/// before anything is called. `None` if it is not there.
pub fn arena_base<D: Decoder + ?Sized>(code: &[u8], base: u64, decoder: &D) -> Option<u32> {
    let mut at = 0u32;
    loop {
        let insn = decoder.decode_again(code.get(at as usize..)?)?;
        let next = at.checked_add(u32::from(insn.len))?;
        match kind(&insn)? {
            Kind::Call(_) => return None,
            _ if loads_base(&insn) && insn.imm as u64 == base => return next.checked_sub(8),
            _ => at = next,
        }
    }
}

/// Where the instruction starts that follows the unconditional jump at `at`. In
/// front of a jump the JIT puts nops while an image's size has not settled.
pub fn behind_jump<D: Decoder + ?Sized>(code: &[u8], at: u32, decoder: &D) -> Option<u32> {
    let mut at = at;
    loop {
        let insn = decoder.decode(code.get(at as usize..)?)?;
        at = at.checked_add(u32::from(insn.len))?;
        match kind(&insn)? {
            Kind::Nop => {}
            Kind::Jump(_) if (at as usize) < code.len() => return Some(at),
            _ => return None,
        }
    }
}

/// Checks a finished image, the calls of its sites already turned into jumps.
///
/// `stub(offset, target)` says what the jump at `offset` bytes from the start
/// to the address `target` outside of the image is: anything but
/// [`Stub::None`] only if `target` is the exact start of the stub of that very
/// site. `starts` receives one bit for
/// each byte of `code`, set where an instruction starts; it must have
/// [`bitmap_len`] bytes. On error its content means nothing.
pub fn check<D: Decoder + ?Sized>(
    code: &[u8],
    expect: &Expect,
    decoder: &D,
    starts: &mut [u8],
    stub: &mut dyn FnMut(u32, u64) -> Stub,
) -> Result<Report, ImageError> {
    let starts = starts.get_mut(..bitmap_len(code.len())).ok_or(ImageError {
        offset: 0,
        fault: Fault::Length,
    })?;
    starts.fill(0);

    // First every instruction and the order of things, then, with all starts
    // known, the jumps.
    let mut shape = Shape::new(expect);
    let mut walk = Walk::new(code, decoder, false)?;
    while let Some((offset, insn)) = walk.next()? {
        let part = shape
            .take(offset, &insn)
            .map_err(|fault| ImageError { offset, fault })?;
        if part == Part::Padding {
            continue;
        }
        if let Some(byte) = starts.get_mut((offset / 8) as usize) {
            *byte |= 1 << (offset % 8);
        }
    }
    let mut report = shape.report(walk.at)?;

    for offset in report.body..report.end {
        let rest = code.get(offset as usize..).unwrap_or_default();
        // No other instruction of those that were just seen begins with these bytes.
        if !is_start(starts, offset) || !begins_jump(rest) {
            continue;
        }
        let insn = decoder.decode_again(rest);
        let Some((insn, Kind::Jump(distance) | Kind::Branch(distance))) =
            insn.and_then(|insn| Some((insn, kind(&insn)?)))
        else {
            return Err(ImageError {
                offset,
                fault: Fault::Unknown,
            });
        };
        let wrong = Err(ImageError {
            offset,
            fault: Fault::Jump,
        });
        let next = i64::from(offset).saturating_add(i64::from(insn.len));
        let target = next.saturating_add(distance);
        let inside = u32::try_from(target)
            .ok()
            .filter(|target| (report.body..report.end).contains(target));
        match inside {
            Some(target) if is_start(starts, target) => {}
            Some(_) => return wrong,
            // A stub is reached by the five bytes that were its call.
            None if insn.opcode == 0xe9 && insn.map == OpcodeMap::OneByte => {
                let target = expect.base.wrapping_add_signed(target);
                if target.wrapping_sub(expect.base) < code.len() as u64 {
                    return wrong;
                }
                match stub(offset, target) {
                    Stub::Ends => {}
                    // It comes back to where there is something to come back
                    // to.
                    Stub::Returns if next < i64::from(report.end) => {}
                    Stub::Returns | Stub::None => return wrong,
                }
                report.stub_jumps = report.stub_jumps.saturating_add(1);
            }
            None => return wrong,
        }
    }
    Ok(report)
}

/// Whether the instruction that begins so is a jump, if it is one that the JIT emits: it gives
/// jumps no prefix (SDM volume 2, A.3).
fn begins_jump(code: &[u8]) -> bool {
    match code {
        [0x70..=0x7f | 0xe9 | 0xeb, ..] => true,
        [0x0f, second, ..] => matches!(second, 0x80..=0x8f),
        _ => false,
    }
}

/// Instructions one after the other.
struct Walk<'a, D: ?Sized> {
    code: &'a [u8],
    decoder: &'a D,
    /// Another walk goes the same way and asks for all that the decoder has to say.
    again: bool,
    at: u32,
}

impl<'a, D: Decoder + ?Sized> Walk<'a, D> {
    fn new(code: &'a [u8], decoder: &'a D, again: bool) -> Result<Self, ImageError> {
        // Distances within an image fit 32 bits.
        if code.len() > i32::MAX as usize {
            return Err(ImageError {
                offset: 0,
                fault: Fault::Length,
            });
        }
        Ok(Self {
            code,
            decoder,
            again,
            at: 0,
        })
    }

    #[inline(always)]
    fn next(&mut self) -> Result<Option<(u32, X86Insn)>, ImageError> {
        let offset = self.at;
        let rest = self.code.get(offset as usize..).unwrap_or(&[]);
        if rest.is_empty() {
            return Ok(None);
        }
        let unknown = ImageError {
            offset,
            fault: Fault::Unknown,
        };
        let insn = if self.again {
            self.decoder.decode_again(rest)
        } else {
            self.decoder.decode(rest)
        };
        let insn = insn.ok_or(unknown)?;
        let len = usize::from(insn.len);
        if len == 0 || len > rest.len() {
            return Err(unknown);
        }
        self.at = offset.saturating_add(u32::from(insn.len));
        Ok(Some((offset, insn)))
    }
}
