// SPDX-License-Identifier: GPL-2.0
//! The records that the gates read and write: a CPU's words, a program's, its sites, its
//! domain's memory.

use crate::text::{self, Call, Gates, OutOfReach, Text};
use bailey::pure::stub::{self, Place, SLOT};
use std::io;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks
)]
mod layout {
    include!(concat!(env!("OUT_DIR"), "/layout.rs"));
}
use layout as b;

extern "C" {
    static bailey_stub_template: [u8; stub::TEMPLATE_LEN];
    static bailey_stub_size: u32;
    static bailey_stub_out_offset: u32;
    fn bailey_enter();
    fn bailey_exit_gate();
    fn bailey_helper_gate();
}

// What gate.S expects the rest of the module to define.

#[no_mangle]
static mut bailey_cpu: b::bailey_cpu = {
    // SAFETY: a structure of integers and pointers, of which zeros are values.
    unsafe { std::mem::zeroed() }
};
#[no_mangle]
static mut __preempt_count: u32 = 0;

/// A way that leads into the module's Rust: none of the programs here takes it.
macro_rules! not_here {
    ($($name:ident)*) => {$(
        #[no_mangle]
        extern "C" fn $name() -> ! {
            eprintln!(concat!(stringify!($name), "() is not part of the gates in user space"));
            std::process::abort()
        }
    )*};
}
not_here! {
    bailey_carve bailey_exit bailey_first_frame bailey_function bailey_helper bailey_run_tail
}

pub(crate) fn template() -> &'static [u8] {
    // SAFETY: constants of gate.S.
    unsafe {
        assert_eq!(bailey_stub_size as usize, stub::TEMPLATE_LEN);
        assert_eq!(bailey_stub_out_offset as usize, stub::OUT);
        &bailey_stub_template
    }
}

/// Bytes of a domain's stack.
const STACK: usize = 32 * 1024;
/// What IST entries are said to be; nobody goes there.
const KERNEL_IST: [u64; 4] = [0x10, 0x20, 0x30, 0x40];
const LANDING_IST: [u64; 4] = [0x11, 0x21, 0x31, 0x41];

static CPU: Mutex<()> = Mutex::new(());

#[repr(C, align(4096))]
struct Slots([u8; 4096]);

/// The CPU's words, and a domain's memory on it.
pub struct Cpu {
    /// TSS.IST[0] to [3], in the order of addresses.
    ist: Box<[u64; 4]>,
    slots: Box<Slots>,
    frame: Box<b::bailey_frame>,
    frames: Box<[*mut b::bailey_frame; 2]>,
    _stack: Vec<u64>,
    _only: MutexGuard<'static, ()>,
}

impl Cpu {
    /// Takes the CPU; waits until it is free.
    pub fn take() -> Self {
        let only = CPU.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = vec![0u64; STACK / 8];
        let bottom = stack.as_ptr() as u64;
        let mut frame = Box::new(b::bailey_frame {
            landing: LANDING_IST,
            cursor: bottom + STACK as u64,
            bottom,
            top: bottom + STACK as u64,
            ..Default::default()
        });
        let frames = Box::new([ptr::from_mut(&mut *frame), ptr::null_mut()]);
        let ist = Box::new(KERNEL_IST);
        let slots = Box::new(Slots([0; 4096]));
        let first = slots.0.as_ptr() as u64;
        // SAFETY: the lock is held, so nobody else uses these words.
        unsafe {
            bailey_cpu = b::bailey_cpu {
                ist: KERNEL_IST,
                tss_ist: ist.as_ptr_range().end as u64,
                slot: first - u64::from(b::SLOT_STRIDE),
                slot_base: first,
                ..std::mem::zeroed()
            };
            __preempt_count = 0;
        }
        Self {
            ist,
            slots,
            frame,
            frames,
            _stack: stack,
            _only: only,
        }
    }

    /// Whether all is as before any run: no run, the first slot, the whole stack, the kernel's
    /// event stacks, preemption on.
    pub fn is_idle(&self) -> bool {
        // SAFETY: the lock is held.
        let (cpu, preempt) = unsafe { (bailey_cpu, __preempt_count) };
        cpu.run.is_null()
            && cpu.slot + u64::from(b::SLOT_STRIDE) == self.slots.0.as_ptr() as u64
            && preempt == 0
            // SAFETY: written by the gates, which do not run now.
            && unsafe { ptr::read_volatile(&self.frame.cursor) } == self.frame.top
            && self.event_stacks_are_the_kernels()
    }

    /// Whether the TSS has the kernel's event stacks, as it must while the kernel runs.
    pub fn event_stacks_are_the_kernels(&self) -> bool {
        // SAFETY: written by the gates, which do not run now.
        unsafe { ptr::read_volatile(&*self.ist) == KERNEL_IST }
    }

    /// How often the key of a domain would have been written; as often the kernel's.
    pub fn entries(&self) -> u64 {
        // SAFETY: the lock is held.
        unsafe { bailey_cpu.entries }
    }

