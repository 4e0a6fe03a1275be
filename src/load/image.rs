// SPDX-License-Identifier: GPL-2.0
//! The finished images: their calls become jumps, and what is left is checked.
//!
//! Nobody can run the program yet: `__bpf_prog_select_runtime()` is the
//! verifier's last step, before the program gets its number and its file.

use super::decoder::Both;
use super::images::Image;
use super::program::{Isolation, Part, Program};
use super::stub::Enter;
use super::stub_kind;
use super::switch;
use crate::bindings as b;
use crate::pure::image::{
    arena_base, behind_jump, bitmap_len, check, scan, Expect, ImageError, SiteHit, Stub,
};
use crate::pure::x86::Decoder;
use crate::run::probe;
use core::mem::size_of;
use core::slice;
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// Why an image is refused.
pub(super) enum Flaw {
    /// It was not JITed.
    NotJited,
    /// There is no memory to check it.
    NoMemory,
    /// It holds what it must not, or in the wrong place.
    Image(ImageError),
    /// A call whose target is no stub, exit or enter gate.
    Call(u32),
    /// A stub that no call or two calls lead to.
    Stub(usize),
    /// The number of calls of a gate is not the program's.
    Gate(&'static str, u32, u32),
    /// No body behind enter.
    Body,
    /// No jump into the function behind a switch.
    Switch(u32),
    /// A stub is out of reach.
    Reach,
    /// Tail calls do not enter it where they enter others.
    TailEntry(u32),
    /// It does not set the base of its arena once.
    Arena,
    /// It does not give enter the count of tail calls that it needs, or one that it
    /// does not.
    Count,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJited => f.write_str("the program was not compiled"),
            Self::NoMemory => f.write_str("out of memory"),
            Self::Image(error) => write!(f, "{error}"),
            Self::Call(offset) => write!(f, "unexpected call at +{offset:#x}"),
            Self::Stub(number) => write!(f, "call site {number} was not found once"),
            Self::Gate(gate, found, expected) => {
                write!(f, "{found} calls of the {gate} gate, not {expected}")
            }
            Self::Body => f.write_str("nothing follows the call of the enter gate"),
            Self::Switch(offset) => write!(f, "no jump behind the switch at +{offset:#x}"),
            Self::Reach => f.write_str("a stub is out of reach"),
            Self::TailEntry(offset) => write!(f, "tail calls enter at +{offset:#x}"),
            Self::Arena => f.write_str("the base of its arena is not set"),
            Self::Count => f.write_str("no count of tail calls where one is due, or one too many"),
        }
    }
}

/// Length of `call rel32` and `jmp rel32`.
const CALL: u64 = 5;
const JMP_REL32: u8 = 0xe9;

/// The gate by which an image is entered. Of several images the run may come into others, by a
/// tail call into those of other programs.
pub(super) fn enter_gate(part: &Part, program: &Program) -> u64 {
    let alone = program.images().len() == 1 && !program.makes_tail_calls();
    let arena = program.main().is_some_and(|image| image.arena != 0);
    let gate = match (part.calls == b::BAILEY_CALL_KERNEL, part.loops, arena) {
        (true, false, _) if alone => b::bailey_enter,
        (true, false, _) => b::bailey_enter_saves,
        (true, true, false) => b::bailey_enter_loops,
        (true, true, true) => b::bailey_enter_arena_loops,
        (false, false, _) => b::bailey_enter_function,
        (false, true, false) => b::bailey_enter_function_loops,
        (false, true, true) => b::bailey_enter_function_arena_loops,
    };
    gate as *const () as u64
}

fn exit_gate() -> u64 {
    b::bailey_exit_gate as *const () as u64
}

