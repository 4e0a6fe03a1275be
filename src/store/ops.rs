// SPDX-License-Identifier: GPL-2.0
//! The operations of a store, with the meaning of those of kernel/bpf/hashtab.c.
//!
//! Those that programs call may be called with a hash map of the kernel's, too:
//! one that came into a map of maps ([`super::create`]).

use super::per_cpu::Whose;
use super::{batch, copy, seq, trie, Made, Store, Trie};
use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::rewrite::inline::{Chains, Prefixes};
use crate::pure::store::uses::Uses;
use crate::pure::store::{Refusal, Updated, When};
use core::ptr::{self, NonNull};
use kernel::prelude::*;
use kernel::sync::rcu;

/// Whether a map with these operations is a store of a hash map or, of inner ones, a
/// pattern for such.
#[inline(always)]
pub(super) fn are_of_hash(ops: *const b::bpf_map_ops) -> bool {
    [
        &raw const b::bailey_store_ops,
        &raw const b::bailey_lru_store_ops,
        &raw const b::bailey_per_cpu_store_ops,
        &raw const b::bailey_lru_per_cpu_store_ops,
    ]
    .contains(&ops)
}

/// The same of any store.
pub(super) fn are_ours(ops: *const b::bpf_map_ops) -> bool {
    are_of_hash(ops) || ptr::eq(ops, &raw const b::bailey_trie_store_ops)
}

/// Where the values of `map` are, if it is a store.
///
/// # Safety
///
/// `map` is a map.
pub(crate) unsafe fn layout(map: *mut b::bpf_map) -> Option<b::bailey_values> {
    // SAFETY: promised by the caller.
    unsafe {
        let of_hash = Store::of(map).map(Store::layout);
        of_hash.or_else(|| Trie::of(map).map(Trie::layout))
    }
}

/// What a domain is shown of `map` for look-ups of its programs' own, as
/// [`Store::chains`].
///
/// # Safety
///
/// `map` is a map.
pub(crate) unsafe fn chains(map: *mut b::bpf_map) -> Option<(u64, Chains)> {
    // SAFETY: promised by the caller.
    unsafe { Store::of(map).and_then(Store::chains) }
}

/// The same of a trie, as [`Trie::prefixes`].
///
/// # Safety
///
/// `map` is a map.
pub(crate) unsafe fn prefixes(map: *mut b::bpf_map) -> Option<(u64, Prefixes)> {
    // SAFETY: promised by the caller.
    unsafe { Trie::of(map).and_then(Trie::prefixes) }
}

/// What a domain has of a store beside its values.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// The kernel's address of what look-ups read.
    pub(crate) at: u64,
    /// Bytes of it.
    pub(crate) len: u64,
    /// What look-ups write behind the values.
    pub(crate) uses: Option<Uses>,
}

/// What a domain is shown of `map`, a store of either kind.
///
/// # Safety
///
/// `map` is a map.
pub(crate) unsafe fn shown(map: *mut b::bpf_map) -> Option<Shown> {
    // SAFETY: promised by the caller.
    let (chains, prefixes) = unsafe { (chains(map), prefixes(map)) };
    let chains = chains.map(|(at, chains)| Shown {
        at,
        len: chains.index.len,
        uses: chains.uses,
    });
    chains.or_else(|| {
        prefixes.map(|(at, prefixes)| Shown {
            at,
            len: prefixes.index.len,
            uses: None,
        })
    })
}

/// Whether `map` is a store that takes its own copy of a key before it looks at it.
///
/// # Safety
///
/// `map` is a map.
pub(crate) unsafe fn reads_keys_once(map: *mut b::bpf_map) -> bool {
    // SAFETY: promised by the caller.
    ptr::eq(unsafe { (*map).ops }, &raw const b::bailey_trie_store_ops)
}

