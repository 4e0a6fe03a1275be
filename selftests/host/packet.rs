// SPDX-License-Identifier: GPL-2.0
//! Bytes that a program copies out of its packet or into it are those that the helper
//! copies, and no others change; what the helper refuses, or has elsewhere, is left to it.
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

use bailey::pure::catalog::id;
use bailey::pure::insn::{Insn, REG_1};
use bailey::pure::rewrite::functions::{Function, Leaps};
use bailey::pure::rewrite::inline::{Inline, Packet, What};
use generated::config;
use machine::Machine;
use program::{lay_out_with, LAYOUT};
use proptest::prelude::*;
use std::cell::RefCell;

const CONTEXT_AT: u64 = 0x5000_0000_0000;
const DATA_AT: u64 = 0x5100_0000_0000;
const BUFFER_AT: u64 = 0x5200_0000_0000;
/// Bytes of buffer, and of what lies behind the packet's end.
const ROOM: usize = 400;

/// What a call is given.
#[derive(Clone, Copy, Debug)]
struct Call {
    stores: bool,
    at: u64,
    len: u64,
    /// Whether both are known to be always the same.
    same: (bool, bool),
}

/// Memory before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Memory {
    packet: Vec<u8>,
    buffer: Vec<u8>,
}

impl Memory {
    fn new(packet: usize) -> Self {
        Self {
            packet: (0..packet + ROOM).map(|n| n as u8).collect(),
            buffer: (0..ROOM)
                .map(|n| (n as u8).wrapping_mul(7) ^ 0xa5)
                .collect(),
        }
    }

    fn at(&mut self, address: u64, len: usize) -> Option<&mut [u8]> {
        let (bytes, at) = match address.checked_sub(BUFFER_AT) {
            Some(at) => (&mut self.buffer, at),
            None => (&mut self.packet, address.checked_sub(DATA_AT)?),
        };
        bytes.get_mut(at as usize..at as usize + len)
    }
}

/// `__bpf_xdp_load_bytes()` and its sister, of a packet in one part. Whether they do it.
fn helper(call: Call, memory: &mut Memory, size: usize) -> bool {
    let (at, len) = (call.at as u32 as usize, call.len as u32 as usize);
    if at > 0xffff || len > 0xffff || at + len > size {
        return false;
    }
    let Memory { packet, buffer } = memory;
    let (there, here) = (&mut packet[at..at + len], &mut buffer[..len]);
    if call.stores {
        there.copy_from_slice(here);
    } else {
        here.copy_from_slice(there);
    }
    true
}

/// What the image makes of `memory`, and the calls of the helper.
fn copied(call: Call, memory: &mut Memory, size: usize) -> (u64, Vec<(u32, [u64; 5])>) {
    let helper = if call.stores {
        id::XDP_STORE_BYTES
    } else {
        id::XDP_LOAD_BYTES
    };
    let mut insns = Vec::new();
    for (reg, arg) in (REG_1..).zip([CONTEXT_AT, call.at, BUFFER_AT, call.len]) {
        insns.extend(Insn::ld_imm64(reg, arg));
    }
    insns.extend([Insn::call(helper as i32), Insn::exit()]);
    let short = |number: u64, same: bool| same.then(|| u16::try_from(number as u32).ok()).flatten();
    let what = What::Packet(Packet {
        stores: call.stores,
        data: LAYOUT.data,
        data_end: LAYOUT.data_end,
        at: short(call.at, call.same.0),
        len: short(call.len, call.same.1),
    });
    let inlined = [Inline::new(insns.len() as u32 - 2, what).unwrap()];
    let functions = [Function::new(0, insns.len() as u32, 0)];
    let leaps = Leaps {
        inlined: &inlined,
        ..Leaps::default()
    };
    let laid = lay_out_with(&insns, &functions, leaps).unwrap();
    let image = laid.insns();
    let cell = RefCell::new(memory);
    let read = |address: u64, len: usize| match address.checked_sub(CONTEXT_AT) {
        Some(0) if len == 8 => Some(DATA_AT),
        Some(8) if len == 8 => Some(DATA_AT + size as u64),
        _ => {
            let mut value = [0; 8];
            value[..len].copy_from_slice(cell.borrow_mut().at(address, len)?);
            Some(u64::from_le_bytes(value))
        }
    };
    let write = |address: u64, len: usize, value: u64| {
        let mut memory = cell.borrow_mut();
        let Some(bytes) = memory.at(address, len) else {
            return false;
        };
        bytes.copy_from_slice(&value.to_le_bytes()[..len]);
        true
    };
    let mut machine = Machine::image(&image, laid.stack)
        .beside(&read)
        .taking(&write);
    let outcome = machine.run().expect("the image");
    (outcome.verdict, outcome.calls)
}

/// Holds the image against the helper.
fn check(call: Call, size: usize) {
    let (mut expected, mut memory) = (Memory::new(size), Memory::new(size));
    let done = helper(call, &mut expected, size);
    let (verdict, calls) = copied(call, &mut memory, size);
    assert_eq!(memory, expected, "{call:?} of {size}");
    if done {
        assert_eq!((verdict, calls.len()), (0, 0), "{call:?} of {size}");
    } else {
        assert_eq!(calls.len(), 1, "{call:?} of {size}");
        let args = calls[0].1;
        assert_eq!((args[0], args[2]), (CONTEXT_AT, BUFFER_AT));
        let low = |number: u64| number as u32;
        assert_eq!((low(args[1]), low(args[3])), (low(call.at), low(call.len)));
    }
}

#[test]
fn every_length_is_copied_whole() {
    for (stores, same) in [false, true].iter().flat_map(|stores| {
        [(false, false), (false, true), (true, false), (true, true)].map(|same| (*stores, same))
    }) {
        for len in 0..140 {
            for (at, size) in [(0, len), (14, 14 + len), (14, 13 + len), (3, 200), (64, 60)] {
                let (at, size) = (at as u64, size as usize);
                check(
                    Call {
                        stores,
                        at,
                        len,
                        same,
                    },
                    size,
                );
            }
        }
    }
}

#[test]
fn numbers_at_the_edges_are_the_helpers_to_judge() {
    let numbers = [
        0,
        1,
        0x3fff,
        0x4000,
        0x4001,
        0x7fff,
        0x8000,
        0xffff,
        0x1_0000,
        0x7fff_ffff,
    ];
    for number in numbers {
        for same in [false, true] {
            for stores in [false, true] {
                let call = |at, len| Call {
                    stores,
                    at,
                    len,
                    same: (same, same),
                };
                check(call(number, 8), 300);
                check(call(8, number), 300);
                check(call(number, 8), 0x1_0010);
                check(call(number | 0xffff_0000_0000, 8 | (1 << 40)), 300);
                check(call(number.wrapping_neg(), 1), 300);
            }
        }
    }
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn it_is_what_the_helper_copies(
        stores in any::<bool>(),
        same in any::<(bool, bool)>(),
        at in prop_oneof![0..320u64, any::<u32>().prop_map(u64::from), any::<u64>()],
        len in prop_oneof![0..320u64, 0..80u64, any::<u32>().prop_map(u64::from), any::<u64>()],
        size in 0..320usize,
    ) {
        check(Call { stores, at, len, same }, size);
    }
}
