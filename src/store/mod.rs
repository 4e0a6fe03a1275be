// SPDX-License-Identifier: GPL-2.0
//! Stores: hash maps and tries of our own behind the kernel's map operations.
//!
//! The kernel keeps chain, key and value of an element side by side
//! (kernel/bpf/hashtab.c, kernel/bpf/lpm_trie.c), so no domain can be shown its values. A store has
//! the values on pages of their own, one after another, and all that the
//! kernel trusts elsewhere: `struct bpf_map`, chains and free list
//! ([`crate::pure::store`]), and the keys.
//!
//! A hash map whose values hold no fields of the kernel's becomes a store when it
//! is created ([`create`]), with or without a limit by use ([`recent`]), with one value for
//! each key or one for each CPU ([`per_cpu`]); [`ops`] are
//! its operations. To the kernel it is a map of the type that was asked for with
//! another table of operations. A trie becomes one in the same way ([`trie`]).
//!
//! Each store, and each pattern of inner maps with our operations, holds a
//! reference to the module. The last thing that our code does for it is to
//! give that back; whoever is still in our text then leaves it without
//! sleeping, and the module's exit waits for that (`synchronize_rcu_tasks()`
//! in helpers/hook.c) before the text goes.
//!
//! Locks: a lock for each bucket, resilient as the kernel's, with interrupts
//! off; under it nothing but the table. It may be taken under a lock of the
//! kernel's lists ([`recent`]). The list of stores has a mutex, under which nothing
//! is taken.

mod batch;
mod create;
mod ops;
mod per_cpu;
mod recent;
mod seq;
mod trie;

pub(crate) use create::{for_each, patterns, wanted, Stores};
pub(crate) use ops::{chains, layout, prefixes, reads_keys_once, shown};

use crate::bindings as b;
use crate::hw::cpus;
use crate::pure::region::PAGE;
use crate::pure::rewrite::inline::Chains;
use crate::pure::store::hash::hash;
use crate::pure::store::uses::Uses;
use crate::pure::store::{Element, Index, Table};
use core::mem::size_of;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64};
use kernel::prelude::*;
use recent::Recent;
use trie::Trie;

/// More keys than this are left to the kernel.
const MOST: u64 = 1 << 26;

/// Maps whose elements come as they are needed (`BPF_F_NO_PREALLOC`), per CPU or not, are left to
/// the kernel if they would take more bytes than this: they have everything from the
/// start. A page that a domain is to see must be mapped there before, and neither
/// whole pages nor a mapping is to be had where programs add elements. Who asks for a
/// large map like that may expect it to be sparse, so the limit is the user's.
pub(crate) fn most_unasked() -> u64 {
    // SAFETY: an int, read whole.
    u64::from(unsafe { (&raw const b::bailey_no_prealloc_mib).read_volatile() }) << 20
}

/// A store, in the kernel's eyes a `struct bpf_map`. What pointers point to is
/// its own, zeroed when allocated, and stays where it is while it lives.
#[repr(C)]
pub(crate) struct Store {
    /// First, as the kernel's pointers are to it.
    map: b::bpf_map,
    /// Keys, elements and buckets, which lie as this says, on whole pages.
    index: Index,
    buckets: *mut AtomicU64,
    bucket_count: u32,
    element_count: u32,
    elements: *mut Element<AtomicU32>,
    keys: *mut u8,
    key_stride: u32,
    value_stride: u32,
    /// If each CPU has a row of values: bytes from one to the next. Else 0.
    each: u64,
    values: *mut u8,
    seed: u32,
    spare_count: u32,
    spares: *mut AtomicU32,
    locks: *mut b::bailey_bucket_lock_t,
    free: AtomicU64,
    recent: Recent,
}

/// Zeroed memory, charged as a map's.
fn area(bytes: u64, node: c_int) -> Result<NonNull<c_void>> {
    // SAFETY: process context.
    NonNull::new(unsafe { b::bailey_k_bpf_map_area_alloc(bytes, node) }).ok_or(ENOMEM)
}