/// The kernel's operations for maps of this type, and ours in their place, if we
/// have such.
pub(super) fn for_type(map_type: u32) -> Option<(*const b::bpf_map_ops, *const b::bpf_map_ops)> {
    // SAFETY: written before anything reads them (`ksym::resolve`).
    unsafe {
        match map_type {
            b::bpf_map_type_BPF_MAP_TYPE_HASH => {
                Some((b::bailey_htab_map_ops, &raw const b::bailey_store_ops))
            }
            b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH => Some((
                b::bailey_htab_lru_map_ops,
                &raw const b::bailey_lru_store_ops,
            )),
            b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH => Some((
                b::bailey_htab_percpu_map_ops,
                &raw const b::bailey_per_cpu_store_ops,
            )),
            b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH => Some((
                b::bailey_htab_lru_percpu_map_ops,
                &raw const b::bailey_lru_per_cpu_store_ops,
            )),
            b::bpf_map_type_BPF_MAP_TYPE_LPM_TRIE if trie::is_known() => {
                Some((b::bailey_trie_map_ops, &raw const b::bailey_trie_store_ops))
            }
            _ => None,
        }
    }
}

/// The kernel's operations for `map`, which is one of the kernel's.
///
/// # Safety
///
/// `map` is a hash map.
unsafe fn kernels<'a>(map: *mut b::bpf_map) -> &'a b::bpf_map_ops {
    // SAFETY: promised by the caller; the tables are constants of the kernel.
    unsafe {
        match (*map).map_type {
            b::bpf_map_type_BPF_MAP_TYPE_LRU_HASH => &*b::bailey_htab_lru_map_ops,
            b::bpf_map_type_BPF_MAP_TYPE_PERCPU_HASH => &*b::bailey_htab_percpu_map_ops,
            b::bpf_map_type_BPF_MAP_TYPE_LRU_PERCPU_HASH => &*b::bailey_htab_lru_percpu_map_ops,
            _ => &*b::bailey_htab_map_ops,
        }
    }
}

/// Puts the tables together: the kernel's for hash maps, with our functions.
/// What they have of others (checks before a map is made, batches by single
/// elements, callbacks' arguments) fits us as it is.
pub(super) fn init() {
    trie::init();
    // SAFETY: the kernel's tables are found; ours are read by nobody yet.
    unsafe {
        b::bailey_store_ops = with_ours(*b::bailey_htab_map_ops);
        let mut ops = with_ours(*b::bailey_htab_lru_map_ops);
        ops.map_lookup_elem = Some(lookup_recent);
        ops.map_lookup_elem_sys_only = Some(lookup_unmarked);
        b::bailey_lru_store_ops = ops;
        let mut ops = with_ours(*b::bailey_htab_percpu_map_ops);
        ops.map_lookup_elem = Some(lookup_this_cpu);
        ops.map_lookup_percpu_elem = Some(lookup_per_cpu);
        b::bailey_per_cpu_store_ops = ops;
        let mut ops = with_ours(*b::bailey_htab_lru_percpu_map_ops);
        ops.map_lookup_elem = Some(lookup_this_cpu_recent);
        ops.map_lookup_percpu_elem = Some(lookup_per_cpu);
        b::bailey_lru_per_cpu_store_ops = ops;
        b::bailey_trie_store_ops = trie::with_ours(*b::bailey_trie_map_ops);
    }
}

fn with_ours(mut ops: b::bpf_map_ops) -> b::bpf_map_ops {
    ops.map_free = Some(free);
    ops.map_get_next_key = Some(get_next_key);
    ops.map_release_uref = None;
    ops.map_lookup_elem = Some(lookup);
    ops.map_lookup_and_delete_elem = Some(lookup_and_delete);
    ops.map_update_elem = Some(update);
    ops.map_delete_elem = Some(delete);
    ops.map_gen_lookup = None;
    ops.map_seq_show_elem = Some(seq::show_elem);
    ops.map_check_btf = None;
    ops.map_for_each_callback = Some(for_each);
    ops.map_mem_usage = Some(mem_usage);
    ops.map_lookup_batch = Some(batch::lookup);
    ops.map_lookup_and_delete_batch = Some(batch::lookup_and_delete);
    // SAFETY: found before (`ksym::resolve`).
    ops.map_btf_id = unsafe { b::bailey_btf_bpf_map_id };
    ops.iter_seq_info = &raw const seq::INFO.0;
    ops
}

