// SPDX-License-Identifier: GPL-2.0
//! The hash table under every order of steps that the memory model allows
//! (loom), for tables of a few elements.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/races.rs"]
mod races;

use bailey::pure::store::{Element, Refusal, Table, Updated, When};
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Mutex;
use races::{race, Small, Wide};

/// A table whose keys are as the kernel's are: bytes that no order protects.
struct Words {
    buckets: Vec<Wide>,
    elements: Vec<Element<Small>>,
    spares: Vec<Small>,
    free: Wide,
    keys: Vec<AtomicU32>,
    locks: Vec<Mutex<()>>,
}

/// All keys of a bucket have the same hash: the key alone tells them apart.
fn hashed(key: u32) -> u32 {
    key / 10
}

impl Words {
    fn new(buckets: usize, keys: usize, cpus: usize) -> Self {
        let words = Self {
            buckets: (0..buckets).map(|_| Wide::default()).collect(),
            elements: (0..keys + cpus).map(|_| Element::default()).collect(),
            spares: (0..cpus).map(|_| Small::default()).collect(),
            free: Wide::default(),
            keys: (0..keys + cpus).map(|_| AtomicU32::new(99)).collect(),
            locks: (0..buckets).map(|_| Mutex::new(())).collect(),
        };
        assert!(words.table().init());
        words
    }

    fn table(&self) -> Table<'_, Small, Wide> {
        Table::new(&self.buckets, &self.elements, &self.spares, &self.free)
    }

    fn is(&self, number: u32, key: u32) -> bool {
        self.keys[number as usize].load(Relaxed) == key
    }

    fn find(&self, key: u32) -> Option<u32> {
        self.table()
            .find(hashed(key), |number| self.is(number, key))
    }

    fn update(&self, cpu: usize, key: u32, when: When) -> Result<Updated, Refusal> {
        let table = self.table();
        let _lock = self.locks[table.bucket_of(hashed(key)) as usize]
            .lock()
            .unwrap();
        let matches = |number| self.is(number, key);
        table.update(cpu, hashed(key), when, matches, |number| {
            self.keys[number as usize].store(key, Relaxed);
        })
    }

    /// Takes the element of a key for another one, as a map that forgets does.
    fn replace(&self, gone: u32, key: u32) {
        let table = self.table();
        let bucket_of = |key| table.bucket_of(hashed(key)) as usize;
        let lock = self.locks[bucket_of(gone)].lock().unwrap();
        let number = self.find(gone).unwrap();
        assert!(table.remove(hashed(gone), number));
        drop(lock);
        let _lock = self.locks[bucket_of(key)].lock().unwrap();
        let matches = |number| self.is(number, key);
        let put = table.put(number, hashed(key), When::New, matches, |number| {
            self.keys[number as usize].store(key, Relaxed);
        });
        assert_eq!(put, Ok(None));
    }

    fn delete(&self, key: u32) -> bool {
        let table = self.table();
        let lock = self.locks[table.bucket_of(hashed(key)) as usize]
            .lock()
            .unwrap();
        let found = self.find(key);
        let removed = found.is_some_and(|number| table.remove(hashed(key), number));
        drop(lock);
        if let (true, Some(number)) = (removed, found) {
            table.give(number);
        }
        removed
    }

    fn count(&self) -> usize {
        let table = self.table();
        let mut count = 0;
        for bucket in 0..table.bucket_count() {
            let mut at = table.first(bucket);
            while let Some(number) = at {
                count += 1;
                at = table.next(number);
            }
        }
        count
    }
}

/// One bucket with keys 1, 2 and 3.
fn one_chain() -> Words {
    let words = Words::new(1, 3, 1);
    for key in [1, 2, 3] {
        words.update(0, key, When::New).unwrap();
    }
    words
}

#[test]
fn a_key_that_is_replaced_is_never_missed() {
    race(
        one_chain,
        |words| {
            words.update(0, 2, When::Old).unwrap();
        },
        |words| assert!(words.find(2).is_some()),
        |words, ()| assert_eq!(words.count(), 3),
    );
}

#[test]
fn an_element_that_comes_back_to_its_bucket_hides_no_key() {
    race(
        one_chain,
        |words| {
            // The spare goes to 3, the element of 3 to 1.
            words.update(0, 3, When::Old).unwrap();
            words.update(0, 1, When::Old).unwrap();
        },
        |words| assert!(words.find(1).is_some()),
        |words, ()| assert_eq!(words.count(), 3),
    );
}

#[test]
fn a_reader_that_strays_into_another_chain_comes_back() {
    race(
        || {
            let words = Words::new(2, 2, 1);
            words.update(0, 1, When::New).unwrap();
            words.update(0, 2, When::New).unwrap();
            words
        },
        |words| {
            // The element of 2 moves to the other bucket.
            assert!(words.delete(2));
            words.update(0, 11, When::New).unwrap();
        },
        |words| {
            assert!(words.find(1).is_some());
            assert!(words.find(5).is_none());
        },
        |words, ()| assert!(words.find(11).is_some()),
    );
}

#[test]
fn a_key_that_comes_for_a_forgotten_one_hides_none() {
    race(
        one_chain,
        |words| words.replace(2, 4),
        |words| {
            assert!(words.find(1).is_some());
            assert!(words.find(3).is_some());
        },
        |words, ()| {
            assert!(words.find(4).is_some());
            assert!(words.find(2).is_none());
            assert_eq!(words.count(), 3);
        },
    );
}

#[test]
fn a_forgotten_element_that_comes_to_another_bucket_hides_none() {
    race(
        || {
            let words = Words::new(2, 2, 1);
            words.update(0, 1, When::New).unwrap();
            words.update(0, 2, When::New).unwrap();
            words
        },
        |words| words.replace(2, 11),
        |words| {
            assert!(words.find(1).is_some());
            assert!(words.find(5).is_none());
        },
        |words, ()| {
            assert!(words.find(11).is_some());
            assert!(words.find(2).is_none());
        },
    );
}

#[test]
fn writers_of_two_buckets_get_different_elements() {
    race(
        || {
            let words = Words::new(2, 2, 2);
            words.update(0, 1, When::New).unwrap();
            words
        },
        |words| {
            assert!(words.delete(1));
            words.update(1, 2, When::New).unwrap();
        },
        // One of two is free for each: nobody is turned away.
        |words| words.update(0, 11, When::New),
        |words, added| {
            assert_eq!(added, Ok(Updated::Added));
            assert_eq!(words.count(), 2);
            assert_ne!(words.find(2), words.find(11));
            assert_eq!(words.update(0, 12, When::New), Err(Refusal::Full));
        },
    );
}

#[test]
fn a_free_element_that_comes_back_is_not_taken_for_the_same_list() {
    race(
        || Words::new(2, 3, 2),
        |words| {
            // The first free element is taken and comes back over the second.
            words.update(1, 1, When::New).unwrap();
            words.update(1, 2, When::New).unwrap();
            assert!(words.delete(1));
        },
        |words| words.update(0, 11, When::New).unwrap(),
        |words, _| {
            assert_eq!(words.count(), 2);
            assert_ne!(words.find(2), words.find(11));
            words.update(0, 12, When::New).unwrap();
            assert_eq!(words.count(), 3);
            assert_eq!(words.update(0, 13, When::New), Err(Refusal::Full));
        },
    );
}
