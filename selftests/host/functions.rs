// SPDX-License-Identifier: GPL-2.0
//! A program of many functions and the image of one that it becomes do the
//! same; whatever a domain writes over a site's number leads to one of the
//! function's own sites.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/calls.rs"]
#[allow(dead_code)]
mod calls;
#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::insn::{
    alu, class, jmp, mode, pseudo, size, Insn, K, REG_1, REG_FP, REG_PARAMS, X,
};
use bailey::pure::rewrite::functions::{
    measure, Function, Layout, Leaps, Origin, Scratch, MAX_CALLS, MAX_DEPTH, MAX_FRAMES,
};
use bailey::pure::rewrite::jump_table::{Places, DEAD_END, MAX_PLACES, NOWHERE};
use bailey::pure::rewrite::{blinding, Refusal};
use calls::{call_at, programs, Called};
use generated::config;
use machine::{Machine, Outcome, STACK_TOP};
use program::{
    lay_out, lay_out_blinded, lay_out_entry, lay_out_with, Beyond, Laid, Program, TABLES_AT, THROW,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Bytes of stack of the function that starts somewhere.
fn depth_of(functions: &[Function]) -> impl Fn(usize) -> u32 + '_ {
    move |start| {
        functions
            .iter()
            .find(|function| function.start as usize == start)
            .map_or(0, |function| function.depth)
    }
}

fn run_program(insns: &[Insn], functions: &[Function]) -> Outcome {
    let depth = depth_of(functions);
    Machine::program(insns, &depth).run().expect("the program")
}

/// A program with exceptions and jump tables and its image do the same.
fn check_same(program: &Program, laid: &Laid) -> Outcome {
    let Program {
        insns,
        functions,
        beyond,
        ..
    } = program;
    let depth = depth_of(functions);
    let callback = beyond.callback.map(|n| functions[n].start as usize);
    let mut machine = Machine::program(insns, &depth).with(beyond, callback);
    let expected = machine.run().expect("the program");
    let code = laid.insns();
    let mut image = Machine::image(&code, laid.stack).with(beyond, None);
    assert_eq!(image.run().expect("the image"), expected);
    expected
}

/// What the image does. That it touches no stack but its own is the machine's
/// to find: there is none.
fn run_image(laid: &Laid) -> Outcome {
    let insns = laid.insns();
    Machine::image(&insns, laid.stack).run().expect("the image")
}

/// Bytes of stack of an image, from what the generator knows of its functions and
/// the image shows of their calls.
fn stack_of(called: &Called, laid: &Laid) -> u32 {
    let Called { program, shapes } = called;
    let reached = called.reached();
    let sites = called.sites();
    let ways = ways_back(&program.insns, &program.functions, laid);
    let way = |number: usize| ways.iter().find(|way| way.0 == number).map(|way| &way.1);
    let moves = |number| way(number).is_some_and(|way| way.moves);
    let own = |number: usize| shapes[number].depth.div_ceil(8) * 8 + 8 * shapes[number].passes;
    let area = |number: usize| {
        let stored = way(number).is_some_and(|way| way.stored.is_some());
        assert!(!stored || sites[number] > 1);
        8 * (shapes[number].saved + u32::from(stored))
    };
    // Callers have a lower level: so many rounds as there are functions are enough.
    let mut below = vec![0; shapes.len()];
    let mut stack = vec![0; shapes.len()];
    for _ in shapes {
        for caller in (0..shapes.len()).filter(|caller| reached[*caller]) {
            for &callee in shapes[caller].callees.iter().filter(|n| !moves(**n)) {
                below[callee] = below[callee].max(below[caller] + own(caller) + area(callee));
            }
        }
    }
    for _ in shapes {
        for caller in 0..shapes.len() {
            let end = below[caller] + own(caller);
            let callees = shapes[caller]
                .callees
                .iter()
                .map(|&callee| stack[callee] + if moves(callee) { end + area(callee) } else { 0 });
            let thrown = program.beyond.callback.filter(|_| shapes[caller].throws);
            let thrown = thrown.map(|callback| stack[callback]);
            stack[caller] = callees.chain(thrown).max().unwrap_or(0).max(end);
        }
    }
    stack[0]
}

/// The way back of a function: its slots, and where each of its sites goes on.
struct WayBack {
    slots: std::ops::Range<usize>,
    sites: Vec<usize>,
    /// The frame pointer goes down for the function.
    moves: bool,
    /// Where the number is, from the frame pointer, if it is not in a register.
    stored: Option<i16>,
}

/// The ways back of a laid-out program, by position alone.
fn ways_back(insns: &[Insn], functions: &[Function], laid: &Laid) -> Vec<(usize, WayBack)> {
    let members: Vec<usize> = (0..functions.len()).filter(|n| laid.members[*n]).collect();
    let ends = members
        .iter()
        .skip(1)
        .map(|n| laid.positions[functions[*n].start as usize].unwrap())
        .chain([laid.code.len()]);
    let mut ways: Vec<(usize, WayBack)> = Vec::new();
    for (&number, end) in members.iter().zip(ends) {
        if Some(number) == laid.callback {
            continue;
        }
        let function = &functions[number];
        let last = function.end as usize - 1;
        // Behind the jump into the callee.
        let back_to = |call: usize| {
            let at = laid.positions[call].unwrap();
            at + 1
                + (at..)
                    .position(|at| laid.code[at].1.is_jump_always())
                    .unwrap()
        };
        // The next call can begin with a step down.
        let goes_up = |at: usize| {
            let (origin, insn) = &laid.code[at];
            *origin == Origin::Added && *insn == Insn::alu64_imm(alu::ADD, REG_FP, insn.imm)
        };
        let start = if insns[last].is_pseudo_call() {
            let back = back_to(last);
            back + usize::from(goes_up(back)) + DEAD_END.len()
        } else {
            laid.positions[last].unwrap() + usize::from(!insns[last].is_exit())
        };
        let mut sites = Vec::new();
        for caller in &members {
            let caller = &functions[*caller];
            let range = caller.start as usize..caller.end as usize;
            for (index, insn) in range.clone().zip(&insns[range]) {
                let callee = index as i64 + 1 + i64::from(insn.imm);
                if insn.is_pseudo_call() && callee == i64::from(function.start) {
                    sites.push(back_to(index));
                }
            }
        }
        // Behind the entry's last instruction may be nothing.
        let first = laid.code.get(start).map_or(EXIT, |(_, insn)| *insn);
        let stored = first == Insn::ldx(size::DW, REG_1, REG_FP, first.off);
        let moves = sites.first().is_some_and(|site| goes_up(*site));
        assert!(sites.iter().all(|site| goes_up(*site) == moves));
        ways.push((
            number,
            WayBack {
                slots: start..end,
                sites,
                moves,
                stored: stored.then_some(first.off),
            },
        ));
    }
    ways.remove(0);
    ways
}

/// Where control goes from the start of a way back with `number` where the site's
/// number is, and in how many steps behind what is loaded.
fn follow(insns: &[Insn], way: &WayBack, number: u64) -> (usize, u32) {
    let mut machine = Machine::image(insns, 32_768);
    machine.pc = way.slots.start;
    let frame = STACK_TOP - 64;
    machine.regs[usize::from(REG_FP)] = frame;
    if let Some(off) = way.stored {
        let at = frame.wrapping_add_signed(i64::from(off));
        machine.store(at, 8, number).unwrap();
    } else {
        let mut slots = insns[way.slots.clone()].iter();
        let compares = |insn: &&Insn| insn.jump().is_some() && !insn.is_jump_always();
        let reg = slots.find(compares).map(Insn::dst);
        assert!(reg.is_some() || way.sites.len() == 1);
        if let Some(reg) = reg {
            machine.regs[usize::from(reg)] = number;
        }
    }
    let mut steps = 0;
    for _ in way.slots.clone() {
        steps += u32::from(insns[machine.pc].jump().is_some());
        machine.step().unwrap();
        if !way.slots.contains(&machine.pc) {
            return (machine.pc, steps);
        }
    }
    panic!("it stays in the way back");
}

/// Most comparisons and jumps of a way back among so many sites.
fn most_steps(sites: usize) -> u32 {
    sites.next_power_of_two().ilog2() + 1
}

