// SPDX-License-Identifier: GPL-2.0
//! The trie against the kernel's own steps (kernel/bpf/lpm_trie.c), against a
//! plain list of prefixes, and under threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::store::trie::{Key, Node, Refusal, Shape, State, Trie};
use bailey::pure::store::{Updated, When};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;

/// The words of a trie, with a value for each node that may have one.
struct Words {
    shape: Shape,
    nodes: Vec<Node<AtomicU32>>,
    words: Vec<AtomicU64>,
    state: State<AtomicU32, AtomicU64>,
    values: Vec<AtomicU64>,
    lock: Mutex<()>,
}

impl Words {
    fn new(most: u32, spare: u32, bits: u32) -> Self {
        let shape = Shape { most, spare, bits };
        let words = Self {
            shape,
            nodes: (0..shape.nodes()).map(|_| Node::default()).collect(),
            words: (0..shape.nodes() as usize * shape.width())
                .map(|_| AtomicU64::new(0))
                .collect(),
            state: State::default(),
            values: (0..shape.real()).map(|_| AtomicU64::new(0)).collect(),
            lock: Mutex::new(()),
        };
        assert!(words.trie().init());
        words
    }

    fn trie(&self) -> Trie<'_, AtomicU32, AtomicU64> {
        Trie::new(self.shape, &self.nodes, &self.words, &self.state)
    }

    fn get<const N: usize>(&self, key: &Key<N>) -> Option<u64> {
        let number = self.trie().find(key)?;
        Some(self.values[number as usize].load(SeqCst))
    }

    fn update<const N: usize>(
        &self,
        key: &Key<N>,
        value: u64,
        when: When,
    ) -> Result<Updated, Refusal> {
        let _lock = self.lock.lock().unwrap();
        self.trie().update(key, when, |number| {
            self.values[number as usize].store(value, SeqCst);
        })
    }

    fn remove<const N: usize>(&self, key: &Key<N>) -> Result<(), Refusal> {
        let _lock = self.lock.lock().unwrap();
        self.trie().remove(key)
    }

    /// All prefixes, in the order of keys.
    fn all<const N: usize>(&self) -> Vec<Key<N>> {
        let mut all: Vec<Key<N>> = Vec::new();
        while let Some(next) = self.trie().next(all.last()) {
            all.push(next);
            assert!(all.len() <= self.shape.most as usize);
        }
        all
    }

    /// No node is lost and none is there twice.
    fn check_nodes(&self) {
        let mut keys = self.all::<2>();
        while let Some(key) = keys.pop() {
            self.remove(&key).unwrap();
        }
        assert_eq!(self.trie().count(), 0);
        // All in one path, and all side by side: the most inner nodes.
        let side_by_side = |n: u32| Key {
            len: 8,
            words: [u64::from(n) << 56, 0],
        };
        for _ in 0..3 {
            for n in 0..self.shape.most.min(256) {
                self.update(&side_by_side(n), 0, When::New).unwrap();
            }
            for n in 0..self.shape.most.min(256) {
                self.remove(&side_by_side(n)).unwrap();
            }
        }
    }
}

/// The kernel's trie, step by step as there.
#[derive(Default)]
struct Kernels {
    nodes: Vec<KernelNode>,
    root: Option<usize>,
    count: u32,
    most: u32,
    bits: u32,
}

#[derive(Clone)]
struct KernelNode {
    child: [Option<usize>; 2],
    len: u32,
    inner: bool,
    data: Vec<u8>,
    value: u64,
}

#[derive(Clone, Copy)]
enum Slot {
    Root,
    Child(usize, usize),
}

fn bit(data: &[u8], at: u32) -> usize {
    usize::from((data[at as usize / 8] >> (7 - at % 8)) & 1)
}

impl Kernels {
    fn longest_match(&self, node: usize, len: u32, data: &[u8]) -> u32 {
        let node = &self.nodes[node];
        let limit = node.len.min(len);
        (0..limit)
            .find(|&at| bit(&node.data, at) != bit(data, at))
            .unwrap_or(limit)
    }

