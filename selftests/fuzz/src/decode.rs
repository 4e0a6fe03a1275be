// SPDX-License-Identifier: GPL-2.0
//! One instruction of x86: its fields, and what it does to memory.

use super::host::access::{agreed, number};
use super::host::decode::{compare_with, iced};
use bailey::pure::access::{apply_rmw, effective_address, loaded, memory_access, stored};
use bailey::pure::x86::{Decoder, JitForms, OpcodeMap, X86Insn};

/// The decoder that is judged, or one that takes an `imul`'s displacement of four bytes for one.
struct Subject {
    planted: bool,
}

impl Decoder for Subject {
    fn decode(&self, bytes: &[u8]) -> Option<X86Insn> {
        let mut insn = JitForms.decode(bytes)?;
        let imul = insn.map == OpcodeMap::Escape0f && insn.opcode == 0xaf;
        if self.planted && imul && insn.mode() == Some(2) {
            insn.len -= 3;
        }
        Some(insn)
    }
}

/// Asserts that iced-x86 reads the bytes as the decoder does, if that takes them at all, and
/// sees the same access to the same address. Goes on from each input.
pub fn check(input: &[u8], planted: bool) -> bool {
    compare(input, planted);
    true
}

fn compare(input: &[u8], planted: bool) {
    let subject = Subject { planted };
    let Some(insn) = subject.decode(input) else {
        return;
    };
    let len = usize::from(insn.len);
    assert!(
        (1..=15).contains(&len) && len <= input.len(),
        "{input:02x?}"
    );
    let (bytes, rest) = input.split_at(len);
    compare_with(&subject, input);
    assert_eq!(subject.decode(bytes), Some(insn), "what follows matters");
    assert!((0..len).all(|cut| subject.decode(&bytes[..cut]).is_none()));

    if memory_access(&insn).is_none() {
        return;
    }
    let access = agreed(bytes);
    let mut regs = [0u64; 16];
    for (at, reg) in regs.iter_mut().enumerate() {
        let byte = rest.get(at).copied().unwrap_or(at as u8);
        *reg = u64::from(byte).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let value = |register: iced_x86::Register| {
        if register.is_segment_register() {
            0
        } else {
            regs[usize::from(number(register))]
        }
    };
    let theirs = iced(bytes, 0).expect("decoded before");
    let memory = (0..theirs.op_count()).find(|op| theirs.op_kind(*op) == iced_x86::OpKind::Memory);
    let address = theirs.virtual_address(memory.expect("an access"), 0, |register, _, _| {
        Some(value(register))
    });
    assert_eq!(Some(effective_address(&access, &regs)), address, "{theirs}");
    // What is moved is no wider than the access.
    let fits = |value: u64| access.size == 8 || value >> (8 * access.size) == 0;
    assert!(fits(stored(&access, &regs)), "{theirs}");
    assert!(
        access.sign_extend || fits(loaded(&access, regs[3])),
        "{theirs}"
    );
    assert!(
        access.dest == 8 || loaded(&access, regs[3]) >> 32 == 0,
        "{theirs}"
    );
    if let Some(rmw) = apply_rmw(&access, regs[5], &regs) {
        assert!(fits(rmw.memory) && access.is_write(), "{theirs}");
        assert!(rmw.reg.is_none_or(fits) && rmw.rax.is_none_or(fits));
    }
}

/// Each opcode that is known, of registers and of memory.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        // shlx r13, r13, r8
        vec![0xc4, 0x42, 0xb9, 0xf7, 0xed],
        // lock cmpxchg [r13-8], r11
        vec![0xf0, 0x4d, 0x0f, 0xb1, 0x5d, 0xf8],
    ];
    for escape in [&[][..], &[0x0f]] {
        for opcode in 0..=255 {
            for modrm in [0xc1, 0x44] {
                let mut bytes = vec![0x48];
                bytes.extend_from_slice(escape);
                bytes.extend([opcode, modrm, 0x91, 2, 3, 4, 5, 6, 7, 8, 9]);
                seeds.extend(JitForms.decode(&bytes).map(|_| bytes));
            }
        }
    }
    seeds
}