    /// Runs that were turned away: of programs that may not run, and for lack of stack.
    pub fn turned_away(&self) -> (u64, u64) {
        // SAFETY: the lock is held.
        unsafe { (bailey_cpu.refused, bailey_cpu.no_frame) }
    }

    /// Leaves so many bytes of the stack.
    pub fn leave_room(&mut self, bytes: u64) {
        self.frame.bottom = self.frame.cursor - bytes;
    }
}

/// Why a program cannot be made.
#[derive(Debug)]
pub enum Failure {
    /// No memory near the gates.
    Memory(io::Error),
    /// A jump that does not reach.
    Reach,
    /// A stub that cannot be written.
    Stub(stub::Flaw),
}

impl From<OutOfReach> for Failure {
    fn from(_: OutOfReach) -> Self {
        Self::Reach
    }
}

/// An isolated program, with its records.
pub struct Program {
    text: Text,
    record: Box<b::bailey_prog>,
    sites: Vec<b::bailey_site>,
    runs: Box<u64>,
    counts: Vec<u64>,
}

impl Program {
    /// One that makes these calls, of functions that take numbers alone, in a domain on `cpu`.
    /// With `ends_with_call` the last call's result is what it returns.
    ///
    /// # Errors
    ///
    /// No memory within reach of the gates.
    pub fn new(cpu: &mut Cpu, calls: &[Call], ends_with_call: bool) -> Result<Self, Failure> {
        let gates = Gates {
            enter: bailey_enter as *const () as u64,
            exit: bailey_exit_gate as *const () as u64,
            helper: bailey_helper_gate as *const () as u64,
        };
        let mut text = Text::new(gates.enter).map_err(Failure::Memory)?;
        let mut record = Box::new(b::bailey_prog::default());
        let mut runs = Box::new(0);
        let mut counts = vec![0; calls.len() + 1];
        let count = calls.len() + 1;

        // The stubs lie in front, in the order of their sites, of which enter's is the first.
        let stubs: Vec<u64> = (0..count)
            .map(|n| text.address() + (n * SLOT) as u64)
            .collect();
        let base = text.address() + (count * SLOT) as u64;
        let image = text::isolated(
            base,
            ptr::from_mut(&mut *record) as u64,
            &gates,
            calls.iter().zip(stubs.iter().copied().skip(1)),
            ends_with_call,
        )?;

        // What the JIT's own pushes take is left out: there are none.
        let enter = stub::Enter {
            ctx: false,
            names: 0,
            depth: 0,
        };
        let mut bytes = Vec::new();
        let mut sites = vec![b::bailey_site::default(); count];
        for (number, site) in sites.iter_mut().enumerate() {
            let (kind, back, out) = match number.checked_sub(1) {
                None => (stub::Kind::Enter, image.body, 0),
                Some(call) => (stub::Kind::Gate, image.behind[call], stub::OUT),
            };
            let place = Place {
                at: stubs[number],
                back: base + back as u64,
                gate: gates.helper,
                site: (number as u32) << b::SITE_SHIFT,
            };
            let slot = text::stub(kind, &enter, template(), &place).map_err(Failure::Stub)?;
            bytes.extend_from_slice(&slot);
            site.out = stubs[number] + out as u64;
            site.ret = place.back;
            site.calls = &raw mut counts[number];
            site.class = b::BAILEY_SITE_SCALAR;
            if let Some(call) = number.checked_sub(1) {
                site.func = calls[call].function as *const () as u64;
                if ends_with_call && call + 1 == calls.len() {
                    site.class = b::BAILEY_SITE_LAST;
                }
            }
        }
        bytes.extend_from_slice(&image.code);
        text.finish(&bytes).map_err(Failure::Memory)?;

        record.frames = cpu.frames.as_mut_ptr();
        record.sites = sites.as_mut_ptr();
        record.site_bytes = (count << b::SITE_SHIFT) as u32;
        record.depth = enter.depth;
        record.runs = &raw mut *runs;
        record.enter_out = sites[0].out;
        Ok(Self {
            text,
            record,
            sites,
            runs,
            counts,
        })
    }

    /// Runs it on the CPU that it was made for, and returns what it returns.
    #[inline]
    pub fn run(&self, _cpu: &Cpu) -> u64 {
        // SAFETY: the program begins behind the stubs. Its text is finished; its records, and the
        // CPU's, are what the gates expect; the CPU is the caller's.
        unsafe { self.text.call(self.sites.len() * SLOT, 0) }
    }

    /// Forbids or allows it to run.
    pub fn quarantine(&mut self, quarantined: bool) {
        self.record.state = u32::from(quarantined);
    }

    /// How often it has run.
    pub fn runs(&self) -> u64 {
        // SAFETY: written by the gates, which do not run now.
        unsafe { ptr::read_volatile(&*self.runs) }
    }

    /// How often each call was made.
    pub fn calls(&self) -> Vec<u64> {
        let read = |count: &u64| {
            // SAFETY: written by the gates, which do not run now.
            unsafe { ptr::read_volatile(count) }
        };
        self.counts.iter().skip(1).map(read).collect()
    }
}
