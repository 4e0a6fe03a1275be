// SPDX-License-Identifier: GPL-2.0
//! What a verified program becomes.
//!
//! One more fix-up pass, run where `bpf_fixup_call_args()` begins
//! (`kernel/bpf/fixups.c`). The program's functions become one ([`functions`]),
//! its gates take the places of single instructions, and the [`prologue`] goes
//! in front:
//!
//! ```text
//!     r2 = slot               (two slots)
//!     call enter
//!     if AX == 0 goto +1
//!     exit
//!     r1 = r0
//!     ... the program, in which every exit is a call of the exit gate
//! ```
//!
//! `enter` returns a second time, with AX set, when the run ends; only then is
//! that one `exit` reached, and so the one epilogue that the JIT emits, which
//! it emits at the first `exit` it sees.
//!
//! A function that the kernel may call, or that another may replace, is an image
//! of its own, with a [`function_prologue`].
//!
//! Before anything is changed every instruction is classified. A program with
//! one that cannot be isolated is refused as a whole.

pub mod blinding;
pub mod functions;
pub mod inline;
pub mod jump_table;

use super::catalog;
use super::insn::{
    alu, class, jmp, mode, pseudo, size, Insn, ADDR_PERCPU, ADDR_SPACE_CAST, K, REG_0, REG_1,
    REG_2, REG_AX, REG_FP, X,
};
use core::fmt;

/// Whether this build drops `rX &= 0`, so that the verifier believes 0 while
/// the CPU holds any value. Test-only: see DESIGN 9.6, "Breach control".
pub const BREACH: bool = cfg!(bailey_breach);

/// Slots of the [`prologue`].
pub const PROLOGUE_LEN: usize = 6;

/// Slots of the [`function_prologue`].
pub const FUNCTION_PROLOGUE_LEN: usize = 5;

/// Longest program taken, in slots before the prologue. The kernel's own limit
/// (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const MAX_LEN: usize = 1_000_000;

/// Most call sites of one program: a site's number is a `u16`.
pub const MAX_SITES: u32 = 0xffff;

/// What the verifier knew of the pointer of a load or store
/// (`bpf_insn_aux_data.ptr_type`).
///
/// For pointers other than [`Ctx`](Self::Ctx), `Socket` and those to objects the
/// verifier keeps one type of possibly several: an instruction that one path
/// reaches with a stack pointer and another with a packet pointer has either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PtrKind {
    /// Nothing: the verifier itself put the instruction there.
    #[default]
    Unknown,
    /// The context.
    Ctx,
    /// The program's stack.
    Stack,
    /// Packet data or metadata.
    Packet,
    /// A map's value.
    MapValue,
    /// A map's key, as a callback gets it.
    MapKey,
    /// Memory that a helper returned, such as a ring-buffer record.
    Mem,
    /// A socket or its common part, which a helper returned.
    Socket,
    /// An object of the kernel's that was lent to the run: a BTF pointer that a
    /// helper returned or a callback was given.
    LentObject,
    /// What is reached by pointers that the program has read out of such an
    /// object, where that is allowed.
    Followed,
    /// An object of the kernel's that was not lent: a `struct bpf_map`, or what is
    /// reached where that is not allowed.
    KernelObject,
    /// Any other `enum bpf_reg_type`.
    Other(u32),
}

/// Of a `may_goto`, which ends a loop that takes too long: the instruction
/// itself, or one of those that the verifier puts in its place
/// ([`timed_may_goto`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayGoto {
    /// The instruction itself, which the verifier's last passes replace.
    Itself,
    /// The load of the count.
    Count,
    /// The call that asks for the time when the count has come to its end.
    Check,
}

/// What the verifier knew of an instruction, as the caller found it out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Calls: the helper's number, found by reversing the address in `imm`.
    pub helper: Option<u32>,
    /// What it is of a `may_goto` that asks for the time.
    pub may_goto: Option<MayGoto>,
    /// Calls: the target is `bpf_throw()`.
    pub throws: bool,
    /// Calls of kfuncs: the name, if it is one of the kernel's own.
    pub kfunc: Option<&'static str>,
    /// Loads and stores: the kind of pointer.
    pub ptr: PtrKind,
}

/// What is done with one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays.
    Keep,
    /// An `exit`: becomes a call of the exit gate, or, in a function that was
    /// called, the way back ([`functions`]).
    Exit,
    /// A call of one of the program's functions ([`functions`]).
    Call,
    /// Takes the address of one of the program's functions, for a callback.
    FunctionAddress,
    /// An exception: becomes a jump to the program's callback ([`functions`]).
    Throw,
    /// A jump through a table ([`jump_table`]).
    JumpTable,
    /// A call of this helper or kfunc: becomes a call of a site's helper stub.
    Helper(u32),
    /// A tail call: becomes a call of a site's tail stub. The poke descriptor
    /// it may name is the caller's to give up.
    TailCall,
    /// `bpf_get_smp_processor_id()`: becomes a call of a site's stub that
    /// stays confined and keeps every register but r0.
    SmpProcessorId,
    /// The load of a `may_goto`'s count: becomes a call of a site's stub that
    /// stays confined and keeps every register but AX.
    LoopCount,
    /// The check of a `may_goto`: becomes a load of AX from the address in AX,
    /// where nothing is, which the kernel answers ([`LOOP_CHECK`]).
    LoopCheck,
    /// A load through a pointer that the program has read: becomes one of
    /// [`Insn::as_probe`], since nothing says that something is there.
    Follow,
    /// Breach build only: `rX &= 0`, to become `goto +0`.
    DropMask,
}

