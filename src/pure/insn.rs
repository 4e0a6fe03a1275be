// SPDX-License-Identifier: GPL-2.0
//! eBPF instructions as the kernel holds them after verification.
//!
//! Sources: `include/uapi/linux/bpf.h` and `include/uapi/linux/bpf_common.h`
//! (encoding), `include/linux/filter.h` (the opcodes that only the kernel
//! itself produces).

/// Instruction classes, the low three bits of an opcode.
pub mod class {
    /// Loads of immediates, and the classic packet loads.
    pub const LD: u8 = 0x00;
    /// Loads from memory into a register.
    pub const LDX: u8 = 0x01;
    /// Stores of an immediate to memory.
    pub const ST: u8 = 0x02;
    /// Stores of a register to memory, and atomics.
    pub const STX: u8 = 0x03;
    /// 32-bit arithmetic.
    pub const ALU: u8 = 0x04;
    /// Jumps that compare 64 bits; calls and exits.
    pub const JMP: u8 = 0x05;
    /// Jumps that compare 32 bits; the long unconditional jump.
    pub const JMP32: u8 = 0x06;
    /// 64-bit arithmetic.
    pub const ALU64: u8 = 0x07;
}

/// Access sizes of loads and stores (mask 0x18).
pub mod size {
    /// Four bytes.
    pub const W: u8 = 0x00;
    /// Two bytes.
    pub const H: u8 = 0x08;
    /// One byte.
    pub const B: u8 = 0x10;
    /// Eight bytes.
    pub const DW: u8 = 0x18;
}

/// Modes of loads and stores (mask 0xe0).
pub mod mode {
    /// `LD`: a 64-bit immediate in two slots.
    pub const IMM: u8 = 0x00;
    /// `LD`: packet load at a fixed offset (classic).
    pub const ABS: u8 = 0x20;
    /// `LD`: packet load at a register's offset (classic).
    pub const IND: u8 = 0x40;
    /// A plain access.
    pub const MEM: u8 = 0x60;
    /// A load that sign-extends.
    pub const MEMSX: u8 = 0x80;
    /// `STX`: an atomic operation.
    pub const ATOMIC: u8 = 0xc0;
    /// `LDX`: a load of kernel memory whose fault the kernel catches.
    pub const PROBE_MEM: u8 = 0x20;
    /// `LDX`: the same, sign-extending.
    pub const PROBE_MEMSX: u8 = 0x40;
    /// An arena access, relative to the arena's base.
    pub const PROBE_MEM32: u8 = 0xa0;
    /// `LDX`: an arena load that sign-extends. Shares its number with
    /// [`NOSPEC`] and [`ATOMIC`]; the class tells them apart.
    pub const PROBE_MEM32SX: u8 = 0xc0;
    /// `STX`: an atomic operation on an arena.
    pub const PROBE_ATOMIC: u8 = 0xe0;
    /// `ST`: not a store but a speculation barrier.
    pub const NOSPEC: u8 = 0xc0;
}

/// Atomic operations, by their `imm` (include/uapi/linux/bpf.h).
pub mod atomic {
    /// Of operations that change memory: what was there is read, too.
    pub const FETCH: i32 = 0x01;
    /// An exchange if memory is what R0 is.
    pub const COMPARE_EXCHANGE: i32 = 0xf1;
    /// A load that no later access comes before.
    pub const LOAD_ACQUIRE: i32 = 0x100;
    /// A store that no earlier access comes behind.
    pub const STORE_RELEASE: i32 = 0x110;
}

