// SPDX-License-Identifier: GPL-2.0
//! What a program is to become: everything is judged and allocated here, and
//! every refusal leaves the program as it is.
//!
//! The program becomes one image, and so does each of its functions that is
//! entered by itself: one that the kernel calls back; a global one, which others
//! may replace; one that makes a tail call. All but the last are part of every
//! image that calls them, too, unless that makes the program much longer.

use super::helpers::{HelperSet, Helpers};
use super::knowledge::{Knowledge, XDP_BUFF};
use super::program::{Isolation, Part, Program};
use super::stub::Stubs;
use super::switch::Switch;
use super::tables::Tables;
use super::{reach, site, Reason};
use crate::bindings as b;
use crate::breach;
use crate::domain::fields::Fields;
use crate::domain::mapped::Mapped;
use crate::domain::{self, Member};
use crate::hw::clock::Reader;
use crate::pure::catalog;
use crate::pure::insn::{Insn, REG_1, REG_FP};
use crate::pure::rewrite::functions::{
    self, Function, Layout, Leaps, Origin, Scratch, MAX_FUNCTIONS,
};
use crate::pure::rewrite::inline::clock::Which;
use crate::pure::rewrite::inline::{Chains, Clock, Inline, Prefixes, Row, Strings, What};
use crate::pure::rewrite::{
    self, blinding, survey, timed_may_goto, Known, MayGoto, PtrKind, Refusal,
    FUNCTION_PROLOGUE_LEN, PROLOGUE_LEN,
};
use crate::run::probe;
use crate::store;
use kernel::prelude::*;
use kernel::sync::Arc;

/// What stands for an instruction that the program did not have.
pub(super) const NEW: u32 = u32::MAX;

/// How many times as long as it was a program may become so that global
/// functions are part of their callers. A program of few instructions may
/// become `SMALL` of them.
const GROWTH: usize = 4;
const SMALL: usize = 1024;

/// What a program is to become; nothing of it has been changed yet.
pub(super) struct Plan {
    pub(super) program: Arc<Program>,
    pub(super) helpers: Helpers,
    pub(super) code: Code,
    /// Where each function of the old program begins in the new one.
    pub(super) functions: KVVec<Option<u32>>,
    /// Where each of its instructions is now, in the first image that has it;
    /// `NEW` if none has.
    pub(super) positions: KVVec<u32>,
    pub(super) tables: Tables,
}

/// The instructions of the new program. Each image begins with room for its
/// prologue; calls and exits are still the old ones.
#[derive(Default)]
pub(super) struct Code {
    pub(super) insns: KVVec<Insn>,
    /// The index in the old program of each, or `NEW`.
    pub(super) origins: KVVec<u32>,
}

impl Code {
    /// With room for what most programs become.
    fn for_program_of(insns: usize) -> Result<Self, Reason> {
        let room = (2 * insns).max(SMALL / 4);
        let mut code = Self::default();
        code.insns
            .reserve(room, GFP_KERNEL)
            .and_then(|()| code.origins.reserve(room, GFP_KERNEL))
            .map_err(|_| Reason::NoMemory)?;
        Ok(code)
    }

    fn push(&mut self, insn: Insn, origin: u32) -> Result<(), Reason> {
        push(&mut self.insns, insn)?;
        push(&mut self.origins, origin)
    }
}

impl From<(usize, Refusal)> for Reason {
    fn from((index, refusal): (usize, Refusal)) -> Self {
        Self::Instruction(index, refusal)
    }
}

/// Instructions of the prologue of image number `image`.
pub(super) fn prologue_len(image: usize) -> usize {
    if image == 0 {
        PROLOGUE_LEN
    } else {
        FUNCTION_PROLOGUE_LEN
    }
}

