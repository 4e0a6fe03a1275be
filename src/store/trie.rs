// SPDX-License-Identifier: GPL-2.0
//! A trie of prefixes (`BPF_MAP_TYPE_LPM_TRIE`) as a store, with the meaning of
//! kernel/bpf/lpm_trie.c: shape and order are the kernel's ([`crate::pure::store::trie`]),
//! one lock is for all updates, look-ups take none.
//!
//! The kernel allocates a node for each update and uses none again before every
//! reader has gone on. A store has its nodes from the start: as many as there can be,
//! and some that are always free, of which the one that was given back first is taken
//! first. A look-up meets no node that was used again, or begins again. Who keeps the
//! address of a value may see another prefix's there, as in a hash map of the
//! kernel's, once as many updates have come between as nodes are always free.
//!
//! A key is copied before it is looked at, since others may write to it.
//!
//! State, nodes and words lie on pages of their own, and where programs look up by
//! themselves ([`Trie::prefixes`]) a domain can read them: all that it cannot do is write.
//!
//! The kernel's `struct lpm_trie` is there as well, since its making cannot be hooked.
//! It stays empty: its operations are never called, and where it has its root it leads
//! to the store.

use super::{area, copy, create, ops, Locked, Made, Unfinished, MOST};
use crate::bindings as b;
use crate::btf;
use crate::pure::region::PAGE;
use crate::pure::rewrite::inline::Prefixes;
use crate::pure::store::trie::{self as pure, Index, Key, Node, Refusal, Shape, State, WIDEST};
use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicU64};
use kernel::prelude::*;
use kernel::sync::SetOnce;

/// Where the bits of a key begin, behind their number.
const DATA: u32 = offset_of!(b::bpf_lpm_trie_key_u8, data) as u32;
const _: () = assert!(DATA as usize == size_of::<u32>());

/// Small tries have as many nodes free as fit in this, up to `SPARE`; large ones as
/// many as they have prefixes, up to `SPARE_MOST`.
const SPARE_BYTES: u64 = 128 << 10;
const SPARE: u64 = 1024;
const SPARE_MOST: u64 = 4096;

/// The store of a trie. What pointers point to is its own, zeroed when allocated, and
/// stays where it is while it lives; the map lives longer.
#[repr(C)]
pub(super) struct Trie {
    map: *mut b::bpf_map,
    key_size: u32,
    value_size: u32,
    shape: Shape,
    value_stride: u32,
    /// How the next three lie on whole pages, which a domain may read.
    index: Index,
    state: *mut State<AtomicU32, AtomicU64>,
    nodes: *mut Node<AtomicU32>,
    /// Of each node the bits of its key.
    words: *mut AtomicU64,
    /// Of each node that may hold a prefix.
    values: *mut u8,
    lock: UnsafeCell<b::bailey_bucket_lock_t>,
}

/// Runs `$body` with a copy of the key at `$at`, in as many words as it takes.
macro_rules! with_key {
    ($trie:expr, $at:expr, $key:ident => $body:expr) => {
        match $trie.shape.width() {
            1 => {
                let $key = $trie.key_at::<1>($at);
                $body
            }
            2 => {
                let $key = $trie.key_at::<2>($at);
                $body
            }
            _ => {
                let $key = $trie.key_at::<WIDEST>($at);
                $body
            }
        }
    };
}

/// The bits of up to eight bytes, the first one's highest first, filled up with zeroes.
///
/// # Safety
///
/// `from` is readable for `left` bytes.
#[inline(always)]
unsafe fn bits(from: *const u8, left: u32) -> u64 {
    // SAFETY: promised by the caller; no more is read than is there.
    unsafe {
        if left >= 8 {
            return u64::from_be(from.cast::<u64>().read_unaligned());
        }
        let (mut bits, mut at) = (0, 0);
        if left >= 4 {
            bits = u64::from(u32::from_be(from.cast::<u32>().read_unaligned())) << 32;
            at = 4;
        }
        while at < left {
            bits |= u64::from(from.add(at as usize).read_volatile()) << (56 - 8 * at);
            at += 1;
        }
        bits
    }
}