/// Arithmetic operations (mask 0xf0).
pub mod alu {
    /// `dst += src`
    pub const ADD: u8 = 0x00;
    /// `dst -= src`
    pub const SUB: u8 = 0x10;
    /// `dst *= src`
    pub const MUL: u8 = 0x20;
    /// `dst /= src`, signed if `off` is 1
    pub const DIV: u8 = 0x30;
    /// `dst |= src`
    pub const OR: u8 = 0x40;
    /// `dst &= src`
    pub const AND: u8 = 0x50;
    /// `dst <<= src`
    pub const LSH: u8 = 0x60;
    /// `dst >>= src`, logical
    pub const RSH: u8 = 0x70;
    /// `dst = -dst`
    pub const NEG: u8 = 0x80;
    /// `dst %= src`, signed if `off` is 1
    pub const MOD: u8 = 0x90;
    /// `dst ^= src`
    pub const XOR: u8 = 0xa0;
    /// `dst = src`; `off` may ask for sign extension or name a special move
    pub const MOV: u8 = 0xb0;
    /// `dst >>= src`, arithmetic
    pub const ARSH: u8 = 0xc0;
    /// byte swaps
    pub const END: u8 = 0xd0;
}

/// Jump operations (mask 0xf0).
pub mod jmp {
    /// Always; in class `JMP32` the distance is in `imm`.
    pub const JA: u8 = 0x00;
    /// `dst == src`
    pub const JEQ: u8 = 0x10;
    /// `dst > src`
    pub const JGT: u8 = 0x20;
    /// `dst >= src`
    pub const JGE: u8 = 0x30;
    /// `dst & src`
    pub const JSET: u8 = 0x40;
    /// `dst != src`
    pub const JNE: u8 = 0x50;
    /// signed `dst > src`
    pub const JSGT: u8 = 0x60;
    /// signed `dst >= src`
    pub const JSGE: u8 = 0x70;
    /// A call.
    pub const CALL: u8 = 0x80;
    /// The end of a function.
    pub const EXIT: u8 = 0x90;
    /// `dst < src`
    pub const JLT: u8 = 0xa0;
    /// `dst <= src`
    pub const JLE: u8 = 0xb0;
    /// signed `dst < src`
    pub const JSLT: u8 = 0xc0;
    /// signed `dst <= src`
    pub const JSLE: u8 = 0xd0;
    /// `may_goto`; the verifier replaces it.
    pub const JCOND: u8 = 0xe0;
    /// What the verifier makes of a call of `bpf_tail_call`.
    pub const TAIL_CALL: u8 = 0xf0;
}

/// What `src_reg` means in an `ld_imm64` or a call.
pub mod pseudo {
    /// `ld_imm64`: a map by file descriptor.
    pub const MAP_FD: u8 = 1;
    /// `ld_imm64`: an address inside a map's value, by file descriptor.
    pub const MAP_VALUE: u8 = 2;
    /// `ld_imm64`: a variable of the kernel.
    pub const BTF_ID: u8 = 3;
    /// `ld_imm64`: a sub-program's address, for a callback.
    pub const FUNC: u8 = 4;
    /// `ld_imm64`: a map by index.
    pub const MAP_IDX: u8 = 5;
    /// `ld_imm64`: an address inside a map's value, by index.
    pub const MAP_IDX_VALUE: u8 = 6;
    /// Call: a sub-program, `imm` is the distance.
    pub const CALL: u8 = 1;
    /// Call: a kernel function.
    pub const KFUNC_CALL: u8 = 2;
}

/// Return value and scratch.
pub const REG_0: u8 = 0;
/// First argument; the context at entry.
pub const REG_1: u8 = 1;
/// Second argument.
pub const REG_2: u8 = 2;
/// Frame pointer, read-only.
pub const REG_FP: u8 = 10;
/// Base of arguments beyond the fifth (`BPF_REG_PARAMS`). Programs use it only
/// around calls of sub-programs and kfuncs.
pub const REG_PARAMS: u8 = 11;
/// The verifier's and JIT's scratch register (`BPF_REG_AX`): r10 of x86.
///
/// Since the kernel grew [`REG_PARAMS`] this is 12, not 11
/// (`include/linux/filter.h`: `MAX_BPF_REG + 1`). The C side must assert that
/// its `BPF_REG_AX` equals this.
pub const REG_AX: u8 = 12;

