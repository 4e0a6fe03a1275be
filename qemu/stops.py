# stops.py: events at an instruction that the guest chooses. QEMU's gdb stub stops
# the machine there, its monitor sends the event, and the machine goes on.
#
# The guest writes a line of words into its port bailey.stops:
#
#   break ADDRESS   go on until an instruction is next, wherever (hexadecimal)
#   step N          so many instructions, without any interrupt
#   nmi, mc         an NMI, a machine check that the kernel need not care for
#   storm N         so many seconds after all this NMIs, for two seconds
#
# It is told "armed" when the first breakpoint is there, and when all has been
# done, or not in time, the address at which each event was sent, and "done" or
# "late". One CPU.
import json
import socket
import threading
import time

PATIENCE = 10


def arguments(run):
    """What QEMU needs for it."""
    return ["-gdb", f"unix:{run}/gdb,server=on,wait=off",
            "-qmp", f"unix:{run}/qmp-stops,server=on,wait=off",
            "-chardev", f"socket,id=stops,path={run}/stops,server=on,wait=off",
            "-device", "virtserialport,name=bailey.stops,chardev=stops"]


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
    """A client of the gdb stub (gdb's manual, "Remote Protocol")."""

    def __init__(self, path):
        self.sock, self.data = connect(path), b""
        self.ask("?")

    def send(self, text):
        data = text.encode()
        self.sock.sendall(b"$%s#%02x" % (data, sum(data) % 256))

    def receive(self, patience=PATIENCE):
        self.sock.settimeout(patience)
        while True:
            start = self.data.find(b"$")
            end = self.data.find(b"#", start)
            if start >= 0 and end >= 0 and len(self.data) >= end + 3:
                packet, self.data = self.data[start + 1:end], self.data[end + 3:]
                self.sock.sendall(b"+")
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

    def stop(self):
        self.sock.sendall(b"\x03")
        self.receive()

    def go(self):
        self.send("c")

    def pc(self):
        return int.from_bytes(bytes.fromhex(self.ask("p10")), "little")


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


class Stops(threading.Thread):
    """Does what the guest asks for as long as there is one."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.path = run

    def run(self):
        try:
            self.port = connect(f"{self.path}/stops").makefile("rw")
            line = self.port.readline()
            self.monitor, self.debugger = Monitor(f"{self.path}/qmp-stops"), None
            while line:
                self.carry_out(line.split())
                line = self.port.readline()
        except OSError:
            pass  # it has powered off

    def answer(self, text):
        print(text, file=self.port, flush=True)

    def carry_out(self, words):
        if self.debugger is None:
            self.debugger = Debugger(f"{self.path}/gdb")
        else:
            self.debugger.stop()
        sent, armed, last, storm, words = [], False, "done", 0, iter(words)
        try:
            for word in words:
                if word == "break":
                    address = next(words)
                    self.debugger.ask(f"Z0,{address},1")
                    self.debugger.go()
                    if not armed:
                        self.answer("armed")
                        armed = True
                    try:
                        self.debugger.receive()
                    except Late:
                        self.debugger.stop()
                        raise
                    finally:
                        self.debugger.ask(f"z0,{address},1")
                elif word == "step":
                    for _ in range(int(next(words))):
                        self.debugger.ask("s")
                elif word == "storm":
                    storm = int(next(words))
                else:
                    sent.append(f"{self.debugger.pc():x}")
                    getattr(self.monitor, word)()
        except Late:
            last = "late"
        self.debugger.go()
        if storm:
            time.sleep(storm)
            for _ in range(20):
                self.monitor.nmi()
                time.sleep(0.1)
        self.answer(" ".join([*sent, last]))
