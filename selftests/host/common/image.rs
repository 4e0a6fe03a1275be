// SPDX-License-Identifier: GPL-2.0
//! Images as the kernel glue makes them ready, and a judge of them by iced-x86.

use super::decode::iced;
use super::jit::{self, Config};
use super::program::{rewrite, Program};
use bailey::pure::image::{
    bitmap_len, check, is_start, scan, Expect, ImageError, Report, SiteHit, Stub,
};
use bailey::pure::rewrite::Action;
use bailey::pure::x86::{Decoder, JitForms};

pub const BASE: u64 = 0xffff_ffff_c012_3456;
pub const CALL_BASE: u64 = 0xffff_ffff_8100_0000;
pub const ENTER: i32 = 0x3f80_0040;
pub const SITES: i32 = 0x3f90_0000;
/// Bytes from one stub to the next.
pub const STUB: i32 = 64;
pub const THUNK: u64 = 0xffff_ffff_81e0_0000;
pub const SLOT: u64 = 0xffff_c981_2345_6789;

/// Of an arena.
pub const ARENA_BASE: u64 = 0xff7e_0040_2000_0000;

/// An image ready to run, and what is known of it.
#[derive(Clone, Debug)]
pub struct Finished {
    pub code: Vec<u8>,
    pub addrs: Vec<usize>,
    pub sites: Vec<Action>,
    pub hits: Vec<SiteHit>,
    pub expect: Expect,
}

impl Finished {
    /// The address of site `site`'s stub.
    pub fn stub(site: usize) -> u64 {
        CALL_BASE.wrapping_add_signed(i64::from(SITES) + i64::from(STUB) * site as i64)
    }

    pub fn check_with(&self, code: &[u8], decoder: &dyn Decoder) -> Result<Report, ImageError> {
        let mut starts = vec![0xff; bitmap_len(code.len())];
        self.check_into(code, decoder, &mut starts)
    }

    pub fn check_into(
        &self,
        code: &[u8],
        decoder: &dyn Decoder,
        starts: &mut [u8],
    ) -> Result<Report, ImageError> {
        check(
            code,
            &self.expect,
            decoder,
            starts,
            &mut |offset, target| {
                let site = self.hits.iter().position(|hit| hit.offset == offset);
                match site {
                    Some(site) if target == self.hits[site].target => match self.sites[site] {
                        Action::Exit => Stub::Ends,
                        _ => Stub::Returns,
                    },
                    _ => Stub::None,
                }
            },
        )
    }
}

