// SPDX-License-Identifier: GPL-2.0
//! Accesses to loans: the instruction faulted, because the page is the
//! kernel's; it is decoded, checked against what this run was lent, and carried
//! out here, atomically where it is atomic.

use super::lending::spares_fields;
use super::{arena, loops, pointers, probe, this_cpu, Run};
use crate::bindings as b;
use crate::breach;
use crate::event::frame::Interrupted;
use crate::load::Image;
use crate::pure::access::{
    apply_rmw, effective_address, loaded, memory_access, stored, Access, Op,
};
use crate::pure::nesting::Confined;
use crate::pure::violation::Kind;
use crate::pure::x86::{Decoder, JitForms};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::{ptr, slice};

/// An access that is not allowed.
pub(crate) struct Refused {
    pub(crate) kind: Kind,
    pub(crate) addr: u64,
}

/// RFLAGS.ZF.
const ZF: u64 = 0x40;
/// The longest instruction.
const LONGEST: u64 = 15;

/// The program's registers, as instructions number them.
fn registers(event: &b::bailey_event, run: &Run) -> [u64; 16] {
    [
        event.rax,
        event.rcx,
        event.rdx,
        event.rbx,
        event.rsp,
        run.raw.dom_rbp,
        event.rsi,
        event.rdi,
        event.r8,
        event.r9,
        event.r10,
        event.r11,
        event.r12,
        event.r13,
        event.r14,
        event.r15,
    ]
}

/// The same as the stub pushed them, where the domain may have written since:
/// what is not done, but in the attackers' control.
fn read_again(event: &mut b::bailey_event, run: &Run) -> [u64; 16] {
    event.rax = Interrupted(run).frame(event.event_rsp, true).rax;
    registers(event, run)
}

pub(super) fn set_register(event: &mut b::bailey_event, number: u8, value: u64) {
    let register = match number {
        0 => &mut event.rax,
        1 => &mut event.rcx,
        2 => &mut event.rdx,
        3 => &mut event.rbx,
        6 => &mut event.rsi,
        7 => &mut event.rdi,
        8 => &mut event.r8,
        9 => &mut event.r9,
        10 => &mut event.r10,
        11 => &mut event.r11,
        12 => &mut event.r12,
        13 => &mut event.r13,
        14 => &mut event.r14,
        15 => &mut event.r15,
        // Stack and frame pointer are the run's and do not change.
        _ => return,
    };
    *register = value;
}

/// Carries out the instruction at `rip`, an instruction start of `image`, if
/// all it touches is on loan. `event` then goes on behind it.
pub(crate) fn access(
    event: &mut b::bailey_event,
    run: &mut Run,
    image: &Image,
    rip: u64,
) -> Result<(), Refused> {
    let left = (image.image + u64::from(image.image_len) - rip).min(LONGEST);
    // SAFETY: the image is text that the program keeps; `rip` lies in it.
    let code = unsafe { slice::from_raw_parts(rip as *const u8, left as usize) };
    let refuse = |kind, addr| Err(Refused { kind, addr });
    // The image check has decoded it before, by two decoders.
    let Some(access) = JitForms.decode(code).as_ref().and_then(memory_access) else {
        return refuse(Kind::Instruction, event.cr2);
    };
    let regs = registers(event, run);
    let addr = effective_address(&access, &regs);
    if access.is_arena() && arena::access(event, run, rip, &access, addr) {
        return Ok(());
    }
    let write = access.is_write();
    let kind = if write { Kind::Write } else { Kind::Read };
    if !lent(run, addr, u32::from(access.size), write) && !breach::without(b::BAILEY_WITHOUT_LOANS)
    {
        let is_check = access.op == Op::Load && loops::is_check(addr, access.size, access.reg);
        if let Some(count) = is_check.then(|| loops::check(run)).flatten() {
            event.r10 = count;
            if image.arena == 0 {
                event.r12 = count;
            }
            event.rip = rip + u64::from(access.len);
            return Ok(());
        }
        if matches!(access.op, Op::Load) && access.size == 8 {
            if let Some(object) = pointers::load(run, addr, &regs) {
                this_cpu().loan_accesses += 1;
                set_register(event, access.reg, object);
                event.rip = rip + u64::from(access.len);
                return Ok(());
            }
        }
        if probe::read(event, image, rip, &access, addr) {
            return Ok(());
        }
        return refuse(kind, addr);
    }
    // An atomic that the kernel could only do in two halves is not one.
    if !matches!(access.op, Op::Load | Op::Store | Op::StoreImm)
        && (access.size < 4 || addr % u64::from(access.size) != 0)
    {
        return refuse(kind, addr);
    }
    let addr = if breach::without(b::BAILEY_WITHOUT_REREAD) {
        effective_address(&access, &read_again(event, run))
    } else {
        addr
    };
    this_cpu().loan_accesses += 1;
    // SAFETY: on loan to this run, so mapped and the program's to use; the ledger or the RCU
    // section of the run keeps it.
    unsafe { carry_out(event, &access, addr, &regs) };
    event.rip = rip + u64::from(access.len);
    Ok(())
}

