// SPDX-License-Identifier: GPL-2.0
//! A look-up in a trie that needs no gate finds what the store's own does, whatever others
//! do to the trie meanwhile.
//!
//! The trie of these tests lies in one area, as a domain has it: its words have no contents
//! but what is there, at the place that [`Index`] gives them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::id;
use bailey::pure::insn::{size, Insn, REG_2};
use bailey::pure::rewrite::functions::{Function, Leaps};
use bailey::pure::rewrite::inline::{Inline, Prefixes, What};
use bailey::pure::store::trie::{
    Index, Key, Node, Shape, State, Trie, CHILD, LEN, NODE, ROOT, TAKEN,
};
use bailey::pure::store::{When, Word32, Word64};
use generated::config;
use machine::Machine;
use program::{lay_out_with, Laid};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

const AREA_AT: u64 = 0xffff_d380_0012_3000;
const VALUES_AT: u64 = 0xffff_d380_0001_0000;
const STRIDE: u32 = 24;
/// Bytes of the longest key's data.
const DATA: usize = 16;
/// Where the program below has its key.
const KEY_AT: u64 = machine::PACKET_AT + 64;

/// The area, and where the words that stand for it are in this process: address, bytes, and
/// how far into the area.
#[derive(Default)]
struct Area {
    bytes: Vec<u8>,
    spans: Vec<(usize, usize, usize)>,
}

impl Area {
    fn place(&self, address: usize) -> usize {
        let within = |(start, len, _): &&(usize, usize, usize)| {
            address.checked_sub(*start).is_some_and(|at| at < *len)
        };
        let (start, _, at) = self.spans.iter().find(within).expect("a word of the trie");
        at + (address - start)
    }
}

/// Loads of 32 bits to come before what others do, and that.
type Meanwhile = (u32, Box<dyn FnOnce()>);

thread_local! {
    static AREA: RefCell<Area> = RefCell::default();
    static MEANWHILE: RefCell<Option<Meanwhile>> = const { RefCell::new(None) };
}

/// A load of 32 bits is about to be made: others may have their turn.
fn step() {
    let due = MEANWHILE.with_borrow_mut(|meanwhile| match meanwhile {
        Some((left @ 1.., _)) => {
            *left -= 1;
            None
        }
        _ => meanwhile.take(),
    });
    if let Some((_, others)) = due {
        others();
    }
}

fn get(at: usize, len: usize) -> Option<u64> {
    AREA.with_borrow(|area| {
        let mut value = [0; 8];
        value[..len].copy_from_slice(area.bytes.get(at..at + len)?);
        Some(u64::from_le_bytes(value))
    })
}

fn put(at: usize, len: usize, value: u64) {
    AREA.with_borrow_mut(|area| {
        area.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    });
}

fn place<T>(word: &T) -> usize {
    let address = std::ptr::from_ref(word) as usize;
    AREA.with_borrow(|area| area.place(address))
}

#[derive(Debug, Default)]
#[repr(transparent)]
struct Small(u32);

#[derive(Debug, Default)]
#[repr(transparent)]
struct Wide(u64);

impl Word32 for Small {
    fn load(&self) -> u32 {
        step();
        get(place(self), 4).unwrap() as u32
    }
    fn store(&self, value: u32) {
        put(place(self), 4, value.into());
    }
    fn swap(&self, value: u32) -> u32 {
        let before = get(place(self), 4).unwrap() as u32;
        self.store(value);
        before
    }
}

impl Word64 for Wide {
    fn load(&self) -> u64 {
        get(place(self), 8).unwrap()
    }
    fn store(&self, value: u64) {
        put(place(self), 8, value);
    }
    fn exchange(&self, old: u64, new: u64) -> Result<(), u64> {
        match self.load() {
            there if there == old => {
                self.store(new);
                Ok(())
            }
            there => Err(there),
        }
    }
    fn fence_reads() {}
    fn fence_writes() {}
}

