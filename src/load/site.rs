// SPDX-License-Identifier: GPL-2.0
//! A call site's entry in the table that the helper gate reads
//! (`struct bailey_site`, helpers/layout.h).
//!
//! The numbers here are written by the load and read by `crate::run`; they
//! have no meaning outside of the module.

use super::call_maps::{has_prefixes, is_of, looked_up, map_types, of_map};
use super::helpers::Called;
use super::knowledge::Knowledge;
use super::Reason;
use crate::bindings as b;
use crate::domain::fields::Fields;
use crate::kernel_types;
use crate::pure::catalog::{id, ArgKind, ArgTypeTable, Gate, Gives, Resource, Special, Sync};
use crate::pure::graph::Part;
use crate::pure::objects::Step;
use crate::pure::rewrite::inline::Asked;
use crate::pure::rewrite::Refusal;

/// `bailey_arg.kind`: what an argument is.
pub(crate) mod kind {
    /// Not looked at by the helper.
    pub(crate) const UNUSED: u8 = 0;
    /// A number.
    pub(crate) const SCALAR: u8 = 1;
    /// The length of the memory in the argument before.
    pub(crate) const SIZE: u8 = 2;
    /// The length of what is to be allocated.
    pub(crate) const ALLOC_SIZE: u8 = 3;
    /// Up to here nothing is to be looked at.
    pub(crate) const LAST_NUMBER: u8 = ALLOC_SIZE;
    /// The site's map, whatever the program passes.
    pub(crate) const KNOWN_MAP: u8 = 4;
    /// Memory whose length is in argument `size_arg`.
    pub(crate) const MEM: u8 = 5;
    /// A key of the site's map; `size` bytes.
    pub(crate) const MAP_KEY: u8 = 6;
    /// A value of the site's map; `size` bytes.
    pub(crate) const MAP_VALUE: u8 = 7;
    /// Memory of `size` bytes.
    pub(crate) const MEM_FIXED: u8 = 8;
    /// From `MAP_KEY` up to here it is memory of `size` bytes, if the map is known.
    pub(crate) const LAST_SIZED: u8 = MEM_FIXED;
    /// The context.
    pub(crate) const CTX: u8 = 9;
    /// A lock inside a map value or object: the field of type `size` (`enum btf_field_type`).
    pub(crate) const LOCK: u8 = 10;
    /// A ring-buffer record that the run holds.
    pub(crate) const RINGBUF_RECORD: u8 = 11;
    /// A socket that the run holds.
    pub(crate) const SOCKET: u8 = 12;
    /// A string in a frozen map.
    pub(crate) const CONST_STR: u8 = 13;
    /// A function of the program: the number of its image, which must be one
    /// that is entered in the way of `size` (`BAILEY_CALL_*`).
    pub(crate) const CALLBACK: u8 = 14;
    /// Words whose number is in argument `size_arg`, or 0.
    pub(crate) const WORDS: u8 = 15;
    /// The name of an object that the call makes, of kind number `size`.
    pub(crate) const NEW_OBJECT: u8 = 16;
    /// ... that the call makes like the one in the first argument.
    pub(crate) const CLONE: u8 = 17;
    /// The name of an object of kind number `size`.
    pub(crate) const OBJECT: u8 = 18;
    /// ... that ends with the call.
    pub(crate) const END_OBJECT: u8 = 19;
    /// The name of a dynptr.
    pub(crate) const DYNPTR: u8 = 20;
    /// The field of type `size` (`enum btf_field_type`) of a map's value; of the
    /// map in the next argument, if that is one.
    pub(crate) const FIELD: u8 = 21;
    /// The program's `bpf_prog_aux`, whatever it passes.
    pub(crate) const AUX: u8 = 22;
    /// An object of the kernel's that is on loan to the run, whose type is number
    /// `size` in the kernel's BTF.
    pub(crate) const KERNEL_OBJECT: u8 = 23;
    /// One of type number `size` (`crate::pure::kernel_type::KernelType`), to which the run has a
    /// reference.
    pub(crate) const REFERENCE: u8 = 25;
    /// Where per-CPU memory is that was found in a place on loan.
    pub(crate) const PER_CPU: u8 = 26;
    /// A map, which is not the same each time.
    pub(crate) const MAP: u8 = 24;
    /// Of a call on allocated objects: the part number `size`
    /// (`crate::pure::graph::Part`).
    pub(crate) const GRAPH: u8 = 32;
}

