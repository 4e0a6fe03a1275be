// SPDX-License-Identifier: GPL-2.0
//! Who holds which protection key.
//!
//! A domain gets a key of its own while there is one. When none is left, new
//! domains share one key; it stays marked shared until its last holder goes,
//! and [`KeyPool::stats`] shows it. A key that comes back is dirty: CPUs may
//! still hold translations that carry it, so it is handed out again only after
//! [`KeyPool::flushed`].
//!
//! The pool does not lock itself.

use super::pkrs::{Key, KEYS};

/// The lowest key that domains get: below are the kernel's and that of the
/// event structures.
pub const FIRST: u8 = 2;

/// How many keys domains get.
pub const POOL: usize = (KEYS - FIRST) as usize;

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
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// Only dirty keys are left: flush every CPU's TLB, call
    /// [`KeyPool::flushed_all`], try again.
    FlushFirst,
    /// The shared key has as many holders as can be counted.
    TooMany,
}

/// One key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody's, and no CPU remembers it.
    Free,
    /// One domain's own.
    Own,
    /// Several domains', or was: it had more than one holder since it was
    /// last free.
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

/// The keys that domains get.
#[derive(Debug)]
pub struct KeyPool {
    keys: [State; POOL],
    /// Which key newcomers share, as an index.
    shared: Option<u8>,
}

impl KeyPool {
    /// A pool in which every key is free.
    pub const fn new() -> Self {
        Self {
            keys: [State::Free; POOL],
            shared: None,
        }
    }

    /// A key for a new domain: one of its own, else the shared one.
    ///
    /// The lowest free key is taken. The first to find none shares with the
    /// domain that holds the highest key.
    pub fn acquire(&mut self) -> Result<Lease, PoolError> {
        let mut dirty = false;
        for (index, state) in (0u8..).zip(self.keys.iter_mut()) {
            match state {
                State::Free => {
                    *state = State::Own;
                    return Ok(Self::lease(index));
                }
                State::Dirty => dirty = true,
                State::Own | State::Shared { .. } => {}
            }
        }
        if dirty {
            return Err(PoolError::FlushFirst);
        }
        let index = self.shared.unwrap_or(POOL as u8 - 1);
        let state = self
            .keys
            .get_mut(usize::from(index))
            .ok_or(PoolError::TooMany)?;
        let holders = match *state {
            State::Own => 2,
            State::Shared { holders } => holders.checked_add(1).ok_or(PoolError::TooMany)?,
            // Every key is held, or we would not be here.
            State::Free | State::Dirty => return Err(PoolError::FlushFirst),
        };
        *state = State::Shared { holders };
        self.shared = Some(index);
        Ok(Self::lease(index))
    }

    /// Takes a key back. Returns whether it is dirty now: its last holder has
    /// gone, and a flush makes it free.
    pub fn release(&mut self, lease: Lease) -> bool {
        let Some(index) = lease.key.number().checked_sub(FIRST) else {
            return false;
        };
        let Some(state) = self.keys.get_mut(usize::from(index)) else {
            return false;
        };
        match *state {
            State::Shared { holders } if holders > 1 => {
                *state = State::Shared {
                    holders: holders - 1,
                };
                false
            }
            State::Shared { .. } => {
                *state = State::Dirty;
                self.shared = None;
                true
            }
            State::Own => {
                *state = State::Dirty;
                true
            }
            // No lease of such a key exists.
            State::Free | State::Dirty => false,
        }
    }

    /// No CPU holds a translation with `key` any more. Returns whether that
    /// made it free.
    pub fn flushed(&mut self, key: Key) -> bool {
        let state = key
            .number()
            .checked_sub(FIRST)
            .and_then(|index| self.keys.get_mut(usize::from(index)));
        match state {
            Some(state) if *state == State::Dirty => {
                *state = State::Free;
                true
            }
            _ => false,
        }
    }

    /// Every key that is dirty at this moment becomes free. Only right if no
    /// key was released since the flush began.
    pub fn flushed_all(&mut self) {
        for state in &mut self.keys {
            if *state == State::Dirty {
                *state = State::Free;
            }
        }
    }

    /// Whether more than one domain holds `key`, or did since it was last
    /// free.
    pub fn is_shared(&self, key: Key) -> bool {
        matches!(self.state(key), Some(State::Shared { .. }))
    }

    /// The state of `key`, or `None` if it is none of the pool's.
    pub fn state(&self, key: Key) -> Option<State> {
        let index = key.number().checked_sub(FIRST)?;
        self.keys.get(usize::from(index)).copied()
    }

    /// Every key of the pool with its state, by rising number.
    pub fn iter(&self) -> impl Iterator<Item = (Key, State)> + '_ {
        (FIRST..KEYS)
            .filter_map(Key::new)
            .zip(self.keys.iter().copied())
    }

    /// Counts for a report.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for state in &self.keys {
            match *state {
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

    fn lease(index: u8) -> Lease {
        // FIRST + index is below KEYS: the array has no more elements.
        Lease {
            key: Key::new(index.saturating_add(FIRST)).unwrap_or(Key::KERNEL),
        }
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
    fn fourteen_domains_have_a_key_of_their_own() {
        let mut pool = KeyPool::new();
        let leases: Vec<_> = (0..POOL).map(|_| pool.acquire().unwrap()).collect();
        let numbers: Vec<_> = leases.iter().map(|lease| lease.key().number()).collect();
        assert_eq!(numbers, (2..16).collect::<Vec<_>>());
        assert!(leases.iter().all(|lease| !pool.is_shared(lease.key())));
    }

    #[test]
    fn the_fifteenth_domain_shares_and_it_shows() {
        let mut pool = KeyPool::new();
        let mut leases: Vec<_> = (0..POOL).map(|_| pool.acquire().unwrap()).collect();
        leases.push(pool.acquire().unwrap());
        leases.push(pool.acquire().unwrap());
        let key = leases[14].key();
        assert_eq!(key, leases[15].key());
        assert!(pool.is_shared(key));
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
        let (mut sharers, others): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.key() == key);
        assert!(!pool.release(sharers.pop().unwrap()));
        assert!(!pool.release(sharers.pop().unwrap()));
        assert!(pool.is_shared(key));
        assert!(pool.release(sharers.pop().unwrap()));
        assert_eq!(pool.state(key), Some(State::Dirty));
        for lease in others {
            assert!(pool.release(lease));
        }
    }

    #[test]
    fn a_dirty_key_is_handed_out_only_after_a_flush() {
        let mut pool = KeyPool::new();
        let mut leases: Vec<_> = (0..POOL).map(|_| pool.acquire().unwrap()).collect();
        let lease = leases.remove(3);
        let key = lease.key();
        assert!(pool.release(lease));
        assert_eq!(pool.acquire(), Err(PoolError::FlushFirst));
        assert!(pool.flushed(key));
        assert!(!pool.flushed(key));
        assert_eq!(pool.acquire().unwrap().key(), key);
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