/// What calls and ways back may take of an image, whatever it calls: of a call of
/// `n` sites its registers, number and jump, and three slots for two sites of the
/// way back. Far sites are none of a generated program's.
fn check_size(called: &Called, laid: &Laid) {
    let Program {
        insns, functions, ..
    } = &called.program;
    for (number, way) in ways_back(insns, functions, laid) {
        let (sites, saved) = (way.sites.len(), called.shapes[number].saved as usize);
        let loads = saved + usize::from(way.stored.is_some());
        assert!(
            way.slots.len() <= loads + (3 * sites / 2).max(1),
            "{number}"
        );
        let most = saved + usize::from(sites > 1) + 1 + 2 * usize::from(way.moves);
        for caller in functions {
            let range = caller.start as usize..caller.end as usize - 1;
            for (index, insn) in range.clone().zip(&insns[range]) {
                let callee = index as i64 + 1 + i64::from(insn.imm);
                let start = i64::from(functions[number].start);
                let ends = [laid.positions[index], laid.positions[index + 1]];
                if let ([Some(at), Some(next)], true) =
                    (ends, insn.is_pseudo_call() && callee == start)
                {
                    assert!(next - at <= most, "{index}: {} slots", next - at);
                }
            }
        }
    }
}

fn check_forged(insns: &[Insn], functions: &[Function], laid: &Laid, numbers: &[u64]) {
    let code = laid.insns();
    for (_, way) in ways_back(insns, functions, laid) {
        let sites = way.sites.len() as u64;
        for (number, site) in (0..).zip(&way.sites) {
            let (landed, steps) = follow(&code, &way, number);
            assert_eq!(landed, *site, "site {number}");
            assert!(steps <= most_steps(way.sites.len()), "{steps} steps");
        }
        let edges = [sites, sites + 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX];
        // The lower half is a valid number.
        let halves = numbers.iter().map(|n| (n << 32) | (n % sites));
        for number in numbers.iter().copied().chain(edges).chain(halves) {
            let (landed, steps) = follow(&code, &way, number);
            assert!(steps <= most_steps(way.sites.len()), "{steps} steps");
            assert!(way.sites.contains(&landed), "{number:#x} to {landed}");
        }
    }
}

