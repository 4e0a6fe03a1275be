// SPDX-License-Identifier: GPL-2.0
//! A call that needs no gate gives what the helper does: a look-up finds what is in the
//! map, a checksum is the kernel's. What is around it goes on as it did.
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
use bailey::pure::insn::{alu, jmp, size, Insn, REG_0, REG_1, REG_2};
use bailey::pure::rewrite::functions::{Function, Leaps, Origin};
use bailey::pure::rewrite::inline::chains::LONGEST;
use bailey::pure::rewrite::inline::{Chains, Inline, Row, What};
use bailey::pure::store::hash::hash;
use bailey::pure::store::uses::Uses;
use bailey::pure::store::{Index, ELEMENT, HASH, LOSSES, NEXT};
use generated::config;
use machine::Machine;
use program::{lay_out, lay_out_with, Laid};
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;

const SUM: u8 = 6;
const KEY: u8 = 7;
const ROUNDS: u8 = 8;
/// Where the program below calls its helper.
const CALL: usize = 6;

/// Looks `keys` keys up, one after the other from `first` on, and returns the sum of
/// what was found. Jumps go forward and back over the call.
fn looking_up(first: u32, keys: i32) -> Vec<Insn> {
    vec![
        Insn::mov64_imm(SUM, 0),
        Insn::mov64_imm(ROUNDS, keys),
        Insn::alu32_imm(alu::MOV, KEY, first as i32),
        // The round.
        Insn::jmp_imm(jmp::JEQ, ROUNDS, 0, 8),
        Insn::mov64_imm(REG_1, 0x1234),
        Insn::stx(size::W, REG_2, KEY, 0),
        Insn::call(id::MAP_LOOKUP_ELEM as i32),
        Insn::alu64_reg(alu::ADD, SUM, REG_0),
        Insn::alu64_imm(alu::ADD, KEY, 1),
        Insn::alu64_imm(alu::SUB, ROUNDS, 1),
        Insn::ja(-8),
        Insn::exit(),
        Insn::mov64_reg(REG_0, SUM),
        Insn::exit(),
    ]
}

fn found(row: &Row, cpu: u64, key: u32) -> u64 {
    if key >= row.entries {
        return 0;
    }
    row.values + cpu * row.each + u64::from(key) * u64::from(row.stride)
}

/// The image with this look-up at `call`.
fn lay(insns: &[Insn], call: usize, what: What) -> Laid {
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let inlined = [Inline::new(call as u32, what).unwrap()];
    let leaps = Leaps {
        inlined: &inlined,
        ..Leaps::default()
    };
    lay_out_with(insns, &functions, leaps).unwrap()
}

/// The image on CPU number `cpu`, which a stub answers.
fn laid_out(insns: &[Insn], row: Row, cpu: i32) -> (Laid, Vec<Insn>) {
    let laid = lay(insns, CALL, What::Row(row));
    let image = on_cpu(&laid, cpu);
    (laid, image)
}

/// Its instructions, with the stub's answer in the place of its call.
fn on_cpu(laid: &Laid, cpu: i32) -> Vec<Insn> {
    let answered = laid.code.iter().map(|(origin, insn)| match origin {
        Origin::Asks(_) => Insn::mov64_imm(REG_0, cpu),
        _ => *insn,
    });
    answered.collect()
}

/// A hash map's words as a domain sees them: element number n has the n-th key, and is
/// the first of its chain until the next comes.
#[derive(Debug)]
struct Shown {
    chains: Chains,
    bytes: Vec<u8>,
}

const INDEX_AT: u64 = 0x5000_0000_0000;
const VALUES_AT: u64 = 0x4fff_fff0_0000;

impl Shown {
    fn new(keys: &[Vec<u8>], key_size: u32, buckets: u32, seed: u32, losses: u32) -> Self {
        let elements = keys.len() as u32 + 2;
        let key_stride = key_size.next_multiple_of(8);
        let chains = Chains {
            at: INDEX_AT,
            index: Index::new(elements.into(), key_stride, buckets.into()).unwrap(),
            values: VALUES_AT,
            value_stride: 24,
            each: 0,
            key_size,
            key_stride,
            elements,
            buckets,
            seed,
            uses: None,
        };
        let mut shown = Self {
            chains,
            // What is behind a key is not zero.
            bytes: vec![0xa5; chains.index.len as usize],
        };
        for bucket in 0..buckets {
            shown.put(shown.bucket(bucket), u32::MAX);
            shown.put(shown.bucket(bucket) + LOSSES, losses);
        }
        for (number, key) in (0u32..).zip(keys) {
            let at = key_stride as usize * number as usize;
            shown.bytes[at..at + key.len()].copy_from_slice(key);
            let bucket = shown.bucket(shown.hash(key) & (buckets - 1));
            let first = shown.get(bucket, 4) as u32;
            let element = (chains.index.elements + ELEMENT * u64::from(number)) as usize;
            shown.put(element + NEXT, first);
            shown.put(element + HASH, shown.hash(key));
            shown.put(bucket, number);
        }
        shown
    }