/// The same for an address that is none and that nobody lends: a load that may
/// find nothing finds 0. Whether it was one.
#[cold]
#[inline(never)]
pub(crate) fn nowhere(event: &mut b::bailey_event, run: &Run, image: &Image, rip: u64) -> bool {
    if image.probe_count == 0 {
        return false;
    }
    let left = (image.image + u64::from(image.image_len) - rip).min(LONGEST);
    // SAFETY: the image is text that the program keeps; `rip` lies in it.
    let code = unsafe { slice::from_raw_parts(rip as *const u8, left as usize) };
    let Some(access) = JitForms.decode(code).as_ref().and_then(memory_access) else {
        return false;
    };
    let addr = effective_address(&access, &registers(event, run));
    probe::read(event, image, rip, &access, addr)
}

/// Whether the bytes are on loan to the run, with the right to write if asked for.
fn lent(run: &mut Run, addr: u64, size: u32, write: bool) -> bool {
    let on_level = run.used_level().is_some_and(|level| {
        level
            .loans
            .find(addr, size, write)
            .is_some_and(|loan| spares_fields(loan, addr, size))
    });
    on_level
        || run
            .values()
            .is_some_and(|values| values.lends(addr, size.into(), write))
}

/// # Safety
///
/// `access.size` bytes at `addr` are mapped, and writable if it writes.
unsafe fn carry_out(event: &mut b::bailey_event, access: &Access, addr: u64, regs: &[u64; 16]) {
    match access.op {
        Op::Load => {
            // SAFETY: promised by the caller.
            let raw = unsafe { read(addr, access.size) };
            set_register(event, access.reg, loaded(access, raw));
        }
        Op::Store | Op::StoreImm => {
            // SAFETY: promised by the caller.
            unsafe { write(addr, access.size, stored(access, regs)) };
        }
        _ => loop {
            // SAFETY: promised by the caller; aligned, as `access` has checked.
            let old = unsafe { read(addr, access.size) };
            let Some(change) = apply_rmw(access, old, regs) else {
                return;
            };
            // SAFETY: as above.
            if unsafe { exchange(addr, access.size, old, change.memory) } {
                if let Some(value) = change.reg {
                    set_register(event, access.reg, value);
                }
                if let Some(value) = change.rax {
                    event.rax = value;
                }
                if let Some(zf) = change.zf {
                    event.rflags = (event.rflags & !ZF) | if zf { ZF } else { 0 };
                }
                return;
            }
        },
    }
}

/// # Safety
///
/// `size` bytes at `addr` are mapped.
unsafe fn read(addr: u64, size: u8) -> u64 {
    // SAFETY: promised by the caller. Volatile: one access of that width, as the program asked
    // for; x86 needs no alignment, and rustc none that the CPU does not.
    unsafe {
        match size {
            1 => u64::from(ptr::read_volatile(addr as *const u8)),
            2 => u64::from(ptr::read_volatile(addr as *const Unaligned<u16>).0),
            4 => u64::from(ptr::read_volatile(addr as *const Unaligned<u32>).0),
            _ => ptr::read_volatile(addr as *const Unaligned<u64>).0,
        }
    }
}

/// # Safety
///
/// `size` bytes at `addr` are mapped and writable.
unsafe fn write(addr: u64, size: u8, value: u64) {
    // SAFETY: as in `read`.
    unsafe {
        match size {
            1 => ptr::write_volatile(addr as *mut u8, value as u8),
            2 => ptr::write_volatile(addr as *mut Unaligned<u16>, Unaligned(value as u16)),
            4 => ptr::write_volatile(addr as *mut Unaligned<u32>, Unaligned(value as u32)),
            _ => ptr::write_volatile(addr as *mut Unaligned<u64>, Unaligned(value)),
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

/// Replaces `old` by `new` if it is still there.
///
/// # Safety
///
/// `addr` is aligned to `size`, which is 4 or 8, mapped and writable.
unsafe fn exchange(addr: u64, size: u8, old: u64, new: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe {
        if size == 4 {
            AtomicU32::from_ptr(addr as *mut u32)
                .compare_exchange(old as u32, new as u32, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        } else {
            AtomicU64::from_ptr(addr as *mut u64)
                .compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        }
    }
}