    fn at(&self, slot: Slot) -> Option<usize> {
        match slot {
            Slot::Root => self.root,
            Slot::Child(node, side) => self.nodes[node].child[side],
        }
    }

    fn assign(&mut self, slot: Slot, node: Option<usize>) {
        match slot {
            Slot::Root => self.root = node,
            Slot::Child(at, side) => self.nodes[at].child[side] = node,
        }
    }

    fn lookup(&self, len: u32, data: &[u8]) -> Option<u64> {
        if len > self.bits {
            return None;
        }
        let (mut found, mut node) = (None, self.root);
        while let Some(at) = node {
            let matched = self.longest_match(at, len, data);
            if matched == self.bits {
                found = Some(at);
                break;
            }
            if matched < self.nodes[at].len {
                break;
            }
            if !self.nodes[at].inner {
                found = Some(at);
            }
            node = self.nodes[at].child[bit(data, self.nodes[at].len)];
        }
        found.map(|at| self.nodes[at].value)
    }

    fn check_add(&mut self, flags: When) -> Result<(), Refusal> {
        if flags == When::Old {
            return Err(Refusal::Missing);
        }
        if self.count == self.most {
            return Err(Refusal::Full);
        }
        self.count += 1;
        Ok(())
    }

    fn update(&mut self, len: u32, data: &[u8], value: u64, flags: When) -> Result<(), Refusal> {
        if len > self.bits {
            return Err(Refusal::Long);
        }
        let new = self.nodes.len();
        self.nodes.push(KernelNode {
            child: [None; 2],
            len,
            inner: false,
            data: data.to_vec(),
            value,
        });
        let mut slot = Slot::Root;
        let mut matched = 0;
        while let Some(node) = self.at(slot) {
            matched = self.longest_match(node, len, data);
            let own = self.nodes[node].len;
            if own != matched || own == len {
                break;
            }
            slot = Slot::Child(node, bit(data, own));
        }
        let Some(node) = self.at(slot) else {
            self.check_add(flags)?;
            self.assign(slot, Some(new));
            return Ok(());
        };
        if self.nodes[node].len == matched {
            if !self.nodes[node].inner {
                if flags == When::New {
                    return Err(Refusal::Exists);
                }
            } else {
                self.check_add(flags)?;
            }
            self.nodes[new].child = self.nodes[node].child;
            self.assign(slot, Some(new));
            return Ok(());
        }
        self.check_add(flags)?;
        if matched == len {
            let side = bit(&self.nodes[node].data, matched);
            self.nodes[new].child[side] = Some(node);
            self.assign(slot, Some(new));
            return Ok(());
        }
        let inner = self.nodes.len();
        let mut child = [Some(new), Some(node)];
        if bit(data, matched) == 1 {
            child.swap(0, 1);
        }
        let data = self.nodes[node].data.clone();
        self.nodes.push(KernelNode {
            child,
            len: matched,
            inner: true,
            data,
            value: 0,
        });
        self.assign(slot, Some(inner));
        Ok(())
    }

    fn delete(&mut self, len: u32, data: &[u8]) -> Result<(), Refusal> {
        if len > self.bits {
            return Err(Refusal::Long);
        }
        let (mut trim, mut trim2) = (Slot::Root, Slot::Root);
        let mut parent = None;
        let mut matched = 0;
        while let Some(node) = self.at(trim) {
            matched = self.longest_match(node, len, data);
            let own = self.nodes[node].len;
            if own != matched || own == len {
                break;
            }
            parent = Some(node);
            trim2 = trim;
            trim = Slot::Child(node, bit(data, own));
        }
        let node = self.at(trim).ok_or(Refusal::Missing)?;
        let own = self.nodes[node].clone();
        if own.len != len || own.len != matched || own.inner {
            return Err(Refusal::Missing);
        }
        self.count -= 1;
        if own.child[0].is_some() && own.child[1].is_some() {
            self.nodes[node].inner = true;
            return Ok(());
        }
        if let (Some(parent), [None, None]) = (parent, own.child) {
            if self.nodes[parent].inner {
                let [zero, one] = self.nodes[parent].child;
                self.assign(trim2, if zero == Some(node) { one } else { zero });
                return Ok(());
            }
        }
        self.assign(trim, own.child[0].or(own.child[1]));
        Ok(())
    }

