// SPDX-License-Identifier: GPL-2.0
//! The way of a program load.
//!
//! The verifier calls us at these places (helpers/hook.c), in this order:
//!
//! 1. instead of `bpf_do_misc_fixups()`: is the program one that we isolate?
//!    Then nothing of it is inlined, so that what it calls stays a call.
//! 2. instead of `bpf_fixup_call_args()`, the last pass over the program: every
//!    instruction is judged, and only when all of them pass, the gates go in.
//! 3. instead of `__bpf_prog_select_runtime()`, which runs the JIT: the image's
//!    calls become jumps, its stubs are written, and it is checked.
//! 4. at `bpf_jit_free()`: the program's record goes.
//!
//! And instead of `bpf_check_attach_target()`, when another program wants to
//! attach to one ([`attach`]), and of `bpf_arch_text_poke()`, when it does or
//! goes ([`switch`]).
//!
//! A program that cannot be isolated is loaded as without us, or refused, by
//! policy; either way the reason is said. A fault of ours after the program
//! was changed fails the load.

mod attach;
pub(crate) mod call_maps;
pub(crate) mod counts;
pub(crate) mod decoder;
mod harmless;
mod heat;
mod helpers;
mod image;
pub(crate) mod images;
mod kfuncs;
mod knowledge;
pub(crate) mod next_calls;
mod plan;
pub(crate) mod program;
pub(crate) mod protos;
mod reach;
mod replace;
mod rewrite;
pub(crate) mod site;
mod stub;
mod switch;
mod tables;

pub(crate) use images::Image;
pub(crate) use program::{isolated, MapRef, Program, State};

use crate::bindings as b;
use crate::pure::catalog::{self, Callee, Gate};
use crate::pure::rewrite::{survey, Known, MayGoto, Refusal};
use core::fmt::Write;
use helpers::HelperSet;
use kernel::error::to_result;
use kernel::fmt;
use kernel::prelude::*;
use kernel::str::NullTerminatedFormatter;
use kernel::sync::atomic::{Atomic, Relaxed};
use knowledge::{Knowledge, XDP_BUFF};
use program::Entry;
use stub::Kind;

/// Why a program is not isolated.
pub(crate) enum Reason {
    /// Its type.
    Type(u32),
    /// It replaces a function that takes more than the context.
    Arguments,
    /// It runs on a device.
    Offloaded,
    /// It may sleep.
    Sleepable,
    /// There is no JIT.
    NoJit,
    /// An instruction.
    Instruction(usize, Refusal),
    /// A helper or kfunc that the kernel gives no address of.
    UnknownHelper(u32),
    /// A helper or kfunc whose address another one has too.
    Ambiguous(u32),
    /// An argument of a helper, with its `enum bpf_arg_type`.
    Argument(u32, u8, u32),
    /// A map that a helper is not known to be for.
    Map(u32),
    /// Values or objects with fields that programs load the kernel's own pointers from.
    Fields,
    /// It refers to too many modules for one more.
    Modules,
    /// Its domain does not see its arena: there is no room.
    Arena(Error),
    /// It has no domain.
    Domain(Error),
    /// There was no memory.
    NoMemory,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Type(prog_type) => write!(
                f,
                "programs of type {} are not isolated yet",
                type_name(prog_type)
            ),
            Self::Arguments => {
                f.write_str("it replaces a function that takes more than the context")
            }
            Self::Offloaded => f.write_str("programs bound to a device are not isolated"),
            Self::Sleepable => f.write_str("sleepable programs are not isolated yet"),
            Self::NoJit => f.write_str("the JIT is off"),
            Self::Instruction(index, refusal) => write!(f, "instruction {index}: {refusal}"),
            Self::UnknownHelper(id) => {
                write!(f, "calls {}, which has no address", Callee(id))
            }
            Self::Ambiguous(id) => {
                write!(f, "calls {}, which shares its address", Callee(id))
            }
            Self::Argument(id, number, arg_type) => write!(
                f,
                "calls {}: argument {number} is of type {arg_type:#x}, which is not audited",
                Callee(id)
            ),
            Self::Map(id) => write!(f, "calls {} with a map of another type", Callee(id)),
            Self::Fields => f.write_str(
                "a map's values or its objects hold pointers to objects of the kernel's of another \
                 type than it can give back (kptr)",
            ),
            Self::Modules => f.write_str("it refers to too many modules"),
            Self::Arena(error) => write!(f, "no room for its arena ({})", error.to_errno()),
            Self::Domain(error) => write!(f, "no domain ({})", error.to_errno()),
            Self::NoMemory => f.write_str("out of memory"),
        }
    }
}