/// A prefix or a key, as programs have them.
#[derive(Clone, Debug, PartialEq)]
struct Prefix {
    len: u32,
    data: [u8; DATA],
}

impl Prefix {
    fn key(&self) -> Key<2> {
        let word = |at: usize| u64::from_be_bytes(self.data[at..at + 8].try_into().unwrap());
        let words = [word(0), word(8)];
        Key {
            len: self.len,
            words,
        }
    }

    fn bit(&self, at: u32) -> bool {
        self.data[at as usize / 8] & (0x80 >> (at % 8)) != 0
    }

    /// Whether `key` begins with it.
    fn begins(&self, key: &Self) -> bool {
        self.len <= key.len && (0..self.len).all(|at| self.bit(at) == key.bit(at))
    }
}

/// What is done to a trie.
#[derive(Clone, Debug)]
enum Step {
    Put(Prefix),
    Remove(Prefix),
}

/// A trie in the area.
struct Shown {
    shape: Shape,
    index: Index,
    nodes: Vec<Node<Small>>,
    words: Vec<Wide>,
    state: Box<State<Small, Wide>>,
}

impl Shown {
    fn new(most: u32, spare: u32, bytes: u32) -> Self {
        let bits = 8 * bytes;
        let shape = Shape { most, spare, bits };
        let count = shape.nodes() as usize;
        let shown = Self {
            shape,
            index: Index::new(&shape).unwrap(),
            nodes: (0..count).map(|_| Node::default()).collect(),
            words: (0..count * shape.width()).map(|_| Wide(0)).collect(),
            state: Box::default(),
        };
        let span = |start: usize, len: usize, at: u64| (start, len, at as usize);
        let (nodes, words) = (&shown.nodes[..], &shown.words[..]);
        let spans = vec![
            span(
                std::ptr::from_ref(&*shown.state) as usize,
                size_of_val(&*shown.state),
                0,
            ),
            span(
                nodes.as_ptr() as usize,
                size_of_val(nodes),
                shown.index.nodes,
            ),
            span(
                words.as_ptr() as usize,
                size_of_val(words),
                shown.index.words,
            ),
        ];
        AREA.set(Area {
            bytes: vec![0; shown.index.len as usize],
            spans,
        });
        assert!(shown.trie().init());
        shown
    }

    fn trie(&self) -> Trie<'_, Small, Wide> {
        Trie::new(self.shape, &self.nodes, &self.words, &self.state)
    }

    /// One that refuses what does not fit, as user space is refused.
    fn make(&self, step: &Step) {
        match step {
            Step::Put(prefix) => {
                let _ = self.trie().update(&prefix.key(), When::Any, |_| ());
            }
            Step::Remove(prefix) => {
                let _ = self.trie().remove(&prefix.key());
            }
        }
    }

    fn prefixes(&self) -> Prefixes {
        Prefixes {
            at: AREA_AT,
            index: self.index,
            shape: self.shape,
            values: VALUES_AT,
            value_stride: STRIDE,
        }
    }

    /// The value that the store's own look-up finds.
    fn found(&self, key: &Prefix) -> u64 {
        value_of(self.trie().find(&key.key()))
    }
}

/// The address of a node's value; 0 if there is none.
fn value_of(number: Option<u32>) -> u64 {
    number.map_or(0, |number| {
        VALUES_AT + u64::from(STRIDE) * u64::from(number)
    })
}

/// Looks one key up, which lies in the packet, with something behind it.
fn looking_for(key: &Prefix, bytes: u32) -> Vec<Insn> {
    let mut all = key.len.to_le_bytes().to_vec();
    all.extend(&key.data[..bytes as usize]);
    let mut insns = Vec::new();
    for (at, piece) in (0..).step_by(8).zip(all.chunks(8)) {
        let mut bytes = [0x5a; 8];
        bytes[..piece.len()].copy_from_slice(piece);
        insns.extend(Insn::ld_imm64(7, u64::from_le_bytes(bytes)));
        insns.push(Insn::stx(size::DW, REG_2, 7, at));
    }
    insns.push(Insn::call(id::MAP_LOOKUP_ELEM as i32));
    insns.push(Insn::exit());
    insns
}

