// SPDX-License-Identifier: GPL-2.0
//! Register bits, held against the crates that know them too.

use bailey::pure::insn;
use bailey::pure::pkrs::{self, Key};
use bailey::pure::x86::{R10, RBP, RSP};
use x86::bits64::paging::PTFlags;
use x86::controlregs::Cr4;
use x86::irq::PageFaultError;

#[test]
fn page_fault_bits_are_those_of_the_x86_crate() {
    assert_eq!(pkrs::PF_WRITE, u64::from(PageFaultError::WR.bits()));
    assert_eq!(pkrs::PF_INSTR, u64::from(PageFaultError::ID.bits()));
    assert_eq!(pkrs::PF_PK, u64::from(PageFaultError::PK.bits()));
}

#[test]
fn keys_in_page_table_entries_meet_no_other_bit() {
    assert_eq!(pkrs::PTE_MASK & PTFlags::all().bits(), 0);
    let pte = PTFlags::P | PTFlags::RW | PTFlags::A | PTFlags::D | PTFlags::XD;
    for number in 0..pkrs::KEYS {
        let key = Key::new(number).unwrap_or(Key::KERNEL);
        let tagged = pkrs::pte_with_key(pte.bits(), key);
        assert_eq!(PTFlags::from_bits_truncate(tagged), pte);
        assert_eq!((tagged >> 59) & 0xf, u64::from(number));
    }
}

#[test]
fn the_control_bit_is_beside_that_of_user_keys() {
    // The crate knows CR4.PKE, bit 22, and none of the bits above: CET is 23,
    // PKS 24 (SDM volume 3, 2.5).
    let pke = Cr4::CR4_ENABLE_PROTECTION_KEY.bits() as u64;
    assert_eq!(pkrs::CR4_PKS, pke << 2);
    assert_eq!(Cr4::all().bits() as u64 & pkrs::CR4_PKS, 0);
}

#[test]
fn pkrs_is_the_msr_behind_the_deadline_timers() {
    // The crate has no PKRS, but its neighbour (SDM volume 4, table 2-2).
    assert_eq!(pkrs::MSR_IA32_PKRS, x86::msr::IA32_TSC_DEADLINE + 1);
}

#[test]
fn register_numbers_are_those_of_iced() {
    use iced_x86::Register;
    for (number, register) in [
        (RSP, Register::RSP),
        (RBP, Register::RBP),
        (R10, Register::R10),
    ] {
        assert_eq!(usize::from(number), register.number());
    }
}

#[test]
fn opcodes_are_those_of_rbpf() {
    use insn::{alu, class, jmp, mode, size, K, X};
    use rbpf::ebpf;
    for (ours, theirs) in [
        (class::LD | mode::IMM | size::DW, ebpf::LD_DW_IMM),
        (class::LD | mode::ABS | size::W, ebpf::LD_ABS_W),
        (class::LD | mode::IND | size::B, ebpf::LD_IND_B),
        (class::LDX | mode::MEM | size::H, ebpf::LD_H_REG),
        (class::ST | mode::MEM | size::DW, ebpf::ST_DW_IMM),
        (class::STX | mode::MEM | size::B, ebpf::ST_B_REG),
        (class::STX | mode::ATOMIC | size::DW, ebpf::ST_DW_XADD),
        (class::ALU | alu::ADD | K, ebpf::ADD32_IMM),
        (class::ALU64 | alu::SUB | X, ebpf::SUB64_REG),
        (class::ALU64 | alu::MUL | K, ebpf::MUL64_IMM),
        (class::ALU64 | alu::DIV | K, ebpf::DIV64_IMM),
        (class::ALU | alu::OR | X, ebpf::OR32_REG),
        (class::ALU64 | alu::AND | K, ebpf::AND64_IMM),
        (class::ALU64 | alu::LSH | X, ebpf::LSH64_REG),
        (class::ALU64 | alu::RSH | K, ebpf::RSH64_IMM),
        (class::ALU64 | alu::NEG, ebpf::NEG64),
        (class::ALU | alu::MOD | K, ebpf::MOD32_IMM),
        (class::ALU64 | alu::XOR | K, ebpf::XOR64_IMM),
        (class::ALU64 | alu::MOV | X, ebpf::MOV64_REG),
        (class::ALU64 | alu::ARSH | K, ebpf::ARSH64_IMM),
        (class::ALU | alu::END | X, ebpf::BE),
        (class::JMP | jmp::JA, ebpf::JA),
        (class::JMP | jmp::JEQ | K, ebpf::JEQ_IMM),
        (class::JMP | jmp::JGT | X, ebpf::JGT_REG),
        (class::JMP | jmp::JGE | K, ebpf::JGE_IMM),
        (class::JMP | jmp::JSET | K, ebpf::JSET_IMM),
        (class::JMP | jmp::JNE | X, ebpf::JNE_REG),
        (class::JMP | jmp::JSGT | K, ebpf::JSGT_IMM),
        (class::JMP32 | jmp::JSGE | K, ebpf::JSGE_IMM32),
        (class::JMP32 | jmp::JLT | X, ebpf::JLT_REG32),
        (class::JMP | jmp::JLE | K, ebpf::JLE_IMM),
        (class::JMP | jmp::JSLT | K, ebpf::JSLT_IMM),
        (class::JMP | jmp::JSLE | X, ebpf::JSLE_REG),
        (class::JMP | jmp::CALL, ebpf::CALL),
        (class::JMP | jmp::EXIT, ebpf::EXIT),
    ] {
        assert_eq!(ours, theirs);
    }
}