/// Judges every instruction and allocates what the program needs.
pub(super) fn plan(known: &Knowledge, set: HelperSet) -> Result<Plan, Reason> {
    let helpers = Helpers::resolve(known, set)?;
    let insns = known.insns();
    let mut facts = survey(insns, XDP_BUFF, known.direct_write(), |index| {
        facts_of(known, &helpers, index)
    })?;
    let packet = reach::use_of(known, &helpers, &facts)?;
    facts.copies_packet(packet.copies_out, packet.copies_into);
    let tables = Tables::new(known)?;
    for &map in known.maps() {
        // SAFETY: a map that `env` holds a reference to, and the template of the maps in it.
        let are_kept = unsafe {
            let inner = (*map).inner_map_meta;
            Fields::of(map).are_kept() && (inner.is_null() || Fields::of(inner).are_kept())
        };
        if !are_kept {
            return Err(Reason::Fields);
        }
    }
    let domain = domain::for_maps(known.maps()).map_err(|err| {
        // Without one nothing of a domain lacks room.
        if !known.arena().is_null() && err == ENOSPC {
            Reason::Arena(err)
        } else {
            Reason::Domain(err)
        }
    })?;
    let (inlined, clock) = inlined(known, &helpers, &domain, &packet)?;
    let lay_out = |switches| -> Result<_, Reason> {
        let mut work = Work {
            known,
            helpers: &helpers,
            inlined: &inlined,
            ctx: facts.reads_data(),
            code: Code::for_program_of(insns.len())?,
            sites: KVVec::new(),
            switches: KVVec::new(),
            functions: known_functions(known)?,
            entries: KVVec::new(),
            later: false,
            parts: KVVec::new(),
        };
        functions::measure(insns, &mut work.functions)?;
        work.choose(set.calls_back(), switches)?;
        let (begins, positions) = work.lay_out(&tables)?;
        Ok((work, begins, positions))
    };
    let few = (GROWTH * insns.len()).max(SMALL);
    let fits = |work: &Work<'_>| {
        work.code.insns.len() <= few && work.sites.len() <= rewrite::MAX_SITES as usize
    };
    let (work, begins, positions) = match lay_out(!breach::gated()) {
        Ok(laid) if laid.0.switches.is_empty() || fits(&laid.0) => laid,
        _ => lay_out(false)?,
    };

    let Work {
        ctx,
        code,
        mut sites,
        switches,
        parts,
        ..
    } = work;
    let stubs = Stubs::new(sites.len())?;
    for (number, site) in sites.iter_mut().enumerate() {
        site.out = stubs.out(number, super::stub_kind(site));
    }
    // SAFETY: `env` is alive.
    let env = unsafe { &*known.env() };
    if env.used_btf_cnt as usize >= env.used_btfs.len() {
        return Err(Reason::Modules);
    }
    tables.fill(&domain)?;
    for &map in known.maps() {
        // Not under the mutex: the log is user memory.
        if domain.with_values(|values| values.lack_room(map)) {
            // SAFETY: `env` holds a reference to each map.
            let name = unsafe { CStr::from_bytes_until_nul(&(*map).name) };
            let name = name.unwrap_or_default();
            super::say(
                known.env(),
                c"values on loan",
                &fmt!("there is no room for map {} in its domain", name),
            );
        }
    }
    let maps = known.maps();
    // SAFETY: `env` holds a reference to each map.
    let isolation = unsafe { Isolation::new(maps, domain, sites, switches, stubs, parts, clock) };
    let isolation = isolation.map_err(|_| Reason::NoMemory)?;
    let flags = [
        (ctx, b::BAILEY_PROG_CTX),
        (facts.reads_data(), b::BAILEY_PROG_PACKET),
        (facts.stores_packet(), b::BAILEY_PROG_WRITES),
        (facts.reads_rxq(), b::BAILEY_PROG_RXQ),
        (facts.reads_txq(), b::BAILEY_PROG_TXQ),
        (facts.tail_calls() > 0, b::BAILEY_PROG_TAIL),
    ]
    .iter()
    .fold(
        0,
        |flags, &(set, flag)| if set { flags | flag } else { flags },
    );
    // SAFETY: the program is alive.
    let prog_type = unsafe { (*known.prog()).type_ };
    let program = Program::isolated(known.aux(), prog_type, flags, packet.reach, isolation)
        .map_err(|_| Reason::NoMemory)?;
    Ok(Plan {
        program,
        helpers,
        code,
        functions: begins,
        positions,
        tables,
    })
}

/// A plan being made.
struct Work<'a> {
    known: &'a Knowledge,
    helpers: &'a Helpers,
    /// The calls that need no gate.
    inlined: &'a [Inline],
    /// Whether anything looks at the context.
    ctx: bool,
    code: Code,
    sites: KVVec<b::bailey_site>,
    switches: KVVec<Switch>,
    functions: KVVec<Function>,
    /// The functions that images begin with, in order.
    entries: KVVec<usize>,
    /// Whether the kernel calls one of them later.
    later: bool,
    parts: KVVec<Part>,
}

