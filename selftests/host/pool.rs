// SPDX-License-Identifier: GPL-2.0
//! The key pool, as a state machine and under threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::pkrs::Key;
use bailey::pure::pool::{KeyPool, Lease, PoolError, State, FIRST, OWN, POOL, SHARED};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    /// The domain at this place among the living goes.
    Release(prop::sample::Index),
    /// The domain at this place moves to a key of its own, or to the shared one.
    Move(prop::sample::Index),
    /// One key is flushed.
    Flush(u8),
    FlushAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Acquire),
        4 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => any::<prop::sample::Index>().prop_map(Step::Move),
        2 => (0u8..16).prop_map(Step::Flush),
        1 => Just(Step::FlushAll),
    ];
    vec(step, 0..400)
}

/// What must hold between any two steps.
fn invariants(pool: &KeyPool, living: &[Lease], dirty: &HashSet<Key>) {
    let mut holders: HashMap<Key, u32> = HashMap::new();
    for lease in living {
        *holders.entry(lease.key()).or_default() += 1;
    }
    let stats = pool.stats();
    // No key lost, none invented.
    assert_eq!(pool.iter().count(), POOL);
    assert_eq!(
        (stats.free + stats.own + stats.shared + stats.dirty) as usize,
        POOL
    );
    assert!(stats.shared <= 1);
    for (key, state) in pool.iter() {
        assert!(key.number() >= FIRST);
        let count = holders.get(&key).copied().unwrap_or(0);
        match state {
            State::Free => assert_eq!(count, 0),
            State::Dirty => assert_eq!(count, 0),
            State::Own => assert_eq!(count, 1),
            State::Shared { holders } => assert_eq!(count, holders),
        }
        // No two domains hold one key unless both are marked shared, and who is so marked holds
        // the one key for it.
        let marked = living
            .iter()
            .filter(|lease| lease.key() == key && lease.is_shared())
            .count() as u32;
        assert!(count <= 1 || marked == count);
        assert_eq!(marked > 0, pool.is_shared(key));
        assert!(marked == 0 || key.number() == SHARED);
        assert_eq!(state == State::Dirty, dirty.contains(&key), "{key:?}");
    }
    assert_eq!(
        living.len() as u32,
        stats.own + stats.sharers,
        "every living domain is counted"
    );
    // Every hand-out but a sharer's and the key's first follows a flush of that key.
    for key in (FIRST..SHARED).filter_map(Key::new) {
        let counts = pool.counts(key).unwrap();
        let first = u64::from(counts.handouts > 0);
        assert_eq!(counts.handouts, counts.recyclings + first);
        assert!(counts.recyclings <= counts.flushes);
    }
}