/// `bailey_arg.flags`.
pub(crate) mod flag {
    /// The helper writes the memory.
    pub(crate) const WRITE: u8 = 1;
    /// 0 is a valid address.
    pub(crate) const NULLABLE: u8 = 2;
    /// 0 is a valid length.
    pub(crate) const ZERO_OK: u8 = 4;
    /// 0 is no memory, whatever the length.
    pub(crate) const ABSENT: u8 = 8;
}

/// `bailey_site.returns`.
pub(crate) mod returns {
    /// A number, or nothing.
    pub(crate) const SCALAR: u8 = 0;
    /// The address of a value of the site's map, or 0.
    pub(crate) const MAP_VALUE: u8 = 1;
    /// A map that is a value of the site's map, or 0.
    pub(crate) const INNER_MAP: u8 = 5;
    /// A ring-buffer record as long as the second argument, or 0.
    pub(crate) const RINGBUF_RECORD: u8 = 2;
    /// A full socket, or 0.
    pub(crate) const SOCKET: u8 = 3;
    /// The common part of a socket, or 0.
    pub(crate) const SOCK_COMMON: u8 = 4;
    /// Bytes that a dynptr points to, or the buffer, or 0.
    pub(crate) const SLICE: u8 = 6;
    /// An int inside an object, or 0.
    pub(crate) const INT: u8 = 7;
    /// An object of the kernel's, of `size` bytes; its type is number
    /// `values_len` in the kernel's BTF.
    pub(crate) const KERNEL_OBJECT: u8 = 8;
    /// The socket in the first argument, as which it has `size` bytes, or 0.
    pub(crate) const SOCKET_AS: u8 = 9;
    /// An object of the kernel's, to which the run has a reference, or 0; the rest is as with
    /// `KERNEL_OBJECT`.
    pub(crate) const REFERENCE: u8 = 10;
    /// One CPU's of the per-CPU memory in the first argument, or 0.
    pub(crate) const PER_CPU_MEMORY: u8 = 11;
    /// An allocated object or its node, or 0; the run has a reference then.
    pub(crate) const OWNED: u8 = 32;
    /// The same without a reference.
    pub(crate) const BORROWED: u8 = 33;
    /// Per-CPU memory, or 0; the run has a reference then.
    pub(crate) const PER_CPU: u8 = 34;
}

/// `bailey_site.effects`.
pub(crate) mod effect {
    /// Packet bytes go back to the packet before the call.
    pub(crate) const SYNC_BEFORE: u16 = 0x01;
    /// A fresh shadow is built after the call.
    pub(crate) const SYNC_AFTER: u16 = 0x02;
    /// What is returned is held by the run; which kind says `resource`.
    pub(crate) const ACQUIRES: u16 = 0x04;
    /// What is passed is no longer held by the run; which kind says `resource`.
    pub(crate) const RELEASES: u16 = 0x08;
    /// The format decides which arguments are addresses (`trace_printk`).
    pub(crate) const PRINTK: u16 = 0x10;
    /// Leaves the program for another one.
    pub(crate) const TAIL_CALL: u16 = 0x20;
    /// Values of the site's map are not the program's to write.
    pub(crate) const READ_ONLY: u16 = 0x40;
    /// It runs functions of the program meanwhile.
    pub(crate) const CALLS_BACK: u16 = 0x80;
    /// The helper reads its memory more than once, and is given copies.
    pub(crate) const READS_TWICE: u16 = 0x100;
    /// Throws an exception.
    pub(crate) const THROWS: u16 = 0x200;
    /// No call leads through the site.
    pub(crate) const NEVER: u16 = 0x400;
    /// What it acquires or releases has no address: it nests.
    pub(crate) const NESTS: u16 = 0x800;
    /// It makes or takes objects that the program knows by name.
    pub(crate) const OBJECTS: u16 = 0x1000;
    /// The helper takes for granted that a packet is being worked on.
    pub(crate) const IN_PACKET: u16 = 0x2000;
    /// The program exits right behind the call: the run ends at the gate, with what the
    /// helper returns, and is not confined again for one instruction.
    pub(crate) const LAST: u16 = 0x4000;
    /// It is about objects that programs allocate.
    pub(crate) const GRAPH: u16 = 0x8000;
    /// What has a way of its own in the helper gate.
    pub(crate) const SPECIAL: u16 = CALLS_BACK
        | THROWS
        | NEVER
        | PRINTK
        | TAIL_CALL
        | READS_TWICE
        | NESTS
        | OBJECTS
        | IN_PACKET
        | GRAPH;
}

