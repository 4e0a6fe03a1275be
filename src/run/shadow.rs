// SPDX-License-Identifier: GPL-2.0
//! What the program sees of its context and packet: copies in its frame.
//!
//! From the top of the run's part of the frame downwards: the packet buffer
//! (hard start to hard end at one constant distance from the real one, so that
//! the helpers that move the packet's ends need no other copy), the stand-ins
//! for `net_device`, `xdp_rxq_info` and `xdp_txq_info`, the `xdp_buff`, the BPF
//! stack. Only what the program is known to look at is copied.

use super::{this_cpu, Run};
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use core::mem::{offset_of, size_of};
use kernel::prelude::*;

/// Alignment of the parts.
pub(super) const LINE: u64 = 64;

/// The part of the real packet that a program can address directly.
struct Extent {
    start: u64,
    end: u64,
}

impl Run {
    /// The real context.
    fn xdp(&self) -> &b::xdp_buff {
        // SAFETY: the caller of the program passed it and keeps it until the program returns.
        unsafe { &*(self.raw.ctx as *const b::xdp_buff) }
    }

    /// What there is of the packet, if it lies in the buffer that enter saw.
    fn extent(&self) -> Option<Extent> {
        let xdp = self.xdp();
        // data_meta is data + 1 where metadata is not supported (xdp_set_data_meta_invalid).
        let start = (xdp.data as u64).min(xdp.data_meta as u64);
        let end = xdp.data_end as u64;
        let low = self.raw.shadow.hard_start;
        (low <= start && start <= end && end - low <= self.raw.shadow.packet_room)
            .then_some(Extent { start, end })
    }

    /// Distance from a real packet address to the shadow's.
    fn distance(&self) -> u64 {
        self.raw
            .shadow
            .packet
            .wrapping_sub(self.raw.shadow.hard_start)
    }

    /// Where the program sees the `len` bytes at `addr` of the real packet; `None`
    /// if they are not in the part that it sees.
    pub(super) fn seen_at(&self, addr: u64, len: u64) -> Option<u64> {
        if self.image().flags & b::BAILEY_PROG_PACKET == 0 || self.raw.shadow.ctx == 0 {
            return None;
        }
        let extent = self.extent()?;
        (extent.start <= addr && addr <= extent.end && len <= extent.end - addr)
            .then(|| addr.wrapping_add(self.distance()))
    }

    /// Copies the packet into the frame, and the context's pointers to it.
    /// False if the packet has left the buffer that enter saw.
    pub(crate) fn sync_in(&mut self) -> bool {
        let flags = self.image().flags;
        if self.raw.shadow.ctx == 0 {
            return true;
        }
        let distance = self.distance();
        let xdp = self.xdp();
        let shadow = self.raw.shadow.ctx as *mut b::xdp_buff;
        // SAFETY: the shadow lies in this run's part of the frame.
        unsafe {
            (*shadow).data = (xdp.data as u64).wrapping_add(distance) as *mut c_void;
            (*shadow).data_end = (xdp.data_end as u64).wrapping_add(distance) as *mut c_void;
            (*shadow).data_meta = (xdp.data_meta as u64).wrapping_add(distance) as *mut c_void;
        }
        if flags & b::BAILEY_PROG_PACKET != 0 {
            let Some(extent) = self.extent() else {
                return false;
            };
            copy(
                extent.start.wrapping_add(distance),
                extent.start,
                extent.end - extent.start,
            );
        }
        true
    }

    /// Copies the packet back to where it came from.
    pub(crate) fn sync_back(&mut self) {
        if self.raw.work & b::BAILEY_WORK_PACKET == 0 {
            return;
        }
        if let Some(extent) = self.extent() {
            let distance = self.distance();
            copy(
                extent.start,
                extent.start.wrapping_add(distance),
                extent.end - extent.start,
            );
        }
    }

