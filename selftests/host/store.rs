// SPDX-License-Identifier: GPL-2.0
//! The hash table against std's, step by step and under threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::store::hash::hash;
use bailey::pure::store::{Amended, Element, Refusal, Table, Updated, When};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;

/// The words of a table, with a key and a value for each element.
struct Words {
    buckets: Vec<AtomicU64>,
    elements: Vec<Element<AtomicU32>>,
    spares: Vec<AtomicU32>,
    free: AtomicU64,
    keys: Vec<AtomicU32>,
    /// Two halves, so that a torn value shows.
    values: Vec<[AtomicU64; 2]>,
    locks: Vec<Mutex<()>>,
}

impl Words {
    fn new(buckets: usize, keys: usize, cpus: usize) -> Self {
        let words = Self {
            buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            elements: (0..keys + cpus).map(|_| Element::default()).collect(),
            spares: (0..cpus).map(|_| AtomicU32::new(0)).collect(),
            free: AtomicU64::new(0),
            keys: (0..keys + cpus).map(|_| AtomicU32::new(0)).collect(),
            values: (0..keys + cpus).map(|_| Default::default()).collect(),
            locks: (0..buckets).map(|_| Mutex::new(())).collect(),
        };
        assert!(words.table().init());
        words
    }

    fn table(&self) -> Table<'_, AtomicU32, AtomicU64> {
        Table::new(&self.buckets, &self.elements, &self.spares, &self.free)
    }

    fn is(&self, number: u32, key: u32) -> bool {
        self.keys[number as usize].load(SeqCst) == key
    }

    fn find(&self, key: u32) -> Option<u32> {
        self.table()
            .find(hashed(key), |number| self.is(number, key))
    }

    fn get(&self, key: u32) -> Option<u64> {
        self.find(key)
            .map(|number| self.values[number as usize][0].load(SeqCst))
    }

    fn fill(&self, number: u32, key: u32, value: u64) {
        self.keys[number as usize].store(key, SeqCst);
        for half in &self.values[number as usize] {
            half.store(value, SeqCst);
        }
    }

    fn update(&self, cpu: usize, key: u32, value: u64, when: When) -> Result<Updated, Refusal> {
        let table = self.table();
        let _lock = self.locks[table.bucket_of(hashed(key)) as usize].lock();
        let matches = |number| self.is(number, key);
        let fill = |number| self.fill(number, key, value);
        table.update(cpu, hashed(key), when, matches, fill)
    }

    fn put(&self, number: u32, key: u32, value: u64, when: When) -> Result<Option<u32>, Refusal> {
        let table = self.table();
        let _lock = self.locks[table.bucket_of(hashed(key)) as usize].lock();
        let matches = |number| self.is(number, key);
        let fill = |number| self.fill(number, key, value);
        table.put(number, hashed(key), when, matches, fill)
    }

    /// In place; `taken` is for a key that is new, if there is one: else a free one.
    fn amend(
        &self,
        key: u32,
        value: u64,
        when: When,
        taken: Option<Option<u32>>,
    ) -> Result<Amended, Refusal> {
        let table = self.table();
        let _lock = self.locks[table.bucket_of(hashed(key)) as usize].lock();
        let matches = |number| self.is(number, key);
        let take = || taken.unwrap_or_else(|| table.take());
        let change = |number: u32| {
            assert!(self.is(number, key));
            self.fill(number, key, value);
        };
        let fill = |number| self.fill(number, key, value);
        table.amend(hashed(key), when, matches, take, change, fill)
    }

    /// Takes a key's element away.
    fn forget(&self, key: u32) -> Option<u32> {
        let table = self.table();
        let _lock = self.locks[table.bucket_of(hashed(key)) as usize].lock();
        let number = self.find(key)?;
        assert!(table.remove(hashed(key), number));
        assert!(!table.remove(hashed(key), number));
        Some(number)
    }

    fn delete(&self, key: u32) -> bool {
        let table = self.table();
        let lock = self.locks[table.bucket_of(hashed(key)) as usize].lock();
        let found = self.find(key);
        let removed = found.is_some_and(|number| table.remove(hashed(key), number));
        drop(lock);
        if let (true, Some(number)) = (removed, found) {
            table.give(number);
        }
        removed
    }

    /// All keys and values, by the chains.
    fn all(&self) -> HashMap<u32, u64> {
        let table = self.table();
        let mut all = HashMap::new();
        for bucket in 0..table.bucket_count() {
            let mut at = table.first(bucket);
            while let Some(number) = at {
                let key = self.keys[number as usize].load(SeqCst);
                let value = self.values[number as usize][0].load(SeqCst);
                assert_eq!(table.bucket_of(hashed(key)), bucket);
                assert!(all.insert(key, value).is_none(), "{key} is there twice");
                at = table.next(number);
            }
        }
        all
    }

    /// No element is lost and none is there twice.
    fn check_elements(&self) {
        let used = self.all().len();
        let keys = self.elements.len() - self.spares.len();
        // What is left can be filled, and no more.
        let mut added = 0;
        while self.update(0, 1_000_000 + added, 0, When::New).is_ok() {
            added += 1;
        }
        assert_eq!(used + added as usize, keys);
        assert_eq!(self.all().len(), keys);
    }
}