impl Action {
    /// Whether the instruction becomes a call site with a stub of its own.
    pub const fn is_site(self) -> bool {
        !matches!(
            self,
            Self::Keep
                | Self::Call
                | Self::FunctionAddress
                | Self::Throw
                | Self::JumpTable
                | Self::LoopCheck
                | Self::Follow
                | Self::DropMask
        )
    }
}

/// Why a program cannot be isolated. `Display` is one line for the verifier
/// log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its functions are not what the verifier lets pass.
    Functions,
    /// Its functions call each other in a circle, or too deep.
    Recursion,
    /// A function that it calls makes a tail call.
    TailCallInFunction,
    /// One of its global functions takes what is not audited.
    FunctionArgument,
    /// Its stack does not fit a frame.
    StackTooDeep,
    /// A callback makes a tail call or takes arguments on the stack.
    Callback,
    /// A function is called back both at once and later.
    CallbackTwice,
    /// It calls this kfunc, which is not known as safe.
    Kfunc(&'static str),
    /// It calls a function of a module.
    ModuleKfunc,
    /// It jumps through a table without places, or with too many.
    JumpTable,
    /// It computes a per-CPU address.
    PercpuAddress,
    /// It follows pointers that it has read out of objects of the kernel's.
    Followed,
    /// It addresses a variable of the kernel.
    KernelVariable,
    /// It reads an object of the kernel directly.
    KernelObject,
    /// It goes through a pointer of this unknown `enum bpf_reg_type`.
    Pointer(u32),
    /// It contains a `may_goto` of another form than those known here.
    MayGoto,
    /// A `may_goto` is in a function that is part of another's image.
    LoopInFunction,
    /// It calls this helper, which is not known as safe.
    Helper(u32),
    /// It calls an address that is no helper's.
    UnknownCall,
    /// It contains a classic packet load.
    PacketInstruction,
    /// It uses arguments on the stack otherwise than functions do.
    StackArgument,
    /// It contains an unknown opcode.
    UnknownOpcode(u8),
    /// It has more than [`MAX_LEN`] instructions.
    TooLong,
    /// It has more than [`MAX_SITES`] call sites.
    TooManySites,
    /// A jump no longer reaches its target.
    JumpTooFar,
    /// One does not once constants are blinded.
    Blinding,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Functions => f.write_str("its functions are not in order"),
            Self::Recursion => f.write_str("its functions call each other too deep"),
            Self::TailCallInFunction => f.write_str("a tail call in a function without a gate"),
            Self::FunctionArgument => f.write_str("a global function takes what is not audited"),
            Self::StackTooDeep => f.write_str("its functions need too much stack"),
            Self::Callback => f.write_str("a callback that makes tail calls is not isolated"),
            Self::CallbackTwice => {
                f.write_str(
                    "a callback of a timer or workqueue is not isolated if it may be another helper's too",
                )
            }
            Self::Kfunc(name) => write!(
                f,
                "kfunc {name} is not isolated: {}",
                catalog::kfuncs::refusal(name).unwrap_or("not known as safe"),
            ),
            Self::ModuleKfunc => f.write_str("kfuncs of modules are not isolated"),
            Self::JumpTable => f.write_str("a jump table leads nowhere or to too many places"),
            Self::PercpuAddress => f.write_str("per-CPU addresses are not isolated"),
            Self::Followed => f.write_str(
                "it follows pointers of the kernel's (parameter kernel_reads=1 lets it)",
            ),
            Self::KernelVariable => f.write_str("direct access to a kernel variable"),
            Self::KernelObject => f.write_str(
                "direct access to a kernel object that was not lent (kernel_reads=1 lets it read those that it comes to by pointers)",
            ),
            Self::Pointer(kind) => write!(f, "access through an unknown kind of pointer ({kind})"),
            Self::MayGoto => f.write_str("a may_goto of an unknown form"),
            Self::LoopInFunction => f.write_str(
                "may_goto is not isolated in an exception's callback, or in a callback that is called as well",
            ),
            Self::Helper(id) => write!(
                f,
                "helper {}#{id} is not isolated: {}",
                catalog::name(id).unwrap_or("unknown"),
                catalog::refusal(id).unwrap_or("not known as safe"),
            ),
            Self::UnknownCall => f.write_str("call of an unknown address"),
            Self::PacketInstruction => f.write_str("LD_ABS and LD_IND are not isolated"),
            Self::StackArgument => f.write_str("unknown use of arguments on the stack"),
            Self::UnknownOpcode(code) => write!(f, "unknown opcode {code:#04x}"),
            Self::TooLong => write!(f, "more than {MAX_LEN} instructions"),
            Self::TooManySites => write!(f, "more than {MAX_SITES} call sites"),
            Self::JumpTooFar => f.write_str("a jump no longer reaches its target"),
            Self::Blinding => {
                f.write_str("with constants blinded a jump would not reach its target")
            }
        }
    }
}