/// What the glue does between JIT and check: find the sites, turn their calls
/// into jumps.
pub fn finish(program: &Program, config: &Config) -> Finished {
    let rewritten = rewrite(program, SLOT, ENTER, |site| SITES + STUB * site as i32).unwrap();
    let image = jit::compile(&rewritten.insns, BASE, CALL_BASE, config);
    let enter = CALL_BASE.wrapping_add_signed(i64::from(ENTER));
    let mut code = image.code;
    let mut hits = Vec::new();
    let mut enters = 0;
    scan(&code, BASE, &JitForms, &mut |hit| {
        if hit.target == enter {
            enters += 1;
        } else {
            hits.push(hit);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(enters, 1);
    assert_eq!(
        hits.len(),
        rewritten.sites.len(),
        "found what was allocated"
    );
    for (site, hit) in hits.iter().enumerate() {
        assert_eq!(hit.target, Finished::stub(site));
        let call = &mut code[hit.offset as usize];
        assert_eq!(*call, 0xe8);
        *call = 0xe9;
    }
    Finished {
        code,
        addrs: image.addrs,
        sites: rewritten.sites,
        hits,
        expect: Expect {
            base: BASE,
            enter,
            return_thunk: config.rethunk,
            arena: config.arena,
            trampoline: false,
        },
    }
}

/// Walks the code that can run confined with iced-x86 and asserts that
/// nothing in it leaves by anything but a jump to a site's own stub.
pub fn judge(finished: &Finished, code: &[u8], report: &Report, starts: &[u8]) {
    use iced_x86::FlowControl;
    judge_body(finished, code, report, starts);
    // In front of the body there is one way out, and no way in from the body. The count of tail
    // calls has a jump over one instruction.
    let stays = |insn: &iced_x86::Instruction| {
        let target = insn.near_branch_target().wrapping_sub(BASE);
        target < u64::from(report.enter) && is_start(starts, target as u32)
    };
    let ways_out = (0..report.body as usize)
        .filter(|at| is_start(starts, *at as u32))
        .filter_map(|at| iced(&code[at..], BASE + at as u64))
        .filter(|insn| {
            insn.flow_control() == FlowControl::Return
                || insn.flow_control() == FlowControl::UnconditionalBranch && !stays(insn)
        })
        .count();
    assert_eq!(ways_out, 1);
    judge_saved(code, report, starts, finished.expect.arena.is_some());
}

/// Asserts that what the body names of the registers that a function keeps for its caller was
/// pushed in front of it, and comes back behind it; of r12, that it names it as the base of an
/// arena alone, if it has one.
pub fn judge_saved(code: &[u8], report: &Report, starts: &[u8], arena: bool) {
    use iced_x86::{Mnemonic, Register};
    let kept = [
        Register::RBX,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ];
    let within = |from: u32, to: u32| {
        (from..to)
            .filter(|at| is_start(starts, *at))
            .filter_map(|at| iced(&code[at as usize..], BASE + u64::from(at)))
    };
    let of = |mnemonic: Mnemonic, from: u32, to: u32| -> Vec<Register> {
        within(from, to)
            .filter(|insn| insn.mnemonic() == mnemonic)
            .map(|insn| insn.op0_register())
            .filter(|reg| kept.contains(reg))
            .collect()
    };
    let pushed = of(Mnemonic::Push, 0, report.enter);
    let mut popped = of(Mnemonic::Pop, report.epilogue, report.body);
    popped.reverse();
    assert_eq!(pushed, popped);
    assert_eq!(pushed.contains(&Register::R12), arena);
    let mut info = iced_x86::InstructionInfoFactory::new();
    let mut names = 0u32;
    for insn in within(report.body, report.end).filter(|insn| insn.mnemonic() != Mnemonic::Nop) {
        for used in info.info(&insn).used_registers() {
            let reg = used.register().full_register();
            if reg == Register::R12 {
                assert!(arena && insn.memory_index() == reg, "{insn}");
                assert_eq!(used.access(), iced_x86::OpAccess::Read, "{insn}");
            } else if kept.contains(&reg) {
                assert!(pushed.contains(&reg), "{insn}");
                names |= 1 << reg.number();
            }
        }
    }
    assert_eq!(report.names, names);
    let mut sets = 0;
    for insn in within(0, report.enter).filter(|insn| insn.mnemonic() != Mnemonic::Push) {
        if insn.op0_register() == Register::R12 {
            assert_eq!(insn.immediate(1), ARENA_BASE, "{insn}");
            sets += 1;
            continue;
        }
        let registers = info.info(&insn).used_registers();
        assert!(
            insn.mnemonic() == Mnemonic::Nop
                || !registers
                    .iter()
                    .any(|used| kept.contains(&used.register().full_register())),
            "{insn}"
        );
    }
    assert_eq!(sets, u32::from(arena));
}

pub fn judge_body(finished: &Finished, code: &[u8], report: &Report, starts: &[u8]) {
    use iced_x86::{FlowControl, Mnemonic, OpKind, Register};
    let (body, end) = (report.body as usize, report.end as usize);
    let mut at = body;
    let mut falls = true;
    while at < end {
        let insn = iced(&code[at..], BASE + at as u64).expect("decodes");
        assert!(is_start(starts, at as u32));
        falls = true;
        match insn.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                falls = insn.flow_control() == FlowControl::ConditionalBranch;
                let target = insn.near_branch_target();
                let inside = target.wrapping_sub(BASE);
                if inside < code.len() as u64 {
                    assert!(
                        (body as u64..end as u64).contains(&inside),
                        "{insn} at {at:#x}"
                    );
                    assert!(is_start(starts, inside as u32), "{insn} at {at:#x}");
                } else {
                    let site = finished
                        .hits
                        .iter()
                        .position(|hit| hit.offset as usize == at)
                        .expect("a jump out of the image is a site's");
                    assert_eq!(target, finished.hits[site].target);
                }
            }
            other => panic!("{insn} at {at:#x}: {other:?}"),
        }
        assert!(!insn.is_privileged(), "{insn} at {at:#x}");
        assert!(!insn.has_rep_prefix() && !insn.has_repne_prefix());
        assert_eq!(insn.segment_prefix(), Register::None, "{insn}");
        assert!(
            !matches!(
                insn.mnemonic(),
                Mnemonic::Syscall
                    | Mnemonic::Sysenter
                    | Mnemonic::Wrmsr
                    | Mnemonic::Rdmsr
                    | Mnemonic::Wrpkru
                    | Mnemonic::Xbegin
                    | Mnemonic::Xrstor
                    | Mnemonic::Swapgs
                    | Mnemonic::Leave
                    | Mnemonic::Enter
            ),
            "{insn}"
        );
        let mut info = iced_x86::InstructionInfoFactory::new();
        for used in info.info(&insn).used_registers() {
            use iced_x86::OpAccess;
            let written = !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess
            );
            let full = used.register().full_register();
            let stack_op = matches!(insn.mnemonic(), Mnemonic::Push | Mnemonic::Pop);
            // Into a called function's frame and out of it: `add rbp, n`, or
            // through r10, with constants blinded.
            let moves = insn.mnemonic() == Mnemonic::Add
                && insn.op0_register() == Register::RBP
                && (insn.op_count() == 2 && insn.op1_kind() != OpKind::Memory)
                && matches!(insn.op1_register(), Register::None | Register::R10);
            assert!(
                !written
                    || full == Register::RBP && moves
                    || full == Register::RSP && stack_op
                    || full != Register::RBP && full != Register::RSP,
                "{insn} at {at:#x} writes {full:?}"
            );
            let special = full.is_segment_register() && written;
            assert!(!special && !full.is_cr() && !full.is_dr(), "{insn}");
        }
        at += insn.len();
    }
    assert_eq!(at, end);
    assert!(!falls, "the code does not run over its end");
}

