// SPDX-License-Identifier: GPL-2.0
//! A trie of prefixes, as kernel/bpf/lpm_trie.c: the longest prefix of a key is
//! found bit by bit. Nodes have numbers, and lie, as keys do, in words that the
//! caller owns; values are the caller's, by the node's number.
//!
//! The shape is the kernel's: a node for each prefix, and where two part that
//! have no common prefix among them an inner node with two children. So the order
//! of keys ([`Trie::next`]) is the kernel's, too. Nodes below [`Shape::real`] are
//! those of prefixes, the others inner ones; where the kernel turns a node into an
//! inner one, here an inner node takes its place.
//!
//! Readers take no lock; writers exclude each other by a lock of the caller's.
//! A node that is in the trie keeps its prefix, and one that was taken out all that
//! it had, so that a reader who stands on it goes on. It is used again as the last
//! of those that are free, of which there are [`Shape::spare`] at least. Who sees
//! fewer than that taken from its begin to its end has met none that was used again,
//! and begins again if not.

use super::{Updated, When, Word32, Word64, END};
use core::mem::{offset_of, size_of};

/// As often a reader begins again, each time because so many others came between.
const TRIES: u32 = 64;

/// The longest prefix in words: LPM_DATA_SIZE_MAX (kernel/bpf/lpm_trie.c).
pub const WIDEST: usize = 32;

/// What is kept of a node. All zeroes is fine before [`Trie::init`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct Node<W> {
    /// What goes on with a 0, and with a 1.
    child: [W; 2],
    /// Bits of its prefix.
    len: W,
    /// The next free one.
    free: W,
}

/// Free nodes of one kind: who comes first goes first.
#[derive(Debug, Default)]
#[repr(C)]
struct Queue<W> {
    first: W,
    last: W,
}

/// What a trie has once. All zeroes is fine before [`Trie::init`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct State<W, D> {
    root: W,
    /// Prefixes that are there.
    count: W,
    /// How many free nodes were ever taken.
    taken: D,
    real: Queue<W>,
    inner: Queue<W>,
}

/// How large a trie is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Shape {
    /// As many prefixes as may be.
    pub most: u32,
    /// So many nodes of each kind are always free: two at least.
    pub spare: u32,
    /// Bits of the longest prefix.
    pub bits: u32,
}

impl Shape {
    /// Nodes that may hold a prefix: these have values.
    #[inline(always)]
    pub fn real(&self) -> u32 {
        self.most.wrapping_add(self.spare)
    }

    /// Nodes of both kinds. There is one inner node less than prefixes at most.
    pub fn nodes(&self) -> u32 {
        self.real().wrapping_mul(2)
    }

    /// Words of a key.
    #[inline(always)]
    pub fn width(&self) -> usize {
        self.bits.div_ceil(64) as usize
    }
}

/// How what a look-up reads lies in one area: the [`State`], the nodes, the words of their
/// keys. So that it can be shown, on pages of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Index {
    /// Where the nodes begin, in bytes.
    pub nodes: u64,
    /// Where the words begin.
    pub words: u64,
    /// Bytes in all.
    pub len: u64,
}

/// A line of the cache, in bytes: nodes are not in the one that every update writes.
const LINE: usize = 64;

/// Bytes from one node to the next.
pub const NODE: u64 = size_of::<Node<u32>>() as u64;
/// Where in a node the number of what goes on with a 0 is; that of a 1 is behind it.
pub const CHILD: usize = offset_of!(Node<u32>, child);
/// Where in it the number of bits of its prefix is.
pub const LEN: usize = offset_of!(Node<u32>, len);
/// Where in the [`State`] the number of the first node is.
pub const ROOT: usize = offset_of!(State<u32, u64>, root);
/// Where in it is how many free nodes were ever taken.
pub const TAKEN: usize = offset_of!(State<u32, u64>, taken);

impl Index {
    /// For a trie of this shape.
    pub fn new(shape: &Shape) -> Option<Self> {
        let count = (u64::from(shape.most) + u64::from(shape.spare)).checked_mul(2)?;
        let nodes = size_of::<State<u32, u64>>().next_multiple_of(LINE) as u64;
        let words = nodes.checked_add(count.checked_mul(NODE)?)?;
        let each = (shape.width() * size_of::<u64>()) as u64;
        Some(Self {
            nodes,
            words,
            len: words.checked_add(count.checked_mul(each)?)?,
        })
    }
}

/// A prefix: the first bit is the highest of the first word. There are as many
/// words as a trie's keys have, or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<const N: usize> {
    /// How many bits count.
    pub len: u32,
    /// The bits, and what stands behind them.
    pub words: [u64; N],
}