/// Looks a key up in a map whose operations are to be `ours`; `uses`: it is one that forgets,
/// and the element has been used.
///
/// # Safety
///
/// Called with a hash map and a key of it, under RCU.
#[inline(always)]
unsafe fn look_up(
    map: *mut b::bpf_map,
    key: *mut c_void,
    ours: *const b::bpf_map_ops,
    uses: bool,
) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe {
        // One comparison: this is what programs call most.
        if !ptr::eq((*map).ops, ours) {
            return lookup_by_kernel(map, key);
        }
        let store = &*map.cast::<Store>();
        let Some(number) = store.find(key.cast()) else {
            return ptr::null_mut();
        };
        if uses {
            store.recent.mark(number);
        }
        store.value(number).cast()
    }
}

/// `map_lookup_elem`.
///
/// # Safety
///
/// Called by the kernel with a hash map and a key of it, under RCU.
unsafe extern "C" fn lookup(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { look_up(map, key, &raw const b::bailey_store_ops, false) }
}

/// `map_lookup_elem` of maps that forget: the element has been used.
///
/// # Safety
///
/// As of [`lookup`].
unsafe extern "C" fn lookup_recent(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { look_up(map, key, &raw const b::bailey_lru_store_ops, true) }
}

/// `map_lookup_elem` of maps with a value for each CPU.
///
/// # Safety
///
/// As of [`lookup`].
unsafe extern "C" fn lookup_this_cpu(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { look_up(map, key, &raw const b::bailey_per_cpu_store_ops, false) }
}

/// The same of those that forget.
///
/// # Safety
///
/// As of [`lookup`].
unsafe extern "C" fn lookup_this_cpu_recent(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe { look_up(map, key, &raw const b::bailey_lru_per_cpu_store_ops, true) }
}

/// `map_lookup_percpu_elem`: another CPU's value.
///
/// # Safety
///
/// As of [`lookup`].
unsafe extern "C" fn lookup_per_cpu(
    map: *mut b::bpf_map,
    key: *mut c_void,
    cpu: u32,
) -> *mut c_void {
    // SAFETY: promised by the caller; else the kernel's own, called as it would have been.
    unsafe {
        let Some(store) = Store::of(map) else {
            return match kernels(map).map_lookup_percpu_elem {
                Some(lookup) => lookup(map, key, cpu),
                None => ptr::null_mut(),
            };
        };
        if cpu >= cpus::count() {
            return ptr::null_mut();
        }
        let Some(number) = store.find(key.cast()) else {
            return ptr::null_mut();
        };
        if store.recent.is_kept() {
            store.recent.mark(number);
        }
        store.value_of(cpu, number).cast()
    }
}

/// A map of the kernel's that came to a program by way of a map of maps.
///
/// # Safety
///
/// As of [`lookup`].
#[cold]
unsafe fn lookup_by_kernel(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe {
        match kernels(map).map_lookup_elem {
            Some(lookup) => lookup(map, key),
            None => ptr::null_mut(),
        }
    }
}

/// `map_lookup_elem_sys_only` of maps that forget: user space looks, and the
/// element has not been used.
///
/// # Safety
///
/// Called by the kernel with a store and a key of it, under RCU.
unsafe extern "C" fn lookup_unmarked(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: promised by the caller.
    unsafe {
        let found = Store::of(map).and_then(|store| Some(store.value(store.find(key.cast())?)));
        found.map_or(ptr::null_mut(), <*mut u8>::cast)
    }
}

/// `map_update_elem`.
///
/// # Safety
///
/// Called by the kernel with a hash map, a key and a value of it.
unsafe extern "C" fn update(
    map: *mut b::bpf_map,
    key: *mut c_void,
    value: *mut c_void,
    flags: u64,
) -> c_long {
    // SAFETY: called with a hash map, a key and a value of it.
    unsafe {
        let Some(store) = Store::of(map) else {
            return match kernels(map).map_update_elem {
                Some(update) => update(map, key, value, flags),
                None => EINVAL.to_errno() as c_long,
            };
        };
        match store.update(key.cast(), value.cast(), flags) {
            Ok(()) => 0,
            Err(err) => err.to_errno() as c_long,
        }
    }
}

