#!/usr/bin/env python3
# run.py: boots one guest in QEMU and reports its verdict as exit code:
# the script's own, 124 on time-out, 125 when the machine died without one.
# bochs.py does the same with another emulator, and takes from here what is the
# same.
#
# A kernel that hangs before it reaches /init is a matter of the emulator on a
# busy host, not of the run: it is booted again, and the run says so.
#
# Four files in the run's folder: console.log (kernel), verdict (one line,
# through a port of its own), qemu.log (QEMU's complaints), qmp (socket). The
# script's output comes on stdout as the guest writes it.
import argparse
import contextlib
import ctypes
import json
import math
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time

import campaign
import debugger
import stops

TIMED_OUT, DIED = 124, 125
BOOTS = 3
CONSOLE_TAIL = 40


def options():
    """What every emulator takes."""
    p = argparse.ArgumentParser()
    p.add_argument("--vm", required=True, help="folder with vmlinuz, initrd, tools.erofs")
    p.add_argument("--run", required=True, help="folder of this run, with payload.erofs")
    p.add_argument("--markers", required=True)
    p.add_argument("--smp", type=int, default=2)
    p.add_argument("--mem", default="2G")
    p.add_argument("--timeout", type=float, default=600)
    p.add_argument("--boot-limit", type=float, default=90, help="seconds until /init before the next try")
    p.add_argument("--append", default="")
    return p


def qemu_options():
    p = options()
    p.add_argument("--icount", action="store_true")
    p.add_argument("--nmi", type=float, default=0, help="NMIs per second, sent from outside")
    p.add_argument("--stops", action="store_true", help="events at instructions that the guest chooses")
    p.add_argument("--campaign", nargs="?", const="", help="injected faults; a file that keeps the results")
    p.add_argument("--shell", action="store_true")
    p.add_argument("--qemu", default="", help="more QEMU arguments")
    return p.parse_args()


def command(o):
    run = o.run
    # reboot on panic and -no-reboot: a panic and a triple fault both end QEMU.
    line = ["console=ttyS0", "panic=-1", "rdinit=/init", "printk.devkmsg=on"]
    accel = ["-accel", "tcg,thread=" + ("multi" if o.smp > 1 else "single")]
    if o.icount:
        accel = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    else:
        # The emulator's TSC is the host's, one for all CPUs. Left to itself the
        # kernel measures it and its delay loops against emulated timers, and on
        # a busy host believes what it measures. A jiffy of 5 GHz makes delays
        # too long at worst.
        line += ["tsc=reliable", "lpj=20000000", "no_timer_check"]
    line.append(o.append)
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-nographic", "-no-reboot",
            # Machine checks that do no harm are Intel's alone.
            "-machine", "q35", "-cpu", "max" + ",vendor=GenuineIntel" * o.stops, "-m", o.mem, "-smp", "1" if o.icount else str(o.smp),
            *accel,
            "-kernel", f"{o.vm}/vmlinuz", "-initrd", f"{o.vm}/initrd", "-append", " ".join(line).strip(),
            "-drive", f"if=none,id=tools,format=raw,readonly=on,file={o.vm}/tools.erofs",
            "-device", "virtio-blk-pci,drive=tools",
            "-drive", f"if=none,id=payload,format=raw,readonly=on,file={run}/payload.erofs",
            "-device", "virtio-blk-pci,drive=payload",
            "-chardev", f"file,id=console,path={run}/console.log", "-serial", "chardev:console",
            "-device", "virtio-serial-pci",
            "-device", "virtio-rng-pci",
            "-chardev", f"file,id=verdict,path={run}/verdict",
            "-device", "virtserialport,name=bailey.verdict,chardev=verdict",
            "-chardev", "stdio,id=output,signal=off",
            "-device", "virtconsole,chardev=output" if o.shell
            else "virtserialport,name=bailey.output,chardev=output",
            "-qmp", f"unix:{run}/qmp,server=on,wait=off",
            *(debugger.arguments(run, stops.PORT) if o.stops else []),
            *(debugger.arguments(run, campaign.PORT) if o.campaign is not None else []),
            *o.qemu.split()]


def die_with_parent():
    """If this process is killed hard, the emulator must not live on."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Console:
    """The kernel's console file, looked through for markers as it grows."""

    def __init__(self, path, markers):
        self.path, self.offset, self.rest = path, 0, b""
        self.markers, self.booted, self.starts = [], False, 0
        for line in open(markers):
            if line.strip() and not line.startswith("#"):
                grace, pattern = line.rstrip("\n").split(None, 1)
                self.markers.append((float(grace), re.compile(pattern.encode())))

    def news(self):
        """The first marker among the new lines: (grace, line), or None."""
        try:
            with open(self.path, "rb") as f:
                f.seek(self.offset)
                data = f.read()
        except FileNotFoundError:
            return None
        self.offset += len(data)
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.booted = self.booted or b"Run /init as init process" in line
            self.starts += b"] Linux version " in line
            if self.starts > 1:
                return 0, "the machine has reset"
            for grace, pattern in self.markers:
                if pattern.search(line):
                    return grace, line.decode(errors="replace").strip()
        return None

    def tail(self):
        try:
            text = open(self.path, errors="replace").read()
        except FileNotFoundError:
            return []
        return text.replace("\r", "").splitlines()[-CONSOLE_TAIL:]


