// SPDX-License-Identifier: GPL-2.0
//! What the program sees of its context and packet: copies in its frame.
//!
//! From the top of the run's part of the frame downwards: the packet buffer
//! (hard start to hard end at one constant distance from the real one, so that
//! the helpers that move the packet's ends need no other copy), the stand-ins
//! for `net_device`, `xdp_rxq_info` and `xdp_txq_info`, the `xdp_buff`, the BPF
//! stack. Only what the program is known to look at is copied.

use super::{callers, this_cpu, Run};
use crate::bindings as b;
use crate::breach;
use crate::load::Image;
use crate::pure::reach;
use core::mem::{offset_of, size_of};
use kernel::prelude::*;

/// Alignment of the parts.
pub(super) const LINE: u64 = 64;

/// Bytes of the parts, in whole lines: the context; the receive queue; this and its device,
/// and the same for sending.
const CONTEXT: u64 = (size_of::<b::xdp_buff>() as u64).next_multiple_of(LINE);
const RXQ: u64 = (size_of::<b::xdp_rxq_info>() as u64).next_multiple_of(LINE);
const DEVICES: u64 = LINE + RXQ + 2 * LINE;
const _: () = assert!(size_of::<b::xdp_txq_info>() as u64 <= LINE);

/// The part of the real packet that a program can address directly: with what stands in
/// front of its data, unless it is known not to look there.
struct Extent {
    start: u64,
    end: u64,
}

