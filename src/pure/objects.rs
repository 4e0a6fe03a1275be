// SPDX-License-Identifier: GPL-2.0
//! Objects of the kernel that a program keeps on its stack: dynptrs, iterators,
//! saved interrupt flags.
//!
//! The stack is the domain's, and the kernel follows the pointers in such an
//! object. So what the program has there is a name and no more: the object
//! itself is here, in kernel memory, found by the address that the program
//! passes. What the program writes to its stack changes nothing of it; what it
//! passes that names no object, or one of another kind, is refused.

use super::ledger::{Held, Kind as HeldKind, Ledger};

/// How many objects a run has at once.
pub const CAPACITY: usize = 32;

/// Words of the largest object.
pub const WORDS: usize = 2;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A dynptr of memory that the program may use.
    Memory,
    /// A dynptr of the packet.
    Packet,
    /// A dynptr of a ring-buffer record, which the ledger holds.
    Record,
    /// A dynptr of a record from user space, as long as its callback runs.
    Sample,
    /// An iterator over numbers.
    Numbers,
    /// An iterator over bits, which may own memory; the ledger holds it.
    Bits,
    /// Interrupt flags; the ledger holds them.
    IrqFlags,
    /// Interrupt flags that were saved with a lock; the ledger holds them as well.
    LockFlags,
}

impl Kind {
    /// Every kind, by its number.
    pub const ALL: [Self; 8] = [
        Self::Memory,
        Self::Packet,
        Self::Record,
        Self::Sample,
        Self::Numbers,
        Self::Bits,
        Self::IrqFlags,
        Self::LockFlags,
    ];

    /// Whether it is a dynptr.
    pub const fn is_dynptr(self) -> bool {
        matches!(
            self,
            Self::Memory | Self::Packet | Self::Record | Self::Sample
        )
    }

    /// Bytes that the program sets aside for one.
    pub const fn size(self) -> u64 {
        match self {
            Self::Numbers | Self::IrqFlags | Self::LockFlags => 8,
            _ => 16,
        }
    }

    /// What the ledger has of an object in place `at`.
    pub const fn held(self, at: usize) -> Option<Held> {
        let kind = match self {
            Self::Bits => HeldKind::BitsIterator,
            Self::IrqFlags => HeldKind::IrqFlags,
            Self::LockFlags => HeldKind::LockFlags,
            _ => return None,
        };
        Some(Held {
            kind,
            addr: at as u64,
        })
    }
}

/// What an argument must be, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The call makes an object of this kind.
    New(Kind),
    /// The call makes a dynptr like the one in the first argument.
    Clone,
    /// A dynptr that there is, of any kind.
    Dynptr,
    /// The same, or none at 0.
    DynptrOrNull,
    /// An object that there is, of this kind.
    Live(Kind),
    /// The same, and it ends with the call.
    End(Kind),
}

/// One object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// What the program knows it by.
    pub key: u64,
    /// What it is.
    pub kind: Kind,
    /// What the kernel has put into it.
    pub state: [u64; WORDS],
}

/// A dynptr's state (`struct bpf_dynptr_kern`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dynptr {
    /// What it points to: memory, or the packet's context; 0: nothing.
    pub data: u64,
    /// Bytes that it reaches, from `offset` on.
    pub size: u32,
    /// Where it begins.
    pub offset: u32,
}

/// `DYNPTR_SIZE_MASK` (kernel/bpf/helpers.c): the rest says what it is.
const SIZE_MASK: u32 = 0xff_ffff;

impl Object {
    /// What it says if it is a dynptr.
    pub const fn dynptr(&self) -> Dynptr {
        let [data, rest] = self.state;
        Dynptr {
            data,
            size: rest as u32 & SIZE_MASK,
            offset: (rest >> 32) as u32,
        }
    }
}

/// Why there is no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectError {
    /// No room.
    Full,
    /// There is one by this name that must be ended first.
    Held,
}

/// The objects of one run. Each stays in its place while it lives, since the
/// kernel is given its address.
#[derive(Debug)]
pub struct Objects {
    places: [Option<Object>; CAPACITY],
    used: usize,
}

impl Objects {
    /// No object.
    pub const fn new() -> Self {
        Self {
            places: [None; CAPACITY],
            used: 0,
        }
    }

    /// There is no object any more.
    pub fn clear(&mut self) {
        for place in self.used_places() {
            *place = None;
        }
        self.used = 0;
    }

