// SPDX-License-Identifier: GPL-2.0
//! Machine code: what the JIT makes of a program, and the memory that it lies in.

use bailey::pure::stub::{self, Place, SLOT};
use iced_x86::{Code, Decoder, DecoderOptions};
use std::io;
use std::ptr;

/// A function of the kernel's that a program calls, with up to five numbers.
pub type Function = extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// A call in a program.
#[derive(Clone, Copy)]
pub struct Call {
    /// What is called.
    pub function: Function,
    /// R1 to R5.
    pub args: [u32; 5],
}

/// What a program returns, if its last call does not say: XDP_PASS.
const VERDICT: u32 = 2;

/// Bytes of text that a program may have.
const TEXT: usize = 64 * 1024;
/// Places where room for it is looked for.
const PLACES: usize = 1024;

/// Executable memory, within reach of a direct jump from the gates.
pub struct Text {
    base: *mut u8,
}

impl Text {
    /// Memory near `near`, still writable.
    pub(crate) fn new(near: u64) -> io::Result<Self> {
        // Some way behind the program itself, where its heap is not yet.
        let first = (near & !0xfff_ffff) as usize + 0x2000_0000;
        for place in (first..).step_by(TEXT).take(PLACES) {
            // SAFETY: an anonymous mapping, where nothing else is.
            let base = unsafe {
                libc::mmap(
                    ptr::with_exposed_provenance_mut(place),
                    TEXT,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                    -1,
                    0,
                )
            };
            if base != libc::MAP_FAILED {
                return Ok(Self { base: base.cast() });
            }
        }
        Err(io::Error::last_os_error())
    }

    /// Its first byte.
    pub fn address(&self) -> u64 {
        self.base as u64
    }