impl Trie {
    /// The trie that `map` is, if it is a store.
    ///
    /// # Safety
    ///
    /// `map` is a map, and stays one while the result is used.
    #[inline(always)]
    pub(super) unsafe fn of<'a>(map: *mut b::bpf_map) -> Option<&'a Self> {
        // SAFETY: promised by the caller; `create` gave these operations to a map with a store
        // that lives as long, but for patterns of inner maps, which no operation gets.
        unsafe { ptr::eq((*map).ops, &raw const b::bailey_trie_store_ops).then(|| &**root(map)) }
    }

    /// The map that it is behind.
    pub(super) fn map(&self) -> *mut b::bpf_map {
        self.map
    }

    /// Where its values are.
    pub(super) fn layout(&self) -> b::bailey_values {
        b::bailey_values {
            start: self.values as u64,
            len: u64::from(self.shape.real()) * u64::from(self.value_stride),
            stride: self.value_stride.into(),
            // SAFETY: the map is there as long as the store, and its flags stay.
            writable: u32::from(unsafe { (*self.map).map_flags } & b::BPF_F_RDONLY_PROG == 0),
            pad: 0,
        }
    }

    /// Where its index is, and how a program of a domain that can read it looks a key up; the
    /// domain's addresses are left 0. `None` if its keys are of a size that only a helper looks
    /// up.
    pub(super) fn prefixes(&self) -> Option<(u64, Prefixes)> {
        let prefixes = Prefixes {
            index: self.index,
            shape: self.shape,
            value_stride: self.value_stride,
            ..Prefixes::default()
        };
        prefixes.fits().then_some((self.state as u64, prefixes))
    }

