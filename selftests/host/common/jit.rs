// SPDX-License-Identifier: GPL-2.0
//! The kernel's x86-64 BPF JIT, as far as isolated main programs need it.
//!
//! Byte for byte what `do_jit()` of Linux 7.2 (`arch/x86/net/bpf_jit_comp.c`)
//! emits, so that the checks of machine code meet the real forms without a
//! kernel. Left out: arenas, private stacks, exceptions, probe reads, stack
//! arguments, tail calls and call-depth accounting, none of which reaches the
//! JIT in an isolated program.

use bailey::pure::insn::{alu, class, jmp, mode, size, Insn, REG_AX, X};

/// What the JIT looks at beside the program.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// `CONFIG_X86_KERNEL_IBT`.
    pub ibt: bool,
    /// The first ENDBR is poisoned, as with FineIBT.
    pub poisoned: bool,
    /// `X86_FEATURE_BMI2`.
    pub bmi2: bool,
    /// `x86_return_thunk`, if `cpu_wants_rethunk()`.
    pub rethunk: Option<u64>,
    /// `CONFIG_MITIGATION_SLS`.
    pub sls: bool,
    /// Bytes of BPF stack.
    pub stack_depth: u32,
    /// Pad jumps as the last passes do.
    pub padding: bool,
    /// The program makes tail calls.
    pub tail_calls: bool,
    /// The kernel's base of its arena.
    pub arena: Option<u64>,
}

impl Config {
    /// No return thunk, no padding, neither tail calls nor an arena.
    pub const PLAIN: Self = Self {
        ibt: true,
        poisoned: false,
        bmi2: true,
        rethunk: None,
        sls: true,
        stack_depth: 16,
        padding: false,
        tail_calls: false,
        arena: None,
    };
}

/// JIT registers: BPF's, then `AUX_REG` (r11).
const AUX: u8 = 13;
const AX: u8 = REG_AX;

const fn reg2hex(reg: u8) -> u8 {
    match reg {
        0 => 0,
        1 => 7,
        2 => 6,
        3 => 2,
        4 => 1,
        5 => 0,
        6 => 3,
        7 => 5,
        8 => 6,
        9 => 7,
        10 => 5,
        AX => 2,
        AUX => 3,
        _ => panic!(),
    }
}

const fn is_ereg(reg: u8) -> bool {
    matches!(reg, 5 | 7 | 8 | 9 | AX | AUX)
}

const fn is_ereg_8l(reg: u8) -> bool {
    is_ereg(reg) || matches!(reg, 1 | 2 | 10)
}

/// The x86 number of a BPF register.
pub const fn x86_reg(reg: u8) -> u8 {
    reg2hex(reg) | if is_ereg(reg) { 8 } else { 0 }
}

const fn add_1mod(byte: u8, reg: u8) -> u8 {
    byte | is_ereg(reg) as u8
}

const fn add_2mod(byte: u8, r1: u8, r2: u8) -> u8 {
    byte | is_ereg(r1) as u8 | ((is_ereg(r2) as u8) << 2)
}

const fn add_1reg(byte: u8, dst: u8) -> u8 {
    byte + reg2hex(dst)
}

const fn add_2reg(byte: u8, dst: u8, src: u8) -> u8 {
    byte + reg2hex(dst) + (reg2hex(src) << 3)
}

const fn is_imm8(value: i32) -> bool {
    value >= -128 && value <= 127
}

const fn is_imm8_jmp_offset(value: i64) -> bool {
    value >= -128 && value <= 123
}

fn alu_opcode(op: u8) -> u8 {
    match op {
        alu::ADD => 0x01,
        alu::SUB => 0x29,
        alu::AND => 0x21,
        alu::OR => 0x09,
        alu::XOR => 0x31,
        alu::LSH => 0xe0,
        alu::RSH => 0xe8,
        alu::ARSH => 0xf8,
        _ => unreachable!(),
    }
}

/// The bytes of one BPF instruction.
struct Emit(Vec<u8>);

impl Emit {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn off32(&mut self, bytes: &[u8], off: i32) {
        self.bytes(bytes);
        self.bytes(&off.to_le_bytes());
    }

