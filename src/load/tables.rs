// SPDX-License-Identifier: GPL-2.0
//! Jump tables: maps of type `BPF_MAP_TYPE_INSN_ARRAY`.
//!
//! The kernel keeps two things in such a map: for user space, of each entry the
//! index of its instruction, which the verifier's passes keep in step with the
//! program; and for the program, the instruction's address in the image, which
//! the JIT fills in. We keep the first in step as well. The second stays the
//! kernel's: the program gets a page of the domain with numbers
//! (`pure/rewrite/jump_table.rs`).
//!
//! A map is of one program: the verifier takes it, and gives it back when the
//! load fails (`bpf_insn_array_init()`, kernel/bpf/bpf_insn_array.c). It is
//! frozen, so user space does not change it.

use super::knowledge::Knowledge;
use super::Reason;
use crate::bindings as b;
use crate::domain::Domain;
use crate::pure::rewrite::jump_table::{Places, NOWHERE};
use kernel::prelude::*;

/// The jump tables of a program that is being loaded.
pub(super) struct Tables {
    /// Held by the verifier's `env`.
    maps: KVec<*mut b::bpf_map>,
    /// Where they lead, in order.
    places: KVVec<u32>,
}

/// Where the entries of `map` lead: indices of instructions, `None` for nowhere.
fn entries(map: *mut b::bpf_map) -> impl Iterator<Item = (u32, Option<u32>)> {
    // SAFETY: a map that `env` holds a reference to (`Tables::new`).
    let count = unsafe { (*map).max_entries };
    (0..count).map(move |index| {
        // SAFETY: as above; the map is a jump table and has such an entry.
        let insn = unsafe { b::bailey_table_entry(map, index) };
        (index, Some(insn).filter(|&insn| insn != u32::MAX))
    })
}

impl Tables {
    /// Those of the program, with what the verifier's passes have made of them.
    pub(super) fn new(known: &Knowledge) -> Result<Self, Reason> {
        let mut maps = KVec::new();
        // One entry for each instruction: whether a table leads to it.
        let mut led_to: KVVec<bool> = KVVec::new();
        for &map in known.maps() {
            // SAFETY: a map that `env` holds a reference to.
            let map_type = unsafe { (*map).map_type };
            if map_type != b::bpf_map_type_BPF_MAP_TYPE_INSN_ARRAY {
                continue;
            }
            maps.push(map, GFP_KERNEL).map_err(|_| Reason::NoMemory)?;
            led_to
                .resize(known.insns().len(), false, GFP_KERNEL)
                .map_err(|_| Reason::NoMemory)?;
            for (_, place) in entries(map) {
                if let Some(mark) = place.and_then(|place| led_to.get_mut(place as usize)) {
                    *mark = true;
                }
            }
        }
        let mut places = KVVec::new();
        for (place, _) in (0..).zip(led_to.iter()).filter(|(_, marked)| **marked) {
            places
                .push(place, GFP_KERNEL)
                .map_err(|_| Reason::NoMemory)?;
        }
        Ok(Self { maps, places })
    }

    /// Where they lead.
    pub(super) fn places(&self) -> Places<'_> {
        Places::new(&self.places).unwrap_or_default()
    }

    /// Gives the program of `domain` the tables it reads.
    pub(super) fn fill(&self, domain: &Domain) -> Result<(), Reason> {
        for &map in &self.maps {
            let numbers = entries(map).map(|(_, place)| {
                let number = place.and_then(|place| self.places().number(place));
                number.unwrap_or(NOWHERE)
            });
            domain
                // SAFETY: the map's one program is being loaded: nobody else fills its table.
                .with_values(|values| unsafe { values.fill_table(map, numbers) })
                .map_err(Reason::Domain)?;
        }
        Ok(())
    }

    /// The program was replaced: the maps tell where each place is now, `None`
    /// if it is gone. The JIT goes by that.
    pub(super) fn follow(&self, moved: impl Fn(u32) -> Option<u32>) {
        for &map in &self.maps {
            for (index, place) in entries(map) {
                let insn = place.and_then(&moved).unwrap_or(u32::MAX);
                // SAFETY: as in `entries`; the map's one program is being loaded, and `env` is
                // ours.
                unsafe { b::bailey_table_move(map, index, insn) };
            }
        }
    }
}