impl Work<'_> {
    /// Finds the functions that become images of their own. `calls_back`:
    /// some helper calls back what it is given the address of. `switches`:
    /// those that others may replace are part of their callers, too.
    fn choose(&mut self, calls_back: bool, switches: bool) -> Result<(), Reason> {
        push(&mut self.entries, 0)?;
        for (number, function) in self.functions.iter_mut().enumerate().skip(1) {
            let start = function.start as usize;
            let later = self.known.is_called_later(number as u32);
            self.later |= later;
            let called_back = later || function.taken && calls_back;
            let loops = loops(self.known, function) && !called_back;
            // An exception's callback is nobody's to call or replace, though it may be global.
            let is_callback = self.known.exception_callback() == Some(number as u32);
            let replaceable = self.known.is_global(number as u32) && !is_callback;
            // With a count of its own for each call.
            let alone = function.tail_calls || loops && !is_callback;
            function.switched = switches && replaceable && !alone;
            function.gated = (replaceable || alone) && !function.switched;
            let by_gate = function.gated || function.switched;
            if !by_gate && !called_back {
                continue;
            }
            if function.takes_stack() {
                return Err((start, Refusal::StackArgument).into());
            }
            if called_back && by_gate {
                return Err((start, Refusal::Callback).into());
            }
            push(&mut self.entries, number)?;
        }
        Ok(())
    }

    /// Lays all images out, one after the other. Returns where each function
    /// begins, and where each instruction is.
    fn lay_out(&mut self, tables: &Tables) -> Result<(KVVec<Option<u32>>, KVVec<u32>), Reason> {
        let insns = self.known.insns();
        let blinded = self.known.is_blinded();
        let mut begins = KVVec::from_elem(None, self.functions.len(), GFP_KERNEL)
            .map_err(|_| Reason::NoMemory)?;
        let mut places =
            KVVec::from_elem(NEW, insns.len(), GFP_KERNEL).map_err(|_| Reason::NoMemory)?;
        let mut positions = zeros(insns.len())?;
        let mut calls = zeros(insns.iter().filter(|insn| insn.is_pseudo_call()).count())?;
        let mut far = zeros(insns.len().div_ceil(8))?;
        for image in 0..self.entries.len() {
            let entry = self.entries[image];
            let mut part = Part {
                function: entry,
                start: self.code.insns.len(),
                first_site: self.sites.len(),
                global: self.known.is_global(entry as u32),
                loops: self.loops(entry),
                ..Part::default()
            };
            (part.calls, part.ctx_arg) = self.entered(entry)?;
            push(&mut self.sites, site::enter())?;
            for _ in 0..prologue_len(image) {
                self.code.push(Insn::ja(0), NEW)?;
            }
            let mut functions: KVVec<Function> =
                KVVec::with_capacity(self.functions.len(), GFP_KERNEL)
                    .map_err(|_| Reason::NoMemory)?;
            functions
                .extend_from_slice(&self.functions, GFP_KERNEL)
                .map_err(|_| Reason::NoMemory)?;
            let scratch = Scratch {
                position: &mut positions,
                calls: &mut calls,
                far: &mut far,
            };
            // Exceptions lead to the callback in the program's own image.
            let callback = self
                .known
                .exception_callback()
                .map(|number| number as usize);
            let callback = callback.filter(|_| image == 0);
            let landing = callback.filter(|_| self.entries.len() > 1);
            let leaps = Leaps {
                throw: Some(throw_imm()),
                callback,
                landing: landing.is_some(),
                gated: image != 0,
                places: tables.places(),
                inlined: self.inlined,
            };
            let layout = Layout::new(insns, &mut functions, entry, leaps, blinded, scratch)?;
            part.stack = layout.stack();
            layout.emit(&mut |origin, insn| self.take(&mut part, origin, insn))?;
            if let Some(callback) = landing {
                let at = self.code.insns.len();
                let start = self.functions[callback].start as usize;
                let to = part.start + prologue_len(image) + positions[start] as usize;
                part.landing = Some(at);
                self.code.push(Insn::call(0), NEW)?;
                self.code.push(Insn::mov64_reg(REG_1, 0), NEW)?;
                self.code
                    .push(Insn::ja32(to as i32 - (at as i32 + 3)), NEW)?;
                push(&mut self.sites, site::landing())?;
            }
            part.sites = self.sites.len() - part.first_site;
            let body = (part.start + prologue_len(image)) as u32;
            for (number, begin) in begins.iter_mut().enumerate() {
                let function = &functions[number];
                let at = positions[function.start as usize];
                if function.is_member() {
                    if number != entry && self.loops(number) {
                        let start = function.start as usize;
                        return Err((start, Refusal::LoopInFunction).into());
                    }
                    for index in function.start as usize..function.end as usize {
                        if places[index] == NEW {
                            places[index] = body + positions[index];
                        }
                    }
                }
                if number == entry {
                    *begin = Some(part.start as u32);
                } else if begin.is_none() && function.is_member() && !self.entries.contains(&number)
                {
                    *begin = Some(body + at);
                }
            }
            push(&mut self.parts, part)?;
        }
        if blinded {
            self.survey_blinded()?;
        }
        Ok((begins, places))
    }

    /// Sees to it that the kernel will be able to blind what it has.
    fn survey_blinded(&self) -> Result<(), Reason> {
        let mut positions = zeros(self.code.insns.len() + 1)?;
        blinding::survey(&self.code.insns, &mut positions).map_err(|at| {
            let index = self.code.origins.get(at).filter(|&&index| index != NEW);
            let index = index.map_or(0, |&index| index as usize);
            Reason::Instruction(index, Refusal::Blinding)
        })
    }

    /// Takes one instruction of an image.
    fn take(&mut self, part: &mut Part, origin: Origin, insn: Insn) -> Result<(), Reason> {
        let from = match origin {
            Origin::Kept(index)
            | Origin::Asks(index)
            | Origin::For(index)
            | Origin::Switch(index) => index as u32,
            Origin::Added => NEW,
        };
        self.code.push(insn, from)?;
        if let Origin::Asks(index) = origin {
            let inline = Inline::at(self.inlined, index);
            let asked = inline.and_then(Inline::asks_for);
            let asked = asked.ok_or((index, Refusal::Functions))?;
            return push(&mut self.sites, site::asks(index, asked));
        }
        let (Origin::Kept(index) | Origin::Switch(index)) = origin else {
            return Ok(());
        };
        part.exits += u32::from(insn.is_exit());
        let facts = facts_of(self.known, self.helpers, index);
        self.ctx |= (insn.is_load() || insn.is_store())
            && insn.base() != Some(REG_FP)
            && matches!(facts.ptr, PtrKind::Ctx | PtrKind::Unknown);
        if insn.is_pseudo_call() {
            let callee = self.callee(index, &insn)?;
            let image = self.entries.iter().position(|&entry| entry == callee);
            let image = image.ok_or((index, Refusal::Functions))?;
            let args = self.args(callee);
            let site = site::function(index, image, args).map_err(|refusal| (index, refusal))?;
            self.ctx |= site.effects & site::effect::SYNC_BEFORE != 0;
            if origin == Origin::Switch(index) {
                push(&mut self.switches, Switch::new(self.sites.len(), image))?;
            }
            return push(&mut self.sites, site);
        }
        if facts.may_goto == Some(MayGoto::Count) {
            return push(&mut self.sites, site::loop_count(index));
        }
        if facts.throws {
            return push(&mut self.sites, site::throw(index));
        }
        if let Some(id) = helper_of(&self.known.insns()[index], &facts) {
            let called = self.helpers.by_id(id).ok_or(Reason::UnknownHelper(id))?;
            self.ctx |= called.helper.takes_ctx;
            let mut site = site::entry(index, called, self.known)?;
            let redirects = matches!(id, catalog::id::REDIRECT | catalog::id::REDIRECT_MAP);
            if redirects && self.later && part.function != 0 {
                site::in_packet_alone(&mut site);
            }
            // Of a program's own function, which nobody has called.
            let own = part.function == 0 && index < self.functions[0].end as usize;
            let halves = self.known.returns_verdict();
            if own && rewrite::exits_behind(self.known.insns(), index, halves) {
                site::ends(&mut site);
            }
            push(&mut self.sites, site)?;
        }
        Ok(())
    }

    /// Whether function `number` has a `may_goto`.
    fn loops(&self, number: usize) -> bool {
        let function = self.functions.get(number);
        function.is_some_and(|function| loops(self.known, function))
    }

    fn callee(&self, index: usize, call: &Insn) -> Result<usize, Reason> {
        let start = (index as i64 + i64::from(call.imm) + 1) as u32;
        let callee = self.functions.iter().position(|f| f.start == start);
        Ok(callee.ok_or((index, Refusal::Functions))?)
    }

    /// What is known of a gated function's arguments: nothing, if it is static.
    fn args(&self, function: usize) -> &[b::bpf_subprog_arg_info] {
        if self.known.is_global(function as u32) {
            self.known.function_args(function as u32)
        } else {
            &[]
        }
    }

    /// Who enters the image of function `entry`, and which of its arguments is
    /// the real context.
    fn entered(&self, entry: usize) -> Result<(u32, u32), Reason> {
        let function = &self.functions[entry];
        if entry == 0 {
            return Ok((b::BAILEY_CALL_KERNEL, 0));
        }
        if self.known.is_called_later(entry as u32) {
            return Ok((b::BAILEY_CALL_LATER, 0));
        }
        if !function.gated && !function.switched {
            return Ok((b::BAILEY_CALL_BACK, 0));
        }
        let is_ctx = |arg: &b::bpf_subprog_arg_info| arg.arg_type == b::bpf_arg_type_ARG_PTR_TO_CTX;
        let args = self.args(entry);
        let ctx = args.iter().position(is_ctx).map_or(0, |n| n as u32 + 1);
        if args.iter().filter(|arg| is_ctx(arg)).count() > 1 {
            return Err((function.start as usize, Refusal::FunctionArgument).into());
        }
        Ok((b::BAILEY_CALL_FUNCTION, ctx))
    }
}

