// SPDX-License-Identifier: GPL-2.0
//! An interpreter that knows calls between functions, in the eBPF of generated
//! programs.
//!
//! rbpf 0.3.0 takes every call for one of a helper and has one stack. This one
//! gives each function a frame of its own and keeps R6 to R9 across calls, as
//! the kernel does, and it holds the generated program to the verifier's rules:
//! nothing is read that was not written, nothing of a stack is touched but what
//! its function declared. An image runs in the same machine as a program of one
//! function, with as much stack as the layout says; where it calls the image of
//! another function, that runs in it as behind a gate.

use super::program::{Beyond, TABLES_AT, THROW};
use bailey::pure::catalog::id;
use bailey::pure::insn::{alu, class, jmp, mode, Insn, REG_FP, REG_PARAMS, X};

/// Where the packet lies, and how long it is.
pub const PACKET_AT: u64 = 0x1000_0000;
pub const PACKET: usize = 128;
/// The entry's frame pointer.
pub const STACK_TOP: u64 = 0x7000_0000;
/// From one frame of a program to the next.
const FRAME_STEP: u64 = 0x1_0000;
/// What is in memory and in registers that nobody wrote.
const JUNK: u64 = 0xa5a5_5a5a_c3c3_3c3c;
const REGS: usize = 13;
const STEPS: u64 = 20_000_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: u64,
    pub packet: Vec<u8>,
    /// Each helper call with its arguments, in order.
    pub calls: Vec<(u32, [u64; 5])>,
}

struct Frame {
    bytes: Vec<u8>,
    written: Vec<bool>,
    /// Where to go on behind the call, and with which R6 to R9.
    back: usize,
    saved: [u64; 4],
    saved_ready: u16,
    arguments: Vec<Option<u64>>,
    passed: Vec<Option<u64>>,
}

impl Frame {
    fn new(depth: u32) -> Self {
        Self {
            bytes: JUNK
                .to_le_bytes()
                .into_iter()
                .cycle()
                .take(depth as usize)
                .collect(),
            written: vec![false; depth as usize],
            back: 0,
            saved: [0; 4],
            saved_ready: 0,
            arguments: Vec::new(),
            passed: vec![None; 16],
        }
    }
}

pub struct Machine<'a> {
    insns: &'a [Insn],
    /// Bytes of stack of the function that starts there; of a program alone.
    depth: &'a dyn Fn(usize) -> u32,
    /// It is a program, not an image: hold it to the verifier's rules.
    strict: bool,
    frame_step: u64,
    pub pc: usize,
    pub regs: [u64; REGS],
    /// One bit for each register that holds something.
    ready: u16,
    frames: Vec<Frame>,
    packet: Vec<u8>,
    calls: Vec<(u32, [u64; 5])>,
    /// What the tables hold, and where that leads.
    tables: &'a [u64],
    places: &'a [u32],
    /// What else can be read, by address and bytes.
    beside: Option<&'a dyn Fn(u64, usize) -> Option<u64>>,
    /// What else can be written, by address, bytes and value.
    taken: Option<&'a dyn Fn(u64, usize, u64) -> bool>,
    /// Where the exception callback begins.
    callback: Option<usize>,
    /// What a call in an image is of, by number: instructions and stack.
    images: &'a [(Vec<Insn>, u32)],
    /// Exceptions, and jumps through a table.
    pub leaps: u64,
    /// Most frames there were at once.
    pub most_frames: usize,
    /// Calls of functions.
    pub made: u64,
}

type Run<T> = Result<T, String>;

impl<'a> Machine<'a> {
    fn start(insns: &'a [Insn], stack: u32, depth: &'a dyn Fn(usize) -> u32, strict: bool) -> Self {
        let mut regs = [JUNK; REGS];
        regs[1] = PACKET_AT;
        regs[2] = PACKET_AT + 64;
        regs[3] = 0x0123_4567_89ab_cdef;
        regs[4] = 77;
        regs[5] = 2;
        regs[usize::from(REG_FP)] = STACK_TOP;
        Self {
            insns,
            depth,
            strict,
            frame_step: FRAME_STEP,
            pc: 0,
            regs,
            ready: 0b100_0011_1110,
            frames: vec![Frame::new(stack)],
            packet: (0..PACKET as u8).collect(),
            calls: Vec::new(),
            tables: &[],
            beside: None,
            taken: None,
            places: &[],
            callback: None,
            images: &[],
            leaps: 0,
            most_frames: 1,
            made: 0,
        }
    }

