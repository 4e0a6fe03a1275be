// SPDX-License-Identifier: GPL-2.0
//! What a program becomes: first a plan, of which every refusal leaves the
//! program as it is, then the program in its new form.

use super::helpers::{HelperSet, Helpers};
use super::knowledge::{Knowledge, XDP_BUFF};
use super::program::{self, Entry, Isolation, Program};
use super::stub::Stubs;
use super::tables::Tables;
use super::{replace, site, Reason};
use crate::bindings as b;
use crate::domain;
use crate::pure::catalog;
use crate::pure::insn::{Insn, REG_FP};
use crate::pure::rewrite::functions::{
    self, Function, Layout, Leaps, Origin, Scratch, MAX_FUNCTIONS,
};
use crate::pure::rewrite::{
    classify, dropped_mask, prologue, survey, Action, Known, PtrKind, Refusal, PROLOGUE_LEN,
};
use kernel::prelude::*;
use kernel::sync::Arc;

/// What stands for an instruction that the program did not have.
pub(super) const NEW: u32 = u32::MAX;

/// What a program is to become; nothing of it has been changed yet.
pub(super) struct Plan {
    program: Arc<Program>,
    helpers: Helpers,
    /// The instructions of the new program, without its prologue; calls and
    /// exits are still the old ones.
    code: KVVec<Insn>,
    /// The index in the old program of each, or `NEW`.
    origins: KVVec<u32>,
    /// The functions of the old program.
    functions: KVVec<Function>,
    /// Where in `code` each instruction of the old program is, if it is there.
    positions: KVVec<u32>,
    tables: Tables,
}

impl From<(usize, Refusal)> for Reason {
    fn from((index, refusal): (usize, Refusal)) -> Self {
        Self::Instruction(index, refusal)
    }
}

/// Judges every instruction and allocates what the program needs.
pub(super) fn plan(known: &Knowledge, set: HelperSet) -> Result<Plan, Reason> {
    let helpers = Helpers::resolve(known, set)?;
    let insns = known.insns();
    let facts = survey(insns, XDP_BUFF, known.direct_write(), |index| {
        facts_of(known, &helpers, index)
    })?;
    let mut ctx = facts.reads_data();

    let mut functions = functions_of(known)?;
    functions::measure(insns, &mut functions)?;
    let mut positions = zeros(insns.len())?;
    let calls = insns.iter().filter(|insn| insn.is_pseudo_call()).count();
    let mut calls = zeros(calls)?;
    let mut far = zeros(insns.len().div_ceil(8))?;
    let scratch = Scratch {
        position: &mut positions,
        calls: &mut calls,
        far: &mut far,
    };
    let tables = Tables::new(known)?;
    let leaps = Leaps {
        throw: Some(throw_imm()),
        callback: known.exception_callback().map(|number| number as usize),
        places: tables.places(),
    };
    let layout = Layout::new(insns, &mut functions, 0, leaps, scratch)?;
    let stack = layout.stack();

    // Site 0 is enter.
    let mut sites: KVVec<b::bailey_site> = KVVec::new();
    push(&mut sites, site::enter())?;
    let mut exits = 0;
    let mut code: KVVec<Insn> =
        KVVec::with_capacity(layout.len(), GFP_KERNEL).map_err(|_| Reason::NoMemory)?;
    let mut origins: KVVec<u32> =
        KVVec::with_capacity(layout.len(), GFP_KERNEL).map_err(|_| Reason::NoMemory)?;
    layout.emit(&mut |origin, insn| -> Result<(), Reason> {
        let from = match origin {
            Origin::Kept(index) | Origin::For(index) => index as u32,
            Origin::Added => NEW,
        };
        push(&mut code, insn)?;
        push(&mut origins, from)?;
        let Origin::Kept(index) = origin else {
            return Ok(());
        };
        exits += u32::from(insn.is_exit());
        let facts = facts_of(known, &helpers, index);
        ctx |= (insn.is_load() || insn.is_store())
            && insn.base() != Some(REG_FP)
            && matches!(facts.ptr, PtrKind::Ctx | PtrKind::Unknown);
        if let Some(id) = helper_of(&insns[index], &facts) {
            let called = helpers.by_id(id).ok_or(Reason::UnknownHelper(id))?;
            ctx |= called.helper.takes_ctx;
            push(&mut sites, site::entry(index, called, known)?)?;
        }
        Ok(())
    })?;

    for &map in known.maps() {
        // SAFETY: a map that `env` holds a reference to.
        if unsafe { b::bailey_map_has_fields(map) } != 0 {
            return Err(Reason::Fields);
        }
    }

    let stubs = Stubs::new(sites.len())?;
    for (number, site) in sites.iter_mut().enumerate() {
        site.stub = stubs.address(number);
        site.out = stubs.out(number);
    }
    // SAFETY: `env` is alive.
    let env = unsafe { &*known.env() };
    if env.used_btf_cnt as usize >= env.used_btfs.len() {
        return Err(Reason::Modules);
    }
    let domain = domain::for_maps(known.maps()).map_err(Reason::Domain)?;
    tables.fill(&domain)?;
    // SAFETY: `env` holds a reference to each map.
    let isolation = unsafe { Isolation::new(known.maps(), domain, sites, stubs, exits) }
        .map_err(|_| Reason::NoMemory)?;
    let flags = [
        (ctx, b::BAILEY_PROG_CTX),
        (facts.reads_data(), b::BAILEY_PROG_PACKET),
        (facts.stores_packet(), b::BAILEY_PROG_WRITES),
        (facts.reads_rxq(), b::BAILEY_PROG_RXQ),
        (facts.reads_txq(), b::BAILEY_PROG_TXQ),
    ]
    .iter()
    .fold(
        0,
        |flags, &(set, flag)| if set { flags | flag } else { flags },
    );
    // SAFETY: the program is alive.
    let prog_type = unsafe { (*known.prog()).type_ };
    let program = Program::isolated(known.aux(), prog_type, flags, stack, isolation)
        .map_err(|_| Reason::NoMemory)?;
    Ok(Plan {
        program,
        helpers,
        code,
        origins,
        functions,
        positions,
        tables,
    })
}

