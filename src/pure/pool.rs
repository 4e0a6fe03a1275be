// SPDX-License-Identifier: GPL-2.0
//! Who holds which protection key.
//!
//! A domain gets a key of its own while there is one. When none is left, it gets
//! the one key that is kept for sharing, [`SHARED`]. A key does not keep apart
//! those who share it: each of them runs on a page-table root of its own, and so
//! does a domain that is the only one to hold that key, for others may come at
//! any time.
//!
//! A key that comes back is dirty: CPUs may still hold translations that carry
//! it, so it is handed out again only after [`KeyPool::flushed`].
//!
//! A domain moves from one kind of key to the other by taking the new one,
//! having its pages moved ([`super::shift`]), and giving the old one back.
//!
//! The pool does not lock itself.

use super::pkrs::{Key, KEYS};

/// The lowest key that domains get: below are the kernel's and that of the
/// event structures.
pub const FIRST: u8 = 2;

/// How many keys domains get.
pub const POOL: usize = (KEYS - FIRST) as usize;

/// How many of them a domain can have for its own.
pub const OWN: usize = POOL - 1;

/// The place in the pool of the key for sharing: the last.
const SHARING: u8 = OWN as u8;

/// The key for sharing.
pub const SHARED: u8 = FIRST + SHARING;

/// A key as one domain holds it. To be given back with [`KeyPool::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a lease that is dropped is a key lost"]
pub struct Lease {
    key: Key,
}

impl Lease {
    /// The key.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Whether others may hold the key, too: who has this lease needs a root.
    pub const fn is_shared(&self) -> bool {
        self.key.number() == SHARED
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// Only dirty keys are left: flush every CPU's TLB, call
    /// [`KeyPool::flushed_all`], try again.
    FlushFirst,
    /// The shared key has as many holders as can be counted.
    TooMany,
    /// Every key of the kind is somebody's own.
    NoneLeft,
}

/// One key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody's, and no CPU remembers it.
    Free,
    /// One domain's own.
    Own,
    /// The key for sharing, and somebody's.
    Shared {
        /// How many domains hold it.
        holders: u32,
    },
    /// Nobody's, but CPUs may remember it.
    Dirty,
}

/// Counts for a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that nobody holds and that can be handed out.
    pub free: u32,
    /// Keys that one domain holds alone.
    pub own: u32,
    /// Keys marked shared; 0 or 1.
    pub shared: u32,
    /// Domains that hold the shared key.
    pub sharers: u32,
    /// Keys that wait for a flush.
    pub dirty: u32,
}

/// What has happened to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Times it was given to a domain.
    pub handouts: u64,
    /// Times it was given to one after it had been another's, and flushed.
    pub recyclings: u64,
    /// Times a living domain moved to it: a promotion, or, to the key for
    /// sharing, the opposite.
    pub moves: u64,
    /// Times a flush made it free.
    pub flushes: u64,
}

/// One key.
#[derive(Clone, Copy, Debug)]
struct Slot {
    state: State,
    counts: Counts,
}

/// The keys that domains get.
#[derive(Debug)]
pub struct KeyPool {
    keys: [Slot; POOL],
}

impl KeyPool {
    /// A pool in which every key is free.
    pub const fn new() -> Self {
        Self {
            keys: [Slot {
                state: State::Free,
                counts: Counts {
                    handouts: 0,
                    recyclings: 0,
                    moves: 0,
                    flushes: 0,
                },
            }; POOL],
        }
    }

    /// A key for a new domain: one of its own, else the one for sharing.
    pub fn acquire(&mut self) -> Result<Lease, PoolError> {
        match self.acquire_own() {
            Err(PoolError::NoneLeft) => self.acquire_shared(),
            other => other,
        }
    }

    /// A key that is nobody else's, the lowest there is.
    pub fn acquire_own(&mut self) -> Result<Lease, PoolError> {
        let mut dirty = false;
        for (index, slot) in (0u8..SHARING).zip(self.keys.iter_mut()) {
            match slot.state {
                State::Free => {
                    return Ok(slot.hand_out(index, State::Own));
                }
                State::Dirty => dirty = true,
                State::Own | State::Shared { .. } => {}
            }
        }
        Err(if dirty {
            PoolError::FlushFirst
        } else {
            PoolError::NoneLeft
        })
    }

    /// The key for sharing.
    pub fn acquire_shared(&mut self) -> Result<Lease, PoolError> {
        let slot = self
            .keys
            .get_mut(usize::from(SHARING))
            .ok_or(PoolError::NoneLeft)?;
        let holders = match slot.state {
            State::Free => 1,
            State::Shared { holders } => holders.checked_add(1).ok_or(PoolError::TooMany)?,
            State::Dirty => return Err(PoolError::FlushFirst),
            // Nobody gets it so.
            State::Own => return Err(PoolError::NoneLeft),
        };
        Ok(slot.hand_out(SHARING, State::Shared { holders }))
    }

    /// A living domain has moved to the key of `lease`.
    pub fn moved(&mut self, lease: &Lease) {
        if let Some(slot) = self.slot_mut(lease.key) {
            slot.counts.moves += 1;
        }
    }

    /// Takes a key back. Returns whether it is dirty now: its last holder has
    /// gone, and a flush makes it free.
    pub fn release(&mut self, lease: Lease) -> bool {
        let Some(slot) = self.slot_mut(lease.key) else {
            return false;
        };
        match slot.state {
            State::Shared { holders } if holders > 1 => {
                slot.state = State::Shared {
                    holders: holders - 1,
                };
                false
            }
            State::Shared { .. } | State::Own => {
                slot.state = State::Dirty;
                true
            }
            // No lease of such a key exists.
            State::Free | State::Dirty => false,
        }
    }

