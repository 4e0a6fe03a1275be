// SPDX-License-Identifier: GPL-2.0
//! The kernel's functions on strings (kernel/bpf/helpers.c), which read any address that
//! they are given, up to a NUL or [`LONGEST`] bytes: here they are the program's own
//! loads, byte by byte and in the kernel's order.
//!
//! ```text
//!     r0 = s                          is it an address of the kernel's half?
//!     r0 s>>= 12
//!     if r0 == the vsyscall page's goto range
//!     r0 s>>= half - 12
//!     if r0 != -1 goto range
//!     ...                             what the function does, with R0 to R5
//! range:
//!     w0 = -ERANGE
//! out:
//! ```
//!
//! What they return is an `int`: the low half counts, and the high one is 0, as it is
//! behind the kernel's. Where the kernel finds nothing to read, and returns `-EFAULT`,
//! such a load is none of the domain's: a violation, like any other of the program's.

use super::{code, op, op32, op32_imm, op_imm, Emit};
use crate::pure::insn::{alu, class, jmp, size, Insn, K, REG_0, REG_1, REG_2, X};

const REG_3: u8 = 3;
const REG_4: u8 = 4;
const REG_5: u8 = 5;

/// Most bytes that are read of a string (`XATTR_SIZE_MAX`, include/uapi/linux/limits.h).
pub const LONGEST: u32 = 65536;

/// What a longer limit of a search for a string is as good as: more bytes than such a
/// search reads.
const FURTHEST: u32 = 2 * LONGEST;

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const ERANGE: i32 = 34;

const PAGE_SHIFT: u32 = 12;
/// The number of the page at `VSYSCALL_ADDR`, -10 << 20 (arch/x86/include/uapi/asm/vsyscall.h).
const VSYSCALL_PAGE: i32 = -10 << (20 - PAGE_SHIFT);

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Compares two strings; in the letters' case or not; up to as many bytes as the
    /// third argument says, or to the end.
    Compare { folds: bool, limited: bool },
    /// Counts the bytes of a string, of as many as the second argument says at most.
    Length { limited: bool },
    /// Finds a byte: the third argument, among as many as the second says, or the second
    /// argument. The NUL is one of the string's.
    Find { limited: bool },
    /// Finds a byte, or the end.
    FindOrEnd,
    /// Finds a byte's last place. It is an `int` here.
    FindLast,
    /// Counts the bytes in front of the first one that is none of the other string's, or
    /// that is one of them.
    Span { of: bool },
    /// Finds a string in another one; in the letters' case or not; among as many bytes
    /// as the third argument says.
    Within { folds: bool, limited: bool },
}

/// One of these functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strings {
    does: Does,
    /// The kernel's half of all addresses has all bits from this one on: 47 with four
    /// levels of page tables, 56 with five.
    half: u32,
    /// What the program has read out of objects of the kernel's may be addresses of its
    /// strings: its loads become probes ([`Insn::as_probe`]).
    follows: bool,
}

/// A place that jumps lead to.
#[derive(Clone, Copy, Debug)]
enum Place {
    Begin,
    Next,
    Inner,
    On,
    Differ,
    Other,
    None,
    Big,
    Done,
    Range,
    Out,
}

impl From<Place> for usize {
    fn from(place: Place) -> Self {
        place as Self
    }
}

type Code<'a, E> = code::Code<'a, E, Place>;