    /// A program; `depth` is the stack of the function that starts somewhere.
    pub fn program(insns: &'a [Insn], depth: &'a dyn Fn(usize) -> u32) -> Self {
        Self::start(insns, depth(0), depth, true)
    }

    /// An image with so many bytes of stack.
    pub fn image(insns: &'a [Insn], stack: u32) -> Self {
        Self::start(insns, stack, &|_| 0, false)
    }

    /// With other memory, to be read.
    pub fn beside(mut self, read: &'a dyn Fn(u64, usize) -> Option<u64>) -> Self {
        self.beside = Some(read);
        self
    }

    /// With other memory, to be written: whether it takes what is stored.
    pub fn taking(mut self, write: &'a dyn Fn(u64, usize, u64) -> bool) -> Self {
        self.taken = Some(write);
        self
    }

    /// With jump tables, and exceptions that lead to instruction `callback`.
    pub fn with(mut self, beyond: &'a Beyond, callback: Option<usize>) -> Self {
        (self.tables, self.places) = (&beyond.tables, &beyond.places);
        self.callback = callback;
        self
    }

    /// With images that calls are of, by number.
    pub fn with_images(mut self, images: &'a [(Vec<Insn>, u32)]) -> Self {
        self.images = images;
        self
    }

    /// With so many bytes from one frame to the next.
    pub fn frames_apart(mut self, bytes: u64) -> Self {
        self.frame_step = bytes;
        self
    }

    /// Runs to the end.
    pub fn run(&mut self) -> Run<Outcome> {
        self.run_for(STEPS)
    }

    /// Runs to the end, if it takes no more instructions.
    pub fn run_for(&mut self, steps: u64) -> Run<Outcome> {
        for _ in 0..steps {
            if let Some(verdict) = self.step()? {
                return Ok(Outcome {
                    verdict,
                    packet: self.packet.clone(),
                    calls: self.calls.clone(),
                });
            }
        }
        Err("it does not end".into())
    }

    fn read(&self, reg: u8) -> Run<u64> {
        if self.strict && self.ready & (1 << reg) == 0 {
            return Err(format!("{}: r{reg} holds nothing", self.pc));
        }
        Ok(self.regs[usize::from(reg)])
    }

    fn write(&mut self, reg: u8, value: u64) -> Run<()> {
        if self.strict && reg >= REG_FP {
            return Err(format!("{}: r{reg} is written", self.pc));
        }
        self.regs[usize::from(reg)] = value;
        self.ready |= 1 << reg;
        Ok(())
    }

    /// R1 to R5 hold nothing behind a call.
    fn clobber(&mut self) {
        for reg in 1..6 {
            self.regs[reg] = JUNK.wrapping_mul(reg as u64);
        }
        self.ready &= !0b11_1110;
    }

    /// The bytes behind an address, with the marks of those that were written.
    fn at(&mut self, address: u64, len: usize) -> Run<(&mut [u8], Option<&mut [bool]>)> {
        let pc = self.pc;
        let outside = || format!("{pc}: access to {len} bytes at {address:#x}");
        if let Some(offset) = address.checked_sub(PACKET_AT).filter(|at| *at < 0x1000) {
            let offset = offset as usize;
            let bytes = self.packet.get_mut(offset..offset + len);
            return Ok((bytes.ok_or_else(outside)?, None));
        }
        let below = STACK_TOP.checked_sub(address).ok_or_else(outside)?;
        let number = (below.saturating_sub(1) / self.frame_step) as usize;
        let top = STACK_TOP - self.frame_step * number as u64;
        let frame = self.frames.get_mut(number).ok_or_else(outside)?;
        let offset = (frame.bytes.len() as u64)
            .checked_sub(top - address)
            .ok_or_else(outside)? as usize;
        if offset + len > frame.bytes.len() {
            return Err(outside());
        }
        let bytes = &mut frame.bytes[offset..offset + len];
        Ok((bytes, Some(&mut frame.written[offset..offset + len])))
    }