/// `bailey_site.resource`, where `effects` has ACQUIRES or RELEASES.
pub(crate) mod resource {
    /// A spin lock.
    pub(crate) const SPIN_LOCK: u8 = 1;
    /// A ring-buffer record.
    pub(crate) const RINGBUF_RECORD: u8 = 2;
    /// A reference to a socket.
    pub(crate) const SOCKET: u8 = 3;
    /// A read-side section of RCU.
    pub(crate) const RCU_READ: u8 = 4;
    /// Preemption that is off.
    pub(crate) const PREEMPT_OFF: u8 = 5;
    /// A resilient spin lock, which is held if the call returned 0.
    pub(crate) const RES_SPIN_LOCK: u8 = 6;
    /// A reference to an object of the kernel's: this and the number of its type.
    pub(crate) const REFERENCE: u8 = 16;
}

/// The running kernel's numbers of argument types.
pub(super) const ARG_TYPES: ArgTypeTable = ArgTypeTable {
    base_mask: super::knowledge::BASE_TYPE,
    dontcare: b::bpf_arg_type_ARG_DONTCARE,
    const_map_ptr: b::bpf_arg_type_ARG_CONST_MAP_PTR,
    map_key: b::bpf_arg_type_ARG_PTR_TO_MAP_KEY,
    map_value: b::bpf_arg_type_ARG_PTR_TO_MAP_VALUE,
    mem: b::bpf_arg_type_ARG_PTR_TO_MEM,
    const_size: b::bpf_arg_type_ARG_CONST_SIZE,
    const_size_or_zero: b::bpf_arg_type_ARG_CONST_SIZE_OR_ZERO,
    ctx: b::bpf_arg_type_ARG_PTR_TO_CTX,
    anything: b::bpf_arg_type_ARG_ANYTHING,
    scalar: b::bpf_arg_type_ARG_SCALAR,
    spin_lock: b::bpf_arg_type_ARG_PTR_TO_SPIN_LOCK,
    sock_common: b::bpf_arg_type_ARG_PTR_TO_SOCK_COMMON,
    ringbuf_mem: b::bpf_arg_type_ARG_PTR_TO_RINGBUF_MEM,
    const_alloc_size_or_zero: b::bpf_arg_type_ARG_CONST_ALLOC_SIZE_OR_ZERO,
    btf_id_sock_common: b::bpf_arg_type_ARG_PTR_TO_BTF_ID_SOCK_COMMON,
    btf_id: b::bpf_arg_type_ARG_PTR_TO_BTF_ID,
    const_str: b::bpf_arg_type_ARG_PTR_TO_CONST_STR,
    timer: b::bpf_arg_type_ARG_PTR_TO_TIMER,
    func: b::bpf_arg_type_ARG_PTR_TO_FUNC,
    stack: b::bpf_arg_type_ARG_PTR_TO_STACK,
    dynptr: b::bpf_arg_type_ARG_PTR_TO_DYNPTR,
    maybe_null: b::bpf_type_flag_PTR_MAYBE_NULL,
    mem_rdonly: b::bpf_type_flag_MEM_RDONLY,
    mem_uninit: b::bpf_type_flag_MEM_UNINIT,
    mem_write: b::bpf_type_flag_MEM_WRITE,
    mem_fixed_size: b::bpf_type_flag_MEM_FIXED_SIZE,
    mem_aligned: b::bpf_type_flag_MEM_ALIGNED,
    obj_release: b::bpf_type_flag_OBJ_RELEASE,
    dynptr_local: b::bpf_type_flag_DYNPTR_TYPE_LOCAL,
    dynptr_ringbuf: b::bpf_type_flag_DYNPTR_TYPE_RINGBUF,
};

