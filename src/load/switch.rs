// SPDX-License-Identifier: GPL-2.0
//! Switches: functions that others can attach to are part of their callers'
//! images, and only while something is attached are they called by a gate.
//!
//! The five bytes of a switch are the kernel's own nop, or a jump to its site's
//! stub. They are changed as the kernel changes those at a function's beginning
//! when something attaches there, right after it has: a confined CPU that meets
//! the breakpoint goes on by either form. A function's image looks at its own
//! beginning with each call, so between the two changes both ways are right.

use super::program::{self, Program};
use crate::bindings as b;
use core::ffi::c_void;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::Arc;

/// A switch that is off: `nopl 0(%rax,%rax)`, as the kernel's `x86_nops[5]`
/// (arch/x86/include/asm/nops.h).
pub(super) const OFF: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];

/// A switch.
pub(super) struct Switch {
    /// Its site, in the program's table.
    pub(super) site: usize,
    /// The image of the function it is for, by number.
    image: usize,
    /// Where it is.
    pub(super) at: u64,
    /// The stub of its site.
    pub(super) stub: u64,
}

impl Switch {
    /// One that has no place yet.
    pub(super) fn new(site: usize, image: usize) -> Self {
        Self {
            site,
            image,
            at: 0,
            stub: 0,
        }
    }

    /// Turns it on or off.
    fn turn(&self, on: bool) -> c_int {
        let (at, stub) = (self.at as *mut c_void, self.stub as *mut c_void);
        let (nop, jump) = (
            b::bpf_text_poke_type_BPF_MOD_NOP,
            b::bpf_text_poke_type_BPF_MOD_JUMP,
        );
        // SAFETY: `at` is a switch of a finished image whose program is alive, and holds one of the
        // two forms: the function compares before it writes.
        unsafe {
            if on {
                b::bailey_k_bpf_arch_text_poke(at, nop, jump, ptr::null_mut(), stub)
            } else {
                b::bailey_k_bpf_arch_text_poke(at, jump, nop, stub, ptr::null_mut())
            }
        }
    }
}

/// The switch of a site; `switches` are in the order of their sites.
pub(super) fn find(switches: &[Switch], site: usize) -> Option<&Switch> {
    let at = switches.binary_search_by_key(&site, |switch| switch.site);
    switches.get(at.ok()?)
}

/// The same, to be changed.
pub(super) fn find_mut(switches: &mut [Switch], site: usize) -> Option<&mut Switch> {
    let at = switches.binary_search_by_key(&site, |switch| switch.site);
    switches.get_mut(at.ok()?)
}

/// Instead of `bpf_arch_text_poke()`, by which something attaches to a function
/// and goes.
///
/// # Safety
///
/// Called by the hook, with that function's arguments.
#[no_mangle]
unsafe extern "C" fn bailey_on_arch_text_poke(
    ip: *mut c_void,
    old_type: b::bpf_text_poke_type,
    new_type: b::bpf_text_poke_type,
    old_addr: *mut c_void,
    new_addr: *mut c_void,
) -> c_int {
    // SAFETY: calls the original.
    let changed =
        unsafe { b::bailey_k_bpf_arch_text_poke(ip, old_type, new_type, old_addr, new_addr) };
    if changed != 0 {
        return changed;
    }
    let Some((program, image)) = program_at(ip as u64) else {
        return 0;
    };
    let Some(isolation) = program.isolation() else {
        return 0;
    };
    let is_on =
        |kind, addr: *mut c_void| kind != b::bpf_text_poke_type_BPF_MOD_NOP && !addr.is_null();
    let (was, is) = (is_on(old_type, old_addr), is_on(new_type, new_addr));
    if was == is {
        return 0;
    }
    // SAFETY: the image is finished, and its table is not changed any more.
    let switches = unsafe { &*isolation.switches.get() };
    for switch in switches.iter().filter(|switch| switch.image == image) {
        let failed = switch.turn(is);
        if failed < 0 {
            // A call goes the way it went.
            pr_warn!(
                "program {}: a call is not turned over to what attached ({})\n",
                program.name(),
                failed
            );
        }
    }
    0
}

/// The isolated program with an image at `address`, and that image's number.
fn program_at(address: u64) -> Option<(Arc<Program>, usize)> {
    program::first(|program| {
        let mut images = program.images().iter();
        images.position(|image| image.image == address)
    })
}