/// Classic programs loaded since the module is there; the hooks see them
/// without a verifier.
static CLASSIC: Atomic<u64> = Atomic::new(0);

/// Number of classic programs seen.
pub(crate) fn classic_programs() -> u64 {
    CLASSIC.load(Relaxed)
}

/// Whether what cannot be isolated is refused.
fn strict() -> bool {
    // SAFETY: the parameter is an int that is read whole.
    unsafe { (&raw const b::bailey_policy_strict).read_volatile() != 0 }
}

/// Sets the registry up and installs the hooks. The rest of the module is
/// ready to run programs. They do nothing before [`open`].
pub(crate) fn init() -> Result {
    stub::check_template()?;
    image::find_return_thunk();
    program::init()?;
    kfuncs::init().inspect_err(|_| program::exit())?;
    // SAFETY: process context; everything the hooks lead to is set up.
    to_result(unsafe { b::bailey_hook_install() }).inspect_err(|_| {
        program::exit();
        kfuncs::exit();
    })
}

/// From here on programs are isolated and maps laid out by the module.
pub(crate) fn open() {
    // SAFETY: the hooks are installed.
    unsafe { b::bailey_hook_open() };
}

/// Removes the hooks and frees what is left of records. No program that is
/// isolated is left: each holds a reference to the module.
pub(crate) fn exit() {
    // SAFETY: installed by `init`; process context.
    unsafe { b::bailey_hook_remove() };
    heat::stop();
    program::exit();
    crate::domain::inner::stop();
    kfuncs::exit();
}

/// Instead of `bpf_do_misc_fixups()`.
///
/// # Safety
///
/// Called by the hook, with the verifier's `env`.
#[no_mangle]
unsafe extern "C" fn bailey_on_misc_fixups(env: *mut b::bpf_verifier_env) -> c_int {
    // SAFETY: in the hook `env` is alive and ours alone.
    let known = unsafe { Knowledge::new(env) };
    let aux = known.aux();
    let candidate = match candidate(&known) {
        Ok(helpers) => program::enter(aux, Entry::Candidate(helpers)),
        Err(reason) => match not_isolated(&known, &reason) {
            // SAFETY: calls the original.
            Ok(()) => return unsafe { b::bailey_k_bpf_do_misc_fixups(env) },
            Err(err) => Err(err),
        },
    };
    if let Err(err) = candidate {
        return fails(env, err);
    }
    // SAFETY: calls the original. It replaces the program, and the copy inherits the flag, which
    // is put back on the one there is afterwards.
    unsafe {
        b::bailey_prog_request_jit(known.prog(), 0);
        let err = b::bailey_k_bpf_do_misc_fixups(env);
        b::bailey_prog_request_jit(known.prog(), 1);
        err
    }
}

/// Instead of `bpf_fixup_call_args()`.
///
/// # Safety
///
/// Called by the hook, with the verifier's `env`.
#[no_mangle]
unsafe extern "C" fn bailey_on_fixup_call_args(env: *mut b::bpf_verifier_env) -> c_int {
    // SAFETY: in the hook `env` is alive and ours alone.
    let mut known = unsafe { Knowledge::new(env) };
    let aux = known.aux();
    let entered = if let Some(Entry::Candidate(set)) = program::find(aux) {
        match plan::plan(&known, set) {
            Ok(plan) => rewrite::isolate(&mut known, plan),
            Err(reason) => not_isolated(&known, &reason),
        }
    } else {
        Ok(())
    };
    if let Err(err) = entered {
        return fails(env, err);
    }
    let isolated = in_the_making(aux);
    // SAFETY: calls the original.
    let err = unsafe { b::bailey_k_bpf_fixup_call_args(env) };
    if err != 0 && isolated {
        not_compiled(env, err);
    }
    rewrite::show_stack(&known);
    err
}

