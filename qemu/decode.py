# decode.py: the instructions of a program's machine code that an injection can be
# made at: those with a memory operand, and the jumps out of the image to the stub of
# a call.
import capstone
from capstone import x86

from debugger import store_of


TRAP = b"\xeb\xfe"  # jmp to itself


class Site:
    """An instruction. `kind` is load, store, atomic or argument.

    To have the machine stop there, a jump to itself takes its place until the CPU is
    seen there: after a breakpoint QEMU would translate all code of the guest anew."""

    def __init__(self, insn, image, kind):
        self.address, self.image, self.kind = insn.address, image, kind
        self.begins = bytes(insn.bytes[:len(TRAP)])

    def trap(self):
        return store_of(self.address, TRAP)

    def restore(self):
        return store_of(self.address, self.begins)


class Access(Site):
    """One that uses `size` bytes at base + index * scale + displacement."""

    def __init__(self, insn, image, kind, operand):
        super().__init__(insn, image, kind)
        memory = operand.mem
        self.text = f"{insn.mnemonic} {insn.op_str}"
        self.mnemonic, self.size = insn.mnemonic.split()[-1], operand.size
        self.base = insn.reg_name(memory.base)
        self.index = insn.reg_name(memory.index) if memory.index else None
        self.scale, self.displacement = memory.scale, memory.disp
        # The other operand: a register, or a number.
        self.register = None
        for other in insn.operands:
            if other.type == x86.X86_OP_REG:
                self.register, self.part = whole(insn.reg_name(other.reg)), other.size

    def loaded(self, data):
        """What a load of these bytes leaves in its register."""
        signed = self.mnemonic.startswith("movs")
        value = int.from_bytes(data[:self.size], "little", signed=signed)
        return value % (1 << 8 * self.part)

    def base_for(self, target, index):
        """What the base has to be for the access to go to `target`."""
        return target - self.displacement - index * self.scale & (1 << 64) - 1


class Call(Site):
    """One that leaves the image. What it calls is for the module to say."""

    def __init__(self, insn, image):
        super().__init__(insn, image, "argument")
        self.after, self.size = insn.address + insn.size, 8
        self.helper = self.arguments = None

    @property
    def text(self):
        return f"{self.helper}({', '.join(self.arguments)})"


def whole(name):
    """The 64-bit register that one is a part of."""
    low = {"al": "rax", "bl": "rbx", "cl": "rcx", "dl": "rdx", "sil": "rsi", "dil": "rdi",
           "bpl": "rbp", "spl": "rsp"}
    if name in low:
        return low[name]
    if name[0] == "r" and name[1:].rstrip("bwd").isdigit():
        return name.rstrip("bwd")
    return name if name[0] == "r" else "r" + name.lstrip("e")


def kind_of(insn, operand):
    """load, store, atomic, or None if nothing is accessed there."""
    if insn.mnemonic in ("lea", "nop") or insn.mnemonic.startswith("prefetch"):
        return None
    if x86.X86_PREFIX_LOCK in insn.prefix or insn.mnemonic == "xchg":
        return "atomic"
    return "store" if operand.access & capstone.CS_AC_WRITE else "load"


def instructions(start, code):
    """All of the image at `start`."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    end = start
    for insn in decoder.disasm(code, start):
        end = insn.address + insn.size
        yield insn
    if end != start + len(code):
        raise ValueError(f"the image at {start:x} is not decoded beyond {end:x}")


def registers(start, code):
    """Those that the image has a use for."""
    return {whole(insn.reg_name(register)) for insn in instructions(start, code)
            for used in insn.regs_access() for register in used}


def sites(start, code):
    """Those of the image at `start`; of its jumps to elsewhere all."""
    found = []
    for insn in instructions(start, code):
        for operand in insn.operands:
            if operand.type != x86.X86_OP_MEM:
                continue
            memory, kind = operand.mem, kind_of(insn, operand)
            # The stack pointer is not an instruction's to choose.
            no_base = memory.base in (0, x86.X86_REG_RIP, x86.X86_REG_RSP)
            if kind and not (no_base or memory.segment or memory.index == memory.base):
                found.append(Access(insn, start, kind, operand))
        if insn.mnemonic == "jmp" and insn.operands[0].type == x86.X86_OP_IMM:
            to = insn.operands[0].imm % (1 << 64)
            if not start <= to < start + len(code):
                found.append(Call(insn, start))
    return found
