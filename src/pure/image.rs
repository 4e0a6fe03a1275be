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

use super::access::{memory_access, Op, ARENA_BASE};
use super::x86::{Decoder, OpcodeMap, X86Insn, R10, R12, RAX, RBP, RBX, RSP};
use core::fmt;

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

/// `MAX_TAIL_CALL_CNT`, include/linux/bpf.h.
const MAX_TAIL_CALLS: i64 = 33;

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
/// in bytes from the start: the one `movabs` to [`ARENA_BASE`], of `base`, before anything is
/// called. `None` if it is not there.
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

/// Whether `insn` is a `movabs` to the register of an arena's base.
fn loads_base(insn: &X86Insn) -> bool {
    insn.map == OpcodeMap::OneByte
        && (0xb8..=0xbf).contains(&insn.opcode)
        && insn.w()
        && insn.opcode_reg() == ARENA_BASE
        && insn.is_plain()
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

    let mut walk = Walk::new(code, decoder, true)?;
    while let Some((offset, insn)) = walk.next()? {
        if offset < report.body || offset >= report.end {
            continue;
        }
        let (Kind::Jump(distance) | Kind::Branch(distance)) = kind(&insn).unwrap_or(Kind::Plain)
        else {
            continue;
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

/// What an instruction is to the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Computes in registers; stack and frame pointer are not written.
    Plain,
    /// Reads or writes memory; stack and frame pointer are not written.
    Memory,
    Endbr,
    Nop,
    Push,
    /// Of any register but the stack pointer.
    Pop {
        frame_pointer: bool,
    },
    /// `mov rbp, rsp`
    SetFrame,
    /// `mov rax, rsp`
    TakeStack,
    /// `sub rsp, n`
    Reserve(u32),
    /// `add rsp, n`
    Unreserve,
    /// `add rbp, n`: into a function's frame, and out of it
    /// ([`super::rewrite::functions`]).
    MoveFrame,
    /// `test r10, r10`
    TestAx,
    /// A conditional jump, with its distance.
    Branch(i64),
    /// An unconditional jump, with its distance.
    Jump(i64),
    Call(i64),
    Leave,
    Ret,
    Int3,
}

/// What `insn` is, if the JIT emits it in this form.
fn kind(insn: &X86Insn) -> Option<Kind> {
    if insn.addrsize || insn.repne || insn.segment.is_some() {
        return None;
    }
    // f3 makes endbr64 and nothing else.
    if insn.rep {
        let endbr = insn.map == OpcodeMap::Escape0f
            && insn.opcode == 0x1e
            && insn.modrm == Some(0xfa)
            && insn.rex == 0
            && !insn.opsize
            && !insn.lock;
        return endbr.then_some(Kind::Endbr);
    }
    if insn.lock {
        return memory(insn);
    }
    match insn.map {
        OpcodeMap::OneByte => one_byte(insn),
        OpcodeMap::Escape0f => escape_0f(insn),
        OpcodeMap::Escape0f38 => shift_x(insn),
        OpcodeMap::Escape0f3a | OpcodeMap::Other => None,
    }
}

fn one_byte(insn: &X86Insn) -> Option<Kind> {
    let in_memory = insn.is_memory();
    let opsize_ok = match insn.opcode {
        0x89 | 0xc7 => in_memory && !insn.w(),
        0xc1 => insn.digit() == Some(1) && !insn.w(),
        0x90 => true,
        _ => false,
    };
    if insn.opsize && !opsize_ok {
        return None;
    }
    match insn.opcode {
        // Loads, stores and exchange.
        0x88 | 0x89 | 0x8b | 0x63 | 0x87 | 0xc6 | 0xc7 if in_memory => memory(insn),
        // With constant blinding.
        0x01 if insn.w() && insn.rm_reg()? == RBP && insn.reg()? == R10 => Some(Kind::MoveFrame),
        // r/m op= reg
        0x01 | 0x09 | 0x21 | 0x29 | 0x31 => registers(insn.rm_reg()?, insn.reg()?),
        // cmp, test
        0x39 => readable(insn.rm_reg()?, insn.reg()?),
        0x85 => {
            let (rm, reg) = (insn.rm_reg()?, insn.reg()?);
            if rm == R10 && reg == R10 && insn.w() {
                return Some(Kind::TestAx);
            }
            readable(rm, reg)
        }
        0x89 => {
            let (rm, reg) = (insn.rm_reg()?, insn.reg()?);
            if reg == RSP && insn.w() && rm == RBP {
                return Some(Kind::SetFrame);
            }
            if reg == RSP && insn.rex == 0x48 && rm == RAX {
                return Some(Kind::TakeStack);
            }
            registers(rm, reg)
        }
        0x63 if insn.w() => registers(insn.reg()?, insn.rm_reg()?),
        0x69 | 0x6b => registers(insn.reg()?, insn.rm_reg()?),
        // eax op= imm
        0x05 | 0x0d | 0x25 | 0x2d | 0x35 => Some(Kind::Plain),
        0x81 | 0x83 => {
            let rm = insn.rm_reg()?;
            let bytes = u32::try_from(insn.imm).ok();
            match insn.digit()? {
                0 if rm == RSP && insn.w() => bytes.map(|_| Kind::Unreserve),
                5 if rm == RSP && insn.w() => bytes.map(Kind::Reserve),
                0 if rm == RBP && insn.w() => Some(Kind::MoveFrame),
                0 | 1 | 4 | 5 | 6 => free(rm).then_some(Kind::Plain),
                // cmp
                7 => (rm != RSP).then_some(Kind::Plain),
                _ => None,
            }
        }
        0xb8..=0xbf => free(insn.opcode_reg()).then_some(Kind::Plain),
        0xc7 if insn.w() && insn.digit() == Some(0) => free(insn.rm_reg()?).then_some(Kind::Plain),
        // rol, of the cast to an arena's addresses in user space
        0xc1 if insn.digit() == Some(0) => {
            (insn.w() && insn.imm == 32 && free(insn.rm_reg()?)).then_some(Kind::Plain)
        }
        0xc1 if insn.opsize => (free(insn.rm_reg()?) && insn.imm == 8).then_some(Kind::Plain),
        0xc1 | 0xd1 | 0xd3 => match insn.digit()? {
            4 | 5 | 7 => free(insn.rm_reg()?).then_some(Kind::Plain),
            _ => None,
        },
        0xf7 => {
            let rm = insn.rm_reg()?;
            match insn.digit()? {
                // test, div, idiv
                0 | 6 | 7 => (rm != RSP).then_some(Kind::Plain),
                // neg
                3 => free(rm).then_some(Kind::Plain),
                _ => None,
            }
        }
        0x99 => Some(Kind::Plain),
        0x50..=0x57 => (insn.rex & 0xe == 0 || insn.rex == 0x41)
            .then_some(insn.opcode_reg())
            .filter(|reg| *reg != RSP)
            .map(|_| Kind::Push),
        0x58..=0x5f => (insn.rex & 0xe == 0 || insn.rex == 0x41)
            .then_some(insn.opcode_reg())
            .filter(|reg| *reg != RSP)
            .map(|reg| Kind::Pop {
                frame_pointer: reg == RBP,
            }),
        0x70..=0x7f if insn.rex == 0 => Some(Kind::Branch(insn.imm)),
        0xe9 | 0xeb if insn.rex == 0 => Some(Kind::Jump(insn.imm)),
        0xe8 if insn.rex == 0 => Some(Kind::Call(insn.imm)),
        // With REX.B this would exchange r8 and rax.
        0x90 if insn.rex == 0 => Some(Kind::Nop),
        0xc9 if insn.rex == 0 => Some(Kind::Leave),
        0xc3 if insn.rex == 0 => Some(Kind::Ret),
        0xcc if insn.rex == 0 => Some(Kind::Int3),
        _ => None,
    }
}

fn escape_0f(insn: &X86Insn) -> Option<Kind> {
    if insn.opsize {
        // nopw
        return (insn.opcode == 0x1f && insn.digit() == Some(0) && insn.rex == 0)
            .then_some(Kind::Nop);
    }
    match insn.opcode {
        0x1f => (insn.digit() == Some(0) && insn.rex == 0).then_some(Kind::Nop),
        0x80..=0x8f if insn.rex == 0 => Some(Kind::Branch(insn.imm)),
        0x44 | 0xaf => registers(insn.reg()?, insn.rm_reg()?),
        0xb6 | 0xb7 | 0xbe | 0xbf => {
            if insn.is_memory() {
                return memory(insn);
            }
            registers(insn.reg()?, insn.rm_reg()?)
        }
        0xc8..=0xcf => free(insn.opcode_reg()).then_some(Kind::Plain),
        // lfence
        0xae if insn.modrm == Some(0xe8) && insn.rex == 0 => Some(Kind::Plain),
        _ => None,
    }
}

fn shift_x(insn: &X86Insn) -> Option<Kind> {
    let vex = insn.vex?;
    // Without an implied prefix it is bextr.
    if insn.opcode != 0xf7 || vex.l || vex.pp == 0 || vex.vvvv == RSP {
        return None;
    }
    registers(insn.reg()?, insn.rm_reg()?)
}

/// An access to memory, as mediation knows them all, addressed as the JIT does
/// it: by a register and a displacement of 8 or 32 bits, and to an arena with its base
/// for an index.
fn memory(insn: &X86Insn) -> Option<Kind> {
    if !matches!(insn.mode(), Some(1 | 2)) {
        return None;
    }
    let access = memory_access(insn)?;
    let arena = access.is_arena() && access.base != RSP;
    if insn.sib.is_some() && !arena {
        return None;
    }
    let operand_ok = match access.op {
        Op::Load | Op::FetchAdd | Op::Exchange => free(access.reg),
        Op::StoreImm => true,
        _ => access.reg != RSP,
    };
    operand_ok.then_some(Kind::Memory)
}

/// An instruction that writes `to` and reads `from`.
fn registers(to: u8, from: u8) -> Option<Kind> {
    (free(to) && from != RSP).then_some(Kind::Plain)
}

/// An instruction that reads both.
fn readable(one: u8, other: u8) -> Option<Kind> {
    (one != RSP && other != RSP).then_some(Kind::Plain)
}

/// Whether BPF code may write the register: all but stack and frame pointer.
const fn free(reg: u8) -> bool {
    reg != RSP && reg != RBP
}

/// The registers that a function keeps for its caller, but stack and frame pointer, one bit
/// each.
const KEPT: u32 = (1 << RBX) | (0xf << R12);

/// Those of these that `insn` names, a push or pop among others.
fn kept(insn: &X86Insn) -> u32 {
    let has_digit = match insn.map {
        OpcodeMap::OneByte => matches!(
            insn.opcode,
            0x81 | 0x83 | 0xc1 | 0xc6 | 0xc7 | 0xd1 | 0xd3 | 0xf7
        ),
        OpcodeMap::Escape0f => matches!(insn.opcode, 0x1e | 0x1f | 0xae),
        _ => false,
    };
    let in_opcode = match insn.map {
        OpcodeMap::OneByte => matches!(insn.opcode, 0x50..=0x5f | 0xb8..=0xbf),
        OpcodeMap::Escape0f => matches!(insn.opcode, 0xc8..=0xcf),
        _ => false,
    };
    // The operand itself, or what its address begins with. An index is an arena's base.
    let low = insn.sib.or(insn.modrm);
    let operand = low.map(|byte| (byte & 7) | ((insn.rex & 1) << 3));
    // Without REX the bytes 4 to 7 are ah, ch, dh and bh.
    let byte = match (insn.map, insn.opcode) {
        (OpcodeMap::Escape0f, 0xb6 | 0xbe) => insn.rm_reg(),
        _ => None,
    };
    let all = [
        insn.reg().filter(|_| !has_digit),
        operand,
        byte.filter(|reg| insn.rex == 0 && *reg >= 4)
            .map(|reg| reg & 3),
        insn.vex.map(|vex| vex.vvvv),
        Some(insn.opcode_reg()).filter(|_| in_opcode),
    ];
    let set = |set: u32, reg: u8| set | (1 << (reg & 15));
    all.into_iter().flatten().fold(0, set) & KEPT
}

/// Which part of the image an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Up to the call of the enter gate.
    Start,
    /// Behind that call: `test r10, r10` is due.
    Test,
    /// The jump over the epilogue is due.
    Skip,
    /// The epilogue, saved registers.
    Pops,
    /// `leave` was seen: the return is due.
    Left,
    /// The return was seen: padding up to the body.
    Returned,
    Body,
    Padding,
}

/// The order of things in an image, one instruction after the other.
struct Shape<'a> {
    expect: &'a Expect,
    part: Part,
    insns: u32,
    enter: u32,
    epilogue: u32,
    body: u32,
    end: u32,
    frame: u32,
    /// `mov rbp, rsp` was seen.
    framed: bool,
    /// Behind it.
    tail_entry: u32,
    /// How much was seen of what counts tail calls.
    counted: usize,
    /// The registers of [`KEPT`] that were pushed, four bits each, the last one lowest.
    pushed: u32,
    /// The same, one bit each.
    saved: u32,
    names: u32,
    /// r12 was pushed, and became the arena's base.
    base_saved: bool,
    based: bool,
    /// The last instruction does not go on to the next.
    closed: bool,
}

