// SPDX-License-Identifier: GPL-2.0
//! A function on strings that became instructions returns what the kernel's does, and reads
//! the same bytes in the same order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "common/generated.rs"]
#[allow(dead_code)]
mod generated;
#[path = "common/machine.rs"]
#[allow(dead_code)]
mod machine;
#[path = "common/program.rs"]
#[allow(dead_code)]
mod program;

use bailey::pure::catalog::kfuncs::{self, ALLOWED};
use bailey::pure::catalog::Gate;
use bailey::pure::insn::{class, jmp, Insn, REG_1};
use bailey::pure::rewrite::functions::{Function, Leaps};
use bailey::pure::rewrite::inline::{Inline, Part, Strings, What};
use generated::config;
use machine::Machine;
use program::lay_out_with;
use proptest::collection::vec;
use proptest::prelude::*;
use std::cell::RefCell;

/// The kernel's half with four levels of page tables, and with five.
const HALVES: [u32; 2] = [47, 56];
/// `XATTR_SIZE_MAX`
const LONGEST: usize = 65536;
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;

const FIRST_AT: u64 = 0xffff_c900_0000_0ff0;
const SECOND_AT: u64 = 0xffff_8880_1234_5001;

/// Of all that can be read, two strings.
#[derive(Clone, Debug, Default)]
struct Memory {
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Memory {
    fn byte(&self, address: u64) -> Option<u8> {
        let of = |at: u64, bytes: &[u8]| bytes.get(address.checked_sub(at)? as usize).copied();
        of(FIRST_AT, &self.first).or_else(|| of(SECOND_AT, &self.second))
    }
}

/// Why a function of the kernel's ends early.
enum End {
    Returns(i32),
    /// `-EFAULT`
    Faults,
}

type Step<T> = Result<T, End>;

/// kernel/bpf/helpers.c, line by line.
struct Kernel<'a> {
    memory: &'a Memory,
    half: u32,
    reads: Vec<u64>,
}

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const ERANGE: i32 = 34;

/// `_ctype[]` has these as upper case.
fn tolower(c: u8) -> u8 {
    match c {
        b'A'..=b'Z' | 0xc0..=0xd6 | 0xd8..=0xde => c + 32,
        _ => c,
    }
}

