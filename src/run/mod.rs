// SPDX-License-Identifier: GPL-2.0
//! A run: from the enter gate to its verdict. The gates themselves are
//! helpers/gate.S; what they call when there is more to do is here.

mod arena;
mod audit;
pub(crate) mod callers;
mod copies;
mod function;
mod graph;
pub(crate) mod helper;
mod later;
mod lending;
pub(crate) mod level;
mod locks;
mod loops;
pub(crate) mod mediate;
mod objects;
mod pointers;
pub(crate) mod probe;
mod records;
mod results;
pub(crate) mod shadow;
mod tail;

use crate::bindings as b;
use crate::breach;
use crate::domain::values::Values;
use crate::load::{Image, Program};
use crate::pure::range;
use level::Level;

/// A run's record on the kernel stack (struct bailey_run in helpers/layout.h).
#[repr(transparent)]
pub(crate) struct Run {
    pub(crate) raw: b::bailey_run,
}

/// Words that the JIT pushes inside one BPF instruction: rax and rdx around a
/// division, rcx around a shift (arch/x86/net/bpf_jit_comp.c), with some room.
pub(crate) const JIT_PUSHES: u64 = 4;

/// Registers R6 to R9.
const KEPT: u64 = 4;

/// RFLAGS.IF.
const IF: u64 = 0x200;

/// This CPU's words. Runs do not migrate: enter turns preemption off.
pub(crate) fn this_cpu() -> &'static mut b::bailey_cpu {
    // SAFETY: per-CPU memory of this module, which outlives every run. Only this CPU writes the
    // fields that Rust touches, and an event that nests in here leaves counters consistent.
    unsafe { &mut *b::bailey_this_cpu() }
}

/// This CPU's number.
/// Where the stack ends that a run out of confinement had in its image: that of
/// all functions that are part of the image, wherever the frame pointer is.
pub(crate) fn stack_top(run: &b::bailey_run) -> u64 {
    // SAFETY: a run's image lives as long as the run.
    run.dom_rsp + unsafe { (*run.prog).depth }
}

impl Run {
    /// The run whose record is at `raw`.
    ///
    /// # Safety
    ///
    /// `raw` is a live record on this CPU's kernel stack, and nothing else refers to it.
    pub(crate) unsafe fn from_raw<'a>(raw: *mut b::bailey_run) -> &'a mut Self {
        // SAFETY: promised by the caller; `Run` is transparent.
        unsafe { &mut *raw.cast() }
    }

    /// The record's address, for what is called next: it may read and write
    /// the record, so nothing of it may be held back.
    fn expose(&mut self) -> *mut b::bailey_run {
        let raw = &raw mut self.raw;
        // SAFETY: no instruction; to the compiler, one that knows the address and any memory.
        unsafe { core::arch::asm!("/* {} */", in(reg) raw, options(nostack, preserves_flags)) };
        raw
    }

