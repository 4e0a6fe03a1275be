// SPDX-License-Identifier: GPL-2.0
//! The order of things in an image: prologue, call of the enter gate, epilogue, body, padding.

use super::super::access::ARENA_BASE;
use super::super::x86::{OpcodeMap, X86Insn, R12, RAX};
use super::kind::{kept, kind, loads_base, Kind};
use super::{Expect, Fault, ImageError, Report};

/// `MAX_TAIL_CALL_CNT`, include/linux/bpf.h.
const MAX_TAIL_CALLS: i64 = 33;

/// Which part of the image an instruction belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
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
pub(super) struct Shape<'a> {
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
    /// The registers that [`kept`] knows and that were pushed, four bits each, the last one lowest.
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
    pub(super) fn new(expect: &'a Expect) -> Self {
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

    pub(super) fn take(&mut self, offset: u32, insn: &X86Insn) -> Result<Part, Fault> {
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

    pub(super) fn report(&self, len: u32) -> Result<Report, ImageError> {
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