/// Instead of `__bpf_prog_select_runtime()`.
///
/// # Safety
///
/// Called by the hook, with the verifier's `env` (null for classic programs),
/// its program, and where an error goes.
#[no_mangle]
unsafe extern "C" fn bailey_on_select_runtime(
    env: *mut b::bpf_verifier_env,
    fp: *mut b::bpf_prog,
    err: *mut c_int,
) -> *mut b::bpf_prog {
    // SAFETY: calls the original, which may replace the program.
    let fp = unsafe { b::bailey_k___bpf_prog_select_runtime(env, fp, err) };
    if env.is_null() {
        CLASSIC.add(1, Relaxed);
        return fp;
    }
    // SAFETY: `fp` and `err` are valid.
    let (aux, failed) = unsafe { ((*fp).aux, *err != 0) };
    if failed && in_the_making(aux) {
        // SAFETY: as above.
        not_compiled(env, unsafe { *err });
    }
    let Some(Entry::Program(program)) = program::find(aux) else {
        return fp;
    };
    if failed || program.state() != State::Loading {
        return fp;
    }
    // SAFETY: the record's program, which nobody can run yet.
    if let Err(flaw) = unsafe { image::finish(&program, fp) } {
        say(env, c"image check", &flaw);
        let why = if matches!(flaw, image::Flaw::NoMemory) {
            ENOMEM
        } else {
            pr_warn!("program {}: image check: {}\n", program.name(), flaw);
            EINVAL
        };
        // SAFETY: `err` is valid. The program is freed, and its record with it.
        unsafe { *err = why.to_errno() };
    }
    fp
}

/// A program's image is being freed. Preemption is off.
///
/// # Safety
///
/// Called by the hook, with a program that runs no more.
#[no_mangle]
unsafe extern "C" fn bailey_on_jit_free(fp: *mut b::bpf_prog) {
    // SAFETY: the program and its aux are alive until bpf_jit_free() itself has run. The first of
    // a program's functions stands for it: main is not freed this way if it has sub-programs.
    unsafe {
        let aux = (*fp).aux;
        if !aux.is_null() && (*aux).func_idx == 0 {
            program::leave((*aux).main_prog_aux);
        }
    }
}

/// Whether the program is one that we isolate, as far as can be said before
/// its last passes; the helpers it calls.
fn candidate(known: &Knowledge) -> Result<HelperSet, Reason> {
    // SAFETY: the program and its aux are alive.
    let (prog, aux) = unsafe { (&*known.prog(), &*known.aux()) };
    if prog.type_ == b::bpf_prog_type_BPF_PROG_TYPE_EXT {
        // In the place of a function it runs as a program of its target's type would, if it takes
        // the same.
        if aux.saved_dst_prog_type != b::bpf_prog_type_BPF_PROG_TYPE_XDP {
            return Err(Reason::Type(prog.type_));
        }
        let takes_ctx =
            |arg: &b::bpf_subprog_arg_info| arg.arg_type == b::bpf_arg_type_ARG_PTR_TO_CTX;
        if !matches!(known.function_args(0), [arg] if takes_ctx(arg)) {
            return Err(Reason::Arguments);
        }
    } else if prog.type_ != b::bpf_prog_type_BPF_PROG_TYPE_XDP {
        return Err(Reason::Type(prog.type_));
    }
    if aux.offload_requested || aux.dev_bound {
        return Err(Reason::Offloaded);
    }
    if prog.sleepable() != 0 {
        return Err(Reason::Sleepable);
    }
    if prog.jit_requested() == 0 {
        return Err(Reason::NoJit);
    }
    let insns = known.insns();
    let at = |(index, refusal)| Reason::Instruction(index, refusal);
    survey(insns, XDP_BUFF, known.direct_write(), |index| Known {
        helper: insns[index]
            .is_helper_call()
            .then_some(insns[index].imm as u32),
        may_goto: insns[index].is_may_goto().then_some(MayGoto::Itself),
        throws: known.throws_by_number(index),
        kfunc: kfuncs::name_by_number(known, index),
        ptr: known.pointer(index),
    })
    .map_err(at)?;
    let mut set = HelperSet::default();
    for insn in insns.iter().filter(|insn| insn.is_helper_call()) {
        set.insert(insn.imm as u32);
    }
    kfuncs::note(known, &mut set);
    Ok(set)
}