impl<E> Code<'_, E> {
    /// Loads a byte.
    fn byte(&mut self, to: u8, at: u8) -> Result<(), E> {
        let load = Insn::ldx(size::B, to, at, 0);
        self.insn(if self.probes { load.as_probe() } else { load })
    }

    /// Sets the result, which is not looked at any more.
    fn end(&mut self, result: i32) -> Result<(), E> {
        self.insn(number(REG_0, result))?;
        self.goto(Place::Out)
    }

    /// Sees to it that `reg` is an address of the kernel's half
    /// (`copy_from_kernel_nofault_allowed()`, arch/x86/mm/maccess.c), with R0.
    fn check(&mut self, reg: u8, half: u32) -> Result<(), E> {
        let page = op_imm(alu::ARSH, REG_0, PAGE_SHIFT);
        self.insns([op(alu::MOV, REG_0, reg), page])?;
        self.if_whole(jmp::JEQ, REG_0, VSYSCALL_PAGE, Place::Range)?;
        self.insn(op_imm(alu::ARSH, REG_0, half.wrapping_sub(PAGE_SHIFT)))?;
        self.if_whole(jmp::JNE, REG_0, -1, Place::Range)
    }

    /// The limit in `reg`, or `most` if it is more or there is none.
    fn limit(&mut self, reg: u8, most: u32, limited: bool) -> Result<(), E> {
        if limited {
            self.if_whole(jmp::JLT, reg, most as i32, Place::Begin)?;
        }
        self.insn(number(reg, most as i32))?;
        self.place(Place::Begin);
        Ok(())
    }

    /// `tolower()` of the byte in `reg` (lib/ctype.c): of ASCII and of Latin-1.
    fn lower(&mut self, reg: u8) -> Result<(), E> {
        let over = |op, imm: u8, distance| {
            Insn::new(class::JMP32 | op | K, reg, 0, distance, i32::from(imm))
        };
        self.insns([
            over(jmp::JLT, b'A', 5),
            over(jmp::JLE, b'Z', 3),
            over(jmp::JLT, 0xc0, 3),
            over(jmp::JGT, 0xde, 2),
            over(jmp::JEQ, 0xd7, 1),
            op32_imm(alu::ADD, reg, u32::from(b'a' - b'A')),
        ])
    }

    fn compare(&mut self, folds: bool, limited: bool) -> Result<(), E> {
        // What is returned at the limit.
        self.insn(number(REG_0, 0))?;
        if limited {
            self.if_whole(jmp::JLT, REG_3, LONGEST as i32, Place::Begin)?;
        }
        self.insns([number(REG_3, LONGEST as i32), number(REG_0, -E2BIG)])?;
        if limited {
            self.place(Place::Begin);
            self.if_low(jmp::JEQ, REG_3, 0, Place::Out)?;
        }
        self.insn(op(alu::ADD, REG_3, REG_1))?;
        self.place(Place::Next);
        self.byte(REG_4, REG_1)?;
        self.byte(REG_5, REG_2)?;
        self.if_regs(jmp::JNE, REG_4, REG_5, Place::Differ)?;
        self.if_low(jmp::JEQ, REG_4, 0, Place::Done)?;
        self.place(Place::On);
        self.insns([op_imm(alu::ADD, REG_1, 1), op_imm(alu::ADD, REG_2, 1)])?;
        self.unless_same(REG_1, REG_3, Place::Next)?;
        self.goto(Place::Out)?;
        self.place(Place::Differ);
        if folds {
            self.lower(REG_4)?;
            self.lower(REG_5)?;
            self.if_regs(jmp::JEQ, REG_4, REG_5, Place::On)?;
        }
        self.insn(number(REG_0, 1))?;
        self.if_regs(jmp::JGT, REG_4, REG_5, Place::Out)?;
        self.end(-1)?;
        self.place(Place::Done);
        self.end(0)
    }

    fn length(&mut self, limited: bool) -> Result<(), E> {
        self.limit(REG_2, LONGEST, limited)?;
        self.insns([op(alu::ADD, REG_2, REG_1), op(alu::MOV, REG_0, REG_1)])?;
        if limited {
            self.jump(class::JMP | jmp::JEQ | X, (REG_0, REG_2, 0), Place::Done)?;
        }
        self.place(Place::Next);
        self.byte(REG_3, REG_0)?;
        self.if_low(jmp::JEQ, REG_3, 0, Place::Done)?;
        self.insn(op_imm(alu::ADD, REG_0, 1))?;
        self.unless_same(REG_0, REG_2, Place::Next)?;
        self.place(Place::Done);
        self.insn(op(alu::SUB, REG_0, REG_1))?;
        self.if_low(jmp::JNE, REG_0, LONGEST as i32, Place::Out)?;
        self.end(-E2BIG)
    }

    fn find(&mut self, limited: bool) -> Result<(), E> {
        if !limited {
            self.insn(op32(alu::MOV, REG_3, REG_2))?;
        }
        self.insn(op32_imm(alu::AND, REG_3, 0xff))?;
        self.limit(REG_2, LONGEST, limited)?;
        self.insns([op(alu::ADD, REG_2, REG_1), op(alu::MOV, REG_0, REG_1)])?;
        if limited {
            self.jump(class::JMP | jmp::JEQ | X, (REG_0, REG_2, 0), Place::None)?;
        }
        self.place(Place::Next);
        self.byte(REG_4, REG_0)?;
        self.if_regs(jmp::JEQ, REG_4, REG_3, Place::Done)?;
        self.if_low(jmp::JEQ, REG_4, 0, Place::None)?;
        self.insn(op_imm(alu::ADD, REG_0, 1))?;
        self.unless_same(REG_0, REG_2, Place::Next)?;
        self.insns([op(alu::SUB, REG_0, REG_1), op(alu::MOV, REG_2, REG_0)])?;
        self.insn(number(REG_0, -E2BIG))?;
        self.if_low(jmp::JEQ, REG_2, LONGEST as i32, Place::Out)?;
        self.place(Place::None);
        self.end(-ENOENT)?;
        self.place(Place::Done);
        self.insn(op(alu::SUB, REG_0, REG_1))?;
        self.goto(Place::Out)
    }

    fn find_or_end(&mut self) -> Result<(), E> {
        self.insns([
            op32_imm(alu::AND, REG_2, 0xff),
            op(alu::MOV, REG_0, REG_1),
            op(alu::MOV, REG_3, REG_1),
            op_imm(alu::ADD, REG_3, LONGEST),
        ])?;
        self.place(Place::Next);
        self.byte(REG_4, REG_0)?;
        self.if_regs(jmp::JEQ, REG_4, REG_2, Place::Done)?;
        self.if_low(jmp::JEQ, REG_4, 0, Place::Done)?;
        self.insn(op_imm(alu::ADD, REG_0, 1))?;
        self.unless_same(REG_0, REG_3, Place::Next)?;
        self.end(-E2BIG)?;
        self.place(Place::Done);
        self.insn(op(alu::SUB, REG_0, REG_1))?;
        self.goto(Place::Out)
    }

    fn find_last(&mut self) -> Result<(), E> {
        self.insns([
            number(REG_5, -ENOENT),
            op(alu::MOV, REG_0, REG_1),
            op(alu::MOV, REG_3, REG_1),
            op_imm(alu::ADD, REG_3, LONGEST),
        ])?;
        self.place(Place::Next);
        self.byte(REG_4, REG_0)?;
        self.if_regs(jmp::JNE, REG_4, REG_2, Place::Other)?;
        self.insns([op(alu::MOV, REG_5, REG_0), op(alu::SUB, REG_5, REG_1)])?;
        self.place(Place::Other);
        self.if_low(jmp::JEQ, REG_4, 0, Place::Done)?;
        self.insn(op_imm(alu::ADD, REG_0, 1))?;
        self.unless_same(REG_0, REG_3, Place::Next)?;
        self.end(-E2BIG)?;
        self.place(Place::Done);
        self.insn(op32(alu::MOV, REG_0, REG_5))?;
        self.goto(Place::Out)
    }

    fn span(&mut self, of: bool) -> Result<(), E> {
        let (hit, end) = if of {
            (Place::On, Place::Out)
        } else {
            (Place::Out, Place::On)
        };
        // R2 is how far the other string may go.
        self.insns([number(REG_0, 0), op_imm(alu::ADD, REG_2, LONGEST)])?;
        self.place(Place::Next);
        self.byte(REG_3, REG_1)?;
        self.if_low(jmp::JEQ, REG_3, 0, Place::Out)?;
        self.insns([op(alu::MOV, REG_4, REG_2), op_imm(alu::SUB, REG_4, LONGEST)])?;
        self.place(Place::Inner);
        self.byte(REG_5, REG_4)?;
        self.if_regs(jmp::JEQ, REG_5, REG_3, hit)?;
        self.if_low(jmp::JEQ, REG_5, 0, end)?;
        self.insn(op_imm(alu::ADD, REG_4, 1))?;
        self.unless_same(REG_4, REG_2, Place::Inner)?;
        self.goto(Place::Big)?;
        self.place(Place::On);
        self.insns([op_imm(alu::ADD, REG_1, 1), op32_imm(alu::ADD, REG_0, 1)])?;
        self.if_low(jmp::JNE, REG_0, LONGEST as i32, Place::Next)?;
        self.place(Place::Big);
        self.end(-E2BIG)
    }

    /// R3 has the limit in its high half, and in the low one what is left of it from
    /// where the search is. R0 is how far R1 and R2 are from there.
    fn within(&mut self, folds: bool, limited: bool) -> Result<(), E> {
        // strstr() has the limit, too: it finds nothing that ends behind it.
        let most = if limited { FURTHEST } else { LONGEST };
        self.limit(REG_3, most, limited)?;
        self.insns([
            op(alu::MOV, REG_0, REG_3),
            op_imm(alu::LSH, REG_0, 32),
            op(alu::OR, REG_3, REG_0),
        ])?;
        self.place(Place::Next);
        self.insn(number(REG_0, 0))?;
        self.place(Place::Inner);
        self.byte(REG_5, REG_2)?;
        self.if_low(jmp::JEQ, REG_5, 0, Place::Done)?;
        self.if_regs(jmp::JEQ, REG_0, REG_3, Place::None)?;
        self.byte(REG_4, REG_1)?;
        self.if_regs(jmp::JNE, REG_4, REG_5, Place::Differ)?;
        self.place(Place::On);
        self.insns([
            op_imm(alu::ADD, REG_1, 1),
            op_imm(alu::ADD, REG_2, 1),
            op32_imm(alu::ADD, REG_0, 1),
        ])?;
        self.if_low(jmp::JNE, REG_0, LONGEST as i32, Place::Inner)?;
        self.goto(Place::Big)?;
        self.place(Place::Differ);
        self.if_low(jmp::JEQ, REG_4, 0, Place::None)?;
        if folds {
            self.lower(REG_4)?;
            self.lower(REG_5)?;
            self.if_regs(jmp::JEQ, REG_4, REG_5, Place::On)?;
        }
        self.insns([
            op(alu::SUB, REG_1, REG_0),
            op(alu::SUB, REG_2, REG_0),
            op_imm(alu::ADD, REG_1, 1),
            op_imm(alu::SUB, REG_3, 1),
            op(alu::MOV, REG_4, REG_3),
            op_imm(alu::RSH, REG_4, 32),
            op32(alu::SUB, REG_4, REG_3),
        ])?;
        self.if_low(jmp::JNE, REG_4, LONGEST as i32, Place::Next)?;
        self.place(Place::Big);
        self.end(-E2BIG)?;
        self.place(Place::None);
        self.end(-ENOENT)?;
        self.place(Place::Done);
        self.insns([
            op(alu::MOV, REG_0, REG_3),
            op_imm(alu::RSH, REG_0, 32),
            op32(alu::SUB, REG_0, REG_3),
        ])?;
        self.goto(Place::Out)
    }

    fn write(&mut self, strings: &Strings) -> Result<(), E> {
        self.check(REG_1, strings.half)?;
        if strings.takes_two() {
            self.check(REG_2, strings.half)?;
        }
        match strings.does {
            Does::Compare { folds, limited } => self.compare(folds, limited)?,
            Does::Length { limited } => self.length(limited)?,
            Does::Find { limited } => self.find(limited)?,
            Does::FindOrEnd => self.find_or_end()?,
            Does::FindLast => self.find_last()?,
            Does::Span { of } => self.span(of)?,
            Does::Within { folds, limited } => self.within(folds, limited)?,
        }
        self.place(Place::Range);
        self.insn(number(REG_0, -ERANGE))?;
        self.place(Place::Out);
        Ok(())
    }
}

