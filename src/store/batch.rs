// SPDX-License-Identifier: GPL-2.0
//! Many elements by one system call, as `__htab_map_lookup_and_delete_batch()`:
//! whole buckets, and the number of the next bucket for the caller to go on.

use super::per_cpu::Whose;
use super::{copy, Store};
use crate::bindings as b;
use core::mem::{offset_of, size_of};
use kernel::prelude::*;
use kernel::uaccess::{UserPtr, UserSlice};

/// So many empty buckets are looked at before others may run.
const EMPTY: u32 = 64;

/// Elements of a bucket that there is room for at first.
const ROOM: usize = 5;

/// `map_lookup_batch`.
///
/// # Safety
///
/// Called by the kernel with a store and the attributes of a batch.
pub(super) unsafe extern "C" fn lookup(
    map: *mut b::bpf_map,
    attr: *const b::bpf_attr,
    uattr: *mut b::bpf_attr,
) -> c_int {
    // SAFETY: called by the kernel with a store and a batch.
    unsafe { errno(batch(map, attr, uattr, false)) }
}

/// `map_lookup_and_delete_batch`.
///
/// # Safety
///
/// Called by the kernel with a store and the attributes of a batch.
pub(super) unsafe extern "C" fn lookup_and_delete(
    map: *mut b::bpf_map,
    attr: *const b::bpf_attr,
    uattr: *mut b::bpf_attr,
) -> c_int {
    // SAFETY: as above.
    unsafe { errno(batch(map, attr, uattr, true)) }
}

fn errno(result: Result) -> c_int {
    result.map_or_else(|err| err.to_errno(), |()| 0)
}

fn put(to: u64, bytes: &[u8]) -> Result {
    UserSlice::new(UserPtr::from_addr(to as usize), bytes.len())
        .writer()
        .write_slice(bytes)
}

/// Where `from` bytes of user memory, `count` times `size` behind `start`, are.
fn place(start: u64, total: u32, size: usize) -> u64 {
    start.wrapping_add(u64::from(total) * size as u64)
}

/// # Safety
///
/// `map` is a store, `attr` a batch's attributes.
unsafe fn batch(
    map: *mut b::bpf_map,
    attr: *const b::bpf_attr,
    uattr: *mut b::bpf_attr,
    delete: bool,
) -> Result {
    // SAFETY: promised by the caller.
    let store = unsafe { Store::of(map) }.ok_or(EINVAL)?;
    // SAFETY: of the union's members this is the one that is filled.
    let batch = unsafe { &(*attr).batch };
    let whose = store.of_batch(batch.elem_flags, delete)?;
    if batch.flags != 0 {
        return Err(EINVAL);
    }
    let most = batch.count;
    if most == 0 {
        return Ok(());
    }
    let count_at = uattr as u64 + offset_of!(b::bpf_attr__bindgen_ty_3, count) as u64;
    put(count_at, &0u32.to_ne_bytes())?;
    let mut bucket = 0u32;
    if batch.in_batch != 0 {
        let mut bytes = [0; size_of::<u32>()];
        UserSlice::new(UserPtr::from_addr(batch.in_batch as usize), bytes.len())
            .reader()
            .read_slice(&mut bytes)?;
        bucket = u32::from_ne_bytes(bytes);
    }
    if bucket >= store.bucket_count {
        return Err(ENOENT);
    }
    let mut total = 0;
    let result = buckets(store, batch, delete, whose, most, &mut bucket, &mut total);
    if result == Err(EFAULT) {
        return result;
    }
    put(batch.out_batch, &bucket.to_ne_bytes())?;
    put(count_at, &total.to_ne_bytes())?;
    result
}

fn buckets(
    store: &Store,
    batch: &b::bpf_attr__bindgen_ty_3,
    delete: bool,
    whose: Whose,
    most: u32,
    bucket: &mut u32,
    total: &mut u32,
) -> Result {
    let table = store.table();
    let (key_size, value_size) = (store.map.key_size as usize, store.len_of(whose));
    let mut room = ROOM;
    let mut keys = KVVec::from_elem(0u8, room * key_size, GFP_KERNEL)?;
    let mut values = KVVec::from_elem(0u8, room * value_size, GFP_KERNEL)?;
    let mut taken: KVVec<u32> = KVVec::with_capacity(room, GFP_KERNEL)?;
    let mut empty = 0;
    loop {
        taken.clear();
        if table.first(*bucket).is_some() {
            let locked = store.lock(*bucket)?;
            let mut chain = 0;
            let mut at = table.first(*bucket);
            while let Some(number) = at {
                // The vector has room for `room` of them.
                if chain < room {
                    let _ = taken.push(number, GFP_ATOMIC);
                }
                chain += 1;
                at = table.next(number);
            }
            if chain > (most - *total) as usize {
                return if *total == 0 { Err(ENOSPC) } else { Ok(()) };
            }
            if chain > room || taken.len() != chain {
                drop(locked);
                room = chain.max(room);
                keys = KVVec::from_elem(0u8, room * key_size, GFP_KERNEL)?;
                values = KVVec::from_elem(0u8, room * value_size, GFP_KERNEL)?;
                taken = KVVec::with_capacity(room, GFP_KERNEL)?;
                continue;
            }
            for (n, &number) in taken.iter().enumerate() {
                let key = keys.as_mut_ptr().wrapping_add(n * key_size);
                let value = values.as_mut_ptr().wrapping_add(n * value_size);
                // SAFETY: both vectors have room for `room` of them.
                unsafe {
                    copy(key, store.key(number), store.map.key_size);
                    store.read(number, value, whose);
                }
            }
            if delete {
                for &number in &taken {
                    // The bucket alone is looked at, since the element is known.
                    table.remove(*bucket, number);
                }
            }
            drop(locked);
            if delete {
                for &number in &taken {
                    store.give(number);
                }
            }
        }
        let found = taken.len();
        if found == 0 && *bucket + 1 < store.bucket_count {
            *bucket += 1;
            empty += 1;
            if empty == EMPTY {
                empty = 0;
                // SAFETY: process context, nothing held.
                unsafe { b::bailey_may_sleep() };
            }
            continue;
        }
        let keys = keys.get(..found * key_size).ok_or(EINVAL)?;
        let values = values.get(..found * value_size).ok_or(EINVAL)?;
        if found != 0 {
            put(place(batch.keys, *total, key_size), keys)?;
            put(place(batch.values, *total, value_size), values)?;
        }
        *total += found as u32;
        empty = 0;
        *bucket += 1;
        if *bucket >= store.bucket_count {
            return Err(ENOENT);
        }
        // SAFETY: as above.
        unsafe { b::bailey_may_sleep() };
    }
}