fn laid_for(key: &Prefix, prefixes: Prefixes) -> Laid {
    let insns = looking_for(key, prefixes.shape.bits / 8);
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let call = insns.len() as u32 - 2;
    let inlined = [Inline::new(call, What::Prefixes(prefixes)).unwrap()];
    let leaps = Leaps {
        inlined: &inlined,
        ..Leaps::default()
    };
    lay_out_with(&insns, &functions, leaps).unwrap()
}

/// The value that an image finds; `None` if it calls the helper, with the key where it was.
fn looked_up(key: &Prefix, prefixes: Prefixes) -> Option<u64> {
    let count = Cell::new(0u32);
    let read = |address: u64, len: usize| {
        let at = usize::try_from(address.checked_sub(AREA_AT)?).ok()?;
        count.set(count.get() + 1);
        // The count of those taken is not of 32 bits.
        if len == 4 && (at == ROOT || at as u64 >= prefixes.index.nodes) {
            step();
        }
        get(at, len)
    };
    let laid = laid_for(key, prefixes);
    let image = laid.insns();
    let outcome = Machine::image(&image, laid.stack).beside(&read).run();
    let outcome = outcome.expect("the image");
    // Five loads at most of each node that a walk meets, and four of the state.
    assert!(count.get() <= 5 * (prefixes.shape.bits + 2) + 4);
    assert!(outcome.calls.len() <= 1);
    match outcome.calls.first() {
        Some((id, args)) => {
            assert_eq!((*id, args[1]), (id::MAP_LOOKUP_ELEM, KEY_AT));
            None
        }
        None => Some(outcome.verdict),
    }
}

/// How many bytes of data instructions are for.
const SIZES: [u32; 8] = [1, 2, 4, 8, 9, 10, 12, 16];

fn sizes() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(4u32),
        Just(8),
        Just(16),
        proptest::sample::select(&SIZES[..])
    ]
}

/// Prefixes of up to so many bytes, which have much in common, and often end where words do.
fn prefix(bytes: u32) -> impl Strategy<Value = Prefix> {
    let bits = 8 * bytes;
    let len = prop_oneof![
        0..=bits,
        Just(0),
        Just(bits),
        Just(bits - 1),
        Just(bits.min(63)),
        Just(bits.min(64)),
        Just(bits.min(65)),
    ];
    let data = prop_oneof![
        any::<[u8; DATA]>(),
        (0..bits, any::<bool>()).prop_map(|(at, one)| {
            let mut data = [if one { 0xff } else { 0 }; DATA];
            data[at as usize / 8] ^= 0x80 >> (at % 8);
            data
        }),
        any::<bool>().prop_map(|one| [if one { 0xff } else { 0 }; DATA]),
    ];
    (len, data).prop_map(move |(len, mut data)| {
        data[bytes as usize..].fill(0);
        Prefix { len, data }
    })
}

fn steps(bytes: u32, most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (prefix(bytes), 0..4).prop_map(|(prefix, which)| match which {
        0 => Step::Remove(prefix),
        _ => Step::Put(prefix),
    });
    vec(step, 0..most)
}

/// Keys, some longer than there may be.
fn keys(bytes: u32) -> impl Strategy<Value = Vec<Prefix>> {
    let long = prop_oneof![
        8 => Just(None),
        1 => prop_oneof![Just(8 * bytes + 1), Just(u32::MAX), any::<u32>()].prop_map(Some)
    ];
    let key = (prefix(bytes), long).prop_map(|(prefix, long)| Prefix {
        len: long.unwrap_or(prefix.len),
        ..prefix
    });
    vec(key, 1..8)
}