def verdict(run):
    """The script's exit code once its whole line is there."""
    try:
        m = re.fullmatch(r"exit (\d+)\n", open(f"{run}/verdict").read())
    except FileNotFoundError:
        return None
    return int(m[1]) if m else None


class Monitor:
    """Sends NMIs through QMP, at a rate; the kernel has no source of its own
    under TCG that hits any instruction."""

    def __init__(self, path, rate):
        self.path, self.period, self.sock, self.next = path, 1 / rate if rate else None, None, 0

    def tick(self, now):
        if not self.period or now < self.next:
            return
        self.next = now + self.period
        try:
            if self.sock is None:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(self.path)
                self.sock.sendall(json.dumps({"execute": "qmp_capabilities"}).encode())
            self.sock.sendall(json.dumps({"execute": "inject-nmi"}).encode())
            self.sock.setblocking(False)
            while self.sock.recv(65536):
                pass
        except BlockingIOError:
            self.sock.setblocking(True)
        except OSError:
            self.sock = None


class Qemu:
    """One boot in QEMU."""

    name = "QEMU"

    def __init__(self, o):
        self.o, self.monitor = o, Monitor(f"{o.run}/qmp", o.nmi)
        with open(f"{o.run}/qemu.log", "wb") as log:
            # A pipe as standard input, which nobody writes: at its end QEMU would
            # close the output port's host side, and the guest's writes would block.
            self.process = subprocess.Popen(command(o), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log, preexec_fn=die_with_parent)
        if o.stops:
            stops.Stops(o.run).start()
        if o.campaign is not None:
            campaign.Campaign(o.run, o.campaign).start()
        self.output = self.process.stdout.fileno()
        self.step = min(0.1, self.monitor.period or 1)

    def tick(self, now):
        """Called every step seconds once the kernel is up: the firmware would
        not survive an NMI."""
        self.monitor.tick(now)

    def complaints(self):
        return open(f"{self.o.run}/qemu.log", errors="replace").read().strip()


def note(text):
    sys.stdout.flush()
    print(f"vm: {text}", file=sys.stderr, flush=True)


def supervise(o, machine):
    """The exit code and why; None as code when the kernel hangs in its boot or
    the emulator crashes in it."""
    # The boot has a limit of its own; the run's time begins at /init.
    limit, deadline, reason = time.monotonic() + o.boot_limit, math.inf, None
    console = Console(f"{o.run}/console.log", o.markers)
    select = selectors.DefaultSelector()
    select.register(machine.output, selectors.EVENT_READ)
    output_open = True
    while output_open:
        for _ in select.select(machine.step):
            data = os.read(machine.output, 65536)
            if data:
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            else:
                output_open = False
        now = time.monotonic()
        if console.booted:
            machine.tick(now)
            deadline = min(deadline, now + o.timeout)
        if verdict(o.run) is not None:
            # It powers off by itself; a machine that cannot is ended.
            deadline = min(deadline, now + 10)
        elif reason is None and (found := console.news()):
            reason = found[1]
            deadline = min(deadline, now + found[0])
        if not console.booted and reason is None and now >= limit:
            return None, f"the kernel has not reached /init after {o.boot_limit:g} s"
        if now >= deadline:
            machine.process.kill()
            if verdict(o.run) is None and reason is None:
                return TIMED_OUT, f"time-out after {o.timeout:g} s"
            break
    machine.process.wait()
    code = verdict(o.run)
    if code is not None:
        return code, None
    if not reason:
        found = console.news()
        status = machine.process.returncode
        if not found and not console.booted and status < 0:
            # Its own doing: of ours nothing has run.
            return None, f"{machine.name} ended by signal {-status} before /init"
        reason = found[1] if found else f"{machine.name} ended (status {status})"
    return DIED, f"the machine died without a verdict: {reason}"


def boot(o, start):
    for old in "console.log", "verdict":
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{o.run}/{old}")
    machine = start(o)
    # Asked to stop, take the emulator along.
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, lambda n, _: (machine.process.kill(), sys.exit(128 + n)))
    try:
        return *supervise(o, machine), machine.complaints()
    finally:
        machine.process.kill()
        machine.process.wait()


def run(o, start):
    """Boots machines, which `start` makes, until one reaches /init; exits with
    the verdict."""
    for n in range(1, BOOTS + 1):
        code, why, complaints = boot(o, start)
        if code is not None:
            break
        code, why = DIED, f"{why} (boot {n} of {BOOTS})"
        if n < BOOTS:
            last = Console(f"{o.run}/console.log", o.markers).tail()[-1:]
            note(f"{why}; its last line: {last[0] if last else 'none'}; booting again")
    if why:
        note(why)
        for line in Console(f"{o.run}/console.log", o.markers).tail():
            print(f"    {line}", file=sys.stderr)
        if complaints:
            note(f"{start.name} said: {complaints}")
    sys.exit(code)


def main():
    o = qemu_options()
    if o.shell:
        os.execvp("qemu-system-x86_64", command(o))
    run(o, Qemu)


if __name__ == "__main__":
    main()