/// What is to be done with `insn`, of which the verifier knew `known`.
///
/// Allow-list: an opcode, pointer or call that is not known here is refused.
pub fn classify(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    match insn.class() {
        class::LD => load_immediate(insn),
        class::LDX if known.may_goto == Some(MayGoto::Count) => Ok(Action::LoopCount),
        class::LDX => match insn.mode() {
            mode::MEM => load(known.ptr),
            mode::MEMSX if insn.access_bytes() < 8 => load(known.ptr),
            mode::PROBE_MEM | mode::PROBE_MEMSX => match known.ptr {
                PtrKind::LentObject | PtrKind::Followed => Ok(Action::Keep),
                _ => Err(Refusal::Followed),
            },
            mode::PROBE_MEM32 | mode::PROBE_MEM32SX => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::ST => match insn.mode() {
            mode::MEM => pointer(known.ptr),
            mode::NOSPEC => Ok(Action::Keep),
            mode::PROBE_MEM32 => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::STX => match insn.mode() {
            mode::MEM | mode::ATOMIC => pointer(known.ptr),
            mode::PROBE_MEM32 | mode::PROBE_ATOMIC => Ok(Action::Keep),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        },
        class::ALU | class::ALU64 => arithmetic(insn),
        _ => jump(insn, known),
    }
}

fn load_immediate(insn: &Insn) -> Result<Action, Refusal> {
    if insn.is_ld_imm64_tail() {
        return Ok(Action::Keep);
    }
    if !insn.is_ld_imm64() {
        return match insn.mode() {
            mode::ABS | mode::IND => Err(Refusal::PacketInstruction),
            _ => Err(Refusal::UnknownOpcode(insn.code)),
        };
    }
    match insn.src() {
        0 | pseudo::MAP_FD | pseudo::MAP_VALUE | pseudo::MAP_IDX | pseudo::MAP_IDX_VALUE => {
            Ok(Action::Keep)
        }
        pseudo::BTF_ID => Err(Refusal::KernelVariable),
        pseudo::FUNC => Ok(Action::FunctionAddress),
        _ => Err(Refusal::UnknownOpcode(insn.code)),
    }
}

/// A load: what the program has come to by itself may be gone.
fn load(ptr: PtrKind) -> Result<Action, Refusal> {
    match ptr {
        PtrKind::Followed => Ok(Action::Follow),
        _ => pointer(ptr),
    }
}

fn pointer(ptr: PtrKind) -> Result<Action, Refusal> {
    match ptr {
        PtrKind::Unknown
        | PtrKind::Ctx
        | PtrKind::Stack
        | PtrKind::Packet
        | PtrKind::MapValue
        | PtrKind::MapKey
        | PtrKind::Mem
        | PtrKind::Socket
        | PtrKind::LentObject => Ok(Action::Keep),
        PtrKind::KernelObject | PtrKind::Followed => Err(Refusal::KernelObject),
        PtrKind::Other(kind) => Err(Refusal::Pointer(kind)),
    }
}

fn arithmetic(insn: &Insn) -> Result<Action, Refusal> {
    if insn.op() > alu::END {
        return Err(Refusal::UnknownOpcode(insn.code));
    }
    if insn.code == class::ALU64 | alu::MOV | X {
        // The same number casts to address space 1 and moves a sign-extended
        // byte; `imm` tells them apart (insn_is_cast_user()).
        if insn.off == ADDR_SPACE_CAST && insn.imm != 0 {
            return Ok(Action::Keep);
        }
        if insn.off == ADDR_PERCPU {
            return Err(Refusal::PercpuAddress);
        }
        if !matches!(insn.off, 0 | 8 | 16 | 32) {
            return Err(Refusal::UnknownOpcode(insn.code));
        }
    }
    if BREACH && insn.code == class::ALU64 | alu::AND | K && insn.imm == 0 {
        return Ok(Action::DropMask);
    }
    Ok(Action::Keep)
}

fn jump(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    if insn.is_exit() {
        return Ok(Action::Exit);
    }
    if insn.is_tail_call() {
        return Ok(Action::TailCall);
    }
    if insn.is_gotox() {
        return Ok(Action::JumpTable);
    }
    if insn.is_may_goto() {
        return match known.may_goto {
            Some(MayGoto::Itself) => Ok(Action::Keep),
            _ => Err(Refusal::MayGoto),
        };
    }
    if insn.is_call() {
        return call(insn, known);
    }
    match insn.op() {
        jmp::JA if insn.code & X == 0 => Ok(Action::Keep),
        jmp::JEQ..=jmp::JSGE | jmp::JLT..=jmp::JSLE => Ok(Action::Keep),
        _ => Err(Refusal::UnknownOpcode(insn.code)),
    }
}

fn call(insn: &Insn, known: &Known) -> Result<Action, Refusal> {
    match insn.src() {
        0 => {}
        pseudo::CALL => return Ok(Action::Call),
        pseudo::KFUNC_CALL if known.throws => return Ok(Action::Throw),
        pseudo::KFUNC_CALL => return kfunc_call(known),
        _ => return Err(Refusal::UnknownOpcode(insn.code)),
    }
    if known.may_goto == Some(MayGoto::Check) {
        return Ok(Action::LoopCheck);
    }
    let Some(id) = known.helper else {
        return Err(Refusal::UnknownCall);
    };
    match catalog::helper(id) {
        None => Err(Refusal::Helper(id)),
        Some(helper) => Ok(through(helper)),
    }
}

/// Most instructions that [`exits_behind`] looks at.
const WAY_TO_EXIT: u32 = 12;

/// Whether a program does nothing more behind the call at `index` than to exit with its
/// result: jumps, and moves of it from register to register. `halves`: its low half is
/// all that counts, and may be moved alone.
pub fn exits_behind(insns: &[Insn], index: usize, halves: bool) -> bool {
    let mut at = index as i64 + 1;
    // One bit for each register that has the result.
    let mut has = 1u16 << REG_0;
    for _ in 0..WAY_TO_EXIT {
        let Some(insn) = usize::try_from(at).ok().and_then(|at| insns.get(at)) else {
            return false;
        };
        if insn.is_exit() {
            return has & (1 << REG_0) != 0;
        }
        at += 1;
        let is_move = (insn.class() == class::ALU64 || halves && insn.class() == class::ALU)
            && insn.op() == alu::MOV
            && insn.code & X != 0
            && (insn.off, insn.imm) == (0, 0);
        if is_move {
            let moved = (has >> insn.src()) & 1;
            has = (has & !(1 << insn.dst())) | (moved << insn.dst());
        } else if insn.is_jump_always() {
            at += i64::from(insn.jump().unwrap_or(0));
        } else {
            return false;
        }
    }
    false
}

fn kfunc_call(known: &Known) -> Result<Action, Refusal> {
    let name = known.kfunc.ok_or(Refusal::ModuleKfunc)?;
    match catalog::kfuncs::by_name(name) {
        None => Err(Refusal::Kfunc(name)),
        Some(kfunc) => Ok(through(&kfunc.call)),
    }
}

/// What a call of `helper` becomes.
fn through(helper: &catalog::Helper) -> Action {
    match helper.gate {
        catalog::Gate::Scalar | catalog::Gate::Audited => Action::Helper(helper.id),
        catalog::Gate::Inline => Action::SmpProcessorId,
        catalog::Gate::TailCall => Action::TailCall,
    }
}

/// Byte offsets in `struct xdp_buff` (`include/net/xdp.h`), from the running
/// kernel.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct CtxLayout {
    pub data: i16,
    pub data_end: i16,
    pub data_meta: i16,
    pub rxq: i16,
    pub txq: i16,
}

/// What a program uses, so that the enter gate builds no more than that.
///
/// Every answer errs towards "used". None of them is needed for isolation: a
/// program that does what the verifier thought impossible finds parts of its
/// shadow missing, and harms itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    layout: CtxLayout,
    reads_data: bool,
    stores_packet: bool,
    reads_rxq: bool,
    reads_txq: bool,
    /// It makes dynptrs of the packet; slices of dynptrs are read, are written.
    packet_dynptrs: bool,
    slices: bool,
    stores_slices: bool,
    helpers: [u64; 4],
    sites: u32,
    exits: u32,
    tail_calls: u32,
}

