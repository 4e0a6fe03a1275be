// SPDX-License-Identifier: GPL-2.0
//! Numbers of which no more is known than a lowest and a highest one.

/// Numbers from `low` to `high`, both included; none if `low` is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Interval {
    pub(super) const NONE: Self = Self { low: 1, high: 0 };
    pub(super) const ANY: Self = Self {
        low: i64::MIN,
        high: i64::MAX,
    };

    pub(super) const fn of(number: i64) -> Self {
        Self {
            low: number,
            high: number,
        }
    }

    /// 0 to `high`.
    pub(super) const fn to(high: i64) -> Self {
        Self { low: 0, high }
    }

    pub(super) const fn is_none(self) -> bool {
        self.low > self.high
    }

    pub(super) fn plus(self, other: Self) -> Self {
        if self.is_none() || other.is_none() {
            return Self::NONE;
        }
        let low = self.low.checked_add(other.low);
        Self::between(low, self.high.checked_add(other.high))
    }

    pub(super) fn minus(self, other: Self) -> Self {
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
    pub(super) fn positive(self) -> Option<Self> {
        (!self.is_none() && self.low >= 0).then_some(self)
    }

    pub(super) fn join(&mut self, other: Self, widen: bool) -> bool {
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

/// The low half of a number.
pub(super) fn half(number: Interval) -> Interval {
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
pub(super) fn all_bits(high: i64) -> Interval {
    let bits = u64::BITS - (high.max(0) as u64).leading_zeros();
    let mask = 1u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1);
    Interval::to(mask.min(i64::MAX as u64) as i64)
}
