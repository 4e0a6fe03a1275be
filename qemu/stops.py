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
import threading
import time

from debugger import Debugger, Late, Monitor, connect

PORT = "bailey.stops"


class Stops(threading.Thread):
    """Does what the guest asks for as long as there is one."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.path = run

    def run(self):
        try:
            self.port = connect(f"{self.path}/port").makefile("rw")
            line = self.port.readline()
            self.monitor, self.debugger = Monitor(f"{self.path}/qmp-debugger"), None
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
