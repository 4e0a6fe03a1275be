// SPDX-License-Identifier: GPL-2.0
//! A hash table of numbered elements, for maps whose values are elsewhere.
//!
//! What the kernel trusts of a map (which elements are in which chain, which
//! are free) is here, in words that the caller owns; keys and values are the
//! caller's, by the element's number. So values can lie on pages that a domain
//! may write, and nothing there leads anywhere.
//!
//! Readers take no lock. Writers of one bucket exclude each other by a lock of
//! the caller's. An element that was taken out is used again at once, as
//! elements of the kernel's preallocated hash maps are (kernel/bpf/hashtab.c):
//! a reader may find itself in another chain, and what it holds of a value may
//! change. Each bucket therefore counts what it has lost. A reader that found
//! nothing looks whether the count is still the same and begins again if not.
//! That replaces the kernel's "nulls", which notice another bucket's end but
//! not an element that came back to the same bucket.
//!
//! Which element a new key gets is the table's to say, from a list of free ones
//! ([`Table::update`]), or somebody else's, who knows which was not used for long
//! ([`Table::put`]).
//!
//! A key that is replaced is never missed: the new element takes the old one's
//! place in the chain by a single store.

pub mod hash;
pub mod trie;
pub mod uses;

use core::mem::{offset_of, size_of};

/// No element: where a chain or the list of free ones ends.
const END: u32 = u32::MAX;

/// As often a reader begins again; after that it may miss a key that others
/// keep replacing, as it may in the kernel's table at the first time.
const TRIES: u32 = 64;

/// 32 bits that several CPUs use at once. Loads acquire, stores release.
pub trait Word32 {
    /// Loads it.
    fn load(&self) -> u32;
    /// Stores `value`.
    fn store(&self, value: u32);
    /// Stores `value` and returns what was there.
    fn swap(&self, value: u32) -> u32;
}

/// 64 bits that several CPUs use at once. Loads acquire, stores release.
pub trait Word64 {
    /// Loads it.
    fn load(&self) -> u64;
    /// Stores `value`.
    fn store(&self, value: u64);
    /// Stores `new` if `old` is there; else says what is.
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64>;
    /// What was read before stays before what is read after.
    fn fence_reads();
    /// What was written before stays before what is written after.
    fn fence_writes();
}

impl Word32 for core::sync::atomic::AtomicU32 {
    #[inline(always)]
    fn load(&self) -> u32 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }
    #[inline(always)]
    fn store(&self, value: u32) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }
    #[inline(always)]
    fn swap(&self, value: u32) -> u32 {
        self.swap(value, core::sync::atomic::Ordering::AcqRel)
    }
}

impl Word64 for core::sync::atomic::AtomicU64 {
    #[inline(always)]
    fn load(&self) -> u64 {
        self.load(core::sync::atomic::Ordering::Acquire)
    }
    #[inline(always)]
    fn store(&self, value: u64) {
        self.store(value, core::sync::atomic::Ordering::Release);
    }
    #[inline(always)]
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        use core::sync::atomic::Ordering::{AcqRel, Acquire};
        self.compare_exchange(old, new, AcqRel, Acquire).map(|_| ())
    }
    #[inline(always)]
    fn fence_reads() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
    }
    #[inline(always)]
    fn fence_writes() {
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
    }
}

/// What is kept of an element. All zeroes is fine before [`Table::init`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Element<W> {
    /// The next one in its chain. It stays when the element is taken out, so
    /// that readers who stand on it go on.
    next: W,
    hash: W,
    /// The next free one.
    free: W,
}

/// How what a look-up reads lies in one area: the keys, one after another; what is kept
/// of the elements; the buckets. So that it can be shown, on pages of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Index {
    /// Where the elements begin, in bytes.
    pub elements: u64,
    /// Where the buckets begin.
    pub buckets: u64,
    /// Bytes in all.
    pub len: u64,
}