    fn nops(&mut self, mut len: usize) {
        const NOPS: [&[u8]; 9] = [
            &[],
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00],
            &[0x0f, 0x1f, 0x84, 0x00, 0x00, 0x00, 0x00, 0x00],
        ];
        while len > 0 {
            let now = len.min(8);
            self.bytes(NOPS[now]);
            len -= now;
        }
    }

    fn maybe_mod(&mut self, dst: u8, src: u8, is64: bool) {
        if is64 {
            self.bytes(&[add_2mod(0x48, dst, src)]);
        } else if is_ereg(dst) || is_ereg(src) {
            self.bytes(&[add_2mod(0x40, dst, src)]);
        }
    }

    fn maybe_1mod(&mut self, reg: u8, is64: bool) {
        if is64 {
            self.bytes(&[add_1mod(0x48, reg)]);
        } else if is_ereg(reg) {
            self.bytes(&[add_1mod(0x40, reg)]);
        }
    }

    fn mov(&mut self, dst: u8, src: u8) {
        if dst != src {
            self.bytes(&[add_2mod(0x48, dst, src), 0x89, add_2reg(0xc0, dst, src)]);
        }
    }

    fn mov_reg(&mut self, is64: bool, dst: u8, src: u8) {
        if is64 {
            self.mov(dst, src);
        } else {
            if is_ereg(dst) || is_ereg(src) {
                self.bytes(&[add_2mod(0x40, dst, src)]);
            }
            self.bytes(&[0x89, add_2reg(0xc0, dst, src)]);
        }
    }

    fn movsx_reg(&mut self, bits: i16, is64: bool, dst: u8, src: u8) {
        let modrm = add_2reg(0xc0, src, dst);
        match (bits, is64) {
            (8, true) => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xbe, modrm]),
            (16, true) => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xbf, modrm]),
            (32, true) => self.bytes(&[add_2mod(0x48, src, dst), 0x63, modrm]),
            (8, false) => self.bytes(&[add_2mod(0x40, src, dst), 0x0f, 0xbe, modrm]),
            (16, false) => {
                if is_ereg(dst) || is_ereg(src) {
                    self.bytes(&[add_2mod(0x40, src, dst)]);
                }
                self.bytes(&[add_2mod(0x0f, src, dst), 0xbf, modrm]);
            }
            _ => unreachable!(),
        }
    }

    fn mov_imm32(&mut self, sign_propagate: bool, dst: u8, imm: i32) {
        if sign_propagate && imm < 0 {
            self.off32(&[add_1mod(0x48, dst), 0xc7, add_1reg(0xc0, dst)], imm);
        } else if imm == 0 {
            if is_ereg(dst) {
                self.bytes(&[add_2mod(0x40, dst, dst)]);
            }
            self.bytes(&[0x31, add_2reg(0xc0, dst, dst)]);
        } else {
            if is_ereg(dst) {
                self.bytes(&[add_1mod(0x40, dst)]);
            }
            self.off32(&[add_1reg(0xb8, dst)], imm);
        }
    }

    fn mov_imm64(&mut self, dst: u8, imm: u64) {
        if imm == u64::from(imm as u32) {
            self.mov_imm32(false, dst, imm as i32);
        } else if imm as i64 == i64::from(imm as i32) {
            self.mov_imm32(true, dst, imm as i32);
        } else {
            self.bytes(&[add_1mod(0x48, dst), add_1reg(0xb8, dst)]);
            self.bytes(&imm.to_le_bytes());
        }
    }

    fn suffix(&mut self, ptr: u8, val: u8, off: i32) {
        if is_imm8(off) {
            self.bytes(&[add_2reg(0x40, ptr, val), off as u8]);
        } else {
            self.off32(&[add_2reg(0x80, ptr, val)], off);
        }
    }

    fn ldx(&mut self, width: u8, dst: u8, src: u8, off: i32) {
        match width {
            size::B => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xb6]),
            size::H => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xb7]),
            size::W if is_ereg(dst) || is_ereg(src) => {
                self.bytes(&[add_2mod(0x40, src, dst), 0x8b]);
            }
            size::W => self.bytes(&[0x8b]),
            _ => self.bytes(&[add_2mod(0x48, src, dst), 0x8b]),
        }
        self.suffix(src, dst, off);
    }

    fn ldsx(&mut self, width: u8, dst: u8, src: u8, off: i32) {
        match width {
            size::B => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xbe]),
            size::H => self.bytes(&[add_2mod(0x48, src, dst), 0x0f, 0xbf]),
            _ => self.bytes(&[add_2mod(0x48, src, dst), 0x63]),
        }
        self.suffix(src, dst, off);
    }

    fn stx(&mut self, width: u8, dst: u8, src: u8, off: i32) {
        let ereg = is_ereg(dst) || is_ereg(src);
        match width {
            size::B if is_ereg(dst) || is_ereg_8l(src) => {
                self.bytes(&[add_2mod(0x40, dst, src), 0x88]);
            }
            size::B => self.bytes(&[0x88]),
            size::H if ereg => self.bytes(&[0x66, add_2mod(0x40, dst, src), 0x89]),
            size::H => self.bytes(&[0x66, 0x89]),
            size::W if ereg => self.bytes(&[add_2mod(0x40, dst, src), 0x89]),
            size::W => self.bytes(&[0x89]),
            _ => self.bytes(&[add_2mod(0x48, dst, src), 0x89]),
        }
        self.suffix(dst, src, off);
    }

    fn st(&mut self, width: u8, dst: u8, off: i32, imm: i32) {
        match width {
            size::B if is_ereg(dst) => self.bytes(&[0x41, 0xc6]),
            size::B => self.bytes(&[0xc6]),
            size::H if is_ereg(dst) => self.bytes(&[0x66, 0x41, 0xc7]),
            size::H => self.bytes(&[0x66, 0xc7]),
            size::W if is_ereg(dst) => self.bytes(&[0x41, 0xc7]),
            size::W => self.bytes(&[0xc7]),
            _ => self.bytes(&[add_1mod(0x48, dst), 0xc7]),
        }
        if is_imm8(off) {
            self.bytes(&[add_1reg(0x40, dst), off as u8]);
        } else {
            self.off32(&[add_1reg(0x80, dst)], off);
        }
        match width {
            size::B => self.bytes(&[imm as u8]),
            size::H => self.bytes(&(imm as u16).to_le_bytes()),
            _ => self.bytes(&imm.to_le_bytes()),
        }
    }

    fn atomic_rmw(&mut self, op: i32, width: u8, dst: u8, src: u8, off: i32) {
        if op != 0xe1 {
            self.bytes(&[0xf0]);
        }
        self.maybe_mod(dst, src, width == size::DW);
        match op {
            0x00 | 0x40 | 0x50 | 0xa0 => self.bytes(&[alu_opcode(op as u8)]),
            0x01 => self.bytes(&[0x0f, 0xc1]),
            0xe1 => self.bytes(&[0x87]),
            0xf1 => self.bytes(&[0x0f, 0xb1]),
            _ => unreachable!(),
        }
        self.suffix(dst, src, off);
    }

    fn atomic(&mut self, insn: &Insn) {
        let (dst, src, off) = (insn.dst(), insn.src(), i32::from(insn.off));
        let width = insn.code & 0x18;
        match insn.imm {
            0x100 => self.ldx(width, dst, src, off),
            0x110 => self.stx(width, dst, src, off),
            0x41 | 0x51 | 0xa1 => {
                let is64 = width == size::DW;
                self.mov_reg(true, AX, 0);
                let real_src = if src == 0 { AX } else { src };
                let real_dst = if dst == 0 { AX } else { dst };
                let branch = self.0.len();
                self.ldx(width, 0, real_dst, off);
                self.mov_reg(is64, AUX, 0);
                self.maybe_mod(AUX, real_src, is64);
                self.bytes(&[
                    alu_opcode(insn.imm as u8 & 0xf0),
                    add_2reg(0xc0, AUX, real_src),
                ]);
                self.atomic_rmw(0xf1, width, real_dst, AUX, off);
                let back = -((self.0.len() - branch) as i32) - 2;
                self.bytes(&[0x75, back as u8]);
                self.mov_reg(is64, real_src, 0);
                self.mov_reg(true, 0, AX);
            }
            op => self.atomic_rmw(op, width, dst, src, off),
        }
    }

    fn divide(&mut self, insn: &Insn) {
        let is64 = insn.class() == class::ALU64;
        let (dst, mut src) = (insn.dst(), insn.src());
        if dst != 0 {
            self.bytes(&[0x50]);
        }
        if dst != 3 {
            self.bytes(&[0x52]);
        }
        if insn.code & X != 0 {
            if src == 0 || src == 3 {
                self.mov(AUX, src);
                src = AUX;
            }
        } else {
            self.off32(&[0x49, 0xc7, 0xc3], insn.imm);
            src = AUX;
        }
        if dst != 0 {
            self.mov_reg(is64, 0, dst);
        }
        let digit = if insn.off == 0 {
            self.bytes(&[0x31, 0xd2]);
            0xf0
        } else {
            self.bytes(if is64 { &[0x48, 0x99] } else { &[0x99] });
            0xf8
        };
        self.maybe_1mod(src, is64);
        self.bytes(&[0xf7, add_1reg(digit, src)]);
        if insn.op() == alu::MOD && dst != 3 {
            self.mov_reg(is64, dst, 3);
        } else if insn.op() == alu::DIV && dst != 0 {
            self.mov_reg(is64, dst, 0);
        }
        if dst != 3 {
            self.bytes(&[0x5a]);
        }
        if dst != 0 {
            self.bytes(&[0x58]);
        }
    }

    fn shift_by_register(&mut self, insn: &Insn, bmi2: bool) {
        let is64 = insn.class() == class::ALU64;
        let (mut dst, src) = (insn.dst(), insn.src());
        if bmi2 && src != 4 {
            let pp = match insn.op() {
                alu::LSH => 1,
                alu::RSH => 3,
                _ => 2,
            };
            let r = u8::from(!is_ereg(dst));
            let vvvv = x86_reg(src);
            self.bytes(&[
                0xc4,
                (r << 7) | (1 << 6) | (r << 5) | 2,
                (u8::from(is64) << 7) | ((!vvvv & 0xf) << 3) | pp,
                0xf7,
                add_2reg(0xc0, dst, dst),
            ]);
            return;
        }
        if src != 4 {
            if dst == 4 {
                self.mov(AUX, dst);
                dst = AUX;
            } else {
                self.bytes(&[0x51]);
            }
            self.mov(4, src);
        }
        self.maybe_1mod(dst, is64);
        self.bytes(&[0xd3, add_1reg(alu_opcode(insn.op()), dst)]);
        if src != 4 {
            if insn.dst() == 4 {
                self.mov(4, AUX);
            } else {
                self.bytes(&[0x59]);
            }
        }
    }

    fn swap(&mut self, insn: &Insn) {
        let dst = insn.dst();
        // BPF_ALU | BPF_FROM_LE truncates; the rest swap.
        let truncate = insn.class() == class::ALU && insn.code & X == 0;
        let movzwl = |emit: &mut Self| {
            if is_ereg(dst) {
                emit.bytes(&[0x45]);
            }
            emit.bytes(&[0x0f, 0xb7, add_2reg(0xc0, dst, dst)]);
        };
        match (insn.imm, truncate) {
            (16, true) => movzwl(self),
            (16, false) => {
                self.bytes(&[0x66]);
                if is_ereg(dst) {
                    self.bytes(&[0x41]);
                }
                self.bytes(&[0xc1, add_1reg(0xc8, dst), 8]);
                movzwl(self);
            }
            (32, true) => {
                if is_ereg(dst) {
                    self.bytes(&[0x45]);
                }
                self.bytes(&[0x89, add_2reg(0xc0, dst, dst)]);
            }
            (32, false) => {
                if is_ereg(dst) {
                    self.bytes(&[0x41]);
                }
                self.bytes(&[0x0f, add_1reg(0xc8, dst)]);
            }
            (_, true) => {}
            (_, false) => self.bytes(&[add_1mod(0x48, dst), 0x0f, add_1reg(0xc8, dst)]),
        }
    }

    fn arithmetic(&mut self, insn: &Insn, config: &Config) {
        let is64 = insn.class() == class::ALU64;
        let (dst, src, imm) = (insn.dst(), insn.src(), insn.imm);
        let by_reg = insn.code & X != 0;
        match insn.op() {
            alu::ADD | alu::SUB | alu::AND | alu::OR | alu::XOR if by_reg => {
                self.maybe_mod(dst, src, is64);
                self.bytes(&[alu_opcode(insn.op()), add_2reg(0xc0, dst, src)]);
            }
            alu::ADD | alu::SUB | alu::AND | alu::OR | alu::XOR => {
                self.maybe_1mod(dst, is64);
                let (b2, b3) = match insn.op() {
                    alu::ADD => (0x05, 0xc0),
                    alu::SUB => (0x2d, 0xe8),
                    alu::AND => (0x25, 0xe0),
                    alu::OR => (0x0d, 0xc8),
                    _ => (0x35, 0xf0),
                };
                if is_imm8(imm) {
                    self.bytes(&[0x83, add_1reg(b3, dst), imm as u8]);
                } else if dst == 0 {
                    self.off32(&[b2], imm);
                } else {
                    self.off32(&[0x81, add_1reg(b3, dst)], imm);
                }
            }
            alu::MOV if by_reg && insn.off == 0 => self.mov_reg(is64, dst, src),
            alu::MOV if by_reg => self.movsx_reg(insn.off, is64, dst, src),
            alu::MOV => self.mov_imm32(is64, dst, imm),
            alu::NEG => {
                self.maybe_1mod(dst, is64);
                self.bytes(&[0xf7, add_1reg(0xd8, dst)]);
            }
            alu::DIV | alu::MOD => self.divide(insn),
            alu::MUL if by_reg => {
                self.maybe_mod(src, dst, is64);
                self.bytes(&[0x0f, 0xaf, add_2reg(0xc0, src, dst)]);
            }
            alu::MUL => {
                self.maybe_mod(dst, dst, is64);
                if is_imm8(imm) {
                    self.bytes(&[0x6b, add_2reg(0xc0, dst, dst), imm as u8]);
                } else {
                    self.off32(&[0x69, add_2reg(0xc0, dst, dst)], imm);
                }
            }
            alu::LSH | alu::RSH | alu::ARSH if by_reg => self.shift_by_register(insn, config.bmi2),
            alu::LSH | alu::RSH | alu::ARSH => {
                self.maybe_1mod(dst, is64);
                let b3 = alu_opcode(insn.op());
                if imm == 1 {
                    self.bytes(&[0xd1, add_1reg(b3, dst)]);
                } else {
                    self.bytes(&[0xc1, add_1reg(b3, dst), imm as u8]);
                }
            }
            alu::END => self.swap(insn),
            _ => unreachable!("{insn:?}"),
        }
    }

    /// The comparison of a conditional jump; returns the short jump's opcode.
    fn compare(&mut self, insn: &Insn) -> u8 {
        let is64 = insn.class() == class::JMP;
        let (dst, src, imm) = (insn.dst(), insn.src(), insn.imm);
        match (insn.op(), insn.code & X != 0) {
            (jmp::JSET, true) => {
                self.maybe_mod(dst, src, is64);
                self.bytes(&[0x85, add_2reg(0xc0, dst, src)]);
            }
            (jmp::JSET, false) => {
                self.maybe_1mod(dst, is64);
                self.off32(&[0xf7, add_1reg(0xc0, dst)], imm);
            }
            (_, true) => {
                self.maybe_mod(dst, src, is64);
                self.bytes(&[0x39, add_2reg(0xc0, dst, src)]);
            }
            (_, false) if imm == 0 => {
                self.maybe_mod(dst, dst, is64);
                self.bytes(&[0x85, add_2reg(0xc0, dst, dst)]);
            }
            (_, false) => {
                self.maybe_1mod(dst, is64);
                if is_imm8(imm) {
                    self.bytes(&[0x83, add_1reg(0xf8, dst), imm as u8]);
                } else {
                    self.off32(&[0x81, add_1reg(0xf8, dst)], imm);
                }
            }
        }
        match insn.op() {
            jmp::JEQ => 0x74,
            jmp::JSET | jmp::JNE => 0x75,
            jmp::JGT => 0x77,
            jmp::JLT => 0x72,
            jmp::JGE => 0x73,
            jmp::JLE => 0x76,
            jmp::JSGT => 0x7f,
            jmp::JSLT => 0x7c,
            jmp::JSGE => 0x7d,
            jmp::JSLE => 0x7e,
            _ => unreachable!("{insn:?}"),
        }
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    pub code: Vec<u8>,
    /// Where each BPF instruction starts, and behind the last one.
    pub addrs: Vec<usize>,
}