impl Kernel<'_> {
    fn get(&mut self, address: u64) -> Step<u8> {
        self.reads.push(address);
        self.memory.byte(address).ok_or(End::Faults)
    }

    /// `copy_from_kernel_nofault_allowed()`
    fn allow(&self, address: u64) -> Step<()> {
        let task_size_max = (1u64 << self.half) - 4096;
        let shift = 63 - self.half;
        let canonical = ((address << shift) as i64 >> shift) as u64 == address;
        if address < task_size_max + 4096 || address & !4095 == VSYSCALL || !canonical {
            return Err(End::Returns(-ERANGE));
        }
        Ok(())
    }

    fn strncasecmp(&mut self, s1: u64, s2: u64, ignore_case: bool, len: u64) -> Step<i32> {
        self.allow(s1)?;
        self.allow(s2)?;
        let mut i = 0;
        while (i as u64) < len && i < LONGEST {
            let mut c1 = self.get(s1.wrapping_add(i as u64))?;
            let mut c2 = self.get(s2.wrapping_add(i as u64))?;
            if ignore_case {
                (c1, c2) = (tolower(c1), tolower(c2));
            }
            if c1 != c2 {
                return Ok(if c1 < c2 { -1 } else { 1 });
            }
            if c1 == 0 {
                return Ok(0);
            }
            i += 1;
        }
        Ok(if i == LONGEST { -E2BIG } else { 0 })
    }

    fn strnchr(&mut self, s: u64, count: u64, c: u8) -> Step<i32> {
        self.allow(s)?;
        let mut i = 0;
        while (i as u64) < count && i < LONGEST {
            let sc = self.get(s.wrapping_add(i as u64))?;
            if sc == c {
                return Ok(i as i32);
            }
            if sc == 0 {
                return Ok(-ENOENT);
            }
            i += 1;
        }
        Ok(if i == LONGEST { -E2BIG } else { -ENOENT })
    }

    fn strchrnul(&mut self, s: u64, c: u8) -> Step<i32> {
        self.allow(s)?;
        for i in 0..LONGEST {
            let sc = self.get(s.wrapping_add(i as u64))?;
            if sc == 0 || sc == c {
                return Ok(i as i32);
            }
        }
        Ok(-E2BIG)
    }

    fn strrchr(&mut self, s: u64, c: i32) -> Step<i32> {
        self.allow(s)?;
        let mut last = -ENOENT;
        for i in 0..LONGEST {
            let sc = self.get(s.wrapping_add(i as u64))?;
            if i32::from(sc) == c {
                last = i as i32;
            }
            if sc == 0 {
                return Ok(last);
            }
        }
        Ok(-E2BIG)
    }

    fn strnlen(&mut self, s: u64, count: u64) -> Step<i32> {
        self.allow(s)?;
        let mut i = 0;
        while (i as u64) < count && i < LONGEST {
            if self.get(s.wrapping_add(i as u64))? == 0 {
                return Ok(i as i32);
            }
            i += 1;
        }
        Ok(if i == LONGEST { -E2BIG } else { i as i32 })
    }

    /// `bpf_strspn()`, and `bpf_strcspn()` if `rejects`.
    fn strspn(&mut self, s: u64, set: u64, rejects: bool) -> Step<i32> {
        self.allow(s)?;
        self.allow(set)?;
        for i in 0..LONGEST {
            let cs = self.get(s.wrapping_add(i as u64))?;
            if cs == 0 {
                return Ok(i as i32);
            }
            let mut j = 0;
            let mut ca = 0;
            while j < LONGEST {
                ca = self.get(set.wrapping_add(j as u64))?;
                if cs == ca || ca == 0 {
                    break;
                }
                j += 1;
            }
            if j == LONGEST {
                return Ok(-E2BIG);
            }
            if (ca == 0) != rejects {
                return Ok(i as i32);
            }
        }
        Ok(-E2BIG)
    }

    fn strnstr(&mut self, s1: u64, s2: u64, len: u64, ignore_case: bool) -> Step<i32> {
        self.allow(s1)?;
        self.allow(s2)?;
        for i in 0..LONGEST {
            let mut j = 0;
            while (i + j) as u64 <= len && j < LONGEST {
                let mut c2 = self.get(s2.wrapping_add(j as u64))?;
                if c2 == 0 {
                    return Ok(i as i32);
                }
                if (i + j) as u64 == len {
                    break;
                }
                let mut c1 = self.get(s1.wrapping_add((i + j) as u64))?;
                if ignore_case {
                    (c1, c2) = (tolower(c1), tolower(c2));
                }
                if c1 == 0 {
                    return Ok(-ENOENT);
                }
                if c1 != c2 {
                    break;
                }
                j += 1;
            }
            if j == LONGEST {
                return Ok(-E2BIG);
            }
            if (i + j) as u64 == len {
                return Ok(-ENOENT);
            }
        }
        Ok(-E2BIG)
    }

    fn call(&mut self, name: &str, [a, b, c]: [u64; 3]) -> Step<i32> {
        let longest = LONGEST as u64;
        match name {
            "bpf_strcmp" => self.strncasecmp(a, b, false, longest),
            "bpf_strcasecmp" => self.strncasecmp(a, b, true, longest),
            "bpf_strncasecmp" => self.strncasecmp(a, b, true, c),
            "bpf_strlen" => self.strnlen(a, longest),
            "bpf_strnlen" => self.strnlen(a, b),
            "bpf_strchr" => self.strnchr(a, longest, b as u8),
            "bpf_strnchr" => self.strnchr(a, b, c as u8),
            "bpf_strchrnul" => self.strchrnul(a, b as u8),
            "bpf_strrchr" => self.strrchr(a, b as i32),
            "bpf_strspn" => self.strspn(a, b, false),
            "bpf_strcspn" => self.strspn(a, b, true),
            "bpf_strstr" => self.strnstr(a, b, longest, false),
            "bpf_strcasestr" => self.strnstr(a, b, longest, true),
            "bpf_strnstr" => self.strnstr(a, b, c, false),
            "bpf_strncasestr" => self.strnstr(a, b, c, true),
            _ => panic!("{name} is not known here"),
        }
    }
}

/// What a function made of its arguments: its result, unless it came to what nobody can
/// read, and the addresses of the bytes that it read.
type Made = (Option<u64>, Vec<u64>);

fn by_the_kernel(name: &str, args: [u64; 3], half: u32, memory: &Memory) -> Made {
    let reads = Vec::new();
    let mut kernel = Kernel {
        memory,
        half,
        reads,
    };
    let result = match kernel.call(name, args) {
        Ok(result) | Err(End::Returns(result)) => Some(u64::from(result as u32)),
        Err(End::Faults) => None,
    };
    (result, kernel.reads)
}

