// SPDX-License-Identifier: GPL-2.0
//! A program that tells the time without a gate tells the kernel's: what
//! `timekeeping_cycles_to_ns()` computes (kernel/time/timekeeping.c), of a half that is whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::id;
use bailey::pure::insn::{size, Insn, REG_0};
use bailey::pure::rewrite::functions::{Function, Leaps, Origin};
use bailey::pure::rewrite::inline::clock::{Half, Which, HALVES, WORDS};
use bailey::pure::rewrite::inline::{Clock, Inline, What};
use machine::{Machine, Outcome};
use program::lay_out_with;
use proptest::prelude::*;
use std::cell::Cell;

const PAGE_AT: u64 = 0x5000_0000_0000;
/// Where the page's words are followed by what the stub answers.
const TSC: u64 = 2048;
const REG_3: u8 = 3;
const REG_4: u8 = 4;

/// A page with these halves. Of the sequence each reading is the next of `sequence`, and then
/// the last one.
struct Page<'a> {
    halves: [Half; 2],
    sequence: &'a [u32],
    tsc: u64,
}

impl Page<'_> {
    fn tell(&self, which: Which) -> Outcome {
        let helper = match which {
            Which::Monotonic => id::KTIME_GET_NS,
            Which::Boot => id::KTIME_GET_BOOT_NS,
            Which::Tai => id::KTIME_GET_TAI_NS,
            Which::Coarse => id::KTIME_GET_COARSE_NS,
        };
        assert_eq!(Which::by_helper(helper), Some(which));
        let insns = [Insn::call(helper as i32), Insn::exit()];
        let functions = [Function::new(0, insns.len() as u32, 0)];
        let clock = Clock {
            page: PAGE_AT,
            which,
        };
        let inlined = [Inline::new(0, What::Clock(clock)).unwrap()];
        let leaps = Leaps {
            inlined: &inlined,
            ..Leaps::default()
        };
        let laid = lay_out_with(&insns, &functions, leaps).unwrap();
        // The stub loses what is in R3.
        let image: Vec<_> = laid
            .code
            .iter()
            .map(|(origin, insn)| {
                assert!(insn.dst() != REG_3 && insn.src() != REG_3);
                match origin {
                    Origin::Asks(0) => Insn::ldx(size::DW, REG_0, REG_4, TSC as i16),
                    _ => *insn,
                }
            })
            .collect();
        let times = Cell::new(0);
        let read = |address: u64, len: usize| {
            let at = address.checked_sub(PAGE_AT)?;
            if at == 0 {
                assert_eq!(len, 4);
                let last = self.sequence.len() - 1;
                let time = times.replace(times.get() + 1);
                return Some(self.sequence[time.min(last)].into());
            }
            if at == TSC {
                assert_eq!(len, 8);
                return Some(self.tsc);
            }
            let byte = usize::try_from(at).ok()?.checked_sub(HALVES)?;
            let word = byte / 8;
            let value = *self.halves.get(word / WORDS)?.words().get(word % WORDS)?;
            match (byte % 8, len) {
                (0, 8) => Some(value),
                (0, 4) => Some(value & u64::from(u32::MAX)),
                (4, 4) => Some(value >> 32),
                _ => None,
            }
        };
        Machine::image(&image, laid.stack)
            .beside(&read)
            .run()
            .expect("the image")
    }
}

const WHICH: [Which; 3] = [Which::Monotonic, Which::Boot, Which::Tai];

/// The kernel's own, in more bits than the product needs.
fn told(half: &Half, which: Which, tsc: u64) -> u64 {
    let since = u128::from(tsc.wrapping_sub(half.cycles));
    let fraction = since * u128::from(half.mult) + u128::from(half.fraction);
    half.then[which as usize] + (fraction >> half.shift) as u64
}

/// Clocks as the kernel makes them: the product of the longest time has room in 63 bits.
fn half() -> impl Strategy<Value = Half> {
    let then = any::<[u32; 4]>();
    (any::<u64>(), 1..=u32::MAX, 0..32u32, any::<u32>(), then).prop_map(
        |(cycles, mult, shift, fraction, then)| Half {
            cycles,
            longest: (1 << 62) / u64::from(mult),
            mult,
            shift,
            fraction: u64::from(fraction) << shift,
            then: then.map(|ns| u64::from(ns) << 20),
        },
    )
}