/// The calls that need no gate, and the clock, if one of them reads it.
fn inlined(
    known: &Knowledge,
    helpers: &Helpers,
    domain: &Member,
    packet: &reach::Use,
) -> Result<(KVVec<Inline>, Option<Reader>), Reason> {
    let mut inlined = KVVec::new();
    let mut clock = None;
    let (mut reads_clock, mut no_clock) = (false, false);
    // SAFETY: reads what the kernel has decided when it started.
    let half = if unsafe { b::bailey_has_5_levels() } != 0 {
        56
    } else {
        47
    };
    let follows = may_follow(known);
    for index in 0..known.insns().len() {
        let facts = facts_of(known, helpers, index);
        let what = match facts.helper {
            // Of a key in one map, always the same, whose values are the domain's.
            Some(catalog::id::MAP_LOOKUP_ELEM) => known.map_argument(index, 1).and_then(|map| {
                domain.with_values(|values| looked_up(known, map, values.of_map(map)?))
            }),
            Some(catalog::id::CSUM_DIFF) => Some(What::Checksum),
            Some(helper @ (catalog::id::XDP_LOAD_BYTES | catalog::id::XDP_STORE_BYTES)) => {
                packet.inlined(index, helper).map(What::Packet)
            }
            Some(catalog::id::GET_PRANDOM_U32) => {
                // SAFETY: any context.
                let secret = unsafe { b::get_random_u64() };
                Some(What::Random(secret))
            }
            Some(helper) if Which::by_helper(helper).is_some() && !no_clock => {
                if clock.is_none() {
                    clock = Reader::new();
                    no_clock = clock.is_none();
                }
                let told = clock.as_ref().zip(Which::by_helper(helper));
                let told = told.filter(|(clock, which)| clock.is_ticking() || !which.ticks());
                told.map(|(clock, which)| {
                    reads_clock = true;
                    let page = clock.address();
                    What::Clock(Clock { page, which })
                })
            }
            _ => match facts.kfunc.and_then(|name| Strings::by_name(name, half)) {
                Some(_) if follows && !probe::is_allowed() => {
                    return Err((index, Refusal::FollowedString).into());
                }
                Some(strings) if follows => Some(What::Strings(strings.following())),
                strings => strings.map(What::Strings),
            },
        };
        if let Some(inline) = what.and_then(|what| Inline::new(index as u32, what)) {
            push(&mut inlined, inline)?;
        }
    }
    Ok((inlined, clock.filter(|_| reads_clock)))
}

