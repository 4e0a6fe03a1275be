// SPDX-License-Identifier: GPL-2.0
//! How far into its packet a program looks, and where it writes there.
//!
//! Only so much need be copied. The verifier knows it while it follows the program's
//! ways, and forgets it; so they are followed here once more, all at once: for each
//! register and each slot of the stack, how far behind `data` it may point, if it points
//! into the packet, and which number it may be otherwise.
//!
//! Isolation does not depend on the answer. It is right for a program that does what the
//! verifier let pass; another one finds bytes of earlier packets in its own frame, or what
//! it writes is not copied back. What cannot be told is answered by the whole packet.

mod arithmetic;
mod interval;
mod state;

use super::insn::{class, mode, pseudo, Insn, REG_0, REG_1, REG_FP};
use super::rewrite::{CtxLayout, PtrKind};
use arithmetic::arithmetic;
use interval::{half, Interval};
pub use state::State;
use state::{Stack, Value};

/// In the place of an offset: all there is.
pub const ALL: u32 = u32::MAX;

/// Bytes of a packet, by their distance from `data`. What is not in `sees` is not
/// written either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// So many from the first one on are looked at or written; [`ALL`]: all, those in
    /// front of `data` included.
    pub sees: u32,
    /// Those that are written lie behind this one, or are this one,
    pub writes_from: u32,
    /// and in front of this one.
    pub writes_to: u32,
}

impl Reach {
    /// The whole packet, both ways.
    pub const WHOLE: Self = Self {
        sees: ALL,
        writes_from: 0,
        writes_to: ALL,
    };
}

/// What a call does with the memory that an argument points to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is a number, or unused, or points to something of the kernel's.
    #[default]
    Nothing,
    /// Reads so many bytes, or writes them.
    Bytes {
        /// How many.
        len: u32,
        /// Whether they are written.
        write: bool,
    },
    /// As many as the argument behind it says.
    Counted {
        /// Whether they are written.
        write: bool,
    },
    /// It is a number: bytes of the packet, from so many behind `data` on, as many as the
    /// second argument behind it says (`bpf_xdp_load_bytes()`, of 32 bits each).
    Place {
        /// Whether they are written.
        write: bool,
    },
    /// Something else.
    Unknown,
}

/// Longest program that is looked at, in slots.
pub const MAX_LEN: usize = 16384;

/// Furthest offset into a packet that the verifier lets pass (`MAX_PACKET_OFF`).
const FURTHEST: i64 = 0xffff;

/// Passes over the program before what still grows is taken to be anything.
const PATIENCE: u32 = 3;
/// Passes before the answer is the whole packet.
const PASSES: u32 = 32;

/// Numbers the instructions that jumps lead to, from 1 on, in `places`, which is as long
/// as the program and all 0. Returns how many there are, or `None` if they cannot be
/// told.
pub fn number_places(insns: &[Insn], places: &mut [u16]) -> Option<usize> {
    if insns.len() > MAX_LEN || places.len() != insns.len() {
        return None;
    }
    for (index, insn) in insns.iter().enumerate() {
        if insn.is_gotox() {
            return None;
        }
        if let Some(target) = target(index, insn) {
            *places.get_mut(target)? = 1;
        }
    }
    let mut count = 0u16;
    for place in places.iter_mut().filter(|place| **place != 0) {
        count = count.checked_add(1)?;
        *place = count;
    }
    Some(count.into())
}

fn target(index: usize, insn: &Insn) -> Option<usize> {
    usize::try_from(index as i64 + 1 + i64::from(insn.jump()?)).ok()
}

/// What is known of a program, instruction by instruction.
pub trait Knows {
    /// What the load or store at `index` goes through.
    fn pointer(&self, index: usize) -> PtrKind;
    /// What the call at `index` does with its arguments; `None`: it is no helper's.
    fn takes(&self, index: usize) -> Option<[Takes; 5]>;
    /// Hears of each call with a [`Takes::Place`] which place it is and how many bytes, where
    /// that is the same each time. What it hears last counts, if it is told how far the
    /// program looks.
    fn hear(&mut self, _index: usize, _place: Option<u32>, _len: Option<u32>) {}
}

/// How far the program looks. It has one function, and no other way to the packet than by
/// `data`: no dynptr of it. `places` is what [`number_places`] has made of it, and `states` has as
/// many as that returned.
pub fn reach(
    insns: &[Insn],
    layout: CtxLayout,
    knows: &mut impl Knows,
    places: &[u16],
    states: &mut [State],
) -> Reach {
    let mut search = Search {
        layout,
        stack: Stack::EMPTY,
        sees: 0,
        writes: Interval::NONE,
        widen: false,
    };
    for pass in 0..PASSES {
        search.widen = pass >= PATIENCE;
        match search.pass(insns, knows, places, states) {
            None => return Reach::WHOLE,
            Some(true) => {}
            Some(false) => return search.found(),
        }
    }
    Reach::WHOLE
}

