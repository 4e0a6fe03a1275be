// SPDX-License-Identifier: GPL-2.0
//! Programs that want to attach to an isolated one: fentry, fexit, freplace.
//!
//! Its entry and its global functions are images of their own, which are called
//! on the kernel's stack, so trampolines and replacements work there as they do
//! anywhere. Its static functions are part of other images, or get what the
//! program sees of its context: no call of them can be intercepted.

use super::program::{self, Entry, State};
use crate::bindings as b;
use core::slice;
use kernel::prelude::*;

/// Instead of `bpf_check_attach_target()`.
///
/// # Safety
///
/// Called by the hook, with that function's arguments.
#[no_mangle]
unsafe extern "C" fn bailey_on_check_attach_target(
    log: *mut b::bpf_verifier_log,
    prog: *const b::bpf_prog,
    target: *const b::bpf_prog,
    btf_id: u32,
    info: *mut b::bpf_attach_target_info,
) -> c_int {
    // SAFETY: the caller holds a reference to the target, if there is one.
    if !target.is_null() && unsafe { is_inner(target, btf_id) } {
        // SAFETY: `log` is what the kernel's own messages go to; the string ends with NUL.
        unsafe {
            b::bailey_attach_log(
                log,
                c"the function is part of an isolated program: nothing can be attached to it"
                    .as_char_ptr(),
            )
        };
        return EINVAL.to_errno();
    }
    // SAFETY: calls the original.
    unsafe { b::bailey_k_bpf_check_attach_target(log, prog, target, btf_id, info) }
}

/// Whether the function of BTF type `btf_id` is one of an isolated program's
/// to which nothing can attach.
///
/// # Safety
///
/// `target` is alive.
unsafe fn is_inner(target: *const b::bpf_prog, btf_id: u32) -> bool {
    // SAFETY: promised by the caller.
    let aux = unsafe { (*target).aux };
    let Some(Entry::Program(program)) = program::find(aux) else {
        return false;
    };
    if program.state() == State::NotIsolated {
        return false;
    }
    // SAFETY: a loaded program's aux has `func_info_cnt` records, which change no more.
    let functions = unsafe {
        if (*aux).func_info.is_null() {
            return false;
        }
        slice::from_raw_parts((*aux).func_info, (*aux).func_info_cnt as usize)
    };
    let Some(number) = functions.iter().position(|func| func.type_id == btf_id) else {
        return false;
    };
    // The kernel's functions are in the order of the images.
    number > 0
        && !program
            .images()
            .get(number)
            .is_some_and(|image| image.calls == b::BAILEY_CALL_FUNCTION && image.is_global != 0)
}