/// Immediate operand (bit 3 of arithmetic and jump opcodes clear).
pub const K: u8 = 0x00;
/// Register operand (bit 3 of arithmetic and jump opcodes set).
pub const X: u8 = 0x08;
/// `off` of a `mov` that adds this CPU's per-CPU offset (`BPF_ADDR_PERCPU`).
pub const ADDR_PERCPU: i16 = -1;
/// `off` of a `mov` that casts between address spaces (`BPF_ADDR_SPACE_CAST`).
pub const ADDR_SPACE_CAST: i16 = 1;

/// One slot of a program; the layout of `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insn {
    /// Opcode.
    pub code: u8,
    /// Destination register in the low four bits, source in the high four.
    regs: u8,
    /// Displacement of a memory access, or distance of a jump in slots from
    /// the next instruction.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

const _: () = assert!(core::mem::size_of::<Insn>() == 8 && core::mem::align_of::<Insn>() == 4);

impl Insn {
    /// An instruction from its fields; registers above 15 are cut.
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self {
            code,
            regs: (dst & 0xf) | (src << 4),
            off,
            imm,
        }
    }

    /// `dst = src`, 64 bits.
    pub const fn mov64_reg(dst: u8, src: u8) -> Self {
        Self::new(class::ALU64 | alu::MOV | X, dst, src, 0, 0)
    }

    /// `dst = imm`, sign-extended to 64 bits.
    pub const fn mov64_imm(dst: u8, imm: i32) -> Self {
        Self::new(class::ALU64 | alu::MOV | K, dst, 0, 0, imm)
    }

    /// `dst = value`, in two slots.
    pub const fn ld_imm64(dst: u8, value: u64) -> [Self; 2] {
        [
            Self::new(
                class::LD | size::DW | mode::IMM,
                dst,
                0,
                0,
                value as u32 as i32,
            ),
            Self::new(0, 0, 0, 0, (value >> 32) as u32 as i32),
        ]
    }

    /// 64-bit arithmetic with a register.
    pub const fn alu64_reg(op: u8, dst: u8, src: u8) -> Self {
        Self::new(class::ALU64 | op | X, dst, src, 0, 0)
    }

    /// 64-bit arithmetic with an immediate.
    pub const fn alu64_imm(op: u8, dst: u8, imm: i32) -> Self {
        Self::new(class::ALU64 | op | K, dst, 0, 0, imm)
    }

    /// 32-bit arithmetic with a register; clears the upper half of `dst`.
    pub const fn alu32_reg(op: u8, dst: u8, src: u8) -> Self {
        Self::new(class::ALU | op | X, dst, src, 0, 0)
    }

    /// 32-bit arithmetic with an immediate; clears the upper half of `dst`.
    pub const fn alu32_imm(op: u8, dst: u8, imm: i32) -> Self {
        Self::new(class::ALU | op | K, dst, 0, 0, imm)
    }

    /// The bytes of `dst` the other way round (`bswap64`).
    pub const fn swap64(dst: u8) -> Self {
        Self::new(class::ALU64 | alu::END, dst, 0, 0, 64)
    }

    /// `dst = *(size *)(src + off)`.
    pub const fn ldx(size: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(class::LDX | mode::MEM | size, dst, src, off, 0)
    }

    /// `*(size *)(dst + off) = src`.
    pub const fn stx(size: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(class::STX | mode::MEM | size, dst, src, off, 0)
    }

    /// `*(size *)(dst + off) = imm`.
    pub const fn st(size: u8, dst: u8, off: i16, imm: i32) -> Self {
        Self::new(class::ST | mode::MEM | size, dst, 0, off, imm)
    }

    /// A call of a helper. `imm` is the distance of its address from
    /// `__bpf_call_base`, as the verifier's last pass leaves it.
    pub const fn call(imm: i32) -> Self {
        Self::new(class::JMP | jmp::CALL, 0, 0, 0, imm)
    }

    /// The end of a function.
    pub const fn exit() -> Self {
        Self::new(class::JMP | jmp::EXIT, 0, 0, 0, 0)
    }

    /// `goto off`.
    pub const fn ja(off: i16) -> Self {
        Self::new(class::JMP | jmp::JA, 0, 0, off, 0)
    }

    /// `goto imm`, with a 32-bit distance.
    pub const fn ja32(distance: i32) -> Self {
        Self::new(class::JMP32 | jmp::JA, 0, 0, 0, distance)
    }

    /// `if dst op imm goto off`, 64 bits.
    pub const fn jmp_imm(op: u8, dst: u8, imm: i32, off: i16) -> Self {
        Self::new(class::JMP | op | K, dst, 0, off, imm)
    }

    /// `if dst op src goto off`, 64 bits.
    pub const fn jmp_reg(op: u8, dst: u8, src: u8, off: i16) -> Self {
        Self::new(class::JMP | op | X, dst, src, off, 0)
    }

    /// Destination register, 0 to 15.
    pub const fn dst(&self) -> u8 {
        self.regs & 0xf
    }

    /// Source register, 0 to 15; the pseudo number of calls and `ld_imm64`.
    pub const fn src(&self) -> u8 {
        self.regs >> 4
    }

    /// One of [`class`].
    pub const fn class(&self) -> u8 {
        self.code & 0x07
    }

    /// One of [`mode`]; loads and stores only.
    pub const fn mode(&self) -> u8 {
        self.code & 0xe0
    }

    /// One of [`alu`] or [`jmp`].
    pub const fn op(&self) -> u8 {
        self.code & 0xf0
    }

    /// Bytes that a load or store moves: 1, 2, 4 or 8.
    pub const fn access_bytes(&self) -> u8 {
        match self.code & 0x18 {
            size::B => 1,
            size::H => 2,
            size::W => 4,
            _ => 8,
        }
    }

    /// The end of a function.
    pub const fn is_exit(&self) -> bool {
        self.code == class::JMP | jmp::EXIT
    }

    /// Any call: helper, sub-program or kfunc.
    pub const fn is_call(&self) -> bool {
        self.code == class::JMP | jmp::CALL
    }

    /// A call of a helper, or of what the verifier put in its place.
    pub const fn is_helper_call(&self) -> bool {
        self.is_call() && self.src() == 0
    }

    /// A call of a sub-program.
    pub const fn is_pseudo_call(&self) -> bool {
        self.is_call() && self.src() == pseudo::CALL
    }

    /// A call of a kfunc.
    pub const fn is_kfunc_call(&self) -> bool {
        self.is_call() && self.src() == pseudo::KFUNC_CALL
    }

    /// A tail call; `imm` is 0 or one more than the index of its poke
    /// descriptor.
    pub const fn is_tail_call(&self) -> bool {
        self.code == class::JMP | jmp::TAIL_CALL
    }

    /// The first slot of a 64-bit immediate load.
    pub const fn is_ld_imm64(&self) -> bool {
        self.code == class::LD | size::DW | mode::IMM
    }

    /// The second slot of a 64-bit immediate load. No other instruction of a
    /// verified program has opcode 0.
    pub const fn is_ld_imm64_tail(&self) -> bool {
        self.code == 0
    }

    /// An `ld_imm64` that loads the address of a sub-program.
    pub const fn is_pseudo_func(&self) -> bool {
        self.is_ld_imm64() && self.src() == pseudo::FUNC
    }

    /// An indirect jump through a jump table.
    pub const fn is_gotox(&self) -> bool {
        self.code == class::JMP | jmp::JA | X
    }

    /// A jump without a condition.
    pub const fn is_jump_always(&self) -> bool {
        self.code == class::JMP | jmp::JA || self.code == class::JMP32 | jmp::JA
    }

    /// `may_goto`.
    pub const fn is_may_goto(&self) -> bool {
        self.code == class::JMP | jmp::JCOND
    }

    /// A plain load through a pointer, sign-extending or not.
    pub const fn is_load(&self) -> bool {
        self.class() == class::LDX && matches!(self.mode(), mode::MEM | mode::MEMSX)
    }

    /// A load whose fault the kernel makes a 0 of, sign-extending or not.
    pub const fn is_probe(&self) -> bool {
        self.class() == class::LDX && matches!(self.mode(), mode::PROBE_MEM | mode::PROBE_MEMSX)
    }

    /// An access to an arena: of where there is nothing the kernel makes loads 0, and
    /// stores nothing.
    pub const fn is_arena(&self) -> bool {
        match self.class() {
            class::LDX => matches!(self.mode(), mode::PROBE_MEM32 | mode::PROBE_MEM32SX),
            class::ST => self.mode() == mode::PROBE_MEM32,
            class::STX => matches!(self.mode(), mode::PROBE_MEM32 | mode::PROBE_ATOMIC),
            _ => false,
        }
    }

    /// Of a load, plain or not, the one whose fault the kernel makes a 0 of.
    pub const fn as_probe(mut self) -> Self {
        let probing = match self.mode() {
            mode::MEMSX | mode::PROBE_MEMSX => mode::PROBE_MEMSX,
            _ => mode::PROBE_MEM,
        };
        self.code = (self.code & !0xe0) | probing;
        self
    }

    /// A plain store through a pointer, or an atomic operation on memory.
    pub const fn is_store(&self) -> bool {
        match self.class() {
            class::ST => self.mode() == mode::MEM,
            class::STX => matches!(self.mode(), mode::MEM | mode::ATOMIC),
            _ => false,
        }
    }

    /// An atomic operation, on an arena or not.
    const fn is_atomic(&self) -> bool {
        self.class() == class::STX && matches!(self.mode(), mode::ATOMIC | mode::PROBE_ATOMIC)
    }

    /// An atomic load-acquire.
    pub const fn is_load_acquire(&self) -> bool {
        self.is_atomic() && self.imm == atomic::LOAD_ACQUIRE
    }

    /// The register that an atomic operation reads memory into (`bpf_atomic_load_reg()`,
    /// arch/x86/net/bpf_jit_comp.c).
    pub const fn fetched(&self) -> Option<u8> {
        if !self.is_atomic() {
            return None;
        }
        match self.imm {
            atomic::LOAD_ACQUIRE => Some(self.dst()),
            atomic::STORE_RELEASE => None,
            atomic::COMPARE_EXCHANGE => Some(REG_0),
            operation if operation & atomic::FETCH != 0 => Some(self.src()),
            _ => None,
        }
    }

    /// The register through which a load or store goes.
    ///
    /// An atomic load-acquire (`imm` 0x100) is of class `STX` but reads
    /// through `src`, see `bpf_atomic_is_load_acq()`.
    pub const fn base(&self) -> Option<u8> {
        match self.class() {
            class::LDX => Some(self.src()),
            class::STX if self.is_load_acquire() => Some(self.src()),
            class::ST | class::STX => Some(self.dst()),
            _ => None,
        }
    }

    /// The same load or store through another register.
    pub const fn rebased(self, base: u8, off: i16) -> Self {
        let regs = match self.class() {
            class::LDX => (self.regs & 0x0f) | (base << 4),
            _ => (self.regs & 0xf0) | (base & 0xf),
        };
        Self { regs, off, ..self }
    }

    /// The distance of a direct jump, in slots from the next instruction, or
    /// `None` if this is no direct jump. Its target is `index + 1 + distance`.
    pub const fn jump(&self) -> Option<i32> {
        match self.class() {
            class::JMP | class::JMP32 => {}
            _ => return None,
        }
        match self.op() {
            jmp::CALL | jmp::EXIT => return None,
            jmp::TAIL_CALL if self.class() == class::JMP => return None,
            _ => {}
        }
        if self.is_gotox() {
            return None;
        }
        if self.code == class::JMP32 | jmp::JA {
            return Some(self.imm);
        }
        Some(self.off as i32)
    }

    /// The same jump with another distance, or `None` if this is no direct
    /// jump or the distance does not fit its field.
    pub const fn with_jump(self, distance: i64) -> Option<Self> {
        if self.jump().is_none() {
            return None;
        }
        let mut jump = self;
        if self.code == class::JMP32 | jmp::JA {
            if distance < i32::MIN as i64 || distance > i32::MAX as i64 {
                return None;
            }
            jump.imm = distance as i32;
        } else {
            if distance < i16::MIN as i64 || distance > i16::MAX as i64 {
                return None;
            }
            jump.off = distance as i16;
        }
        Some(jump)
    }

    /// The eight bytes of this slot in memory order.
    pub const fn to_bytes(self) -> [u8; 8] {
        let off = self.off.to_le_bytes();
        let imm = self.imm.to_le_bytes();
        [
            self.code, self.regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_struct_bpf_insn() {
        // r2 = *(u32 *)(r10 - 4)
        assert_eq!(
            Insn::ldx(size::W, 2, REG_FP, -4).to_bytes(),
            [0x61, 0xa2, 0xfc, 0xff, 0, 0, 0, 0]
        );
        let [low, high] = Insn::ld_imm64(3, 0x1122_3344_8566_7788);
        assert_eq!(low.to_bytes(), [0x18, 0x03, 0, 0, 0x88, 0x77, 0x66, 0x85]);
        assert_eq!(high.to_bytes(), [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11]);
        assert_eq!(
            Insn::jmp_imm(jmp::JEQ, REG_AX, 0, 1).to_bytes(),
            [0x15, 0x0c, 1, 0, 0, 0, 0, 0]
        );
        assert_eq!(Insn::exit().to_bytes(), [0x95, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn calls_are_told_apart_by_their_source_register() {
        let call = |src| Insn::new(class::JMP | jmp::CALL, 0, src, 0, 5);
        assert!(call(0).is_helper_call());
        assert!(call(pseudo::CALL).is_pseudo_call());
        assert!(call(pseudo::KFUNC_CALL).is_kfunc_call());
        assert!(!call(pseudo::CALL).is_helper_call());
        assert_eq!(call(0).jump(), None);
    }

    #[test]
    fn only_direct_jumps_have_a_distance() {
        assert_eq!(Insn::ja(-3).jump(), Some(-3));
        assert_eq!(Insn::ja32(70_000).jump(), Some(70_000));
        assert_eq!(Insn::jmp_reg(jmp::JSLE, 1, 2, 9).jump(), Some(9));
        assert_eq!(
            Insn::new(class::JMP32 | jmp::JEQ | X, 1, 2, 4, 77).jump(),
            Some(4)
        );
        assert_eq!(Insn::exit().jump(), None);
        assert_eq!(Insn::new(0x0d, 1, 0, 0, 0).jump(), None, "gotox");
        assert_eq!(Insn::new(0xf5, 0, 0, 0, 0).jump(), None, "tail call");
        for insn in [
            Insn::mov64_imm(0, 1),
            Insn::st(size::DW, 10, -8, 0),
            Insn::ld_imm64(1, 0)[0],
            Insn::ld_imm64(1, 0)[1],
        ] {
            assert_eq!(insn.jump(), None);
            assert_eq!(insn.with_jump(1), None);
        }
    }

    #[test]
    fn a_distance_that_does_not_fit_is_refused() {
        assert_eq!(Insn::ja(0).with_jump(32_767), Some(Insn::ja(32_767)));
        assert_eq!(Insn::ja(0).with_jump(32_768), None);
        assert_eq!(Insn::ja(0).with_jump(-32_769), None);
        assert_eq!(Insn::ja32(0).with_jump(32_768), Some(Insn::ja32(32_768)));
        assert_eq!(Insn::ja32(0).with_jump(1 << 31), None);
    }

    #[test]
    fn an_acquiring_load_goes_through_its_source() {
        let atomic = |imm| Insn::new(class::STX | mode::ATOMIC | size::DW, 1, 2, 0, imm);
        assert_eq!(atomic(0x100).base(), Some(2));
        assert_eq!(atomic(0x110).base(), Some(1));
        assert_eq!(atomic(0).base(), Some(1));
    }
}