/// Site 0. No call leads through it, but a forged event frame can resume a
/// program at the helper gate with its number: there it must be audited, and be
/// found to be no helper's.
pub(super) fn enter() -> b::bailey_site {
    b::bailey_site {
        class: b::BAILEY_SITE_AUDITED,
        effects: effect::NEVER,
        ..Default::default()
    }
}

/// The entry for a call at `insn` of helper `called`. `func`, `out`, `ret`
/// and `stub` are left 0 where they are not known yet.
pub(super) fn entry(
    insn: usize,
    called: &Called,
    known: &Knowledge,
) -> Result<b::bailey_site, Reason> {
    let helper = called.helper;
    let is_map = |&index: &usize| called.arg(index, &ARG_TYPES) == Ok(ArgKind::Map);
    let map = (0..5)
        .find(is_map)
        .and_then(|index| known.map_argument(insn, index + 1));
    let (key_size, value_size) = map.map_or((0, 0), |map| {
        // SAFETY: a map that `env` holds a reference to.
        unsafe { ((*map).key_size, (*map).value_size) }
    });

    let mut site = b::bailey_site {
        func: called.func,
        // What is answered in confinement has no way back from the gate: refused there.
        class: if matches!(helper.gate, Gate::Scalar) {
            b::BAILEY_SITE_SCALAR
        } else {
            b::BAILEY_SITE_AUDITED
        },
        helper: helper.id,
        map: map.map_or(0, |map| map as u64),
        insn: insn as u32,
        ..Default::default()
    };

    for (index, arg) in site.args.iter_mut().enumerate() {
        let kind = called
            .arg(index, &ARG_TYPES)
            .map_err(|unknown| Reason::Argument(helper.id, index as u8 + 1, unknown.arg_type))?;
        let write_flag = |write| if write { flag::WRITE } else { 0 };
        match kind {
            ArgKind::Unused => arg.kind = kind::UNUSED,
            ArgKind::Scalar => arg.kind = kind::SCALAR,
            ArgKind::Ctx => arg.kind = kind::CTX,
            ArgKind::Map => {
                arg.kind = map.map_or(kind::MAP, |_| kind::KNOWN_MAP);
                arg.size = map_types(helper.id);
                // SAFETY: a map that `env` holds a reference to.
                let fits = map.is_none_or(|map| is_of(arg.size, unsafe { (*map).map_type }));
                if !fits {
                    return Err(Reason::Map(helper.id));
                }
            }
            ArgKind::MapKey => {
                arg.kind = kind::MAP_KEY;
                arg.size = key_size;
            }
            ArgKind::MapValue { write } => {
                arg.kind = kind::MAP_VALUE;
                arg.flags = write_flag(write);
                arg.size = value_size;
            }
            ArgKind::Mem { write, nullable } => {
                arg.kind = kind::MEM;
                arg.flags = write_flag(write) | if nullable { flag::NULLABLE } else { 0 };
                arg.size_arg = index as u16 + 1;
            }
            ArgKind::MemFixed { size, write } => {
                arg.kind = kind::MEM_FIXED;
                arg.flags = write_flag(write);
                arg.size = size;
            }
            ArgKind::Size { zero_ok } => {
                arg.kind = kind::SIZE;
                arg.flags = if zero_ok { flag::ZERO_OK } else { 0 };
            }
            ArgKind::AllocSize => arg.kind = kind::ALLOC_SIZE,
            ArgKind::SpinLock => {
                arg.kind = kind::LOCK;
                arg.size = b::btf_field_type_BPF_SPIN_LOCK;
            }
            ArgKind::ResSpinLock => {
                arg.kind = kind::LOCK;
                arg.size = b::btf_field_type_BPF_RES_SPIN_LOCK;
            }
            ArgKind::RingbufRecord => arg.kind = kind::RINGBUF_RECORD,
            ArgKind::Socket => arg.kind = kind::SOCKET,
            ArgKind::KernelObject => {
                arg.kind = kind::KERNEL_OBJECT;
                arg.size = called.type_of_arg(index).ok_or(Reason::Argument(
                    helper.id,
                    index as u8 + 1,
                    ARG_TYPES.btf_id,
                ))?;
            }
            ArgKind::KernelObjectOf(of) => {
                arg.kind = kind::KERNEL_OBJECT;
                let known = kernel_types::of(of).ok_or(Reason::UnknownHelper(helper.id))?;
                arg.size = known.0;
            }
            ArgKind::Reference(of) => (arg.kind, arg.size) = (kind::REFERENCE, of as u32),
            ArgKind::PerCpuMemory => {
                // Of variables of the kernel's nothing is lent.
                if !known.asks_for_allocated(insn) {
                    return Err((insn, Refusal::PercpuAddress).into());
                }
                arg.kind = kind::PER_CPU;
            }
            ArgKind::ConstStr => arg.kind = kind::CONST_STR,
            // Such a call has no gate.
            ArgKind::OwnStr => return Err(Reason::UnknownHelper(helper.id)),
            ArgKind::Callback => {
                arg.kind = kind::CALLBACK;
                arg.size = if helper.special == Special::CallsLater {
                    b::BAILEY_CALL_LATER
                } else if known.may_call_later(insn, index + 1) {
                    return Err((insn, Refusal::CallbackTwice).into());
                } else {
                    b::BAILEY_CALL_BACK
                };
            }
            ArgKind::Timer => {
                arg.kind = kind::FIELD;
                arg.size = b::btf_field_type_BPF_TIMER;
            }
            ArgKind::Workqueue => {
                arg.kind = kind::FIELD;
                arg.size = b::btf_field_type_BPF_WORKQUEUE;
            }
            ArgKind::Opaque => arg.kind = kind::SCALAR,
            ArgKind::Buffer => {
                arg.kind = kind::MEM;
                arg.flags = flag::WRITE | flag::ABSENT;
                arg.size_arg = index as u16 + 1;
            }
            ArgKind::Words => {
                arg.kind = kind::WORDS;
                arg.size_arg = index as u16 + 1;
            }
            ArgKind::Graph(part) => {
                site.effects |= effect::GRAPH;
                (arg.kind, arg.size) = (kind::GRAPH, part as u32);
            }
            ArgKind::Object(step) => {
                site.effects |= effect::OBJECTS;
                (arg.kind, arg.size) = match step {
                    Step::New(object) => (kind::NEW_OBJECT, object as u32),
                    Step::Clone => (kind::CLONE, 0),
                    Step::Dynptr => (kind::DYNPTR, 0),
                    Step::DynptrOrNull => {
                        arg.flags = flag::NULLABLE;
                        (kind::DYNPTR, 0)
                    }
                    Step::Live(object) => (kind::OBJECT, object as u32),
                    Step::End(object) => (kind::END_OBJECT, object as u32),
                };
            }
        }
    }
    // A memory argument without a length behind it would be audited with a
    // length that is none: the next argument is taken for it.
    for index in 0..site.args.len() {
        let length = site.args.get(index + 1).map(|arg| arg.kind);
        if site.args[index].kind == kind::MEM && length != Some(kind::SIZE) {
            return Err(Reason::Argument(helper.id, index as u8 + 1, ARG_TYPES.mem));
        }
        // The size of a key or value is known if the map before it is.
        let of_map = matches!(site.args[index].kind, kind::MAP_KEY | kind::MAP_VALUE);
        let mut before = site.args[..index].iter();
        if of_map && !before.any(|arg| matches!(arg.kind, kind::MAP | kind::KNOWN_MAP)) {
            let arg_type = ARG_TYPES.map_key;
            return Err(Reason::Argument(helper.id, index as u8 + 1, arg_type));
        }
    }

    (site.returns, site.size) = match helper.gives {
        Gives::Scalar => (returns::SCALAR, 0),
        Gives::MapValueOrNull => looked_up(map, value_size),
        Gives::RingbufRecordOrNull => (returns::RINGBUF_RECORD, 0),
        Gives::SocketOrNull => (returns::SOCKET, 0),
        Gives::SockCommonOrNull => (returns::SOCK_COMMON, 0),
        Gives::SliceOrNull => (returns::SLICE, 0),
        Gives::IntOrNull => (returns::INT, 0),
        Gives::OwnedOrNull => (returns::OWNED, 0),
        Gives::BorrowedOrNull => (returns::BORROWED, 0),
        Gives::PerCpuOrNull => (returns::PER_CPU, 0),
        Gives::PerCpuMemoryOrNull => (returns::PER_CPU_MEMORY, 0),
        Gives::ReferenceOrNull(of) => {
            let (id, size) = kernel_types::of(of).ok_or(Reason::UnknownHelper(helper.id))?;
            site.values_len = id.into();
            (returns::REFERENCE, size)
        }
        Gives::KernelObject | Gives::SocketAsOrNull => {
            let (id, size) = called.returned().ok_or(Reason::UnknownHelper(helper.id))?;
            if matches!(helper.gives, Gives::KernelObject) {
                site.values_len = id.into();
                (returns::KERNEL_OBJECT, size)
            } else {
                (returns::SOCKET_AS, size)
            }
        }
    };
    site.effects |= match helper.sync {
        Sync::None => 0,
        Sync::Before => effect::SYNC_BEFORE,
        Sync::Around => effect::SYNC_BEFORE | effect::SYNC_AFTER,
    };
    if let Some(held) = helper.acquires {
        site.effects |= effect::ACQUIRES;
        site.resource = number(held);
    }
    if let Some(held) = helper.releases {
        site.effects |= effect::RELEASES;
        site.resource = number(held);
    }
    let held = helper.acquires.or(helper.releases);
    if held.is_some_and(Resource::is_counted) {
        site.effects |= effect::NESTS;
    }
    if helper.gate == Gate::Inline {
        site.effects |= effect::NEVER;
    }
    if helper.calls_back {
        site.effects |= effect::CALLS_BACK;
    }
    match helper.special {
        Special::None => {}
        Special::PrintkFormat => site.effects |= effect::PRINTK,
        Special::ReadsTwice => site.effects |= effect::READS_TWICE,
        Special::CallsLater => {
            // Behind what the prototype has (`bpf_do_misc_fixups()`).
            if let Some(arg) = site.args.iter_mut().find(|arg| arg.kind == kind::UNUSED) {
                arg.kind = kind::AUX;
            }
        }
    }
    if site.args.iter().any(|arg| arg.kind == kind::MAP_KEY) && has_prefixes(map) {
        site.effects |= effect::READS_TWICE;
    }
    if site.effects & effect::GRAPH != 0 {
        objects(&mut site, known)?;
    }
    if helper.gate == Gate::TailCall {
        site.effects |= effect::TAIL_CALL;
    }
    if let Some(map) = map {
        if let Some(func) = of_map(helper.id, map) {
            site.func = func;
        }
        // SAFETY: a map that `env` holds a reference to.
        unsafe {
            let read_only = (*map).map_flags & b::BPF_F_RDONLY_PROG != 0
                || (*map).map_type == b::bpf_map_type_BPF_MAP_TYPE_XSKMAP;
            if read_only {
                site.effects |= effect::READ_ONLY;
            }
        }
    }
    if site.returns == returns::SOCKET && matches!(helper.gives, Gives::MapValueOrNull) {
        // A look-up in a socket map takes a reference, which the prototype does not say.
        site.effects |= effect::ACQUIRES;
        site.resource = resource::SOCKET;
    }
    if takes_map_and_numbers(&site) {
        site.class = b::BAILEY_SITE_MAP;
    }
    Ok(site)
}