/// Few hashes, so that keys collide fully and by bucket alone.
fn hashed(key: u32) -> u32 {
    key % 24
}

#[derive(Clone, Debug)]
enum Step {
    Update(u32, u64, When, usize),
    Delete(u32),
    Get(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let when = prop_oneof![Just(When::Any), Just(When::New), Just(When::Old)];
    let step = prop_oneof![
        4 => (0u32..40, any::<u64>(), when, 0usize..3)
            .prop_map(|(key, value, when, cpu)| Step::Update(key, value, when, cpu)),
        2 => (0u32..40).prop_map(Step::Delete),
        2 => (0u32..40).prop_map(Step::Get),
    ];
    vec(step, 0..300)
}

/// A step that is no update, in the table and in the model. A deleted key's element goes to
/// `free`, if the caller has those that no key has.
fn other(
    words: &Words,
    model: &mut HashMap<u32, u64>,
    step: &Step,
    free: Option<&mut Vec<u32>>,
) -> Result<(), TestCaseError> {
    match (step, free) {
        (Step::Delete(key), None) => {
            prop_assert_eq!(words.delete(*key), model.remove(key).is_some());
        }
        (Step::Delete(key), Some(free)) => {
            let number = words.forget(*key);
            prop_assert_eq!(number.is_some(), model.remove(key).is_some());
            free.extend(number);
        }
        (Step::Get(key), _) => prop_assert_eq!(words.get(*key), model.get(key).copied()),
        (Step::Update(..), _) => unreachable!("an update is the test's own"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_means_what_a_map_with_a_limit_means(steps in steps(), keys in 1usize..24, bits in 0u32..5) {
        let words = Words::new(1 << bits, keys, 3);
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Update(key, value, when, cpu) => {
                    let there = model.contains_key(&key);
                    let expected = match when {
                        When::New if there => Err(Refusal::Exists),
                        When::Old if !there => Err(Refusal::Missing),
                        _ if there => Ok(Updated::Replaced),
                        _ if model.len() == keys => Err(Refusal::Full),
                        _ => Ok(Updated::Added),
                    };
                    if expected.is_ok() {
                        model.insert(key, value);
                    }
                    prop_assert_eq!(words.update(cpu, key, value, when), expected);
                }
                step => other(&words, &mut model, &step, None)?,
            }
            prop_assert_eq!(&words.all(), &model);
        }
        words.check_elements();
    }

    #[test]
    fn it_means_what_a_map_that_forgets_means(steps in steps(), keys in 1usize..24, bits in 0u32..5) {
        let words = Words::new(1 << bits, keys, 0);
        let mut model = HashMap::new();
        let mut free: Vec<u32> = (0..keys as u32).collect();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Update(key, value, when, _) => {
                    // Any may go for it, the key itself as well.
                    let number = free.pop().unwrap_or_else(|| {
                        let mut there: Vec<u32> = model.keys().copied().collect();
                        there.sort_unstable();
                        let victim = there[n % there.len()];
                        model.remove(&victim);
                        words.forget(victim).unwrap()
                    });
                    let there = model.contains_key(&key);
                    let put = words.put(number, key, value, when);
                    match (when, there) {
                        (When::New, true) => prop_assert_eq!(put, Err(Refusal::Exists)),
                        (When::Old, false) => prop_assert_eq!(put, Err(Refusal::Missing)),
                        _ => prop_assert_eq!(put.map(|old| old.is_some()), Ok(there)),
                    }
                    match put {
                        Ok(old) => {
                            free.extend(old);
                            model.insert(key, value);
                        }
                        Err(_) => free.push(number),
                    }
                }
                step => other(&words, &mut model, &step, Some(&mut free))?,
            }
            prop_assert_eq!(&words.all(), &model);
            prop_assert_eq!(free.len() + model.len(), keys);
        }
    }

    #[test]
    fn it_means_what_a_map_that_is_written_in_place_means(
        steps in steps(), keys in 1usize..24, bits in 0u32..5,
    ) {
        let words = Words::new(1 << bits, keys, 0);
        let mut model = HashMap::new();
        for step in steps {
            match step {
                Step::Update(key, value, when, _) => {
                    let at = words.find(key);
                    let expected = match (when, at) {
                        (When::New, Some(_)) => Err(Refusal::Exists),
                        (When::Old, None) => Err(Refusal::Missing),
                        // It keeps its element.
                        (_, Some(at)) => Ok(Amended::Changed(at)),
                        _ if model.len() == keys => Err(Refusal::Full),
                        _ => Ok(Amended::Added),
                    };
                    if expected.is_ok() {
                        model.insert(key, value);
                    }
                    prop_assert_eq!(words.amend(key, value, when, None), expected);
                }
                step => other(&words, &mut model, &step, None)?,
            }
            prop_assert_eq!(&words.all(), &model);
        }
        words.check_elements();
    }

    #[test]
    fn what_is_taken_for_a_key_that_is_there_stays_the_callers(
        steps in steps(), keys in 1usize..24, bits in 0u32..5,
    ) {
        let words = Words::new(1 << bits, keys, 0);
        let mut model = HashMap::new();
        let mut free: Vec<u32> = (0..keys as u32).collect();
        for step in steps {
            match step {
                Step::Update(key, value, when, _) => {
                    let taken = free.pop();
                    let there = model.contains_key(&key);
                    let amended = words.amend(key, value, when, Some(taken));
                    match (when, there) {
                        (When::New, true) => prop_assert_eq!(amended, Err(Refusal::Exists)),
                        (When::Old, false) => prop_assert_eq!(amended, Err(Refusal::Missing)),
                        (_, false) if taken.is_none() => {
                            prop_assert_eq!(amended, Err(Refusal::Full));
                        }
                        _ => prop_assert_eq!(amended == Ok(Amended::Added), !there),
                    }
                    if amended.is_ok() {
                        model.insert(key, value);
                    }
                    if amended != Ok(Amended::Added) {
                        free.extend(taken);
                    }
                }
                step => other(&words, &mut model, &step, Some(&mut free))?,
            }
            prop_assert_eq!(&words.all(), &model);
            prop_assert_eq!(free.len() + model.len(), keys);
        }
    }

    #[test]
    fn the_hash_is_the_kernels(words in vec(any::<u32>(), 0..12), seed in any::<u32>()) {
        let ours = hash(words.len() as u32, seed, |at| words[at as usize]);
        prop_assert_eq!(ours, jhash2(&words, seed));
    }
}