    /// Carves this run's part of the frame and fills it. Returns what the
    /// program gets as its context, or `None` if the frame is too full.
    pub(crate) fn carve(&mut self) -> Option<u64> {
        let flags = self.image().flags;
        let bottom = self.frame().bottom;
        let mut at = self.raw.cursor;
        let mut take = |bytes: u64| -> Option<u64> {
            at = at.checked_sub(bytes)? & !(LINE - 1);
            (at >= bottom).then_some(at)
        };
        self.raw.shadow.ctx = 0;
        self.raw.shadow.packet_room = 0;
        self.raw.work &= !b::BAILEY_WORK_PACKET;
        if flags & b::BAILEY_PROG_CTX != 0 {
            let xdp = self.raw.ctx as *const b::xdp_buff;
            // SAFETY: as in `xdp`.
            let real = unsafe { &*xdp };
            // SAFETY: frame_sz and flags share a union with their common initializer.
            let frame_sz = unsafe { real.__bindgen_anon_1.__bindgen_anon_1.frame_sz };
            self.raw.shadow.hard_start = real.data_hard_start as u64;
            let mut room = 0;
            if flags & b::BAILEY_PROG_PACKET != 0 {
                room = u64::from(frame_sz).checked_sub(u64::from(b::BAILEY_XDP_TAIL))?;
            }
            self.raw.shadow.packet = take(room)?;
            self.raw.shadow.packet_room = room;
            let mut rxq = 0;
            if flags & b::BAILEY_PROG_RXQ != 0 {
                // SAFETY: a running XDP program has a receive queue and its device.
                let (queue, ifindex) =
                    unsafe { ((*real.rxq).queue_index, (*(*real.rxq).dev).ifindex) };
                let dev = device(take(LINE)?, ifindex);
                rxq = take(size_of::<b::xdp_rxq_info>() as u64)?;
                // SAFETY: in this run's part of the frame, and large enough.
                unsafe {
                    let rxq = rxq as *mut b::xdp_rxq_info;
                    (*rxq).dev = dev as *mut b::net_device;
                    (*rxq).queue_index = queue;
                }
            }
            let mut txq = 0;
            if flags & b::BAILEY_PROG_TXQ != 0 && !real.txq.is_null() {
                // SAFETY: devmap sets txq and its device before it runs a program.
                let ifindex = unsafe { (*(*real.txq).dev).ifindex };
                let dev = device(take(LINE)?, ifindex);
                txq = take(size_of::<b::xdp_txq_info>() as u64)?;
                // SAFETY: in this run's part of the frame, and large enough.
                unsafe { (*(txq as *mut b::xdp_txq_info)).dev = dev as *mut b::net_device };
            }
            let ctx = take(size_of::<b::xdp_buff>() as u64)?;
            // SAFETY: in this run's part of the frame, and large enough.
            unsafe {
                let shadow = ctx as *mut b::xdp_buff;
                (*shadow).data_hard_start = self.raw.shadow.packet as *mut c_void;
                (*shadow).rxq = rxq as *mut b::xdp_rxq_info;
                (*shadow).txq = txq as *mut b::xdp_txq_info;
                (*shadow).__bindgen_anon_1 = real.__bindgen_anon_1;
            }
            self.raw.shadow.ctx = ctx;
        }
        let rbp = take(0)?;
        self.carve_below(rbp)?;
        if !self.sync_in() {
            return None;
        }
        if flags & b::BAILEY_PROG_WRITES != 0 {
            self.raw.work |= b::BAILEY_WORK_PACKET;
        }
        Some(self.raw.shadow.ctx)
    }

    /// Whether what the program sees is all that one with `flags` looks at.
    pub(crate) fn shows(&self, flags: u32) -> bool {
        let looks = flags & !(b::BAILEY_PROG_WRITES | b::BAILEY_PROG_TAIL);
        looks & !self.image().flags == 0 && (self.raw.shadow.ctx != 0 || looks == 0)
    }

    /// Carves no more than the stack of a program with `flags`, which sees what
    /// is shown already. Returns what it gets as its context, or `None` if the
    /// frame is too full.
    pub(crate) fn carve_stack(&mut self, flags: u32) -> Option<u64> {
        self.raw.work &= !b::BAILEY_WORK_PACKET;
        if flags & b::BAILEY_PROG_WRITES != 0 {
            self.raw.work |= b::BAILEY_WORK_PACKET;
        }
        let at = self.frame().cursor;
        self.carve_below(at & !(LINE - 1))?;
        Some(self.raw.shadow.ctx)
    }

    /// Carves the stack of the image that runs, from `rbp` downwards.
    pub(crate) fn carve_below(&mut self, mut rbp: u64) -> Option<()> {
        let bottom = self.frame().bottom;
        let depth = u64::from(self.image().depth);
        if breach::no_room() {
            rbp = bottom + depth;
        }
        let rsp = rbp.checked_sub(depth)?;
        let cursor = rsp.checked_sub(u64::from(b::BAILEY_STACK_ROOM))? & !(LINE - 1);
        if cursor < bottom && !breach::no_room() {
            return None;
        }
        self.raw.dom_rbp = rbp;
        self.raw.dom_rsp = rsp;
        // SAFETY: this CPU's frame; only its own runs move the cursor, and nested ones put it back.
        unsafe { (*self.raw.frame).cursor = cursor };
        Some(())
    }
}

