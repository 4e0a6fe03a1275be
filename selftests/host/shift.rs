// SPDX-License-Identifier: GPL-2.0
//! Moves between the shared key and one of a domain's own, on a machine that
//! does what hardware may do: every interleaving of the mover with a CPU that
//! enters, fills its TLB at any time, and leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::shift::{Open, Step, TO_OWN, TO_SHARED};
use std::collections::{BTreeSet, HashSet, VecDeque};

/// Pages that the moving domain has, in the model.
const PAGES: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    /// The one that several domains have.
    Shared,
    /// The moving domain's.
    Own,
}
use Key::{Own, Shared};

/// A set of keys as bits: shared 1, own 2.
fn bit(key: Key) -> u8 {
    match key {
        Shared => 1,
        Own => 2,
    }
}

/// What the CPU does with the moving domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cpu {
    /// It does not run it.
    Kernel,
    /// In a run, in the kernel: enter, or a gate.
    Run,
    /// It has read which keys to open.
    ReadKeys(u8),
    /// Confined, with these keys, on the root or not.
    Confined(u8, bool),
}

/// A translation: of a page of the domain, or (`None`) of another sharer's; the
/// key in it; whether it was made on the root.
type Entry = (Option<usize>, Key, bool);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Machine {
    /// The mover's next step, and how far it is within it.
    step: usize,
    page: usize,
    open: u8,
    root: bool,
    tags: [Key; PAGES],
    cpu: Cpu,
    /// The run was under way when the wait began.
    waited_for: bool,
    waiting: bool,
    tlb: BTreeSet<Entry>,
}

struct Move<'a> {
    steps: &'a [Step],
    from: Key,
    to: Key,
}

impl Move<'_> {
    fn start(&self) -> Machine {
        Machine {
            step: 0,
            page: 0,
            open: bit(self.from),
            root: self.from == Shared,
            tags: [self.from; PAGES],
            cpu: Cpu::Kernel,
            waited_for: false,
            waiting: false,
            tlb: BTreeSet::new(),
        }
    }

    /// Every state that can follow.
    fn next(&self, m: &Machine) -> Vec<Machine> {
        let mut all = Vec::new();
        let mut can = |change: &dyn Fn(&mut Machine)| {
            let mut next = m.clone();
            change(&mut next);
            all.push(next);
        };
        match m.cpu {
            Cpu::Kernel => can(&|n| n.cpu = Cpu::Run),
            Cpu::Run => {
                can(&|n| n.cpu = Cpu::ReadKeys(n.open));
                can(&|n| {
                    n.cpu = Cpu::Kernel;
                    n.waited_for = false;
                });
            }
            Cpu::ReadKeys(keys) => can(&|n| {
                n.cpu = Cpu::Confined(keys, n.root);
                // Loading a root flushes what was made on any.
                if n.root {
                    n.tlb.retain(|&(_, _, on_root)| !on_root);
                }
            }),
            Cpu::Confined(_, on_root) => {
                can(&|n| n.cpu = Cpu::Run);
                for page in 0..PAGES {
                    can(&|n| {
                        let key = n.tags[page];
                        n.tlb.insert((Some(page), key, on_root));
                    });
                }
                // Another sharer's page, where it can be found.
                if !on_root {
                    can(&|n| {
                        n.tlb.insert((None, Shared, false));
                    });
                }
            }
        }
        // Kernel code reads domain memory by the kernel's tables.
        if matches!(m.cpu, Cpu::Kernel | Cpu::Run) {
            can(&|n| {
                n.tlb.insert((None, Shared, false));
            });
            for page in 0..PAGES {
                can(&|n| {
                    let key = n.tags[page];
                    n.tlb.insert((Some(page), key, false));
                });
            }
        }
        let Some(step) = self.steps.get(m.step) else {
            return all;
        };
        match *step {
            Step::Open(open) => can(&|n| {
                n.open = bit(self.to)
                    | match open {
                        Open::Both => bit(self.from),
                        Open::New => 0,
                    };
                n.step += 1;
            }),
            Step::Root(root) => can(&|n| {
                n.root = root;
                n.step += 1;
            }),
            Step::Wait if !m.waiting => can(&|n| {
                n.waiting = true;
                n.waited_for = n.cpu != Cpu::Kernel;
            }),
            Step::Wait if m.waited_for => {}
            Step::Wait => can(&|n| {
                n.waiting = false;
                n.step += 1;
            }),
            Step::Tag => can(&|n| {
                n.tags[n.page] = self.to;
                n.page += 1;
                if n.page == PAGES {
                    n.page = 0;
                    n.step += 1;
                }
            }),
            Step::Flush => can(&|n| {
                n.tlb.clear();
                n.step += 1;
            }),
        }
        all
    }

    /// What is wrong with this state, if anything.
    fn fault(&self, m: &Machine) -> Option<&'static str> {
        if let Cpu::Confined(keys, on_root) = m.cpu {
            // By a translation that it has (those made on another PCID are not looked at), or by
            // one that it makes now.
            let seen: Vec<Entry> = m
                .tlb
                .iter()
                .copied()
                .filter(|&(_, _, made_on_root)| made_on_root == on_root)
                .collect();
            let own_page = |page: usize| (Some(page), m.tags[page], on_root);
            let found = seen.into_iter().chain((0..PAGES).map(own_page));
            for (page, key, _) in found {
                match (page, keys & bit(key) != 0) {
                    (None, true) => return Some("it reaches another sharer's page"),
                    (Some(_), false) => return Some("it does not reach its own page"),
                    _ => {}
                }
            }
            if !on_root && keys & bit(Shared) != 0 {
                return Some("it opens the shared key on the kernel's page tables");
            }
        }
        if m.step == self.steps.len() {
            if m.tags.iter().any(|&key| key != self.to) {
                return Some("a page kept its key");
            }
            if m.open != bit(self.to) || m.root != (self.to == Shared) {
                return Some("the move did not end where it should");
            }
            if m.tlb
                .iter()
                .any(|&(page, key, _)| page.is_some() && key != self.to)
            {
                return Some("a translation with the old key is left");
            }
            if let Cpu::ReadKeys(keys) | Cpu::Confined(keys, _) = m.cpu {
                if keys != bit(self.to) {
                    return Some("a run that opens the old key is left");
                }
            }
            if let Cpu::Confined(_, on_root) = m.cpu {
                if on_root != (self.to == Shared) {
                    return Some("a run on the wrong page tables is left");
                }
            }
        }
        None
    }

    /// Every state there can be; the first fault, or how many states there are
    /// and that the end is among them.
    fn explore(&self) -> Result<usize, (&'static str, Machine)> {
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([self.start()]);
        let mut ended = false;
        while let Some(machine) = queue.pop_front() {
            if !seen.insert(machine.clone()) {
                continue;
            }
            if let Some(fault) = self.fault(&machine) {
                return Err((fault, machine));
            }
            ended |= machine.step == self.steps.len();
            queue.extend(self.next(&machine));
        }
        assert!(ended, "the move comes to its end");
        Ok(seen.len())
    }
}