/// Whether all that there is to an audit of the call is that its first argument is the
/// map, always the same: the gate itself puts that there.
fn takes_map_and_numbers(site: &b::bailey_site) -> bool {
    let [map, rest @ ..] = &site.args;
    let is_number = |arg: &b::bailey_arg| matches!(arg.kind, kind::SCALAR | kind::UNUSED);
    site.effects & !effect::READ_ONLY == 0
        && site.returns == returns::SCALAR
        && map.kind == kind::KNOWN_MAP
        && rest.iter().all(is_number)
}

/// What the verifier found out of the objects that the call is about.
fn objects(site: &mut b::bailey_site, known: &Knowledge) -> Result<(), Reason> {
    let (meta, number) = known.object_of(site.insn as usize);
    if !meta.is_null() {
        // SAFETY: of the program's BTF, which lives as long as the program.
        let fields = unsafe { Fields::of_meta(meta) };
        if !fields.are_kept() {
            return Err(Reason::Fields);
        }
        site.values_domain = fields.tag();
    }
    site.values_kernel = meta as u64;
    site.values_len = number;
    let allocates = [Part::Size as u32, Part::PerCpuSize as u32].contains(&site.args[0].size);
    let size = u32::try_from(number).ok().filter(|&size| size != 0);
    if allocates {
        site.size = size.ok_or(Reason::NoMemory)?;
    }
    Ok(())
}