impl<const N: usize> Key<N> {
    #[inline(always)]
    fn bit(&self, at: u32) -> usize {
        self.words
            .get(at as usize / 64)
            .map_or(0, |&word| high_bit(word, at % 64))
    }
}

/// Bit `at` of a word, counted from the highest.
#[inline(always)]
fn high_bit(word: u64, at: u32) -> usize {
    (word.rotate_left(at + 1) & 1) as usize
}

/// Why an update or a removal does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The prefix is longer than may be.
    Long,
    /// It is there.
    Exists,
    /// It is not there.
    Missing,
    /// As many are there as may be.
    Full,
    /// No node is free, though one should be.
    Empty,
}

/// A reader is not where it came from: the node was used again.
struct Stray;

/// A node that a walk came to.
struct Found<'a, W> {
    number: u32,
    node: &'a Node<W>,
    len: u32,
    /// So many of its bits are the key's, too.
    shared: u32,
}

/// Where a walk ended.
struct Place<'a, W> {
    /// What leads there.
    link: &'a W,
    /// The node above, and what leads to that.
    above: Option<(&'a W, u32, &'a Node<W>)>,
    /// What is there.
    found: Option<Found<'a, W>>,
}

/// The trie, over words of the caller's.
#[derive(Debug)]
pub struct Trie<'a, W, D> {
    shape: Shape,
    /// [`Shape::nodes`] of them.
    nodes: &'a [Node<W>],
    /// [`Shape::width`] for each node.
    words: &'a [D],
    state: &'a State<W, D>,
}

impl<W, D> Clone for Trie<'_, W, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W, D> Copy for Trie<'_, W, D> {}

impl<'a, W: Word32, D: Word64> Trie<'a, W, D> {
    /// The trie in these words.
    #[inline(always)]
    pub fn new(shape: Shape, nodes: &'a [Node<W>], words: &'a [D], state: &'a State<W, D>) -> Self {
        Self {
            shape,
            nodes,
            words,
            state,
        }
    }

    /// Makes it empty. Nobody else uses it yet. False if the numbers of words do
    /// not fit.
    #[must_use]
    pub fn init(&self) -> bool {
        let Shape { most, spare, bits } = self.shape;
        let nodes = (u64::from(most) + u64::from(spare)) * 2;
        let fits = most != 0
            && spare > 1
            && bits != 0
            && self.shape.width() <= WIDEST
            && nodes < u64::from(END)
            && self.nodes.len() as u64 == nodes
            && self.words.len() as u64 == nodes * self.shape.width() as u64;
        if !fits {
            return false;
        }
        self.state.root.store(END);
        self.state.count.store(0);
        self.state.taken.store(0);
        let (real, all) = (self.shape.real(), self.shape.nodes());
        for (queue, first, last) in [
            (&self.state.real, 0, real - 1),
            (&self.state.inner, real, all - 1),
        ] {
            queue.first.store(first);
            queue.last.store(last);
        }
        for (number, node) in (0u32..).zip(self.nodes) {
            let ends = number == real - 1 || number == all - 1;
            node.free.store(if ends { END } else { number + 1 });
        }
        true
    }

    /// How many prefixes are there.
    pub fn count(&self) -> u32 {
        self.state.count.load()
    }