    fn hash(&self, key: &[u8]) -> u32 {
        let word = |at: u32| {
            let mut bytes = [0; 4];
            let rest = &key[4 * at as usize..];
            let len = rest.len().min(4);
            bytes[..len].copy_from_slice(&rest[..len]);
            u32::from_le_bytes(bytes)
        };
        hash(self.chains.key_size.div_ceil(4), self.chains.seed, word)
    }

    fn bucket(&self, number: u32) -> usize {
        self.chains.index.buckets as usize + 8 * number as usize
    }

    fn put(&mut self, at: usize, word: u32) {
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    fn get(&self, at: usize, len: usize) -> u64 {
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes[at..at + len]);
        u64::from_le_bytes(value)
    }

    /// Each CPU has a row of values.
    fn with_rows(mut self, each: u64) -> Self {
        self.chains.each = each;
        self
    }

    /// What an image finds in it on a CPU, which has crossed no gate.
    fn found(&self, key: &[u8], cpu: i32) -> u64 {
        let laid = laid_for(key, self.chains);
        let read = |address, len| self.read(address, len);
        let image = on_cpu(&laid, cpu);
        let mut machine = Machine::image(&image, laid.stack).beside(&read);
        let outcome = machine.run().expect("the image");
        assert!(outcome.calls.is_empty());
        outcome.verdict
    }

    /// The same in a map that forgets.
    fn found_and_noted(&self, key: &[u8], cpu: i32, noted: &Noted) -> u64 {
        let chains = Chains {
            uses: Some(noted.uses),
            ..self.chains
        };
        let laid = laid_for(key, chains);
        let read = |address, len| noted.read(address, len).or_else(|| self.read(address, len));
        let write = |address, len, value| noted.write(address, len, value);
        let image = on_cpu(&laid, cpu);
        let machine = Machine::image(&image, laid.stack);
        let mut machine = machine.beside(&read).taking(&write);
        let outcome = machine.run().expect("the image");
        assert!(outcome.calls.is_empty());
        outcome.verdict
    }

    fn read(&self, address: u64, len: usize) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(INDEX_AT)?).ok()?;
        (at + len <= self.bytes.len()).then(|| self.get(at, len))
    }
}

/// What a domain has behind the values of a map that forgets, and who reads it.
struct Noted {
    uses: Uses,
    bytes: RefCell<Vec<u8>>,
    tail: u32,
}

impl Noted {
    fn new(elements: u32) -> Self {
        let uses = Uses::new(24 * u64::from(elements), elements);
        Self {
            uses,
            bytes: RefCell::new(vec![0; (uses.end - uses.marks) as usize]),
            tail: 0,
        }
    }

    fn span(&self, address: u64, len: usize) -> Option<Range<usize>> {
        let at = address.checked_sub(VALUES_AT + self.uses.marks)? as usize;
        (at + len <= self.bytes.borrow().len()).then(|| at..at + len)
    }

    fn read(&self, address: u64, len: usize) -> Option<u64> {
        let span = self.span(address, len)?;
        let mut value = [0; 8];
        value[..len].copy_from_slice(&self.bytes.borrow()[span]);
        Some(u64::from_le_bytes(value))
    }

    fn write(&self, address: u64, len: usize, value: u64) -> bool {
        let Some(span) = self.span(address, len) else {
            return false;
        };
        self.bytes.borrow_mut()[span].copy_from_slice(&value.to_le_bytes()[..len]);
        true
    }

    fn word(&self, at: u64) -> u32 {
        self.read(VALUES_AT + at, 4).expect("within") as u32
    }

    fn is_marked(&self, number: u32) -> bool {
        let mark = self.read(VALUES_AT + self.uses.marks + u64::from(number), 1);
        mark.expect("within") != 0
    }