/// What a call of `bpf_throw()` has as its `imm` once the verifier has put
/// addresses into calls.
fn throw_imm() -> i32 {
    // SAFETY: written before any program is loaded; the other returns an address.
    unsafe { b::bailey_bpf_throw.wrapping_sub(b::bailey_call_base() as usize) as i32 }
}

fn push<T>(to: &mut KVVec<T>, value: T) -> Result<(), Reason> {
    to.push(value, GFP_KERNEL).map_err(|_| Reason::NoMemory)
}

fn zeros<T: Default + Clone>(len: usize) -> Result<KVVec<T>, Reason> {
    KVVec::from_elem(T::default(), len, GFP_KERNEL).map_err(|_| Reason::NoMemory)
}

/// The program's functions, in order.
fn functions_of(known: &Knowledge) -> Result<KVVec<Function>, Reason> {
    let mut functions = KVVec::new();
    for number in 0..known.functions().min(MAX_FUNCTIONS as u32) {
        let (start, end) = (
            known.function_start(number),
            known.function_start(number + 1),
        );
        let function = Function::new(start, end, known.function_stack(number));
        push(&mut functions, function)?;
    }
    Ok(functions)
}

/// What is known of the instruction at `index`, helper numbers already gone.
fn facts_of(known: &Knowledge, helpers: &Helpers, index: usize) -> Known {
    let insn = known.insns()[index];
    Known {
        helper: insn
            .is_helper_call()
            .then(|| helpers.by_imm(insn.imm).map(|called| called.helper.id))
            .flatten(),
        timed_may_goto: false,
        throws: insn.is_kfunc_call() && insn.off == 0 && insn.imm == throw_imm(),
        ptr: known.pointer(index),
    }
}

/// The helper whose stub the instruction becomes a call of.
fn helper_of(insn: &Insn, known: &Known) -> Option<u32> {
    if insn.is_tail_call() {
        return Some(catalog::id::TAIL_CALL);
    }
    known.helper
}

