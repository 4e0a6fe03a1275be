// SPDX-License-Identifier: GPL-2.0
//! What a program uses, instruction by instruction.

use super::super::catalog;
use super::super::insn::{Insn, REG_FP};
use super::{classify, Action, Known, PtrKind, Refusal, MAX_LEN, MAX_SITES};

/// Byte offsets in `struct xdp_buff` (`include/net/xdp.h`), from the running
/// kernel.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct CtxLayout {
    pub data: i16,
    pub data_end: i16,
    pub data_meta: i16,
    pub rxq: i16,
    pub txq: i16,
}

/// What a program uses, so that the enter gate builds no more than that.
///
/// Every answer errs towards "used". None of them is needed for isolation: a
/// program that does what the verifier thought impossible finds parts of its
/// shadow missing, and harms itself.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    layout: CtxLayout,
    reads_data: bool,
    stores_packet: bool,
    reads_rxq: bool,
    reads_txq: bool,
    /// It makes dynptrs of the packet; slices of dynptrs are read, are written.
    packet_dynptrs: bool,
    slices: bool,
    stores_slices: bool,
    helpers: [u64; 4],
    sites: u32,
    exits: u32,
    tail_calls: u32,
}

impl Facts {
    /// Nothing observed yet. `direct_write` is the verifier's
    /// `env->seen_direct_write`, which it sets for a store to the packet on
    /// any path; the pointer kind of a single store is not enough, see
    /// [`PtrKind`].
    pub const fn new(layout: CtxLayout, direct_write: bool) -> Self {
        Self {
            layout,
            reads_data: direct_write,
            stores_packet: direct_write,
            reads_rxq: false,
            reads_txq: false,
            packet_dynptrs: false,
            slices: false,
            stores_slices: false,
            helpers: [0; 4],
            sites: 0,
            exits: 0,
            tail_calls: 0,
        }
    }

    /// Takes one instruction into account; [`classify`] has allowed it.
    pub fn observe(&mut self, insn: &Insn, known: &Known, action: Action) {
        match action {
            Action::Keep | Action::Call | Action::FunctionAddress | Action::DropMask => {}
            Action::Follow
            | Action::Inline
            | Action::Throw
            | Action::JumpTable
            | Action::LoopCount
            | Action::LoopCheck => {}
            Action::Exit => self.exits = self.exits.saturating_add(1),
            Action::TailCall => self.tail_calls = self.tail_calls.saturating_add(1),
            Action::Helper(id) => self.note_helper(id),
            Action::SmpProcessorId => self.note_helper(catalog::id::GET_SMP_PROCESSOR_ID),
        }
        if action.is_site() {
            self.sites = self.sites.saturating_add(1);
        }

        // bpf_convert_ctx_accesses() has turned reads of struct xdp_md into
        // chains of loads, of which the last keeps the context's pointer kind
        // and the others have none.
        let of_ctx = matches!(known.ptr, PtrKind::Ctx | PtrKind::Unknown);
        if insn.is_load() && of_ctx && insn.base() != Some(REG_FP) && insn.access_bytes() == 8 {
            let layout = &self.layout;
            let off = insn.off;
            self.reads_data |=
                off == layout.data || off == layout.data_end || off == layout.data_meta;
            self.reads_rxq |= off == layout.rxq;
            self.reads_txq |= off == layout.txq;
        }
        if known.ptr == PtrKind::Packet {
            self.reads_data = true;
            self.stores_packet |= insn.is_store();
        }
    }

    fn note_helper(&mut self, id: u32) {
        if let Some(kfunc) = catalog::kfuncs::by_id(id) {
            self.packet_dynptrs |= kfunc.name == "bpf_dynptr_from_xdp";
            let slices = kfunc.call.gives == catalog::Gives::SliceOrNull;
            self.slices |= slices;
            self.stores_slices |= slices && kfunc.name.ends_with("_rdwr");
        }
        if let Some(word) = self.helpers.get_mut((id / 64) as usize) {
            *word |= 1 << (id % 64);
        }
    }

    /// Takes into account that calls which copy out of the packet, and into it, are made on
    /// what the program sees of it.
    pub fn copies_packet(&mut self, out: bool, into: bool) {
        self.reads_data |= out || into;
        self.stores_packet |= into;
    }

    /// The program loads `data`, `data_end` or `data_meta`: the shadow needs
    /// the packet's bytes.
    pub const fn reads_data(&self) -> bool {
        self.reads_data || self.packet_dynptrs && self.slices
    }

    /// The program stores to the packet: its bytes go back.
    pub const fn stores_packet(&self) -> bool {
        self.stores_packet || self.packet_dynptrs && self.stores_slices
    }