    #[inline(always)]
    fn trie(&self) -> pure::Trie<'_, AtomicU32, AtomicU64> {
        let nodes = self.shape.nodes() as usize;
        // SAFETY: each area was allocated for so many; all are atomics, so shared references
        // are fine while others use them.
        unsafe {
            pure::Trie::new(
                self.shape,
                slice::from_raw_parts(self.nodes, nodes),
                slice::from_raw_parts(self.words, nodes * self.shape.width()),
                &*self.state,
            )
        }
    }

    fn value(&self, number: u32) -> *mut u8 {
        self.values
            .wrapping_add(number as usize * self.value_stride as usize)
    }

    /// A copy of the key at `key`, in words of which it takes all or less.
    ///
    /// # Safety
    ///
    /// `key` is readable for the map's `key_size`.
    #[inline(always)]
    unsafe fn key_at<const N: usize>(&self, key: *const u8) -> Key<N> {
        let size = self.key_size - DATA;
        let mut words = [0; N];
        let mut at = 0;
        for word in &mut words {
            if at >= size {
                break;
            }
            // SAFETY: so many bytes are left of it.
            *word = unsafe { bits(key.add((DATA + at) as usize), size - at) };
            at += 8;
        }
        // SAFETY: its length is in front.
        let len = unsafe { key.cast::<u32>().read_unaligned() };
        Key { len, words }
    }

    /// Writes `key` as the map's keys are.
    ///
    /// # Safety
    ///
    /// `to` is writable for the map's `key_size`.
    unsafe fn put_key<const N: usize>(&self, key: &Key<N>, to: *mut u8) {
        // SAFETY: promised by the caller.
        unsafe { to.cast::<u32>().write_unaligned(key.len) };
        let bytes = key.words.iter().flat_map(|word| word.to_be_bytes());
        for (at, byte) in (DATA..self.key_size).zip(bytes) {
            // SAFETY: promised by the caller.
            unsafe { to.add(at as usize).write(byte) };
        }
    }

    /// The node of the longest prefix of a key.
    ///
    /// # Safety
    ///
    /// As of [`Trie::key_at`].
    #[inline(always)]
    unsafe fn find(&self, key: *const u8) -> Option<u32> {
        // SAFETY: promised by the caller.
        unsafe {
            match self.shape.width() {
                1 => self.trie().find(&self.key_at::<1>(key)),
                2 => self.trie().find(&self.key_at::<2>(key)),
                _ => self.find_wide(key),
            }
        }
    }

    /// # Safety
    ///
    /// As of [`Trie::key_at`].
    #[inline(never)]
    unsafe fn find_wide(&self, key: *const u8) -> Option<u32> {
        // SAFETY: promised by the caller.
        self.trie().find(&unsafe { self.key_at::<WIDEST>(key) })
    }

    /// # Safety
    ///
    /// `key` and `value` are readable for the map's sizes.
    unsafe fn update(&self, key: *const u8, value: *const u8, flags: u64) -> Result {
        let when = ops::when(flags)?;
        // SAFETY: promised by the caller; the node is nobody else's, and has room for the value.
        let fill = |number| unsafe { copy(self.value(number), value, self.value_size) };
        // SAFETY: promised by the caller; the lock is the trie's.
        unsafe {
            with_key!(self, key, key => {
                if key.len > self.shape.bits {
                    return Err(EINVAL);
                }
                let _locked = Locked::take(self.lock.get())?;
                self.trie().update(&key, when, fill)?;
            });
        }
        Ok(())
    }

    /// # Safety
    ///
    /// As of [`Trie::key_at`].
    unsafe fn delete(&self, key: *const u8) -> Result {
        // SAFETY: promised by the caller; the lock is the trie's.
        unsafe {
            with_key!(self, key, key => {
                if key.len > self.shape.bits {
                    return Err(EINVAL);
                }
                let _locked = Locked::take(self.lock.get())?;
                self.trie().remove(&key)?;
            });
        }
        Ok(())
    }

    /// Writes the key behind `key`, or the first one if that is null.
    ///
    /// # Safety
    ///
    /// `key` is null or readable, and `next` writable, for the map's `key_size`.
    unsafe fn next(&self, key: *const u8, next: *mut u8) -> Result {
        // SAFETY: promised by the caller.
        unsafe {
            if key.is_null() {
                let first = self.trie().next::<WIDEST>(None).ok_or(ENOENT)?;
                self.put_key(&first, next);
            } else {
                with_key!(self, key, key => {
                    let behind = self.trie().next(Some(&key)).ok_or(ENOENT)?;
                    self.put_key(&behind, next);
                });
            }
        }
        Ok(())
    }

    /// Bytes that are its own.
    pub(super) fn usage(&self) -> u64 {
        size_of::<Self>() as u64 + bytes(self.shape, self.value_stride).unwrap_or_default()
    }

    /// Whether `map` is a trie of the kernel's that becomes a store.
    ///
    /// # Safety
    ///
    /// `map` is a map.
    pub(super) unsafe fn suits(map: *mut b::bpf_map) -> bool {
        // SAFETY: promised by the caller.
        unsafe {
            ptr::eq((*map).ops, b::bailey_trie_map_ops) && is_known() && shape(&*map).is_some()
        }
    }

    /// A store for a trie of the kernel's.
    ///
    /// # Safety
    ///
    /// `map` is a trie of the kernel's that nobody else knows yet.
    pub(super) unsafe fn create(map: *mut b::bpf_map) -> Result<NonNull<Self>> {
        // SAFETY: promised by the caller.
        let of = unsafe { &*map };
        let shape = shape(of).ok_or(EINVAL)?;
        let trie: NonNull<Self> = area(size_of::<Self>() as u64, b::NUMA_NO_NODE)?.cast();
        let free_all = Unfinished(Made::Trie(trie));
        // SAFETY: fresh, zeroed, and nobody else's.
        let this = unsafe { &mut *trie.as_ptr() };
        let node = of.numa_node;
        this.map = map;
        this.key_size = of.key_size;
        this.value_size = of.value_size;
        this.value_stride = of.value_size.next_multiple_of(8);
        this.shape = shape;
        this.index = Index::new(&shape).ok_or(E2BIG)?;
        let bytes = this.index.len.next_multiple_of(PAGE);
        // SAFETY: process context; whole pages.
        let index = unsafe { b::bailey_k_bpf_map_area_mmapable_alloc(bytes, node) };
        if index.is_null() {
            return Err(ENOMEM);
        }
        let within = |at: u64| index.cast::<u8>().wrapping_add(at as usize);
        this.state = index.cast();
        this.nodes = within(this.index.nodes).cast();
        this.words = within(this.index.words).cast();
        let bytes = this.layout().len.next_multiple_of(PAGE);
        // SAFETY: process context; whole pages.
        this.values = unsafe { b::bailey_k_bpf_map_area_mmapable_alloc(bytes, node) }.cast();
        if this.values.is_null() {
            return Err(ENOMEM);
        }
        if !this.trie().init() {
            return Err(EINVAL);
        }
        core::mem::forget(free_all);
        Ok(trie)
    }

    /// Makes the map's operations those of its store.
    ///
    /// # Safety
    ///
    /// Nobody else knows the map yet.
    pub(super) unsafe fn take_over(trie: NonNull<Self>) {
        // SAFETY: promised by the caller; the kernel's trie is empty.
        unsafe {
            let map = trie.as_ref().map;
            *root(map) = trie.as_ptr();
            (*map).ops = &raw const b::bailey_trie_store_ops;
        }
    }

    /// Frees what `create` has allocated, as far as it came.
    ///
    /// # Safety
    ///
    /// Nobody uses the trie.
    pub(super) unsafe fn free(trie: NonNull<Self>) {
        // SAFETY: nobody else uses it. Null is fine for each of these.
        unsafe {
            let this = trie.as_ref();
            b::bailey_area_free(this.values.cast());
            b::bailey_area_free(this.state.cast());
            b::bailey_area_free(trie.as_ptr().cast());
        }
    }
}

