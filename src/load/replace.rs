// SPDX-License-Identifier: GPL-2.0
//! Another program in the place of the one that was verified, with everything
//! that counts its instructions: aux data, functions, line info.

use super::knowledge::Knowledge;
use super::plan::NEW;
use super::program::Part;
use crate::bindings as b;
use crate::pure::insn::Insn;
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

/// Makes `code` the program, a function for each of `parts`. `origins` says of
/// each instruction which one of the old program it stands for, `begins` where
/// each old function is now. If this fails, with `ENOMEM`, nothing has changed.
pub(super) fn program(
    known: &mut Knowledge,
    code: &[Insn],
    origins: &[u32],
    parts: &[Part],
    begins: &[Option<u32>],
) -> Result {
    let (lines, first_lines) = lines(known, origins, parts)?;
    let functions = Functions::new(known, parts)?;
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

    // SAFETY: as above. Line info was allocated with kvmalloc() by the verifier and nothing refers
    // into it yet.
    unsafe {
        let env = &mut *known.env();
        env.subprog_cnt = parts.len() as u32;
        env.hidden_subprog_cnt = 0;
        for (number, part) in parts.iter().enumerate() {
            // Images are in the order of their functions, so none of these is overwritten yet.
            env.subprog_info[number] = env.subprog_info[part.function];
            let info = &mut env.subprog_info[number];
            info.start = part.start as u32;
            info.linfo_idx = first_lines[number];
        }
        env.subprog_info[parts.len()].start = len as u32;
        let aux = &mut *(*env.prog).aux;
        functions.put(aux, begins, len as u32);
        if !aux.linfo.is_null() {
            kvfree(aux.linfo);
            aux.nr_linfo = lines.len() as u32;
            aux.linfo = lines.into_raw_parts().0;
            aux.linfo_idx = 0;
        }
    }
    Ok(())
}

/// The records of the program's functions, those that are images first: they
/// are the functions that the kernel knows from now on, by their numbers.
struct Functions {
    info: KVVec<b::bpf_func_info>,
    aux: KVVec<b::bpf_func_info_aux>,
    /// The old number of each.
    old: KVVec<usize>,
}

impl Functions {
    fn new(known: &Knowledge, parts: &[Part]) -> Result<Self> {
        // SAFETY: the aux is alive; both tables are null or have `func_info_cnt` entries.
        let (info, more) = unsafe {
            let aux = &*known.aux();
            let len = aux.func_info_cnt as usize;
            if aux.func_info.is_null() || aux.func_info_aux.is_null() {
                (&[][..], &[][..])
            } else {
                (
                    slice::from_raw_parts(aux.func_info, len),
                    slice::from_raw_parts(aux.func_info_aux, len),
                )
            }
        };
        let mut functions = Self {
            info: KVVec::with_capacity(info.len(), GFP_KERNEL)?,
            aux: KVVec::with_capacity(info.len(), GFP_KERNEL)?,
            old: KVVec::with_capacity(info.len(), GFP_KERNEL)?,
        };
        let is_image = |number: usize| parts.iter().any(|part| part.function == number);
        for images in [true, false] {
            for number in (0..info.len()).filter(|&number| is_image(number) == images) {
                functions.info.push(info[number], GFP_KERNEL)?;
                functions.aux.push(more[number], GFP_KERNEL)?;
                functions.old.push(number, GFP_KERNEL)?;
            }
        }
        Ok(functions)
    }

    /// Writes the records, each with the place where its function is now, or
    /// behind the end.
    ///
    /// # Safety
    ///
    /// `aux` is the one that they were read from.
    unsafe fn put(self, aux: &mut b::bpf_prog_aux, begins: &[Option<u32>], len: u32) {
        for (at, &number) in self.old.iter().enumerate() {
            let insn_off = begins.get(number).copied().flatten().unwrap_or(len);
            // SAFETY: as many as were read.
            unsafe {
                *aux.func_info.add(at) = b::bpf_func_info {
                    insn_off,
                    ..self.info[at]
                };
                *aux.func_info_aux.add(at) = self.aux[at];
            }
        }
    }
}

/// The line info of the new program: for each instruction that stands for one
/// with a line, that line; and the number of each image's first line.
fn lines(
    known: &Knowledge,
    origins: &[u32],
    parts: &[Part],
) -> Result<(KVVec<b::bpf_line_info>, KVVec<u32>)> {
    let mut new = KVVec::new();
    let mut first = KVVec::from_elem(0, parts.len(), GFP_KERNEL)?;
    // SAFETY: the aux is alive and has `nr_linfo` lines, in order of their instructions.
    let old = unsafe {
        let aux = &*known.aux();
        if aux.linfo.is_null() {
            return Ok((new, first));
        }
        slice::from_raw_parts(aux.linfo, aux.nr_linfo as usize)
    };
    for (number, part) in parts.iter().enumerate() {
        first[number] = new.len() as u32;
        let end = parts
            .get(number + 1)
            .map_or(origins.len(), |next| next.start);
        // The first line is the image's: the prologue is of it.
        let mut begin = Some(part.start);
        let image = origins.get(part.start..end).unwrap_or(&[]);
        for (at, &from) in (part.start..).zip(image) {
            if from == NEW {
                continue;
            }
            let Ok(line) = old.binary_search_by_key(&from, |line| line.insn_off) else {
                continue;
            };
            let insn_off = begin.take().unwrap_or(at) as u32;
            new.push(
                b::bpf_line_info {
                    insn_off,
                    ..old[line]
                },
                GFP_KERNEL,
            )?;
        }
    }
    Ok((new, first))
}