/// Compiles `program` to run at `base`; helper calls go to `call_base + imm`.
pub fn compile(program: &[Insn], base: u64, call_base: u64, config: &Config) -> Image {
    let mut addrs: Vec<usize> = (1..=program.len() + 1).map(|n| n * 64).collect();
    let mut cleanup = (program.len() + 1) * 64;
    let mut length = 0;
    for pass in 0.. {
        assert!(pass < 40, "the passes do not converge");
        let code = emit(
            program,
            base,
            call_base,
            config,
            &mut addrs,
            &mut cleanup,
            config.padding && pass >= 3,
        );
        if code.len() == length {
            return Image { code, addrs };
        }
        length = code.len();
    }
    unreachable!()
}

fn prologue(program: &[Insn], config: &Config) -> (Vec<u8>, [bool; 4]) {
    let mut emit = Emit(Vec::new());
    if config.poisoned {
        emit.bytes(&[0x0f, 0x1f, 0x40, 0xd6]);
    } else if config.ibt {
        emit.bytes(&[0xf3, 0x0f, 0x1e, 0xfa]);
    }
    emit.nops(5);
    if config.tail_calls {
        emit.bytes(&[0x48, 0x31, 0xc0]);
    } else {
        emit.nops(3);
    }
    emit.bytes(&[0x55, 0x48, 0x89, 0xe5]);
    if config.ibt {
        emit.bytes(&[0xf3, 0x0f, 0x1e, 0xfa]);
    }
    if config.stack_depth != 0 {
        let depth = config.stack_depth.next_multiple_of(8) as i32;
        emit.off32(&[0x48, 0x81, 0xec], depth);
    }
    if config.tail_calls {
        // cmp rax, 33; ja 6; push rax; mov rax, rsp; jmp 1; push rax; push rax
        emit.bytes(&[0x48, 0x83, 0xf8, 33, 0x77, 6]);
        emit.bytes(&[0x50, 0x48, 0x89, 0xe0, 0xeb, 1, 0x50, 0x50]);
    }
    if config.arena.is_some() {
        emit.bytes(&[0x41, 0x54]);
    }
    let used = [6u8, 7, 8, 9].map(|reg| {
        program
            .iter()
            .any(|insn| insn.dst() == reg || insn.src() == reg)
    });
    for (used, push) in
        used.iter()
            .zip([&[0x53u8][..], &[0x41, 0x55], &[0x41, 0x56], &[0x41, 0x57]])
    {
        if *used {
            emit.bytes(push);
        }
    }
    if let Some(base) = config.arena {
        emit.bytes(&[0x49, 0xbc]);
        emit.bytes(&base.to_le_bytes());
    }
    (emit.0, used)
}

