// SPDX-License-Identifier: GPL-2.0
//! What a call makes of its map: which types it is for, what of it the kernel calls, what
//! a look-up in it returns.

use super::site::returns;
use crate::bindings as b;
use crate::pure::catalog::{id, name};
use core::mem::size_of;

/// Whether the map's keys say how long they are (`lpm_trie`), which the kernel reads
/// twice, and a store once. If it is not the same map each time, one of them may.
pub(super) fn has_prefixes(map: Option<*mut b::bpf_map>) -> bool {
    // SAFETY: a map that `env` holds a reference to.
    map.is_none_or(|map| unsafe {
        (*map).map_type == b::bpf_map_type_BPF_MAP_TYPE_LPM_TRIE
            && !crate::store::reads_keys_once(map)
    })
}

/// Whether a map of type `map_type` is of the set `types`.
pub(crate) fn is_of(types: u32, map_type: u32) -> bool {
    types & bit_of(map_type) != 0
}

/// The bit of a type in a set; none if it is in none.
fn bit_of(map_type: u32) -> u32 {
    // The one type of a larger number that a call is for has the place of the type that no map
    // is of.
    let place = match map_type {
        b::bpf_map_type_BPF_MAP_TYPE_ARENA => b::bpf_map_type_BPF_MAP_TYPE_UNSPEC,
        b::bpf_map_type_BPF_MAP_TYPE_UNSPEC => return 0,
        other => other,
    };
    1u32.checked_shl(place).unwrap_or(0)
}

/// The types of map that helper `id` is for, as a set
/// (`check_map_func_compatibility()`, kernel/bpf/verifier.c). Asked at the gate
/// where the map is not the same each time: a helper takes the map's type for
/// granted.
pub(super) fn map_types(id: u32) -> u32 {
    let values = [
        b::bpf_map_type_BPF_MAP_TYPE_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_LPM_TRIE,
    ];
    let looked_up = [
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY_OF_MAPS,
        b::bpf_map_type_BPF_MAP_TYPE_HASH_OF_MAPS,
        b::bpf_map_type_BPF_MAP_TYPE_DEVMAP,
        b::bpf_map_type_BPF_MAP_TYPE_DEVMAP_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_CPUMAP,
        b::bpf_map_type_BPF_MAP_TYPE_XSKMAP,
        b::bpf_map_type_BPF_MAP_TYPE_SOCKMAP,
        b::bpf_map_type_BPF_MAP_TYPE_SOCKHASH,
    ];
    let lined_up = [
        b::bpf_map_type_BPF_MAP_TYPE_QUEUE,
        b::bpf_map_type_BPF_MAP_TYPE_STACK,
        b::bpf_map_type_BPF_MAP_TYPE_BLOOM_FILTER,
    ];
    let redirected = [
        b::bpf_map_type_BPF_MAP_TYPE_DEVMAP,
        b::bpf_map_type_BPF_MAP_TYPE_DEVMAP_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_CPUMAP,
        b::bpf_map_type_BPF_MAP_TYPE_XSKMAP,
    ];
    let per_cpu = [
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ];
    let iterated = [
        b::bpf_map_type_BPF_MAP_TYPE_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_PERCPU_ARRAY,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH,
    ];
    // As map_check_btf() (kernel/bpf/syscall.c) has it.
    let timed = [
        b::bpf_map_type_BPF_MAP_TYPE_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH,
        b::bpf_map_type_BPF_MAP_TYPE_ARRAY,
    ];
    if name(id) == Some("bpf_map_sum_elem_count") {
        // Of any type that has a bit.
        return u32::MAX;
    }
    let (types, more): (&[u32], &[u32]) = match id {
        id::MAP_LOOKUP_ELEM => (&values, &looked_up),
        id::MAP_UPDATE_ELEM | id::MAP_DELETE_ELEM => (&values, &[]),
        id::MAP_PUSH_ELEM | id::MAP_POP_ELEM | id::MAP_PEEK_ELEM => (&lined_up, &[]),
        id::MAP_LOOKUP_PERCPU_ELEM => (&per_cpu, &[]),
        id::REDIRECT_MAP => (&redirected, &[]),
        id::FOR_EACH_MAP_ELEM => (&iterated, &[]),
        id::TIMER_INIT => (&timed, &[]),
        id if name(id) == Some("bpf_wq_init") => (&timed, &[]),
        id if name(id).is_some_and(|name| name.starts_with("bpf_arena_")) => {
            (&[b::bpf_map_type_BPF_MAP_TYPE_ARENA], &[])
        }
        id::TAIL_CALL => (&[b::bpf_map_type_BPF_MAP_TYPE_PROG_ARRAY], &[]),
        id::PERF_EVENT_OUTPUT => (&[b::bpf_map_type_BPF_MAP_TYPE_PERF_EVENT_ARRAY], &[]),
        id::RINGBUF_OUTPUT
        | id::RINGBUF_RESERVE
        | id::RINGBUF_QUERY
        | id::RINGBUF_RESERVE_DYNPTR => (&[b::bpf_map_type_BPF_MAP_TYPE_RINGBUF], &[]),
        id::USER_RINGBUF_DRAIN => (&[b::bpf_map_type_BPF_MAP_TYPE_USER_RINGBUF], &[]),
        id::CURRENT_TASK_UNDER_CGROUP => (&[b::bpf_map_type_BPF_MAP_TYPE_CGROUP_ARRAY], &[]),
        _ => (&[], &[]),
    };
    Iterator::chain(types.iter(), more).fold(0, |set, &map_type| set | bit_of(map_type))
}