/// Turns the calls of `program`'s images into jumps, writes its stubs, checks
/// what has become of them, and lets the program run.
///
/// # Safety
///
/// `fp` is the finished program of this record, and nobody can run it yet.
pub(super) unsafe fn finish(program: &Program, fp: *mut b::bpf_prog) -> Result<(), Flaw> {
    let isolation = program.isolation().ok_or(Flaw::NotJited)?;
    // SAFETY: `fp` is alive. If it has functions, they are as many as its aux says, and the first
    // is the program itself.
    let functions = unsafe {
        let aux = &*(*fp).aux;
        if aux.func.is_null() {
            slice::from_ref(&fp)
        } else {
            slice::from_raw_parts(aux.func, aux.real_func_cnt as usize)
        }
    };
    if functions.len() != program.images().len() {
        return Err(Flaw::NotJited);
    }
    let mut texts: KVVec<KVVec<u8>> =
        KVVec::with_capacity(functions.len(), GFP_KERNEL).map_err(|_| Flaw::NoMemory)?;
    let images = program.images().iter().zip(&isolation.parts);
    for ((image, part), &function) in images.zip(functions) {
        // SAFETY: as promised by the caller, for each function.
        let text = unsafe { take(program, isolation, image, part, function)? };
        texts.push(text, GFP_KERNEL).map_err(|_| Flaw::NoMemory)?;
    }

    // SAFETY: the loader alone knows the site table until `publish`.
    let sites = unsafe { &mut *isolation.sites.get() };
    // A call of a function, by its number until now, is one of its image.
    for site in sites.iter_mut() {
        if site.helper == b::BAILEY_SITE_FUNCTION {
            let image = program.images().get(site.func as usize);
            site.func = image.ok_or(Flaw::NotJited)?.image;
        }
    }
    // Each image's stubs count their sites from its own first one.
    for (image, part) in program.images().iter().zip(&isolation.parts) {
        let enter = Enter {
            ctx: image.flags & b::BAILEY_PROG_CTX != 0,
            depth: image.depth,
            names: image.names,
        };
        isolation
            .stubs
            .write(part.first_site, part.sites, &enter, |number| {
                let site = &sites[number];
                (stub_kind(site), site.ret)
            })
            .map_err(|err| {
                if err == ERANGE {
                    Flaw::Reach
                } else {
                    Flaw::NoMemory
                }
            })?;
    }
    for (image, text) in program.images().iter().zip(&texts) {
        // SAFETY: the image's own text, of the same length; nobody runs it yet.
        unsafe {
            b::bailey_k_text_poke_copy(image.image as *mut _, text.as_ptr().cast(), text.len())
        };
    }
    program.publish();
    Ok(())
}

