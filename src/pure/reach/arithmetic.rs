// SPDX-License-Identifier: GPL-2.0
//! What becomes of addresses and numbers when a program computes with them.

use super::super::insn::{alu, class, Insn, K, X};
use super::super::rewrite::is_dropped;
use super::interval::{all_bits, half, Interval};
use super::state::{State, Value};

pub(super) fn arithmetic(insn: &Insn, state: &mut State) -> Option<()> {
    if is_dropped(insn) {
        return Some(());
    }
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