impl Facts {
    /// Nothing observed yet. `direct_write` is the verifier's
    /// `env->seen_direct_write`, which it sets for a store to the packet on
    /// any path; the pointer kind of a single store is not enough, see
    /// [`PtrKind`].
    pub const fn new(layout: CtxLayout, direct_write: bool) -> Self {
        Self {
            layout,
            reads_data: direct_write,
            stores_packet: direct_write,
            reads_rxq: false,
            reads_txq: false,
            packet_dynptrs: false,
            slices: false,
            stores_slices: false,
            helpers: [0; 4],
            sites: 0,
            exits: 0,
            tail_calls: 0,
        }
    }

    /// Takes one instruction into account; [`classify`] has allowed it.
    pub fn observe(&mut self, insn: &Insn, known: &Known, action: Action) {
        match action {
            Action::Keep | Action::Call | Action::FunctionAddress | Action::DropMask => {}
            Action::Follow
            | Action::Throw
            | Action::JumpTable
            | Action::LoopCount
            | Action::LoopCheck => {}
            Action::Exit => self.exits = self.exits.saturating_add(1),
            Action::TailCall => self.tail_calls = self.tail_calls.saturating_add(1),
            Action::Helper(id) => self.note_helper(id),
            Action::SmpProcessorId => self.note_helper(catalog::id::GET_SMP_PROCESSOR_ID),
        }
        if action.is_site() {
            self.sites = self.sites.saturating_add(1);
        }

        // bpf_convert_ctx_accesses() has turned reads of struct xdp_md into
        // chains of loads, of which the last keeps the context's pointer kind
        // and the others have none.
        let of_ctx = matches!(known.ptr, PtrKind::Ctx | PtrKind::Unknown);
        if insn.is_load() && of_ctx && insn.base() != Some(REG_FP) && insn.access_bytes() == 8 {
            let layout = &self.layout;
            let off = insn.off;
            self.reads_data |=
                off == layout.data || off == layout.data_end || off == layout.data_meta;
            self.reads_rxq |= off == layout.rxq;
            self.reads_txq |= off == layout.txq;
        }
        if known.ptr == PtrKind::Packet {
            self.reads_data = true;
            self.stores_packet |= insn.is_store();
        }
    }

