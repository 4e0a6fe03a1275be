// SPDX-License-Identifier: GPL-2.0
//! Helpers and kfuncs: which an isolated program may call, and what each one
//! takes, gives, acquires and releases.
//!
//! A helper that is not in [`ALLOWED`] is never called from a confined
//! program. [`REFUSED`] says why, for each helper that an XDP program could
//! otherwise call (`xdp_func_proto()` and `bpf_sk_base_func_proto()` in
//! `net/core/filter.c`, `bpf_base_func_proto()` in `kernel/bpf/helpers.c`).

mod args;
pub mod kfuncs;
mod names;
mod printk;

pub use args::{ArgKind, ArgTypeTable, UnknownArg};
pub use names::LAST;
pub use printk::{printk_args, PrintkArg, PrintkFormat, PRINTK_ARGS};

use super::graph::Part;
use super::kernel_type::KernelType;
use core::fmt;

/// Numbers of the helpers that code refers to (`enum bpf_func_id`).
#[allow(missing_docs)]
pub mod id {
    pub const MAP_LOOKUP_ELEM: u32 = 1;
    pub const MAP_UPDATE_ELEM: u32 = 2;
    pub const MAP_DELETE_ELEM: u32 = 3;
    pub const KTIME_GET_NS: u32 = 5;
    pub const TRACE_PRINTK: u32 = 6;
    pub const GET_PRANDOM_U32: u32 = 7;
    pub const GET_SMP_PROCESSOR_ID: u32 = 8;
    pub const TAIL_CALL: u32 = 12;
    pub const GET_CURRENT_PID_TGID: u32 = 14;
    pub const GET_CURRENT_UID_GID: u32 = 15;
    pub const GET_CURRENT_COMM: u32 = 16;
    pub const GET_CGROUP_CLASSID: u32 = 17;
    pub const REDIRECT: u32 = 23;
    pub const PERF_EVENT_OUTPUT: u32 = 25;
    pub const CSUM_DIFF: u32 = 28;
    pub const CURRENT_TASK_UNDER_CGROUP: u32 = 37;
    pub const GET_NUMA_NODE_ID: u32 = 42;
    pub const XDP_ADJUST_HEAD: u32 = 44;
    pub const REDIRECT_MAP: u32 = 51;
    pub const XDP_ADJUST_META: u32 = 54;
    pub const XDP_ADJUST_TAIL: u32 = 65;
    pub const FIB_LOOKUP: u32 = 69;
    pub const GET_CURRENT_CGROUP_ID: u32 = 80;
    pub const SK_LOOKUP_TCP: u32 = 84;
    pub const SK_LOOKUP_UDP: u32 = 85;
    pub const SK_RELEASE: u32 = 86;
    pub const MAP_PUSH_ELEM: u32 = 87;
    pub const MAP_POP_ELEM: u32 = 88;
    pub const MAP_PEEK_ELEM: u32 = 89;
    pub const SPIN_LOCK: u32 = 93;
    pub const SPIN_UNLOCK: u32 = 94;
    pub const SKC_LOOKUP_TCP: u32 = 99;
    pub const TCP_CHECK_SYNCOOKIE: u32 = 100;
    pub const STRTOL: u32 = 105;
    pub const STRTOUL: u32 = 106;
    pub const TCP_GEN_SYNCOOKIE: u32 = 110;
    pub const JIFFIES64: u32 = 118;
    pub const GET_NS_CURRENT_PID_TGID: u32 = 120;
    pub const GET_CURRENT_ANCESTOR_CGROUP_ID: u32 = 123;
    pub const KTIME_GET_BOOT_NS: u32 = 125;
    pub const RINGBUF_OUTPUT: u32 = 130;
    pub const RINGBUF_RESERVE: u32 = 131;
    pub const RINGBUF_SUBMIT: u32 = 132;
    pub const RINGBUF_DISCARD: u32 = 133;
    pub const RINGBUF_QUERY: u32 = 134;
    pub const SKC_TO_TCP6_SOCK: u32 = 136;
    pub const SKC_TO_TCP_SOCK: u32 = 137;
    pub const SKC_TO_TCP_TIMEWAIT_SOCK: u32 = 138;
    pub const SKC_TO_TCP_REQUEST_SOCK: u32 = 139;
    pub const SKC_TO_UDP6_SOCK: u32 = 140;
    pub const GET_TASK_STACK: u32 = 141;
    pub const PER_CPU_PTR: u32 = 153;
    pub const THIS_CPU_PTR: u32 = 154;
    pub const GET_CURRENT_TASK_BTF: u32 = 158;
    pub const KTIME_GET_COARSE_NS: u32 = 160;
    pub const CHECK_MTU: u32 = 163;
    pub const FOR_EACH_MAP_ELEM: u32 = 164;
    pub const TIMER_INIT: u32 = 169;
    pub const TIMER_SET_CALLBACK: u32 = 170;
    pub const TIMER_START: u32 = 171;
    pub const TIMER_CANCEL: u32 = 172;
    pub const TASK_PT_REGS: u32 = 175;
    pub const TRACE_VPRINTK: u32 = 177;
    pub const SKC_TO_UNIX_SOCK: u32 = 178;
    pub const FIND_VMA: u32 = 180;
    pub const LOOP: u32 = 181;
    pub const STRNCMP: u32 = 182;
    pub const XDP_GET_BUFF_LEN: u32 = 188;
    pub const XDP_LOAD_BYTES: u32 = 189;
    pub const XDP_STORE_BYTES: u32 = 190;
    pub const KPTR_XCHG: u32 = 194;
    pub const MAP_LOOKUP_PERCPU_ELEM: u32 = 195;
    pub const TCP_RAW_GEN_SYNCOOKIE_IPV4: u32 = 204;
    pub const TCP_RAW_GEN_SYNCOOKIE_IPV6: u32 = 205;
    pub const TCP_RAW_CHECK_SYNCOOKIE_IPV4: u32 = 206;
    pub const TCP_RAW_CHECK_SYNCOOKIE_IPV6: u32 = 207;
    pub const KTIME_GET_TAI_NS: u32 = 208;
    pub const DYNPTR_FROM_MEM: u32 = 197;
    pub const RINGBUF_RESERVE_DYNPTR: u32 = 198;
    pub const RINGBUF_SUBMIT_DYNPTR: u32 = 199;
    pub const RINGBUF_DISCARD_DYNPTR: u32 = 200;
    pub const DYNPTR_READ: u32 = 201;
    pub const DYNPTR_WRITE: u32 = 202;
    pub const DYNPTR_DATA: u32 = 203;
    pub const USER_RINGBUF_DRAIN: u32 = 209;
}