struct Search {
    layout: CtxLayout,
    stack: Stack,
    sees: i64,
    writes: Interval,
    widen: bool,
}

impl Search {
    fn found(&self) -> Reach {
        let number = |at: i64| u32::try_from(at).unwrap_or(ALL);
        let (writes_from, writes_to) = if self.writes.is_none() {
            (0, 0)
        } else {
            (number(self.writes.low), number(self.writes.high))
        };
        Reach {
            sees: number(self.sees),
            writes_from,
            writes_to,
        }
    }

    /// Goes through the program once. Whether anything has been added to what was known;
    /// `None` if nothing can be told.
    fn pass(
        &mut self,
        insns: &[Insn],
        knows: &mut impl Knows,
        places: &[u16],
        states: &mut [State],
    ) -> Option<bool> {
        let mut grows = false;
        let mut here = State::default();
        here.set(REG_1, Value::ANY_NUMBER);
        here.set(
            REG_FP,
            Value {
                stack: true,
                ..Value::ANY_NUMBER
            },
        );
        // Whether the program comes here at all.
        let mut comes = true;
        let mut index = 0;
        while let Some(insn) = insns.get(index) {
            if let Some(place) = usize::from(*places.get(index)?).checked_sub(1) {
                let state = states.get_mut(place)?;
                if comes {
                    grows |= state.join(&here, self.widen);
                }
                // The frame pointer is there wherever it comes.
                comes = !state.get(REG_FP).number.is_none();
                here = *state;
            }
            if comes {
                let after = self.step(index, insn, insns.get(index + 1), knows, &mut here)?;
                grows |= after.grows;
                if let Some(target) = target(index, insn) {
                    let place = usize::from(*places.get(target)?).checked_sub(1)?;
                    grows |= states.get_mut(place)?.join(&here, self.widen);
                }
                comes = after.goes_on;
            }
            index += 1 + usize::from(insn.is_ld_imm64());
        }
        Some(grows)
    }

    /// Takes an access of `len` bytes into account.
    fn access(&mut self, value: Value, off: i16, len: u32, write: bool) -> Option<()> {
        if value.packet.is_none() {
            return Some(());
        }
        let first = value.packet.low.checked_add(off.into())?;
        let behind = value.packet.high.checked_add(off.into())?;
        let behind = behind.checked_add(len.into())?;
        if first < 0 || behind > FURTHEST {
            return None;
        }
        self.sees = self.sees.max(behind);
        if write {
            let bytes = Interval {
                low: first,
                high: behind,
            };
            self.writes.join(bytes, false);
        }
        Some(())
    }

    fn step(
        &mut self,
        index: usize,
        insn: &Insn,
        next: Option<&Insn>,
        knows: &mut impl Knows,
        state: &mut State,
    ) -> Option<After> {
        let after = |grows| {
            Some(After {
                grows,
                goes_on: true,
            })
        };
        let len = u32::from(insn.access_bytes());
        match insn.class() {
            class::LD if insn.is_ld_imm64() => {
                let high = next.map_or(0, |next| next.imm);
                let number = (i64::from(high) << 32) | i64::from(insn.imm as u32);
                let number = if insn.src() == 0 {
                    Interval::of(number)
                } else if insn.src() == pseudo::FUNC {
                    return None;
                } else {
                    Interval::ANY
                };
                state.set(insn.dst(), Value::number(number));
                after(false)
            }
            class::LDX if insn.is_load() || insn.is_probe() => {
                let base = state.get(insn.src());
                self.access(base, insn.off, len, false)?;
                let value = self.load(index, insn, base, knows)?;
                state.set(insn.dst(), value);
                after(false)
            }
            class::ST if insn.mode() == mode::NOSPEC => after(false),
            class::ST if insn.is_store() => {
                self.access(state.get(insn.dst()), insn.off, len, true)?;
                after(false)
            }
            class::STX if insn.mode() == mode::ATOMIC => {
                let grows = self.atomic(insn, len, state)?;
                after(grows)
            }
            class::STX if insn.is_store() => {
                let base = state.get(insn.dst());
                self.access(base, insn.off, len, true)?;
                let value = state.get(insn.src());
                let slot = Stack::slot(insn.dst(), insn.off);
                let grows = base.stack && self.stack.store(slot, value, self.widen);
                after(grows)
            }
            // The packet is not there, and what a program lays there it does not get back as
            // a pointer to the packet.
            class::LDX | class::ST | class::STX if insn.is_arena() => {
                let to = (insn.class() == class::LDX).then_some(insn.dst());
                if let Some(to) = to.or(insn.fetched()) {
                    state.set(to, Value::ANY_NUMBER);
                }
                after(false)
            }
            class::ALU | class::ALU64 => {
                arithmetic(insn, state)?;
                after(false)
            }
            class::JMP | class::JMP32 => {
                if insn.is_call() {
                    self.call(index, insn, knows, state)?;
                } else if insn.jump().is_none() && !insn.is_exit() && !insn.is_tail_call() {
                    return None;
                }
                Some(After {
                    grows: false,
                    goes_on: !insn.is_exit() && !insn.is_jump_always(),
                })
            }
            _ => None,
        }
    }