/// Which of the arguments are audited, a bit for each, and which one is a map that is known,
/// or one more than there are.
pub(super) fn audited(args: &[b::bailey_arg; 5]) -> (u8, u8) {
    let known = |arg: &b::bailey_arg| arg.kind == kind::KNOWN_MAP;
    let used = args.iter().take_while(|arg| arg.kind != kind::UNUSED);
    let looks = used
        .zip(0u8..)
        .filter(|(arg, _)| arg.kind > kind::LAST_NUMBER && !known(arg));
    let set = looks.fold(0, |set, (_, number)| set | (1 << number));
    let map = args.iter().position(known).unwrap_or(args.len());
    (set, map as u8)
}

/// Whether the entry can say in which map's values an argument was last: what it says of
/// values that the call returns is of no use there.
pub(super) fn may_see(site: &b::bailey_site) -> bool {
    site.audited != 0 && site.returns == returns::SCALAR && site.effects & effect::SPECIAL == 0
}

/// The entry for a call at `insn` of the function that image number `image`
/// begins with; `args` is what the verifier holds its arguments for.
pub(super) fn function(
    insn: usize,
    image: usize,
    args: &[b::bpf_subprog_arg_info],
) -> Result<b::bailey_site, Refusal> {
    let mut site = b::bailey_site {
        // Its address, once it has one.
        func: image as u64,
        class: b::BAILEY_SITE_AUDITED,
        helper: b::BAILEY_SITE_FUNCTION,
        insn: insn as u32,
        effects: effect::CALLS_BACK,
        size: image as u32,
        ..Default::default()
    };
    for arg in site.args.iter_mut() {
        // Where the verifier looked no further they are the program's business alone.
        arg.kind = kind::SCALAR;
    }
    for (arg, info) in site.args.iter_mut().zip(args) {
        let nullable = info.arg_type & ARG_TYPES.maybe_null != 0;
        let more = info.arg_type & !(ARG_TYPES.base_mask | ARG_TYPES.maybe_null);
        match info.arg_type & ARG_TYPES.base_mask {
            base if base == ARG_TYPES.anything && more == 0 => {}
            // Of an address in an arena the low half counts, and whatever it is lies there.
            b::bpf_arg_type_ARG_PTR_TO_ARENA => {}
            base if base == ARG_TYPES.ctx && more == 0 && !nullable => {
                arg.kind = kind::CTX;
                site.effects |= effect::SYNC_BEFORE | effect::SYNC_AFTER;
            }
            // Whoever replaces the function relies on this.
            base if base == ARG_TYPES.mem && more == 0 => {
                arg.kind = kind::MEM_FIXED;
                arg.flags = flag::WRITE | if nullable { flag::NULLABLE } else { 0 };
                // SAFETY: of the union, memory has its size.
                arg.size = unsafe { info.__bindgen_anon_1.mem_size };
            }
            _ => return Err(Refusal::FunctionArgument),
        }
    }
    Ok(site)
}