/// What holds of every layout: each instruction of a member is there once and
/// in order, jumps stay inside, and nothing else is left of calls and exits.
fn check_shape(insns: &[Insn], functions: &[Function], laid: &Laid) {
    let mut seen = vec![0; insns.len()];
    let mut last = None;
    for (slot, (origin, insn)) in laid.code.iter().enumerate() {
        if let Origin::Kept(index) | Origin::For(index) = *origin {
            seen[index] += 1;
            assert_eq!(laid.positions[index], Some(slot));
            // Functions stay in order too, the entry being the first.
            assert!(last.is_none_or(|last| last < index), "{last:?}, {index}");
            last = Some(index);
            let old = &insns[index];
            if let Origin::Kept(_) = origin {
                let argument = old.dst() == REG_PARAMS || old.src() == REG_PARAMS;
                let same = match old.jump() {
                    Some(_) => old.with_jump(0) == insn.with_jump(0),
                    None if argument && !old.is_call() => {
                        insn.code == old.code && insn.imm == old.imm
                    }
                    // A function's frame is further down.
                    None if old.base() == Some(REG_FP) => {
                        let mut shifted = *old;
                        shifted.off = insn.off;
                        shifted == *insn && insn.off <= old.off
                    }
                    None if index > 0 && insns[index - 1] == Insn::mov64_reg(old.dst(), REG_FP) => {
                        let sum = Insn::alu64_imm(alu::ADD, old.dst(), insn.imm);
                        old == insn || sum == *insn && insn.imm <= old.imm
                    }
                    None => old == insn,
                };
                assert!(same, "{old:?} became {insn:?}");
            }
        }
        if let Origin::Switch(index) = *origin {
            // Behind it the one jump into the callee, and where both ways meet.
            let next = laid.code[slot + 1];
            assert!(*insn == insns[index] && insn.is_pseudo_call());
            assert!(next.0 == Origin::Added && next.1.is_jump_always());
            if laid.positions[index] == Some(slot) {
                seen[index] += 1;
                assert!(last.is_none_or(|last| last < index), "{last:?}, {index}");
                last = Some(index);
            }
            continue;
        }
        let throws = insn.is_kfunc_call() && insn.imm == THROW;
        assert!(!insn.is_pseudo_call() && !throws && !insn.is_gotox());
        if insn.is_exit() {
            let Origin::Kept(index) = *origin else {
                panic!("an exit is added");
            };
            let callback = laid.callback.map(|n| functions[n]);
            let in_callback = callback.is_some_and(|f| (f.start..f.end).contains(&(index as u32)));
            let in_entry = index < functions[0].end as usize;
            assert!(in_entry || in_callback, "an exit is left");
        }
        if let Some(distance) = insn.jump() {
            let target = slot as i64 + 1 + i64::from(distance);
            assert!((0..laid.code.len() as i64).contains(&target));
        }
        let always = insn.is_exit() || insn.is_jump_always();
        assert!(slot + 1 < laid.code.len() || always, "it falls off");
    }
    for (number, function) in functions.iter().enumerate() {
        let range = function.start as usize..function.end as usize;
        for (index, seen) in range.clone().zip(&seen[range]) {
            assert_eq!(*seen, i32::from(laid.members[number]), "{index}");
            assert_eq!(laid.positions[index].is_some(), laid.members[number]);
        }
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn an_image_does_what_its_functions_do(called in programs(1..13)) {
        let program = &called.program;
        let leaps = program.beyond.leaps();
        let laid = lay_out_with(&program.insns, &program.functions, leaps).unwrap();
        check_same(program, &laid);
        check_shape(&program.insns, &program.functions, &laid);
        check_size(&called, &laid);
        prop_assert_eq!(&laid.members, &called.reached());
        prop_assert_eq!(laid.stack, stack_of(&called, &laid));
    }
}

/// The images of a program and of its switched functions, by number; `on` says
/// of each switch whether calls go through it.
fn images(
    program: &Program,
    functions: &[Function],
    on: &mut dyn FnMut() -> bool,
) -> Vec<(Vec<Insn>, u32)> {
    let callee = |index: usize| {
        let start = (index as i64 + 1 + i64::from(program.insns[index].imm)) as u32;
        functions.iter().position(|f| f.start == start).unwrap() as i32
    };
    let mut image = |entry: usize| {
        if entry != 0 && !functions[entry].switched {
            return (Vec::new(), 0);
        }
        let leaps = program.beyond.leaps();
        let laid = lay_out_entry(&program.insns, functions, entry, leaps).unwrap();
        let code = laid.insns_with(&mut |index| on().then(|| callee(index)));
        (code, laid.stack)
    };
    (0..functions.len()).map(&mut image).collect()
}

/// Functions that throw, or call one that may.
fn throwing(called: &Called) -> Vec<bool> {
    let mut throws: Vec<bool> = called.shapes.iter().map(|shape| shape.throws).collect();
    for _ in 0..throws.len() {
        for (number, shape) in called.shapes.iter().enumerate() {
            throws[number] |= shape.callees.iter().any(|callee| throws[*callee]);
        }
    }
    throws
}

/// `functions` with switches at some of those that may have them.
fn switched(called: &Called, mask: u16) -> Vec<Function> {
    let Program {
        insns,
        functions,
        beyond,
        ..
    } = &called.program;
    let mut functions = functions.clone();
    measure(insns, &mut functions).unwrap();
    for (number, function) in functions.iter_mut().enumerate().skip(1) {
        let may = beyond.callback != Some(number) && !function.takes_stack();
        function.switched = may && mask & (1 << (number % 16)) != 0;
    }
    functions
}

proptest! {
    #![proptest_config(config(500))]

    #[test]
    fn switches_that_are_off_change_nothing(called in programs(2..13), mask in any::<u16>()) {
        let program = &called.program;
        let functions = switched(&called, mask);
        let laid = lay_out_with(&program.insns, &functions, program.beyond.leaps()).unwrap();
        check_same(program, &laid);
        check_shape(&program.insns, &functions, &laid);
        prop_assert_eq!(&laid.members, &called.reached());
        prop_assert_eq!(laid.stack, stack_of(&called, &laid));
        let switches = laid.code.iter().filter(|(origin, _)| matches!(origin, Origin::Switch(_)));
        let sites = called.sites();
        let expected: u32 = (0..functions.len())
            .filter(|n| functions[*n].switched)
            .map(|n| sites[n])
            .sum();
        prop_assert_eq!(switches.count() as u32, expected);
    }

    #[test]
    fn through_a_switch_the_functions_own_image_does_the_same(
        called in programs(2..10), mask in any::<u16>(), on in any::<u64>(),
    ) {
        let program = &called.program;
        let mut functions = switched(&called, mask);
        // Exceptions of another image are the kernel's business.
        for (function, throws) in functions.iter_mut().zip(throwing(&called)) {
            function.switched &= !throws;
        }
        let callback = program.beyond.callback.map(|n| program.functions[n].start as usize);
        let mut number = 0;
        let images = images(program, &functions, &mut || {
            number += 1;
            (on >> (number % 64)) & 1 != 0
        });
        let depth = depth_of(&program.functions);
        let expected = Machine::program(&program.insns, &depth)
            .with(&program.beyond, callback)
            .run()
            .expect("the program");
        let mut image = Machine::image(&images[0].0, images[0].1)
            .with(&program.beyond, None)
            .with_images(&images);
        prop_assert_eq!(image.run().expect("the image"), expected);
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn a_forged_number_leads_to_one_of_the_functions_own_sites(
        called in programs(2..8), numbers in vec(any::<u64>(), 8),
    ) {
        let program = &called.program;
        let leaps = program.beyond.leaps();
        let laid = lay_out_with(&program.insns, &program.functions, leaps).unwrap();
        check_forged(&program.insns, &program.functions, &laid, &numbers);
    }
}

/// The tests above see what they are for.
#[test]
fn generated_programs_call_deep_and_often() {
    let mut runner = TestRunner::deterministic();
    let strategy = programs(1..13);
    let (mut deepest, mut made, mut most_sites, mut stack_arguments) = (0, 0, 0, 0);
    let (mut leaps, mut tables, mut callbacks) = (0, 0, 0);
    let (mut unreached, mut alone, mut back_jumps, mut row) = (0, 0, 0, 0);
    for _ in 0..500 {
        let called = strategy.new_tree(&mut runner).unwrap().current();
        let program = &called.program;
        let depth = depth_of(&program.functions);
        let callback = program.beyond.callback;
        let callback = callback.map(|n| program.functions[n].start as usize);
        let mut machine = Machine::program(&program.insns, &depth).with(&program.beyond, callback);
        machine.run().unwrap();
        leaps += machine.leaps;
        let entry = &program.functions[0];
        tables += u32::from(program.beyond.places.iter().any(|at| *at >= entry.end));
        callbacks += u32::from(called.reached().len() > 1 && callback.is_some());
        deepest = deepest.max(machine.most_frames);
        made += machine.made;
        most_sites = most_sites.max(called.sites().into_iter().max().unwrap());
        unreached += u32::from(called.reached().contains(&false));
        alone += u32::from(called.sites().contains(&1));
        stack_arguments += u32::from(called.shapes.iter().any(|shape| shape.passes > 0));
        row += u32::from(program.insns.windows(2).any(|two| {
            two[0].is_pseudo_call() && two[1].is_pseudo_call() && two[0].imm == two[1].imm + 1
        }));
        back_jumps += u32::from(program.functions.iter().skip(1).any(|function| {
            let start = i64::from(function.start);
            (function.start as usize..function.end as usize).any(|index| {
                let jump = program.insns[index].jump();
                jump.is_some_and(|jump| index as i64 + 1 + i64::from(jump) == start)
            })
        }));
    }
    let seen = (deepest, made, most_sites, stack_arguments);
    let also = (unreached, alone, back_jumps, row);
    assert!(
        deepest >= 6 && made > 10_000 && most_sites >= 70,
        "{seen:?}"
    );
    assert!(
        stack_arguments > 30 && unreached > 30 && alone > 30,
        "{seen:?} {also:?}"
    );
    assert!(back_jumps > 30 && row > 30, "{also:?}");
    let beyond = (leaps, tables, callbacks);
    assert!(leaps > 1000 && tables > 100 && callbacks > 50, "{beyond:?}");
}

#[test]
fn generated_programs_call_through_switches() {
    let mut runner = TestRunner::deterministic();
    let strategy = programs(2..10);
    let (mut programs, mut made) = (0, 0);
    for _ in 0..200 {
        let called = strategy.new_tree(&mut runner).unwrap().current();
        let program = &called.program;
        let mut functions = switched(&called, u16::MAX);
        for (function, throws) in functions.iter_mut().zip(throwing(&called)) {
            function.switched &= !throws;
        }
        let images = images(program, &functions, &mut || true);
        let mut image = Machine::image(&images[0].0, images[0].1)
            .with(&program.beyond, None)
            .with_images(&images);
        image.run().unwrap();
        programs += u32::from(image.made > 0);
        made += image.made;
    }
    assert!(programs > 50 && made > 1000, "{programs} {made}");
}

/// The code of functions, calls of each other by number, as a program.
fn link(codes: &[(Vec<Insn>, u32)]) -> (Vec<Insn>, Vec<Function>) {
    let mut start = 0;
    let functions: Vec<Function> = codes
        .iter()
        .map(|(code, depth)| {
            let end = start + code.len() as u32;
            Function::new(std::mem::replace(&mut start, end), end, *depth)
        })
        .collect();
    let mut insns: Vec<Insn> = codes.iter().flat_map(|(code, _)| code.clone()).collect();
    for (at, insn) in insns.iter_mut().enumerate() {
        if insn.is_pseudo_call() {
            *insn = call_at(at, functions[insn.imm as usize].start as usize);
        }
    }
    (insns, functions)
}

/// A call of function `number`, for [`link`].
fn call(number: i32) -> Insn {
    Insn::new(class::JMP | jmp::CALL, 0, pseudo::CALL, 0, number)
}

fn refusal(codes: &[(Vec<Insn>, u32)]) -> Option<Refusal> {
    let (insns, functions) = link(codes);
    lay_out(&insns, &functions)
        .err()
        .map(|(_, refusal)| refusal)
}

const R0: Insn = Insn::mov64_imm(0, 0);
const EXIT: Insn = Insn::exit();

#[test]
fn functions_that_call_themselves_are_refused() {
    let entry = || (vec![call(1), EXIT], 0);
    let cases = [
        vec![(vec![call(0), EXIT], 0)],
        vec![entry(), (vec![R0, call(1), EXIT], 0)],
        vec![
            entry(),
            (vec![call(2), EXIT], 0),
            (vec![R0, call(1), EXIT], 0),
        ],
        vec![
            entry(),
            (vec![call(2), EXIT], 0),
            (vec![R0, call(0), EXIT], 0),
        ],
        vec![
            entry(),
            (vec![call(3), EXIT], 8),
            (vec![call(1), EXIT], 8),
            (vec![call(2), EXIT], 8),
        ],
        // A circle that nobody reaches.
        vec![
            entry(),
            (vec![R0, Insn::ja(-2)], 0),
            (vec![call(2), EXIT], 0),
        ],
    ];
    for (number, codes) in cases.iter().enumerate() {
        let expected = (number < 5).then_some(Refusal::Recursion);
        assert_eq!(refusal(codes), expected, "{number}");
    }
}

/// What a function does with its frame pointer, and whether that moves for it.
#[test]
fn the_frame_pointer_stays_where_it_is_if_it_only_reaches_the_stack() {
    let copy = |reg| Insn::mov64_reg(reg, REG_FP);
    let down = |reg| Insn::alu64_imm(alu::ADD, reg, -8);
    let store = Insn::st(size::DW, REG_FP, -8, 40);
    let load = |reg, off| Insn::ldx(size::DW, 0, reg, off);
    let add = |off| Insn::new(class::STX | mode::ATOMIC | size::DW, REG_FP, 3, off, 0x01);
    let spill = Insn::stx(size::DW, REG_FP, REG_FP, -16);
    let unspill = Insn::ldx(size::DW, 2, REG_FP, -16);
    let none = Insn::jmp_imm(jmp::JEQ, 3, 77, 0);
    let cases = [
        (vec![store, load(REG_FP, -8)], false),
        (vec![store, copy(2), down(2), load(2, 0)], false),
        // Copied alone, and twice before it is added to.
        (vec![store, copy(2), load(2, -8)], false),
        (vec![store, copy(2), copy(4), down(2), load(2, 0)], false),
        (vec![store, copy(2), down(2), down(2), load(2, 8)], false),
        (
            vec![store, Insn::mov64_imm(3, 0), add(-8), load(REG_FP, -8)],
            false,
        ),
        // A jump over both, and to the first.
        (
            vec![
                store,
                none.with_jump(2).unwrap(),
                copy(2),
                down(2),
                load(REG_FP, -8),
            ],
            false,
        ),
        (vec![store, none, copy(2), down(2), load(2, 0)], false),
        // One to between the two.
        (
            vec![
                store,
                copy(2),
                none.with_jump(1).unwrap(),
                copy(2),
                down(2),
                load(2, 0),
            ],
            true,
        ),
        // It is kept, compared, made a number; far away.
        (vec![store, spill, unspill, load(2, -8)], true),
        (
            vec![
                store,
                Insn::jmp_reg(jmp::JEQ, REG_FP, 3, 0),
                load(REG_FP, -8),
            ],
            true,
        ),
        (
            vec![
                store,
                copy(2),
                Insn::alu64_reg(alu::SUB, 2, REG_FP),
                load(REG_FP, -8),
            ],
            true,
        ),
        (
            vec![
                store,
                copy(2),
                Insn::alu64_imm(alu::ADD, 2, 2000),
                Insn::ldx(size::DW, 0, 2, -2008),
            ],
            false,
        ),
    ];
    for (number, (body, moves)) in cases.into_iter().enumerate() {
        let code = [body, vec![Insn::alu64_imm(alu::ADD, 0, 1), EXIT]].concat();
        let outer = vec![
            Insn::st(size::DW, REG_FP, -8, 1),
            Insn::mov64_imm(3, 1),
            call(1),
            Insn::ldx(size::DW, 3, REG_FP, -8),
            Insn::alu64_reg(alu::ADD, 0, 3),
            EXIT,
        ];
        // Once from the entry and once from further down.
        let entry = vec![
            Insn::st(size::DW, REG_FP, -32, 7),
            Insn::mov64_imm(3, 1),
            call(1),
            call(2),
            EXIT,
        ];
        let (insns, functions) = link(&[(entry, 32), (code, 16), (outer, 8)]);
        let laid = lay_out(&insns, &functions).unwrap();
        check_shape(&insns, &functions, &laid);
        assert_eq!(
            run_image(&laid),
            run_program(&insns, &functions),
            "{number}"
        );
        assert_eq!(run_image(&laid).verdict, 42, "{number}");
        let moved = laid
            .insns()
            .iter()
            .any(|insn| insn.dst() == REG_FP && insn.class() == class::ALU64);
        assert_eq!(moved, moves, "{number}");
        // The longest chain: both others, and nothing between but a number where there is no
        // register for it.
        assert_eq!(laid.stack, 32 + 8 + 16, "{number}");
    }
}

/// A place of a jump table between the two instructions of a sum.
#[test]
fn a_table_that_leads_into_a_sum_of_the_frame_pointer_changes_nothing() {
    let mut callee = choosing(2, 3, 0);
    let first = callee.len() - 6;
    // Place 0 goes on to place 1, which adds.
    callee[first] = Insn::st(size::DW, REG_FP, -8, 30);
    callee[first + 1] = Insn::mov64_imm(0, 4);
    callee[first + 2] = Insn::mov64_reg(2, REG_FP);
    callee[first + 3] = Insn::alu64_imm(alu::ADD, 2, -8);
    callee[first + 4] = Insn::ldx(size::DW, 0, 2, 0);
    let entry = vec![
        Insn::mov64_imm(3, 0),
        Insn::st(size::DW, REG_FP, -8, 30),
        call(1),
        EXIT,
    ];
    let second = entry.len() as u32;
    let beyond = Beyond {
        places: [0, 3].map(|at| second + first as u32 + at).to_vec(),
        tables: vec![0, 1],
        callback: None,
    };
    let program = leaping(&[(entry, 8), (callee, 8)], beyond);
    let laid = lay_out_leaping(&program).unwrap();
    assert_eq!(check_same(&program, &laid).verdict, 30);
    let moves = |insn: &Insn| insn.class() == class::ALU64 && insn.dst() == REG_FP;
    assert!(laid.insns().iter().any(moves));
}

/// Where a site's number is, by what the callee leaves alone.
#[test]
fn a_number_is_in_a_register_that_the_function_leaves_alone() {
    use bailey::pure::insn::REG_AX;
    let name = |regs: &[u8]| -> Vec<Insn> {
        let each = regs.iter().map(|reg| Insn::mov64_imm(*reg, 3));
        each.chain([R0]).collect()
    };
    let all = [1, 2, 3, 4, 5];
    let atomic = Insn::new(class::STX | mode::ATOMIC | size::DW, REG_FP, 1, -8, 0x01);
    let spare = Insn::new(class::ALU64 | alu::MOV | X, REG_AX, 1, 0, 0);
    let helper = Insn::call(5);
    let with = |more: &[Insn]| [name(&all), more.to_vec()].concat();
    let store = Insn::st(size::DW, REG_FP, -8, 0);
    for (number, (code, blinded, expected)) in [
        (name(&[]), false, Some(5)),
        (name(&[]), true, Some(5)),
        (name(&[5, 3]), false, Some(4)),
        (name(&[2, 3, 4, 5]), false, Some(1)),
        (name(&all), false, Some(REG_AX)),
        // The verifier and the JIT have a use for that one.
        (name(&all), true, None),
        (with(&[spare]), false, None),
        (with(&[store, atomic]), false, None),
        (
            vec![store, Insn::mov64_imm(1, 1), atomic, R0],
            false,
            Some(5),
        ),
        (vec![helper, R0], false, None),
        (vec![call(2), R0], false, None),
    ]
    .into_iter()
    .enumerate()
    {
        let code = [code, vec![EXIT]].concat();
        let entry = vec![call(1), call(1), call(1), EXIT];
        let (insns, functions) = link(&[(entry, 0), (code, 8), (vec![R0, EXIT], 0)]);
        let laid = match blinded {
            true => lay_out_blinded(&insns, &functions),
            false => lay_out(&insns, &functions),
        }
        .unwrap();
        let first = laid.insns()[0];
        let found = (first.class() == class::ALU64).then(|| first.dst());
        assert_eq!(found, expected, "{number}");
        assert!(found.is_some() || first == Insn::st(size::DW, REG_FP, first.off, 0));
        check_forged(&insns, &functions, &laid, &[7]);
        // Arguments go through a switch in the others.
        let mut functions = functions;
        functions[1].switched = true;
        let laid = lay_out(&insns, &functions).unwrap();
        let first = laid.insns()[0];
        let found = (first.class() == class::ALU64).then(|| first.dst());
        assert!(found.is_none_or(|reg| reg == REG_AX), "{number}");
    }
}

/// A program of such functions with exceptions and jump tables.
fn leaping(codes: &[(Vec<Insn>, u32)], beyond: Beyond) -> Program {
    let (insns, functions) = link(codes);
    Program {
        beyond,
        ..Program::with_functions(insns, functions)
    }
}

fn lay_out_leaping(program: &Program) -> Result<Laid, Refusal> {
    let leaps = program.beyond.leaps();
    let laid = lay_out_with(&program.insns, &program.functions, leaps);
    if let Ok(laid) = &laid {
        check_shape(&program.insns, &program.functions, laid);
    }
    laid.map_err(|(_, refusal)| refusal)
}

const THROWS: Insn = Insn::new(class::JMP | jmp::CALL, 0, pseudo::KFUNC_CALL, 0, THROW);

/// Exceptions lead to this function.
fn to(callback: usize) -> Beyond {
    Beyond {
        callback: Some(callback),
        ..Beyond::default()
    }
}

#[test]
fn an_exception_ends_every_frame_and_leads_to_the_callback() {
    let cookie = Insn::mov64_imm(1, 40);
    let spill = |off| Insn::st(size::DW, REG_FP, off, 7);
    let callee = vec![spill(-24), Insn::mov64_imm(7, 3), cookie, THROWS];
    let middle = vec![spill(-8), Insn::mov64_imm(6, 1), call(1), EXIT];
    let callback = vec![
        Insn::stx(size::DW, REG_FP, 1, -400),
        Insn::mov64_imm(9, 2),
        call(4),
        Insn::alu64_reg(alu::ADD, 0, 9),
        Insn::ldx(size::DW, 1, REG_FP, -400),
        Insn::alu64_reg(alu::ADD, 0, 1),
        EXIT,
    ];
    let leaf = vec![Insn::mov64_imm(9, 0), Insn::mov64_imm(0, 100), EXIT];
    let entry = vec![spill(-16), call(3), call(4), EXIT];
    let codes = [
        (entry, 16),
        (callee, 24),
        (callback, 400),
        (middle, 8),
        (leaf, 0),
    ];
    let program = leaping(&codes, to(2));
    let laid = lay_out_leaping(&program).unwrap();
    assert_eq!(check_same(&program, &laid).verdict, 142);
    // The callback's frame is where the entry's was, and below it R9 for the leaf, which is
    // called twice; its number is in a register.
    assert_eq!(laid.stack, 400 + 8);

    // The kernel's own callback, last.
    let codes = [
        (vec![call(1), EXIT], 0),
        (vec![cookie, THROWS], 0),
        (vec![Insn::mov64_reg(0, 1), EXIT], 0),
    ];
    let program = leaping(&codes, to(2));
    let laid = lay_out_leaping(&program).unwrap();
    assert_eq!(check_same(&program, &laid).verdict, 40);
    // Neither it nor the callee returns, so nothing follows the call, of one site or of two.
    for calls in [vec![], vec![Insn::jmp_imm(jmp::JEQ, 3, 77, 1), call(1)]] {
        let calls = [calls, vec![call(1)]].concat();
        let codes = [
            (vec![call(2), EXIT], 0),
            (vec![cookie, THROWS], 0),
            (calls, 0),
            (vec![Insn::mov64_reg(0, 1), EXIT], 0),
        ];
        let program = leaping(&codes, to(3));
        let laid = lay_out_leaping(&program).unwrap();
        assert_eq!(check_same(&program, &laid).verdict, 40);
        let behind = laid.positions[program.functions[3].start as usize].unwrap() - 1;
        // Its way back is there nevertheless.
        assert_eq!(laid.insns()[behind - 3..behind], DEAD_END);
    }
    // Nobody throws: it is not there.
    let codes = [(vec![R0, EXIT], 0), (vec![Insn::mov64_reg(0, 1), EXIT], 0)];
    let laid = lay_out_leaping(&leaping(&codes, to(1))).unwrap();
    assert_eq!((laid.members, laid.callback), (vec![true, false], None));
}

#[test]
fn exceptions_that_are_not_the_verifiers_are_refused() {
    let entry = || (vec![call(1), EXIT], 0);
    let throws = || (vec![Insn::mov64_imm(1, 0), THROWS, EXIT], 0);
    let callback = || (vec![Insn::mov64_reg(0, 1), EXIT], 0);
    let refusal =
        |codes: &[(Vec<Insn>, u32)], beyond| lay_out_leaping(&leaping(codes, beyond)).err();
    assert_eq!(
        refusal(&[entry(), throws(), callback()], to(2)),
        None,
        "the control"
    );
    let no_callback = refusal(&[entry(), throws(), callback()], Beyond::default());
    assert_eq!(no_callback, Some(Refusal::Functions));
    assert_eq!(
        refusal(&[entry(), throws()], to(0)),
        Some(Refusal::Functions)
    );
    assert_eq!(
        refusal(&[entry(), throws()], to(9)),
        Some(Refusal::Functions)
    );
    // Another function of the kernel may be called, but not be last.
    for (end, expected) in [(vec![EXIT], None), (vec![], Some(Refusal::Functions))] {
        let mut other = vec![Insn::new(THROWS.code, 0, pseudo::KFUNC_CALL, 0, THROW + 1)];
        other.extend(end);
        let codes = [entry(), (other, 0), callback()];
        assert_eq!(refusal(&codes, to(2)), expected);
    }
    // The callback is called.
    let codes = [(vec![call(1), call(2), EXIT], 0), throws(), callback()];
    assert_eq!(refusal(&codes, to(2)), Some(Refusal::Recursion));
    // What it calls throws: each exception would need more stack than the one before.
    let codes = [entry(), throws(), (vec![call(3), EXIT], 8), throws()];
    assert_eq!(refusal(&codes, to(2)), Some(Refusal::Recursion));
    // An argument on the stack, which nobody passed.
    let argument = vec![Insn::ldx(size::DW, 0, REG_PARAMS, 8), EXIT];
    let found = refusal(&[entry(), throws(), (argument, 0)], to(2));
    assert_eq!(found, Some(Refusal::StackArgument));
}

/// A function with a table of so many places in a row of `step` instructions
/// each; its argument in R3 chooses one.
fn choosing(places: usize, step: usize, table: u64) -> Vec<Insn> {
    let [low, high] = Insn::ld_imm64(2, TABLES_AT + 8 * table);
    let mut code = vec![low, high];
    code.extend([
        Insn::alu64_imm(alu::LSH, 3, 3),
        Insn::alu64_reg(alu::ADD, 2, 3),
        Insn::ldx(size::DW, 2, 2, 0),
        GOTOX,
    ]);
    for n in 0..places {
        code.push(Insn::mov64_imm(0, n as i32 + 5));
        code.extend((2..step).map(|_| Insn::alu64_imm(alu::ADD, 0, 1)));
        code.push(EXIT);
    }
    code
}

const GOTOX: Insn = Insn::new(class::JMP | jmp::JA | X, 2, 0, 0, 0);

#[test]
fn a_jump_table_has_so_many_places_and_no_more() {
    for (places, step) in [
        (1, 2),
        (2, 3),
        (3, 2),
        (100, 2),
        (MAX_PLACES, 3),
        (MAX_PLACES + 1, 2),
    ] {
        let chosen = [0, places / 3, places - 1];
        let mut entry = vec![Insn::mov64_imm(7, 0)];
        for n in chosen {
            entry.extend([Insn::mov64_imm(3, n as i32), call(1)]);
            entry.push(Insn::alu64_imm(alu::MUL, 7, 1000));
            entry.push(Insn::alu64_reg(alu::ADD, 7, 0));
        }
        // One of its own, with numbers in front of the callee's.
        entry.extend([Insn::mov64_imm(3, 1), Insn::mov64_reg(6, 7)]);
        let own = entry.len();
        entry.extend(choosing(2, 2, 0));
        let codes = [(entry, 0), (choosing(places, step, 2), 0)];
        let second = codes[0].0.len() + 6;
        let callees = (0..places).map(|n| (second + step * n) as u32);
        let beyond = Beyond {
            places: [6, 8]
                .map(|at| own as u32 + at)
                .into_iter()
                .chain(callees)
                .collect(),
            tables: (0..places as u64 + 2).collect(),
            callback: None,
        };
        let program = leaping(&codes, beyond);
        let laid = lay_out_leaping(&program);
        if places > MAX_PLACES {
            assert_eq!(laid.err(), Some(Refusal::JumpTable));
            continue;
        }
        check_same(&program, &laid.unwrap());
    }
}

#[test]
fn a_function_has_one_search_for_each_register() {
    let by = |reg: u8| Insn::new(GOTOX.code, reg, 0, 0, 0);
    let number = |reg, number| Insn::mov64_imm(reg, number);
    // From place to place by R2, once by R3, and out.
    let code = vec![
        number(0, 1),
        number(2, 2),
        by(2),
        // Places 0, 1, 2.
        EXIT,
        Insn::alu64_imm(alu::MUL, 0, 5),
        number(3, 3),
        by(3),
        Insn::alu64_imm(alu::ADD, 0, 10),
        number(2, 1),
        by(2),
        // Place 3.
        Insn::alu64_imm(alu::MUL, 0, 7),
        number(2, 0),
        by(2),
    ];
    let beyond = Beyond {
        places: vec![3, 4, 7, 10],
        ..Beyond::default()
    };
    let program = leaping(&[(code, 0)], beyond);
    let laid = lay_out_leaping(&program).unwrap();
    assert_eq!(check_same(&program, &laid).verdict, (1 + 10) * 5 * 7);
    let search = 2 * 4 + DEAD_END.len();
    assert_eq!(laid.code.len(), 13 - 2 + 2 * search);
    let wrong = leaping(
        &[(vec![by(REG_FP), EXIT], 0)],
        Beyond {
            places: vec![1],
            ..Beyond::default()
        },
    );
    assert_eq!(
        lay_out_leaping(&wrong).err(),
        Some(Refusal::UnknownOpcode(GOTOX.code))
    );
}

#[test]
fn a_table_that_leads_nowhere_is_refused() {
    let mut beyond = Beyond {
        tables: vec![0, 1],
        places: vec![6, 8],
        callback: None,
    };
    let program = leaping(
        &[(choosing(2, 2, 0), 0), (vec![R0, EXIT], 0)],
        beyond.clone(),
    );
    assert!(lay_out_leaping(&program).is_ok(), "the control");
    // The places are another function's.
    beyond.places = vec![10, 11];
    let program = leaping(&[(choosing(2, 2, 0), 0), (vec![R0, EXIT], 0)], beyond);
    assert_eq!(lay_out_leaping(&program).err(), Some(Refusal::JumpTable));
    assert!(Places::new(&[2, 2]).is_none());
}

#[test]
fn a_forged_number_leads_to_a_place_of_the_function_or_to_a_violation() {
    let codes = [(choosing(5, 2, 0), 0)];
    let beyond = Beyond {
        tables: (0..5).collect(),
        places: (0..5).map(|n| 6 + 2 * n).collect(),
        callback: None,
    };
    let program = leaping(&codes, beyond);
    let laid = lay_out_leaping(&program).unwrap();
    let code = laid.insns();
    let search = laid.positions[5].unwrap();
    for number in [5, 6, 1 << 31, 1 << 32, (1 << 32) + 2, 1 << 63, NOWHERE] {
        let mut machine = Machine::image(&code, 0);
        machine.pc = search;
        machine.regs[2] = number;
        let error = machine.run().unwrap_err();
        assert!(error.contains("at 0xfffffffffffff000"), "{error}");
    }
    for number in 0..5 {
        let mut machine = Machine::image(&code, 0);
        machine.pc = search;
        machine.regs[2] = number;
        assert_eq!(machine.run().unwrap().verdict, number + 5);
    }
}

/// Function 0, then `others` in any order that the seed says, each calling the
/// next of the chain.
fn chain(others: usize, descending: bool, depth: u32) -> Vec<(Vec<Insn>, u32)> {
    let place = |link: usize| match (link, descending) {
        (0, _) => 0,
        (_, false) => link,
        (_, true) => others + 1 - link,
    };
    let mut codes = vec![(Vec::new(), 0); others + 1];
    for link in 0..=others {
        let mut code = vec![R0];
        if link < others {
            code.push(call(place(link + 1) as i32));
        }
        code.push(EXIT);
        codes[place(link)] = (code, depth);
    }
    codes
}

#[test]
fn chains_of_more_than_eight_frames_are_refused_in_whatever_order_they_lie() {
    for descending in [false, true] {
        for depth in [0, 8, 512] {
            for frames in 1..20 {
                let codes = chain(frames - 1, descending, depth);
                let expected = (frames > MAX_FRAMES).then_some(Refusal::Recursion);
                let found = refusal(&codes);
                assert_eq!(found, expected, "{frames} {descending} {depth}");
            }
        }
    }
    // What the entry does not reach does not count.
    let mut codes = chain(12, false, 8);
    codes.insert(0, (vec![R0, EXIT], 0));
    for (code, _) in &mut codes {
        for insn in code.iter_mut().filter(|insn| insn.is_pseudo_call()) {
            insn.imm += 1;
        }
    }
    assert_eq!(refusal(&codes), None);
}

#[test]
fn functions_that_are_not_the_verifiers_are_refused() {
    let lay = |insns: &[Insn], functions: &[(u32, u32)]| {
        let functions: Vec<Function> = functions
            .iter()
            .map(|(start, end)| Function::new(*start, *end, 0))
            .collect();
        lay_out(insns, &functions).err().map(|(_, refusal)| refusal)
    };
    let two = [call_at(0, 2), EXIT, R0, EXIT];
    assert_eq!(lay(&two, &[(0, 2), (2, 4)]), None, "the control");
    for functions in [
        &[][..],
        &[(0, 2)],
        &[(2, 4)],
        &[(2, 4), (0, 2)],
        &[(0, 1), (2, 4)],
        &[(0, 2), (3, 4)],
        &[(0, 2), (2, 3)],
        &[(0, 2), (2, 5)],
        &[(0, 2), (2, 2), (2, 4)],
        &[(0, 3), (2, 4)],
        &[(0, 2), (2, u32::MAX)],
        &[(0, 4), (4, 4)],
        // The call goes into the middle of a function.
        &[(0, 4)],
    ] {
        let found = lay(&two, functions);
        assert_eq!(found, Some(Refusal::Functions), "{functions:?}");
    }
    let bad = [
        // Calls of what is no function's start.
        [call_at(0, 3), EXIT, R0, EXIT],
        [call_at(0, 4), EXIT, R0, EXIT],
        [call(i32::MAX), EXIT, R0, EXIT],
        [call(i32::MIN), EXIT, R0, EXIT],
        // Jumps out of a function.
        [Insn::ja(1), EXIT, R0, EXIT],
        [Insn::ja32(2), EXIT, R0, EXIT],
        [Insn::ja(-2), EXIT, R0, EXIT],
        [R0, EXIT, Insn::ja(-2), EXIT],
        [R0, EXIT, Insn::jmp_imm(jmp::JEQ, 0, 0, 1), EXIT],
        [R0, EXIT, Insn::ja32(i32::MAX), EXIT],
        [R0, EXIT, Insn::ja32(i32::MIN), EXIT],
        // Functions that run over their end.
        [EXIT, R0, R0, EXIT],
        [R0, EXIT, EXIT, R0],
        [R0, Insn::jmp_imm(jmp::JEQ, 0, 0, -2), R0, EXIT],
        [R0, EXIT, R0, Insn::call(5)],
    ];
    for insns in bad {
        let found = lay(&insns, &[(0, 2), (2, 4)]);
        assert_eq!(found, Some(Refusal::Functions), "{insns:?}");
    }
}

#[test]
fn a_tail_call_belongs_to_the_entry() {
    let tail = Insn::new(class::JMP | jmp::TAIL_CALL, 0, 0, 0, 0);
    let entry = vec![tail, call(1), EXIT];
    assert_eq!(refusal(&[(entry.clone(), 0), (vec![R0, EXIT], 0)]), None);
    let callee = vec![R0, tail, EXIT];
    assert_eq!(
        refusal(&[(entry.clone(), 0), (callee.clone(), 0)]),
        Some(Refusal::TailCallInFunction)
    );
    // Nobody calls it.
    assert_eq!(
        refusal(&[(entry, 0), (vec![R0, EXIT], 0), (callee, 0)]),
        None
    );
}

#[test]
fn arguments_on_the_stack_are_words_of_a_call() {
    let callee = |insn| {
        let entry = (vec![call(1), EXIT], 0);
        refusal(&[entry, (vec![insn, R0, EXIT], 0)])
    };
    let entry = |insn| refusal(&[(vec![insn, R0, EXIT], 0)]);
    let bad = Some(Refusal::StackArgument);
    let load = |off| Insn::ldx(size::DW, 3, REG_PARAMS, off);
    let store = |off| Insn::stx(size::DW, REG_PARAMS, 3, off);
    let store_imm = |off| Insn::st(size::DW, REG_PARAMS, off, 3);
    for number in 1..=7 {
        assert_eq!(callee(load(8 * number)), None);
        assert_eq!(entry(load(8 * number)), bad, "nobody calls the entry");
        for check in [&callee as &dyn Fn(Insn) -> Option<Refusal>, &entry] {
            assert_eq!(check(store(-8 * number)), None);
            assert_eq!(check(store_imm(-8 * number)), None);
        }
    }
    let mut insns: Vec<Insn> = [0, -8, -64, 1, 4, 9, 60, 64, 72, i16::MAX, 0x7ff8, i16::MIN]
        .into_iter()
        .map(load)
        .collect();
    for off in [
        0,
        8,
        64,
        -1,
        -4,
        -9,
        -60,
        -64,
        i16::MAX,
        0x7ff8,
        -0x7ff8,
        i16::MIN,
    ] {
        insns.extend([store(off), store_imm(off)]);
    }
    for size in [size::B, size::H, size::W] {
        insns.push(Insn::ldx(size, 3, REG_PARAMS, 8));
        insns.push(Insn::stx(size, REG_PARAMS, 3, -8));
        insns.push(Insn::st(size, REG_PARAMS, -8, 3));
    }
    insns.extend([
        Insn::ldx(size::DW, REG_PARAMS, REG_FP, -8),
        Insn::ldx(size::DW, REG_PARAMS, REG_PARAMS, 8),
        Insn::stx(size::DW, REG_FP, REG_PARAMS, -8),
        Insn::stx(size::DW, REG_PARAMS, REG_PARAMS, -8),
        Insn::mov64_reg(3, REG_PARAMS),
        Insn::mov64_reg(REG_PARAMS, 3),
        Insn::mov64_imm(REG_PARAMS, 3),
        Insn::alu64_imm(alu::ADD, REG_PARAMS, 8),
        Insn::alu64_reg(alu::ADD, REG_PARAMS, 3),
        Insn::jmp_imm(jmp::JEQ, REG_PARAMS, 0, 0),
        Insn::jmp_reg(jmp::JEQ, 3, REG_PARAMS, 0),
    ]);
    for op in [0x00, 0x01, 0xe1, 0xf1, 0x100, 0x110] {
        let code = class::STX | mode::ATOMIC | size::DW;
        insns.push(Insn::new(code, REG_PARAMS, 3, -8, op));
        insns.push(Insn::new(code, 3, REG_PARAMS, 8, op));
    }
    for mode in [mode::MEMSX, mode::PROBE_MEM] {
        insns.push(Insn::new(class::LDX | mode | size::DW, 3, REG_PARAMS, 8, 0));
    }
    for insn in insns {
        assert_eq!(callee(insn), bad, "{insn:?}");
        assert_eq!(entry(insn), bad, "{insn:?}");
    }
    // Here the field means something else.
    assert_eq!(
        callee(Insn::new(class::JMP | jmp::CALL, REG_PARAMS, 0, 0, 5)),
        None
    );
}

#[test]
fn a_frame_is_no_larger_than_the_kernels() {
    for depth in [0, 1, 8, 511, 512, MAX_DEPTH] {
        let (insns, functions) = link(&[(vec![call(1), EXIT], depth), (vec![R0, EXIT], depth)]);
        let stack = lay_out(&insns, &functions).unwrap().stack;
        assert_eq!(stack, 2 * depth.next_multiple_of(8));
    }
    for depth in [MAX_DEPTH + 1, 32_768, 65_536, u32::MAX - 6, u32::MAX] {
        let codes = [(vec![call(1), EXIT], 0), (vec![R0, EXIT], depth)];
        assert_eq!(refusal(&codes), Some(Refusal::StackTooDeep), "{depth}");
    }
}

#[test]
fn a_function_has_so_many_sites_and_no_more() {
    for sites in [1, 2, 3, MAX_CALLS as usize, MAX_CALLS as usize + 1] {
        let mut entry = vec![call(1); sites];
        entry.push(EXIT);
        let (insns, functions) = link(&[(entry, 0), (vec![R0, EXIT], 0)]);
        let found = lay_out(&insns, &functions);
        if sites > MAX_CALLS as usize {
            assert_eq!(found.unwrap_err().1, Refusal::TooManySites);
            continue;
        }
        let laid = found.unwrap();
        check_shape(&insns, &functions, &laid);
        assert_eq!(run_image(&laid), run_program(&insns, &functions));
        // Ways back from so many are not worth following all.
        if sites < 10 {
            check_forged(&insns, &functions, &laid, &[]);
        } else {
            let code = laid.insns();
            let (_, way) = ways_back(&insns, &functions, &laid).remove(0);
            for number in (0..sites).step_by(97).chain([sites - 1]) {
                let (landed, steps) = follow(&code, &way, number as u64);
                assert_eq!(landed, way.sites[number]);
                assert!(steps <= most_steps(sites), "{steps} steps");
            }
        }
    }
}

/// A function with jumps of about the longest distance, over calls that grow.
/// Its argument in R3 says which are taken.
fn long(jumps: &[Insn], filler: usize, calls: usize, back: usize) -> Vec<Insn> {
    let mut code = vec![Insn::mov64_reg(6, 3), Insn::mov64_imm(0, 1)];
    let first = code.len();
    code.extend_from_slice(jumps);
    for n in 0..calls {
        code.extend([Insn::mov64_imm(3, n as i32), call(2)]);
        code.push(Insn::alu64_reg(alu::ADD, 0, 6));
    }
    code.extend((0..filler).map(|n| Insn::alu64_imm(alu::ADD, 0, n as i32)));
    let end = code.len();
    for (index, jump) in (first..).zip(jumps) {
        code[index] = jump.with_jump((end - index - 1) as i64).unwrap();
    }
    // Once more from the middle, R6 counting.
    code.push(Insn::alu64_imm(alu::MUL, 0, 3));
    code.push(Insn::alu64_imm(alu::RSH, 6, 1));
    for _ in 0..back {
        let distance = first as i64 - code.len() as i64 - 1;
        let jump = Insn::jmp_imm(jmp::JNE, 6, 0, 0);
        match jump.with_jump(distance) {
            Some(jump) => code.push(jump),
            None => break,
        }
    }
    code.push(EXIT);
    code
}

/// A program that calls `code` with each of `arguments`.
fn calling(code: Vec<Insn>, arguments: &[i32]) -> (Vec<Insn>, Vec<Function>) {
    let mut entry = vec![Insn::mov64_imm(7, 0)];
    for value in arguments {
        entry.extend([Insn::mov64_imm(3, *value), call(1)]);
        entry.push(Insn::alu64_imm(alu::MUL, 7, 5));
        entry.push(Insn::alu64_reg(alu::ADD, 7, 0));
    }
    entry.extend([Insn::mov64_reg(0, 7), EXIT]);
    let leaf = vec![Insn::mov64_reg(0, 3), Insn::mov64_imm(6, 9), EXIT];
    link(&[(entry, 0), (code, 0), (leaf, 0)])
}

fn check_long(jumps: &[Insn], filler: usize, calls: usize, back: usize, arguments: &[i32]) -> Laid {
    let (insns, functions) = calling(long(jumps, filler, calls, back), arguments);
    let laid = lay_out(&insns, &functions).unwrap();
    check_shape(&insns, &functions, &laid);
    assert_eq!(run_image(&laid), run_program(&insns, &functions));
    laid
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn jumps_that_no_longer_reach_go_further_and_do_the_same(
        jumps in 1usize..5, calls in 1usize..40, near in 0usize..200, back in 0usize..3,
        bit in 0i32..5,
    ) {
        let jumps: Vec<Insn> = (0..jumps as i32)
            .map(|n| match n {
                3 => Insn::ja(0),
                n => Insn::jmp_imm(jmp::JSET, 6, 1 << n, 0),
            })
            .collect();
        let filler = 32_750 - 3 * calls - jumps.len() - near;
        check_long(&jumps, filler, calls, back, &[1 << bit, 0, 6]);
    }
}

proptest! {
    #![proptest_config(config(30))]

    #[test]
    fn jumps_reach_once_constants_are_blinded(
        jumps in 1usize..5, calls in 1usize..40, filler in 9_000usize..32_600, back in 0usize..3,
        bit in 0i32..5,
    ) {
        let jumps: Vec<Insn> = (0..jumps as i32)
            .map(|n| match n {
                3 => Insn::ja(0),
                n => Insn::jmp_imm(jmp::JSET, 6, 1 << n, 0),
            })
            .collect();
        let arguments = [1 << bit, 0, 6];
        let code = long(&jumps, filler - 3 * calls, calls, back);
        let (insns, functions) = calling(code, &arguments);
        let laid = lay_out_blinded(&insns, &functions).unwrap();
        check_shape(&insns, &functions, &laid);
        prop_assert_eq!(run_image(&laid), run_program(&insns, &functions));
        let mut positions = vec![0; laid.code.len() + 1];
        prop_assert_eq!(blinding::survey(&laid.insns(), &mut positions), Ok(()));
        if filler > 11_000 {
            // Without the room they would not.
            let laid = lay_out(&insns, &functions).unwrap();
            let mut positions = vec![0; laid.code.len() + 1];
            prop_assert!(blinding::survey(&laid.insns(), &mut positions).is_err());
        }
    }
}

#[test]
fn the_search_for_a_site_reaches_once_constants_are_blinded() {
    let mut code = Vec::new();
    for _ in 0..MAX_CALLS {
        code.push(call(1));
    }
    code.push(EXIT);
    let (insns, functions) = link(&[(code, 0), (vec![R0, EXIT], 0)]);
    let laid = lay_out_blinded(&insns, &functions).unwrap();
    let mut positions = vec![0; laid.code.len() + 1];
    assert_eq!(blinding::survey(&laid.insns(), &mut positions), Ok(()));
}

#[test]
fn a_jump_becomes_three_slots_where_it_must() {
    let jump = Insn::jmp_imm(jmp::JEQ, 3, 0, 0);
    // Two calls of three slots each: the site's number, R6, and the jump.
    let growth = 2 * (3 - 1);
    for (distance, far) in [(32_766, false), (32_767, false), (32_768, true)] {
        let filler = distance - 6 - growth;
        let laid = check_long(&[jump], filler, 2, 0, &[0, 1]);
        let kept = laid
            .code
            .iter()
            .position(|(_, insn)| insn.with_jump(0) == Some(jump))
            .unwrap();
        let insns = laid.insns();
        if far {
            assert_eq!(insns[kept].jump(), Some(1));
            assert_eq!(insns[kept + 1], Insn::ja(1));
            assert_eq!(insns[kept + 2], Insn::ja32(distance as i32));
        } else {
            assert_eq!(insns[kept].jump(), Some(distance as i32));
        }
    }
    // Of an unconditional one, in the same place.
    let laid = check_long(&[Insn::ja(0)], 32_768 - 6 - growth, 2, 0, &[0, 1]);
    assert!(laid.insns().contains(&Insn::ja32(32_768)));
}

/// Each jump that grows makes one more too long; the layout is found soon
/// nevertheless.
#[test]
fn jumps_that_push_each_other_out_of_reach_take_few_rounds() {
    const JUMPS: usize = 9_000;
    // Jump n has room for n others in front of it that grow, and so grows
    // only when all did.
    let mut code = vec![Insn::mov64_imm(3, 1); 2 * JUMPS];
    code.insert(0, Insn::mov64_imm(0, 0));
    let base = code.len();
    for n in 0..JUMPS {
        code[base - 1 - n] = Insn::jmp_imm(jmp::JEQ, 3, 0, 0);
    }
    let longest = 32_767;
    code.resize(base + longest, Insn::mov64_imm(4, 1));
    // Jump 0 is one too long because of the call.
    code.push(EXIT);
    code.push(EXIT);
    for n in 0..JUMPS {
        let at = base - 1 - n;
        let distance = longest - 2 * n;
        code[at] = code[at].with_jump(distance as i64).unwrap();
    }
    code[base] = call(1);
    let (insns, functions) = link(&[(code, 0), (vec![R0, EXIT], 0)]);
    let start = std::time::Instant::now();
    let laid = lay_out(&insns, &functions).unwrap();
    let took = start.elapsed();
    check_shape(&insns, &functions, &laid);
    assert_eq!(run_image(&laid), run_program(&insns, &functions));
    assert!(took.as_secs() < 2, "{took:?}");
}

fn any_slot() -> impl Strategy<Value = Insn> {
    let anything = (any::<u8>(), 0u8..16, 0u8..16, any::<i16>(), any::<i32>())
        .prop_map(|(code, dst, src, off, imm)| Insn::new(code, dst, src, off, imm));
    let op = prop::sample::select(vec![jmp::JA, jmp::JEQ, jmp::JSGT, jmp::JLT, jmp::JCOND]);
    let jump = (op, any::<bool>(), any::<bool>(), 0u8..13, -24i16..24).prop_map(
        |(op, wide, by_reg, reg, off)| {
            let class = if wide { class::JMP } else { class::JMP32 };
            let operand = if by_reg { X } else { K };
            Insn::new(class | op | operand, reg, 0, off, i32::from(off))
        },
    );
    let argument =
        (any::<bool>(), 0u8..8, any::<i16>(), 1i16..8).prop_map(|(load, reg, off, number)| {
            let off = if off % 4 == 0 { off } else { 8 * number };
            if load {
                Insn::ldx(size::DW, reg, REG_PARAMS, off)
            } else {
                Insn::stx(size::DW, REG_PARAMS, reg, off.wrapping_neg())
            }
        });
    prop_oneof![
        2 => anything,
        2 => jump,
        1 => argument,
        3 => (-40i32..40).prop_map(call),
        1 => any::<i32>().prop_map(call),
        3 => Just(EXIT),
        4 => (0u8..13, any::<i32>()).prop_map(|(dst, imm)| Insn::mov64_imm(dst, imm)),
    ]
}

/// Instructions and functions without sense, often of the right form.
fn nonsense() -> impl Strategy<Value = (Vec<Insn>, Vec<Function>)> {
    let depth = prop_oneof![6 => 0u32..=512, 1 => any::<u32>()];
    let cuts = vec((any::<prop::sample::Index>(), depth), 0..6);
    (
        vec(any_slot(), 1..40),
        cuts,
        any::<bool>(),
        any::<[u32; 3]>(),
    )
        .prop_map(|(mut insns, cuts, tidy, wild)| {
            let mut cuts: Vec<(u32, u32)> = cuts
                .into_iter()
                .map(|(at, depth)| (at.index(insns.len()) as u32, depth))
                .collect();
            cuts.push((0, 16));
            cuts.sort_unstable();
            cuts.dedup_by_key(|cut| cut.0);
            let len = insns.len() as u32;
            let ends: Vec<u32> = cuts.iter().skip(1).map(|cut| cut.0).chain([len]).collect();
            let mut functions: Vec<Function> = cuts
                .iter()
                .zip(&ends)
                .map(|((start, depth), end)| Function::new(*start, *end, *depth))
                .collect();
            if tidy {
                for function in &functions {
                    insns[function.end as usize - 1] = EXIT;
                }
                for (at, insn) in insns.iter_mut().enumerate() {
                    let inside = functions
                        .iter()
                        .find(|f| (f.start as usize..f.end as usize).contains(&at))
                        .unwrap();
                    if insn.is_pseudo_call() {
                        let number = insn.imm.unsigned_abs() as usize % functions.len();
                        *insn = call_at(at, functions[number].start as usize);
                    } else if let Some(distance) = insn.jump() {
                        let len = inside.end - inside.start;
                        let target = inside.start + distance.unsigned_abs() % len;
                        let distance = i64::from(target) - at as i64 - 1;
                        *insn = insn.with_jump(distance).unwrap();
                    }
                }
            } else if wild[0] % 4 == 0 {
                let number = wild[1] as usize % functions.len();
                functions[number] = Function::new(wild[1] % 50, wild[2], wild[0]);
            }
            (insns, functions)
        })
}

proptest! {
    #![proptest_config(config(20_000))]

    #[test]
    fn nonsense_is_refused_or_laid_out_right((insns, functions) in nonsense()) {
        if let Ok(laid) = lay_out(&insns, &functions) {
            check_shape(&insns, &functions, &laid);
            let numbers = [7 << 40, 1 << 20];
            check_forged(&insns, &functions, &laid, &numbers);
        }
    }

    /// The entry is another one, or the memory too small.
    #[test]
    fn a_layout_of_nonsense_does_not_panic(
        (insns, mut functions) in nonsense(),
        entry in 0usize..8, less in 0usize..3, missing in 0usize..3, blinded in any::<bool>(),
    ) {
        if measure(&insns, &mut functions).is_err() {
            return Ok(());
        }
        let calls = insns.iter().filter(|insn| insn.is_pseudo_call()).count();
        let room = |len: usize, field| if missing == field { len.saturating_sub(less) } else { len };
        let scratch = Scratch {
            position: &mut vec![u32::MAX; room(insns.len(), 0)],
            calls: &mut vec![u32::MAX; room(calls, 1)],
            far: &mut vec![u8::MAX; room(insns.len().div_ceil(8), 2)],
        };
        if let Ok(layout) = Layout::new(&insns, &mut functions, entry, Leaps::default(), blinded, scratch) {
            for index in [0, 1, insns.len(), usize::MAX] {
                layout.position(index);
            }
            let mut slots = 0;
            let emitted = layout.emit(&mut |_, _| -> Result<(), (usize, Refusal)> {
                slots += 1;
                Ok(())
            });
            if emitted.is_ok() {
                prop_assert_eq!(slots, layout.len());
            }
        }
    }
}