    /// The image that runs.
    pub(crate) fn image(&self) -> &'static Image {
        // SAFETY: set by enter from what the load gave the gates. It lives until an RCU grace
        // period after its program's last run; the reference is used within the run.
        unsafe { Image::from_raw(self.raw.prog) }
    }

    /// The program that runs.
    pub(crate) fn program(&self) -> &'static Program {
        self.image().program()
    }

    /// What the domain of the program shows it.
    pub(crate) fn values(&self) -> Option<&'static Values> {
        // SAFETY: this is a run, and what it finds is used within it.
        unsafe { self.program().values() }
    }

    /// The run that this one is nested in and shares the frame with.
    fn shared(&self) -> Option<&'static b::bailey_run> {
        if self.raw.work & b::BAILEY_WORK_SHARED == 0 {
            return None;
        }
        // SAFETY: nested runs end before the one below.
        Some(unsafe { &*self.raw.prev })
    }

    /// The domain's memory on this CPU.
    pub(crate) fn frame(&self) -> &b::bailey_frame {
        // SAFETY: set by enter from the program's frames, which live as long as the program.
        unsafe { &*self.raw.frame }
    }

    /// Whether a main program can have this stack pointer: where enter put it,
    /// or below what the JIT pushes around one instruction.
    pub(crate) fn may_have_rsp(&self, rsp: u64) -> bool {
        let pushed = self.raw.dom_rsp.wrapping_sub(rsp);
        pushed <= 8 * JIT_PUSHES && pushed % 8 == 0 || breach::without(b::BAILEY_WITHOUT_RSP)
    }

    /// Whether the CPU can have pushed an event's frame below `top`: a stack
    /// pointer of the program, aligned as SDM volume 3, 7.14.2 has it.
    pub(crate) fn may_have_top(&self, top: u64) -> bool {
        top % 16 == 0 && (self.may_have_rsp(top) || self.may_have_rsp(top + 8))
    }

    /// Whether the program runs with interrupts on.
    pub(crate) fn interrupts(&self) -> bool {
        self.raw.flags & IF != 0
    }

    /// Whether the caller of the program had interrupts on.
    pub(crate) fn entered_with_interrupts(&self) -> bool {
        self.raw.saved[0] & IF != 0
    }

    /// Whether `len` bytes at `addr` are this run's own part of its frame, or,
    /// of a function's run, that of the program it is part of.
    #[inline(always)]
    pub(crate) fn owns(&self, addr: u64, len: u64) -> bool {
        let (low, high) = self.own();
        range::holds(low, high, addr, len)
    }

    /// Where that begins, and where it ends.
    #[inline(always)]
    pub(crate) fn own(&self) -> (u64, u64) {
        let low = self.raw.dom_rsp.wrapping_sub(b::BAILEY_STACK_ROOM.into());
        (low, self.carved_top())
    }

    /// The end of what this run and those it shares with have carved, which lies
    /// without a gap.
    #[inline(always)]
    fn carved_top(&self) -> u64 {
        if self.raw.work & b::BAILEY_WORK_SHARED == 0 {
            return self.raw.cursor;
        }
        self.shared_top()
    }

    #[inline(never)]
    fn shared_top(&self) -> u64 {
        let mut lowest = &self.raw;
        while lowest.work & b::BAILEY_WORK_SHARED != 0 && !lowest.prev.is_null() {
            // SAFETY: nested runs end before the one below.
            lowest = unsafe { &*lowest.prev };
        }
        lowest.cursor
    }

    /// The words in which the program, as far as this run is part of it, may
    /// keep a pointer over a call, R6 to R9 of the call itself left aside. What
    /// lies between the stacks of functions is among them.
    pub(crate) fn kept_words(&self) -> impl Iterator<Item = u64> + Clone {
        // This run and those it shares with, each with the number of callers on this CPU's stack
        // that lie above its own.
        let own = core::ptr::from_ref(&self.raw);
        let runs = core::iter::successors(Some((own, 0)), |&(run, above)| {
            // SAFETY: nested runs end before the one below.
            let run = unsafe { &*run };
            (run.work & b::BAILEY_WORK_SHARED != 0)
                .then(|| (run.prev.cast_const(), above + callers::under_way(run)))
        });
        let callers = runs.clone().flat_map(|(run, above)| {
            // SAFETY: as above.
            let run = unsafe { &*run };
            let end = above + callers::under_way(run);
            let caller = move |n| Some((n, (n < end).then(|| callers::top(n))??));
            let inner = run.work & b::BAILEY_WORK_INNER != 0;
            core::iter::successors(inner.then(|| caller(above)).flatten(), move |&(n, at)| {
                at.is_inner().then(|| caller(n + 1)).flatten()
            })
        });
        let high = Iterator::chain(
            // SAFETY: as above.
            runs.clone().map(|(run, _)| stack_top(unsafe { &*run })),
            callers.clone().map(|(_, caller)| caller.stack_top()),
        );
        let high = high.max().unwrap_or(0).min(self.carved_top());
        let low = self.raw.dom_rsp;
        let stack = (low..high).step_by(8).map(crate::event::frame::word);
        let saved = callers.flat_map(|(_, caller)| caller.kept);
        let pushed = runs.skip(1).flat_map(|(run, _)| {
            // R6 to R9, which the helper gate pushed before it called (helpers/gate.S).
            let gate = run as u64;
            (gate - 8 * KEPT..gate)
                .step_by(8)
                .map(crate::event::frame::word)
        });
        Iterator::chain(stack, Iterator::chain(saved, pushed))
    }

    /// This run's loans and ledger, empty at its first call.
    pub(crate) fn level(&mut self) -> Option<&'static mut Level> {
        if let Some(level) = self.used_level() {
            return Some(level);
        }
        let cpu = this_cpu();
        let number = cpu.levels_top;
        // SAFETY: `levels` is this CPU's array of SLOT_LEVELS levels; a nested run takes the next
        // one and gives it back before this run goes on.
        let level = unsafe { level::at(cpu.levels, number as usize)? };
        cpu.levels_top = number + 1;
        level.clear();
        self.raw.shadow.level = core::ptr::from_mut(level) as u64;
        self.raw.work |= b::BAILEY_WORK_LEVEL;
        Some(level)
    }

    /// Gives back what the run holds and was lent, and its level.
    pub(crate) fn end_level(&mut self) {
        if let Some(level) = self.used_level() {
            level::give_back(level);
            self.raw.work &= !b::BAILEY_WORK_LEVEL;
            this_cpu().levels_top -= 1;
        }
    }

    /// This run's loans and ledger, if it was lent or holds anything.
    pub(crate) fn used_level(&mut self) -> Option<&'static mut Level> {
        if self.raw.work & b::BAILEY_WORK_LEVEL == 0 {
            return None;
        }
        // SAFETY: noted by `level`, for this run.
        Some(unsafe { &mut *(self.raw.shadow.level as *mut Level) })
    }
}