/// The address of a `net_device` whose only field that exists is `ifindex`, at `at`.
fn device(at: u64, ifindex: c_int) -> u64 {
    // SAFETY: `at` is a line of this run's part of the frame.
    unsafe { (at as *mut c_int).write(ifindex) };
    at.wrapping_sub(offset_of!(b::net_device, ifindex) as u64)
}

/// The same, for others.
///
/// # Safety
///
/// `from` may be read and `to` be written, `len` bytes of each.
pub(super) unsafe fn copy_bytes(to: u64, from: u64, len: u64) {
    copy(to, from, len);
}

/// Copies `len` bytes. Plain moves, because for packets of usual size they
/// beat the start-up cost of `rep movsb` (and emulators count every byte of it).
fn copy(to: u64, from: u64, len: u64) {
    this_cpu().bytes_copied += len;
    let (mut to, mut from, mut left) = (to as *mut u64, from as *const u64, len);
    // SAFETY: callers pass ranges inside the real buffer and the frame. The frame may be written
    // by another CPU meanwhile, hence volatile; all values are valid. x86 needs no alignment.
    unsafe {
        while left >= 64 {
            core::arch::asm!(
                "mov {a}, [{from}]",
                "mov {b}, [{from} + 8]",
                "mov {c}, [{from} + 16]",
                "mov {d}, [{from} + 24]",
                "mov [{to}], {a}",
                "mov [{to} + 8], {b}",
                "mov [{to} + 16], {c}",
                "mov [{to} + 24], {d}",
                "mov {a}, [{from} + 32]",
                "mov {b}, [{from} + 40]",
                "mov {c}, [{from} + 48]",
                "mov {d}, [{from} + 56]",
                "mov [{to} + 32], {a}",
                "mov [{to} + 40], {b}",
                "mov [{to} + 48], {c}",
                "mov [{to} + 56], {d}",
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                d = out(reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack, preserves_flags),
            );
            to = to.byte_add(64);
            from = from.byte_add(64);
            left -= 64;
        }
        let (mut to, mut from) = (to.cast::<u8>(), from.cast::<u8>());
        while left >= 8 {
            to.cast::<u64>()
                .write_unaligned(from.cast::<u64>().read_unaligned());
            to = to.add(8);
            from = from.add(8);
            left -= 8;
        }
        while left > 0 {
            to.write_volatile(from.read_volatile());
            to = to.add(1);
            from = from.add(1);
            left -= 1;
        }
    }
}

/// Called by the enter gate for a program that looks at its context. Returns
/// the program's context, or all ones if it cannot run now.
///
/// # Safety
///
/// `run` is the record that the enter gate has just filled, on this CPU's kernel stack.
#[no_mangle]
unsafe extern "C" fn bailey_carve(run: *mut b::bailey_run) -> u64 {
    // SAFETY: promised by the caller.
    let run = unsafe { Run::from_raw(run) };
    run.carve().unwrap_or(u64::MAX)
}

/// Called by the enter gate on a CPU on which no program of the domain has run so far.
/// Returns the frame there, or null if there is no memory for it.
///
/// # Safety
///
/// `prog` is what the enter gate was given; preemption is off.
#[no_mangle]
unsafe extern "C" fn bailey_first_frame(prog: *mut b::bailey_prog) -> *mut b::bailey_frame {
    // SAFETY: promised by the caller: its program is being run.
    unsafe { Image::from_raw(prog) }.frame_here()
}

/// Called by the gates at the end of a run that has work left. Returns the
/// verdict, or what a function returns.
///
/// # Safety
///
/// `run` is this CPU's innermost run, which is not confined any more.
#[no_mangle]
unsafe extern "C" fn bailey_exit(run: *mut b::bailey_run, verdict: u64) -> u64 {
    // SAFETY: promised by the caller.
    let run = unsafe { Run::from_raw(run) };
    if run.raw.calls > 0 {
        if run.raw.action != b::BAILEY_ABORT && super::function::leave(run) {
            return verdict;
        }
        run.raw.action = b::BAILEY_ABORT;
        super::function::unwind(run);
    }
    if run.raw.work & b::BAILEY_WORK_SHARED == 0 {
        if run.raw.action != b::BAILEY_ABORT {
            run.sync_back();
        }
        run.end_level();
    }
    if super::function::is_nested(run) {
        return super::function::exit(run, verdict);
    }
    if run.raw.action == b::BAILEY_ABORT {
        this_cpu().aborts += 1;
    }
    verdict
}