    /// Puts `code` there, and lets it be run and not be written any more.
    pub(crate) fn finish(&mut self, code: &[u8]) -> io::Result<()> {
        if code.len() > TEXT {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        // SAFETY: the mapping is ours, writable until the next call, and long enough.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), self.base, code.len()) };
        // SAFETY: the mapping is ours, and nobody runs it yet.
        if unsafe { libc::mprotect(self.base.cast(), TEXT, libc::PROT_READ | libc::PROT_EXEC) } != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Runs what begins `offset` bytes into it, a function of one argument.
    ///
    /// # Safety
    ///
    /// Such a function of the C calling convention begins there, and this text is finished.
    pub(crate) unsafe fn call(&self, offset: usize, ctx: u64) -> u64 {
        // SAFETY: promised by the caller.
        unsafe {
            let function: extern "C" fn(u64) -> u64 = std::mem::transmute(self.base.add(offset));
            function(ctx)
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and its owner does not run it any more.
        unsafe { libc::munmap(self.base.cast(), TEXT) };
    }
}

/// The same without what only the kernel may execute: the write of the key register, which
/// the stub's way out begins with, and of the interrupt flag. As long as before.
pub(crate) fn unprivileged(slot: &mut [u8; SLOT]) {
    let code = *slot;
    for insn in Decoder::new(64, &code, DecoderOptions::NONE) {
        let nop: &[u8] = match insn.code() {
            Code::Wrmsr => &[0x66, 0x90],
            Code::Sti => &[0x90],
            // Nothing but traps is left.
            Code::Int3 => return,
            _ => continue,
        };
        let at = insn.ip() as usize;
        slot[at..at + nop.len()].copy_from_slice(nop);
    }
}

/// A direct jump or call does not reach its target, or there is more code than room for it.
#[derive(Debug)]
pub struct OutOfReach;

/// Machine code, instruction by instruction, as the JIT emits it (arch/x86/net/bpf_jit_comp.c).
struct Code64 {
    base: u64,
    code: Vec<u8>,
}

/// `mov $imm32, %reg` for R1 to R5 of BPF: edi, esi, edx, ecx, r8d.
const ARGUMENTS: [&[u8]; 5] = [&[0xbf], &[0xbe], &[0xba], &[0xb9], &[0x41, 0xb8]];

impl Code64 {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// A direct call (0xe8) or jump (0xe9).
    fn to(&mut self, opcode: u8, target: u64) -> Result<(), OutOfReach> {
        let next = self.base + self.code.len() as u64 + 5;
        let distance = i32::try_from(target.wrapping_sub(next) as i64).map_err(|_| OutOfReach)?;
        self.put(&[opcode]).put(&distance.to_le_bytes());
        Ok(())
    }

    /// emit_prologue(), without ENDBR: the place for a trampoline, the place for the count of
    /// tail calls, the frame.
    fn prologue(base: u64) -> Self {
        let mut new = Self {
            base,
            code: Vec::new(),
        };
        new.put(&[0x0f, 0x1f, 0x44, 0, 0]) // nopl 0(%rax, %rax)
            .put(&[0x0f, 0x1f, 0]) // nopl (%rax)
            .put(&[0x55]) // push %rbp
            .put(&[0x48, 0x89, 0xe5]); // mov %rsp, %rbp
        new
    }

    fn epilogue(&mut self) {
        self.put(&[0xc9, 0xc3]); // leave; ret
    }

    fn arguments(&mut self, args: [u32; 5]) {
        for (mov, value) in ARGUMENTS.into_iter().zip(args) {
            self.put(mov).put(&value.to_le_bytes());
        }
    }

    /// The program's own verdict.
    fn verdict(&mut self) {
        self.put(&[0xb8]).put(&VERDICT.to_le_bytes()); // mov $VERDICT, %eax
    }
}

/// Where an isolated program's parts lie in its text.
pub(crate) struct Image {
    pub(crate) code: Vec<u8>,
    /// Where confinement begins.
    pub(crate) body: usize,
    /// The instruction behind each call.
    pub(crate) behind: Vec<usize>,
}

/// The gates' addresses.
pub(crate) struct Gates {
    pub(crate) enter: u64,
    pub(crate) exit: u64,
    pub(crate) helper: u64,
}

/// What an isolated program becomes that begins at `base` and makes `calls`: each through the
/// stub at the address beside it. `record` is what enter is given.
pub(crate) fn isolated<'a>(
    base: u64,
    record: u64,
    gates: &Gates,
    calls: impl Iterator<Item = (&'a Call, u64)>,
    ends_with_call: bool,
) -> Result<Image, OutOfReach> {
    let mut asm = Code64::prologue(base);
    asm.put(&[0x48, 0xbe]).put(&record.to_le_bytes()); // mov $record, %rsi
    asm.to(0xe8, gates.enter)?;
    asm.put(&[0x4d, 0x85, 0xd2]) // test %r10, %r10
        .put(&[0x74, 2]); // je body
    asm.epilogue();
    let body = asm.code.len();
    let mut behind = Vec::new();
    for (call, stub) in calls {
        asm.arguments(call.args);
        asm.to(0xe9, stub)?;
        behind.push(asm.code.len());
    }
    if !ends_with_call {
        asm.verdict();
    }
    asm.to(0xe9, gates.exit)?;
    Ok(Image {
        code: asm.code,
        body,
        behind,
    })
}

/// The same program as the stock kernel has it.
pub struct Plain {
    text: Text,
}

impl Plain {
    /// One that makes these calls.
    ///
    /// # Errors
    ///
    /// No memory for it.
    pub fn new(calls: &[Call]) -> io::Result<Self> {
        let near = Self::new as *const () as u64;
        let mut text = Text::new(near)?;
        let code =
            Self::code(text.address(), calls).map_err(|OutOfReach| io::ErrorKind::OutOfMemory)?;
        text.finish(&code)?;
        Ok(Self { text })
    }

    fn code(base: u64, calls: &[Call]) -> Result<Vec<u8>, OutOfReach> {
        let mut asm = Code64::prologue(base);
        for call in calls {
            asm.arguments(call.args);
            asm.to(0xe8, call.function as *const () as u64)?;
        }
        asm.verdict();
        asm.epilogue();
        Ok(asm.code)
    }

    /// Runs it.
    #[inline]
    pub fn run(&self) -> u64 {
        // SAFETY: it begins with its first byte, and is finished.
        unsafe { self.text.call(0, 0) }
    }
}

/// The stub of a place, as the module writes it, but for what only the kernel may execute.
pub(crate) fn stub(
    kind: stub::Kind,
    enter: &stub::Enter,
    template: &[u8],
    place: &Place,
) -> Result<[u8; SLOT], stub::Flaw> {
    let mut slot = [0; SLOT];
    stub::write(&mut slot, kind, enter, template, place)?;
    unprivileged(&mut slot);
    Ok(slot)
}