/// The prefixes that are there, in no order.
fn there(steps: &[Step], most: usize) -> Vec<Prefix> {
    let is = |a: &Prefix, b: &Prefix| a.len == b.len && a.begins(b);
    let mut there: Vec<Prefix> = Vec::new();
    for step in steps {
        match step {
            Step::Put(new) if there.len() < most && !there.iter().any(|old| is(old, new)) => {
                there.push(new.clone());
            }
            Step::Put(_) => {}
            Step::Remove(gone) => there.retain(|old| !is(old, gone)),
        }
    }
    there
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn a_look_up_finds_the_longest_prefix(
        (bytes, steps, keys) in sizes().prop_flat_map(|n| (Just(n), steps(n, 40), keys(n))),
        most in 1u32..30,
    ) {
        let shown = Shown::new(most, 2, bytes);
        for step in &steps {
            shown.make(step);
        }
        let there = there(&steps, most as usize);
        for key in keys.iter().chain(&there) {
            let found = looked_up(key, shown.prefixes());
            prop_assert_eq!(found, Some(shown.found(key)));
            if key.len <= 8 * bytes {
                let longest = there.iter().filter(|prefix| prefix.begins(key));
                let longest = longest.max_by_key(|prefix| prefix.len);
                // That one's own look-up ends at its node.
                let own = longest.map_or(0, |prefix| shown.found(prefix));
                prop_assert_eq!(found, Some(own));
            } else {
                prop_assert_eq!(found, Some(0));
            }
        }
    }

    #[test]
    fn others_may_do_what_they_like_meanwhile(
        (bytes, steps, others, key) in sizes()
            .prop_flat_map(|n| (Just(n), steps(n, 30), steps(n, 12), prefix(n))),
        (most, spare) in (1u32..20, 2u32..8),
        before in 0u32..12,
    ) {
        // The same twice: what the store's own look-up finds, and what the image does.
        let run = |look: &dyn Fn(&Shown) -> Option<u64>| {
            let shown = Rc::new(Shown::new(most, spare, bytes));
            for step in &steps {
                shown.make(step);
            }
            let taken = Rc::new(Cell::new(0));
            let meanwhile = {
                let (shown, taken, others) = (shown.clone(), taken.clone(), others.clone());
                let count = || get(TAKEN, 8).unwrap();
                move || {
                    let start = count();
                    others.iter().for_each(|step| shown.make(step));
                    taken.set(count() - start);
                }
            };
            MEANWHILE.set(Some((before, Box::new(meanwhile))));
            let found = look(&shown);
            MEANWHILE.set(None);
            (found, taken.get())
        };
        let (own, taken) = run(&|shown| Some(shown.found(&key)));
        let (found, same) = run(&|shown| looked_up(&key, shown.prefixes()));
        prop_assert_eq!(taken, same);
        let expected = own.filter(|_| taken < u64::from(spare));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn whatever_nodes_hold_a_walk_comes_to_its_end(
        (bytes, key) in sizes().prop_flat_map(|n| (Just(n), prefix(n))),
        words in vec(any::<(u32, u32, u32)>(), 1..12),
        root in 0u32..12,
        alike in any::<bool>(),
    ) {
        let shown = Shown::new(6, 2, bytes);
        let nodes = shown.shape.nodes();
        // Circles, lengths that shrink and lead beyond the key; and with them words that fit.
        for (number, (zero, one, len)) in (0..).zip(&words) {
            let at = (shown.index.nodes + NODE * number) as usize;
            put(at + CHILD, 4, u64::from(zero % (nodes + 1)));
            put(at + CHILD + 4, 4, u64::from(one % (nodes + 1)));
            put(at + LEN, 4, u64::from(len % (8 * bytes + 1)));
        }
        if alike {
            for number in 0..nodes as usize {
                for (at, word) in (0..shown.shape.width()).zip(key.key().words) {
                    let at = 8 * (number * shown.shape.width() + at);
                    put(shown.index.words as usize + at, 8, word);
                }
            }
        }
        put(ROOT, 4, root.into());
        if let Some(found) = looked_up(&key, shown.prefixes()) {
            let number = found.saturating_sub(VALUES_AT) / u64::from(STRIDE);
            prop_assert!(found == 0 || found == value_of(Some(number as u32)));
            prop_assert!(number < shown.shape.real().into());
        }
    }
}

/// Prefixes of one, two, ... bits that are all zeroes: each lies below the one before.
fn path(bits: u32) -> impl Iterator<Item = Step> {
    (0..=bits).map(|len| {
        Step::Put(Prefix {
            len,
            data: [0; DATA],
        })
    })
}

#[test]
fn the_longest_walk_is_found_to_its_end() {
    for bytes in SIZES {
        let bits = 8 * bytes;
        let shown = Shown::new(bits + 1, 2, bytes);
        path(bits).for_each(|step| shown.make(&step));
        for len in 0..=bits {
            let data = [0; DATA];
            let key = Prefix { len, data };
            assert_eq!(
                looked_up(&key, shown.prefixes()),
                Some(value_of(Some(len))),
                "{bytes} {len}"
            );
            // All but its last bit.
            let mut data = [0; DATA];
            if let Some(last) = len.checked_sub(1) {
                data[last as usize / 8] |= 0x80 >> (last % 8);
                let key = Prefix { len: bits, data };
                assert_eq!(
                    looked_up(&key, shown.prefixes()),
                    Some(value_of(Some(last)))
                );
            }
        }
    }
}

#[test]
fn one_too_many_taken_meanwhile_is_left_to_the_helper() {
    for (updates, calls) in [(2, false), (3, true)] {
        let shown = Rc::new(Shown::new(4, 3, 4));
        let prefix = Prefix {
            len: 8,
            data: [7; DATA],
        };
        let step = Step::Put(prefix.clone());
        shown.make(&step);
        let others = {
            let (shown, step) = (shown.clone(), step);
            move || (0..updates).for_each(|_| shown.make(&step))
        };
        MEANWHILE.set(Some((1, Box::new(others))));
        let found = looked_up(&prefix, shown.prefixes());
        assert_eq!(found.is_none(), calls, "{updates}");
        if !calls {
            // Of the old node, which nobody has used again.
            assert_eq!(found, Some(VALUES_AT));
        }
    }
}

#[test]
fn the_count_of_those_taken_may_pass_32_bits() {
    let shown = Shown::new(4, 2, 4);
    put(TAKEN, 8, u64::from(u32::MAX) - 1);
    let prefix = Prefix {
        len: 32,
        data: [9; DATA],
    };
    shown.make(&Step::Put(prefix.clone()));
    for _ in 0..4 {
        assert_eq!(
            looked_up(&prefix, shown.prefixes()),
            Some(shown.found(&prefix))
        );
        shown.make(&Step::Put(prefix.clone()));
    }
}

#[test]
fn what_does_not_fit_keeps_its_gate() {
    let fits = |most, bytes, value_stride| {
        let shape = Shape {
            most,
            spare: 2,
            bits: 8 * bytes,
        };
        let index = Index::new(&shape).unwrap();
        let prefixes = Prefixes {
            at: AREA_AT,
            index,
            shape,
            values: VALUES_AT,
            value_stride,
        };
        Inline::new(0, What::Prefixes(prefixes)).is_some()
    };
    for bytes in 0..=32 {
        assert_eq!(fits(8, bytes, 8), SIZES.contains(&bytes), "{bytes}");
    }
    assert!(fits((1 << 30) - 3, 4, 8));
    assert!(!fits((1 << 30) - 2, 4, 8));
    assert!(!fits(0, 4, 8));
    assert!(!fits(8, 4, 1 << 31));
    let prefixes = Shown::new(1, 2, 4).prefixes();
    let apart = |index| Inline::new(0, What::Prefixes(Prefixes { index, ..prefixes }));
    assert!(apart(prefixes.index).is_some());
    let nodes = prefixes.index.nodes + 8;
    assert_eq!(
        apart(Index {
            nodes,
            ..prefixes.index
        }),
        None
    );
}