/// What kind of gate a helper's call site gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Every argument is a plain number: nothing to audit.
    Scalar,
    /// Arguments that point somewhere are audited first.
    Audited,
    /// Answered without leaving confinement (RDPID).
    Inline,
    /// Becomes the program's own instructions, wherever it is called
    /// ([`inline`](super::rewrite::inline)).
    Instructions,
    /// Leaves the program for another one.
    TailCall,
}

/// What a helper does with the packet behind its context argument, or behind a
/// dynptr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Neither reads nor writes packet bytes.
    None,
    /// Reads packet bytes: what the program wrote goes back first.
    Before,
    /// Changes the packet or its bounds: back first, and a fresh shadow after.
    /// The verifier has forgotten the program's packet pointers, except after
    /// `xdp_store_bytes`, where they stay valid.
    Around,
}

/// What a helper returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gives {
    /// A number, or nothing.
    Scalar,
    /// The address of a value of the map in its first argument, or 0. For maps
    /// of maps, the address of a map; for XSKMAP, of a socket.
    MapValueOrNull,
    /// A ring-buffer record as long as its second argument, or 0.
    RingbufRecordOrNull,
    /// A full socket (`struct sock`) with a reference, or 0.
    SocketOrNull,
    /// The common part of a socket (`struct sock_common`) with a reference,
    /// or 0. It may be a request or time-wait socket: no byte beyond the
    /// common part exists for sure.
    SockCommonOrNull,
    /// The address of bytes that a dynptr points to, or of the buffer in the
    /// third argument, or 0.
    SliceOrNull,
    /// The address of an int in the object in its first argument, or 0.
    IntOrNull,
    /// An object that the program has allocated, or a node of one, with a
    /// reference; or 0.
    OwnedOrNull,
    /// The node of such an object without a reference, or 0.
    BorrowedOrNull,
    /// An object of the kernel's, of the type that the prototype names in the
    /// kernel's BTF: there as long as the run lasts, and to read alone.
    KernelObject,
    /// Per-CPU memory that the program has allocated, with a reference; or 0.
    PerCpuOrNull,
    /// One CPU's of such memory, or 0.
    PerCpuMemoryOrNull,
    /// An object of the kernel's with a reference, of this type; or 0.
    ReferenceOrNull(KernelType),
    /// The socket in its first argument as what else it is, of the type that the
    /// prototype names; or 0.
    SocketAsOrNull,
}

