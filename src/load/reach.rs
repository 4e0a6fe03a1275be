// SPDX-License-Identifier: GPL-2.0
//! How much of the packet a program looks at: what `pure/reach/` asks of the verifier's
//! knowledge.

use super::helpers::{Called, Helpers};
use super::knowledge::{Knowledge, XDP_BUFF};
use super::plan::{facts_of, helper_of, zeros};
use super::site::ARG_TYPES;
use super::Reason;
use crate::pure::catalog::{id, ArgKind, Special};
use crate::pure::reach::{self, Reach, Takes};
use crate::pure::rewrite::inline::Packet;
use crate::pure::rewrite::{Facts, PtrKind};
use kernel::prelude::*;

/// What a program does with its packet.
pub(super) struct Use {
    /// How much of it the program looks at, and where it writes there.
    pub(super) reach: Reach,
    /// The calls that copy bytes by their place are made on what it sees of it, those that
    /// copy out of the packet
    pub(super) copies_out: bool,
    /// and into it.
    pub(super) copies_into: bool,
    /// What is known of each, in their order; nothing of any where all of the packet is there.
    places: KVVec<Place>,
}

/// A call that copies bytes by their place, and what is the same each time.
struct Place {
    index: usize,
    at: Option<u16>,
    len: Option<u16>,
}

impl Use {
    /// What the call of `helper` at `index` becomes, if it needs no gate.
    pub(super) fn inlined(&self, index: usize, helper: u32) -> Option<Packet> {
        let stores = match helper {
            id::XDP_LOAD_BYTES if self.copies_out => false,
            id::XDP_STORE_BYTES if self.copies_into => true,
            _ => return None,
        };
        let place = number_of(&self.places, index).and_then(|number| self.places.get(number));
        Some(Packet {
            stores,
            data: XDP_BUFF.data,
            data_end: XDP_BUFF.data_end,
            at: place.and_then(|place| place.at),
            len: place.and_then(|place| place.len),
        })
    }
}

/// Which one of `places` is that of the call at `index`.
fn number_of(places: &[Place], index: usize) -> Option<usize> {
    places
        .binary_search_by_key(&index, |place| place.index)
        .ok()
}

/// Calls that copy by place do so without a gate in a program that sees no more bytes of its
/// packet by that, or sees them anyway. More would take as long to be copied, for every run, as
/// a call takes through the gate.
const NEAR: u32 = 512;

/// What the program does with its packet.
pub(super) fn use_of(known: &Knowledge, helpers: &Helpers, facts: &Facts) -> Result<Use, Reason> {
    let mut found = Use {
        reach: reach_of(known, helpers, facts, facts.reads_data(), None)?,
        copies_out: false,
        copies_into: false,
        places: KVVec::new(),
    };
    let (out, into) = (
        facts.calls(id::XDP_LOAD_BYTES),
        facts.calls(id::XDP_STORE_BYTES),
    );
    if !out && !into {
        return Ok(found);
    }
    if facts.reads_data() && found.reach == Reach::WHOLE {
        // It sees all of it anyway.
        found.copies_out = out;
        found.copies_into = into && facts.stores_packet();
        return Ok(found);
    }
    let mut places = KVVec::new();
    for index in 0..known.insns().len() {
        let helper = facts_of(known, helpers, index).helper;
        if matches!(helper, Some(id::XDP_LOAD_BYTES | id::XDP_STORE_BYTES)) {
            let place = Place {
                index,
                at: None,
                len: None,
            };
            places
                .push(place, GFP_KERNEL)
                .map_err(|_| Reason::NoMemory)?;
        }
    }
    let reach = reach_of(known, helpers, facts, true, Some(&mut places))?;
    let anyway = if facts.reads_data() {
        found.reach.sees
    } else {
        0
    };
    if reach.sees <= anyway.max(NEAR) {
        found = Use {
            reach,
            copies_out: out,
            copies_into: into,
            places,
        };
    }
    Ok(found)
}