/// A program is loaded as without us, or, by policy, not at all.
fn not_isolated(known: &Knowledge, reason: &Reason) -> Result {
    say(known.env(), c"not isolated", reason);
    if strict() && !harmless::harmless(known) {
        return Err(EPERM);
    }
    let aux = known.aux();
    // SAFETY: the program is alive.
    let prog_type = unsafe { (*known.prog()).type_ };
    program::enter(
        aux,
        Entry::Program(Program::not_isolated(aux, prog_type, reason)?),
    )
}

/// A load fails through a fault of ours: with what error, after a line that says so.
fn fails(env: *mut b::bpf_verifier_env, err: Error) -> c_int {
    // What policy refuses has its line.
    if err != EPERM {
        say(env, c"the load fails", &Failure(err));
    }
    err.to_errno()
}

/// Whether the program is isolated, and being loaded still.
fn in_the_making(aux: *mut b::bpf_prog_aux) -> bool {
    matches!(program::find(aux), Some(Entry::Program(program)) if program.state() == State::Loading)
}

/// The kernel did not compile a program that is isolated: it is another one than its
/// loader gave, so that is said here. Its record may be gone by now.
fn not_compiled(env: *mut b::bpf_verifier_env, err: c_int) {
    say(env, c"not compiled", &Failure(Error::from_errno(err)));
}

/// An error in words.
struct Failure(Error);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == ENOMEM {
            f.write_str("out of memory")
        } else {
            write!(f, "error {}", self.0.to_errno())
        }
    }
}

/// Bytes of a line that says why; more are left out.
const LINE: usize = 256;

/// A line in the verifier's log. Without an allocation, for that there is no memory
/// may be just what it says.
fn say(env: *mut b::bpf_verifier_env, what: &CStr, why: &dyn fmt::Display) {
    let mut line = [0u8; LINE];
    if let Some(mut room) = NullTerminatedFormatter::new(&mut line) {
        // What does not fit is left out.
        let _ = room.write_fmt(fmt!("{}", why));
    }
    let why = CStr::from_bytes_until_nul(&line).unwrap_or_default();
    // SAFETY: `env` is alive, the strings end with NUL.
    unsafe { b::bailey_verifier_log(env, what.as_char_ptr(), why.as_char_ptr()) };
}

/// What the stub of a site does.
fn stub_kind(site: &b::bailey_site) -> Kind {
    if site.helper == 0 {
        return Kind::Enter;
    }
    if site.helper == b::BAILEY_SITE_COUNT {
        return Kind::LoopCount;
    }
    if site.helper == b::BAILEY_SITE_TSC {
        return Kind::Tsc;
    }
    match catalog::helper(site.helper).map(|helper| helper.gate) {
        Some(Gate::Inline) => Kind::ProcessorId,
        _ => Kind::Gate,
    }
}

/// A program type as `bpftool` writes it.
fn type_name(prog_type: u32) -> &'static str {
    const NAMES: [&str; 33] = [
        "unspec",
        "socket_filter",
        "kprobe",
        "sched_cls",
        "sched_act",
        "tracepoint",
        "xdp",
        "perf_event",
        "cgroup_skb",
        "cgroup_sock",
        "lwt_in",
        "lwt_out",
        "lwt_xmit",
        "sock_ops",
        "sk_skb",
        "cgroup_device",
        "sk_msg",
        "raw_tracepoint",
        "cgroup_sock_addr",
        "lwt_seg6local",
        "lirc_mode2",
        "sk_reuseport",
        "flow_dissector",
        "cgroup_sysctl",
        "raw_tracepoint_writable",
        "cgroup_sockopt",
        "tracing",
        "struct_ops",
        "ext",
        "lsm",
        "sk_lookup",
        "syscall",
        "netfilter",
    ];
    NAMES.get(prog_type as usize).copied().unwrap_or("unknown")
}