/// Makes the entry one that does nothing but in a run on a packet: its helper
/// uses what the network stack has prepared for such a run, and nobody else has
/// (`bpf_net_ctx_get_ri()`, include/linux/filter.h).
pub(super) fn in_packet_alone(site: &mut b::bailey_site) {
    site.class = b::BAILEY_SITE_AUDITED;
    site.effects |= effect::IN_PACKET;
}

/// Makes the entry one behind which the run ends, if nothing speaks against it: the
/// call goes on elsewhere, or returns no verdict.
pub(super) fn ends(site: &mut b::bailey_site) {
    const ELSEWHERE: u16 = effect::CALLS_BACK
        | effect::THROWS
        | effect::NEVER
        | effect::TAIL_CALL
        | effect::OBJECTS
        | effect::GRAPH;
    if site.effects & ELSEWHERE == 0 && site.returns == returns::SCALAR {
        if site.class != b::BAILEY_SITE_AUDITED {
            site.class = b::BAILEY_SITE_LAST;
        }
        site.effects |= effect::LAST;
    }
}

/// The entry for an exception at `insn`, in an image that is not the program's
/// own.
pub(super) fn throw(insn: usize) -> b::bailey_site {
    b::bailey_site {
        helper: b::BAILEY_SITE_THROW,
        effects: effect::THROWS,
        insn: insn as u32,
        ..enter()
    }
}