/// How much of the packet the program looks at, and where it writes there. With `places`
/// calls that copy bytes by their place look at it, too, and are noted.
fn reach_of(
    known: &Knowledge,
    helpers: &Helpers,
    facts: &Facts,
    looks: bool,
    copies: Option<&mut [Place]>,
) -> Result<Reach, Reason> {
    let insns = known.insns();
    let mut places = zeros(insns.len())?;
    let numbered = if known.functions() == 1 && looks && !facts.packet_dynptrs() {
        reach::number_places(insns, &mut places)
    } else {
        None
    };
    let Some(count) = numbered else {
        return Ok(Reach::WHOLE);
    };
    let mut states = zeros(count)?;
    let mut knows = Followed {
        known,
        helpers,
        copies,
    };
    let found = reach::reach(insns, XDP_BUFF, &mut knows, &places, &mut states);
    // The verifier has seen it write.
    let misses = facts.stores_packet() && found.writes_from >= found.writes_to;
    Ok(if misses { Reach::WHOLE } else { found })
}

/// What `reach` asks.
struct Followed<'a> {
    known: &'a Knowledge,
    helpers: &'a Helpers,
    /// The calls that copy by place, if they look at the packet.
    copies: Option<&'a mut [Place]>,
}

impl reach::Knows for Followed<'_> {
    fn pointer(&self, index: usize) -> PtrKind {
        self.known.pointer(index)
    }

    fn takes(&self, index: usize) -> Option<[Takes; 5]> {
        let facts = facts_of(self.known, self.helpers, index);
        let called = self
            .helpers
            .by_id(helper_of(self.known.insns().get(index)?, &facts)?)?;
        let mut takes = takes(index, called, self.known);
        if self.copies.is_some() {
            match called.helper.id {
                id::XDP_LOAD_BYTES => takes[1] = Takes::Place { write: false },
                id::XDP_STORE_BYTES => takes[1] = Takes::Place { write: true },
                _ => {}
            }
        }
        Some(takes)
    }

    fn hear(&mut self, index: usize, place: Option<u32>, len: Option<u32>) {
        let Some(places) = self.copies.as_deref_mut() else {
            return;
        };
        let short = |number: Option<u32>| number.and_then(|number| u16::try_from(number).ok());
        let heard = number_of(places, index).and_then(|number| places.get_mut(number));
        if let Some(heard) = heard {
            (heard.at, heard.len) = (short(place), short(len));
        }
    }
}

/// What the call at `insn` of helper `called` does with memory that it is given.
fn takes(insn: usize, called: &Called, known: &Knowledge) -> [Takes; 5] {
    if called.helper.special == Special::PrintkFormat {
        // The format says which are addresses.
        return [Takes::Unknown; 5];
    }
    let kind = |index| called.arg(index, &ARG_TYPES);
    let map = (0..5)
        .find(|&index| kind(index) == Ok(ArgKind::Map))
        .and_then(|index| known.map_argument(insn, index + 1));
    let bytes =
        |len: Option<u32>, write| len.map_or(Takes::Unknown, |len| Takes::Bytes { len, write });
    core::array::from_fn(|index| match kind(index) {
        // SAFETY: a map that `env` holds a reference to.
        Ok(ArgKind::MapKey) => bytes(map.map(|map| unsafe { (*map).key_size }), false),
        Ok(ArgKind::MapValue { write }) => {
            // SAFETY: as above.
            bytes(map.map(|map| unsafe { (*map).value_size }), write)
        }
        Ok(ArgKind::MemFixed { size, write }) => bytes(Some(size), write),
        Ok(ArgKind::Mem { write, .. }) => Takes::Counted { write },
        // The verifier lets no address in the packet be one of these.
        Ok(
            ArgKind::Unused
            | ArgKind::Scalar
            | ArgKind::Size { .. }
            | ArgKind::AllocSize
            | ArgKind::Ctx
            | ArgKind::Map
            | ArgKind::SpinLock
            | ArgKind::ResSpinLock
            | ArgKind::RingbufRecord
            | ArgKind::Socket
            | ArgKind::KernelObject
            | ArgKind::KernelObjectOf(_)
            | ArgKind::Reference(_)
            | ArgKind::PerCpuMemory
            | ArgKind::ConstStr
            | ArgKind::Timer
            | ArgKind::Workqueue
            | ArgKind::Callback,
        ) => Takes::Nothing,
        _ => Takes::Unknown,
    })
}