/// The map's own function for helper `id`, which the verifier would have put
/// into the call as well (`patch_map_ops_generic` in `bpf_do_misc_fixups()`).
pub(super) fn of_map(id: u32, map: *mut b::bpf_map) -> Option<u64> {
    // SAFETY: a map that `env` holds a reference to; its operations are constants of the kernel.
    let ops = unsafe { &*(*map).ops };
    let func = match id {
        id::MAP_LOOKUP_ELEM => ops.map_lookup_elem.map(|f| f as usize),
        id::MAP_UPDATE_ELEM => ops.map_update_elem.map(|f| f as usize),
        id::MAP_DELETE_ELEM => ops.map_delete_elem.map(|f| f as usize),
        id::MAP_PUSH_ELEM => ops.map_push_elem.map(|f| f as usize),
        id::MAP_POP_ELEM => ops.map_pop_elem.map(|f| f as usize),
        id::MAP_PEEK_ELEM => ops.map_peek_elem.map(|f| f as usize),
        id::MAP_LOOKUP_PERCPU_ELEM => ops.map_lookup_percpu_elem.map(|f| f as usize),
        id::REDIRECT_MAP => ops.map_redirect.map(|f| f as usize),
        _ => None,
    };
    func.map(|func| func as u64)
}

/// What a look-up in `map` returns, and of how many bytes.
pub(super) fn looked_up(map: Option<*mut b::bpf_map>, value_size: u32) -> (u8, u32) {
    let Some(map) = map else {
        return (returns::MAP_VALUE, 0);
    };
    // SAFETY: a map that `env` holds a reference to.
    let (kind, inner) = unsafe { ((*map).map_type, !(*map).inner_map_meta.is_null()) };
    match kind {
        b::bpf_map_type_BPF_MAP_TYPE_SOCKMAP | b::bpf_map_type_BPF_MAP_TYPE_SOCKHASH => {
            (returns::SOCKET, 0)
        }
        b::bpf_map_type_BPF_MAP_TYPE_XSKMAP => {
            (returns::MAP_VALUE, size_of::<b::xdp_sock>() as u32)
        }
        _ if inner => (returns::INNER_MAP, 0),
        _ => (returns::MAP_VALUE, value_size),
    }
}