/// A program that calls it, as an image, with what the call became.
fn by_the_image(name: &str, args: [u64; 3], half: u32, memory: &Memory) -> Made {
    let mut insns = Vec::new();
    for (reg, arg) in (REG_1..).zip(args) {
        insns.extend(Insn::ld_imm64(reg, arg));
    }
    // A call of a kfunc.
    insns.push(Insn::new(class::JMP | jmp::CALL, 0, 2, 0, 4711));
    insns.push(Insn::exit());
    let strings = Strings::by_name(name, half).unwrap();
    let call = insns.len() as u32 - 2;
    let inlined = [Inline::new(call, What::Strings(strings)).unwrap()];
    let leaps = Leaps {
        inlined: &inlined,
        ..Leaps::default()
    };
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let laid = lay_out_with(&insns, &functions, leaps).unwrap();
    let image = laid.insns();
    let reads = RefCell::new(Vec::new());
    let read = |address: u64, len: usize| {
        assert_eq!(len, 1);
        reads.borrow_mut().push(address);
        memory.byte(address).map(u64::from)
    };
    let mut machine = Machine::image(&image, laid.stack).beside(&read);
    let result = match machine.run() {
        Ok(outcome) => {
            assert!(outcome.calls.is_empty());
            Some(outcome.verdict)
        }
        Err(why) => {
            assert!(why.contains("access to 1 bytes"), "{why}");
            None
        }
    };
    (result, reads.into_inner())
}

/// Those that take two strings, and those that take a number after one.
fn names() -> impl Iterator<Item = &'static str> {
    ALLOWED
        .iter()
        .filter(|kfunc| kfunc.call.gate == Gate::Instructions)
        .map(|kfunc| kfunc.name)
}

fn takes_two(name: &str) -> bool {
    let kfunc = kfuncs::by_name(name).unwrap();
    kfunc.args.get(1) == kfunc.args.first()
}

/// Bytes that are much alike, with letters of either case and what is next to them.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let near = b"aAbB\0zZ@[`{ \xc0\xe0\xd6\xf6\xd7\xf7\xde\xfe\xdf\xff\x80\x7f\x01".to_vec();
    let byte = prop_oneof![
        6 => prop::sample::select(b"abAB".to_vec()),
        2 => prop::sample::select(near),
        1 => any::<u8>(),
    ];
    // Most end; the others end where nothing is.
    (vec(byte, 0..24), prop::bool::weighted(0.8)).prop_map(|(mut bytes, ends)| {
        if ends {
            bytes.push(0);
        }
        bytes
    })
}

/// Two strings, often the same or one in the other one, but for the case.
fn memory() -> impl Strategy<Value = Memory> {
    let alike = (bytes(), any::<(u8, u8, u8)>()).prop_map(|(first, (from, len, turns))| {
        let from = usize::from(from) % (first.len() + 1);
        let len = usize::from(len) % (first.len() - from + 1);
        let mut second = first[from..from + len].to_vec();
        if let Some(byte) = second.get_mut(usize::from(turns) % (len + 1)) {
            *byte ^= 0x20;
        }
        second.push(0);
        Memory { first, second }
    });
    let others = (bytes(), bytes()).prop_map(|(first, second)| Memory { first, second });
    prop_oneof![alike, others]
}

/// Limits, and bytes to be looked for, some with more in the bits above.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..30,
        2 => prop::sample::select(b"abAB\0z\xe0\xff".to_vec()).prop_map(u64::from),
        1 => Just(u64::MAX),
        1 => prop::sample::select(vec![0x161, 0xffff_ff61, 0xffff_ffff_ffff_ff61, 0x1_0000_0061]),
        1 => prop::sample::select(vec![65535, 65536, 65537, 1 << 32, 131_072, 131_071]),
        1 => any::<u64>(),
    ]
}

/// Addresses around the ends of what the kernel may read.
fn addresses() -> impl Strategy<Value = u64> {
    let ends = prop::sample::select(vec![
        0,
        1 << 47,
        1 << 56,
        0u64.wrapping_sub(1 << 47),
        0u64.wrapping_sub(1 << 56),
        1 << 63,
        VSYSCALL,
        VSYSCALL + 4096,
        FIRST_AT,
    ]);
    let around = (ends, -2i64..3).prop_map(|(end, by)| end.wrapping_add_signed(by));
    prop_oneof![4 => around, 1 => any::<u64>()]
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn a_string_function_returns_what_the_kernels_does(
        memory in memory(),
        (second, third) in (numbers(), numbers()),
        from in 0u64..4,
    ) {
        for name in names() {
            let second = if takes_two(name) { SECOND_AT } else { second };
            let args = [FIRST_AT + from, second, third];
            let expected = by_the_kernel(name, args, 47, &memory);
            prop_assert_eq!(by_the_image(name, args, 47, &memory), expected, "{}", name);
        }
    }

    #[test]
    fn addresses_that_the_kernel_refuses_are_not_read(
        (first, second) in (addresses(), addresses()),
        third in 0u64..3,
    ) {
        let memory = Memory { first: b"ab\0".to_vec(), second: b"ab\0".to_vec() };
        for (name, half) in names().flat_map(|name| HALVES.map(|half| (name, half))) {
            for args in [[first, second, third], [FIRST_AT, second, third], [first, SECOND_AT, third]] {
                let expected = by_the_kernel(name, args, half, &memory);
                prop_assert_eq!(by_the_image(name, args, half, &memory), expected, "{}", name);
            }
        }
    }
}