    /// No CPU holds a translation with `key` any more. Returns whether that
    /// made it free.
    pub fn flushed(&mut self, key: Key) -> bool {
        self.slot_mut(key).is_some_and(Slot::flushed)
    }

    /// Every key that is dirty at this moment becomes free. Only right if no
    /// key was released since the flush began.
    pub fn flushed_all(&mut self) {
        for slot in &mut self.keys {
            slot.flushed();
        }
    }

    /// Whether `key` is the one for sharing, and held.
    pub fn is_shared(&self, key: Key) -> bool {
        matches!(self.state(key), Some(State::Shared { .. }))
    }

    /// The state of `key`, or `None` if it is none of the pool's.
    pub fn state(&self, key: Key) -> Option<State> {
        Some(self.slot(key)?.state)
    }

    /// What has happened to `key`.
    pub fn counts(&self, key: Key) -> Option<Counts> {
        Some(self.slot(key)?.counts)
    }

    /// Every key of the pool with its state, by rising number.
    pub fn iter(&self) -> impl Iterator<Item = (Key, State)> + '_ {
        (FIRST..KEYS)
            .filter_map(Key::new)
            .zip(self.keys.iter().map(|slot| slot.state))
    }

    /// Counts for a report.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for slot in &self.keys {
            match slot.state {
                State::Free => stats.free = stats.free.saturating_add(1),
                State::Own => stats.own = stats.own.saturating_add(1),
                State::Shared { holders } => {
                    stats.shared = stats.shared.saturating_add(1);
                    stats.sharers = stats.sharers.saturating_add(holders);
                }
                State::Dirty => stats.dirty = stats.dirty.saturating_add(1),
            }
        }
        stats
    }

    fn slot(&self, key: Key) -> Option<&Slot> {
        self.keys.get(usize::from(key.number().checked_sub(FIRST)?))
    }

    fn slot_mut(&mut self, key: Key) -> Option<&mut Slot> {
        self.keys
            .get_mut(usize::from(key.number().checked_sub(FIRST)?))
    }
}

impl Slot {
    fn hand_out(&mut self, index: u8, state: State) -> Lease {
        self.counts.handouts += 1;
        // It was another's before, if a flush has made it free.
        if self.state == State::Free && self.counts.flushes > 0 {
            self.counts.recyclings += 1;
        }
        self.state = state;
        // FIRST + index is below KEYS: the array has no more elements.
        Lease {
            key: Key::new(index.saturating_add(FIRST)).unwrap_or(Key::KERNEL),
        }
    }

    fn flushed(&mut self) -> bool {
        let dirty = self.state == State::Dirty;
        if dirty {
            self.state = State::Free;
            self.counts.flushes += 1;
        }
        dirty
    }
}

impl Default for KeyPool {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn thirteen_domains_have_a_key_of_their_own() {
        let mut pool = KeyPool::new();
        let leases: Vec<_> = (0..OWN).map(|_| pool.acquire().unwrap()).collect();
        let numbers: Vec<_> = leases.iter().map(|lease| lease.key().number()).collect();
        assert_eq!(numbers, (2..15).collect::<Vec<_>>());
        assert!(leases
            .iter()
            .all(|lease| !pool.is_shared(lease.key()) && !lease.is_shared()));
    }

    #[test]
    fn the_fourteenth_domain_knows_that_others_may_come() {
        let mut pool = KeyPool::new();
        let leases: Vec<_> = (0..OWN).map(|_| pool.acquire().unwrap()).collect();
        let mut sharers: Vec<_> = (0..3).map(|_| pool.acquire().unwrap()).collect();
        for lease in &sharers {
            assert_eq!(lease.key().number(), SHARED);
            assert!(lease.is_shared() && pool.is_shared(lease.key()));
        }
        assert_eq!(
            pool.stats(),
            Stats {
                free: 0,
                own: 13,
                shared: 1,
                sharers: 3,
                dirty: 0
            }
        );
        // It stays shared down to the last holder.
        let key = sharers[0].key();
        assert!(!pool.release(sharers.pop().unwrap()));
        assert!(!pool.release(sharers.pop().unwrap()));
        assert!(pool.is_shared(key));
        assert!(pool.release(sharers.pop().unwrap()));
        assert_eq!(pool.state(key), Some(State::Dirty));
        assert_eq!(pool.acquire(), Err(PoolError::FlushFirst));
        for lease in leases {
            assert!(pool.release(lease));
        }
    }

    #[test]
    fn a_dirty_key_is_handed_out_only_after_a_flush() {
        let mut pool = KeyPool::new();
        let mut leases: Vec<_> = (0..OWN).map(|_| pool.acquire().unwrap()).collect();
        let lease = leases.remove(3);
        let key = lease.key();
        assert!(pool.release(lease));
        assert_eq!(pool.acquire(), Err(PoolError::FlushFirst));
        assert!(pool.flushed(key));
        assert!(!pool.flushed(key));
        let again = pool.acquire().unwrap();
        assert_eq!(again.key(), key);
        assert_eq!(
            pool.counts(key),
            Some(Counts {
                handouts: 2,
                recyclings: 1,
                moves: 0,
                flushes: 1
            })
        );
        let _ = pool.release(again);
        for lease in leases {
            let _ = pool.release(lease);
        }
    }

    #[test]
    fn the_kernels_keys_are_none_of_the_pools() {
        let mut pool = KeyPool::new();
        for key in [Key::KERNEL, Key::EVENTS] {
            assert_eq!(pool.state(key), None);
            assert!(!pool.flushed(key));
            assert!(!pool.is_shared(key));
        }
    }
}