/// `reg = value`, the high half 0.
fn number(reg: u8, value: i32) -> Insn {
    Insn::alu32_imm(alu::MOV, reg, value)
}

impl Strings {
    /// The kfunc of this name, if it is one of these. `half`: the bit from which on all
    /// bits are set in the kernel's half of all addresses.
    pub fn by_name(name: &str, half: u32) -> Option<Self> {
        let compare = |folds, limited| Does::Compare { folds, limited };
        let within = |folds, limited| Does::Within { folds, limited };
        let does = match name {
            "bpf_strcmp" => compare(false, false),
            "bpf_strcasecmp" => compare(true, false),
            "bpf_strncasecmp" => compare(true, true),
            "bpf_strlen" => Does::Length { limited: false },
            "bpf_strnlen" => Does::Length { limited: true },
            "bpf_strchr" => Does::Find { limited: false },
            "bpf_strnchr" => Does::Find { limited: true },
            "bpf_strchrnul" => Does::FindOrEnd,
            "bpf_strrchr" => Does::FindLast,
            "bpf_strspn" => Does::Span { of: true },
            "bpf_strcspn" => Does::Span { of: false },
            "bpf_strstr" => within(false, false),
            "bpf_strcasestr" => within(true, false),
            "bpf_strnstr" => within(false, true),
            "bpf_strncasestr" => within(true, true),
            _ => return None,
        };
        Some(Self {
            does,
            half,
            follows: false,
        })
    }

    /// The same, with loads of which nothing says that something is there.
    pub const fn following(self) -> Self {
        Self {
            follows: true,
            ..self
        }
    }

    /// Whether it takes two strings.
    const fn takes_two(&self) -> bool {
        matches!(
            self.does,
            Does::Compare { .. } | Does::Span { .. } | Does::Within { .. }
        )
    }

    pub(super) fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        code::emit(emit, self.follows, |code: &mut Code<'_, E>| {
            code.write(self)
        })
    }
}
