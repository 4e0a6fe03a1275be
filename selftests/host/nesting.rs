// SPDX-License-Identifier: GPL-2.0
//! `pure::nesting` against a CPU that pushes frames and stubs that push registers:
//! every order of events, each interrupted behind every push of its stub; and
//! against a domain that writes anything there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use bailey::pure::nesting::{unwind, Confined, Frame, DB, DF, FRAME, MC, NMI, PUSHED};
use proptest::prelude::*;
use std::collections::HashMap;

const LANDING: [u64; 4] = [0x10400, 0x10800, 0x10c00, 0x11000];
const LANDING_BYTES: u64 = 0x400;
/// The program's stack pointer, and how far the JIT pushes below it.
const STACK: u64 = 0x20000;
const PUSHES: u64 = 4;
const PROGRAM: u64 = 0x1000;
/// Instructions of stubs: behind as many pushes.
const STUB: u64 = 0x2000;

/// Whether something may be read there: where a frame and a stub's registers can be.
fn may_read(at: u64) -> bool {
    let below = FRAME + 8 + PUSHED;
    at % 8 == 0
        && (LANDING.iter().any(|&top| at < top && at >= top - below)
            || (at < STACK && at >= STACK - 8 * PUSHES - 16 - below))
}

/// Memory of the domain, and what the kernel knows of it.
#[derive(Default)]
struct Domain(HashMap<u64, u64>);

impl Confined for Domain {
    fn pushed(&self, rip: u64) -> Option<u64> {
        rip.checked_sub(STUB).filter(|&pushed| pushed <= 4)
    }

    fn landing(&self) -> [u64; 4] {
        LANDING
    }

    fn may_have_top(&self, top: u64) -> bool {
        top % 16 == 0 && (self.may_have_rsp(top) || self.may_have_rsp(top.wrapping_add(8)))
    }

    fn may_have_rsp(&self, rsp: u64) -> bool {
        let pushed = STACK.wrapping_sub(rsp);
        pushed <= 8 * PUSHES && pushed % 8 == 0
    }

    fn word(&self, at: u64) -> u64 {
        assert!(may_read(at), "{at:#x} is read");
        self.0.get(&at).copied().unwrap_or(0)
    }
}

/// What a CPU has in its registers.
#[derive(Clone, Copy)]
struct Cpu {
    rax: u64,
    rbp: u64,
    rcx: u64,
    rdx: u64,
    rip: u64,
    rflags: u64,
    rsp: u64,
}

impl Cpu {
    /// An event, and its stub up to behind `pushes` of its registers; `landing`:
    /// on which stack, else the program's own.
    fn takes(&mut self, memory: &mut Domain, landing: Option<usize>, error: bool, pushes: u64) {
        let top = landing.map_or(self.rsp & !15, |event| LANDING[event]);
        let before = *self;
        self.rsp = top;
        let mut push = |value| {
            self.rsp -= 8;
            memory.0.insert(self.rsp, value);
        };
        for word in [0x18, before.rsp, before.rflags, 0x10, before.rip] {
            push(word);
        }
        if error {
            push(0xe44);
        }
        for value in [before.rax, before.rbp, before.rcx, before.rdx]
            .into_iter()
            .take(pushes as usize)
        {
            push(value);
        }
        self.rip = STUB + pushes;
        self.rflags = 2;
        // What has been pushed is used for other things.
        for (n, register) in [&mut self.rax, &mut self.rbp, &mut self.rcx, &mut self.rdx]
            .into_iter()
            .enumerate()
        {
            if (n as u64) < pushes {
                *register = 0xbad0 + n as u64;
            }
        }
    }
}

fn program(pushed: u64) -> Cpu {
    Cpu {
        rax: 0xa,
        rbp: 0xb,
        rcx: 0xc,
        rdx: 0xd,
        rip: PROGRAM,
        rflags: 0x10246,
        rsp: STACK - 8 * pushed,
    }
}

/// Every order of at most `left` more events of those not in `seen`.
fn each_order(seen: &[usize], visit: &mut dyn FnMut(&[usize])) {
    visit(seen);
    for event in [DF, NMI, DB, MC] {
        if !seen.contains(&event) {
            let mut more = seen.to_vec();
            more.push(event);
            each_order(&more, visit);
        }
    }
}

/// The frame of the last event, all of whose registers its stub has pushed.
fn read_last(memory: &Domain, event: usize) -> Frame {
    let error = event == DF;
    let size = FRAME + PUSHED + if error { 8 } else { 0 };
    memory.frame(LANDING[event] - size, error)
}

