# debugger.py: the machine from outside: QEMU's gdb stub, which stops it, its
# monitor, and a port to the guest.
import json
import select
import socket
import time

PATIENCE = 10

# How gdb numbers the registers that programs have (QEMU's gdb-xml/i386-64bit.xml).
REGISTERS = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
             *(f"r{n}" for n in range(8, 16)), "rip"]
FLAGS, CR3, CR4 = 17, 29, 30

# Of a page-table entry (SDM volume 3, 4.5), and of CR4.
PRESENT, WRITABLE, LARGE = 1, 2, 1 << 7
PAGE = 4096
FRAME = ((1 << 52) - 1) & ~0xfff
LA57 = 1 << 12


def arguments(run, port):
    """What QEMU needs for it. Event descriptors for the queues of its devices would be
    taken down at each stop, and made anew at each start."""
    return ["-global", "virtio-serial-pci.ioeventfd=off", "-global", "virtio-blk-pci.ioeventfd=off",
            "-gdb", f"unix:{run}/gdb,server=on,wait=off",
            "-qmp", f"unix:{run}/qmp-debugger,server=on,wait=off",
            "-chardev", f"socket,id=debugger,path={run}/port,server=on,wait=off",
            "-device", f"virtserialport,name={port},chardev=debugger"]


def connect(path):
    """The socket, once QEMU has it."""
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            time.sleep(0.1)


class Late(Exception):
    """The machine has not come there."""


class Debugger:
    """A client of the gdb stub (gdb's manual, "Remote Protocol"). It does not say "+" to
    what arrives: to QEMU the next question says so, and one that came too late, when
    the machine runs again, would stop it."""

    def __init__(self, path):
        self.sock, self.data = connect(path), b""
        self.ask("?")

    def send(self, *texts):
        self.sock.sendall(b"".join(b"$%s#%02x" % (data, sum(data) % 256)
                                   for data in map(str.encode, texts)))

    def receive(self, patience=PATIENCE):
        self.sock.settimeout(patience)
        while True:
            start = self.data.find(b"$")
            end = self.data.find(b"#", start)
            if start >= 0 and end >= 0 and len(self.data) >= end + 3:
                packet, self.data = self.data[start + 1:end], self.data[end + 3:]
                return packet.decode()
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                raise Late from None
            if not more:
                raise OSError("the machine has gone")
            self.data += more

    def ask(self, text):
        self.send(text)
        return self.receive()

    def ask_all(self, texts):
        """The answers to some questions, in one go."""
        self.send(*texts)
        return [self.receive() for _ in texts]

    def stop(self):
        self.sock.sendall(b"\x03")
        self.receive()

    def go(self, *texts):
        """Goes on, when this has been done."""
        self.send(*texts, "c")
        for _ in texts:
            self.receive()

    def step(self):
        self.ask("s")

    def pc(self):
        return self.register(16)

    def register(self, number):
        return number_of(self.ask(f"p{number:x}"))

    def read(self, address, length):
        """None where nothing is."""
        data = b""
        while length:
            answer = self.ask(read_of(address, min(length, 2000)))
            if answer.startswith("E"):
                return None
            part = bytes.fromhex(answer)
            address, length, data = address + len(part), length - len(part), data + part
        return data

class Tables:
    """The page tables as they are while the machine stands still. Of the two lowest
    levels nothing is kept: the kernel changes them, the others it only adds to."""

    def __init__(self, debugger):
        self.root, cr4 = (number_of(x) for x in debugger.ask_all([f"p{CR3:x}", f"p{CR4:x}"]))
        self.levels = 5 if cr4 & LA57 else 4
        self.kept = {}

    def entry(self, debugger, address, *, ask=(), memory=(), length=0):
        """What they say of the page at the address, or None if there is none; then the
        answers to `ask`, those of the physical memory that `memory` asks for, and up to
        `length` bytes at the address, all in few rounds."""
        answers, asked = [], [*ask, "Qqemu.PhyMemMode:1", *memory]
        entry, table = Entry(), self.root
        if (address + (1 << 9 * self.levels + 11)) % (1 << 64) >= 1 << 9 * self.levels + 12:
            entry = None  # not canonical
        for level in reversed(range(self.levels if entry else 0)):
            at = (table & FRAME) + (address >> 12 + 9 * level & 511) * 8
            table = self.kept.get(at)
            if table is None:
                *more, answer = debugger.ask_all([*asked, read_of(at, 8)])
                answers, asked = answers + more, []
                table = 0 if answer.startswith("E") else number_of(answer)
                if level > 1 and table & PRESENT:
                    self.kept[at] = table
            if not table & PRESENT:
                entry = None
                break
            entry.add(table, address, level)
            if level in (1, 2) and table & LARGE:
                break
        if entry and length:
            # What is on the next page is another matter.
            entry.read = read_of(entry.place, min(length, PAGE - address % PAGE))
            asked.append(entry.read)
        answers += debugger.ask_all([*asked, "Qqemu.PhyMemMode:0"])
        mode = len(ask)
        return entry, answers[:mode] + answers[mode + 1:-1]


class Entry:
    """Of a page: what all levels allow, its protection key, and where in physical memory
    the address is."""

    def __init__(self):
        self.writable, self.key, self.place = True, 0, 0

    def add(self, table, address, level):
        self.writable &= bool(table & WRITABLE)
        self.key = table >> 59 & 15
        inside = (1 << 12 + 9 * level) - 1
        self.place = table & FRAME & ~inside | address & inside


def number_of(answer):
    return int.from_bytes(bytes.fromhex(answer), "little")


def read_of(address, length):
    return f"m{address:x},{length:x}"


def store_of(address, data):
    return f"M{address:x},{len(data):x}:{data.hex()}"


def write_of(register, value):
    """What sets a register."""
    return f"P{REGISTERS.index(register):x}={value.to_bytes(8, 'little').hex()}"


class Monitor:
    """QEMU's own commands."""

    def __init__(self, path):
        self.file = connect(path).makefile("rw")
        self.file.readline()
        self.bank = 0
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        print(json.dumps({"execute": command, "arguments": arguments}), file=self.file, flush=True)
        while "event" in (answer := json.loads(self.file.readline())):
            pass
        return answer

    def human(self, line):
        return self.execute("human-monitor-command", **{"command-line": line})

    def nmi(self):
        self.human("nmi")

    def mc(self):
        """Uncorrected, not enabled, neither signalled: the kernel's table of
        severities says that it is none. The status of the CPU says: in
        progress, can go on, local (SDM volume 3, "Machine-Check Architecture")."""
        self.bank = self.bank % 8 + 1
        self.human(f"mce 0 {self.bank} 0xa000000000000000 0xd 0 0")


class Port:
    """Lines to the guest and from it."""

    def __init__(self, path):
        self.sock, self.data = connect(path), b""

    def say(self, text):
        self.sock.sendall(text.encode() + b"\n")

    def line(self, patience=None):
        self.sock.settimeout(patience)
        while b"\n" not in self.data:
            try:
                more = self.sock.recv(65536)
            except TimeoutError:
                raise Late from None
            if not more:
                raise OSError("the guest has gone")
            self.data += more
        line, self.data = self.data.split(b"\n", 1)
        return line.decode()

    def answer(self, patience=None):
        """The lines before "done"."""
        lines = []
        while (line := self.line(patience)) != "done":
            lines.append(line)
        return lines

    def has_line(self, patience):
        """Whether something is there to be read, or comes within so many seconds."""
        return bool(self.data or select.select([self.sock], [], [], patience)[0])