/// Connects and checks one image. Returns its text, still to be written.
///
/// # Safety
///
/// `function` is the finished code of `image`, which nobody can run yet.
unsafe fn take(
    program: &Program,
    isolation: &Isolation,
    image: &Image,
    part: &Part,
    function: *mut b::bpf_prog,
) -> Result<KVVec<u8>, Flaw> {
    // SAFETY: `function` is alive.
    let (jited, base, len) = unsafe {
        let base = (*function)
            .bpf_func
            .map_or(0, |func| func as *const () as u64);
        (
            (*function).jited() != 0,
            base,
            (*function).jited_len as usize,
        )
    };
    if !jited || base == 0 {
        return Err(Flaw::NotJited);
    }
    let mut text: KVVec<u8> = KVVec::with_capacity(len, GFP_KERNEL).map_err(|_| Flaw::NoMemory)?;
    // SAFETY: a JITed program has `jited_len` bytes of text at `bpf_func`.
    let code = unsafe { slice::from_raw_parts(base as *const u8, len) };
    text.extend_from_slice(code, GFP_KERNEL)
        .map_err(|_| Flaw::NoMemory)?;

    let enter = enter_gate(part, program);
    let enter_return = connect(isolation, part, enter, base, &mut text)?;
    if image.arena != 0 {
        // SAFETY: as in `finish`: the function is alive, and so is the arena that its program
        // uses.
        let kernel =
            unsafe { b::bailey_k_bpf_arena_map_kern_vm_start((*(*function).aux).arena.cast()) };
        let at = arena_base(&text, kernel, &Both).ok_or(Flaw::Arena)? as usize;
        let immediate = text.get_mut(at..at + size_of::<u64>());
        immediate
            .ok_or(Flaw::Arena)?
            .copy_from_slice(&image.arena.to_le_bytes());
    }

    let mut starts =
        KVVec::from_elem(0u8, bitmap_len(len), GFP_KERNEL).map_err(|_| Flaw::NoMemory)?;
    // SAFETY: the loader alone knows the site table until `publish`.
    let (sites, switches) = unsafe { (&*isolation.sites.get(), &*isolation.switches.get()) };
    let expect = Expect {
        base,
        enter,
        return_thunk: Some(RETURN_THUNK.load(Relaxed)).filter(|&thunk| thunk != 0),
        arena: (image.arena != 0).then_some(image.arena),
        trampoline: false,
    };
    let report = check(&text, &expect, &Both, &mut starts, &mut |offset, target| {
        if target == exit_gate() {
            return Stub::Ends;
        }
        let back = base + u64::from(offset) + CALL;
        let number = isolation
            .stubs
            .site_of(target)
            .filter(|number| part.has_site(*number));
        let Some((number, site)) = number.and_then(|number| Some((number, sites.get(number)?)))
        else {
            return Stub::None;
        };
        // `connect` has found where the way back of a switch leads.
        match switch::find(switches, number) {
            Some(switch) if switch.at == base + u64::from(offset) => Stub::Returns,
            None if site.ret == back => Stub::Returns,
            _ => Stub::None,
        }
    })
    .map_err(Flaw::Image)?;
    // Where tail calls enter other programs, too: this one's JIT compiled them all.
    // SAFETY: a constant.
    if report.tail_entry != unsafe { b::bailey_tail_entry } {
        return Err(Flaw::TailEntry(report.tail_entry));
    }
    if report.counts != (part.start == 0 && image.flags & b::BAILEY_PROG_TAIL != 0) {
        return Err(Flaw::Count);
    }

    let body = keep_confined(&text, base, enter_return, &mut starts).ok_or(Flaw::Body)?;
    // Nothing has attached yet. A switch has the same length on and off, and is an instruction
    // like any other while it is off, so both images have been checked.
    for switch in switches.iter().filter(|switch| part.has_site(switch.site)) {
        let at = usize::try_from(switch.at.wrapping_sub(base)).unwrap_or(usize::MAX);
        let jump = text
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..switch::OFF.len()));
        jump.ok_or(Flaw::Body)?.copy_from_slice(&switch::OFF);
    }

    // SAFETY: the loader alone writes the record before `publish`.
    unsafe {
        let raw = &mut *image.as_raw();
        raw.image = base;
        raw.enter_return = enter_return;
        raw.body = body;
        raw.starts = starts.as_ptr() as u64;
        raw.image_len = len as u32;
        raw.names = report.names;
        // Of loads through pointers that the program has read. Unless that is allowed, what it
        // reads is on loan.
        if probe::is_allowed() {
            let aux = &*(*function).aux;
            raw.probes = aux.extable;
            raw.probe_count = if aux.extable.is_null() {
                0
            } else {
                aux.num_exentries
            };
        }
        (*isolation.starts.get())
            .push(starts, GFP_KERNEL)
            .map_err(|_| Flaw::NoMemory)?;
    }
    Ok(text)
}