impl<'a> Shape<'a> {
    fn new(expect: &'a Expect) -> Self {
        Self {
            expect,
            part: Part::Start,
            insns: 0,
            enter: 0,
            epilogue: 0,
            body: 0,
            end: 0,
            frame: 0,
            framed: false,
            tail_entry: 0,
            counted: 0,
            pushed: 0,
            saved: 0,
            names: 0,
            base_saved: false,
            based: false,
            closed: false,
        }
    }

    /// Takes the instructions that count tail calls (`emit_prologue_tail_call()`),
    /// one after the other and each once. Whether this was one of them. Their
    /// lengths are fixed, so the jumps land where they must.
    fn count(&mut self, insn: &X86Insn, kind: Kind) -> Result<bool, Fault> {
        const STEPS: usize = 7;
        let push = kind == Kind::Push && insn.opcode == 0x50 && insn.rex == 0;
        let due = match self.counted {
            0 | STEPS => {
                let compare = insn.map == OpcodeMap::OneByte
                    && insn.opcode == 0x83
                    && insn.digit() == Some(7)
                    && insn.rex == 0x48
                    && insn.rm_reg() == Some(RAX)
                    && insn.imm == MAX_TAIL_CALLS;
                if !compare {
                    return Ok(false);
                }
                self.framed && self.counted == 0
            }
            1 => kind == Kind::Branch(6) && insn.opcode == 0x77,
            3 => kind == Kind::TakeStack,
            4 => kind == Kind::Jump(1) && insn.opcode == 0xeb,
            _ => push,
        };
        if !due {
            return Err(Fault::Order);
        }
        self.counted += 1;
        if matches!(self.counted, 6 | STEPS) {
            // Of the first two pushes one is passed over.
            self.frame = self.frame.saturating_add(8);
        }
        Ok(true)
    }