    #[inline(always)]
    fn node(&self, number: u32) -> Option<&'a Node<W>> {
        self.nodes.get(number as usize)
    }

    #[inline(always)]
    fn is_real(&self, number: u32) -> bool {
        number < self.shape.real()
    }

    #[inline(always)]
    fn words_of(&self, number: u32) -> &'a [D] {
        let width = self.shape.width();
        let at = (number as usize).wrapping_mul(width);
        self.words
            .get(at..at.wrapping_add(width))
            .unwrap_or_default()
    }

    /// The bit behind the first `at` ones of a node's key.
    fn bit_of(&self, number: u32, at: u32) -> usize {
        self.words_of(number)
            .get(at as usize / 64)
            .map_or(0, |word| high_bit(word.load(), at % 64))
    }

    /// How many bits of a node's prefix, from the first one on, are the key's.
    #[inline(always)]
    fn shared<const N: usize>(&self, number: u32, len: u32, key: &Key<N>) -> u32 {
        let limit = len.min(key.len);
        let mut same = 0;
        for (own, word) in self.words_of(number).iter().zip(&key.words) {
            let other = own.load() ^ word;
            if other != 0 {
                return limit.min(same + other.leading_zeros());
            }
            same += 64;
            if same >= limit {
                break;
            }
        }
        limit
    }

    /// What `walk` finds, if it met no node that was used again.
    #[inline(always)]
    fn read<T>(&self, walk: impl Fn() -> Result<Option<T>, Stray>) -> Option<T> {
        for _ in 0..TRIES {
            let start = self.state.taken.load();
            let found = walk();
            D::fence_reads();
            let taken = self.state.taken.load().wrapping_sub(start);
            if let (Ok(found), true) = (found, taken < u64::from(self.shape.spare)) {
                return found;
            }
        }
        None
    }

    /// The length of a node's prefix, which is longer than that of the one above.
    #[inline(always)]
    fn deeper(&self, node: &Node<W>, least: &mut u32) -> Result<u32, Stray> {
        let len = node.len.load();
        if len < *least || len > self.shape.bits {
            return Err(Stray);
        }
        *least = len + 1;
        Ok(len)
    }

    /// The node of the longest prefix that `key` begins with. Needs no lock.
    #[inline(always)]
    pub fn find<const N: usize>(&self, key: &Key<N>) -> Option<u32> {
        if key.len > self.shape.bits {
            return None;
        }
        self.read(|| {
            let (mut found, mut least) = (None, 0);
            let mut at = self.state.root.load();
            while let Some(node) = self.node(at) {
                let len = self.deeper(node, &mut least)?;
                if self.shared(at, len, key) < len {
                    break;
                }
                if self.is_real(at) {
                    found = Some(at);
                }
                // What comes below is longer.
                if len == key.len {
                    break;
                }
                at = self.go(node, key.bit(len));
            }
            Ok(found)
        })
    }

    #[inline(always)]
    fn go(&self, node: &Node<W>, side: usize) -> u32 {
        node.child.get(side).map_or(END, W::load)
    }

    /// Of what lies below `from`, the first one in the order of keys.
    fn first_below(&self, from: u32, mut least: u32) -> Result<Option<u32>, Stray> {
        let (mut found, mut at) = (None, from);
        while let Some(node) = self.node(at) {
            self.deeper(node, &mut least)?;
            let first = self.go(node, 0);
            if self.is_real(at) {
                found = Some(at);
                at = if first == END {
                    self.go(node, 1)
                } else {
                    first
                };
            } else {
                at = first;
            }
        }
        Ok(found)
    }

    /// The node that comes behind that of `key` in the order of keys, where what
    /// is longer comes before what it begins with. The first one if `key` has none.
    fn node_behind<const N: usize>(&self, key: &Key<N>) -> Result<Option<u32>, Stray> {
        let root = self.state.root.load();
        let (mut at, mut least) = (root, 0);
        // The deepest place from which it goes on: below a node, or that node itself.
        let (mut below, mut itself) = (None, None);
        while let Some(node) = self.node(at) {
            let len = self.deeper(node, &mut least)?;
            if self.shared(at, len, key) != len {
                break;
            }
            if len == key.len {
                if !self.is_real(at) {
                    break;
                }
                return match below {
                    Some((from, least)) => self.first_below(from, least),
                    None => Ok(itself),
                };
            }
            let side = key.bit(len);
            let other = self.go(node, 1);
            if side == 0 && other != END {
                below = Some((other, least));
            } else if self.is_real(at) {
                (below, itself) = (None, Some(at));
            }
            at = self.go(node, side);
        }
        self.first_below(root, 0)
    }

    /// The prefix behind `key` in the order of keys; the first one if `key` is not
    /// there, or none. Needs no lock.
    pub fn next<const N: usize>(&self, key: Option<&Key<N>>) -> Option<Key<N>> {
        let key = key.filter(|key| key.len <= self.shape.bits);
        self.read(|| {
            let found = match key {
                Some(key) => self.node_behind(key)?,
                None => self.first_below(self.state.root.load(), 0)?,
            };
            let Some((number, node)) = found.and_then(|at| Some((at, self.node(at)?))) else {
                return Ok(None);
            };
            let mut words = [0; N];
            for (to, word) in words.iter_mut().zip(self.words_of(number)) {
                *to = word.load();
            }
            let len = node.len.load();
            Ok(Some(Key { len, words }))
        })
    }

    /// Where `key` is or would be. The caller holds the lock.
    fn place<const N: usize>(&self, key: &Key<N>) -> Place<'a, W> {
        let mut place = Place {
            link: &self.state.root,
            above: None,
            found: None,
        };
        while let Some((number, node)) =
            Some(place.link.load()).and_then(|number| Some((number, self.node(number)?)))
        {
            let len = node.len.load();
            let shared = self.shared(number, len, key);
            let child = node.child.get(key.bit(len));
            let (Some(child), true) = (child, shared == len && len != key.len) else {
                place.found = Some(Found {
                    number,
                    node,
                    len,
                    shared,
                });
                break;
            };
            place.above = Some((place.link, number, node));
            place.link = child;
        }
        place
    }

    /// Takes the node that is free for the longest time. The caller holds the lock.
    fn take(&self, queue: &Queue<W>) -> Result<(u32, &'a Node<W>), Refusal> {
        let number = queue.first.load();
        let node = self.node(number).ok_or(Refusal::Empty)?;
        // The last one stays, so that there is always one to put another behind.
        let next = node.free.load();
        if next == END {
            return Err(Refusal::Empty);
        }
        queue.first.store(next);
        let taken = self.state.taken.load();
        self.state.taken.store(taken.wrapping_add(1));
        // Who reads what is written to the node now sees that it was taken.
        D::fence_writes();
        Ok((number, node))
    }

    /// Gives back a node that nothing leads to any more, behind all that are free.
    /// The caller holds the lock.
    fn give(&self, number: u32) {
        let queue = if self.is_real(number) {
            &self.state.real
        } else {
            &self.state.inner
        };
        let last = queue.last.load();
        if let (Some(node), Some(last)) = (self.node(number), self.node(last)) {
            node.free.store(END);
            last.free.store(number);
            queue.last.store(number);
        }
    }

    /// Writes a node that was taken.
    fn write(
        &self,
        (number, node): (u32, &Node<W>),
        len: u32,
        words: impl Iterator<Item = u64>,
        child: [u32; 2],
    ) {
        node.len.store(len);
        for (to, word) in self.words_of(number).iter().zip(words) {
            to.store(word);
        }
        for (to, child) in node.child.iter().zip(child) {
            to.store(child);
        }
    }

    fn children(node: &Node<W>) -> [u32; 2] {
        let [zero, one] = &node.child;
        [zero.load(), one.load()]
    }

    /// Takes an inner node for `len` bits of what `number` has.
    fn part(&self, number: u32, len: u32, child: [u32; 2]) -> Result<u32, Refusal> {
        let inner = self.take(&self.state.inner)?;
        let words = self.words_of(number).iter().map(D::load);
        self.write(inner, len, words, child);
        Ok(inner.0)
    }

    /// Gives a prefix a node: `fill` writes its value before anybody finds it. The
    /// caller holds the lock.
    pub fn update<const N: usize>(
        &self,
        key: &Key<N>,
        when: When,
        fill: impl FnOnce(u32),
    ) -> Result<Updated, Refusal> {
        if key.len > self.shape.bits {
            return Err(Refusal::Long);
        }
        let place = self.place(key);
        let is_key = |found: &Found<'_, W>| found.shared == found.len;
        let is_there = place
            .found
            .as_ref()
            .is_some_and(|found| is_key(found) && self.is_real(found.number));
        let count = self.state.count.load();
        match (when, is_there) {
            (When::New, true) => return Err(Refusal::Exists),
            (When::Old, false) => return Err(Refusal::Missing),
            (_, false) if count >= self.shape.most => return Err(Refusal::Full),
            _ => {}
        }
        let own = self.take(&self.state.real)?;
        let number = own.0;
        let write = |child| self.write(own, key.len, key.words.iter().copied(), child);
        fill(number);
        match place.found {
            None => {
                write([END; 2]);
                place.link.store(number);
            }
            Some(found) if is_key(&found) => {
                write(Self::children(found.node));
                place.link.store(number);
                self.give(found.number);
            }
            Some(found) => {
                let other = self.bit_of(found.number, found.shared);
                let beside = |number| {
                    if other == 0 {
                        [found.number, number]
                    } else {
                        [number, found.number]
                    }
                };
                if found.shared == key.len {
                    write(beside(END));
                    place.link.store(number);
                } else {
                    write([END; 2]);
                    let inner = self
                        .part(found.number, found.shared, beside(number))
                        .inspect_err(|_| self.give(number))?;
                    place.link.store(inner);
                }
            }
        }
        if is_there {
            return Ok(Updated::Replaced);
        }
        self.state.count.store(count + 1);
        Ok(Updated::Added)
    }

    /// Takes a prefix out. The caller holds the lock.
    pub fn remove<const N: usize>(&self, key: &Key<N>) -> Result<(), Refusal> {
        if key.len > self.shape.bits {
            return Err(Refusal::Long);
        }
        let place = self.place(key);
        let found = place
            .found
            .filter(|found| found.shared == found.len && self.is_real(found.number))
            .ok_or(Refusal::Missing)?;
        match (Self::children(found.node), place.above) {
            ([END, END], Some((link, above, node))) if !self.is_real(above) => {
                // An inner node has two children; its other one takes its place.
                let [zero, one] = Self::children(node);
                link.store(if zero == found.number { one } else { zero });
                self.give(above);
            }
            // Its only child, if any.
            ([END, child] | [child, END], _) => place.link.store(child),
            (child, _) => {
                let inner = self.part(found.number, found.len, child)?;
                place.link.store(inner);
            }
        }
        self.give(found.number);
        let count = self.state.count.load();
        self.state.count.store(count.wrapping_sub(1));
        Ok(())
    }
}