    fn leftmost(&self, root: usize) -> Option<usize> {
        let (mut next, mut node) = (None, Some(root));
        while let Some(at) = node {
            let this = &self.nodes[at];
            if this.inner {
                node = this.child[0];
            } else {
                next = Some(at);
                node = this.child[0].or(this.child[1]);
            }
        }
        next
    }

    fn next_key(&self, key: Option<(u32, &[u8])>) -> Option<(u32, Vec<u8>)> {
        let root = self.root?;
        let copy =
            |at: Option<usize>| at.map(|at| (self.nodes[at].len, self.nodes[at].data.clone()));
        let Some((len, data)) = key.filter(|key| key.0 <= self.bits) else {
            return copy(self.leftmost(root));
        };
        let mut stack = Vec::new();
        let mut matched = 0;
        let mut node = self.root;
        while let Some(at) = node {
            stack.push(at);
            matched = self.longest_match(at, len, data);
            let own = self.nodes[at].len;
            if own != matched || own == len {
                break;
            }
            node = self.nodes[at].child[bit(data, own)];
        }
        let Some(mut at) =
            node.filter(|&at| self.nodes[at].len == matched && !self.nodes[at].inner)
        else {
            return copy(self.leftmost(root));
        };
        stack.pop();
        while let Some(parent) = stack.pop() {
            let this = &self.nodes[parent];
            if let (true, Some(one)) = (this.child[0] == Some(at), this.child[1]) {
                return copy(self.leftmost(one));
            }
            if !this.inner {
                return copy(Some(parent));
            }
            at = parent;
        }
        None
    }
}

/// What a program passes, as bytes and as words.
fn words<const N: usize>(len: u32, data: &[u8]) -> Key<N> {
    let mut words = [0; N];
    for (n, byte) in data.iter().enumerate() {
        words[n / 8] |= u64::from(*byte) << (56 - 8 * (n % 8));
    }
    Key { len, words }
}

#[derive(Clone, Debug)]
enum Step {
    Update(u32, Vec<u8>, u64, When),
    Delete(u32, Vec<u8>),
    Get(u32, Vec<u8>),
    Next(u32, Vec<u8>),
}

/// Bytes that begin alike, so that prefixes are of each other; lengths that are
/// too long now and then.
fn key(size: usize) -> impl Strategy<Value = (u32, Vec<u8>)> {
    let byte = prop_oneof![4 => Just(0u8), 2 => Just(0xff), 2 => Just(0x80), 1 => any::<u8>()];
    let bits = size as u32 * 8;
    let len =
        prop_oneof![4 => 0..=bits, 2 => Just(bits), 1 => 0..=bits.min(4), 1 => bits..=bits + 3];
    (len, vec(byte, size))
}

fn steps(size: usize) -> impl Strategy<Value = Vec<Step>> {
    let when = prop_oneof![2 => Just(When::Any), 1 => Just(When::New), 1 => Just(When::Old)];
    let step = prop_oneof![
        5 => (key(size), any::<u64>(), when)
            .prop_map(|((len, data), value, when)| Step::Update(len, data, value, when)),
        3 => key(size).prop_map(|(len, data)| Step::Delete(len, data)),
        3 => key(size).prop_map(|(len, data)| Step::Get(len, data)),
        1 => key(size).prop_map(|(len, data)| Step::Next(len, data)),
    ];
    vec(step, 0..200)
}

/// The prefixes, as a plain list: what a look-up means.
#[derive(Default)]
struct List(Vec<(u32, Vec<u8>, u64)>);

impl List {
    fn begins_with(data: &[u8], len: u32, other: &[u8]) -> bool {
        (0..len).all(|at| bit(data, at) == bit(other, at))
    }

    fn position(&self, len: u32, data: &[u8]) -> Option<usize> {
        self.0
            .iter()
            .position(|(own, prefix, _)| *own == len && Self::begins_with(data, len, prefix))
    }