/// Where the kernel's `struct lpm_trie` has its root, right behind the map.
fn root(map: *mut b::bpf_map) -> *mut *mut Trie {
    map.wrapping_add(1).cast()
}

/// Set if the kernel's BTF says so, too. Else tries stay the kernel's.
static KNOWN: SetOnce<()> = SetOnce::new();

/// Whether tries become stores.
pub(super) fn is_known() -> bool {
    KNOWN.as_ref().is_some()
}

/// Looks where the kernel has its root.
pub(super) fn init() {
    if btf::member_at(c"lpm_trie", c"root") == Some(size_of::<b::bpf_map>()) {
        KNOWN.populate(());
    } else {
        pr_info!("values of tries stay the kernel's: it keeps them elsewhere\n");
    }
}

/// Bytes of a trie's areas, which are whole pages. `None` if nobody can count them.
fn bytes(shape: Shape, value_stride: u32) -> Option<u64> {
    let index = Index::new(&shape)?.len.checked_next_multiple_of(PAGE)?;
    let values = u64::from(shape.real()) * u64::from(value_stride);
    index.checked_add(values.checked_next_multiple_of(PAGE)?)
}

/// How large a store's trie is for `map`. `None` if it would take too much: as of a hash
/// map whose elements come as they are needed.
fn shape(map: &b::bpf_map) -> Option<Shape> {
    let bits = map.key_size.checked_sub(DATA)?.checked_mul(8)?;
    let value_stride = map.value_size.checked_next_multiple_of(8)?;
    let most = u64::from(map.max_entries);
    if most > MOST || bits.div_ceil(64) as usize > WIDEST {
        return None;
    }
    // With an inner node.
    let own = size_of::<Node<AtomicU32>>() + bits.div_ceil(64) as usize * size_of::<AtomicU64>();
    let each = 2 * own as u64 + u64::from(value_stride);
    let least = (SPARE_BYTES / each).clamp(2, SPARE);
    let shape = Shape {
        most: most as u32,
        spare: most.clamp(least, SPARE_MOST) as u32,
        bits,
    };
    (bytes(shape, value_stride)? <= super::most_unasked()).then_some(shape)
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Long => EINVAL,
            Refusal::Exists => EEXIST,
            Refusal::Missing => ENOENT,
            Refusal::Full => ENOSPC,
            Refusal::Empty => ENOMEM,
        }
    }
}