    fn note_helper(&mut self, id: u32) {
        if let Some(kfunc) = catalog::kfuncs::by_id(id) {
            self.packet_dynptrs |= kfunc.name == "bpf_dynptr_from_xdp";
            let slices = kfunc.call.gives == catalog::Gives::SliceOrNull;
            self.slices |= slices;
            self.stores_slices |= slices && kfunc.name.ends_with("_rdwr");
        }
        if let Some(word) = self.helpers.get_mut((id / 64) as usize) {
            *word |= 1 << (id % 64);
        }
    }

    /// The program loads `data`, `data_end` or `data_meta`: the shadow needs
    /// the packet's bytes.
    pub const fn reads_data(&self) -> bool {
        self.reads_data || self.packet_dynptrs && self.slices
    }

    /// The program stores to the packet: its bytes go back.
    pub const fn stores_packet(&self) -> bool {
        self.stores_packet || self.packet_dynptrs && self.stores_slices
    }

    /// The program makes dynptrs of the packet.
    pub const fn packet_dynptrs(&self) -> bool {
        self.packet_dynptrs
    }

    /// The program follows `rxq`, for the queue or the device's index.
    pub const fn reads_rxq(&self) -> bool {
        self.reads_rxq
    }

    /// The program follows `txq`; only programs in a devmap have one.
    pub const fn reads_txq(&self) -> bool {
        self.reads_txq
    }