    /// Reads on in the log, as the map does: which elements were used.
    fn used(&mut self) -> HashSet<u32> {
        let (first, count) = self.uses.unread(self.word(self.uses.head), self.tail);
        self.tail = first.wrapping_add(count);
        let numbers = (0..count).map(|n| self.word(self.uses.number(first.wrapping_add(n))));
        let used: HashSet<u32> = numbers.filter(|&number| self.is_marked(number)).collect();
        for &number in &used {
            let mark = VALUES_AT + self.uses.marks + u64::from(number);
            assert!(self.write(mark, 1, 0));
        }
        used
    }
}

/// The value of the key that is one of these, in a row that is so far behind the first; 0 if it
/// is none.
fn value_of(keys: &[Vec<u8>], key: &[u8], row: u64) -> u64 {
    let number = keys.iter().position(|k| k == key);
    number.map_or(0, |number| VALUES_AT + row + 24 * number as u64)
}

/// Bytes from one CPU's row of values to the next, or 0 if there is one row.
fn each() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0u64),
        (1u64..5000).prop_map(|lines| 64 * lines),
        Just(0x7fff_ffc0)
    ]
}

/// Looks one key up, which lies in the packet, with something behind it.
fn looking_for(key: &[u8]) -> Vec<Insn> {
    let mut insns = Vec::new();
    for (at, piece) in (0..).step_by(8).zip(key.chunks(8)) {
        let mut bytes = [0x5a; 8];
        bytes[..piece.len()].copy_from_slice(piece);
        insns.extend(Insn::ld_imm64(KEY, u64::from_le_bytes(bytes)));
        insns.push(Insn::stx(size::DW, REG_2, KEY, at));
    }
    insns.push(Insn::call(id::MAP_LOOKUP_ELEM as i32));
    insns.push(Insn::exit());
    insns
}

/// The image of that, in this map.
fn laid_for(key: &[u8], chains: Chains) -> Laid {
    let insns = looking_for(key);
    lay(&insns, insns.len() - 2, What::Chains(chains))
}

/// Keys of `size` bytes, often the same but for a byte.
fn key(size: usize) -> impl Strategy<Value = Vec<u8>> {
    let alike = (0..size, any::<u8>()).prop_map(move |(at, byte)| {
        let mut key = vec![7; size];
        key[at] = byte;
        key
    });
    prop_oneof![vec(any::<u8>(), size), alike]
}

/// Sizes, some of whose keys are in the map and some that are not.
fn keys() -> impl Strategy<Value = (usize, HashSet<Vec<u8>>, Vec<Vec<u8>>)> {
    prop_oneof![Just(4usize), Just(8), 1..=LONGEST as usize]
        .prop_flat_map(|size| (Just(size), vec(key(size), 0..60), vec(key(size), 0..6)))
        .prop_map(|(size, keys, others)| (size, keys.into_iter().collect(), others))
}

