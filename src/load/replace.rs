// SPDX-License-Identifier: GPL-2.0
//! Another program in the place of the one that was verified, with everything
//! that counts its instructions: aux data, functions, line info.

use super::knowledge::Knowledge;
use super::rewrite::NEW;
use crate::bindings as b;
use crate::pure::insn::Insn;
use crate::pure::rewrite::PROLOGUE_LEN;
use core::ptr;
use core::slice;
use kernel::prelude::*;

/// Frees what the kernel has from kvmalloc(); null is fine.
///
/// # Safety
///
/// `memory` came from there, holds plain data, and is not used any more.
unsafe fn kvfree<T>(memory: *mut T) {
    if !memory.is_null() {
        // SAFETY: promised by the caller; a vector frees by address alone.
        drop(unsafe { KVVec::<u8>::from_raw_parts(memory.cast(), 0, 1) });
    }
}

/// Makes `code` the program: one function, which begins with the prologue.
/// `origins` says of each instruction behind that which one of the old program
/// it stands for, `starts` where each old function begins now. If this fails,
/// with `ENOMEM`, nothing has changed.
pub(super) fn program(
    known: &mut Knowledge,
    code: &[Insn],
    origins: &[u32],
    starts: &dyn Fn(usize) -> Option<u32>,
) -> Result {
    let lines = lines(known, origins)?;
    let len = code.len();
    let old = known.insns().len();
    if len > old {
        // No jump crosses the last instruction, so none can become too long.
        let mut patch: KVVec<Insn> = KVVec::from_elem(Insn::ja(0), len - old + 1, GFP_KERNEL)?;
        patch[0] = known.insns()[old - 1];
        // SAFETY: `env` is alive; the patch has as many instructions as are said.
        let patched = unsafe {
            b::bailey_k_bpf_patch_insn_data(
                known.env(),
                old as u32 - 1,
                patch.as_ptr().cast(),
                patch.len() as u32,
            )
        };
        if patched.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: as every pass of the verifier does with the replaced program.
        unsafe { (*known.env()).prog = patched };
    }

    // SAFETY: `env`, program and aux are alive and ours in the hook. The program and its aux data
    // have `max(len, old)` entries, which plain stores may fill; `jt` is memory of kvmalloc()
    // that nobody else refers to.
    unsafe {
        let env = &mut *known.env();
        for data in slice::from_raw_parts_mut(env.insn_aux_data, len.max(old)) {
            // What passes had noted is said of other instructions; later ones ask for none of it.
            kvfree(data.jt);
            ptr::write_bytes(data, 0, 1);
        }
        (*env.prog).len = len as u32;
    }
    known.insns_mut().copy_from_slice(code);

    // SAFETY: as above. `func_info` has `func_info_cnt` entries; line info was allocated with
    // kvmalloc() by the verifier and nothing refers into it yet.
    unsafe {
        let env = &mut *known.env();
        let functions = env.subprog_cnt as usize;
        env.subprog_cnt = 1;
        env.hidden_subprog_cnt = 0;
        env.subprog_info[0].linfo_idx = 0;
        env.subprog_info[1].start = len as u32;
        let aux = &mut *(*env.prog).aux;
        for number in 0..functions.min(aux.func_info_cnt as usize) {
            (*aux.func_info.add(number)).insn_off = starts(number).unwrap_or(len as u32);
        }
        if !aux.linfo.is_null() {
            kvfree(aux.linfo);
            aux.nr_linfo = lines.len() as u32;
            aux.linfo = lines.into_raw_parts().0;
            aux.linfo_idx = 0;
        }
    }
    Ok(())
}

/// The line info of the new program: for each instruction that stands for one
/// with a line, that line.
fn lines(known: &Knowledge, origins: &[u32]) -> Result<KVVec<b::bpf_line_info>> {
    let mut new = KVVec::new();
    // SAFETY: the aux is alive and has `nr_linfo` lines, in order of their instructions.
    let old = unsafe {
        let aux = &*known.aux();
        if aux.linfo.is_null() {
            return Ok(new);
        }
        slice::from_raw_parts(aux.linfo, aux.nr_linfo as usize)
    };
    for (at, &from) in (PROLOGUE_LEN as u32..).zip(origins) {
        if from == NEW {
            continue;
        }
        let Ok(line) = old.binary_search_by_key(&from, |line| line.insn_off) else {
            continue;
        };
        // The first line is the program's: the prologue is of it.
        let insn_off = if new.is_empty() { 0 } else { at };
        new.push(
            b::bpf_line_info {
                insn_off,
                ..old[line]
            },
            GFP_KERNEL,
        )?;
    }
    Ok(new)
}