/// A key is never handed out dirty, and no way to get one has another reason to fail.
fn acquired(
    pool: &mut KeyPool,
    dirty: &HashSet<Key>,
    acquire: fn(&mut KeyPool) -> Result<Lease, PoolError>,
) -> Option<Lease> {
    let before = pool.stats();
    match acquire(pool) {
        Ok(lease) => {
            assert!(!dirty.contains(&lease.key()), "a dirty key handed out");
            Some(lease)
        }
        Err(PoolError::FlushFirst) => {
            assert!(before.dirty > 0);
            None
        }
        Err(PoolError::NoneLeft) => {
            assert_eq!(before.own as usize, OWN);
            None
        }
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_no_key_is_shared_unseen_or_lost(steps in steps()) {
        let mut pool = KeyPool::new();
        let mut living: Vec<Lease> = Vec::new();
        // Keys that were released and not flushed since.
        let mut dirty: HashSet<Key> = HashSet::new();
        for step in steps {
            let before = pool.stats();
            match step {
                Step::Acquire => {
                    if let Some(lease) = acquired(&mut pool, &dirty, KeyPool::acquire) {
                        prop_assert_eq!(lease.is_shared(), before.own as usize == OWN,
                            "shared while there is a key, or a flush would make one");
                        living.push(lease);
                    }
                }
                Step::Release(_) | Step::Move(_) if living.is_empty() => {}
                Step::Release(index) => {
                    let lease = living.swap_remove(index.index(living.len()));
                    let key = lease.key();
                    let last = !living.iter().any(|other| other.key() == key);
                    prop_assert_eq!(pool.release(lease), last);
                    if last {
                        dirty.insert(key);
                    }
                }
                Step::Move(index) => {
                    let index = index.index(living.len());
                    let way = if living[index].is_shared() {
                        KeyPool::acquire_own
                    } else {
                        KeyPool::acquire_shared
                    };
                    if let Some(lease) = acquired(&mut pool, &dirty, way) {
                        prop_assert_ne!(lease.is_shared(), living[index].is_shared());
                        let moves = pool.counts(lease.key()).unwrap().moves;
                        pool.moved(&lease);
                        prop_assert_eq!(pool.counts(lease.key()).unwrap().moves, moves + 1);
                        let old = std::mem::replace(&mut living[index], lease);
                        let key = old.key();
                        if pool.release(old) {
                            dirty.insert(key);
                        }
                    }
                }
                Step::Flush(number) => {
                    let key = Key::new(number).unwrap();
                    prop_assert_eq!(pool.flushed(key), dirty.remove(&key));
                }
                Step::FlushAll => {
                    pool.flushed_all();
                    dirty.clear();
                }
            }
            invariants(&pool, &living, &dirty);
        }
        // When all domains are gone and flushed, all keys are back.
        for lease in living {
            pool.release(lease);
        }
        pool.flushed_all();
        prop_assert_eq!(pool.stats().free as usize, POOL);
    }
}

/// The pool behind a lock, as the kernel has it, with real threads: a key that
/// is not marked shared is in one thread's hands at a time.
#[test]
fn threads_never_meet_on_a_key_that_is_not_shared() {
    static POOL_LOCK: spin::Mutex<KeyPool> = spin::Mutex::new(KeyPool::new());
    static HOLDERS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
    let rounds = 4000;
    std::thread::scope(|scope| {
        for thread in 0..6usize {
            scope.spawn(move || {
                let mut mine: Vec<Lease> = Vec::new();
                for round in 0..rounds {
                    // Three threads alone never run out, six sometimes do.
                    let want = (round * (thread + 3) / 7) % 4;
                    while mine.len() > want {
                        let lease = mine.pop().unwrap();
                        let key = usize::from(lease.key().number());
                        let mut pool = POOL_LOCK.lock();
                        HOLDERS[key].fetch_sub(1, Ordering::Relaxed);
                        pool.release(lease);
                    }
                    while mine.len() < want {
                        let mut pool = POOL_LOCK.lock();
                        match pool.acquire() {
                            Ok(lease) => {
                                let key = usize::from(lease.key().number());
                                let others = HOLDERS[key].fetch_add(1, Ordering::Relaxed);
                                assert!(others == 0 || pool.is_shared(lease.key()));
                                mine.push(lease);
                            }
                            Err(PoolError::FlushFirst) => pool.flushed_all(),
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                    if round % 16 == 0 {
                        std::thread::yield_now();
                    }
                    let pool = POOL_LOCK.lock();
                    for lease in &mine {
                        let holders =
                            HOLDERS[usize::from(lease.key().number())].load(Ordering::Relaxed);
                        assert!(holders == 1 || pool.is_shared(lease.key()));
                    }
                }
                for lease in mine {
                    let mut pool = POOL_LOCK.lock();
                    HOLDERS[usize::from(lease.key().number())].fetch_sub(1, Ordering::Relaxed);
                    pool.release(lease);
                }
            });
        }
    });
    let mut pool = POOL_LOCK.lock();
    pool.flushed_all();
    assert_eq!(pool.stats().free as usize, POOL);
}