/// Arrays of all sizes, and keys around their ends.
fn arrays() -> impl Strategy<Value = (Row, u32)> {
    let most = i32::MAX as u32;
    let entries = prop_oneof![1u32..70, 1u32..=most, Just(1 << 16), Just(most)];
    let stride = prop_oneof![Just(8u32), 1u32..5000, Just(most & !7)];
    let each = prop_oneof![Just(0u64), (1u64..500).prop_map(|pages| pages << 12)];
    let row = (entries, stride, any::<u32>(), each, any::<bool>()).prop_map(
        |(entries, stride, values, each, masked)| Row {
            values: u64::from(values) << 31,
            entries,
            stride,
            each,
            masked,
        },
    );
    row.prop_flat_map(|row| {
        let entries = row.entries;
        let key = prop_oneof![
            0..entries,
            Just(0),
            (0u32..12).prop_map(move |n| entries.wrapping_sub(6).wrapping_add(n)),
            any::<u32>(),
        ];
        (Just(row), key)
    })
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn what_is_found_is_the_kernels(
        (row, first) in arrays(),
        keys in 0i32..9,
        cpu in 0i32..512,
    ) {
        let insns = looking_up(first, keys);
        let (laid, image) = laid_out(&insns, row, cpu);
        let outcome = Machine::image(&image, laid.stack).run().expect("the image");
        let keys = (0..keys as u32).map(|n| first.wrapping_add(n));
        let found = keys.map(|key| found(&row, cpu as u64, key));
        prop_assert_eq!(outcome.verdict, found.fold(0u64, u64::wrapping_add));
        prop_assert!(outcome.calls.is_empty());
    }

    #[test]
    fn a_hash_maps_keys_are_found(
        (size, keys, others) in keys(),
        shift in 0u32..6,
        (seed, losses) in any::<(u32, u32)>(),
        (each, cpu) in (each(), 0i32..512),
    ) {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let shown = Shown::new(&keys, size as u32, 1 << shift, seed, losses).with_rows(each);
        for key in others.iter().chain(&keys) {
            prop_assert_eq!(shown.found(key, cpu), value_of(&keys, key, cpu as u64 * each));
        }
    }

    #[test]
    fn what_is_found_is_known_to_be_used(
        (size, keys, others) in keys(),
        shift in 0u32..6,
        (seed, wrapped) in any::<(u32, u32)>(),
        steps in vec(any::<prop::sample::Index>(), 0..200),
        (each, cpu) in (each(), 0i32..512),
    ) {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let shown = Shown::new(&keys, size as u32, 1 << shift, seed, 0).with_rows(each);
        let mut noted = Noted::new(shown.chains.elements);
        // The count has gone round.
        prop_assert!(noted.write(VALUES_AT + noted.uses.head, 4, wrapped.into()));
        noted.tail = wrapped;
        let mut used = HashSet::new();
        for step in steps {
            // Now and then it is read.
            let step = step.index(keys.len() + others.len() + 1);
            let Some(key) = keys.iter().chain(&others).nth(step) else {
                prop_assert_eq!(noted.used(), std::mem::take(&mut used));
                continue;
            };
            let row = cpu as u64 * each;
            prop_assert_eq!(shown.found_and_noted(key, cpu, &noted), value_of(&keys, key, row));
            used.extend(keys.iter().position(|k| k == key).map(|number| number as u32));
            for number in 0..keys.len() as u32 {
                prop_assert_eq!(noted.is_marked(number), used.contains(&number));
            }
        }
    }

    #[test]
    fn what_the_log_has_no_room_for_is_marked(elements in 1u32..5000, found in vec(any::<u32>(), 0..3000)) {
        let mut noted = Noted::new(elements);
        let mut used = HashSet::new();
        for number in found {
            // As a look-up does it.
            let number = number % elements;
            if used.insert(number) {
                let head = noted.word(noted.uses.head);
                let at = VALUES_AT + noted.uses.number(head);
                prop_assert!(noted.write(VALUES_AT + noted.uses.marks + u64::from(number), 1, 1));
                prop_assert!(noted.write(at, 4, number.into()));
                prop_assert!(noted.write(VALUES_AT + noted.uses.head, 4, u64::from(head) + 1));
            }
        }
        let all = used.clone();
        loop {
            let some = noted.used();
            prop_assert!(some.is_subset(&used));
            used = &used - &some;
            if some.is_empty() {
                break;
            }
        }
        for &number in &all {
            prop_assert_eq!(noted.is_marked(number), used.contains(&number));
        }
        let read = all.len() - used.len();
        prop_assert_eq!(read, all.len().min(noted.uses.slots as usize));
    }

    #[test]
    fn a_log_is_never_read_behind_its_end(
        elements in 1u32..100_000,
        (values, head, tail) in any::<(u32, u32, u32)>(),
    ) {
        let uses = Uses::new(values.into(), elements);
        prop_assert!(uses.marks + u64::from(elements) <= uses.head);
        let (first, count) = uses.unread(head, tail);
        prop_assert!(count <= 128 && count <= uses.slots);
        for at in 0..count {
            let number = uses.number(first.wrapping_add(at));
            prop_assert!(number > uses.head && number + 4 <= uses.end);
        }
    }

    #[test]
    fn keys_with_the_same_hash_are_told_apart((size, keys, others) in keys()) {
        let keys: Vec<Vec<u8>> = keys.into_iter().collect();
        let mut shown = Shown::new(&keys, size as u32, 1, 0, 0);
        for key in others.iter().chain(&keys) {
            for number in 0..keys.len() {
                let element = shown.chains.index.elements as usize + ELEMENT as usize * number;
                shown.put(element + HASH, shown.hash(key));
            }
            prop_assert_eq!(shown.found(key, 0), value_of(&keys, key, 0));
        }
    }
}