/// Whether the program reads words out of objects of the kernel's, which may be addresses.
/// Of what it passes to functions on strings the verifier notes nothing.
fn may_follow(known: &Knowledge) -> bool {
    known.insns().iter().enumerate().any(|(index, insn)| {
        let is_word = (insn.is_load() || insn.is_probe()) && insn.access_bytes() == 8;
        let pointer = known.pointer(index);
        is_word && matches!(pointer, PtrKind::LentObject | PtrKind::Followed)
    })
}

/// How a key is looked up in `map`, whose values the domain shows, without a gate.
fn looked_up(known: &Knowledge, map: *mut b::bpf_map, shown: &Mapped) -> Option<What> {
    let (at, len) = shown.index();
    if len != 0 {
        let (values, _) = shown.place();
        // SAFETY: a map that `env` holds a reference to.
        let (chains, prefixes) = unsafe { (store::chains(map), store::prefixes(map)) };
        let chains = chains.map(|(_, chains)| Chains {
            at,
            values,
            ..chains
        });
        let prefixes = prefixes.map(|(_, prefixes)| Prefixes {
            at,
            values,
            ..prefixes
        });
        return chains.map(What::Chains).or(prefixes.map(What::Prefixes));
    }
    let (values, each) = shown.row()?;
    // SAFETY: as above.
    let (entries, value_size) = unsafe { ((*map).max_entries, (*map).value_size) };
    Some(What::Row(Row {
        values,
        entries,
        stride: value_size.checked_next_multiple_of(8)?,
        each,
        masked: !known.bypasses_masks(),
    }))
}