    /// Places up to the last one that has been used.
    fn used_places(&mut self) -> &mut [Option<Object>] {
        self.places.get_mut(..self.used).unwrap_or(&mut [])
    }

    /// Every object, with its place.
    pub fn all(&self) -> impl Iterator<Item = (usize, &Object)> + Clone {
        let places = self.places.get(..self.used).unwrap_or(&[]);
        let objects = places.iter().enumerate();
        objects.filter_map(|(at, place)| Some((at, place.as_ref()?)))
    }

    /// The object named `key`.
    pub fn find(&self, key: u64) -> Option<(usize, &Object)> {
        self.all().find(|(_, object)| object.key == key)
    }

    /// The object in place `at`.
    pub fn get(&self, at: usize) -> Option<&Object> {
        self.places.get(at)?.as_ref()
    }

    /// The same, to be written by the kernel.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut Object> {
        self.places.get_mut(at)?.as_mut()
    }

    /// Makes an object of `kind` named `key`; returns its place. A dynptr of that
    /// name is gone then, as when a program writes over one. `low` is below every
    /// stack of the program that lives: if there is no room, dynptrs below it are
    /// no longer anybody's.
    pub fn begin(&mut self, key: u64, kind: Kind, low: u64) -> Result<usize, ObjectError> {
        let object = Object {
            key,
            kind,
            state: [0; WORDS],
        };
        if let Some((at, old)) = self.find(key) {
            if !old.kind.is_dynptr() {
                return Err(ObjectError::Held);
            }
            self.put(at, object);
            return Ok(at);
        }
        let free = self.places.iter().position(Option::is_none);
        let gone = || {
            let mut all = self.all();
            let gone = all.find(|(_, old)| old.kind.is_dynptr() && old.key < low);
            gone.map(|(at, _)| at)
        };
        let at = free.or_else(gone).ok_or(ObjectError::Full)?;
        self.put(at, object);
        Ok(at)
    }

    fn put(&mut self, at: usize, object: Object) {
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(object);
            self.used = self.used.max(at.saturating_add(1));
        }
    }

    /// The object in place `at` is gone.
    pub fn end(&mut self, at: usize) {
        if let Some(place) = self.places.get_mut(at) {
            *place = None;
        }
    }

    /// Every dynptr of `kind` that points to `data` is gone.
    pub fn end_of(&mut self, kind: Kind, data: u64) {
        for place in self.used_places() {
            if place.is_some_and(|object| object.kind == kind && object.dynptr().data == data) {
                *place = None;
            }
        }
    }

    /// Every address that a dynptr of memory points into: a pointer in all but
    /// place.
    pub fn pointers(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let memory = |object: &Object| {
            let dynptr = object.dynptr();
            (object.kind == Kind::Memory && dynptr.data != 0)
                .then(|| dynptr.data.wrapping_add(u64::from(dynptr.offset)))
        };
        self.all().filter_map(move |(_, object)| memory(object))
    }

    /// Whether a dynptr of `kind` still reaches what it says, as far as can be
    /// said here. `context` is that of the run.
    pub fn is_live(object: &Object, ledger: &Ledger, context: u64) -> bool {
        let data = object.dynptr().data;
        match object.kind {
            _ if data == 0 && object.kind.is_dynptr() => true,
            Kind::Packet => data == context,
            Kind::Record => ledger.holds(HeldKind::RingbufRecord, data),
            _ => true,
        }
    }
}

impl Default for Objects {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn dynptr(objects: &mut Objects, key: u64, kind: Kind, data: u64) -> usize {
        let at = objects.begin(key, kind, 0).unwrap();
        objects.get_mut(at).unwrap().state = [data, 64 | (3 << 28) | (8 << 32)];
        at
    }

    #[test]
    fn a_dynptr_is_read_as_the_kernel_writes_it() {
        let mut objects = Objects::new();
        let at = dynptr(&mut objects, 16, Kind::Memory, 4096);
        let expected = Dynptr {
            data: 4096,
            size: 64,
            offset: 8,
        };
        assert_eq!(objects.get(at).unwrap().dynptr(), expected);
        assert_eq!(objects.pointers().collect::<Vec<_>>(), [4104]);
    }