/// The entry for the count of a `may_goto` at `insn`. As with what a helper's stub
/// answers, the gate has no way back for it.
pub(super) fn loop_count(insn: usize) -> b::bailey_site {
    b::bailey_site {
        helper: b::BAILEY_SITE_COUNT,
        insn: insn as u32,
        ..enter()
    }
}

/// The entry for what stands for the call at `insn` and asks its stub. The stub answers.
pub(super) fn asks(insn: usize, asked: Asked) -> b::bailey_site {
    b::bailey_site {
        helper: match asked {
            Asked::Cpu => id::GET_SMP_PROCESSOR_ID,
            Asked::Tsc => b::BAILEY_SITE_TSC,
        },
        insn: insn as u32,
        ..enter()
    }
}

/// The entry for the place where exceptions of other images come to.
pub(super) fn landing() -> b::bailey_site {
    b::bailey_site {
        helper: b::BAILEY_SITE_LANDING,
        ..enter()
    }
}

fn number(held: Resource) -> u8 {
    match held {
        Resource::SpinLock => resource::SPIN_LOCK,
        Resource::RingbufRecord => resource::RINGBUF_RECORD,
        Resource::Socket => resource::SOCKET,
        Resource::RcuRead => resource::RCU_READ,
        Resource::PreemptOff => resource::PREEMPT_OFF,
        Resource::ResSpinLock => resource::RES_SPIN_LOCK,
        Resource::Reference(of) => resource::REFERENCE + of as u8,
        // Of objects, which have a way of their own.
        Resource::IrqFlags
        | Resource::LockFlags
        | Resource::BitsIterator
        | Resource::Object
        | Resource::Placing
        | Resource::PerCpuObject => 0,
    }
}