/// The kernel's table for tries, with our functions. Batches go by single elements;
/// what looks at a map's types before it is made fits us as it is.
pub(super) fn with_ours(mut ops: b::bpf_map_ops) -> b::bpf_map_ops {
    ops.map_free = Some(free);
    ops.map_get_next_key = Some(get_next_key);
    ops.map_lookup_elem = Some(lookup);
    ops.map_update_elem = Some(update);
    ops.map_delete_elem = Some(delete);
    ops.map_mem_usage = Some(mem_usage);
    // SAFETY: found before (`ksym::resolve`).
    ops.map_btf_id = unsafe { b::bailey_btf_bpf_map_id };
    ops
}

/// The kernel's operations, for a trie of the kernel's that came to a program by way of
/// a map of maps.
fn kernels() -> &'static b::bpf_map_ops {
    // SAFETY: written before anything reads it (`ksym::resolve`); the table is a constant of
    // the kernel.
    unsafe { &*b::bailey_trie_map_ops }
}

/// `map_lookup_elem`.
///
/// # Safety
///
/// Called by the kernel with a trie and a key of it, under RCU.
unsafe extern "C" fn lookup(map: *mut b::bpf_map, key: *mut c_void) -> *mut c_void {
    // SAFETY: called with a trie and a key of it.
    unsafe {
        let Some(trie) = Trie::of(map) else {
            return match kernels().map_lookup_elem {
                Some(lookup) => lookup(map, key),
                None => ptr::null_mut(),
            };
        };
        match trie.find(key.cast()) {
            Some(number) => trie.value(number).cast(),
            None => ptr::null_mut(),
        }
    }
}

/// `map_update_elem`.
///
/// # Safety
///
/// Called by the kernel with a trie, a key and a value of it.
unsafe extern "C" fn update(
    map: *mut b::bpf_map,
    key: *mut c_void,
    value: *mut c_void,
    flags: u64,
) -> c_long {
    // SAFETY: called with a trie, a key and a value of it.
    unsafe {
        let Some(trie) = Trie::of(map) else {
            return match kernels().map_update_elem {
                Some(update) => update(map, key, value, flags),
                None => EINVAL.to_errno() as c_long,
            };
        };
        let updated = trie.update(key.cast(), value.cast(), flags);
        updated.map_or_else(|err| err.to_errno() as c_long, |()| 0)
    }
}

/// `map_delete_elem`.
///
/// # Safety
///
/// Called by the kernel with a trie and a key of it.
unsafe extern "C" fn delete(map: *mut b::bpf_map, key: *mut c_void) -> c_long {
    // SAFETY: called with a trie and a key of it.
    unsafe {
        let Some(trie) = Trie::of(map) else {
            return match kernels().map_delete_elem {
                Some(delete) => delete(map, key),
                None => EINVAL.to_errno() as c_long,
            };
        };
        let deleted = trie.delete(key.cast());
        deleted.map_or_else(|err| err.to_errno() as c_long, |()| 0)
    }
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
    let next = unsafe {
        Trie::of(map)
            .ok_or(EINVAL)
            .and_then(|trie| trie.next(key.cast(), next_key.cast()))
    };
    next.map_or_else(|err| err.to_errno(), |()| 0)
}

/// `map_mem_usage`.
///
/// # Safety
///
/// Called by the kernel with a store.
unsafe extern "C" fn mem_usage(map: *const b::bpf_map) -> u64 {
    // SAFETY: called by the kernel with a store.
    unsafe { Trie::of(map.cast_mut()) }.map_or(0, Trie::usage)
}

/// `map_free`.
///
/// # Safety
///
/// Called by the kernel with a store that nobody uses any more.
unsafe extern "C" fn free(map: *mut b::bpf_map) {
    // SAFETY: called by the kernel with a store that nobody uses any more. The reference to
    // the module goes last.
    unsafe {
        if let Some(trie) = Trie::of(map) {
            let trie = Made::Trie(NonNull::from(trie));
            create::forget(trie);
            trie.free();
            *root(map) = ptr::null_mut();
            b::bailey_k_trie_free(map);
            b::bailey_module_drop();
        }
    }
}