/// Forms that must never be in a body.
pub const FORBIDDEN: &[(&str, &[u8])] = &[
    ("ret", &[0xc3]),
    ("ret 8", &[0xc2, 8, 0]),
    ("far ret", &[0xcb]),
    ("rep ret", &[0xf3, 0xc3]),
    ("leave", &[0xc9]),
    ("iretq", &[0x48, 0xcf]),
    ("call rel32", &[0xe8, 0, 0, 0, 0]),
    ("call rax", &[0xff, 0xd0]),
    ("call [rax]", &[0xff, 0x10]),
    ("call far [rax]", &[0x48, 0xff, 0x18]),
    ("jmp rax", &[0xff, 0xe0]),
    ("jmp r11", &[0x41, 0xff, 0xe3]),
    ("jmp [rax]", &[0xff, 0x20]),
    ("jmp far [rax]", &[0x48, 0xff, 0x28]),
    ("notrack jmp rax", &[0x3e, 0xff, 0xe0]),
    ("push [rax]", &[0xff, 0x30]),
    ("inc eax", &[0xff, 0xc0]),
    ("wrmsr", &[0x0f, 0x30]),
    ("rdmsr", &[0x0f, 0x32]),
    ("wrpkru", &[0x0f, 0x01, 0xef]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("stac", &[0x0f, 0x01, 0xcb]),
    ("lgdt [rax]", &[0x0f, 0x01, 0x10]),
    ("invlpg [rax]", &[0x0f, 0x01, 0x38]),
    ("mov cr4, rax", &[0x0f, 0x22, 0xe0]),
    ("mov cr3, rax", &[0x0f, 0x22, 0xd8]),
    ("mov rax, cr4", &[0x0f, 0x20, 0xe0]),
    ("mov dr7, rax", &[0x0f, 0x23, 0xf8]),
    ("cli", &[0xfa]),
    ("sti", &[0xfb]),
    ("hlt", &[0xf4]),
    ("in al, dx", &[0xec]),
    ("out dx, al", &[0xee]),
    ("syscall", &[0x0f, 0x05]),
    ("sysret", &[0x48, 0x0f, 0x07]),
    ("int 0x80", &[0xcd, 0x80]),
    ("int3", &[0xcc]),
    ("int1", &[0xf1]),
    ("ud2", &[0x0f, 0x0b]),
    ("popf", &[0x9d]),
    ("pushf", &[0x9c]),
    ("pop fs", &[0x0f, 0xa1]),
    ("mov gs, eax", &[0x8e, 0xe8]),
    ("mov rax, gs:[rax+0]", &[0x65, 0x48, 0x8b, 0x40, 0]),
    ("mov rax, fs:[rax+0]", &[0x64, 0x48, 0x8b, 0x40, 0]),
    (
        "add rax, gs:[0]",
        &[0x65, 0x48, 0x03, 0x04, 0x25, 0, 0, 0, 0],
    ),
    ("wrgsbase rax", &[0xf3, 0x48, 0x0f, 0xae, 0xd8]),
    ("xrstor [rax]", &[0x0f, 0xae, 0x28]),
    ("fxrstor [rax]", &[0x0f, 0xae, 0x08]),
    ("clflush [rax]", &[0x0f, 0xae, 0x38]),
    ("xbegin", &[0xc7, 0xf8, 0, 0, 0, 0]),
    ("xabort", &[0xc6, 0xf8, 0]),
    ("mov rsp, rax", &[0x48, 0x89, 0xc4]),
    ("mov rbp, rax", &[0x48, 0x89, 0xc5]),
    ("mov rbp, rsp", &[0x48, 0x89, 0xe5]),
    ("mov rax, rsp", &[0x48, 0x89, 0xe0]),
    ("mov rsp, [rax+0]", &[0x48, 0x8b, 0x60, 0]),
    ("add rbp, rax", &[0x48, 0x01, 0xc5]),
    ("sub rbp, r10", &[0x4c, 0x29, 0xd5]),
    ("sub rbp, 8", &[0x48, 0x83, 0xed, 8]),
    ("and rbp, 8", &[0x48, 0x83, 0xe5, 8]),
    ("add ebp, 8", &[0x83, 0xc5, 8]),
    ("add ebp, r10d", &[0x44, 0x01, 0xd5]),
    ("mov rbp, r10", &[0x4c, 0x89, 0xd5]),
    ("mov rbp, [rax+0]", &[0x48, 0x8b, 0x68, 0]),
    ("pop rsp", &[0x5c]),
    ("pop rbp", &[0x5d]),
    ("push rsp", &[0x54]),
    ("add rsp, 8", &[0x48, 0x83, 0xc4, 8]),
    ("sub rsp, 8", &[0x48, 0x83, 0xec, 8]),
    ("xchg [rax+0], rsp", &[0x48, 0x87, 0x60, 0]),
    ("lock xadd [rax+0], rsp", &[0xf0, 0x48, 0x0f, 0xc1, 0x60, 0]),
    ("xchg rax, rsp", &[0x48, 0x94]),
    ("xchg eax, r8d", &[0x41, 0x90]),
    ("pause", &[0xf3, 0x90]),
    ("rep movsb", &[0xf3, 0xa4]),
    ("stosq", &[0x48, 0xab]),
    ("mov rax, [rax+rcx+0]", &[0x48, 0x8b, 0x44, 0x08, 0]),
    ("mov rax, [rdi+r12*2+0]", &[0x4a, 0x8b, 0x44, 0x67, 0]),
    ("mov rax, [rdi+r13+0]", &[0x4a, 0x8b, 0x44, 0x2f, 0]),
    ("mov rax, [r12+0]", &[0x49, 0x8b, 0x44, 0x24, 0]),
    ("mov rax, [rdi+r12]", &[0x4a, 0x8b, 0x04, 0x27]),
    ("mov rax, [rsp+r12+0]", &[0x4a, 0x8b, 0x44, 0x24, 0]),
    ("mov rsp, [rdi+r12+0]", &[0x4a, 0x8b, 0x64, 0x27, 0]),
    ("rol rdi, 31", &[0x48, 0xc1, 0xc7, 31]),
    ("rol edi, 32", &[0xc1, 0xc7, 32]),
    ("rol rbp, 32", &[0x48, 0xc1, 0xc5, 32]),
    ("cmove rsp, r11", &[0x49, 0x0f, 0x44, 0xe3]),
    ("cmove rdi, [rax+0]", &[0x48, 0x0f, 0x44, 0x78, 0]),
    ("mov rax, [rip+0]", &[0x48, 0x8b, 0x05, 0, 0, 0, 0]),
    ("mov rax, [abs]", &[0x48, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ("mov eax, [eax+0]", &[0x67, 0x8b, 0x40, 0]),
    ("add [rax+0], rcx", &[0x48, 0x01, 0x48, 0]),
    ("lock sub [rax+0], rcx", &[0xf0, 0x48, 0x29, 0x48, 0]),
    ("lock add rax, rcx", &[0xf0, 0x48, 0x01, 0xc8]),
    ("jmp rel16", &[0x66, 0xe9, 0, 0]),
    ("jz rel8 with 66", &[0x66, 0x74, 0]),
    ("loop", &[0xe2, 0]),
    ("jrcxz", &[0xe3, 0]),
    ("bextr", &[0xc4, 0xe2, 0x78, 0xf7, 0xc0]),
    ("movaps", &[0x0f, 0x28, 0xc0]),
    ("vzeroupper", &[0xc5, 0xf8, 0x77]),
    ("rdpid", &[0xf3, 0x0f, 0xc7, 0xf8]),
    ("cpuid", &[0x0f, 0xa2]),
    ("rdtsc", &[0x0f, 0x31]),
    ("endbr64", &[0xf3, 0x0f, 0x1e, 0xfa]),
    ("vmcall", &[0x0f, 0x01, 0xc1]),
    ("wrss", &[0x48, 0x0f, 0x38, 0xf6, 0x00]),
    ("senduipi", &[0xf3, 0x0f, 0xc7, 0xf0]),
];
