// SPDX-License-Identifier: GPL-2.0
//! The trie under every order of steps that the memory model allows (loom), for
//! tries of a few nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/races.rs"]
mod races;

use bailey::pure::store::trie::{Key, Node, Shape, State, Trie};
use bailey::pure::store::When;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::Relaxed;
use loom::sync::Mutex;
use races::{race, Small, Wide};

/// A trie whose values are bytes that no order protects.
struct Words {
    shape: Shape,
    nodes: Vec<Node<Small>>,
    words: Vec<Wide>,
    state: State<Small, Wide>,
    values: Vec<[AtomicU32; 2]>,
    lock: Mutex<()>,
}

/// A prefix of `len` bits, which are those of `bits`.
fn key(len: u32, bits: u64) -> Key<1> {
    let words = [if len == 0 { 0 } else { bits << (64 - len) }];
    Key { len, words }
}

impl Words {
    /// With prefixes that are there; the value of each is its length.
    fn new(most: u32, spare: u32, there: &[Key<1>]) -> Self {
        let shape = Shape {
            most,
            spare,
            bits: 8,
        };
        let words = Self {
            shape,
            nodes: (0..shape.nodes()).map(|_| Node::default()).collect(),
            words: (0..shape.nodes()).map(|_| Wide::default()).collect(),
            state: State::default(),
            values: (0..shape.real())
                .map(|_| [AtomicU32::new(99), AtomicU32::new(99)])
                .collect(),
            lock: Mutex::new(()),
        };
        assert!(words.trie().init());
        for key in there {
            words.put(key, key.len);
        }
        words
    }

    fn trie(&self) -> Trie<'_, Small, Wide> {
        Trie::new(self.shape, &self.nodes, &self.words, &self.state)
    }

    fn put(&self, key: &Key<1>, value: u32) {
        let _lock = self.lock.lock().unwrap();
        let put = self.trie().update(key, When::Any, |number| {
            for half in &self.values[number as usize] {
                half.store(value, Relaxed);
            }
        });
        put.unwrap();
    }

    fn remove(&self, key: &Key<1>) {
        let _lock = self.lock.lock().unwrap();
        self.trie().remove(key).unwrap();
    }

    /// Both halves of a value.
    fn get(&self, key: &Key<1>) -> Option<[u32; 2]> {
        let number = self.trie().find(key)?;
        let [a, b] = &self.values[number as usize];
        Some([a.load(Relaxed), b.load(Relaxed)])
    }
}

#[test]
fn a_prefix_that_is_replaced_is_found_whole() {
    race(
        || Words::new(1, 3, &[key(4, 0b0101)]),
        |words| {
            words.put(&key(4, 0b0101), 5);
            words.put(&key(4, 0b0101), 6);
        },
        |words| words.get(&key(8, 0b0101_0000)).unwrap(),
        |words, [a, b]| {
            assert!(a == b && (4..=6).contains(&a), "{a} and {b}");
            assert_eq!(words.get(&key(4, 0b0101)), Some([6, 6]));
        },
    );
}

#[test]
fn a_prefix_is_found_while_another_parts_from_it() {
    race(
        || Words::new(3, 3, &[key(2, 0b10), key(4, 0b1000)]),
        |words| {
            words.put(&key(4, 0b1001), 7);
            words.remove(&key(4, 0b1000));
        },
        |words| {
            assert_eq!(words.get(&key(4, 0b1011)), Some([2, 2]));
            words.get(&key(4, 0b1000)).unwrap()
        },
        |words, [a, b]| {
            assert!(a == b && (a == 4 || a == 2), "{a} and {b}");
            assert_eq!(words.get(&key(4, 0b1001)), Some([7, 7]));
            assert_eq!(words.get(&key(4, 0b1000)), Some([2, 2]));
        },
    );
}

#[test]
fn what_begins_with_a_prefix_is_found_while_that_goes() {
    race(
        || Words::new(3, 3, &[key(1, 0), key(3, 0b000), key(3, 0b011)]),
        |words| words.remove(&key(1, 0)),
        |words| assert_eq!(words.get(&key(8, 0b0110_0001)), Some([3, 3])),
        |words, ()| assert_eq!(words.get(&key(3, 0b001)), None),
    );
}

#[test]
fn a_walk_finds_what_is_behind_a_prefix_that_goes() {
    race(
        || Words::new(3, 3, &[key(1, 0), key(3, 0b000), key(3, 0b011)]),
        |words| words.remove(&key(1, 0)),
        |words| words.trie().next(Some(&key(3, 0b000))),
        |_, next| assert_eq!(next, Some(key(3, 0b011))),
    );
}

/// Until the first node is another prefix's.
fn use_again(words: &Words) {
    words.remove(&key(4, 0b0000));
    for _ in 0..3 {
        words.put(&key(1, 1), 1);
    }
}

#[test]
fn a_node_that_is_used_again_is_not_taken_for_a_prefix_of_both() {
    race(
        || Words::new(1, 2, &[key(4, 0b0000)]),
        use_again,
        |words| assert_eq!(words.trie().find(&key(4, 0b0001)), None),
        |words, ()| assert_eq!(words.get(&key(4, 0b1000)), Some([1, 1])),
    );
}

#[test]
fn a_key_is_never_read_from_two() {
    race(
        || Words::new(1, 2, &[key(4, 0b0000)]),
        use_again,
        |words| words.trie().next::<1>(None),
        |_, next| {
            assert!(next.is_none_or(|next| next == key(4, 0b0000) || next == key(1, 1)));
        },
    );
}