#[test]
fn what_was_interrupted_first_is_found_through_stubs_at_every_push() {
    let mut tried = 0u64;
    for base in [None, Some(false), Some(true)] {
        for rsp in 0..=PUSHES {
            each_order(&[], &mut |order| {
                let Some((&last, inner)) = order.split_last() else {
                    return;
                };
                let stubs = inner.len() + usize::from(base.is_some());
                for combination in 0..5u64.pow(stubs as u32) {
                    let mut pushes = (0..stubs as u32).map(|n| combination / 5u64.pow(n) % 5);
                    let (mut memory, mut cpu) = (Domain::default(), program(rsp));
                    let at_first = cpu;
                    if let Some(error) = base {
                        cpu.takes(&mut memory, None, error, pushes.next().unwrap());
                    }
                    for &event in inner {
                        cpu.takes(
                            &mut memory,
                            Some(event),
                            event == DF,
                            pushes.next().unwrap(),
                        );
                    }
                    cpu.takes(&mut memory, Some(last), last == DF, 4);
                    let bottom = unwind(&memory, last, read_last(&memory, last))
                        .expect("it can have been pushed");
                    let found = bottom.frame;
                    assert_eq!(
                        (found.rax, found.rbp, found.rcx, found.rdx, found.rip),
                        (
                            at_first.rax,
                            at_first.rbp,
                            at_first.rcx,
                            at_first.rdx,
                            at_first.rip
                        ),
                        "{order:?} over {base:?}, {combination}"
                    );
                    assert_eq!((found.rflags, found.rsp), (at_first.rflags, at_first.rsp));
                    let met = inner.iter().map(|&event| 1u32 << event).sum::<u32>();
                    assert_eq!(bottom.met, met);
                    tried += 1;
                }
            });
        }
    }
    assert!(tried > 50_000, "{tried}");
}

#[test]
fn no_event_is_met_twice() {
    let (mut memory, mut cpu) = (Domain::default(), program(0));
    cpu.takes(&mut memory, Some(NMI), false, 4);
    cpu.takes(&mut memory, Some(DB), false, 2);
    // It says that it came in the stub of a #DB, on the stack of #DBs.
    memory.0.insert(LANDING[NMI] - FRAME, STUB);
    memory
        .0
        .insert(LANDING[NMI] - FRAME + 24, LANDING[DB] - FRAME);
    memory.0.insert(LANDING[DB] - FRAME, STUB);
    memory
        .0
        .insert(LANDING[DB] - FRAME + 24, LANDING[NMI] - FRAME);
    assert_eq!(unwind(&memory, DB, read_last(&memory, DB)), None);
    // Nor the last one itself.
    memory
        .0
        .insert(LANDING[DB] - FRAME + 24, LANDING[DB] - FRAME);
    assert_eq!(unwind(&memory, DB, read_last(&memory, DB)), None);
}

#[test]
fn what_came_on_the_programs_stack_came_in_no_stub() {
    let (mut memory, mut cpu) = (Domain::default(), program(0));
    cpu.takes(&mut memory, None, false, 4);
    cpu.takes(&mut memory, Some(NMI), false, 4);
    assert!(unwind(&memory, NMI, read_last(&memory, NMI)).is_some());
    memory.0.insert((STACK & !15) - FRAME, STUB + 1);
    assert_eq!(unwind(&memory, NMI, read_last(&memory, NMI)), None);
}

/// Words that mean something, and some that do not.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..6u64).prop_map(|n| STUB + n),
        Just(PROGRAM),
        (0..4usize, 0..20u64).prop_map(|(n, word)| LANDING[n] - 8 * word),
        (0..24u64).prop_map(|word| STACK - 8 * word),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    /// `Domain::word` asserts that nothing is read but where frames can be.
    #[test]
    fn whatever_a_domain_writes_only_frames_places_are_read(
        words in prop::collection::vec(any_word(), 80),
        event in 0..4usize,
    ) {
        let mut memory = Domain::default();
        let mut words = words.into_iter().cycle();
        for top in LANDING {
            for n in 1..=LANDING_BYTES.min(80) / 8 {
                memory.0.insert(top - 8 * n, words.next().unwrap());
            }
        }
        for n in 1..24 {
            memory.0.insert(STACK - 8 * n, words.next().unwrap());
        }
        if let Some(bottom) = unwind(&memory, event, read_last(&memory, event)) {
            prop_assert!(!bottom.has_met(event));
            prop_assert!(memory.pushed(bottom.frame.rip).is_none());
        }
    }
}