impl Run {
    /// The real context.
    #[inline(always)]
    fn xdp(&self) -> &'static b::xdp_buff {
        // SAFETY: the caller of the program passed it and keeps it until the program returns; the
        // reference is used within the run.
        unsafe { &*(self.raw.ctx as *const b::xdp_buff) }
    }

    /// What there is of the packet, if it lies in the buffer that enter saw.
    #[inline(always)]
    fn extent(&self) -> Option<Extent> {
        let xdp = self.xdp();
        let mut start = xdp.data as u64;
        if self.image().sees == reach::ALL {
            // data_meta is data + 1 where metadata is not supported (xdp_set_data_meta_invalid).
            start = start.min(xdp.data_meta as u64);
        }
        let end = xdp.data_end as u64;
        let low = self.raw.shadow.hard_start;
        // What lies below `low` is far behind the end.
        let (first, last) = (start.wrapping_sub(low), end.wrapping_sub(low));
        (first <= last && last <= self.raw.shadow.packet_room).then_some(Extent { start, end })
    }

    /// Distance from a real packet address to the shadow's.
    #[inline(always)]
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
        self.raw.shadow.ctx == 0
            || self.image().flags & b::BAILEY_PROG_PACKET == 0
            || self.fill().is_some()
    }

    /// The same, of a program that looks at the packet. No more of it is copied than the
    /// program looks at.
    #[inline(always)]
    fn fill(&mut self) -> Option<()> {
        let extent = self.extent()?;
        let sees = self.image().sees;
        let distance = self.distance();
        let xdp = self.xdp();
        let shadow = self.raw.shadow.ctx as *mut b::xdp_buff;
        // SAFETY: the shadow lies in this run's part of the frame.
        unsafe {
            (*shadow).data = (xdp.data as u64).wrapping_add(distance) as *mut c_void;
            (*shadow).data_end = (xdp.data_end as u64).wrapping_add(distance) as *mut c_void;
            if sees == reach::ALL {
                (*shadow).data_meta = (xdp.data_meta as u64).wrapping_add(distance) as *mut c_void;
            }
        }
        let len = extent.end.wrapping_sub(extent.start);
        copy(
            extent.start.wrapping_add(distance),
            extent.start,
            len.min(sees.into()),
        );
        Some(())
    }

    /// Copies the packet back to where it came from, as far as the program may have written
    /// it.
    #[inline(always)]
    pub(crate) fn sync_back(&mut self) {
        if self.raw.work & b::BAILEY_WORK_PACKET == 0 {
            return;
        }
        if let Some(extent) = self.extent() {
            let image = self.image();
            let len = extent.end.wrapping_sub(extent.start);
            let (from, to) = (
                u64::from(image.writes_from),
                len.min(image.writes_to.into()),
            );
            if from < to {
                let at = extent.start.wrapping_add(from);
                copy(at, at.wrapping_add(self.distance()), to.wrapping_sub(from));
            }
        }
    }

    /// Carves this run's part of the frame and fills it. Returns what the
    /// program gets as its context, or `None` if the frame is too full.
    ///
    /// Whether it is, is asked once, of the lowest part: nothing has been written before.
    /// What is taken together is less than 2^33 bytes, and a frame far above that.
    #[inline(always)]
    pub(crate) fn carve(&mut self) -> Option<u64> {
        let flags = self.image().flags;
        self.raw.work &= !b::BAILEY_WORK_PACKET;
        if flags & b::BAILEY_PROG_CTX == 0 {
            self.raw.shadow.ctx = 0;
            self.raw.shadow.packet_room = 0;
            self.carve_below(self.raw.cursor & !(LINE - 1))?;
            return Some(0);
        }
        let real = self.xdp();
        let mut room = 0;
        if flags & b::BAILEY_PROG_PACKET != 0 {
            // SAFETY: frame_sz and flags share a union with their common initializer.
            let frame_sz = unsafe { real.__bindgen_anon_1.__bindgen_anon_1.frame_sz };
            room = u64::from(frame_sz).checked_sub(u64::from(b::BAILEY_XDP_TAIL))?;
        }
        let packet = self.raw.cursor.wrapping_sub(room) & !(LINE - 1);
        let devices = if flags & (b::BAILEY_PROG_RXQ | b::BAILEY_PROG_TXQ) != 0 {
            DEVICES
        } else {
            0
        };
        let ctx = packet.wrapping_sub(devices + CONTEXT);
        self.carve_below(ctx)?;
        self.raw.shadow.ctx = ctx;
        self.raw.shadow.packet = packet;
        self.raw.shadow.packet_room = room;
        self.raw.shadow.hard_start = real.data_hard_start as u64;
        if devices != 0 {
            self.show_devices(packet);
        }
        if flags & b::BAILEY_PROG_PACKET != 0 {
            self.fill()?;
            if flags & b::BAILEY_PROG_WRITES != 0 {
                self.raw.work |= b::BAILEY_WORK_PACKET;
            }
        }
        Some(ctx)
    }

    /// Makes the stand-ins for what the program follows `rxq` and `txq` to, from `top`
    /// downwards.
    #[inline(never)]
    fn show_devices(&mut self, top: u64) {
        let flags = self.image().flags;
        let real = self.xdp();
        let shadow = self.raw.shadow.ctx as *mut b::xdp_buff;
        let rxq = top - LINE - RXQ;
        let txq = rxq - 2 * LINE;
        if flags & b::BAILEY_PROG_RXQ != 0 {
            // SAFETY: a running XDP program has a receive queue and its device.
            let (queue, ifindex) = unsafe { ((*real.rxq).queue_index, (*(*real.rxq).dev).ifindex) };
            let dev = device(rxq + RXQ, ifindex);
            // SAFETY: `carve` has taken the room, and that of the shadow.
            unsafe {
                let rxq = rxq as *mut b::xdp_rxq_info;
                (*rxq).dev = dev as *mut b::net_device;
                (*rxq).queue_index = queue;
                (*shadow).rxq = rxq;
            }
        }
        if flags & b::BAILEY_PROG_TXQ != 0 {
            let mut seen = core::ptr::null_mut();
            if !real.txq.is_null() {
                // SAFETY: devmap sets txq and its device before it runs a program.
                let ifindex = unsafe { (*(*real.txq).dev).ifindex };
                let dev = device(txq + LINE, ifindex);
                seen = txq as *mut b::xdp_txq_info;
                // SAFETY: as above.
                unsafe { (*seen).dev = dev as *mut b::net_device };
            }
            // SAFETY: as above.
            unsafe { (*shadow).txq = seen };
        }
    }

    /// Whether what the program sees is all that one with `flags` looks at.
    pub(crate) fn shows(&self, flags: u32) -> bool {
        let looks = flags & !(b::BAILEY_PROG_WRITES | b::BAILEY_PROG_TAIL);
        looks & !self.image().flags == 0
            && (looks & b::BAILEY_PROG_PACKET == 0 || self.image().sees == reach::ALL)
            && (self.raw.shadow.ctx != 0 || looks == 0)
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
        let depth = self.image().depth;
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

/// Adds to this CPU's count of bytes copied.
#[inline(always)]
fn count(len: u64) {
    // SAFETY: one instruction on a word of this CPU's; the kernel's per-CPU base is in GS.
    unsafe {
        core::arch::asm!(
            "add qword ptr gs:[rip + bailey_cpu + {at}], {len}",
            at = const offset_of!(b::bailey_cpu, bytes_copied),
            len = in(reg) len,
            options(nostack),
        );
    }
}

/// Moves 8 * N bytes, all read before any is written, if they fit the registers.
macro_rules! moves {
    ($to:expr, $from:expr, $($word:ident $at:literal),*) => {
        core::arch::asm!(
            $(concat!("mov {", stringify!($word), "}, [{from} + ", $at, "]"),)*
            $(concat!("mov [{to} + ", $at, "], {", stringify!($word), "}"),)*
            $($word = out(reg) _,)*
            from = in(reg) $from,
            to = in(reg) $to,
            options(nostack, preserves_flags),
        )
    };
}

/// Copies `len` bytes between ranges that do not overlap. Plain moves, because for packets
/// of usual size they beat the start-up cost of `rep movsb` (and emulators count every byte
/// of it). The last ones begin where they end with the range, so no byte is moved alone.
#[inline(always)]
fn copy(to: u64, from: u64, len: u64) {
    count(len);
    // SAFETY: callers pass ranges inside the real buffer and the frame, and all moves are inside
    // of them. The frame may be written by another CPU meanwhile; all values are valid, and of
    // bytes that are moved twice either is. x86 needs no alignment.
    unsafe {
        if len > 64 {
            copy_lines(to, from, len);
        } else if len > 32 {
            let rest = len - 32;
            moves!(to, from, a 0, b 8, c 16, d 24);
            moves!(to.wrapping_add(rest), from.wrapping_add(rest), a 0, b 8, c 16, d 24);
        } else if len >= 16 {
            let rest = len - 16;
            moves!(to, from, a 0, b 8);
            moves!(to.wrapping_add(rest), from.wrapping_add(rest), a 0, b 8);
        } else {
            copy_few(to, from, len);
        }
    }
}

/// The same for more than 64 bytes.
///
/// # Safety
///
/// `from` may be read and `to` be written, `len` bytes of each.
#[inline(never)]
unsafe fn copy_lines(to: u64, from: u64, len: u64) {
    // Whole lines, but that of the last byte.
    let lines = len.wrapping_sub(1) & !(LINE - 1);
    let rest = len.wrapping_sub(LINE);
    // SAFETY: promised by the caller; `lines` is neither 0 nor more than `len`.
    unsafe {
        core::arch::asm!(
            "2:",
            "mov {a}, [{from} + {at}]",
            "mov {b}, [{from} + {at} + 8]",
            "mov {c}, [{from} + {at} + 16]",
            "mov {d}, [{from} + {at} + 24]",
            "mov [{to} + {at}], {a}",
            "mov [{to} + {at} + 8], {b}",
            "mov [{to} + {at} + 16], {c}",
            "mov [{to} + {at} + 24], {d}",
            "mov {a}, [{from} + {at} + 32]",
            "mov {b}, [{from} + {at} + 40]",
            "mov {c}, [{from} + {at} + 48]",
            "mov {d}, [{from} + {at} + 56]",
            "mov [{to} + {at} + 32], {a}",
            "mov [{to} + {at} + 40], {b}",
            "mov [{to} + {at} + 48], {c}",
            "mov [{to} + {at} + 56], {d}",
            "add {at}, 64",
            "jnz 2b",
            a = out(reg) _,
            b = out(reg) _,
            c = out(reg) _,
            d = out(reg) _,
            at = inout(reg) lines.wrapping_neg() => _,
            from = in(reg) from.wrapping_add(lines),
            to = in(reg) to.wrapping_add(lines),
            options(nostack),
        );
        let (to, from) = (to.wrapping_add(rest), from.wrapping_add(rest));
        moves!(to, from, a 0, b 8, c 16, d 24);
        moves!(to, from, a 32, b 40, c 48, d 56);
    }
}

/// The same for less than 16 bytes.
///
/// # Safety
///
/// `from` may be read and `to` be written, `len` bytes of each.
#[inline(never)]
unsafe fn copy_few(to: u64, from: u64, len: u64) {
    // SAFETY: promised by the caller.
    unsafe {
        if len >= 8 {
            let rest = len - 8;
            moves!(to, from, a 0);
            moves!(to.wrapping_add(rest), from.wrapping_add(rest), a 0);
            return;
        }
        if len >= 4 {
            let rest = len - 4;
            for at in [0, rest] {
                core::arch::asm!(
                    "mov {half:e}, [{from}]",
                    "mov [{to}], {half:e}",
                    half = out(reg) _,
                    from = in(reg) from.wrapping_add(at),
                    to = in(reg) to.wrapping_add(at),
                    options(nostack, preserves_flags),
                );
            }
            return;
        }
        for at in 0..len {
            let byte = (from.wrapping_add(at) as *const u8).read_volatile();
            (to.wrapping_add(at) as *mut u8).write_volatile(byte);
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
    let ended = run.raw.action == b::BAILEY_ABORT;
    if run.raw.work == b::BAILEY_WORK_PACKET && !ended {
        // As nearly always.
        run.sync_back();
        return verdict;
    }
    exit(run, verdict)
}

/// The end of a run that is more than one program's own on its packet.
#[inline(never)]
fn exit(run: &mut Run, verdict: u64) -> u64 {
    if callers::under_way(&run.raw) > 0 {
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