/// Puts the gates into the program.
pub(super) fn isolate(known: &mut Knowledge, plan: Plan) -> Result {
    let Plan {
        program,
        helpers,
        code,
        origins,
        functions,
        positions,
        tables,
    } = plan;
    let aux = known.aux();
    let isolation = program.isolation().ok_or(EINVAL)?;
    // SAFETY: returns an address.
    let base = unsafe { b::bailey_call_base() };
    let imm = |target: u64| target.wrapping_sub(base) as i64;
    let near = |target: u64| i32::try_from(imm(target)).map_err(|_| ERANGE);
    let enter_imm = near(b::bailey_enter as *const () as u64)?;
    let exit_imm = near(b::bailey_exit_gate as *const () as u64)?;

    let mut new: KVVec<Insn> = KVVec::with_capacity(PROLOGUE_LEN + code.len(), GFP_KERNEL)?;
    new.extend_from_slice(&prologue(program.as_raw() as u64, enter_imm), GFP_KERNEL)?;
    new.extend_from_slice(&code, GFP_KERNEL)?;
    let mut number = 0;
    for (at, &from) in (PROLOGUE_LEN..).zip(origins.iter()) {
        let index = from as usize;
        // An exit that became a jump is not in its place any more.
        if from == NEW || known.insns()[index].code != new[at].code {
            continue;
        }
        let insn = known.insns()[index];
        let facts = facts_of(known, &helpers, index);
        match classify(&insn, &facts).map_err(|_| EFAULT)? {
            Action::Keep | Action::Call | Action::Throw | Action::JumpTable => {}
            Action::DropMask => new[at] = dropped_mask(),
            Action::Exit => new[at] = Insn::call(exit_imm),
            Action::Helper(_) | Action::TailCall | Action::SmpProcessorId => {
                number += 1;
                new[at] = Insn::call(near(isolation.stubs.address(number))?);
            }
        }
        if let Some(map) = known.value_of(index) {
            let [low, high] = [insn.imm as u32, known.insns()[index + 1].imm as u32];
            let address = u64::from(high) << 32 | u64::from(low);
            // A value that the domain does not show stays where it is: accesses are loans.
            if let Some(seen) = program
                .domain()
                .and_then(|domain| domain.value_address(map, address))
            {
                new[at].imm = seen as u32 as i32;
                new[at + 1].imm = (seen >> 32) as u32 as i32;
            }
        }
    }

    let starts = |function: usize| {
        let function = functions.get(function).filter(|f| f.is_member())?;
        let start = positions.get(function.start as usize)?;
        Some(if function.start == 0 {
            0
        } else {
            PROLOGUE_LEN as u32 + start
        })
    };
    if let Err(err) = replace::program(known, &new, &origins, &starts) {
        // Nothing has changed.
        return if err == ENOMEM {
            super::not_isolated(known, &Reason::NoMemory)
        } else {
            Err(err)
        };
    }

    tables.follow(|place| {
        let member = functions
            .iter()
            .any(|f| f.is_member() && (f.start..f.end).contains(&place));
        let position = positions.get(place as usize).filter(|_| member)?;
        Some(PROLOGUE_LEN as u32 + position)
    });

    // SAFETY: the program, its aux and `env` are alive and ours in this hook.
    unsafe {
        let prog = &mut *known.prog();
        // Without the JIT the gates would be called by the interpreter.
        prog.set_jit_required(1);
        (*aux).tail_call_reachable = false;
        (*aux).jits_use_priv_stack = false;
        // The stack is the domain's; of the kernel's none is needed.
        (*aux).stack_depth = 0;
        let env = &mut *known.env();
        let main = &mut env.subprog_info[0];
        main.set_tail_call_reachable(false);
        main.set_has_tail_call(false);
        main.priv_stack_mode = b::priv_stack_mode_NO_PRIV_STACK;
        main.stack_arg_cnt = 0;
        main.max_out_stack_arg_cnt = 0;
        // The module stays as long as the program: the kernel puts what a program refers to.
        let btf = b::bailey_k_bpf_get_btf_vmlinux();
        let slot = env
            .used_btfs
            .get_mut(env.used_btf_cnt as usize)
            .ok_or(EFAULT)?;
        b::bailey_k_btf_get(btf);
        b::bailey_module_get();
        slot.btf = btf;
        slot.module = b::bailey_this_module();
        env.used_btf_cnt += 1;
    }
    program::enter(aux, Entry::Program(program))
}