/// `csum_partial()` (arch/x86/lib/csum-partial_64.c): words of 64 bits, the carry added at
/// the end of each.
fn csum_partial(bytes: &[u8], sum: u32) -> u32 {
    let mut total = u64::from(sum);
    for piece in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        let (added, carry) = total.overflowing_add(u64::from_le_bytes(word));
        total = added + u64::from(carry);
    }
    (total.wrapping_add(total.rotate_right(32)) >> 32) as u32
}

/// `bpf_csum_diff()` (net/core/filter.c).
fn csum_diff(from: &[u8], to: &[u8], seed: u32) -> u64 {
    let sum = match (from.is_empty(), to.is_empty()) {
        (true, true) => seed,
        (true, false) => csum_partial(to, seed),
        (false, true) => !csum_partial(from, !seed),
        (false, false) => {
            let less = !csum_partial(from, 0);
            let (sum, carry) = csum_partial(to, seed).overflowing_add(less);
            sum + u32::from(carry)
        }
    };
    u64::from(sum.wrapping_add(sum.rotate_right(16)) >> 16)
}

const FROM_AT: u64 = 0x5000_0000_0000;
const TO_AT: u64 = 0x5100_0000_0000;

/// Calls the helper, with numbers above those of 32 bits in what it takes 32 of.
fn summing(from: u32, to: u32, seed: u32, high: u32) -> Vec<Insn> {
    let wide = |low: u32| (u64::from(high) << 32) | u64::from(low);
    let args = [FROM_AT, wide(from), TO_AT, wide(to), wide(seed)];
    let mut insns = Vec::new();
    for (reg, arg) in (REG_1..).zip(args) {
        insns.extend(Insn::ld_imm64(reg, arg));
    }
    insns.push(Insn::call(id::CSUM_DIFF as i32));
    insns.push(Insn::exit());
    insns
}

/// What an image makes of them, and how often it has called the helper.
fn summed(from: &[u8], to: &[u8], seed: u32, high: u32) -> (u64, usize) {
    let insns = summing(from.len() as u32, to.len() as u32, seed, high);
    let laid = lay(&insns, insns.len() - 2, What::Checksum);
    let image = laid.insns();
    let read = |address: u64, len: usize| {
        let (bytes, at) = match address.checked_sub(TO_AT) {
            Some(at) => (to, at),
            None => (from, address - FROM_AT),
        };
        let mut value = [0; 8];
        value[..len].copy_from_slice(bytes.get(at as usize..at as usize + len)?);
        Some(u64::from_le_bytes(value))
    };
    let mut machine = Machine::image(&image, laid.stack).beside(&read);
    let outcome = machine.run().expect("the image");
    (outcome.verdict, outcome.calls.len())
}

/// Words, of which many are those where sums have two zeros.
fn to_sum() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        any::<u32>(),
        Just(0),
        Just(u32::MAX),
        Just(1),
        Just(0xffff),
        Just(0xffff_0000)
    ];
    let words = prop_oneof![
        vec(word, 0..40),
        vec(Just(u32::MAX), 0..600),
        vec(Just(0), 0..4)
    ];
    words.prop_map(|words| words.into_iter().flat_map(u32::to_le_bytes).collect())
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn a_checksum_is_the_kernels(
        (from, to) in (to_sum(), to_sum()),
        seed in prop_oneof![any::<u32>(), Just(0), Just(u32::MAX), Just(0xffff)],
        high in prop_oneof![any::<u32>(), Just(0)],
    ) {
        prop_assert_eq!(summed(&from, &to, seed, high), (csum_diff(&from, &to, seed), 0));
        prop_assert_eq!(summed(&to, &from, seed, high), (csum_diff(&to, &from, seed), 0));
        prop_assert_eq!(summed(&to, &to, seed, high), (csum_diff(&to, &to, seed), 0));
    }
}

#[test]
fn sizes_that_are_not_words_are_left_to_the_helper() {
    for (from, to, calls) in [
        (3, 4, 1),
        (4, 2, 1),
        (1, 0, 1),
        (0, 5, 1),
        (6, 6, 1),
        (8, 4, 0),
    ] {
        assert_eq!(summed(&vec![1; from], &vec![1; to], 7, 1).1, calls);
    }
}

#[test]
fn without_it_the_call_stays() {
    let insns = looking_up(0, 1);
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let laid = lay_out(&insns, &functions).unwrap();
    assert_eq!(laid.insns(), insns);
}

