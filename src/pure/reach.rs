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

use super::insn::{alu, class, mode, pseudo, Insn, K, REG_0, REG_1, REG_FP, X};
use super::rewrite::{CtxLayout, PtrKind};

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

/// Numbers from `low` to `high`, both included; none if `low` is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interval {
    low: i64,
    high: i64,
}

impl Interval {
    const NONE: Self = Self { low: 1, high: 0 };
    const ANY: Self = Self {
        low: i64::MIN,
        high: i64::MAX,
    };

    const fn of(number: i64) -> Self {
        Self {
            low: number,
            high: number,
        }
    }

    /// 0 to `high`.
    const fn to(high: i64) -> Self {
        Self { low: 0, high }
    }

    const fn is_none(self) -> bool {
        self.low > self.high
    }

    fn plus(self, other: Self) -> Self {
        if self.is_none() || other.is_none() {
            return Self::NONE;
        }
        let low = self.low.checked_add(other.low);
        Self::between(low, self.high.checked_add(other.high))
    }

    fn minus(self, other: Self) -> Self {
        if self.is_none() || other.is_none() {
            return Self::NONE;
        }
        let low = self.low.checked_sub(other.high);
        Self::between(low, self.high.checked_sub(other.low))
    }

    /// What 64 bits hold: anything, if they do not hold the ends.
    fn between(low: Option<i64>, high: Option<i64>) -> Self {
        match (low, high) {
            (Some(low), Some(high)) => Self { low, high },
            _ => Self::ANY,
        }
    }

    /// The numbers, if none is negative.
    fn positive(self) -> Option<Self> {
        (!self.is_none() && self.low >= 0).then_some(self)
    }

    fn join(&mut self, other: Self, widen: bool) -> bool {
        if other.is_none() {
            return false;
        }
        let joined = if self.is_none() {
            other
        } else {
            Self {
                low: self.low.min(other.low),
                high: self.high.max(other.high),
            }
        };
        if joined == *self {
            return false;
        }
        *self = if widen { Self::ANY } else { joined };
        true
    }
}

/// What a register or slot may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Value {
    /// An address in the packet: its distance from `data`.
    packet: Interval,
    /// A number, or any other address.
    number: Interval,
    /// An address on the stack.
    stack: bool,
}

impl Value {
    const NONE: Self = Self {
        packet: Interval::NONE,
        number: Interval::NONE,
        stack: false,
    };
    const ANY_NUMBER: Self = Self::number(Interval::ANY);

    const fn number(number: Interval) -> Self {
        Self {
            number,
            ..Self::NONE
        }
    }

    const fn may_be_address(self) -> bool {
        !self.packet.is_none() || self.stack
    }

    fn join(&mut self, other: Self, widen: bool) -> bool {
        let stack = self.stack || other.stack;
        let grows = stack != self.stack;
        self.stack = stack;
        let packet = self.packet.join(other.packet, widen);
        let number = self.number.join(other.number, widen);
        grows || packet || number
    }
}

/// Registers, AX among them.
const REGS: usize = 13;

/// What all registers may hold at one place.
#[derive(Clone, Copy, Debug)]
pub struct State([Value; REGS]);

impl Default for State {
    fn default() -> Self {
        Self([Value::NONE; REGS])
    }
}

impl State {
    fn get(&self, reg: u8) -> Value {
        // Nothing is known of registers that no program has.
        let unknown = Value {
            packet: Interval::ANY,
            number: Interval::ANY,
            stack: true,
        };
        self.0.get(usize::from(reg)).copied().unwrap_or(unknown)
    }

    fn set(&mut self, reg: u8, value: Value) {
        if let Some(place) = self.0.get_mut(usize::from(reg)) {
            *place = value;
        }
    }

    fn join(&mut self, other: &Self, widen: bool) -> bool {
        let mut grows = false;
        for (value, &other) in self.0.iter_mut().zip(&other.0) {
            grows |= value.join(other, widen);
        }
        grows
    }
}

/// Slots of a function's stack, 8 bytes each.
const SLOTS: usize = 64;

/// What the stack may hold, wherever the program is.
struct Stack {
    slots: [Value; SLOTS],
    /// Stored where it is not known which slot that is.
    anywhere: Value,
}

impl Stack {
    /// The slot that a load or store through `base` means, if it is one that is known.
    fn slot(base: u8, off: i16) -> Option<usize> {
        let below = usize::try_from(-i32::from(off)).ok()?;
        let is_one = base == REG_FP && below % 8 == 0 && (1..=SLOTS).contains(&(below / 8));
        is_one.then(|| below / 8 - 1)
    }

    fn load(&self, slot: Option<usize>) -> Value {
        let mut value = self.anywhere;
        match slot.and_then(|slot| self.slots.get(slot)) {
            Some(&slot) => {
                value.join(slot, false);
            }
            None => {
                for &slot in &self.slots {
                    value.join(slot, false);
                }
            }
        }
        // Parts of it may have been overwritten since.
        value.number = Interval::ANY;
        value
    }

    fn store(&mut self, slot: Option<usize>, value: Value, widen: bool) -> bool {
        if !value.may_be_address() {
            return false;
        }
        match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(slot) => slot.join(value, widen),
            None => self.anywhere.join(value, widen),
        }
    }
}

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
}