proptest! {
    #[test]
    fn it_is_the_kernels_time(halves in [half(), half()], sequence in any::<u32>(), since in any::<u64>()) {
        let half = &halves[sequence as usize & 1];
        for since in [since % (half.longest + 1), half.longest, 0] {
            let page = Page { halves, sequence: &[sequence], tsc: half.cycles.wrapping_add(since) };
            for which in WHICH {
                let outcome = page.tell(which);
                prop_assert_eq!(outcome.verdict, told(half, which, page.tsc));
                prop_assert!(outcome.calls.is_empty());
            }
        }
    }

    #[test]
    fn what_the_product_has_no_room_for_is_left_to_the_kernel(half in half(), beyond in any::<u64>()) {
        // Later than that, or before.
        let since = (half.longest + 1).saturating_add(beyond);
        for since in [since, half.longest + 1, u64::MAX] {
            let tsc = half.cycles.wrapping_add(since);
            let page = Page { halves: [half; 2], sequence: &[4], tsc };
            for which in WHICH {
                prop_assert_eq!(page.tell(which).calls.len(), 1);
            }
        }
    }

    #[test]
    fn without_the_tsc_the_kernel_is_asked(tsc in 0..u64::MAX, coarse in any::<u64>()) {
        let none = Half::none(coarse);
        prop_assert_eq!(none.longest, 0);
        let page = Page { halves: [none; 2], sequence: &[2], tsc };
        for which in WHICH {
            prop_assert_eq!(page.tell(which).calls.len(), 1);
        }
        let outcome = page.tell(Which::Coarse);
        prop_assert_eq!((outcome.verdict, outcome.calls.len()), (coarse, 0));
    }

    #[test]
    fn the_coarse_time_is_that_of_a_half_that_is_whole(
        halves in [half(), half()], begun in any::<u32>(), writes in 0..6u32, tsc in any::<u64>(),
    ) {
        // Each time that it looks again it has changed, until it has not.
        let sequence: Vec<u32> = (0..writes)
            .flat_map(|n| [begun.wrapping_add(n), begun.wrapping_add(n + 1)])
            .chain([begun.wrapping_add(writes)])
            .collect();
        let whole = &halves[begun.wrapping_add(writes) as usize & 1];
        let outcome = Page { halves, sequence: &sequence, tsc }.tell(Which::Coarse);
        prop_assert_eq!(outcome.verdict, whole.then[Which::Coarse as usize]);
        prop_assert!(outcome.calls.is_empty());
    }

    #[test]
    fn a_half_that_has_changed_meanwhile_is_not_told(halves in [half(), half()], tsc in any::<u64>()) {
        // Begins with the first, which is being written then: the second is whole.
        let tsc = halves[1].cycles.wrapping_add(tsc % halves[1].longest);
        let in_reach = tsc.wrapping_sub(halves[0].cycles) <= halves[0].longest;
        let page = Page { halves, sequence: &[6, 7], tsc };
        for which in WHICH {
            let outcome = page.tell(which);
            if in_reach {
                prop_assert_eq!(outcome.verdict, told(&halves[1], which, tsc));
            } else {
                prop_assert_eq!(outcome.calls.len(), 1);
            }
        }
    }
}

#[test]
fn a_writer_that_does_not_stop_is_read_in_the_end() {
    let half = |cycles| Half {
        cycles,
        longest: 1000,
        mult: 3,
        fraction: 8,
        shift: 2,
        then: [7, 70, 700, 7000],
    };
    let sequence = [0, 1, 1, 2, 2, 4, 4, 5, 5, 5];
    let page = Page {
        halves: [half(100), half(200)],
        sequence: &sequence,
        tsc: 300,
    };
    for (which, then) in WHICH.into_iter().zip([7, 70, 700]) {
        assert_eq!(page.tell(which).verdict, (100 * 3 + 8) / 4 + then);
    }
}