    fn load(&self, index: usize, insn: &Insn, base: Value, knows: &impl Knows) -> Option<Value> {
        let number = match insn.access_bytes() {
            _ if matches!(insn.mode(), mode::MEMSX | mode::PROBE_MEMSX) => Interval::ANY,
            1 => Interval::to(0xff),
            2 => Interval::to(0xffff),
            4 => Interval::to(u32::MAX.into()),
            _ => Interval::ANY,
        };
        let mut value = Value::number(number);
        if insn.access_bytes() < 8 {
            return Some(value);
        }
        // As in `Facts::observe()` (src/pure/rewrite/facts.rs).
        let kind = knows.pointer(index);
        if matches!(kind, PtrKind::Ctx | PtrKind::Unknown) {
            if insn.off == self.layout.data_meta {
                return None;
            }
            if insn.off == self.layout.data {
                value.packet = Interval::of(0);
                if kind == PtrKind::Ctx {
                    value.number = Interval::NONE;
                }
            }
        }
        if base.stack {
            let slot = Stack::slot(insn.src(), insn.off);
            value.join(self.stack.load(slot), false);
        }
        Some(value)
    }

    fn atomic(&mut self, insn: &Insn, len: u32, state: &mut State) -> Option<bool> {
        let base = state.get(insn.base()?);
        let (load, value) = (insn.is_load_acquire(), state.get(insn.src()));
        self.access(base, insn.off, len, !load)?;
        let mut grows = false;
        if base.stack && !load {
            grows = self.stack.store(None, value, self.widen);
        }
        let got = if base.stack {
            self.stack.load(None)
        } else {
            Value::ANY_NUMBER
        };
        if let Some(to) = insn.fetched() {
            state.set(to, got);
        }
        Some(grows)
    }

    /// Takes a call into account that copies bytes by their place in the packet.
    fn place(
        &mut self,
        index: usize,
        [place, len]: [Value; 2],
        write: bool,
        knows: &mut impl Knows,
    ) -> Option<()> {
        if place.may_be_address() || len.may_be_address() {
            return None;
        }
        let (place, len) = (half(place.number), half(len.number));
        knows.hear(index, only(place), only(len));
        if len.is_none() {
            return Some(());
        }
        let bytes = Value {
            packet: place,
            ..Value::NONE
        };
        self.access(bytes, 0, u32::try_from(len.high).ok()?, write)
    }

    fn call(
        &mut self,
        index: usize,
        insn: &Insn,
        knows: &mut impl Knows,
        state: &mut State,
    ) -> Option<()> {
        if insn.is_pseudo_call() {
            return None;
        }
        let takes = knows.takes(index)?;
        for (reg, takes) in (REG_1..).zip(takes) {
            let value = state.get(reg);
            if let Takes::Place { write } = takes {
                self.place(index, [value, state.get(reg + 2)], write, knows)?;
                continue;
            }
            if value.packet.is_none() {
                continue;
            }
            match takes {
                Takes::Nothing | Takes::Place { .. } => {}
                Takes::Bytes { len, write } => self.access(value, 0, len, write)?,
                Takes::Counted { write } => {
                    let len = state.get(reg + 1).number.positive()?.high;
                    self.access(value, 0, u32::try_from(len).ok()?, write)?;
                }
                Takes::Unknown => return None,
            }
        }
        // Some calls keep R1 to R5; after the others no program reads them.
        state.set(REG_0, Value::ANY_NUMBER);
        Some(())
    }
}

/// The number, if there is but one.
fn only(number: Interval) -> Option<u32> {
    let is_one = number.low == number.high;
    is_one.then(|| u32::try_from(number.low).ok()).flatten()
}

/// What becomes of the way behind an instruction.
struct After {
    grows: bool,
    goes_on: bool,
}
