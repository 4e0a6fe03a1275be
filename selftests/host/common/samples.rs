// SPDX-License-Identifier: GPL-2.0
//! Programs of the corpus (`selftests/progs`), and what the kernel's JIT made
//! of them.
//!
//! `images.txt` was written by a stock Linux 7.2 in QEMU (CPU model `max`):
//! each program was loaded with `bpf_jit_harden` 0 and 2, and its instructions
//! and machine code read with `BPF_OBJ_GET_INFO_BY_FD`. The file keeps so many
//! of them that every opcode is there. The kernel hands programs out without
//! the addresses of its objects, which are in the machine code alone.

use bailey::pure::insn::Insn;

/// One line of the file.
pub struct Sample {
    pub name: String,
    pub base: u64,
    pub code: Vec<u8>,
    pub program: Vec<Insn>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Every sample.
pub fn samples() -> Vec<Sample> {
    std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/selftests/host/images.txt"
    ))
    .unwrap()
    .lines()
    .filter(|line| !line.starts_with('#'))
    .map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let program = bytes(fields[3])
            .chunks_exact(8)
            .map(|slot| {
                Insn::new(
                    slot[0],
                    slot[1] & 0xf,
                    slot[1] >> 4,
                    i16::from_le_bytes([slot[2], slot[3]]),
                    i32::from_le_bytes([slot[4], slot[5], slot[6], slot[7]]),
                )
            })
            .collect();
        Sample {
            name: fields[0].to_owned(),
            base: u64::from_str_radix(fields[1], 16).unwrap(),
            code: bytes(fields[2]),
            program,
        }
    })
    .collect()
}