pub use super::ledger::Kind as Resource;

/// What is to be known of a helper.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// `BPF_FUNC_*`, or a kfunc's number ([`kfuncs`]).
    pub id: u32,
    /// Its gate.
    pub gate: Gate,
    /// Whether its first argument is the context, to be replaced by the real
    /// one.
    pub takes_ctx: bool,
    /// What it does with the packet; [`Sync::None`] if it takes no context.
    pub sync: Sync,
    /// What it returns.
    pub gives: Gives,
    /// What the run holds after it, if it returned something (spin locks: always;
    /// resilient ones: if it returned 0).
    pub acquires: Option<Resource>,
    /// What the run must hold before it, and no longer holds after.
    pub releases: Option<Resource>,
    /// Which argument holds what its kind alone does not say.
    pub special: Special,
    /// Whether it calls a function of the program.
    pub calls_back: bool,
}

/// Arguments whose audit needs more than their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// None.
    None,
    /// `trace_printk`: the format says which of arguments 3 to 5 are
    /// addresses. It must be copied out of the domain first, then judged by
    /// [`printk_args`], and the copy be used.
    PrintkFormat,
    /// It reads what it is given more than once: first the length that a TCP
    /// header says it has, and then as many bytes. It must be given copies.
    ReadsTwice,
    /// Its callback is called later, in a run of its own; the program's
    /// `bpf_prog_aux` is an argument behind those of the prototype.
    CallsLater,
}

const fn scalar(id: u32) -> Helper {
    Helper {
        id,
        gate: Gate::Scalar,
        takes_ctx: false,
        sync: Sync::None,
        gives: Gives::Scalar,
        acquires: None,
        releases: None,
        special: Special::None,
        calls_back: false,
    }
}

const fn calling_back(id: u32) -> Helper {
    Helper {
        calls_back: true,
        ..audited(id)
    }
}

const fn audited(id: u32) -> Helper {
    Helper {
        gate: Gate::Audited,
        ..scalar(id)
    }
}

const fn with_ctx(id: u32, sync: Sync) -> Helper {
    Helper {
        takes_ctx: true,
        sync,
        ..audited(id)
    }
}

impl Helper {
    const fn gives(self, gives: Gives) -> Self {
        Self { gives, ..self }
    }

    const fn acquires(self, kind: Resource) -> Self {
        Self {
            acquires: Some(kind),
            ..self
        }
    }

    const fn releases(self, kind: Resource) -> Self {
        Self {
            releases: Some(kind),
            ..self
        }
    }

    const fn syncs(self, sync: Sync) -> Self {
        Self { sync, ..self }
    }

    const fn reads_twice(self) -> Self {
        Self {
            special: Special::ReadsTwice,
            ..self
        }
    }

    /// The helper's name without its `bpf_`.
    pub fn name(&self) -> &'static str {
        name(self.id).unwrap_or("unknown")
    }
}