/// lookup3's `hashword()`, by its author's steps (Bob Jenkins, public domain),
/// each written out.
fn jhash2(words: &[u32], seed: u32) -> u32 {
    let start = 0xdead_beef_u32
        .wrapping_add((words.len() as u32) << 2)
        .wrapping_add(seed);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = words;
    while rest.len() > 3 {
        a = a.wrapping_add(rest[0]);
        b = b.wrapping_add(rest[1]);
        c = c.wrapping_add(rest[2]);
        for round in [[4, 6, 8], [16, 19, 4]] {
            a = a.wrapping_sub(c);
            a ^= c.rotate_left(round[0]);
            c = c.wrapping_add(b);
            b = b.wrapping_sub(a);
            b ^= a.rotate_left(round[1]);
            a = a.wrapping_add(c);
            c = c.wrapping_sub(b);
            c ^= b.rotate_left(round[2]);
            b = b.wrapping_add(a);
        }
        rest = &rest[3..];
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(rest[0]);
    b = b.wrapping_add(rest.get(1).copied().unwrap_or(0));
    c = c.wrapping_add(rest.get(2).copied().unwrap_or(0));
    let mut state = [a, b, c];
    for (to, from, bits) in [
        (2, 1, 14),
        (0, 2, 11),
        (1, 0, 25),
        (2, 1, 16),
        (0, 2, 4),
        (1, 0, 14),
        (2, 1, 24),
    ] {
        state[to] ^= state[from];
        state[to] = state[to].wrapping_sub(state[from].rotate_left(bits));
    }
    state[2]
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let fits = |buckets: usize, keys: usize, cpus: usize| {
        let buckets: Vec<AtomicU64> = (0..buckets).map(|_| AtomicU64::new(0)).collect();
        let elements: Vec<Element<AtomicU32>> = (0..keys).map(|_| Element::default()).collect();
        let spares: Vec<AtomicU32> = (0..cpus).map(|_| AtomicU32::new(0)).collect();
        Table::new(&buckets, &elements, &spares, &AtomicU64::new(0)).init()
    };
    assert!(fits(4, 3, 2));
    assert!(!fits(3, 3, 2));
    assert!(!fits(0, 3, 2));
    assert!(!fits(4, 2, 2));
}

#[test]
fn an_update_within_an_update_of_the_same_cpu_loses_nothing() {
    let words = Words::new(8, 4, 1);
    for key in 0..3 {
        words.update(0, key, 1, When::Any).unwrap();
    }
    let table = words.table();
    for _ in 0..10 {
        // As an NMI does: between the taking of the spare and its return.
        let matches = |number| words.is(number, 0);
        let outer = table.update(0, hashed(0), When::Old, matches, |number| {
            // The first takes the free element; then there is none.
            assert_eq!(words.update(0, 1, 3, When::Old), Ok(Updated::Replaced));
            assert_eq!(words.update(0, 2, 3, When::Old), Ok(Updated::Replaced));
            assert_eq!(words.update(0, 9, 3, When::New), Err(Refusal::Full));
            words.keys[number as usize].store(0, SeqCst);
        });
        assert_eq!(outer, Ok(Updated::Replaced));
        assert_eq!(words.update(0, 9, 3, When::New), Ok(Updated::Added));
        let outer = table.update(0, hashed(0), When::Old, matches, |number| {
            assert_eq!(words.update(0, 1, 3, When::Old), Err(Refusal::Busy));
            words.keys[number as usize].store(0, SeqCst);
        });
        assert_eq!(outer, Ok(Updated::Replaced));
        assert!(words.delete(9));
    }
    words.check_elements();
}

#[test]
fn threads_find_what_is_always_there_and_lose_no_element() {
    let words = Words::new(4, 64, 4);
    let done = AtomicBool::new(false);
    // Keys 0 to 7 are always there, and replaced; 8 to 79 come and go.
    for key in 0..8 {
        words.update(0, key, u64::from(key), When::Any).unwrap();
    }
    thread::scope(|scope| {
        for cpu in 0..3usize {
            let (words, done) = (&words, &done);
            scope.spawn(move || {
                let mut state = cpu as u32 + 1;
                for _ in 0..200_000 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let key = (state >> 8) % 80;
                    if key < 8 {
                        let value = (u64::from(state) << 32) | u64::from(key);
                        words.update(cpu, key, value, When::Old).unwrap();
                    } else if state & (1 << 30) == 0 {
                        let _ = words.update(cpu, key, u64::from(key), When::Any);
                    } else {
                        words.delete(key);
                    }
                }
                done.store(true, SeqCst);
            });
        }
        scope.spawn(|| {
            while !done.load(SeqCst) {
                for key in 0..8 {
                    assert!(words.find(key).is_some(), "{key} is missed");
                }
                for key in 100..108 {
                    assert!(words.find(key).is_none(), "{key} was never there");
                }
            }
        });
    });
    let all = words.all();
    for key in 0..8 {
        assert_eq!(all[&key] as u32, key);
    }
    words.check_elements();
}