#[test]
fn every_byte_has_the_kernels_case() {
    for (a, b) in (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| (a, b))) {
        let memory = Memory {
            first: vec![a, 0],
            second: vec![b, 0],
        };
        for name in ["bpf_strcasecmp", "bpf_strcasestr"] {
            let args = [FIRST_AT, SECOND_AT, 0];
            let expected = by_the_kernel(name, args, 47, &memory);
            assert_eq!(by_the_image(name, args, 47, &memory), expected, "{a} {b}");
        }
    }
}

#[test]
fn the_longest_strings_are_too_big_where_the_kernels_are() {
    let of = |len: usize, byte: u8| {
        let mut bytes = vec![byte; len];
        bytes.push(0);
        bytes
    };
    for len in [LONGEST - 1, LONGEST, LONGEST + 1] {
        for (second, byte) in [
            (len, b'a'),
            (len - 1, b'a'),
            (1, b'b'),
            (2, b'A'),
            (1, b'a'),
        ] {
            let memory = Memory {
                first: of(len, b'a'),
                second: of(second, byte),
            };
            for name in names() {
                let mut numbers = vec![0];
                if ALLOWED.iter().any(|k| k.name == name && k.args.len() == 3) || !takes_two(name) {
                    numbers.extend([len as u64, len as u64 - 1, u64::from(b'b')]);
                }
                for number in numbers {
                    let second = if takes_two(name) { SECOND_AT } else { number };
                    let args = [FIRST_AT, second, number];
                    let expected = by_the_kernel(name, args, 47, &memory);
                    let made = by_the_image(name, args, 47, &memory);
                    assert_eq!(made.0, expected.0, "{name} {len} {number}");
                    assert!(made.1 == expected.1, "{name} {len} {number}");
                }
            }
        }
    }
}

#[test]
fn a_long_second_string_is_too_big() {
    for (first, second) in [(3, LONGEST), (LONGEST, 3), (3, LONGEST - 1)] {
        let memory = Memory {
            first: [vec![b'x'; first], vec![0]].concat(),
            second: [vec![b'y'; second], vec![b'x', 0]].concat(),
        };
        for name in names().filter(|name| takes_two(name)) {
            let args = [FIRST_AT, SECOND_AT, u64::MAX];
            let expected = by_the_kernel(name, args, 47, &memory);
            let made = by_the_image(name, args, 47, &memory);
            assert!(made == expected, "{name} {first} {second}");
        }
    }
}

#[test]
fn a_limit_may_be_further_away_than_the_longest_string() {
    let memory = Memory {
        first: vec![b'a'; LONGEST + 16],
        second: b"aaab\0".to_vec(),
    };
    let limits = [-2, -1, 0, 1, 2, 3, 4, 5, 1 << 16, (1 << 16) + 1];
    for limit in limits.map(|more| (LONGEST as u64).wrapping_add_signed(more)) {
        for name in ["bpf_strnstr", "bpf_strncasestr", "bpf_strstr"] {
            let args = [FIRST_AT, SECOND_AT, limit];
            let expected = by_the_kernel(name, args, 47, &memory);
            assert!(
                by_the_image(name, args, 47, &memory) == expected,
                "{name} {limit}"
            );
        }
    }
}

#[test]
fn where_a_pointer_may_lead_anywhere_all_loads_are_probes() {
    for name in names() {
        let emitted = |strings: Strings| {
            let mut insns = Vec::new();
            let inline = Inline::new(0, What::Strings(strings)).unwrap();
            let done = inline.emit::<()>(&mut |part| match part {
                Part::Plain(insn) => {
                    insns.push(insn);
                    Ok(())
                }
                Part::Ask | Part::Call => Err(()),
            });
            assert!(done.is_ok(), "{name} calls something");
            assert_eq!(insns.len(), inline.slots() as usize);
            insns
        };
        let strings = Strings::by_name(name, 47).unwrap();
        let probing = emitted(strings.following());
        let plain = emitted(strings);
        assert!(plain.iter().any(Insn::is_load));
        assert!(!probing.iter().any(Insn::is_load));
        let as_probes = plain.iter().map(|insn| match insn.is_load() {
            true => insn.as_probe(),
            false => *insn,
        });
        assert!(as_probes.eq(probing), "{name}");
    }
}

#[test]
fn what_has_no_gate_becomes_instructions() {
    assert_eq!(names().count(), 15);
    for kfunc in &ALLOWED {
        let becomes = Strings::by_name(kfunc.name, 47).is_some();
        assert_eq!(
            becomes,
            kfunc.call.gate == Gate::Instructions,
            "{}",
            kfunc.name
        );
    }
}
