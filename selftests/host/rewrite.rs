// SPDX-License-Identifier: GPL-2.0
//! A rewritten program does what the original does: both are run in an eBPF
//! interpreter (rbpf), with gates that a kernel would have.
//!
//! Programs here have one function; calls between functions are the matter of
//! `functions.rs`. What rbpf lacks is put in other words for it. AX is a register that no
//! generated program uses. `enter` returns its first argument. Exit gates go
//! where enter's second return goes, with AX set: `call exit` becomes a jump
//! to `AX = 1; goto behind the call of enter`. Each site's call goes to a stub
//! of its own, which looks its helper up in a site table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::id;
use bailey::pure::insn::{class, jmp, Insn, REG_AX};
use bailey::pure::rewrite::{Action, ENTER_INDEX, EXIT_INDEX, PROLOGUE_LEN};
use generated::{assemble, steps, Step, PACKET, SPARE};
use program::{rewrite, Program, Rewritten};
use proptest::prelude::*;
use std::cell::RefCell;

/// Slot of the enter gate.
const SLOT: u64 = 0xffff_c981_2345_6789;
/// What the program's call of enter names.
const ENTER: i32 = 0x7000_0000;
/// What the call of site 0 names.
const SITES: i32 = 0x6000_0000;
/// How many stubs there are.
const STUBS: usize = 512;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Outcome {
    verdict: u64,
    packet: Vec<u8>,
    /// Each helper call with its arguments, in order.
    calls: Vec<(u32, [u64; 5])>,
    enters: u32,
}

thread_local! {
    static CALLS: RefCell<Vec<(u32, [u64; 5])>> = const { RefCell::new(Vec::new()) };
    static SITE_TABLE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static ENTERS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// What helper `id` returns: something that depends on all it could see.
fn helper(id: u32, args: [u64; 5]) -> u64 {
    CALLS.with_borrow_mut(|calls| {
        calls.push((id, args));
        args.iter()
            .fold(u64::from(id) + calls.len() as u64, |sum, arg| {
                sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*arg)
            })
    })
}

/// The stub of site `N`.
fn stub<const N: usize>(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    let id = SITE_TABLE.with_borrow(|sites| sites[N]);
    helper(id, [a, b, c, d, e])
}

/// A helper called by number, as before the rewrite.
fn direct<const ID: u32>(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    helper(ID, [a, b, c, d, e])
}

fn enter(ctx: u64, slot: u64, _: u64, _: u64, _: u64) -> u64 {
    ENTERS.with_borrow_mut(|enters| enters.push(slot));
    ctx
}

type Stub = fn(u64, u64, u64, u64, u64) -> u64;

/// Sixteen stubs in a row.
macro_rules! row {
    ($($high:literal)*) => {
        [$(
            stub::<{ $high * 16 }> as Stub, stub::<{ $high * 16 + 1 }>, stub::<{ $high * 16 + 2 }>,
            stub::<{ $high * 16 + 3 }>, stub::<{ $high * 16 + 4 }>, stub::<{ $high * 16 + 5 }>,
            stub::<{ $high * 16 + 6 }>, stub::<{ $high * 16 + 7 }>, stub::<{ $high * 16 + 8 }>,
            stub::<{ $high * 16 + 9 }>, stub::<{ $high * 16 + 10 }>, stub::<{ $high * 16 + 11 }>,
            stub::<{ $high * 16 + 12 }>, stub::<{ $high * 16 + 13 }>, stub::<{ $high * 16 + 14 }>,
            stub::<{ $high * 16 + 15 }>,
        )*]
    };
}

static STUB_TABLE: [Stub; STUBS] = row!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
    16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

/// The program as rbpf takes it: no 32-bit jumps, no tail calls, no AX.
fn lower(insns: &[Insn]) -> Vec<Insn> {
    insns
        .iter()
        .map(|insn| {
            if insn.code == class::JMP32 | jmp::JA {
                return Insn::ja(insn.imm.try_into().unwrap());
            }
            if insn.is_tail_call() {
                return Insn::call(id::TAIL_CALL as i32);
            }
            let real = |reg| if reg == REG_AX { SPARE } else { reg };
            Insn::new(
                insn.code,
                real(insn.dst()),
                real(insn.src()),
                insn.off,
                insn.imm,
            )
        })
        .collect()
}

fn run(insns: &[Insn], sites: &[Action]) -> Outcome {
    CALLS.with_borrow_mut(Vec::clear);
    ENTERS.with_borrow_mut(Vec::clear);
    SITE_TABLE.with_borrow_mut(|table| {
        *table = sites
            .iter()
            .map(|action| match *action {
                Action::Helper(id) => id,
                Action::TailCall => id::TAIL_CALL,
                Action::SmpProcessorId => id::GET_SMP_PROCESSOR_ID,
                _ => u32::MAX,
            })
            .collect();
    });

    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_bytes()).collect();
    let mut packet: Vec<u8> = (0..PACKET as u8).collect();
    let mut vm = rbpf::EbpfVmRaw::new(None).unwrap();
    // The programs are right by construction; rbpf's own rules (a final exit)
    // are not the kernel's.
    vm.set_verifier(|_| Ok(())).unwrap();
    vm.set_program(&bytes).unwrap();
    let direct: [(u32, Stub); 6] = [
        (id::KTIME_GET_NS, direct::<{ id::KTIME_GET_NS }>),
        (id::MAP_LOOKUP_ELEM, direct::<{ id::MAP_LOOKUP_ELEM }>),
        (id::GET_NUMA_NODE_ID, direct::<{ id::GET_NUMA_NODE_ID }>),
        (
            id::GET_SMP_PROCESSOR_ID,
            direct::<{ id::GET_SMP_PROCESSOR_ID }>,
        ),
        (id::XDP_ADJUST_HEAD, direct::<{ id::XDP_ADJUST_HEAD }>),
        (id::TAIL_CALL, direct::<{ id::TAIL_CALL }>),
    ];
    if sites.is_empty() {
        for (id, function) in direct {
            vm.register_helper(id, function).unwrap();
        }
    } else {
        vm.register_helper(ENTER as u32, enter).unwrap();
        for (number, stub) in (SITES as u32..).zip(&STUB_TABLE[..sites.len()]) {
            vm.register_helper(number, *stub).unwrap();
        }
    }
    let verdict = vm.execute_program(&mut packet).unwrap();
    Outcome {
        verdict,
        packet,
        calls: CALLS.take(),
        enters: ENTERS.with_borrow(|enters| {
            assert!(enters.iter().all(|slot| *slot == SLOT));
            enters.len() as u32
        }),
    }
}

