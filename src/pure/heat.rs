// SPDX-License-Identifier: GPL-2.0
//! Which domains deserve a key of their own.
//!
//! A domain on a root pays for it on each way into confinement and out again, so
//! its heat is how often it crosses: a mean over the last rounds. At the end of a
//! round one move at most is decided. A key that is free goes to the hottest of
//! those who share. If there is none, the hottest of those takes the place of the
//! coldest that has one, but only if it was at least twice as hot, and the same
//! two were it, in [`PATIENCE`] rounds in a row: so domains whose heat is about
//! the same do not change places, and a burst moves nobody.

/// Rounds in a row that must say the same before domains change places.
pub const PATIENCE: u32 = 3;

/// Crossings a round below which a domain takes nobody's place.
pub const LUKEWARM: u64 = 64;

/// How hot a domain is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heat {
    /// Crossings that were counted up to the last round.
    total: u64,
    mean: u64,
}

impl Heat {
    /// A round has ended; `total` crossings are counted. A count that went down
    /// (a program has gone) begins anew.
    pub fn round(&mut self, total: u64) {
        let crossings = total.saturating_sub(self.total);
        self.total = total;
        self.mean = self.mean / 2 + crossings / 2;
    }

    /// The mean of crossings a round, younger rounds counting more.
    pub const fn mean(&self) -> u64 {
        self.mean
    }
}

/// A domain, as the policy sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub domain: u32,
    /// Whether it shares its key.
    pub shares: bool,
    /// Its mean heat.
    pub heat: u64,
}

/// What is to be done, domains by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It gets a key that is free.
    Promote(u32),
    /// The first gives its key up, the second gets it.
    Swap(u32, u32),
}

/// The policy, with its memory of the rounds before.
#[derive(Debug, Default)]
pub struct Policy {
    /// The pair that would change places, and for how many rounds.
    pair: Option<(u32, u32)>,
    rounds: u32,
}

impl Policy {
    /// A policy that has seen nothing.
    pub const fn new() -> Self {
        Self {
            pair: None,
            rounds: 0,
        }
    }

    /// What to do at the end of a round, if anything. `free`: whether a key is
    /// nobody's.
    pub fn decide(&mut self, domains: impl Iterator<Item = Candidate>, free: bool) -> Option<Move> {
        let (mut hot, mut cold): (Option<Candidate>, Option<Candidate>) = (None, None);
        for one in domains {
            if one.shares {
                if hot.is_none_or(|best| one.heat > best.heat) {
                    hot = Some(one);
                }
            } else if cold.is_none_or(|best| one.heat < best.heat) {
                cold = Some(one);
            }
        }
        let pair = match (hot, cold) {
            (Some(hot), _) if free => {
                *self = Self::new();
                return Some(Move::Promote(hot.domain));
            }
            (Some(hot), Some(cold)) if hot.heat >= LUKEWARM && hot.heat / 2 >= cold.heat => {
                (cold.domain, hot.domain)
            }
            _ => {
                *self = Self::new();
                return None;
            }
        };
        self.rounds = if self.pair == Some(pair) {
            self.rounds + 1
        } else {
            1
        };
        self.pair = Some(pair);
        if self.rounds < PATIENCE {
            return None;
        }
        *self = Self::new();
        Some(Move::Swap(pair.0, pair.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(policy: &mut Policy, heats: &[(bool, u64)], free: bool) -> Option<Move> {
        let domains = (0u32..)
            .zip(heats)
            .map(|(domain, &(shares, heat))| Candidate {
                domain,
                shares,
                heat,
            });
        policy.decide(domains, free)
    }

    #[test]
    fn a_free_key_goes_to_the_hottest_of_those_who_share() {
        let heats = [(false, 5000), (true, 100), (true, 300), (true, 200)];
        assert_eq!(
            decide(&mut Policy::new(), &heats, true),
            Some(Move::Promote(2))
        );
        // Be it as cold as it may.
        assert_eq!(
            decide(&mut Policy::new(), &[(false, 9), (true, 0)], true),
            Some(Move::Promote(1))
        );
    }

    #[test]
    fn who_does_nothing_takes_nobodys_place() {
        let heats = [(false, 0), (true, 0), (true, LUKEWARM - 1)];
        let mut policy = Policy::new();
        for _ in 0..10 {
            assert_eq!(decide(&mut policy, &heats, false), None);
        }
    }

    #[test]
    fn the_hottest_takes_the_coldest_ones_place_after_some_rounds() {
        let heats = [(false, 900), (false, 100), (true, 150), (true, 400)];
        let mut policy = Policy::new();
        for _ in 1..PATIENCE {
            assert_eq!(decide(&mut policy, &heats, false), None);
        }
        assert_eq!(decide(&mut policy, &heats, false), Some(Move::Swap(1, 3)));
        // And begins to count again.
        assert_eq!(decide(&mut policy, &heats, false), None);
    }

    #[test]
    fn twice_as_hot_in_one_round_is_not_enough() {
        let hot = [(false, 100), (true, 200)];
        let cool = [(false, 100), (true, 199)];
        let mut policy = Policy::new();
        for _ in 0..100 {
            assert_eq!(decide(&mut policy, &hot, false), None);
            assert_eq!(decide(&mut policy, &hot, false), None);
            assert_eq!(decide(&mut policy, &cool, false), None);
        }
    }

    #[test]
    fn heat_is_a_mean_that_forgets() {
        let mut heat = Heat::default();
        heat.round(1000);
        assert_eq!(heat.mean(), 500);
        heat.round(2000);
        assert_eq!(heat.mean(), 750);
        for _ in 0..10 {
            heat.round(2000);
        }
        assert_eq!(heat.mean(), 0);
        // A program has gone.
        heat.round(10);
        assert_eq!(heat.mean(), 0);
    }
}
