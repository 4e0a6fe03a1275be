// SPDX-License-Identifier: GPL-2.0
//! Helpers without leaving confinement: calls that become the program's own instructions.
//!
//! Loads are loads like any other, and what comes out is a number, which opens no page,
//! whatever the program puts into the registers. So nothing is lent and nothing audited.
//!
//! - Where a program looks its key up in one map, always the same, whose values the
//!   domain shows: of an array ([`row`]), of a hash map with a store ([`chains`]) and of a
//!   trie with one ([`prefixes`]). What it has in R1, the map, is not looked at, since the
//!   map is known.
//! - Checksums ([`checksum`]).
//! - Bytes out of the packet and into it ([`packet`]).
//! - What the kernel's functions on strings find out ([`strings`]).
//! - The time, while the TSC is what the kernel tells it by, and the coarse one always ([`clock`]).
//! - Random numbers ([`random`]).

pub mod chains;
pub mod checksum;
pub mod clock;
mod code;
pub mod packet;
pub mod prefixes;
mod random;
pub mod row;
pub mod strings;

use super::super::insn::Insn;
pub use chains::Chains;
pub use clock::Clock;
pub use packet::Packet;
pub use prefixes::Prefixes;
pub use row::Row;
pub use strings::Strings;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It looks up in an array.
    Row(Row),
    /// It looks up in a hash map.
    Chains(Chains),
    /// It looks up in a trie.
    Prefixes(Prefixes),
    /// `bpf_csum_diff()`
    Checksum,
    /// It copies bytes out of the packet or into it.
    Packet(Packet),
    /// It looks at strings.
    Strings(Strings),
    /// It tells the time.
    Clock(Clock),
    /// `bpf_get_prandom_u32()`, with a secret of its own.
    Random(u64),
}

/// A call of a helper or kfunc that becomes instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Index of the call in the program.
    index: u32,
    what: What,
}

/// One of the instructions that stand for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is the same in every image.
    Plain(Insn),
    /// A call of a site's stub that answers in confinement ([`Inline::asks_for`]).
    Ask,
    /// A call of the helper itself.
    Call,
}

/// What a stub answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The CPU's number, in R0.
    Cpu,
    /// The CPU's time stamp counter, in R0. R3 is lost.
    Tsc,
}

/// Where the parts go, one after the other.
type Emit<'a, E> = &'a mut dyn FnMut(Part) -> Result<(), E>;

impl Inline {
    /// The call at `index`. `None` if the instructions have no room for a map's numbers.
    pub fn new(index: u32, what: What) -> Option<Self> {
        let fits = match what {
            What::Row(row) => row.fits(),
            What::Chains(chains) => chains.fits(),
            What::Prefixes(prefixes) => prefixes.fits(),
            What::Checksum
            | What::Packet(_)
            | What::Strings(_)
            | What::Clock(_)
            | What::Random(_) => true,
        };
        fits.then_some(Self { index, what })
    }

    /// The call at `index`, of `inlined` ones in the order of their indices.
    pub fn at(inlined: &[Self], index: usize) -> Option<&Self> {
        let number = inlined.binary_search_by_key(&index, |inline| inline.index as usize);
        inlined.get(number.ok()?)
    }

    /// What its [`Part::Ask`] asks for.
    pub const fn asks_for(&self) -> Option<Asked> {
        match self.what {
            What::Row(_) | What::Chains(_) => Some(Asked::Cpu),
            What::Clock(clock) if clock.which.ticks() => Some(Asked::Tsc),
            What::Random(_) => Some(Asked::Tsc),
            _ => None,
        }
    }

    /// Instructions, as slots.
    pub fn slots(&self) -> u32 {
        let mut slots = 0;
        // Counted by what is emitted, which cannot fail here.
        let _ = self.emit::<()>(&mut |_| {
            slots += 1;
            Ok(())
        });
        slots
    }

    /// Hands the instructions to `emit`, one after the other.
    pub fn emit<E>(&self, emit: Emit<'_, E>) -> Result<(), E> {
        match self.what {
            What::Row(row) => row.emit(emit),
            What::Chains(chains) => chains.emit(emit),
            What::Prefixes(prefixes) => prefixes.emit(emit),
            What::Checksum => checksum::emit(emit),
            What::Packet(packet) => packet.emit(emit),
            What::Strings(strings) => strings.emit(emit),
            What::Clock(clock) => clock.emit(emit),
            What::Random(secret) => random::emit(secret, emit),
        }
    }
}

/// Hands instructions to `emit`, one after the other.
fn plain<E>(emit: Emit<'_, E>, insns: impl IntoIterator<Item = Insn>) -> Result<(), E> {
    insns
        .into_iter()
        .try_for_each(|insn| emit(Part::Plain(insn)))
}

fn op(op: u8, dst: u8, src: u8) -> Insn {
    Insn::alu64_reg(op, dst, src)
}

fn op_imm(op: u8, dst: u8, imm: u32) -> Insn {
    Insn::alu64_imm(op, dst, imm as i32)
}

fn op32(op: u8, dst: u8, src: u8) -> Insn {
    Insn::alu32_reg(op, dst, src)
}

fn op32_imm(op: u8, dst: u8, imm: u32) -> Insn {
    Insn::alu32_imm(op, dst, imm as i32)
}