/// Finds every call of the image, notes in the site table where each one's
/// stub goes back to, and makes a jump of it. Returns enter's return address.
fn connect(
    isolation: &Isolation,
    part: &Part,
    enter: u64,
    base: u64,
    text: &mut [u8],
) -> Result<u64, Flaw> {
    // SAFETY: the loader alone knows both tables until `publish`.
    let (sites, switches) =
        unsafe { (&mut *isolation.sites.get(), &mut *isolation.switches.get()) };
    let mut jumps: KVVec<u32> = KVVec::new();
    let mut flaw = None;
    let (mut enters, mut exits) = (0u32, 0u32);
    let scanned = scan(text, base, &Both, &mut |hit: SiteHit| {
        let next = base + u64::from(hit.next);
        if hit.target == enter {
            enters += 1;
            if let Some(enter) = sites.get_mut(part.first_site) {
                enter.ret = next;
            }
            return Ok(());
        }
        if hit.target == exit_gate() {
            exits += 1;
        } else {
            match isolation
                .stubs
                .site_of(hit.target)
                .filter(|&number| part.has_site(number) && number != part.first_site)
            {
                None => flaw = flaw.take().or(Some(Flaw::Call(hit.offset))),
                Some(number) if sites[number].ret != 0 => flaw = Some(Flaw::Stub(number)),
                Some(number) => {
                    sites[number].ret = next;
                    if let Some(switch) = switch::find_mut(switches, number) {
                        switch.at = base + u64::from(hit.offset);
                        switch.stub = hit.target;
                        // A call through it comes back to where the function itself does.
                        match behind_jump(text, hit.next, &Both) {
                            Some(behind) => sites[number].ret = base + u64::from(behind),
                            None => flaw = Some(Flaw::Switch(hit.offset)),
                        }
                    }
                }
            }
        }
        if jumps.push(hit.offset, GFP_KERNEL).is_err() {
            flaw = Some(Flaw::NoMemory);
        }
        Ok(())
    });
    scanned.map_err(Flaw::Image)?;
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    if enters != 1 {
        return Err(Flaw::Gate("enter", enters, 1));
    }
    if exits != part.exits {
        return Err(Flaw::Gate("exit", exits, part.exits));
    }
    let own = part.first_site..part.first_site + part.sites;
    if let Some(number) = own.clone().find(|&number| sites[number].ret == 0) {
        return Err(Flaw::Stub(number));
    }
    for &offset in &jumps {
        text[offset as usize] = JMP_REL32;
    }
    Ok(sites[part.first_site].ret)
}

/// Takes out of the table of instruction starts what a confined CPU cannot
/// have executed: the prologue and the epilogue. What is left is what an event's
/// frame, which is hostile, may name. Returns where the body starts: the target
/// of the `jz` behind enter's `test r10, r10`.
fn keep_confined(text: &[u8], base: u64, enter_return: u64, starts: &mut [u8]) -> Option<u64> {
    let test_at = usize::try_from(enter_return.checked_sub(base)?).ok()?;
    let test = Both.decode(text.get(test_at..)?)?;
    let jz_at = test_at + usize::from(test.len);
    let jz = Both.decode(text.get(jz_at..)?)?;
    // The image check has found both to be what they must be; a jump's distance is its immediate.
    let next = jz_at + usize::from(jz.len);
    let body = next.checked_add_signed(isize::try_from(jz.imm).ok()?)?;
    if body <= next || body >= text.len() {
        return None;
    }
    for offset in Iterator::chain(0..test_at, next..body) {
        *starts.get_mut(offset / 8)? &= !(1 << (offset % 8));
    }
    Some(base + body as u64)
}

/// Where the JIT's epilogue jumps to if returns go through a thunk, or 0 (`emit_return()`,
/// arch/x86/net/bpf_jit_comp.c).
static RETURN_THUNK: Atomic<u64> = Atomic::new(0);

/// Looks that up, once: a search of all the kernel's symbols.
pub(super) fn find_return_thunk() {
    // SAFETY: the symbols were resolved before; the name is NUL-terminated.
    let variable = unsafe { b::bailey_k_kallsyms_lookup_name(c"x86_return_thunk".as_char_ptr()) };
    if variable != 0 {
        // SAFETY: the address of the kernel's variable of that name, a pointer that is read-only
        // after boot.
        RETURN_THUNK.store(unsafe { *(variable as *const u64) }, Relaxed);
    }
}