    #[test]
    fn an_iterator_must_end_before_another_begins() {
        let mut objects = Objects::new();
        for kind in [Kind::Numbers, Kind::Bits, Kind::IrqFlags, Kind::LockFlags] {
            let at = objects.begin(64, kind, 0).unwrap();
            assert_eq!(objects.begin(64, kind, 0), Err(ObjectError::Held));
            assert_eq!(objects.begin(64, Kind::Memory, 0), Err(ObjectError::Held));
            objects.end(at);
        }
        let at = objects.begin(64, Kind::Memory, 0).unwrap();
        assert_eq!(objects.begin(64, Kind::Numbers, 0), Ok(at), "written over");
    }

    #[test]
    fn a_record_ends_with_all_its_dynptrs() {
        let mut objects = Objects::new();
        let mut ledger = Ledger::new();
        ledger.acquire(HeldKind::RingbufRecord, 4096).unwrap();
        let one = dynptr(&mut objects, 0, Kind::Record, 4096);
        dynptr(&mut objects, 16, Kind::Record, 4096);
        dynptr(&mut objects, 32, Kind::Record, 8192);
        dynptr(&mut objects, 48, Kind::Memory, 4096);
        let live = |object: &Object| Objects::is_live(object, &ledger, 0);
        assert!(live(objects.get(one).unwrap()));
        assert!(!live(objects.find(32).unwrap().1));
        objects.end_of(Kind::Record, 4096);
        assert!(objects.find(0).is_none() && objects.find(16).is_none());
        assert!(objects.find(32).is_some() && objects.find(48).is_some());
    }

    #[test]
    fn a_packet_is_that_of_the_run() {
        let mut objects = Objects::new();
        let ledger = Ledger::new();
        let at = dynptr(&mut objects, 0, Kind::Packet, 4096);
        let object = *objects.get(at).unwrap();
        assert!(Objects::is_live(&object, &ledger, 4096));
        assert!(!Objects::is_live(&object, &ledger, 8192));
    }

    #[test]
    fn a_full_table_gives_up_what_lies_below_the_stack() {
        let mut objects = Objects::new();
        for n in 0..CAPACITY as u64 {
            let kind = if n == 0 { Kind::Numbers } else { Kind::Memory };
            objects.begin(n * 16, kind, 0).unwrap();
        }
        assert_eq!(
            objects.begin(8192, Kind::Memory, 16),
            Err(ObjectError::Full),
            "an iterator is never given up"
        );
        assert_eq!(objects.begin(8192, Kind::Memory, 17), Ok(1));
        assert!(objects.find(16).is_none() && objects.find(32).is_some());
    }

    fn kinds() -> impl Strategy<Value = Kind> {
        (0..Kind::ALL.len()).prop_map(|n| Kind::ALL[n])
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Against a map by name that never forgets and never moves anything.
        #[test]
        fn an_object_is_found_by_its_name_alone_until_it_ends(
            steps in proptest::collection::vec((0u8..4, 0u64..48, kinds(), 0u64..4), 0..400)
        ) {
            let mut objects = Objects::new();
            let mut model: BTreeMap<u64, (usize, Object)> = BTreeMap::new();
            for (step, key, kind, data) in steps {
                match step {
                    0 | 1 => {
                        let begun = objects.begin(key, kind, 0);
                        let expected = match model.get(&key) {
                            Some((_, old)) if !old.kind.is_dynptr() => Err(ObjectError::Held),
                            None if model.len() == CAPACITY => Err(ObjectError::Full),
                            _ => Ok(()),
                        };
                        prop_assert_eq!(begun.map(|_| ()), expected);
                        if let Ok(at) = begun {
                            let object = Object { key, kind, state: [data, 0] };
                            *objects.get_mut(at).unwrap() = object;
                            let old = model.insert(key, (at, object));
                            prop_assert!(old.is_none_or(|(place, _)| place == at));
                        }
                    }
                    2 => {
                        if let Some((at, _)) = objects.find(key) {
                            objects.end(at);
                        }
                        model.remove(&key);
                    }
                    _ => {
                        objects.end_of(kind, data);
                        model.retain(|_, (_, object)| {
                            object.kind != kind || object.state[0] != data
                        });
                    }
                }
                prop_assert_eq!(objects.all().count(), model.len());
                for (key, (at, object)) in &model {
                    prop_assert_eq!(objects.find(*key), Some((*at, object)));
                }
            }
            objects.clear();
            prop_assert_eq!(objects.all().count(), 0);
        }
    }
}