/// `map_delete_elem`.
///
/// # Safety
///
/// Called by the kernel with a hash map and a key of it.
unsafe extern "C" fn delete(map: *mut b::bpf_map, key: *mut c_void) -> c_long {
    // SAFETY: called with a hash map and a key of it.
    unsafe {
        let Some(store) = Store::of(map) else {
            return match kernels(map).map_delete_elem {
                Some(delete) => delete(map, key),
                None => EINVAL.to_errno() as c_long,
            };
        };
        match store.delete(key.cast(), None) {
            Ok(()) => 0,
            Err(err) => err.to_errno() as c_long,
        }
    }
}

/// `map_lookup_and_delete_elem`.
///
/// # Safety
///
/// Called by the kernel with a store, a key of it and room for a value.
unsafe extern "C" fn lookup_and_delete(
    map: *mut b::bpf_map,
    key: *mut c_void,
    value: *mut c_void,
    _flags: u64,
) -> c_int {
    // SAFETY: called by the kernel with a store, a key of it and room for a value. The flag for
    // a lock was refused before: there is none.
    let deleted = unsafe {
        Store::of(map)
            .ok_or(EINVAL)
            .and_then(|store| store.delete(key.cast(), NonNull::new(value.cast())))
    };
    deleted.map_or_else(|err| err.to_errno(), |()| 0)
}

/// `map_get_next_key`.
///
/// # Safety
///
/// Called by the kernel with a store, a key of it or null, and room for a key.
unsafe extern "C" fn get_next_key(
    map: *mut b::bpf_map,
    key: *mut c_void,
    next_key: *mut c_void,
) -> c_int {
    // SAFETY: called by the kernel with a store, a key of it or null, and room for a key.
    let next = unsafe { Store::of(map).and_then(|store| Some((store, store.next(key.cast())?))) };
    let Some((store, number)) = next else {
        return ENOENT.to_errno();
    };
    // SAFETY: as above.
    unsafe { copy(next_key.cast(), store.key(number), store.map.key_size) };
    0
}

/// `map_for_each_callback`.
///
/// # Safety
///
/// Called by the kernel with a hash map and a program's callback.
unsafe extern "C" fn for_each(
    map: *mut b::bpf_map,
    callback: b::bpf_callback_t,
    ctx: *mut c_void,
    flags: u64,
) -> c_long {
    // SAFETY: called with a hash map.
    let Some(store) = (unsafe { Store::of(map) }) else {
        // SAFETY: the kernel's own, as it would have been called.
        return unsafe {
            match kernels(map).map_for_each_callback {
                Some(for_each) => for_each(map, callback, ctx, flags),
                None => EINVAL.to_errno() as c_long,
            }
        };
    };
    let (Some(callback), 0) = (callback, flags) else {
        return EINVAL.to_errno() as c_long;
    };
    // A program stays on its CPU.
    let (table, row) = (store.table(), store.row(store.this()));
    let mut count = 0;
    for bucket in 0..table.bucket_count() {
        let _guard = rcu::read_lock();
        let mut at = table.first(bucket);
        while let Some(number) = at {
            // The callback may delete the element.
            at = table.next(number);
            count += 1;
            let (key, value) = (store.key(number), store.value_in(row, number));
            // SAFETY: a callback of a program's, called as the kernel calls it.
            let stop = unsafe { callback(map as u64, key as u64, value as u64, ctx as u64, 0) };
            if stop != 0 {
                return count;
            }
        }
    }
    count
}

/// `map_mem_usage`.
///
/// # Safety
///
/// Called by the kernel with a store.
unsafe extern "C" fn mem_usage(map: *const b::bpf_map) -> u64 {
    // SAFETY: called by the kernel with a store.
    unsafe { Store::of(map.cast_mut()) }.map_or(0, Store::usage)
}

/// `map_free`.
///
/// # Safety
///
/// Called by the kernel with a store that nobody uses any more.
unsafe extern "C" fn free(map: *mut b::bpf_map) {
    if let Some(store) = NonNull::new(map.cast::<Store>()) {
        // SAFETY: called by the kernel with a store that nobody uses any more.
        unsafe { Made::Hash(store).end() };
    }
}