fn emit(
    program: &[Insn],
    base: u64,
    call_base: u64,
    config: &Config,
    addrs: &mut [usize],
    cleanup: &mut usize,
    padding: bool,
) -> Vec<u8> {
    let (mut code, used) = prologue(program, config);
    let mut seen_exit = false;
    addrs[0] = code.len();
    let mut index = 0;
    while index < program.len() {
        let insn = &program[index];
        let slots = if insn.is_ld_imm64() { 2 } else { 1 };
        let old_end = addrs[index + slots];
        let old_size = old_end as i64 - addrs[index] as i64;
        let mut emit = Emit(Vec::new());
        // Distance to a BPF instruction from the end of this one, as the last
        // pass had it.
        let distance = |jump: i64, addrs: &[usize]| {
            addrs[(index as i64 + 1 + jump) as usize] as i64 - old_end as i64
        };
        match insn.class() {
            class::ALU | class::ALU64 => emit.arithmetic(insn, config),
            class::LD => {
                let high = u64::from(program[index + 1].imm as u32) << 32;
                emit.mov_imm64(insn.dst(), high | u64::from(insn.imm as u32));
            }
            class::LDX => {
                let (width, off) = (insn.code & 0x18, i32::from(insn.off));
                if insn.mode() == mode::MEMSX {
                    emit.ldsx(width, insn.dst(), insn.src(), off);
                } else {
                    emit.ldx(width, insn.dst(), insn.src(), off);
                }
            }
            class::ST if insn.mode() == mode::NOSPEC => emit.bytes(&[0x0f, 0xae, 0xe8]),
            class::ST => emit.st(insn.code & 0x18, insn.dst(), i32::from(insn.off), insn.imm),
            class::STX if insn.mode() == mode::ATOMIC => emit.atomic(insn),
            class::STX => emit.stx(
                insn.code & 0x18,
                insn.dst(),
                insn.src(),
                i32::from(insn.off),
            ),
            _ if insn.is_call() => {
                let target = call_base.wrapping_add_signed(i64::from(insn.imm));
                let next = base + code.len() as u64 + 5;
                emit.off32(&[0xe8], target.wrapping_sub(next) as i32);
            }
            _ if insn.is_exit() && !seen_exit => {
                seen_exit = true;
                *cleanup = code.len();
                for (used, pop) in used
                    .iter()
                    .zip([&[0x5bu8][..], &[0x41, 0x5d], &[0x41, 0x5e], &[0x41, 0x5f]])
                    .rev()
                {
                    if *used {
                        emit.bytes(pop);
                    }
                }
                if config.arena.is_some() {
                    emit.bytes(&[0x41, 0x5c]);
                }
                emit.bytes(&[0xc9]);
                if let Some(thunk) = config.rethunk {
                    let next = base + (code.len() + emit.0.len()) as u64 + 5;
                    emit.off32(&[0xe9], thunk.wrapping_sub(next) as i32);
                } else {
                    emit.bytes(&[0xc3]);
                    if config.sls {
                        emit.bytes(&[0xcc]);
                    }
                }
            }
            _ => {
                let conditional =
                    (insn.op() != jmp::JA && !insn.is_exit()).then(|| emit.compare(insn));
                let jump = if insn.is_exit() {
                    *cleanup as i64 - old_end as i64
                } else {
                    match insn.jump().unwrap() {
                        -1 if conditional.is_none() => -2,
                        jump => distance(i64::from(jump), addrs),
                    }
                };
                let size_diff = (old_size - emit.0.len() as i64).max(0) as usize;
                match conditional {
                    None if jump == 0 && !insn.is_exit() => {
                        if padding {
                            emit.nops(size_diff);
                        }
                    }
                    None if is_imm8_jmp_offset(jump) => {
                        if padding {
                            emit.nops(size_diff - 2);
                        }
                        emit.bytes(&[0xeb, jump as u8]);
                    }
                    None => emit.off32(&[0xe9], jump as i32),
                    Some(short) if is_imm8_jmp_offset(jump) => {
                        if padding {
                            emit.nops(size_diff - 2);
                        }
                        emit.bytes(&[short, jump as u8]);
                    }
                    Some(short) => emit.off32(&[0x0f, short + 0x10], jump as i32),
                }
            }
        }
        code.extend_from_slice(&emit.0);
        if slots == 2 {
            addrs[index + 1] = code.len();
        }
        addrs[index + slots] = code.len();
        index += slots;
    }
    code
}
