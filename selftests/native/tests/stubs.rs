// SPDX-License-Identifier: GPL-2.0
//! Stubs as an independent decoder reads them, with the template that the gates have.

use bailey::pure::stub::{self, Enter, Flaw, Kind, Place, ENTER_LEN, INT3, OUT, SLOT};
use bailey_native::template;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

const AT: u64 = 0xffff_ffff_c040_0000;
const PLACE: Place = Place {
    at: AT,
    back: AT + 0x1000,
    gate: AT - 0x100_0000,
    site: 0x380,
};
const NAMED: [(u32, Register); 4] = [
    (3, Register::EBX),
    (13, Register::R13D),
    (14, Register::R14D),
    (15, Register::R15D),
];

fn enter(ctx: bool, names: u32, depth: u64) -> Enter {
    Enter { ctx, names, depth }
}

fn write(kind: Kind, enter: &Enter, place: &Place) -> Result<[u8; SLOT], Flaw> {
    let mut slot = [0; SLOT];
    stub::write(&mut slot, kind, enter, template(), place).map(|()| slot)
}

/// The instructions up to the first trap, behind which there is nothing else.
fn decode(slot: &[u8; SLOT]) -> Vec<Instruction> {
    let insns: Vec<_> = Decoder::with_ip(64, slot, AT, DecoderOptions::NONE)
        .into_iter()
        .take_while(|insn| insn.code() != Code::Int3)
        .collect();
    let len: usize = insns.iter().map(Instruction::len).sum();
    assert!(slot[len..].iter().all(|&byte| byte == INT3));
    insns
}

fn mnemonics(insns: &[Instruction]) -> Vec<Mnemonic> {
    insns.iter().map(Instruction::mnemonic).collect()
}

#[test]
fn a_stub_leads_through_the_gate_and_back() {
    let slot = write(Kind::Gate, &enter(false, 0, 0), &PLACE).expect("in reach");
    let insns = decode(&slot);
    let out = insns.iter().position(|insn| insn.ip() == AT + OUT as u64);
    let (to, back) = insns.split_at(out.expect("an instruction begins at the way out"));
    assert_eq!(mnemonics(to), [Mnemonic::Mov, Mnemonic::Jmp]);
    assert_eq!(
        (to[0].op0_register(), to[0].immediate32()),
        (Register::R9D, PLACE.site)
    );
    assert_eq!(to[1].near_branch_target(), PLACE.gate);
    assert_eq!(
        mnemonics(back),
        [
            Mnemonic::Endbr64,
            Mnemonic::Wrmsr,
            Mnemonic::Pop,
            Mnemonic::Pop,
            Mnemonic::Sti,
            Mnemonic::Jmp
        ]
    );
    assert_eq!(
        (back[2].op0_register(), back[3].op0_register()),
        (Register::RAX, Register::RSP)
    );
    assert_eq!(back[5].near_branch_target(), PLACE.back);
}

#[test]
fn the_way_out_of_enter_clears_what_is_named_and_nothing_else() {
    for names in 0..16u32 {
        let bits = (0..4).filter(|n| names & (1 << n) != 0).map(|n| NAMED[n]);
        let mask = bits.clone().fold(0, |mask, (bit, _)| mask | (1 << bit));
        for ctx in [false, true] {
            let slot = write(Kind::Enter, &enter(ctx, mask, 0x248), &PLACE).expect("in reach");
            let mut insns = decode(&slot).into_iter();
            let mut next = || insns.next().expect("another instruction");
            assert_eq!(next().mnemonic(), Mnemonic::Endbr64);
            assert_eq!(next().mnemonic(), Mnemonic::Wrmsr);
            if ctx {
                let pop = next();
                assert_eq!(
                    (pop.mnemonic(), pop.op0_register()),
                    (Mnemonic::Pop, Register::RAX)
                );
            }
            for (_, register) in bits.clone() {
                let clear = next();
                assert_eq!(clear.mnemonic(), Mnemonic::Xor);
                assert_eq!(
                    (clear.op0_register(), clear.op1_register()),
                    (register, register)
                );
            }
            let lea = next();
            assert_eq!(
                (lea.mnemonic(), lea.op0_register()),
                (Mnemonic::Lea, Register::RSP)
            );
            assert_eq!(lea.memory_base(), Register::RBP);
            assert_eq!(lea.memory_displacement64() as i64, -0x248);
            assert_eq!(next().mnemonic(), Mnemonic::Sti);
            let jmp = next();
            assert_eq!(
                (jmp.mnemonic(), jmp.near_branch_target()),
                (Mnemonic::Jmp, PLACE.back)
            );
            assert_eq!(insns.next(), None);
        }
    }
}

#[test]
fn the_longest_way_out_of_enter_is_as_long_as_is_said() {
    let all = NAMED.iter().fold(0, |mask, (bit, _)| mask | (1 << bit));
    let slot = write(Kind::Enter, &enter(true, all, 0x400), &PLACE).expect("it has room");
    let len: usize = decode(&slot).iter().map(Instruction::len).sum();
    assert_eq!(len, ENTER_LEN);
}

#[test]
fn what_is_answered_in_confinement_touches_no_memory() {
    for (kind, written) in [
        (Kind::ProcessorId, &[Register::EAX][..]),
        (Kind::LoopCount, &[Register::R12D, Register::R10]),
        (Kind::Tsc, &[Register::RAX, Register::RDX]),
    ] {
        let insns = decode(&write(kind, &enter(false, 0, 0), &PLACE).expect("in reach"));
        let (jmp, answer) = insns.split_last().expect("instructions");
        assert_eq!(
            (jmp.mnemonic(), jmp.near_branch_target()),
            (Mnemonic::Jmp, PLACE.back)
        );
        let mut info = iced_x86::InstructionInfoFactory::new();
        for insn in answer {
            assert_eq!(insn.flow_control(), iced_x86::FlowControl::Next);
            assert!(info.info(insn).used_memory().is_empty());
            for used in info.info(insn).used_registers() {
                use iced_x86::OpAccess::{CondRead, Read};
                let register = used.register();
                // A write of a half is one of the whole, and so decoded.
                let kept = !written
                    .iter()
                    .any(|w| w.full_register() == register.full_register());
                assert!(
                    !kept || matches!(used.access(), Read | CondRead),
                    "{insn}: {register:?}"
                );
            }
        }
    }
}

#[test]
fn what_a_jump_does_not_reach_is_refused() {
    let none = enter(false, 0, 0);
    for kind in [
        Kind::Enter,
        Kind::Gate,
        Kind::ProcessorId,
        Kind::LoopCount,
        Kind::Tsc,
    ] {
        let far = Place {
            back: AT - (1 << 32),
            ..PLACE
        };
        assert_eq!(write(kind, &none, &far), Err(Flaw::Reach), "{kind:?}");
    }
    let far = Place {
        gate: AT - (1 << 31) - 0x100,
        ..PLACE
    };
    assert_eq!(write(Kind::Gate, &none, &far), Err(Flaw::Reach));
    assert_eq!(
        write(Kind::Enter, &enter(false, 0, 1 << 32), &PLACE),
        Err(Flaw::Reach)
    );
    let mut slot = [0; SLOT];
    let short = &template()[..OUT];
    assert_eq!(
        stub::write(&mut slot, Kind::Gate, &none, short, &PLACE),
        Err(Flaw::Room)
    );
}
