# decode.py: the instructions of a program's machine code that an injection can be
# made at: those with a memory operand, and the jumps out of the image to the stub of
# a call.
import capstone
from capstone import x86

from debugger import store_of


TRAP = b"\xeb\xfe"  # jmp to itself
# R1 to R5; R6 to R9 and R10, which a call leaves alone.
ARGUMENTS = ["rdi", "rsi", "rdx", "rcx", "r8"]
KEPT = ["rbx", "r13", "r14", "r15", "rbp"]


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
        # Calls with nothing but moves and looks between this one and them, which the module may
        # make in the same stay in the kernel.
        self.following = []
        # The instruction behind it, if a trap has room there.
        self.behind = None

    @property
    def text(self):
        return f"{self.helper}({', '.join(self.arguments)})"


class InRow(Site):
    """A call behind others, as it is made together with them: its arguments are what the
    first call's registers say. `sources` has, for each argument that is known, which of
    them and how much more, or None and a number. `looks`: it comes, or not, by what a call
    before it has returned."""

    def __init__(self, first, call, sources, looks):
        self.address, self.image, self.kind, self.begins = (
            first.address, first.image, first.kind, first.begins)
        self.first, self.call, self.sources, self.looks = first, call, sources, looks
        self.after, self.size = call.after, call.size

    @property
    def helper(self):
        return self.call.helper

    @property
    def arguments(self):
        return self.call.arguments

    @property
    def text(self):
        return f"{self.call.text} in a row with {self.first.text}"


class Row:
    """What is known of the registers as calls follow upon each other."""

    def __init__(self, first):
        self.first = first
        # What a call leaves as it was, and what it takes.
        self.values = {name: (name, 0) for name in KEPT}
        self.taken = set()
        self.looks = False

    def call(self, call):
        sources = [self.values.get(name) for name in ARGUMENTS]
        # What a call before this one has taken is its to refuse.
        known = [source if source and source[0] not in self.taken else None for source in sources]
        self.first.following.append(InRow(self.first, call, known, self.looks))
        self.taken |= {source[0] for source in sources if source and source[0]}
        for name in ["rax", *ARGUMENTS]:
            self.values.pop(name, None)

    def move(self, insn):
        """False for what is something else."""
        if insn.mnemonic in ("nop", "test", "cmp"):
            return all(operand.type != x86.X86_OP_MEM for operand in insn.operands)
        if insn.mnemonic in ("je", "jne"):
            self.looks = True
            return True
        if insn.mnemonic not in ("mov", "movabs", "add", "sub", "xor"):
            return False
        to, by = insn.operands
        if to.type != x86.X86_OP_REG or by.type not in (x86.X86_OP_REG, x86.X86_OP_IMM):
            return False
        name = whole(insn.reg_name(to.reg))
        of = (self.values.get(whole(insn.reg_name(by.reg))) if by.type == x86.X86_OP_REG
              else (None, by.imm % (1 << 8 * to.size)))
        if insn.mnemonic == "xor":
            of = (None, 0) if by.type == x86.X86_OP_REG and by.reg == to.reg else None
        elif insn.mnemonic in ("add", "sub"):
            old, sign = self.values.get(name), 1 if insn.mnemonic == "add" else -1
            of = (old[0], old[1] + sign * of[1]) if old and of and of[0] is None else None
        if of and to.size < 8:
            of = (None, of[1] % (1 << 32)) if of[0] is None else None
        self.values.pop(name, None)
        if of:
            self.values[name] = of
        return True


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
    found, row, call = [], None, None
    for insn in instructions(start, code):
        if call and insn.size >= len(TRAP):
            call.behind = Site(insn, start, "behind")
        call = None
        for operand in insn.operands:
            if operand.type != x86.X86_OP_MEM:
                continue
            memory, kind = operand.mem, kind_of(insn, operand)
            # The stack pointer is not an instruction's to choose.
            no_base = memory.base in (0, x86.X86_REG_RIP, x86.X86_REG_RSP)
            if kind and not (no_base or memory.segment or memory.index == memory.base):
                found.append(Access(insn, start, kind, operand))
        if leads_out(insn, start, start + len(code)):
            call = Call(insn, start)
            found.append(call)
            if row:
                row.call(call)
            else:
                row = Row(call)
        elif row and not row.move(insn):
            row = None
    return found


def leads_out(insn, start, end):
    """Whether it is a jump to elsewhere."""
    return (insn.mnemonic == "jmp" and insn.operands[0].type == x86.X86_OP_IMM
            and not start <= insn.operands[0].imm % (1 << 64) < end)