/// The helpers that an isolated XDP program may call, by rising number.
pub static ALLOWED: [Helper; 84] = [
    audited(id::MAP_LOOKUP_ELEM).gives(Gives::MapValueOrNull),
    audited(id::MAP_UPDATE_ELEM),
    audited(id::MAP_DELETE_ELEM),
    scalar(id::KTIME_GET_NS),
    Helper {
        special: Special::PrintkFormat,
        ..audited(id::TRACE_PRINTK)
    },
    Helper {
        gate: Gate::Instructions,
        ..scalar(id::GET_PRANDOM_U32)
    },
    Helper {
        gate: Gate::Inline,
        ..scalar(id::GET_SMP_PROCESSOR_ID)
    },
    // The target starts from the real packet and builds its own shadow.
    Helper {
        gate: Gate::TailCall,
        ..with_ctx(id::TAIL_CALL, Sync::Before)
    },
    scalar(id::GET_CURRENT_PID_TGID),
    scalar(id::GET_CURRENT_UID_GID),
    audited(id::GET_CURRENT_COMM),
    scalar(id::GET_CGROUP_CLASSID),
    scalar(id::REDIRECT),
    // Appends up to flags[51:32] bytes of the packet to the sample.
    with_ctx(id::PERF_EVENT_OUTPUT, Sync::Before),
    audited(id::CSUM_DIFF),
    audited(id::CURRENT_TASK_UNDER_CGROUP),
    scalar(id::GET_NUMA_NODE_ID),
    with_ctx(id::XDP_ADJUST_HEAD, Sync::Around),
    // The map is a constant of the call site, the rest are numbers; only the
    // map's address needs a look.
    audited(id::REDIRECT_MAP),
    with_ctx(id::XDP_ADJUST_META, Sync::Around),
    with_ctx(id::XDP_ADJUST_TAIL, Sync::Around),
    // Takes the device from the context and the addresses from its parameter
    // block; the packet is not read (bpf_xdp_fib_lookup()).
    with_ctx(id::FIB_LOOKUP, Sync::None),
    scalar(id::GET_CURRENT_CGROUP_ID),
    // Take the network namespace from the context, the tuple from memory.
    with_ctx(id::SK_LOOKUP_TCP, Sync::None)
        .gives(Gives::SocketOrNull)
        .acquires(Resource::Socket),
    with_ctx(id::SK_LOOKUP_UDP, Sync::None)
        .gives(Gives::SocketOrNull)
        .acquires(Resource::Socket),
    audited(id::SK_RELEASE).releases(Resource::Socket),
    audited(id::MAP_PUSH_ELEM),
    audited(id::MAP_POP_ELEM),
    audited(id::MAP_PEEK_ELEM),
    audited(id::SPIN_LOCK).acquires(Resource::SpinLock),
    audited(id::SPIN_UNLOCK).releases(Resource::SpinLock),
    with_ctx(id::SKC_LOOKUP_TCP, Sync::None)
        .gives(Gives::SockCommonOrNull)
        .acquires(Resource::Socket),
    audited(id::TCP_CHECK_SYNCOOKIE).reads_twice(),
    audited(id::STRTOL),
    audited(id::STRTOUL),
    audited(id::TCP_GEN_SYNCOOKIE).reads_twice(),
    scalar(id::JIFFIES64),
    audited(id::GET_NS_CURRENT_PID_TGID),
    scalar(id::GET_CURRENT_ANCESTOR_CGROUP_ID),
    scalar(id::KTIME_GET_BOOT_NS),
    audited(id::RINGBUF_OUTPUT),
    audited(id::RINGBUF_RESERVE)
        .gives(Gives::RingbufRecordOrNull)
        .acquires(Resource::RingbufRecord),
    audited(id::RINGBUF_SUBMIT).releases(Resource::RingbufRecord),
    audited(id::RINGBUF_DISCARD).releases(Resource::RingbufRecord),
    audited(id::RINGBUF_QUERY),
    audited(id::SKC_TO_TCP6_SOCK).gives(Gives::SocketAsOrNull),
    audited(id::SKC_TO_TCP_SOCK).gives(Gives::SocketAsOrNull),
    audited(id::SKC_TO_TCP_TIMEWAIT_SOCK).gives(Gives::SocketAsOrNull),
    audited(id::SKC_TO_TCP_REQUEST_SOCK).gives(Gives::SocketAsOrNull),
    audited(id::SKC_TO_UDP6_SOCK).gives(Gives::SocketAsOrNull),
    audited(id::GET_TASK_STACK),
    audited(id::PER_CPU_PTR).gives(Gives::PerCpuMemoryOrNull),
    audited(id::THIS_CPU_PTR).gives(Gives::PerCpuMemoryOrNull),
    audited(id::GET_CURRENT_TASK_BTF).gives(Gives::KernelObject),
    scalar(id::KTIME_GET_COARSE_NS),
    // Compares lengths and MTUs; the packet is not read
    // (bpf_xdp_check_mtu()).
    with_ctx(id::CHECK_MTU, Sync::None),
    // Calls back with each key and value of the map.
    calling_back(id::FOR_EACH_MAP_ELEM),
    audited(id::TIMER_INIT),
    Helper {
        special: Special::CallsLater,
        ..audited(id::TIMER_SET_CALLBACK)
    },
    audited(id::TIMER_START),
    audited(id::TIMER_CANCEL),
    audited(id::TASK_PT_REGS).gives(Gives::KernelObject),
    audited(id::SKC_TO_UNIX_SOCK).gives(Gives::SocketAsOrNull),
    // Calls back with the task and the area, once.
    calling_back(id::FIND_VMA),
    // Calls back with a number; the verifier replaces most calls of it.
    calling_back(id::LOOP),
    audited(id::STRNCMP),
    with_ctx(id::XDP_GET_BUFF_LEN, Sync::None),
    with_ctx(id::XDP_LOAD_BYTES, Sync::Before),
    with_ctx(id::XDP_STORE_BYTES, Sync::Around),
    // What it takes says `args`.
    audited(id::KPTR_XCHG).gives(Gives::OwnedOrNull),
    audited(id::MAP_LOOKUP_PERCPU_ELEM).gives(Gives::MapValueOrNull),
    audited(id::DYNPTR_FROM_MEM),
    audited(id::RINGBUF_RESERVE_DYNPTR),
    audited(id::RINGBUF_SUBMIT_DYNPTR),
    audited(id::RINGBUF_DISCARD_DYNPTR),
    audited(id::DYNPTR_READ).syncs(Sync::Before),
    audited(id::DYNPTR_WRITE).syncs(Sync::Around),
    audited(id::DYNPTR_DATA).gives(Gives::SliceOrNull),
    audited(id::TCP_RAW_GEN_SYNCOOKIE_IPV4).reads_twice(),
    audited(id::TCP_RAW_GEN_SYNCOOKIE_IPV6).reads_twice(),
    audited(id::TCP_RAW_CHECK_SYNCOOKIE_IPV4).reads_twice(),
    audited(id::TCP_RAW_CHECK_SYNCOOKIE_IPV6).reads_twice(),
    scalar(id::KTIME_GET_TAI_NS),
    // Calls back with a dynptr of each record.
    calling_back(id::USER_RINGBUF_DRAIN),
];

