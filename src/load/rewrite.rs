// SPDX-License-Identifier: GPL-2.0
//! A program in its new form, as its [`Plan`] has it.

use super::image::enter_gate;
use super::knowledge::Knowledge;
use super::next_calls;
use super::plan::{facts_of, prologue_len, Plan, NEW};
use super::program::{self, Entry};
use super::{replace, Reason};
use crate::bindings as b;
use crate::pure::insn::Insn;
use crate::pure::rewrite::{
    classify, dropped_mask, function_prologue, prologue, Action, LOOP_CHECK,
};
use kernel::prelude::*;

/// Puts the gates into the program.
pub(super) fn isolate(known: &mut Knowledge, plan: Plan) -> Result {
    let Plan {
        program,
        helpers,
        code,
        functions,
        tables,
        positions,
    } = plan;
    let aux = known.aux();
    let isolation = program.isolation().ok_or(EINVAL)?;
    // SAFETY: returns an address.
    let base = unsafe { b::bailey_call_base() };
    let near = |target: u64| i32::try_from(target.wrapping_sub(base) as i64).map_err(|_| ERANGE);
    let exit_imm = near(b::bailey_exit_gate as *const () as u64)?;

    let (mut new, origins) = (code.insns, code.origins);
    for (number, (image, part)) in program.images().iter().zip(&isolation.parts).enumerate() {
        let to = new
            .get_mut(part.start..part.start + prologue_len(number))
            .ok_or(EFAULT)?;
        let record = image.as_raw() as u64;
        let enter_imm = near(enter_gate(part, &program))?;
        if number == 0 {
            to.copy_from_slice(&prologue(record, enter_imm));
        } else {
            to.copy_from_slice(&function_prologue(record, enter_imm));
        }
    }

    for part in &isolation.parts {
        if let Some(at) = part.landing {
            let number = part.first_site + part.sites - 1;
            new[at] = Insn::call(near(isolation.stubs.address(number))?);
        }
    }

    // Sites lie in the order of their instructions, each image's enter first.
    let mut number = 0;
    let mut next_calls = next_calls::Search::new(isolation);
    let mut parts = isolation.parts.iter().peekable();
    for (at, &from) in origins.iter().enumerate() {
        if let Some(part) = parts.next_if(|part| part.start == at) {
            number = part.first_site;
        }
        let index = from as usize;
        // An exit that became a jump is not in its place any more.
        if from == NEW || known.insns()[index].code != new[at].code {
            continue;
        }
        let insn = known.insns()[index];
        let facts = facts_of(known, &helpers, index);
        match classify(&insn, &facts).map_err(|_| EFAULT)? {
            Action::Keep | Action::JumpTable => {}
            Action::Follow => new[at] = insn.as_probe(),
            Action::DropMask => new[at] = dropped_mask(),
            Action::Exit => new[at] = Insn::call(exit_imm),
            Action::LoopCheck => new[at] = LOOP_CHECK,
            // Instructions stand in its place, of which those of a helper ask its stub.
            Action::Inline if !insn.is_helper_call() => return Err(EFAULT),
            Action::FunctionAddress => {
                // To the program, a function is the number of its image.
                let start = (index as i64 + i64::from(insn.imm) + 1) as u32;
                let image = isolation
                    .parts
                    .iter()
                    .position(|part| known.function_start(part.function as u32) == start);
                let [low, high] = Insn::ld_imm64(insn.dst(), image.unwrap_or(0) as u64);
                (new[at], new[at + 1]) = (low, high);
            }
            Action::Throw
            | Action::Call
            | Action::Helper(_)
            | Action::TailCall
            | Action::SmpProcessorId
            | Action::Inline
            | Action::LoopCount => {
                number += 1;
                new[at] = Insn::call(near(isolation.stubs.address(number))?);
                next_calls.take(&new, at, number);
            }
        }
        if let Some(map) = known.value_of(index) {
            let [low, high] = [insn.imm as u32, known.insns()[index + 1].imm as u32];
            let address = u64::from(high) << 32 | u64::from(low);
            // A value that the domain does not show stays where it is: accesses are loans.
            let seen = program
                .domain()
                .and_then(|domain| domain.with_values(|values| values.address(map, address)));
            if let Some(seen) = seen {
                new[at].imm = seen as u32 as i32;
                new[at + 1].imm = (seen >> 32) as u32 as i32;
            }
        }
    }

    next_calls.finish(&program);

    if let Err(err) = replace::program(known, &new, &origins, &isolation.parts, &functions) {
        // Nothing has changed.
        return if err == ENOMEM {
            super::not_isolated(known, &Reason::NoMemory)
        } else {
            Err(err)
        };
    }

    tables.follow(|place| {
        let position = positions.get(place as usize).copied();
        position.filter(|&position| position != NEW)
    });

    // SAFETY: the program, its aux and `env` are alive and ours in this hook.
    unsafe {
        let prog = &mut *known.prog();
        // Without the JIT the gates would be called by the interpreter.
        prog.set_jit_required(1);
        // Enter gets the chain's count as any program with tail calls does; its functions have no
        // need of it.
        let counts = program.makes_tail_calls();
        (*aux).tail_call_reachable = counts;
        (*aux).jits_use_priv_stack = false;
        // What of the program is there more than once has been counted once.
        let may_fault = |insn: &&Insn| insn.is_probe() || insn.is_arena();
        (*aux).num_exentries = new.iter().filter(may_fault).count() as u32;
        // A workqueue calls its function in a task that holds nothing that keeps the program; in
        // the first and last instructions of it the task can be preempted. So the kernel waits for
        // tasks as well before it frees the program, as it does for what trampolines call.
        let later = |part: &program::Part| part.calls == b::BAILEY_CALL_LATER;
        (*aux).tramp_linked |= isolation.parts.iter().any(later);
        // The stack is the domain's; of the kernel's none is needed.
        (*aux).stack_depth = 0;
        let env = &mut *known.env();
        // Exceptions are jumps now: no function of the kernel's is their callback.
        env.exception_callback_subprog = 0;
        env.seen_exception = false;
        for info in &mut env.subprog_info[..isolation.parts.len()] {
            info.set_is_exception_cb(false);
            info.set_tail_call_reachable(false);
            info.set_has_tail_call(false);
            info.priv_stack_mode = b::priv_stack_mode_NO_PRIV_STACK;
            info.stack_depth = 0;
            info.stack_arg_cnt = 0;
            info.max_out_stack_arg_cnt = 0;
        }
        env.subprog_info[0].set_tail_call_reachable(counts);
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

/// Has the verifier's statistics, which it prints next, say how much stack each
/// image uses. The JIT, to which it is none, has read it by then or asks the
/// program's aux.
pub(super) fn show_stack(known: &Knowledge) {
    let Some(Entry::Program(program)) = program::find(known.aux()) else {
        return;
    };
    let Some(isolation) = program.isolation() else {
        return;
    };
    // SAFETY: `env` is alive and ours in this hook.
    let env = unsafe { &mut *known.env() };
    for (info, part) in env.subprog_info.iter_mut().zip(&isolation.parts) {
        info.stack_depth = part.stack as u16;
    }
}