#[test]
fn the_first_instruction_stands_for_the_call() {
    let insns = looking_up(0, 1);
    for (masked, each) in [(false, 0), (true, 0), (false, 4096), (true, 4096)] {
        let row = Row {
            entries: 10,
            stride: 8,
            each,
            masked,
            ..Row::default()
        };
        let slots = Inline::new(0, What::Row(row)).unwrap().slots() as usize;
        let (laid, _) = laid_out(&insns, row, 0);
        let count = |wanted| {
            laid.code
                .iter()
                .filter(|(origin, _)| *origin == wanted)
                .count()
        };
        assert_eq!(laid.code.len(), insns.len() - 1 + slots);
        assert_eq!(laid.code[CALL].0, Origin::For(CALL));
        assert_eq!(count(Origin::Asks(CALL)), usize::from(each != 0));
        assert_eq!(count(Origin::Added), slots - 1 - usize::from(each != 0));
    }
}

/// Keys of `size` bytes that begin with these.
fn beginning<const N: usize>(size: usize, first: [u8; N]) -> Vec<Vec<u8>> {
    let key = |byte| {
        let mut key = vec![0; size];
        key[0] = byte;
        key
    };
    first.into_iter().map(key).collect()
}

#[test]
fn a_chain_that_lost_one_meanwhile_is_left_to_the_helper() {
    for size in [1, 4, 8, 13, 64] {
        let shown = Shown::new(&beginning(size, [1, 2, 3]), size as u32, 1, 7, 41);
        let losses = shown.chains.at + shown.bucket(0) as u64 + LOSSES as u64;
        for (key, calls) in beginning(size, [2, 9]).iter().zip([0, 1]) {
            let reads = Cell::new(0);
            let read = |address, len| {
                let more = u64::from(address == losses);
                reads.set(reads.get() + more);
                Some(shown.read(address, len)? + more)
            };
            let laid = laid_for(key, shown.chains);
            let image = laid.insns();
            let outcome = Machine::image(&image, laid.stack).beside(&read).run();
            let made = outcome.expect("the image").calls;
            // With the key where it was: the helper begins again.
            let at = machine::PACKET_AT + 64;
            assert!(made
                .iter()
                .all(|(id, args)| *id == id::MAP_LOOKUP_ELEM && args[1] == at));
            assert_eq!(made.len(), calls);
            assert_eq!(reads.get(), calls as u64);
        }
    }
}

#[test]
fn an_element_that_is_being_filled_is_not_found() {
    for size in [3, 4, 8, 40] {
        let keys = beginning(size, [1, 2, 3]);
        // Its key is there already, its hash is another's: so may its value be.
        let mut shown = Shown::new(&keys, size as u32, 1, 7, 0);
        let element = (shown.chains.index.elements + ELEMENT) as usize;
        shown.put(element + HASH, shown.hash(&keys[1]) ^ 1);
        for (key, found) in keys.iter().zip([VALUES_AT, 0, VALUES_AT + 48]) {
            assert_eq!(shown.found(key, 0), found);
        }
    }
}

#[test]
fn what_does_not_fit_keeps_its_gate() {
    let row = |entries, stride, each| {
        let row = Row {
            entries,
            stride,
            each,
            ..Row::default()
        };
        Inline::new(0, What::Row(row))
    };
    assert!(row(1, 8, 0).is_some());
    assert_eq!(row(0, 8, 0), None);
    assert_eq!(row(1 << 31, 8, 0), None);
    assert_eq!(row(1, 1 << 31, 0), None);
    assert_eq!(row(1, 8, 1 << 31), None);
    let chains = Shown::new(&beginning(4, [1]), 4, 1, 0, 0).chains;
    let with = |chains| Inline::new(0, What::Chains(chains));
    assert!(with(chains).is_some());
    for (key_size, key_stride, fits) in [
        (0, 8, false),
        (16, 8, false),
        (64, 64, true),
        (65, 72, false),
    ] {
        let chains = Chains {
            key_size,
            key_stride,
            ..chains
        };
        assert_eq!(with(chains).is_some(), fits);
    }
    let elements = 1 << 31;
    assert_eq!(with(Chains { elements, ..chains }), None);
    let buckets = 3;
    assert_eq!(with(Chains { buckets, ..chains }), None);
    let each = 1 << 31;
    assert_eq!(with(Chains { each, ..chains }), None);
}