/// The arguments of helpers of which the prototype says less than an audit must
/// know.
pub const fn args(id: u32) -> &'static [ArgKind] {
    match id {
        id::KPTR_XCHG => &[
            ArgKind::Graph(Part::Pointer),
            ArgKind::Graph(Part::OwnedOrNull),
        ],
        id::PER_CPU_PTR => &[ArgKind::PerCpuMemory, ArgKind::Scalar],
        id::THIS_CPU_PTR => &[ArgKind::PerCpuMemory],
        _ => &[],
    }
}

const ANY_READ: &str = "it reads any address it is given";
const ADDRESS: &str = "the address it returns is of use only to who may read any";
const TASK: &str = "it changes the task that the packet interrupted, or what is stored for it";
const BTF_POINTER: &str = "it returns an object that the socket does not keep";
const PERF: &str = "its use of performance counters is not reviewed yet";

/// Helpers an XDP program could call without isolation, and why they are
/// refused with it. By rising number.
pub static REFUSED: [(u32, &str); 20] = [
    // perf_event_read
    (22, PERF),
    // get_current_task
    (35, ADDRESS),
    // perf_event_read_value
    (55, PERF),
    // send_signal
    (109, TASK),
    // probe_read_user
    (112, ANY_READ),
    // probe_read_kernel
    (113, ANY_READ),
    // probe_read_user_str
    (114, ANY_READ),
    // probe_read_kernel_str
    (115, ANY_READ),
    // send_signal_thread
    (117, TASK),
    // copy_from_user
    (148, ANY_READ),
    // snprintf_btf
    (149, ANY_READ),
    // task_storage_get
    (156, TASK),
    // task_storage_delete
    (157, TASK),
    // snprintf
    (165, ANY_READ),
    // get_branch_snapshot
    (176, PERF),
    // trace_vprintk
    (177, ANY_READ),
    // copy_from_user_task
    (191, ANY_READ),
    // skc_to_mptcp_sock
    (196, BTF_POINTER),
    // cgrp_storage_get
    (210, TASK),
    // cgrp_storage_delete
    (211, TASK),
];

