// SPDX-License-Identifier: GPL-2.0
//! Look-ups without leaving confinement.
//!
//! Where a program looks its key up in one map, always the same, whose values the
//! domain shows, the call becomes the instructions that do so: of an array ([`row`]) and
//! of a hash map with a store ([`chains`]). They are the program's own: loads are loads
//! like any other, and what comes out is a number, which opens no page, whatever the
//! program puts into the registers. So nothing is lent and nothing audited. What it has
//! in R1, the map, is not looked at, since the map is known.

pub mod chains;
pub mod row;

use super::super::insn::Insn;
pub use chains::Chains;
pub use row::Row;

/// What is looked up in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// An array.
    Row(Row),
    /// A hash map.
    Chains(Chains),
}

/// A call of `bpf_map_lookup_elem()` that becomes instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Index of the call in the program.
    index: u32,
    map: Map,
}

/// One of the instructions that stand for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is the same in every image.
    Plain(Insn),
    /// A call of a site's stub: of the one that answers the CPU's number ([`row`]), or of
    /// the helper itself ([`chains`]).
    Call,
}

/// Where the parts go, one after the other.
type Emit<'a, E> = &'a mut dyn FnMut(Part) -> Result<(), E>;

impl Lookup {
    /// The call at `index`. `None` if the instructions have no room for the map's numbers.
    pub fn new(index: u32, map: Map) -> Option<Self> {
        let fits = match map {
            Map::Row(row) => row.fits(),
            Map::Chains(chains) => chains.fits(),
        };
        fits.then_some(Self { index, map })
    }

    /// The call at `index`, of look-ups in the order of their indices.
    pub fn at(lookups: &[Self], index: usize) -> Option<&Self> {
        let number = lookups.binary_search_by_key(&index, |lookup| lookup.index as usize);
        lookups.get(number.ok()?)
    }

    /// Whether its [`Part::Call`] asks for the CPU's number.
    pub const fn asks_for_cpu(&self) -> bool {
        matches!(self.map, Map::Row(_))
    }

    /// Instructions, as slots.
    pub fn slots(&self) -> u32 {
        match self.map {
            Map::Row(row) => row.slots(),
            Map::Chains(chains) => chains.slots(),
        }
    }

    /// Hands the instructions to `emit`, one after the other.
    pub fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        match self.map {
            Map::Row(row) => row.emit(emit),
            Map::Chains(chains) => chains.emit(emit),
        }
    }
}

/// Hands instructions to `emit`, one after the other.
fn plain<E>(emit: Emit<'_, E>, insns: impl IntoIterator<Item = Insn>) -> Result<(), E> {
    insns
        .into_iter()
        .try_for_each(|insn| emit(Part::Plain(insn)))
}