/// What a call of `bpf_throw()` has as its `imm` once the verifier has put
/// addresses into calls.
fn throw_imm() -> i32 {
    // SAFETY: written before any program is loaded; the other returns an address.
    unsafe { b::bailey_bpf_throw.wrapping_sub(b::bailey_call_base() as usize) as i32 }
}

/// The same of a call of `arch_bpf_timed_may_goto()`.
fn timed_may_goto_imm() -> i32 {
    // SAFETY: as above.
    unsafe {
        let base = b::bailey_call_base() as usize;
        b::bailey_arch_bpf_timed_may_goto.wrapping_sub(base) as i32
    }
}

/// What the instruction at `index` is of a `may_goto`. With an arena there is no register
/// for the count: it stays where it is.
fn may_goto(known: &Knowledge, index: usize) -> Option<MayGoto> {
    let part = timed_may_goto(known.insns(), index, timed_may_goto_imm());
    part.filter(|&part| part != MayGoto::Count || known.arena().is_null())
}

/// Whether `function` has a `may_goto`.
fn loops(known: &Knowledge, function: &Function) -> bool {
    let (insns, imm) = (known.insns(), timed_may_goto_imm());
    (function.start as usize..function.end as usize)
        .any(|index| timed_may_goto(insns, index, imm).is_some())
}

fn push<T>(to: &mut KVVec<T>, value: T) -> Result<(), Reason> {
    to.push(value, GFP_KERNEL).map_err(|_| Reason::NoMemory)
}

pub(super) fn zeros<T: Default + Clone>(len: usize) -> Result<KVVec<T>, Reason> {
    KVVec::from_elem(T::default(), len, GFP_KERNEL).map_err(|_| Reason::NoMemory)
}

/// The program's functions, in order.
fn known_functions(known: &Knowledge) -> Result<KVVec<Function>, Reason> {
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
pub(super) fn facts_of(known: &Knowledge, helpers: &Helpers, index: usize) -> Known {
    let insn = known.insns()[index];
    let called = helpers.by_imm(insn.imm).map(|called| called.helper.id);
    let is_kfunc = insn.is_kfunc_call() && insn.off == 0;
    Known {
        helper: called.filter(|_| insn.is_helper_call()),
        may_goto: may_goto(known, index),
        throws: is_kfunc && insn.imm == throw_imm(),
        kfunc: called
            .filter(|_| is_kfunc)
            .and_then(|id| Some(catalog::kfuncs::by_id(id)?.name)),
        ptr: known.pointer(index),
    }
}

/// The helper or kfunc whose stub the instruction becomes a call of.
pub(super) fn helper_of(insn: &Insn, known: &Known) -> Option<u32> {
    if insn.is_tail_call() {
        return Some(catalog::id::TAIL_CALL);
    }
    let kfunc = known.kfunc.and_then(catalog::kfuncs::by_name);
    known.helper.or(kfunc.map(|kfunc| kfunc.call.id))
}
