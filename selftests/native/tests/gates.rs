// SPDX-License-Identifier: GPL-2.0
//! Ways through the gates, and what they leave behind.

use bailey_native::{Call, Cpu, Plain, Program};
use std::cell::RefCell;

extern "C" fn weigh(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    a + 10 * b + 100 * c + 1000 * d + 10000 * e
}

const WEIGH: Call = Call {
    function: weigh,
    args: [1, 2, 3, 4, 5],
};

fn program(cpu: &mut Cpu, calls: &[Call], ends_with_call: bool) -> Program {
    Program::new(cpu, calls, ends_with_call).expect("a program near the gates")
}

#[test]
fn a_run_returns_its_verdict_and_leaves_nothing() {
    let mut cpu = Cpu::take();
    let program = program(&mut cpu, &[], false);
    for n in 1..=1000 {
        assert_eq!(program.run(&cpu), 2);
        assert!(cpu.is_idle());
        assert_eq!((program.runs(), cpu.entries()), (n, n));
    }
}

#[test]
fn a_helper_gets_its_arguments_and_gives_its_result() {
    let mut cpu = Cpu::take();
    let ends = program(&mut cpu, &[WEIGH, WEIGH], true);
    assert_eq!(ends.run(&cpu), 54321);
    assert!(cpu.is_idle());
    // The last one ends the run at its gate.
    assert_eq!((cpu.entries(), ends.calls()), (2, vec![1, 1]));
}

#[test]
fn each_call_but_a_last_one_is_a_way_out_and_in() {
    let mut cpu = Cpu::take();
    for calls in [1, 2, 10, 100] {
        let before = cpu.entries();
        let program = program(&mut cpu, &vec![WEIGH; calls], false);
        assert_eq!(program.run(&cpu), 2);
        assert_eq!(cpu.entries() - before, 1 + calls as u64);
        assert_eq!(program.calls(), vec![1; calls]);
        assert!(cpu.is_idle());
    }
}

thread_local! {
    static INNER: RefCell<Option<(Cpu, Program)>> = const { RefCell::new(None) };
}

extern "C" fn run_inner(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    INNER.with_borrow(|inner| {
        let (cpu, program) = inner.as_ref().expect("there is one");
        assert!(cpu.event_stacks_are_the_kernels());
        assert!(!cpu.is_idle());
        program.run(cpu)
    })
}

#[test]
fn a_run_can_begin_in_another_ones_helper() {
    let mut cpu = Cpu::take();
    let inner = program(&mut cpu, &[WEIGH], true);
    let call = Call {
        function: run_inner,
        args: [0; 5],
    };
    let outer = program(&mut cpu, &[call, call], true);
    INNER.set(Some((cpu, inner)));
    // The CPU stays where the helper finds it.
    let result = INNER.with_borrow(|both| {
        let (cpu, _) = both.as_ref().expect("there is one");
        outer.run(cpu)
    });
    let (cpu, inner) = INNER.take().expect("there is one");
    assert_eq!((result, inner.runs(), outer.runs()), (54321, 2, 1));
    assert_eq!(cpu.entries(), 2 + 2);
    assert!(cpu.is_idle());
}

#[test]
fn who_may_not_run_is_turned_away() {
    let mut cpu = Cpu::take();
    let mut program = program(&mut cpu, &[WEIGH], true);
    program.quarantine(true);
    assert_eq!(program.run(&cpu), 0);
    assert!(cpu.is_idle());
    assert_eq!(
        (cpu.turned_away(), program.runs(), cpu.entries()),
        ((1, 0), 0, 0)
    );
    program.quarantine(false);
    assert_eq!(program.run(&cpu), 54321);
}

#[test]
fn without_stack_there_is_no_run() {
    let mut cpu = Cpu::take();
    let program = program(&mut cpu, &[WEIGH], true);
    // Room for an event's frame must be left below the program's stack.
    cpu.leave_room(0xff);
    assert_eq!((program.run(&cpu), cpu.turned_away()), (0, (0, 1)));
    assert!(cpu.is_idle());
    cpu.leave_room(0x100);
    assert_eq!((program.run(&cpu), cpu.turned_away()), (54321, (0, 1)));
    assert!(cpu.is_idle());
}

#[test]
fn the_plain_program_returns_the_same() {
    assert_eq!(Plain::new(&[WEIGH; 10]).expect("memory").run(), 2);
}