    /// The program makes dynptrs of the packet.
    pub const fn packet_dynptrs(&self) -> bool {
        self.packet_dynptrs
    }

    /// The program follows `rxq`, for the queue or the device's index.
    pub const fn reads_rxq(&self) -> bool {
        self.reads_rxq
    }

    /// The program follows `txq`; only programs in a devmap have one.
    pub const fn reads_txq(&self) -> bool {
        self.reads_txq
    }

    /// Whether the program calls helper `id` anywhere.
    pub fn calls(&self, id: u32) -> bool {
        self.helpers
            .get((id / 64) as usize)
            .is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// Call sites, and so stubs, that the rewritten program needs beside
    /// `enter`: every exit, helper call, tail call and processor id.
    pub const fn sites(&self) -> u32 {
        self.sites
    }

    /// Exits of the original program.
    pub const fn exits(&self) -> u32 {
        self.exits
    }

    /// Tail calls of the program.
    pub const fn tail_calls(&self) -> u32 {
        self.tail_calls
    }
}

/// Classifies a whole main program and collects what it uses.
///
/// `known` is asked once for each slot, in order. On refusal the slot's index
/// comes with the reason.
pub fn survey(
    program: &[Insn],
    layout: CtxLayout,
    direct_write: bool,
    mut known: impl FnMut(usize) -> Known,
) -> Result<Facts, (usize, Refusal)> {
    if program.len() > MAX_LEN {
        return Err((MAX_LEN, Refusal::TooLong));
    }
    let mut facts = Facts::new(layout, direct_write);
    for (index, insn) in program.iter().enumerate() {
        let known = known(index);
        let action = classify(insn, &known).map_err(|refusal| (index, refusal))?;
        facts.observe(insn, &known, action);
        if facts.sites > MAX_SITES {
            return Err((index, Refusal::TooManySites));
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::super::super::insn::size;
    use super::super::knowledge::tests::{helper, with};
    use super::*;
    extern crate std;

    /// Linux 7.2.
    const LAYOUT: CtxLayout = CtxLayout {
        data: 0,
        data_end: 8,
        data_meta: 16,
        rxq: 32,
        txq: 40,
    };

    #[test]
    fn facts_tell_what_enter_must_build() {
        let observe = |insns: &[(Insn, PtrKind)], direct_write| {
            survey(
                &insns
                    .iter()
                    .map(|pair| pair.0)
                    .collect::<std::vec::Vec<_>>(),
                LAYOUT,
                direct_write,
                |index| with(insns[index].1),
            )
            .unwrap()
        };
        let nothing = observe(&[(Insn::mov64_imm(0, 2), PtrKind::Unknown)], false);
        assert!(!nothing.reads_data() && !nothing.stores_packet());
        assert!(!nothing.reads_rxq() && !nothing.reads_txq());

        let data = observe(&[(Insn::ldx(size::DW, 2, 1, 8), PtrKind::Ctx)], false);
        assert!(data.reads_data() && !data.stores_packet() && !data.reads_rxq());

        // ctx->ingress_ifindex: rxq, dev, ifindex.
        let ifindex = observe(
            &[
                (Insn::ldx(size::DW, 2, 1, 32), PtrKind::Unknown),
                (Insn::ldx(size::DW, 2, 2, 0), PtrKind::Unknown),
                (Insn::ldx(size::W, 2, 2, 224), PtrKind::Ctx),
            ],
            false,
        );
        assert!(ifindex.reads_rxq() && !ifindex.reads_txq());

        let spill = observe(
            &[(Insn::ldx(size::DW, 2, REG_FP, 8), PtrKind::Stack)],
            false,
        );
        assert!(!spill.reads_data());

        // A store that the verifier saw first with a stack pointer.
        let mixed = observe(&[(Insn::stx(size::W, 2, 3, 0), PtrKind::Stack)], true);
        assert!(mixed.stores_packet() && mixed.reads_data());
    }

    #[test]
    fn facts_count_sites_and_helpers() {
        let program = [
            Insn::call(1),
            Insn::call(2),
            Insn::new(0xf5, 0, 0, 0, 0),
            Insn::exit(),
            Insn::exit(),
        ];
        let facts = survey(&program, LAYOUT, false, |index| match index {
            0 => helper(catalog::id::KTIME_GET_TAI_NS),
            1 => helper(catalog::id::GET_SMP_PROCESSOR_ID),
            _ => Known::default(),
        })
        .unwrap();
        assert_eq!(
            (facts.sites(), facts.exits(), facts.tail_calls()),
            (5, 2, 1)
        );
        assert!(facts.calls(catalog::id::KTIME_GET_TAI_NS));
        assert!(!facts.calls(catalog::id::KTIME_GET_NS));
        assert!(!facts.calls(u32::MAX));
    }
}