fn both(steps_to_own: &[Step], steps_to_shared: &[Step]) -> [Result<usize, &'static str>; 2] {
    [(steps_to_own, Shared, Own), (steps_to_shared, Own, Shared)].map(|(steps, from, to)| {
        Move { steps, from, to }
            .explore()
            .map_err(|(fault, _)| fault)
    })
}

#[test]
fn no_run_meets_another_sharers_page_or_loses_its_own() {
    for states in both(&TO_OWN, &TO_SHARED) {
        assert!(states.unwrap() > 100);
    }
}

/// Of the waits of [`TO_SHARED`] one is not needed where stores are seen in
/// order, as on x86: who reads the keys first and the root afterwards sees the
/// root that was stored before them.
const SPARE: usize = 1;

#[test]
fn no_step_can_be_left_out() {
    for (steps, from, to, spare) in [
        (TO_OWN, Shared, Own, None),
        (TO_SHARED, Own, Shared, Some(SPARE)),
    ] {
        for left_out in 0..steps.len() {
            let mut fewer = steps.to_vec();
            fewer.remove(left_out);
            let found = Move {
                steps: &fewer,
                from,
                to,
            }
            .explore();
            assert_eq!(
                found.is_ok(),
                spare == Some(left_out),
                "without step {left_out} to {to:?}: {:?}",
                found.err()
            );
        }
    }
}

#[test]
fn the_order_of_the_steps_matters() {
    for (steps, from, to) in [(TO_OWN, Shared, Own), (TO_SHARED, Own, Shared)] {
        // The pages before the keys; what is opened before the root, or after it.
        let mut other = steps.to_vec();
        let tag = steps.iter().position(|step| *step == Step::Tag).unwrap();
        other.remove(tag);
        other.insert(0, Step::Tag);
        assert!(Move {
            steps: &other,
            from,
            to
        }
        .explore()
        .is_err());
        let mut other = steps.to_vec();
        other.reverse();
        assert!(Move {
            steps: &other,
            from,
            to
        }
        .explore()
        .is_err());
    }
}
