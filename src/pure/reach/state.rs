// SPDX-License-Identifier: GPL-2.0
//! What registers and stack may hold.

use super::super::insn::REG_FP;
use super::interval::Interval;

/// What a register or slot may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// An address in the packet: its distance from `data`.
    pub(super) packet: Interval,
    /// A number, or any other address.
    pub(super) number: Interval,
    /// An address on the stack.
    pub(super) stack: bool,
}

impl Value {
    pub(super) const NONE: Self = Self {
        packet: Interval::NONE,
        number: Interval::NONE,
        stack: false,
    };
    pub(super) const ANY_NUMBER: Self = Self::number(Interval::ANY);

    pub(super) const fn number(number: Interval) -> Self {
        Self {
            number,
            ..Self::NONE
        }
    }

    pub(super) const fn may_be_address(self) -> bool {
        !self.packet.is_none() || self.stack
    }

    pub(super) fn join(&mut self, other: Self, widen: bool) -> bool {
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
    pub(super) fn get(&self, reg: u8) -> Value {
        // Nothing is known of registers that no program has.
        let unknown = Value {
            packet: Interval::ANY,
            number: Interval::ANY,
            stack: true,
        };
        self.0.get(usize::from(reg)).copied().unwrap_or(unknown)
    }

    pub(super) fn set(&mut self, reg: u8, value: Value) {
        if let Some(place) = self.0.get_mut(usize::from(reg)) {
            *place = value;
        }
    }

    pub(super) fn join(&mut self, other: &Self, widen: bool) -> bool {
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
pub(super) struct Stack {
    slots: [Value; SLOTS],
    /// Stored where it is not known which slot that is.
    anywhere: Value,
}

impl Stack {
    pub(super) const EMPTY: Self = Self {
        slots: [Value::NONE; SLOTS],
        anywhere: Value::NONE,
    };

    /// The slot that a load or store through `base` means, if it is one that is known.
    pub(super) fn slot(base: u8, off: i16) -> Option<usize> {
        let below = usize::try_from(-i32::from(off)).ok()?;
        let is_one = base == REG_FP && below % 8 == 0 && (1..=SLOTS).contains(&(below / 8));
        is_one.then(|| below / 8 - 1)
    }

    pub(super) fn load(&self, slot: Option<usize>) -> Value {
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

    pub(super) fn store(&mut self, slot: Option<usize>, value: Value, widen: bool) -> bool {
        if !value.may_be_address() {
            return false;
        }
        match slot.and_then(|slot| self.slots.get_mut(slot)) {
            Some(slot) => slot.join(value, widen),
            None => self.anywhere.join(value, widen),
        }
    }
}