fn run_original(program: &Program) -> Outcome {
    run(&lower(&program.insns), &[])
}

fn run_rewritten(rewritten: &Rewritten) -> Outcome {
    let mut insns = lower(&rewritten.insns);
    let landing = insns.len();
    for (at, insn) in insns.iter_mut().enumerate() {
        let site = insn.imm.wrapping_sub(SITES) as u32 as usize;
        if insn.is_call() && rewritten.sites.get(site) == Some(&Action::Exit) {
            *insn = Insn::ja((landing - at - 1).try_into().unwrap());
        }
    }
    insns.push(Insn::mov64_imm(SPARE, 1));
    let behind_enter = ENTER_INDEX as i16 + 1;
    insns.push(Insn::ja(behind_enter - insns.len() as i16 - 1));
    run(&insns, &rewritten.sites)
}

fn rewritten(program: &Program) -> Rewritten {
    rewrite(program, SLOT, ENTER, |site| SITES + site as i32).unwrap()
}

/// A program of which at most so many sites fit the stub table.
fn programs() -> impl Strategy<Value = Program> {
    steps()
        .prop_map(|steps| assemble(&steps))
        .prop_filter("more sites than stubs", |program| {
            program.insns.iter().filter(|insn| insn.is_call()).count() + 100 < STUBS
        })
}

proptest! {
    #![proptest_config(generated::config(2000))]

    #[test]
    fn a_rewritten_program_does_what_the_original_does(program in programs()) {
        let expected = run_original(&program);
        let rewritten = rewritten(&program);
        let found = run_rewritten(&rewritten);
        prop_assert_eq!(found.enters, 1, "enter runs once");
        prop_assert_eq!(found.verdict, expected.verdict);
        prop_assert_eq!(&found.packet, &expected.packet);
        prop_assert_eq!(&found.calls, &expected.calls);
    }

    #[test]
    fn a_rewritten_program_has_one_exit_and_the_sites_it_was_surveyed_for(program in programs()) {
        let rewritten = rewritten(&program);
        let exits: Vec<usize> = (0..rewritten.insns.len())
            .filter(|index| rewritten.insns[*index].is_exit())
            .collect();
        prop_assert_eq!(exits, vec![EXIT_INDEX]);
        prop_assert_eq!(rewritten.sites.len(), rewritten.facts.sites() as usize);
        prop_assert_eq!(rewritten.insns.len(), program.insns.len() + PROLOGUE_LEN);
        let original_exits = program.insns.iter().filter(|insn| insn.is_exit()).count();
        prop_assert_eq!(rewritten.facts.exits() as usize, original_exits);
    }

    #[test]
    fn every_jump_of_a_rewritten_program_lands_behind_the_prologue(program in programs()) {
        let rewritten = rewritten(&program);
        for (index, insn) in rewritten.insns.iter().enumerate().skip(PROLOGUE_LEN) {
            if let Some(distance) = insn.jump() {
                let target = index as i64 + 1 + i64::from(distance);
                prop_assert!(target >= PROLOGUE_LEN as i64, "{} to {}", index, target);
                prop_assert!(target < rewritten.insns.len() as i64);
                // The same instruction as before, moved by the prologue.
                let before = program.insns[index - PROLOGUE_LEN].jump().unwrap();
                prop_assert_eq!(before, distance);
            }
        }
    }
}

/// The test above can fail: a loop to the start that went to the prologue
/// would enter again.
#[test]
fn a_loop_to_the_start_of_the_prologue_would_enter_again() {
    for wide in [false, true] {
        let program = assemble(&[Step::Restart(3, wide)]);
        let mut rewritten = rewritten(&program);
        let found = run_rewritten(&rewritten);
        assert_eq!(found.enters, 1);
        assert_eq!(found.verdict, run_original(&program).verdict);
        for (index, insn) in rewritten.insns.iter_mut().enumerate() {
            let distance = insn.jump().map_or(0, i64::from);
            if index as i64 + 1 + distance == PROLOGUE_LEN as i64 && distance < 0 {
                *insn = insn.with_jump(-(index as i64) - 1).unwrap();
            }
        }
        assert_eq!(run_rewritten(&rewritten).enters, 3);
    }
}

#[test]
fn the_longest_jumps_keep_their_distance() {
    let mut insns = vec![Insn::mov64_imm(0, 0); 32_770];
    insns[0] = Insn::ja(32_767);
    insns[32_767] = Insn::ja(-32_768);
    insns[32_768] = Insn::ja(-32_768);
    insns[32_769] = Insn::exit();
    let rewritten = rewritten(&Program::new(insns));
    let jump = |at: usize| rewritten.insns[at + PROLOGUE_LEN].jump();
    assert_eq!(jump(0), Some(32_767));
    assert_eq!(jump(32_767), Some(-32_768), "to instruction 0");
    assert_eq!(jump(32_768), Some(-32_768));
}