/// The name of helper `id`, without its `bpf_`, or of a kfunc.
pub fn name(id: u32) -> Option<&'static str> {
    match kfuncs::by_id(id) {
        Some(kfunc) => Some(kfunc.name),
        None => names::name(id),
    }
}

/// What a number of ours is that of, as messages have it.
#[derive(Clone, Copy, Debug)]
pub struct Callee(pub u32);

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = name(self.0).unwrap_or("unknown");
        if self.0 >= kfuncs::FIRST {
            write!(f, "kfunc {name}")
        } else {
            write!(f, "helper {name}#{}", self.0)
        }
    }
}

/// What is to be known of helper or kfunc `id`, if an isolated program may
/// call it.
pub fn helper(id: u32) -> Option<&'static Helper> {
    if let Some(kfunc) = kfuncs::by_id(id) {
        return Some(&kfunc.call);
    }
    let at = ALLOWED.binary_search_by_key(&id, |helper| helper.id).ok()?;
    ALLOWED.get(at)
}

/// Why an isolated program may not call helper `id`.
pub fn refusal(id: u32) -> Option<&'static str> {
    if helper(id).is_some() {
        return None;
    }
    match REFUSED.binary_search_by_key(&id, |refused| refused.0) {
        Ok(at) => REFUSED.get(at).map(|refused| refused.1),
        Err(_) if name(id).is_some() => Some("XDP programs have no such helper"),
        Err(_) => Some("this kernel's helper is unknown here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_disjoint() {
        assert!(ALLOWED.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert!(REFUSED.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (id, _) in REFUSED {
            assert!(helper(id).is_none(), "{id} is both allowed and refused");
            assert!(name(id).is_some());
        }
    }

    #[test]
    fn every_helper_is_allowed_or_refused_with_a_reason() {
        for id in 1..=LAST {
            assert_ne!(helper(id).is_some(), refusal(id).is_some(), "helper {id}");
        }
        assert!(refusal(0).is_some());
        assert!(refusal(LAST + 1).is_some());
        assert!(refusal(u32::MAX).is_some());
    }

    #[test]
    fn numbers_and_names_agree() {
        for (id, expected) in [
            (id::MAP_LOOKUP_ELEM, "map_lookup_elem"),
            (id::TRACE_PRINTK, "trace_printk"),
            (id::TAIL_CALL, "tail_call"),
            (id::PERF_EVENT_OUTPUT, "perf_event_output"),
            (id::XDP_ADJUST_META, "xdp_adjust_meta"),
            (id::FIB_LOOKUP, "fib_lookup"),
            (id::SKC_LOOKUP_TCP, "skc_lookup_tcp"),
            (id::RINGBUF_RESERVE, "ringbuf_reserve"),
            (id::MAP_LOOKUP_PERCPU_ELEM, "map_lookup_percpu_elem"),
            (
                id::TCP_RAW_CHECK_SYNCOOKIE_IPV6,
                "tcp_raw_check_syncookie_ipv6",
            ),
            (id::KTIME_GET_TAI_NS, "ktime_get_tai_ns"),
        ] {
            assert_eq!(name(id), Some(expected));
        }
    }

    #[test]
    fn what_is_acquired_can_be_released() {
        for kind in [
            Resource::SpinLock,
            Resource::RingbufRecord,
            Resource::Socket,
        ] {
            assert!(ALLOWED.iter().any(|helper| helper.acquires == Some(kind)));
            assert!(ALLOWED.iter().any(|helper| helper.releases == Some(kind)));
        }
    }

    #[test]
    fn only_helpers_with_a_context_or_a_dynptr_touch_the_packet() {
        for helper in &ALLOWED {
            let dynptr = matches!(helper.id, id::DYNPTR_READ | id::DYNPTR_WRITE);
            assert!(helper.takes_ctx || dynptr || helper.sync == Sync::None);
            assert!(!helper.takes_ctx || helper.gate != Gate::Scalar);
        }
    }
}
