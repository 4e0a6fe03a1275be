// SPDX-License-Identifier: GPL-2.0
//! How much of the packet a program looks at: what `pure/reach/` asks of the verifier's
//! knowledge.

use super::helpers::{Called, Helpers};
use super::knowledge::{Knowledge, XDP_BUFF};
use super::plan::{facts_of, helper_of, zeros};
use super::site::ARG_TYPES;
use super::Reason;
use crate::pure::catalog::{ArgKind, Special};
use crate::pure::reach::{self, Reach, Takes};
use crate::pure::rewrite::{Facts, PtrKind};

/// How much of the packet the program looks at, and where it writes there.
pub(super) fn reach_of(
    known: &Knowledge,
    helpers: &Helpers,
    facts: &Facts,
) -> Result<Reach, Reason> {
    let insns = known.insns();
    let mut places = zeros(insns.len())?;
    let numbered = if known.functions() == 1 && facts.reads_data() && !facts.packet_dynptrs() {
        reach::number_places(insns, &mut places)
    } else {
        None
    };
    let Some(count) = numbered else {
        return Ok(Reach::WHOLE);
    };
    let mut states = zeros(count)?;
    let knows = Followed { known, helpers };
    let found = reach::reach(insns, XDP_BUFF, &knows, &places, &mut states);
    // The verifier has seen it write.
    let misses = facts.stores_packet() && found.writes_from >= found.writes_to;
    Ok(if misses { Reach::WHOLE } else { found })
}

/// What `reach` asks.
struct Followed<'a> {
    known: &'a Knowledge,
    helpers: &'a Helpers,
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
        Some(takes(index, called, self.known))
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