    /// Whether the program calls helper `id` anywhere.
    pub fn calls(&self, id: u32) -> bool {
        self.helpers
            .get((id / 64) as usize)
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// Call sites, and so stubs, that the rewritten program needs beside
    /// `enter`: every exit, helper call, tail call and processor id.
    pub const fn sites(&self) -> u32 {
        self.sites
    }

    /// Exits of the original program.
    pub const fn exits(&self) -> u32 {
        self.exits
    }

    /// Tail calls of the program.
    pub const fn tail_calls(&self) -> u32 {
        self.tail_calls
    }
}

/// Classifies a whole main program and collects what it uses.
///
/// `known` is asked once for each slot, in order. On refusal the slot's index
/// comes with the reason.
pub fn survey(
    program: &[Insn],
    layout: CtxLayout,
    direct_write: bool,
    mut known: impl FnMut(usize) -> Known,
) -> Result<Facts, (usize, Refusal)> {
    if program.len() > MAX_LEN {
        return Err((MAX_LEN, Refusal::TooLong));
    }
    let mut facts = Facts::new(layout, direct_write);
    for (index, insn) in program.iter().enumerate() {
        let known = known(index);
        let action = classify(insn, &known).map_err(|refusal| (index, refusal))?;
        facts.observe(insn, &known, action);
        if facts.sites > MAX_SITES {
            return Err((index, Refusal::TooManySites));
        }
    }
    Ok(facts)
}

/// The program's new start. `slot` is the argument of the enter gate, and
/// `enter_imm` the distance of its address from `__bpf_call_base`.
pub const fn prologue(slot: u64, enter_imm: i32) -> [Insn; PROLOGUE_LEN] {
    let [low, high] = Insn::ld_imm64(REG_2, slot);
    [
        low,
        high,
        Insn::call(enter_imm),
        Insn::jmp_imm(jmp::JEQ, REG_AX, 0, 1),
        Insn::exit(),
        Insn::mov64_reg(REG_1, 0),
    ]
}

/// The new start of a function that is entered by itself, called back by the
/// kernel or called through a gate. It has arguments, which the gate gives
/// back; of their registers none is written.
pub const fn function_prologue(image: u64, enter_imm: i32) -> [Insn; FUNCTION_PROLOGUE_LEN] {
    let [low, high] = Insn::ld_imm64(0, image);
    [
        low,
        high,
        Insn::call(enter_imm),
        Insn::jmp_imm(jmp::JEQ, REG_AX, 0, 1),
        Insn::exit(),
    ]
}

/// Index of the call of the enter gate in a rewritten program.
pub const ENTER_INDEX: usize = 2;

/// Index of the one `exit` in a rewritten program.
pub const EXIT_INDEX: usize = 4;

/// How far behind the load of its count a `may_goto` asks for the time.
const CHECK_BEHIND_COUNT: usize = 5;

/// What the instruction at `index` is of a `may_goto` that the verifier has
/// replaced (`bpf_do_misc_fixups()`, kernel/bpf/fixups.c), if it is a part that
/// changes. `imm` is that of a call of `arch_bpf_timed_may_goto()`.
///
/// ```text
///     AX = *(u64 *)(r10 + off)      the count
///     if AX == 0 goto out
///     AX -= 1
///     if AX != 0 goto +2
///     AX = off
///     call arch_bpf_timed_may_goto  the check: a new count, or 0
///     *(u64 *)(r10 + off) = AX
/// ```
///
/// The count that is in the domain decides nothing any more: the load becomes a
/// stub's, which has a count of its own.
pub fn timed_may_goto(insns: &[Insn], index: usize, imm: i32) -> Option<MayGoto> {
    let insn = insns.get(index)?;
    let (count, part) = if insn.is_helper_call() && insn.imm == imm {
        (index.checked_sub(CHECK_BEHIND_COUNT)?, MayGoto::Check)
    } else if insn.is_load() && insn.dst() == REG_AX {
        (index, MayGoto::Count)
    } else {
        return None;
    };
    let rest = insns.get(count..)?;
    let [load, is_out, less, is_left, off, check, store, ..] = rest else {
        return None;
    };
    let at = load.off;
    let is_it = *load == Insn::ldx(size::DW, REG_AX, REG_FP, at)
        && *is_out == Insn::jmp_imm(jmp::JEQ, REG_AX, 0, is_out.off)
        && *less == Insn::alu64_imm(alu::SUB, REG_AX, 1)
        && *is_left == Insn::jmp_imm(jmp::JNE, REG_AX, 0, 2)
        && *off == Insn::mov64_imm(REG_AX, at.into())
        && *check == Insn::call(imm)
        && *store == Insn::stx(size::DW, REG_FP, REG_AX, at);
    // Nothing is at the end of the address space: the check is answered there.
    (is_it && (-4096..0).contains(&at)).then_some(part)
}

/// What a `may_goto`'s check becomes. AX is a small negative number then.
pub const LOOP_CHECK: Insn = Insn::ldx(size::DW, REG_AX, REG_AX, 0);

/// What the breach build puts in the place of [`Action::DropMask`].
pub const fn dropped_mask() -> Insn {
    Insn::ja(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    /// Linux 7.2.
    const LAYOUT: CtxLayout = CtxLayout {
        data: 0,
        data_end: 8,
        data_meta: 16,
        rxq: 32,
        txq: 40,
    };

    fn with(ptr: PtrKind) -> Known {
        Known {
            ptr,
            ..Known::default()
        }
    }

    fn helper(id: u32) -> Known {
        Known {
            helper: Some(id),
            ..Known::default()
        }
    }

    #[test]
    fn what_cannot_be_isolated_is_refused_with_its_reason() {
        let none = Known::default();
        let cases = [
            (Insn::new(0x85, 0, 2, 1, 3), none, Refusal::ModuleKfunc),
            (
                Insn::new(0x85, 0, 2, 0, 3),
                Known {
                    kfunc: Some("bpf_rdonly_cast"),
                    ..none
                },
                Refusal::Kfunc("bpf_rdonly_cast"),
            ),
            (Insn::new(0x18, 2, 3, 0, 0), none, Refusal::KernelVariable),
            (Insn::new(0xbf, 2, 1, -1, 0), none, Refusal::PercpuAddress),
            (Insn::new(0x39, 2, 1, 0, 0), none, Refusal::Followed),
            (Insn::new(0x59, 2, 1, 0, 0), none, Refusal::Followed),
            (
                Insn::new(0x20, 0, 0, 0, 14),
                none,
                Refusal::PacketInstruction,
            ),
            (
                Insn::new(0x40, 0, 1, 0, 0),
                none,
                Refusal::PacketInstruction,
            ),
            (Insn::new(0xe5, 0, 0, 2, 0), none, Refusal::MayGoto),
            (Insn::call(1), none, Refusal::UnknownCall),
            (Insn::call(1), helper(109), Refusal::Helper(109)),
            (
                Insn::ldx(size::DW, 1, 2, 0),
                with(PtrKind::KernelObject),
                Refusal::KernelObject,
            ),
            (
                Insn::ldx(size::DW, 1, 2, 0),
                with(PtrKind::Other(9)),
                Refusal::Pointer(9),
            ),
            (
                Insn::new(0xef, 0, 0, 0, 0),
                none,
                Refusal::UnknownOpcode(0xef),
            ),
            (
                Insn::new(0xf6, 0, 0, 0, 0),
                none,
                Refusal::UnknownOpcode(0xf6),
            ),
            (
                Insn::new(0x99, 0, 1, 0, 0),
                none,
                Refusal::UnknownOpcode(0x99),
            ),
        ];
        for (insn, known, refusal) in cases {
            assert_eq!(classify(&insn, &known), Err(refusal), "{insn:?}");
            assert!(!refusal.to_string().contains('\n'));
        }
    }

    #[test]
    fn a_refused_helper_is_named_with_the_reason() {
        assert_eq!(
            Refusal::Helper(109).to_string(),
            "helper send_signal#109 is not isolated: it changes the task that the packet interrupted, or what is stored for it"
        );
    }

    #[test]
    fn sites_are_found() {
        let none = Known::default();
        assert_eq!(classify(&Insn::exit(), &none), Ok(Action::Exit));
        assert_eq!(
            classify(&Insn::call(7), &helper(catalog::id::MAP_LOOKUP_ELEM)),
            Ok(Action::Helper(1))
        );
        assert_eq!(
            classify(&Insn::call(7), &helper(catalog::id::GET_SMP_PROCESSOR_ID)),
            Ok(Action::SmpProcessorId)
        );
        assert_eq!(
            classify(&Insn::new(0xf5, 0, 0, 0, 1), &none),
            Ok(Action::TailCall)
        );
        let gotox = Insn::new(0x0d, 2, 0, 0, 0);
        assert_eq!(classify(&gotox, &none), Ok(Action::JumpTable));
        let throws = Known {
            throws: true,
            ..none
        };
        let kfunc = Insn::new(0x85, 0, 2, 0, 3);
        assert_eq!(classify(&kfunc, &throws), Ok(Action::Throw));
        let name = "bpf_rcu_read_lock";
        let known = Known {
            kfunc: Some(name),
            ..none
        };
        let id = catalog::kfuncs::by_name(name).unwrap().call.id;
        assert_eq!(classify(&kfunc, &known), Ok(Action::Helper(id)));
        for kept in [
            Insn::mov64_reg(1, 2),
            Insn::new(0xbf, 1, 2, 8, 0),
            Insn::new(0xc2, 0, 0, 0, 0),
            Insn::ja(0),
            Insn::ja32(-5),
            Insn::jmp_imm(jmp::JSGT, 3, 1, 1),
            Insn::new(0xdb, 1, 2, 0, 1),
        ] {
            assert_eq!(classify(&kept, &none), Ok(Action::Keep), "{kept:?}");
        }
    }

    #[test]
    fn what_is_done_to_an_arena_stays() {
        let none = Known::default();
        for insn in [
            // The cast to its addresses; a load, one that sign-extends, two stores, an atomic.
            Insn::new(0xbf, 2, 1, 1, 1),
            Insn::new(0xb9, 2, 1, 0, 0),
            Insn::new(0xd1, 2, 1, 0, 0),
            Insn::new(0xbb, 2, 1, 0, 0),
            Insn::new(0xba, 2, 0, 0, 0),
            Insn::new(0xfb, 2, 1, 0, 0),
        ] {
            assert_eq!(classify(&insn, &none), Ok(Action::Keep), "{insn:?}");
            assert_eq!(insn.is_arena(), insn.code != 0xbf, "{insn:?}");
        }
    }

    #[test]
    fn a_may_goto_is_known_by_all_its_instructions() {
        let (dw, ax, fp) = (size::DW, REG_AX, REG_FP);
        let program = [
            Insn::mov64_imm(0, 0),
            Insn::ldx(dw, ax, fp, -24),
            Insn::jmp_imm(jmp::JEQ, ax, 0, 9),
            Insn::alu64_imm(alu::SUB, ax, 1),
            Insn::jmp_imm(jmp::JNE, ax, 0, 2),
            Insn::mov64_imm(ax, -24),
            Insn::call(77),
            Insn::stx(dw, fp, ax, -24),
            Insn::exit(),
        ];
        for index in 0..program.len() {
            let expected = match index {
                1 => Some(MayGoto::Count),
                6 => Some(MayGoto::Check),
                _ => None,
            };
            assert_eq!(timed_may_goto(&program, index, 77), expected, "{index}");
            assert_eq!(timed_may_goto(&program, index, 78), None);
        }
        for changed in 1..8 {
            let mut other = program;
            other[changed] = if changed == 2 {
                Insn::jmp_imm(jmp::JEQ, 1, 0, 9)
            } else {
                Insn::mov64_imm(2, 1)
            };
            for index in 0..program.len() {
                assert_eq!(timed_may_goto(&other, index, 77), None, "{changed}");
            }
        }
        let known = |may_goto| Known {
            may_goto,
            ..Known::default()
        };
        let at = |index: usize| known(timed_may_goto(&program, index, 77));
        assert_eq!(classify(&program[1], &at(1)), Ok(Action::LoopCount));
        assert_eq!(classify(&program[6], &at(6)), Ok(Action::LoopCheck));
        assert_eq!(
            classify(&program[6], &known(None)),
            Err(Refusal::UnknownCall)
        );
        let itself = Insn::new(0xe5, 0, 0, 2, 0);
        assert_eq!(
            classify(&itself, &known(Some(MayGoto::Itself))),
            Ok(Action::Keep)
        );
    }

    #[test]
    fn every_opcode_is_decided() {
        // No panic, and nothing outside the kernel's opcode space is kept.
        for code in 0..=255u8 {
            for src in 0..16 {
                for off in [-1, 0, 1] {
                    let insn = Insn::new(code, 1, src, off, 0);
                    let _ = classify(&insn, &Known::default());
                }
            }
        }
    }

    #[test]
    fn the_mask_is_dropped_in_the_breach_build_alone() {
        let mask = Insn::alu64_imm(alu::AND, 3, 0);
        let expected = if BREACH {
            Action::DropMask
        } else {
            Action::Keep
        };
        assert_eq!(classify(&mask, &Known::default()), Ok(expected));
        assert_eq!(
            classify(&Insn::alu64_imm(alu::AND, 3, 1), &Known::default()),
            Ok(Action::Keep)
        );
    }

    #[test]
    fn facts_tell_what_enter_must_build() {
        let observe = |insns: &[(Insn, PtrKind)], direct_write| {
            survey(
                &insns
                    .iter()
                    .map(|pair| pair.0)
                    .collect::<std::vec::Vec<_>>(),
                LAYOUT,
                direct_write,
                |index| with(insns[index].1),
            )
            .unwrap()
        };
        let nothing = observe(&[(Insn::mov64_imm(0, 2), PtrKind::Unknown)], false);
        assert!(!nothing.reads_data() && !nothing.stores_packet());
        assert!(!nothing.reads_rxq() && !nothing.reads_txq());

        let data = observe(&[(Insn::ldx(size::DW, 2, 1, 8), PtrKind::Ctx)], false);
        assert!(data.reads_data() && !data.stores_packet() && !data.reads_rxq());

        // ctx->ingress_ifindex: rxq, dev, ifindex.
        let ifindex = observe(
            &[
                (Insn::ldx(size::DW, 2, 1, 32), PtrKind::Unknown),
                (Insn::ldx(size::DW, 2, 2, 0), PtrKind::Unknown),
                (Insn::ldx(size::W, 2, 2, 224), PtrKind::Ctx),
            ],
            false,
        );
        assert!(ifindex.reads_rxq() && !ifindex.reads_txq());

        let spill = observe(
            &[(Insn::ldx(size::DW, 2, REG_FP, 8), PtrKind::Stack)],
            false,
        );
        assert!(!spill.reads_data());

        // A store that the verifier saw first with a stack pointer.
        let mixed = observe(&[(Insn::stx(size::W, 2, 3, 0), PtrKind::Stack)], true);
        assert!(mixed.stores_packet() && mixed.reads_data());
    }

    #[test]
    fn facts_count_sites_and_helpers() {
        let program = [
            Insn::call(1),
            Insn::call(2),
            Insn::new(0xf5, 0, 0, 0, 0),
            Insn::exit(),
            Insn::exit(),
        ];
        let facts = survey(&program, LAYOUT, false, |index| match index {
            0 => helper(catalog::id::KTIME_GET_TAI_NS),
            1 => helper(catalog::id::GET_SMP_PROCESSOR_ID),
            _ => Known::default(),
        })
        .unwrap();
        assert_eq!(
            (facts.sites(), facts.exits(), facts.tail_calls()),
            (5, 2, 1)
        );
        assert!(facts.calls(catalog::id::KTIME_GET_TAI_NS));
        assert!(!facts.calls(catalog::id::KTIME_GET_NS));
        assert!(!facts.calls(u32::MAX));
    }

    #[test]
    fn an_exit_with_the_result_is_found() {
        let call = Insn::call(7);
        let set = Insn::mov64_imm(0, 1);
        let (keep, take) = (Insn::mov64_reg(6, 0), Insn::mov64_reg(0, 6));
        let low = Insn::alu32_reg(alu::MOV, 0, 6);
        let extended = Insn::new(class::ALU64 | alu::MOV | X, 0, 6, 8, 0);
        let behind = |insns: &[Insn]| exits_behind(insns, 0, true);
        let whole = |insns: &[Insn]| exits_behind(insns, 0, false);
        assert!(behind(&[call, Insn::exit()]));
        assert!(behind(&[call, Insn::ja(1), set, Insn::exit()]));
        assert!(behind(&[
            call,
            Insn::ja32(2),
            set,
            Insn::exit(),
            Insn::ja(-2)
        ]));
        assert!(behind(&[call, keep, Insn::ja(1), set, low, Insn::exit()]));
        assert!(behind(&[call, keep, take, Insn::exit()]));
        assert!(whole(&[call, keep, take, Insn::exit()]));
        assert!(!whole(&[call, keep, low, Insn::exit()]));
        assert!(!behind(&[call, set, Insn::exit()]));
        // Another register's, and half of it with its sign.
        assert!(!behind(&[call, take, Insn::exit()]));
        assert!(!behind(&[call, keep, extended, Insn::exit()]));
        assert!(!behind(&[
            call,
            Insn::jmp_imm(jmp::JEQ, 0, 0, 0),
            Insn::exit()
        ]));
        // Round and round, and out of the program: never verified, and no exit.
        assert!(!behind(&[call, Insn::ja(-1)]));
        assert!(!behind(&[call, Insn::ja(-9)]));
        assert!(!behind(&[call]));
    }

    #[test]
    fn the_prologue_is_what_the_gates_expect() {
        let prologue = prologue(0xffff_c900_1234_5678, -77);
        assert_eq!(prologue[ENTER_INDEX], Insn::call(-77));
        assert!(prologue[EXIT_INDEX].is_exit());
        // `if AX == 0 goto +1` skips the exit.
        let skip = EXIT_INDEX - 1;
        let target = skip as i32 + 1 + prologue[skip].jump().unwrap();
        assert_eq!(target as usize, EXIT_INDEX + 1);
        assert_eq!(prologue[skip].dst(), REG_AX);
    }
}