    fn take(&mut self, offset: u32, insn: &X86Insn) -> Result<Part, Fault> {
        let kind = kind(insn).ok_or(Fault::Form)?;
        let next = offset.saturating_add(u32::from(insn.len));
        let address = |distance: i64| {
            self.expect
                .base
                .wrapping_add(u64::from(next))
                .wrapping_add_signed(distance)
        };

        if matches!(self.part, Part::Pops | Part::Left | Part::Returned) {
            match offset.cmp(&self.body) {
                core::cmp::Ordering::Less => {}
                core::cmp::Ordering::Equal if self.part == Part::Returned => {
                    self.part = Part::Body;
                    self.closed = false;
                }
                // The skip lands inside the epilogue or an instruction.
                _ => return Err(Fault::Enter),
            }
        }

        if self.part == Part::Start && self.count(insn, kind)? {
            self.insns = self.insns.saturating_add(1);
            return Ok(self.part);
        }

        match self.part {
            Part::Start => match kind {
                Kind::Nop | Kind::Endbr => {}
                Kind::Plain if kept(insn) == 0 => {}
                Kind::Plain if self.sets_base(insn) => {
                    if !self.base_saved || self.based {
                        return Err(Fault::Arena);
                    }
                    self.based = true;
                }
                Kind::Plain => return Err(Fault::Saved),
                Kind::Push => {
                    if self.framed {
                        self.frame = self.frame.saturating_add(8);
                    }
                    self.save(insn)?;
                }
                Kind::SetFrame if !self.framed => {
                    self.framed = true;
                    self.tail_entry = next;
                }
                Kind::Reserve(bytes) if self.framed => {
                    self.frame = self.frame.saturating_add(bytes);
                }
                // Where bpf_arch_text_poke() puts a trampoline's call.
                Kind::Call(_) if self.expect.trampoline && matches!(offset, 0 | 4) => {}
                Kind::Call(_) if self.expect.arena.is_some() && !self.based => {
                    return Err(Fault::Arena)
                }
                Kind::Call(distance) if address(distance) == self.expect.enter => {
                    if !self.framed {
                        return Err(Fault::Enter);
                    }
                    self.enter = offset;
                    self.part = Part::Test;
                }
                Kind::Call(_) => return Err(Fault::Call),
                Kind::Ret | Kind::Leave => return Err(Fault::Return),
                _ => return Err(Fault::Order),
            },
            Part::Test => match kind {
                Kind::TestAx => self.part = Part::Skip,
                _ => return Err(Fault::Enter),
            },
            Part::Skip => match kind {
                // Padding of a jump that became shorter in the last passes.
                Kind::Nop => {}
                Kind::Branch(distance) if insn.opcode & 0xf == 0x4 && distance > 0 => {
                    self.body = u32::try_from(i64::from(next).saturating_add(distance))
                        .map_err(|_| Fault::Enter)?;
                    self.epilogue = next;
                    self.part = Part::Pops;
                }
                _ => return Err(Fault::Enter),
            },
            Part::Pops => match kind {
                Kind::Pop {
                    frame_pointer: false,
                } => self.restore(insn)?,
                Kind::Unreserve => {}
                Kind::Leave if self.pushed != 0 => return Err(Fault::Saved),
                Kind::Leave => self.part = Part::Left,
                _ => return Err(Fault::Enter),
            },
            Part::Left => match kind {
                Kind::Ret => self.part = Part::Returned,
                Kind::Jump(distance)
                    if insn.opcode == 0xe9
                        && Some(address(distance)) == self.expect.return_thunk =>
                {
                    self.part = Part::Returned;
                }
                _ => return Err(Fault::Return),
            },
            Part::Returned => match kind {
                // Behind a return against straight-line speculation.
                Kind::Int3 => {}
                _ => return Err(Fault::Enter),
            },
            Part::Body => {
                match kind {
                    Kind::Int3 if self.closed => {
                        self.part = Part::Padding;
                        self.end = offset;
                        return Ok(Part::Padding);
                    }
                    Kind::Plain
                    | Kind::Memory
                    | Kind::MoveFrame
                    | Kind::Nop
                    | Kind::TestAx
                    | Kind::Push
                    | Kind::Pop {
                        frame_pointer: false,
                    }
                    | Kind::Branch(_)
                    | Kind::Jump(_) => {}
                    Kind::Call(_) => return Err(Fault::Call),
                    Kind::Ret | Kind::Leave => return Err(Fault::Return),
                    _ => return Err(Fault::Order),
                }
                let named = if kind == Kind::Nop { 0 } else { kept(insn) };
                if named & !self.saved != 0 {
                    return Err(Fault::Saved);
                }
                self.names |= named;
                let indexed = kind == Kind::Memory && insn.sib.is_some();
                if indexed && self.expect.arena.is_none() {
                    return Err(Fault::Arena);
                }
                self.closed = matches!(kind, Kind::Jump(_));
            }
            Part::Padding => match kind {
                Kind::Int3 => return Ok(Part::Padding),
                _ => return Err(Fault::End),
            },
        }
        self.insns = self.insns.saturating_add(1);
        Ok(self.part)
    }