/// The word of a key of `size` bytes at `key`, filled up with zeroes.
///
/// # Safety
///
/// `key` is readable for `size` bytes, of which `4 * at` is one.
#[inline(always)]
unsafe fn key_word(key: *const u8, size: u32, at: u32) -> u32 {
    let left = size - 4 * at;
    // SAFETY: at least one byte is there, by this function's contract.
    let from = unsafe { key.add(4 * at as usize) };
    if left >= 4 {
        // SAFETY: four bytes are there.
        return unsafe { from.cast::<u32>().read_unaligned() };
    }
    let mut word = 0;
    for n in 0..left {
        // SAFETY: `left` bytes are there.
        word |= u32::from(unsafe { from.add(n as usize).read() }) << (8 * n);
    }
    word
}

/// Copies bytes that others may write at the same time.
///
/// # Safety
///
/// `from` is readable and `to` writable for `len` bytes.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, len: u32) {
    let len = len as usize;
    let mut at = 0;
    while len - at >= 8 {
        // SAFETY: eight bytes are there on both sides.
        unsafe {
            let word = from.add(at).cast::<u64>().read_unaligned();
            to.add(at).cast::<u64>().write_unaligned(word);
        }
        at += 8;
    }
    // At once, too: a look-up that others do meanwhile compares a key of four bytes at once.
    if len - at >= 4 {
        // SAFETY: four bytes are there on both sides.
        unsafe {
            let word = from.add(at).cast::<u32>().read_unaligned();
            to.add(at).cast::<u32>().write_unaligned(word);
        }
        at += 4;
    }
    while at < len {
        // SAFETY: a byte is there on both sides.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        at += 1;
    }
}

/// A lock of a bucket's or a trie's, held: interrupts are off.
struct Locked {
    lock: *mut b::bailey_bucket_lock_t,
    flags: usize,
}

impl Locked {
    /// Takes a lock. Fails where waiting would be for ever.
    ///
    /// # Safety
    ///
    /// `lock` is a lock, and stays one while the result is there.
    unsafe fn take(lock: *mut b::bailey_bucket_lock_t) -> Result<Self> {
        let mut flags = 0;
        // SAFETY: promised by the caller.
        match unsafe { b::bailey_bucket_lock(lock, &mut flags) } {
            0 => Ok(Self { lock, flags }),
            err => Err(Error::from_errno(err)),
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // SAFETY: taken by `take`, on this CPU.
        unsafe { b::bailey_bucket_unlock(self.lock, self.flags) };
    }
}

impl Store {
    /// The store that `map` is, if it is one and a hash map.
    ///
    /// # Safety
    ///
    /// `map` is a map, and stays one while the result is used.
    #[inline(always)]
    unsafe fn of<'a>(map: *mut b::bpf_map) -> Option<&'a Self> {
        // SAFETY: promised by the caller; a map with these operations was made by
        // `create` as a store, but for patterns of inner maps, which no operation gets.
        unsafe { ops::are_of_hash((*map).ops).then(|| &*map.cast::<Self>()) }
    }

    /// Where its values are.
    fn layout(&self) -> b::bailey_values {
        b::bailey_values {
            start: self.values as u64,
            len: match self.each {
                0 => u64::from(self.element_count) * u64::from(self.value_stride),
                each => u64::from(cpus::count()) * each,
            },
            stride: self.value_stride.into(),
            writable: u32::from(self.map.map_flags & b::BPF_F_RDONLY_PROG == 0),
            pad: 0,
        }
    }

    /// How it lies behind the values what was used, if the map forgets.
    fn uses(&self) -> Uses {
        Uses::new(self.layout().len, self.element_count)
    }

    /// Bytes of the values, and what is behind them.
    fn values_len(&self, forgets: bool) -> u64 {
        if forgets {
            self.uses().end
        } else {
            self.layout().len
        }
    }

