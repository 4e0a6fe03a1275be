#!/usr/bin/env python3
# bochs.py: boots one guest in bochs and reports its verdict as run.py does.
#
# bochs has no virtio and starts no kernel by itself: the kernel comes from a CD
# that is made for the run, tools and payload from two IDE disks. Serial ports
# take what QEMU's virtio ports take: the first the console, the second the
# script's output, the third the verdict (guest.c).
import glob
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
import tty

import run

# What a virtual second is: this many instructions of each CPU. It is about what
# bochs does in a second, so the guest's clock is close to the host's.
INSTRUCTIONS = 100_000_000
# The disks' geometry. bochs cuts off what is not a whole cylinder.
CYLINDER = 16 * 63 * 512

CONFIG = """\
# Debian's bochs has front ends for terminals, X and VNC, and no other.
display_library: term, options="hideIPS"
config_interface: textconfig
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
# The newest model it has: PKS, CET, LASS. Instead of a reset it ends.
cpu: model=arrow_lake, count={smp}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=1
memory: guest={mem}, host={mem}
# Time is instructions alone, not the host's.
clock: sync=none, time0=utc
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata0-master: type=disk, mode=flat, path={run}/tools.erofs
ata0-slave: type=disk, mode=flat, path={run}/payload.erofs
ata1-master: type=cdrom, path={run}/boot.iso, status=inserted
com1: enabled=1, mode=file, dev={run}/console.log
com2: enabled=1, mode=file, dev=/proc/self/fd/{output}
com3: enabled=1, mode=file, dev={run}/verdict
log: {run}/bochs.log
panic: action=fatal
# Registers that bochs does not know are read at every tick.
error: action=ignore
info: action=ignore
debug: action=ignore
"""

GRUB = """\
set timeout=0
menuentry guest {{
    linux /vmlinuz {line}
    initrd /initrd
}}
"""


def disk_of(path):
    """Lengthens an image to whole cylinders; erofs knows its own end."""
    size = os.path.getsize(path)
    if size % CYLINDER:
        os.truncate(path, size + CYLINDER - size % CYLINDER)


def boot_cd(o):
    # The clock's speed is told, because what CPUID says is the model's. A panic
    # is seen in the log; it must not boot again.
    line = ["console=ttyS0,115200", "panic=0", "rdinit=/init", "printk.devkmsg=on",
            f"tsc_early_khz={INSTRUCTIONS // 1000}", o.append]
    cd = f"{o.run}/cd"
    os.makedirs(f"{cd}/boot/grub", exist_ok=True)
    with open(f"{cd}/boot/grub/grub.cfg", "w") as f:
        f.write(GRUB.format(line=" ".join(line).strip()))
    shutil.copy(f"{o.vm}/vmlinuz", f"{cd}/vmlinuz")
    shutil.copy(f"{o.vm}/initrd-bochs", f"{cd}/initrd")
    made = subprocess.run(["grub-mkrescue", "-o", f"{o.run}/boot.iso", cd], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if made.returncode:
        sys.exit(f"vm: grub-mkrescue could not make the boot CD:\n{made.stdout}")
    shutil.rmtree(cd)


def megabytes(size):
    return int(size[:-1]) * 1024 if size[-1] in "gG" else int(size.rstrip("mM"))


class Bochs:
    """One boot in bochs."""

    name = "bochs"
    step = 0.1

    def __init__(self, o):
        self.o = o
        for lock in glob.glob(f"{o.run}/*.lock"):
            os.remove(lock)
        self.output, writer = os.pipe()
        with open(f"{o.run}/bochsrc", "w") as f:
            f.write(CONFIG.format(smp=o.smp, ips=INSTRUCTIONS, mem=megabytes(o.mem),
                                  run=o.run, output=writer))
        # A terminal for the front end, which nobody looks at. Whenever a CPU is
        # idle it waits 1 ms for a key; at the end of its input it does not.
        screen, terminal = pty.openpty()
        with open(f"{o.run}/bochs.out", "wb") as out:
            self.process = subprocess.Popen(
                ["bochs-bin", "-q", "-f", f"{o.run}/bochsrc"], stdin=subprocess.DEVNULL, stdout=terminal, stderr=out,
                env={**os.environ, "TERM": "xterm"}, pass_fds=[writer], preexec_fn=run.die_with_parent)
        os.close(writer)
        os.close(terminal)
        threading.Thread(target=self.drain, args=[screen], daemon=True).start()
        threading.Thread(target=self.drain_own, args=[f"{o.run}/bochs.out"], daemon=True).start()

    def drain_own(self, out):
        """Debian's build opens a terminal of its own for the screen and says which.
        If nobody reads there, bochs waits for ever once that is full."""
        while self.process.poll() is None:
            with open(out, errors="replace") as said:
                found = re.search(r'connected to screen "(.+)"', said.read())
            if found:
                own = os.open(found[1], os.O_RDWR | os.O_NOCTTY)
                tty.setraw(own)
                return self.drain(own)
            time.sleep(0.1)

    @staticmethod
    def drain(screen):
        try:
            while os.read(screen, 65536):
                pass
        except OSError: # the terminal's last user has gone
            os.close(screen)

    def tick(self, now):
        pass

    def complaints(self):
        """Its panics: the last words of a machine that faulted three times, or
        of a configuration that it does not take."""
        said = []
        for log in "bochs.log", "bochs.out":
            try:
                text = open(f"{self.o.run}/{log}", errors="replace").read()
            except FileNotFoundError:
                continue
            said += [line for line in text.splitlines() if "PANIC" in line and "power off" not in line]
        return "\n".join(said)


def main():
    o = run.options().parse_args()
    for tool in "bochs-bin", "grub-mkrescue", "xorriso", "mformat":
        if not shutil.which(tool):
            sys.exit(f"vm: {tool} is missing in the chroot; remove build/stamp/bochs-packages-* and set up again")
    # bochs locks a disk by a file beside it.
    os.symlink(f"{o.vm}/tools.erofs", f"{o.run}/tools.erofs")
    disk_of(f"{o.run}/tools.erofs")
    disk_of(f"{o.run}/payload.erofs")
    boot_cd(o)
    run.run(o, Bochs)


if __name__ == "__main__":
    main()