/// How far the program looks. It has one function, and no other way to the packet than by
/// `data`: no dynptr of it. `places` is what [`number_places`] has made of it, and `states` has as
/// many as that returned.
pub fn reach(
    insns: &[Insn],
    layout: CtxLayout,
    knows: &impl Knows,
    places: &[u16],
    states: &mut [State],
) -> Reach {
    let mut search = Search {
        layout,
        stack: Stack {
            slots: [Value::NONE; SLOTS],
            anywhere: Value::NONE,
        },
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
        knows: &impl Knows,
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
        knows: &impl Knows,
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

    fn call(
        &mut self,
        index: usize,
        insn: &Insn,
        knows: &impl Knows,
        state: &mut State,
    ) -> Option<()> {
        if insn.is_pseudo_call() {
            return None;
        }
        let takes = knows.takes(index)?;
        for (reg, takes) in (REG_1..).zip(takes) {
            let value = state.get(reg);
            if value.packet.is_none() {
                continue;
            }
            match takes {
                Takes::Nothing => {}
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

/// What becomes of the way behind an instruction.
struct After {
    grows: bool,
    goes_on: bool,
}

/// The low half of it.
fn half(number: Interval) -> Interval {
    let max = i64::from(u32::MAX);
    if number.is_none() {
        return Interval::NONE;
    }
    match number.positive() {
        Some(number) if number.high <= max => number,
        _ => Interval::to(max),
    }
}

/// The numbers from 0 to the one with all bits that one up to `high` can have.
fn all_bits(high: i64) -> Interval {
    let bits = u64::BITS - (high.max(0) as u64).leading_zeros();
    let mask = 1u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
    Interval::to(mask.min(i64::MAX as u64) as i64)
}

fn arithmetic(insn: &Insn, state: &mut State) -> Option<()> {
    let wide = insn.class() == class::ALU64;
    let dst = state.get(insn.dst());
    let src = if insn.code & X == K || matches!(insn.op(), alu::NEG | alu::END) {
        Value::number(Interval::of(insn.imm.into()))
    } else {
        state.get(insn.src())
    };
    let mut value = match insn.op() {
        alu::MOV if insn.off == 0 => src,
        alu::MOV => Value::ANY_NUMBER,
        alu::ADD => {
            let mut packet = dst.packet.plus(src.number);
            packet.join(dst.number.plus(src.packet), false);
            Value {
                packet,
                number: sum_of(dst, src, dst.number.plus(src.number)),
                stack: dst.stack || src.stack,
            }
        }
        alu::SUB => Value {
            packet: dst.packet.minus(src.number),
            number: sum_of(dst, src, dst.number.minus(src.number)),
            stack: dst.stack,
        },
        // Of an address nothing but a number is left.
        _ if dst.may_be_address() || src.may_be_address() => Value::ANY_NUMBER,
        op => Value::number(scalar(op, insn, wide, dst.number, src.number)),
    };
    // Of the byte swaps one is of 64 bits in both classes.
    let whole = wide || (insn.op() == alu::END && insn.imm == 64);
    if !whole {
        let number = if value.may_be_address() {
            Interval::ANY
        } else {
            value.number
        };
        value = Value::number(half(number));
    }
    state.set(insn.dst(), value);
    Some(())
}

/// The number that a sum or difference may be: any, if both may be addresses.
fn sum_of(dst: Value, src: Value, number: Interval) -> Interval {
    if src.may_be_address() && dst.may_be_address() {
        Interval::ANY
    } else if number.is_none() && src.may_be_address() {
        // A number less an address.
        Interval::ANY
    } else {
        number
    }
}

/// Of two numbers, neither of which is an address.
fn scalar(op: u8, insn: &Insn, wide: bool, dst: Interval, src: Interval) -> Interval {
    if dst.is_none() || src.is_none() {
        return Interval::NONE;
    }
    // 32-bit operations begin with halves.
    let (dst, src) = if wide {
        (dst, src)
    } else {
        (half(dst), half(src))
    };
    let constant = (src.low == src.high).then_some(src.low);
    let positive = Option::zip(dst.positive(), src.positive());
    let shift = constant
        .and_then(|by| u32::try_from(by).ok())
        .filter(|&by| by < if wide { 64 } else { 32 });
    let found = match op {
        alu::AND => match (dst.positive(), src.positive()) {
            (Some(one), Some(other)) => Some(Interval::to(one.high.min(other.high))),
            (Some(one), None) | (None, Some(one)) => Some(Interval::to(one.high)),
            (None, None) => None,
        },
        alu::OR | alu::XOR => positive.map(|(one, other)| all_bits(one.high | other.high)),
        alu::MUL => positive.and_then(|(one, other)| {
            Some(Interval {
                low: one.low.checked_mul(other.low)?,
                high: one.high.checked_mul(other.high)?,
            })
        }),
        alu::LSH => shift.and_then(|by| {
            let one = dst.positive()?;
            let by = 1i64.checked_shl(by).filter(|&by| by > 0)?;
            Some(Interval {
                low: one.low.checked_mul(by)?,
                high: one.high.checked_mul(by)?,
            })
        }),
        alu::RSH => shift.and_then(|by| match dst.positive() {
            Some(one) => Some(Interval {
                low: one.low >> by,
                high: one.high >> by,
            }),
            None if by > 0 => Some(Interval::to((u64::MAX >> by) as i64)),
            None => None,
        }),
        // Signed ones have an offset.
        alu::DIV if insn.off == 0 => dst.positive().map(|one| Interval::to(one.high)),
        alu::MOD if insn.off == 0 => positive.map(|(one, _)| Interval::to(one.high)),
        alu::END => match insn.imm {
            16 => Some(Interval::to(0xffff)),
            32 => Some(Interval::to(u32::MAX.into())),
            _ => None,
        },
        _ => None,
    };
    found.unwrap_or(Interval::ANY)
}