    fn longest(&self, len: u32, data: &[u8]) -> Option<u64> {
        self.0
            .iter()
            .filter(|(own, prefix, _)| *own <= len && Self::begins_with(data, *own, prefix))
            .max_by_key(|(own, ..)| *own)
            .map(|(.., value)| *value)
    }
}

fn means_the_kernels<const N: usize>(
    steps: Vec<Step>,
    size: usize,
    most: u32,
    spare: u32,
) -> Result<(), TestCaseError> {
    let bits = size as u32 * 8;
    let ours = Words::new(most, spare, bits);
    let mut kernels = Kernels {
        most,
        bits,
        ..Kernels::default()
    };
    let mut list = List::default();
    for step in steps {
        match step {
            Step::Update(len, data, value, when) => {
                let expected = kernels.update(len, &data, value, when);
                let there = (len <= bits).then(|| list.position(len, &data)).flatten();
                let got = ours.update(&words::<N>(len, &data), value, when);
                prop_assert_eq!(got.map(|_| ()), expected);
                if let Ok(updated) = got {
                    prop_assert_eq!(updated == Updated::Replaced, there.is_some());
                    if let Some(there) = there {
                        list.0.remove(there);
                    }
                    list.0.push((len, data, value));
                }
            }
            Step::Delete(len, data) => {
                let expected = kernels.delete(len, &data);
                prop_assert_eq!(ours.remove(&words::<N>(len, &data)), expected);
                if expected.is_ok() {
                    list.0.remove(list.position(len, &data).unwrap());
                }
            }
            Step::Get(len, data) => {
                let expected = kernels.lookup(len, &data);
                prop_assert_eq!(ours.get(&words::<N>(len, &data)), expected);
                if len <= bits {
                    prop_assert_eq!(list.longest(len, &data), expected);
                }
            }
            Step::Next(len, data) => {
                let expected = kernels.next_key(Some((len, &data)));
                let next = ours.trie().next(Some(&words::<N>(len, &data)));
                prop_assert_eq!(next, expected.map(|(len, data)| words::<N>(len, &data)));
            }
        }
        prop_assert_eq!(ours.trie().count(), kernels.count);
        prop_assert_eq!(list.0.len(), kernels.count as usize);
        // The whole walk, in the kernel's order.
        let mut walk: Vec<(u32, Vec<u8>)> = Vec::new();
        while let Some(next) = kernels.next_key(walk.last().map(|(len, data)| (*len, &**data))) {
            walk.push(next);
        }
        let walk: Vec<Key<N>> = walk.iter().map(|(len, data)| words(*len, data)).collect();
        prop_assert_eq!(ours.all::<N>(), walk);
    }
    if N == 2 {
        ours.check_nodes();
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_means_what_the_kernels_means(steps in steps(4), most in 1u32..40, spare in 2u32..4) {
        means_the_kernels::<2>(steps, 4, most, spare)?;
    }

    #[test]
    fn so_it_does_with_keys_of_one_byte(steps in steps(1), most in 1u32..40, spare in 2u32..4) {
        means_the_kernels::<1>(steps, 1, most, spare)?;
    }

    #[test]
    fn so_it_does_with_keys_of_several_words(steps in steps(16), most in 1u32..20) {
        means_the_kernels::<2>(steps, 16, most, 2)?;
    }

    #[test]
    fn so_it_does_with_long_keys_of_odd_bytes(steps in steps(27), most in 1u32..20) {
        means_the_kernels::<32>(steps, 27, most, 2)?;
    }
}

#[test]
fn the_longest_keys_are_told_apart_by_their_last_bit() {
    let trie = Words::new(4, 2, 2048);
    let mut data = [0x55u8; 256];
    trie.update(&words::<32>(2047, &data), 1, When::New)
        .unwrap();
    trie.update(&words::<32>(2048, &data), 2, When::New)
        .unwrap();
    data[255] ^= 1;
    assert_eq!(trie.get(&words::<32>(2048, &data)), Some(1));
    trie.update(&words::<32>(2048, &data), 3, When::New)
        .unwrap();
    assert_eq!(trie.get(&words::<32>(2048, &data)), Some(3));
    data[255] ^= 2;
    assert_eq!(trie.get(&words::<32>(2048, &data)), None);
    assert_eq!(trie.get(&words::<32>(2049, &data)), None);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let fits = |most, spare, bits, nodes: usize, words: usize| {
        let nodes: Vec<Node<AtomicU32>> = (0..nodes).map(|_| Node::default()).collect();
        let words: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let shape = Shape { most, spare, bits };
        Trie::new(shape, &nodes, &words, &State::default()).init()
    };
    assert!(fits(4, 2, 65, 12, 24));
    assert!(!fits(4, 2, 65, 11, 24));
    assert!(!fits(4, 2, 65, 12, 12));
    assert!(!fits(4, 1, 64, 10, 10));
    assert!(!fits(0, 2, 64, 4, 4));
    assert!(!fits(4, 2, 0, 12, 0));
    assert!(!fits(4, 2, 2049, 12, 12 * 33));
    assert!(!fits(u32::MAX - 2, 2, 64, 0, 0));
}

#[test]
fn a_node_is_used_again_as_the_last_of_those_that_are_free() {
    let trie = Words::new(1, 5, 32);
    let key = words::<1>(32, &[1, 2, 3, 4]);
    trie.update(&key, 0, When::New).unwrap();
    let first = trie.trie().find(&key).unwrap();
    for round in 1..20 {
        trie.update(&key, round, When::Old).unwrap();
        let again = trie.trie().find(&key).unwrap() == first;
        assert_eq!(again, round % 6 == 0, "at update {round}");
    }
}

#[test]
fn threads_find_what_is_always_there_and_lose_no_node() {
    let trie = Words::new(64, 2, 32);
    let done = AtomicBool::new(false);
    // Prefixes of 8 bits are always there, and replaced; longer ones come and go.
    let always = |n: u32| words::<2>(8, &[n as u8, 0, 0, 0]);
    let within = |n: u32, r: u32| {
        let data = [n as u8, (r >> 8) as u8 & 0xc3, (r >> 16) as u8 & 0x81, 0];
        words::<2>(9 + (r >> 24) % 16, &data)
    };
    let value = |key: &Key<2>| (u64::from(key.len) << 32) | (key.words[0] >> (64 - key.len));
    for n in 0..8 {
        trie.update(&always(n), value(&always(n)), When::New)
            .unwrap();
    }
    thread::scope(|scope| {
        for cpu in 0..3u32 {
            let (trie, done) = (&trie, &done);
            scope.spawn(move || {
                let mut state = cpu + 1;
                for _ in 0..100_000 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let (n, r) = ((state >> 8) % 8, state.rotate_left(13));
                    let key = within(n, r);
                    match (state >> 28) & 3 {
                        0 => {
                            trie.update(&always(n), value(&always(n)), When::Old)
                                .unwrap();
                        }
                        1 => {
                            let _ = trie.remove(&key);
                        }
                        _ => {
                            let _ = trie.update(&key, value(&key), When::Any);
                        }
                    }
                }
                done.store(true, SeqCst);
            });
        }
        scope.spawn(|| {
            let mut r = 1u32;
            while !done.load(SeqCst) {
                r = r.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let mut key = within((r >> 8) % 8, r.rotate_left(13));
                assert!(
                    trie.trie().find(&key).is_some(),
                    "the shorter one is missed"
                );
                key.words[0] |= 1 << 63;
                assert!(trie.trie().find(&key).is_none(), "it was never there");
                let next = trie.trie().next(Some(&key)).unwrap();
                assert!(next.len >= 8 && next.words[0] >> 59 == 0);
            }
        });
    });
    let all: HashMap<u64, u64> = trie
        .all::<2>()
        .iter()
        .map(|key| (value(key), trie.get(key).unwrap()))
        .collect();
    assert_eq!(all.len() as u32, trie.trie().count());
    for (key, found) in &all {
        assert_eq!(key, found);
    }
    for n in 0..8 {
        assert!(all.contains_key(&value(&always(n))));
    }
    trie.check_nodes();
}