/// Bytes from one element to the next, and where in it the number of the next in its
/// chain is.
pub const ELEMENT: u64 = size_of::<Element<u32>>() as u64;
#[allow(missing_docs)]
pub const NEXT: usize = offset_of!(Element<u32>, next);
/// Where in it the hash of its key is, which is written when key and value are.
pub const HASH: usize = offset_of!(Element<u32>, hash);
/// Where in a bucket's word the count of what it has lost is.
pub const LOSSES: usize = 4;

impl Index {
    /// For so many elements with keys of `key_stride` bytes, and so many buckets.
    pub fn new(elements: u64, key_stride: u32, buckets: u64) -> Option<Self> {
        let keys = elements.checked_mul(key_stride.into())?;
        let elements = elements.checked_mul(ELEMENT)?.checked_next_multiple_of(8)?;
        let at = keys.checked_add(elements)?;
        Some(Self {
            elements: keys,
            buckets: at,
            len: at.checked_add(buckets.checked_mul(8)?)?,
        })
    }
}

/// When an update is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Any,
    /// If the key is not there.
    New,
    /// If the key is there.
    Old,
}

/// Why an update does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The key is there.
    Exists,
    /// The key is not there.
    Missing,
    /// As many keys are there as may be.
    Full,
    /// This CPU is in the middle of an update already (in an NMI).
    Busy,
}

/// What an update did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The key is new.
    Added,
    /// The key was there and has another element now.
    Replaced,
}

/// What an update in place did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amended {
    /// The key is new.
    Added,
    /// The key was there, and has this element still.
    Changed(u32),
}

/// The low half of a bucket's word is its first element, the high half counts
/// how often the bucket has lost one.
fn bucket_word(losses: u32, first: u32) -> u64 {
    (u64::from(losses) << 32) | u64::from(first)
}

fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// An element in its chain: the one before it, itself, its number.
type Position<'a, W> = (Option<&'a Element<W>>, &'a Element<W>, u32);

/// The table, over words of the caller's.
#[derive(Debug)]
pub struct Table<'a, W, D> {
    /// A power of two.
    buckets: &'a [D],
    /// As many as there can be keys, and the spares.
    elements: &'a [Element<W>],
    /// For each CPU the element that takes the place of one that is replaced.
    spares: &'a [W],
    /// The first free element, and a count that tells it from the same one
    /// later.
    free: &'a D,
}

impl<W, D> Clone for Table<'_, W, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, D> Copy for Table<'_, W, D> {}

impl<'a, W: Word32, D: Word64> Table<'a, W, D> {
    /// The table in these words.
    #[inline(always)]
    pub fn new(buckets: &'a [D], elements: &'a [Element<W>], spares: &'a [W], free: &'a D) -> Self {
        Self {
            buckets,
            elements,
            spares,
            free,
        }
    }

    /// Makes it empty. Nobody else uses it yet. False if the numbers of words
    /// do not fit: buckets a power of two, more elements than spares, all
    /// countable.
    #[must_use]
    pub fn init(&self) -> bool {
        let fits = self.buckets.len().is_power_of_two()
            && self.elements.len() > self.spares.len()
            && self.elements.len() < END as usize
            && self.buckets.len() <= 1 << 31;
        if !fits {
            return false;
        }
        for bucket in self.buckets {
            bucket.store(bucket_word(0, END));
        }
        for (number, spare) in (0u32..).zip(self.spares) {
            spare.store(number);
        }
        let (first, len) = (self.spares.len(), self.elements.len());
        for (number, element) in self.elements.iter().enumerate().skip(first) {
            let next = if number + 1 < len {
                number + 1
            } else {
                END as usize
            };
            element.free.store(next as u32);
        }
        self.free.store(first as u64);
        true
    }

    /// How many buckets there are.
    pub fn bucket_count(&self) -> u32 {
        self.buckets.len() as u32
    }

    /// The bucket of keys with this hash.
    #[inline(always)]
    pub fn bucket_of(&self, hash: u32) -> u32 {
        hash & (self.buckets.len() as u32).wrapping_sub(1)
    }