    /// Takes a push in front of the call of enter.
    fn save(&mut self, insn: &X86Insn) -> Result<(), Fault> {
        let (reg, kept) = (insn.opcode_reg(), kept(insn));
        if kept == 0 {
            return Ok(());
        }
        // r12 is the kernel's, or holds the count of a may_goto: nothing clears or saves it here,
        // but for the base of an arena. The code names it nowhere.
        let base = reg == ARENA_BASE && self.expect.arena.is_some() && !self.base_saved;
        if !self.framed || kept & self.saved != 0 || reg == R12 && !base {
            return Err(Fault::Saved);
        }
        if base {
            self.base_saved = true;
        } else {
            self.saved |= kept;
        }
        self.pushed = (self.pushed << 4) | u32::from(reg);
        Ok(())
    }

    /// Whether `insn` sets the base of the arena.
    fn sets_base(&self, insn: &X86Insn) -> bool {
        loads_base(insn) && Some(insn.imm as u64) == self.expect.arena
    }

    /// Takes a pop of the epilogue: what was saved last comes back first.
    fn restore(&mut self, insn: &X86Insn) -> Result<(), Fault> {
        if kept(insn) != 0 {
            if self.pushed & 0xf != u32::from(insn.opcode_reg()) {
                return Err(Fault::Saved);
            }
            self.pushed >>= 4;
        }
        Ok(())
    }

    fn report(&self, len: u32) -> Result<Report, ImageError> {
        let fault = match self.part {
            Part::Padding => None,
            Part::Body if self.closed => None,
            Part::Body => Some(Fault::End),
            _ => Some(Fault::Enter),
        };
        if let Some(fault) = fault {
            return Err(ImageError { offset: len, fault });
        }
        Ok(Report {
            insns: self.insns,
            enter: self.enter,
            epilogue: self.epilogue,
            body: self.body,
            end: if self.part == Part::Padding {
                self.end
            } else {
                len
            },
            frame: self.frame,
            names: self.names,
            stub_jumps: 0,
            tail_entry: self.tail_entry,
            counts: self.counted > 0,
        })
    }
}