    fn load(&mut self, address: u64, len: usize) -> Run<u64> {
        let (pc, strict) = (self.pc, self.strict);
        if let Some(value) = self.beside.and_then(|read| read(address, len)) {
            return Ok(value);
        }
        if let Some(offset) = address
            .checked_sub(TABLES_AT)
            .filter(|at| *at < 0x1000_0000)
        {
            let number = self.tables.get(offset as usize / 8);
            return number
                .copied()
                .filter(|_| offset % 8 == 0 && len == 8)
                .ok_or_else(|| format!("{pc}: no entry at {address:#x}"));
        }
        let (bytes, written) = self.at(address, len)?;
        if strict && written.is_some_and(|written| written.contains(&false)) {
            return Err(format!("{pc}: {address:#x} holds nothing"));
        }
        let mut value = [0; 8];
        value[..len].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(value))
    }

    pub fn store(&mut self, address: u64, len: usize, value: u64) -> Run<()> {
        if self.taken.is_some_and(|take| take(address, len, value)) {
            return Ok(());
        }
        let (bytes, written) = self.at(address, len)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..len]);
        if let Some(written) = written {
            written.fill(true);
        }
        Ok(())
    }

    /// One instruction; the verdict if it was the last.
    pub fn step(&mut self) -> Run<Option<u64>> {
        let at = self.pc;
        let insn = *self.insns.get(at).ok_or_else(|| format!("{at}: no such"))?;
        let len = usize::from(insn.access_bytes());
        self.pc += 1;
        match insn.class() {
            class::LD if insn.is_ld_imm64() => {
                let high = self.insns[self.pc].imm;
                self.pc += 1;
                let value = u64::from(insn.imm as u32) | (u64::from(high as u32) << 32);
                self.write(insn.dst(), value)?;
            }
            class::LDX if insn.mode() == mode::MEM => {
                let value = if self.strict && insn.src() == REG_PARAMS {
                    self.incoming(&insn)?
                } else {
                    let base = self.read(insn.src())?;
                    self.load(base.wrapping_add_signed(i64::from(insn.off)), len)?
                };
                self.write(insn.dst(), value)?;
            }
            class::ST | class::STX if insn.mode() == mode::MEM => {
                let value = match insn.class() {
                    class::ST => i64::from(insn.imm) as u64,
                    _ => self.read(insn.src())?,
                };
                if self.strict && insn.dst() == REG_PARAMS {
                    *self.outgoing(&insn)? = Some(value);
                } else {
                    let base = self.read(insn.dst())?;
                    self.store(base.wrapping_add_signed(i64::from(insn.off)), len, value)?;
                }
            }
            class::STX if insn.mode() == mode::ATOMIC => self.atomic(&insn, len)?,
            class::ALU | class::ALU64 => self.arithmetic(&insn)?,
            class::JMP | class::JMP32 => return self.jump(&insn),
            _ => return Err(format!("{at}: {insn:?}")),
        }
        Ok(None)
    }

    fn incoming(&mut self, insn: &Insn) -> Run<u64> {
        let frame = self.frames.last().ok_or("no frame")?;
        let argument = frame.arguments.get(insn.off as usize / 8 - 1);
        argument
            .copied()
            .flatten()
            .ok_or_else(|| format!("{}: an argument that nobody passed", self.pc))
    }

    fn outgoing(&mut self, insn: &Insn) -> Run<&mut Option<u64>> {
        let frame = self.frames.last_mut().ok_or("no frame")?;
        let number = (-i32::from(insn.off)) as usize / 8 - 1;
        frame
            .passed
            .get_mut(number)
            .ok_or_else(|| "too many arguments".into())
    }

    fn atomic(&mut self, insn: &Insn, len: usize) -> Run<()> {
        const ACQUIRE: i32 = 0x100;
        const FETCH_ADD: i32 = 0x01;
        if insn.imm == ACQUIRE {
            let base = self.read(insn.src())?;
            let value = self.load(base.wrapping_add_signed(i64::from(insn.off)), len)?;
            return self.write(insn.dst(), value);
        }
        if insn.imm != FETCH_ADD {
            return Err(format!("{}: {insn:?}", self.pc));
        }
        let address = self
            .read(insn.dst())?
            .wrapping_add_signed(i64::from(insn.off));
        let add = self.read(insn.src())?;
        let value = self.load(address, len)?;
        self.store(address, len, value.wrapping_add(add))?;
        self.write(insn.src(), value)
    }

    fn operand(&self, insn: &Insn) -> Run<u64> {
        if insn.code & X != 0 {
            self.read(insn.src())
        } else {
            Ok(i64::from(insn.imm) as u64)
        }
    }

    fn arithmetic(&mut self, insn: &Insn) -> Run<()> {
        let wide = insn.class() == class::ALU64;
        let b = self.operand(insn)?;
        let a = match insn.op() {
            alu::MOV => 0,
            _ => self.read(insn.dst())?,
        };
        let shift = b as u32 & if wide { 63 } else { 31 };
        let value = match insn.op() {
            alu::ADD => a.wrapping_add(b),
            alu::SUB => a.wrapping_sub(b),
            alu::MUL => a.wrapping_mul(b),
            alu::OR => a | b,
            alu::AND => a & b,
            alu::XOR => a ^ b,
            alu::MOV => b,
            alu::LSH => a << shift,
            alu::END if wide && insn.imm == 64 => a.swap_bytes(),
            alu::RSH if wide => a >> shift,
            alu::RSH => u64::from(a as u32 >> shift),
            alu::ARSH if wide => (a as i64 >> shift) as u64,
            alu::ARSH => (a as i32 >> shift) as u64,
            _ => return Err(format!("{}: {insn:?}", self.pc)),
        };
        let value = if wide { value } else { u64::from(value as u32) };
        if !self.strict && insn.dst() == REG_FP {
            self.regs[usize::from(REG_FP)] = value;
            return Ok(());
        }
        self.write(insn.dst(), value)
    }

    fn jump(&mut self, insn: &Insn) -> Run<Option<u64>> {
        if insn.is_exit() {
            return self.exit();
        }
        if insn.is_tail_call() {
            self.helper(id::TAIL_CALL)?;
            return Ok(None);
        }
        if insn.is_helper_call() {
            self.helper(insn.imm as u32)?;
            return Ok(None);
        }
        if insn.is_pseudo_call() {
            if self.strict {
                self.call(insn)?;
            } else {
                self.call_image(insn)?;
            }
            return Ok(None);
        }
        if insn.is_kfunc_call() && insn.imm == THROW && self.strict {
            self.throw()?;
            return Ok(None);
        }
        if insn.is_gotox() && self.strict {
            let number = self.read(insn.dst())?;
            let place = self.places.get(number as usize);
            let place = place.ok_or_else(|| format!("{}: no place {number:#x}", self.pc))?;
            self.pc = *place as usize;
            self.leaps += 1;
            return Ok(None);
        }
        let distance = insn
            .jump()
            .ok_or_else(|| format!("{}: {insn:?}", self.pc))?;
        if insn.is_jump_always() || self.holds(insn)? {
            self.pc = (self.pc as i64 + i64::from(distance)) as usize;
        }
        Ok(None)
    }

    fn holds(&self, insn: &Insn) -> Run<bool> {
        let (mut a, mut b) = (self.read(insn.dst())?, self.operand(insn)?);
        let (mut signed_a, mut signed_b) = (a as i64, b as i64);
        if insn.class() == class::JMP32 {
            (a, b) = (u64::from(a as u32), u64::from(b as u32));
            (signed_a, signed_b) = (i64::from(a as i32), i64::from(b as i32));
        }
        Ok(match insn.op() {
            jmp::JEQ => a == b,
            jmp::JGT => a > b,
            jmp::JGE => a >= b,
            jmp::JSET => a & b != 0,
            jmp::JNE => a != b,
            jmp::JSGT => signed_a > signed_b,
            jmp::JSGE => signed_a >= signed_b,
            jmp::JLT => a < b,
            jmp::JLE => a <= b,
            jmp::JSLT => signed_a < signed_b,
            jmp::JSLE => signed_a <= signed_b,
            _ => return Err(format!("{}: {insn:?}", self.pc)),
        })
    }

    /// What a helper returns depends on all it could see.
    fn helper(&mut self, id: u32) -> Run<()> {
        let mut args = [0; 5];
        for (reg, arg) in (1..).zip(&mut args) {
            *arg = self.read(reg)?;
        }
        self.calls.push((id, args));
        let value = args
            .iter()
            .fold(u64::from(id) + self.calls.len() as u64, |sum, arg| {
                sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*arg)
            });
        self.write(0, value)?;
        self.clobber();
        Ok(())
    }

    /// Through a gate: nothing of the caller's is changed but R0 to R5, and it
    /// goes on behind the jump that follows.
    fn call_image(&mut self, insn: &Insn) -> Run<()> {
        let image = self.images.get(insn.imm as usize);
        let (insns, stack) = image.ok_or_else(|| format!("{}: a call is left", self.pc))?;
        let (caller, back, kept) = (self.insns, self.pc + 1, self.regs);
        self.frames.push(Frame::new(*stack));
        self.regs[usize::from(REG_FP)] =
            STACK_TOP - self.frame_step * (self.frames.len() as u64 - 1);
        (self.insns, self.pc) = (insns, 0);
        let verdict = loop {
            if let Some(verdict) = self.step()? {
                break verdict;
            }
        };
        (self.insns, self.pc, self.regs) = (caller, back, kept);
        self.made += 1;
        self.write(0, verdict)?;
        self.clobber();
        Ok(())
    }

    fn call(&mut self, insn: &Insn) -> Run<()> {
        let back = self.pc;
        self.pc = (back as i64 + i64::from(insn.imm)) as usize;
        let mut frame = Frame::new((self.depth)(self.pc));
        frame.back = back;
        frame.saved.copy_from_slice(&self.regs[6..10]);
        frame.saved_ready = self.ready & 0x3c0;
        let caller = self.frames.last_mut().ok_or("no frame")?;
        frame.arguments = std::mem::replace(&mut caller.passed, vec![None; 16]);
        self.frames.push(frame);
        self.made += 1;
        self.most_frames = self.most_frames.max(self.frames.len());
        if self.frames.len() > 8 {
            return Err("too deep".into());
        }
        self.regs[usize::from(REG_FP)] -= self.frame_step;
        self.regs[0] = JUNK;
        self.regs[6..10].fill(JUNK);
        self.ready &= !0x3c1;
        Ok(())
    }

    /// All frames end, and the callback is called with the cookie.
    fn throw(&mut self) -> Run<()> {
        let cookie = self.read(1)?;
        self.pc = self.callback.ok_or("no callback")?;
        self.frames.clear();
        self.frames.push(Frame::new((self.depth)(self.pc)));
        self.regs = [JUNK; REGS];
        self.regs[1] = cookie;
        self.regs[usize::from(REG_FP)] = STACK_TOP;
        self.ready = 0b100_0000_0010;
        self.leaps += 1;
        Ok(())
    }

    fn exit(&mut self) -> Run<Option<u64>> {
        let verdict = self.read(0)?;
        let frame = self.frames.pop().ok_or("no frame")?;
        if !self.strict || self.frames.is_empty() {
            return Ok(Some(verdict));
        }
        self.pc = frame.back;
        self.regs[6..10].copy_from_slice(&frame.saved);
        self.ready = self.ready & !0x3c0 | frame.saved_ready;
        self.regs[usize::from(REG_FP)] += self.frame_step;
        self.clobber();
        Ok(None)
    }
}