    /// Where keys, elements and buckets are, and how a program of a domain that can read
    /// them looks a key up; the domain's addresses are left 0. `None` where it has to be
    /// the kernel that looks: the keys are long, or it has to be noted what was used and programs
    /// may not write there.
    fn chains(&self) -> Option<(u64, Chains)> {
        let chains = Chains {
            index: self.index,
            value_stride: self.value_stride,
            each: self.each,
            key_size: self.map.key_size,
            key_stride: self.key_stride,
            elements: self.element_count,
            buckets: self.bucket_count,
            seed: self.seed,
            uses: self.recent.is_kept().then(|| self.uses()),
            ..Chains::default()
        };
        let may_note = chains.uses.is_none() || self.layout().writable != 0;
        (chains.fits() && may_note).then_some((self.keys as u64, chains))
    }

    fn as_map(&self) -> *mut b::bpf_map {
        (&raw const self.map).cast_mut()
    }

    #[inline(always)]
    fn table(&self) -> Table<'_, AtomicU32, AtomicU64> {
        // SAFETY: each area was allocated for so many; all are atomics, so
        // shared references are fine while others use them.
        unsafe {
            Table::new(
                slice::from_raw_parts(self.buckets, self.bucket_count as usize),
                slice::from_raw_parts(self.elements, self.element_count as usize),
                slice::from_raw_parts(self.spares, self.spare_count as usize),
                &self.free,
            )
        }
    }

    fn key(&self, number: u32) -> *mut u8 {
        self.keys
            .wrapping_add(number as usize * self.key_stride as usize)
    }

    /// The value of element `number`, or this CPU's.
    #[inline(always)]
    fn value(&self, number: u32) -> *mut u8 {
        self.value_of(self.this(), number)
    }

    /// That of CPU `cpu`, which is one that may come, or 0 if there is but one value.
    #[inline(always)]
    fn value_of(&self, cpu: u32, number: u32) -> *mut u8 {
        self.value_in(self.row(cpu), number)
    }

    /// Where the values of CPU `cpu` begin.
    #[inline(always)]
    fn row(&self, cpu: u32) -> *mut u8 {
        self.values.wrapping_add(cpu as usize * self.each as usize)
    }

    /// The value of element `number` in a [`row`](Self::row).
    #[inline(always)]
    fn value_in(&self, row: *mut u8, number: u32) -> *mut u8 {
        row.wrapping_add(number as usize * self.value_stride as usize)
    }

    /// # Safety
    ///
    /// `key` is readable for the map's `key_size`.
    #[inline(always)]
    unsafe fn hash(&self, key: *const u8) -> u32 {
        let size = self.map.key_size;
        // SAFETY: only words of which a byte is within `size` are asked for.
        hash(size.div_ceil(4), self.seed, |at| unsafe {
            key_word(key, size, at)
        })
    }

    /// Whether `number` has this key.
    ///
    /// # Safety
    ///
    /// As of [`Store::hash`].
    #[inline(always)]
    unsafe fn is(&self, number: u32, key: *const u8) -> bool {
        let size = self.map.key_size;
        let own = self.key(number);
        // SAFETY: as there; the element's key has room for `size` bytes.
        let same = |at| unsafe { key_word(key, size, at) == key_word(own, size, at) };
        (0..size.div_ceil(4)).all(same)
    }

    /// The element of a key.
    ///
    /// # Safety
    ///
    /// As of [`Store::hash`].
    #[inline(always)]
    unsafe fn find(&self, key: *const u8) -> Option<u32> {
        let table = self.table();
        // The usual sizes are read once and compared in a register.
        // SAFETY: promised by the caller; an element's key has room for as much.
        unsafe {
            match self.map.key_size {
                4 => {
                    let key = key.cast::<u32>().read_unaligned();
                    table.find(hash(1, self.seed, |_| key), |number| {
                        self.key(number).cast::<u32>().read_unaligned() == key
                    })
                }
                8 => {
                    let key = key.cast::<u64>().read_unaligned();
                    let word = |at: u32| (key >> (32 * at)) as u32;
                    table.find(hash(2, self.seed, word), |number| {
                        self.key(number).cast::<u64>().read_unaligned() == key
                    })
                }
                _ => table.find(self.hash(key), |number| self.is(number, key)),
            }
        }
    }