    #[inline(always)]
    fn bucket(&self, hash: u32) -> Option<&'a D> {
        self.buckets.get(self.bucket_of(hash) as usize)
    }

    #[inline(always)]
    fn element(&self, number: u32) -> Option<&'a Element<W>> {
        self.elements.get(number as usize)
    }

    /// The element of a key with this hash, of which `matches` says whether it
    /// is the one. Needs no lock.
    #[inline(always)]
    pub fn find(&self, hash: u32, matches: impl Fn(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(hash)?;
        for _ in 0..TRIES {
            let start = bucket.load();
            let mut at = low(start);
            while let Some(element) = self.element(at) {
                if element.hash.load() == hash && matches(at) {
                    return Some(at);
                }
                at = element.next.load();
            }
            D::fence_reads();
            if high(bucket.load()) == high(start) {
                return None;
            }
        }
        None
    }

    /// The first element of a bucket. Needs no lock.
    pub fn first(&self, bucket: u32) -> Option<u32> {
        let first = low(self.buckets.get(bucket as usize)?.load());
        self.element(first).map(|_| first)
    }

    /// The element behind `number` in its chain, which may be another chain
    /// meanwhile. Needs no lock.
    pub fn next(&self, number: u32) -> Option<u32> {
        let next = self.element(number)?.next.load();
        self.element(next).map(|_| next)
    }

    /// The element for which `found` holds in the chain of `bucket`, and the
    /// one before it. The caller holds the bucket's lock.
    fn position(
        &self,
        bucket: &D,
        found: impl Fn(u32, &Element<W>) -> bool,
    ) -> Option<Position<'a, W>> {
        let mut before = None;
        let mut at = low(bucket.load());
        while let Some(element) = self.element(at) {
            if found(at, element) {
                return Some((before, element, at));
            }
            before = Some(element);
            at = element.next.load();
        }
        None
    }

    /// `next` comes behind `before`, in the place of an element that the
    /// bucket loses.
    fn replace(&self, bucket: &D, before: Option<&Element<W>>, next: u32) {
        let word = bucket.load();
        let first = match before {
            Some(before) => {
                before.next.store(next);
                low(word)
            }
            None => next,
        };
        bucket.store(bucket_word(high(word).wrapping_add(1), first));
    }

    /// The element that a key has, if the key may get another one.
    fn admit(
        &self,
        bucket: &D,
        hash: u32,
        when: When,
        matches: impl Fn(u32) -> bool,
    ) -> Result<Option<Position<'a, W>>, Refusal> {
        let old = self.position(bucket, |at, element| {
            element.hash.load() == hash && matches(at)
        });
        match (when, &old) {
            (When::New, Some(_)) => Err(Refusal::Exists),
            (When::Old, None) => Err(Refusal::Missing),
            _ => Ok(old),
        }
    }

    /// Puts an element that is in no chain at the start of the bucket's, or into
    /// the place of `old`.
    fn link(
        &self,
        bucket: &D,
        hash: u32,
        number: u32,
        old: &Option<Position<'a, W>>,
        fill: impl FnOnce(u32),
    ) -> Result<(), Refusal> {
        let element = self.element(number).ok_or(Refusal::Busy)?;
        // Who reads what `fill` writes sees that the element was lost before.
        D::fence_writes();
        fill(number);
        element.hash.store(hash);
        match old {
            Some((before, replaced, _)) => {
                element.next.store(replaced.next.load());
                self.replace(bucket, *before, number);
            }
            None => {
                let word = bucket.load();
                element.next.store(low(word));
                bucket.store(bucket_word(high(word), number));
            }
        }
        Ok(())
    }

    /// Gives a key the element `number`, which is in no chain and which the caller
    /// has from elsewhere: `fill` writes key and value into it before anybody finds
    /// it. Returns the element that the key had before, which is the caller's then.
    /// The caller holds the bucket's lock.
    pub fn put(
        &self,
        number: u32,
        hash: u32,
        when: When,
        matches: impl Fn(u32) -> bool,
        fill: impl FnOnce(u32),
    ) -> Result<Option<u32>, Refusal> {
        let bucket = self.bucket(hash).ok_or(Refusal::Full)?;
        let old = self.admit(bucket, hash, when, matches)?;
        self.link(bucket, hash, number, &old, fill)?;
        Ok(old.map(|(_, _, at)| at))
    }

    /// Gives a key an element: `fill` writes key and value into it before
    /// anybody finds it. The caller holds the bucket's lock and stays on `cpu`.
    pub fn update(
        &self,
        cpu: usize,
        hash: u32,
        when: When,
        matches: impl Fn(u32) -> bool,
        fill: impl FnOnce(u32),
    ) -> Result<Updated, Refusal> {
        let bucket = self.bucket(hash).ok_or(Refusal::Full)?;
        let old = self.admit(bucket, hash, when, matches)?;
        let spare = self.spares.get(cpu);
        let taken = match (&old, spare) {
            (Some(_), Some(spare)) => Some(spare.swap(END)).filter(|&at| at != END),
            _ => None,
        };
        let number = match (taken, &old) {
            (Some(number), _) => number,
            (None, None) => self.take().ok_or(Refusal::Full)?,
            (None, Some(_)) => self.take().ok_or(Refusal::Busy)?,
        };
        self.link(bucket, hash, number, &old, fill)?;
        let Some((_, _, at)) = old else {
            return Ok(Updated::Added);
        };
        match spare.map(|spare| spare.swap(at)) {
            Some(END) => {}
            // An update in an NMI left its own here.
            Some(other) => self.give(other),
            None => self.give(at),
        }
        Ok(Updated::Replaced)
    }

    /// Has `change` write the value of the element that a key has, as others may read it; or, of
    /// a key that is new, `fill` key and value of the element that `take` yields, before
    /// anybody finds it. The caller holds the bucket's lock.
    pub fn amend(
        &self,
        hash: u32,
        when: When,
        matches: impl Fn(u32) -> bool,
        take: impl FnOnce() -> Option<u32>,
        change: impl FnOnce(u32),
        fill: impl FnOnce(u32),
    ) -> Result<Amended, Refusal> {
        let bucket = self.bucket(hash).ok_or(Refusal::Full)?;
        if let Some((_, _, at)) = self.admit(bucket, hash, when, matches)? {
            change(at);
            return Ok(Amended::Changed(at));
        }
        let number = take().ok_or(Refusal::Full)?;
        self.link(bucket, hash, number, &None, fill)?;
        Ok(Amended::Added)
    }

    /// Takes `number` out of the bucket of `hash`. It stays the caller's until
    /// [`Table::give`]. False if it is not there. The caller holds the bucket's
    /// lock.
    pub fn remove(&self, hash: u32, number: u32) -> bool {
        let Some(bucket) = self.bucket(hash) else {
            return false;
        };
        let Some((before, element, _)) = self.position(bucket, |at, _| at == number) else {
            return false;
        };
        self.replace(bucket, before, element.next.load());
        true
    }

    /// Takes a free element. No lock, any context.
    pub fn take(&self) -> Option<u32> {
        let mut word = self.free.load();
        loop {
            let number = low(word);
            // If another takes it here, what is read is not used: the count is another then.
            let next = self.element(number)?.free.load();
            let new = bucket_word(high(word).wrapping_add(1), next);
            match self.free.exchange(word, new) {
                Ok(()) => return Some(number),
                Err(now) => word = now,
            }
        }
    }

    /// Gives back an element that was taken out. No lock, any context.
    pub fn give(&self, number: u32) {
        let Some(element) = self.element(number) else {
            return;
        };
        let mut word = self.free.load();
        loop {
            element.free.store(low(word));
            let new = bucket_word(high(word).wrapping_add(1), number);
            match self.free.exchange(word, new) {
                Ok(()) => return,
                Err(now) => word = now,
            }
        }
    }
}