/// When an update with these flags is to happen.
pub(super) fn when(flags: u64) -> Result<When> {
    Ok(match flags as u32 {
        _ if flags > u64::from(b::BPF_EXIST) => return Err(EINVAL),
        b::BPF_NOEXIST => When::New,
        b::BPF_EXIST => When::Old,
        _ => When::Any,
    })
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exists => EEXIST,
            Refusal::Missing => ENOENT,
            Refusal::Full => E2BIG,
            Refusal::Busy => EBUSY,
        }
    }
}

impl Store {
    /// # Safety
    ///
    /// `key` and `value` are readable for the map's sizes.
    unsafe fn update(&self, key: *const u8, value: *const u8, flags: u64) -> Result {
        let when = when(flags)?;
        if self.is_per_cpu() {
            // SAFETY: promised by the caller.
            return unsafe { self.amend(key, value, when, Whose::Cpu(self.this())) };
        }
        let table = self.table();
        // SAFETY: promised by the caller.
        let hash = unsafe { self.hash(key) };
        // SAFETY: promised by the caller.
        let is_it = |number| unsafe { self.is(number, key) };
        // SAFETY: the element is nobody else's, and has room for both.
        let fill = |number| unsafe {
            copy(self.key(number), key, self.map.key_size);
            copy(self.value(number), value, self.map.value_size);
        };
        if self.recent.is_kept() {
            return self.update_recent(hash, when, is_it, fill);
        }
        let locked = self.lock(table.bucket_of(hash))?;
        // SAFETY: reads the CPU's number; interrupts are off.
        let cpu = unsafe { b::bailey_cpu_number() } as usize;
        let updated = table.update(cpu, hash, when, is_it, fill);
        drop(locked);
        match updated {
            Ok(Updated::Added) => {
                self.count(1);
                Ok(())
            }
            Ok(Updated::Replaced) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// The same in a map that forgets, as `htab_lru_map_update_elem()`: the element
    /// comes first, since others may have to go for it.
    fn update_recent(
        &self,
        hash: u32,
        when: When,
        is_it: impl Fn(u32) -> bool,
        fill: impl FnOnce(u32),
    ) -> Result {
        let table = self.table();
        let number = self.recent.take(hash).ok_or(ENOMEM)?;
        self.count(1);
        let put = self.lock(table.bucket_of(hash)).and_then(|_locked| {
            let old = table.put(number, hash, when, is_it, fill)?;
            if old.is_some() {
                // It was there before: it is used.
                self.recent.mark(number);
            }
            Ok(old)
        });
        match put {
            Ok(old) => {
                if let Some(old) = old {
                    self.give(old);
                }
                Ok(())
            }
            Err(err) => {
                self.give(number);
                Err(err)
            }
        }
    }

    /// Deletes a key, and copies its value, or that of each CPU, to `value` before.
    ///
    /// # Safety
    ///
    /// `key` is readable for the map's `key_size` and `value` writable for what is copied.
    unsafe fn delete(&self, key: *const u8, value: Option<NonNull<u8>>) -> Result {
        let table = self.table();
        // SAFETY: promised by the caller.
        let hash = unsafe { self.hash(key) };
        let locked = self.lock(table.bucket_of(hash))?;
        // SAFETY: promised by the caller.
        let is_it = |number| unsafe { self.is(number, key) };
        let number = table.find(hash, is_it).ok_or(ENOENT)?;
        if let Some(value) = value {
            // SAFETY: promised by the caller.
            unsafe { self.read(number, value.as_ptr(), self.whole()) };
        }
        table.remove(hash, number);
        drop(locked);
        self.give(number);
        Ok(())
    }

    /// The element behind that of `key`; the first one if there is none or if
    /// `key` is null.
    ///
    /// # Safety
    ///
    /// `key` is null or readable for the map's `key_size`.
    unsafe fn next(&self, key: *const u8) -> Option<u32> {
        let table = self.table();
        let mut bucket = 0;
        if !key.is_null() {
            // SAFETY: promised by the caller.
            let hash = unsafe { self.hash(key) };
            // SAFETY: as above.
            if let Some(number) = table.find(hash, |number| unsafe { self.is(number, key) }) {
                if let Some(next) = table.next(number) {
                    return Some(next);
                }
                bucket = table.bucket_of(hash) + 1;
            }
        }
        (bucket..table.bucket_count()).find_map(|bucket| table.first(bucket))
    }
}