    /// Takes the lock of a bucket. Fails where waiting would be for ever.
    fn lock(&self, bucket: u32) -> Result<Locked> {
        // SAFETY: there is a lock for each bucket.
        unsafe { Locked::take(self.locks.wrapping_add(bucket as usize)) }
    }

    /// Gives an element back that a key had.
    fn give(&self, number: u32) {
        self.count(-1);
        if self.recent.is_kept() {
            self.recent.give(number);
        } else {
            self.table().give(number);
        }
    }

    /// Adds to the count of keys.
    fn count(&self, n: i32) {
        // SAFETY: the count lives as long as the map.
        unsafe { b::bailey_store_count_add(self.as_map(), n) };
    }

    /// Bytes that are its own.
    fn usage(&self) -> u64 {
        let elements = u64::from(self.element_count);
        size_of::<Self>() as u64
            + self.index.len.next_multiple_of(PAGE)
            + u64::from(self.bucket_count) * size_of::<b::bailey_bucket_lock_t>() as u64
            + self
                .values_len(self.recent.is_kept())
                .next_multiple_of(PAGE)
            + u64::from(self.spare_count) * size_of::<AtomicU32>() as u64
            + self.recent.usage(elements)
    }

    /// Whether a map that is to be as `create` says becomes a store.
    fn suits(create: &b::bpf_attr__bindgen_ty_1) -> bool {
        let keys = u64::from(create.max_entries);
        let rounded = |size: u32| u64::from(size).next_multiple_of(8);
        let values = match per_cpu::is_type(create.map_type) {
            true => cpus::possible().count() as u64,
            false => 1,
        };
        let each = (size_of::<Element<AtomicU32>>() + size_of::<AtomicU64>()) as u64
            + rounded(create.key_size)
            + values * rounded(create.value_size);
        ops::for_type(create.map_type).is_some()
            && keys <= MOST
            && (create.map_flags & b::BPF_F_NO_PREALLOC == 0 || keys * each <= most_unasked())
    }

    /// A store for a map that is to be as `attr` says.
    ///
    /// # Safety
    ///
    /// `attr` is a map's creation that `htab_map_alloc_check()` has passed.
    unsafe fn create(attr: *mut b::bpf_attr) -> Result<NonNull<Self>> {
        // SAFETY: of the union's members this is the one that is filled.
        let create = unsafe { (*attr).__bindgen_anon_1 };
        let forgets = recent::is_type(create.map_type);
        let per_cpu = per_cpu::is_type(create.map_type);
        let apart = create.map_flags & b::BPF_F_NO_COMMON_LRU != 0;
        // A map that forgets needs no element to replace another with: there is always one. The
        // values of each CPU are written where they are.
        let spares = if forgets || per_cpu { 0 } else { cpus::count() };
        let mut keys = u64::from(create.max_entries);
        if apart {
            // As many for each CPU, and one at least.
            keys = keys.next_multiple_of((cpus::possible().count() as u64).max(1));
        }
        let elements = keys + u64::from(spares);
        let buckets = keys.next_power_of_two();
        let store: NonNull<Self> = area(size_of::<Self>() as u64, b::NUMA_NO_NODE)?.cast();
        let free_all = Unfinished(Made::Hash(store));
        // SAFETY: fresh, zeroed, and nobody else's.
        let this = unsafe { &mut *store.as_ptr() };
        // SAFETY: the map is this store's; `attr` is as the kernel passed it.
        unsafe { b::bailey_k_bpf_map_init_from_attr(&mut this.map, attr) };
        // Until our operations are in place the kernel's look at the flag, and at what is theirs.
        this.map.map_flags &= !b::BPF_F_NO_PREALLOC;
        let node = this.map.numa_node;
        this.bucket_count = buckets as u32;
        this.element_count = elements as u32;
        this.spare_count = spares;
        this.map.max_entries = keys as u32;
        this.key_stride = create.key_size.next_multiple_of(8);
        this.value_stride = create.value_size.next_multiple_of(8);
        if per_cpu {
            this.each = per_cpu::row_len(elements, this.value_stride);
        }
        this.index = Index::new(elements, this.key_stride, buckets).ok_or(E2BIG)?;
        let bytes = this.index.len.next_multiple_of(PAGE);
        // SAFETY: process context; whole pages.
        this.keys = unsafe { b::bailey_k_bpf_map_area_mmapable_alloc(bytes, node) }.cast();
        if this.keys.is_null() {
            return Err(ENOMEM);
        }
        let within = |at: u64| this.keys.wrapping_add(at as usize);
        (this.elements, this.buckets) = (
            within(this.index.elements).cast(),
            within(this.index.buckets).cast(),
        );
        this.locks = area(buckets * size_of::<b::bailey_bucket_lock_t>() as u64, node)?
            .as_ptr()
            .cast();
        this.spares = area(
            u64::from(spares.max(1)) * size_of::<AtomicU32>() as u64,
            node,
        )?
        .as_ptr()
        .cast();
        let bytes = this.values_len(forgets).next_multiple_of(PAGE);
        // SAFETY: process context; whole pages.
        this.values = unsafe { b::bailey_k_bpf_map_area_mmapable_alloc(bytes, node) }.cast();
        if this.values.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: the map is this store's.
        kernel::error::to_result(unsafe { b::bailey_store_count_init(&mut this.map) })?;
        if create.map_flags & b::BPF_F_ZERO_SEED == 0 {
            // SAFETY: any context.
            this.seed = unsafe { b::get_random_u32() };
        }
        if !this.table().init() {
            return Err(EINVAL);
        }
        if forgets {
            this.keep_recent(apart)?;
        }
        core::mem::forget(free_all);
        Ok(store)
    }

    /// Frees what `create` has allocated, as far as it came.
    ///
    /// # Safety
    ///
    /// Nobody uses the store.
    unsafe fn free(store: NonNull<Self>) {
        // SAFETY: nobody else uses it. Null is fine for each of these.
        unsafe {
            let this = store.as_ref();
            this.end_recent();
            b::bailey_store_count_free(this.as_map());
            b::bailey_area_free(this.values.cast());
            b::bailey_area_free(this.keys.cast());
            b::bailey_area_free(this.spares.cast());
            b::bailey_area_free(this.locks.cast());
            b::bailey_area_free(store.as_ptr().cast());
        }
    }
}

/// A store that was made, of either kind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// A hash map.
    Hash(NonNull<Store>),
    /// A trie.
    Trie(NonNull<Trie>),
}

impl Made {
    /// The store as the kernel sees it.
    fn map(self) -> *mut b::bpf_map {
        match self {
            Self::Hash(store) => store.as_ptr().cast(),
            // SAFETY: whoever has it keeps it from being freed.
            Self::Trie(trie) => unsafe { trie.as_ref() }.map(),
        }
    }

    /// Bytes that are its own.
    ///
    /// # Safety
    ///
    /// It is there.
    unsafe fn usage(self) -> u64 {
        // SAFETY: promised by the caller.
        unsafe {
            match self {
                Self::Hash(store) => store.as_ref().usage(),
                Self::Trie(trie) => trie.as_ref().usage(),
            }
        }
    }

    /// Frees it.
    ///
    /// # Safety
    ///
    /// Nobody uses the store; process context.
    unsafe fn free(self) {
        // SAFETY: promised by the caller.
        unsafe {
            match self {
                Self::Hash(store) => Store::free(store),
                Self::Trie(trie) => Trie::free(trie),
            }
        }
    }

    /// Frees it and gives its reference to the module back. Nothing of ours is used
    /// after that but the way out of our text.
    ///
    /// # Safety
    ///
    /// As of [`Made::free`].
    unsafe fn end(self) {
        create::forget(self);
        // SAFETY: promised by the caller; the reference was taken when the store was made.
        unsafe {
            self.free();
            b::bailey_module_drop();
        }
    }
}

/// A store that is being made; dropped, it is freed.
struct Unfinished(Made);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // SAFETY: nobody knows it yet.
        unsafe { self.0.free() };
    }
}
