#!/usr/bin/env python3
# campaign.py: injected faults. At an instruction of an isolated program QEMU's gdb
# stub stops the machine, a register is changed so that the instruction reaches out of
# the program's domain, or a call gets another argument, and the machine goes on: the
# run must end by one violation, which says what was done, where, and at which address.
# The module is the shipped one and knows nothing of it; the guest's side is
# selftests/campaign.c.
#
# Seed and number of an injection decide: the program, one of its instructions that a
# packet reaches, the region, the place in it; or the argument and its value.
#
# The control, with confinement off: each access goes to another domain's value, is made
# in a single step, must have had its effect, and is undone; arguments must be taken. It
# begins with the first program there is, and takes each kind of access as often, so that
# all are among a few hundred.
#
# With a folder to keep results in, a file there has a line for each batch, from which
# a later run goes on and `campaign.py FILE` makes the summary.
import collections
import json
import os
import random
import sys
import threading
import time

from debugger import (FLAGS, REGISTERS, Debugger, Late, Port, Tables, number_of, store_of,
                      write_of)
import decode

PORT = "bailey.campaign"
# Injections for each load of a program; fewer at first, so that a short run has many.
BATCH, SHORT, SHORT_ONES = 200, 50, 5000
SIZES = 5
WORD = (1 << 64) - 1
# Seconds to the next look at where the CPU is.
SOON, LATER, LONGEST, TRIES = 0.0005, 0.02, 0.1, 600
# After so many looks, some three seconds, a run that is at its own instructions goes
# round for ever.
ROUND = 40
# Of an event without an address: #GP, and #SS where the base is rbp.
NO_ADDRESS = {0xd, 0xc}
EVENTS_KEY = 1
# Of the injections of a program that has calls, so many are of arguments.
ARGUMENTS = 0.3
ARGUMENT_REGISTERS = decode.ARGUMENTS
# What a program has addresses in but its frame pointer, where it uses it: what it does
# not use is the kernel's still. And no address.
OWN_REGISTERS = {*ARGUMENT_REGISTERS, "rax", "rbx", "r13", "r14", "r15"}
NO_PLACE = 1 << 63
# What the file `calls` says of arguments (docs/usage.md): those that are looked at, of
# these those that the kernel reads or writes as they are, those of which the run has
# but one thing that fits, or none, and those that may be absent.
POINTERS = {"context", "map", "key", "value", "memory", "lock", "record", "socket", "string",
            "callback", "name", "field", "object", "allocated"}
REACHED = {"key", "value", "memory"}
ONE_THING = {"context", "lock", "socket", "callback", "field", "object"}
MAY_BE_NOTHING = {"memory", "allocated"}
# A dynptr that may be absent, by helper and position; and the helpers whose memory is as
# many words as the next argument says.
MAY_BE_ABSENT = {("bpf_crypto_encrypt", 3), ("bpf_crypto_decrypt", 3)}
TAKES_WORDS = {"bpf_iter_bits_new"}
# Of the kernel's words (enum bpf_arg_type) those for numbers, and that for what a helper
# hands to a callback without a look. A size to be allocated is a number: nothing is there.
NUMBERS_OF_KERNEL = {"ARG_DONTCARE", "ARG_ANYTHING", "ARG_SCALAR", "ARG_PTR_TO_STACK",
                     "ARG_CONST_ALLOC_SIZE_OR_ZERO"}
# What an address would be a count for goes round for minutes under emulation.
LOOPS = {"loop", "iter_num_new"}
# Calls behind which the run goes on elsewhere, or in between.
GO_ELSEWHERE = {"tail_call", "function", "throw"}
NUMBERS = {"0": 0, "all ones": WORD, "sign bit of 32": 1 << 31, "sign bit of 64": 1 << 63,
           "most of an int": 0x7fffffff, "-16 of 32": 0xfffffff0, "2^40": 1 << 40,
           "another argument": None}


class Program:
    """One that is loaded in the guest."""

    def __init__(self, lines):
        self.images, self.ids, self.domains, self.calls = {}, set(), [], {}
        self.calls_outside = False
        for words in map(str.split, lines):
            if words[0] == "program":
                self.name, self.isolated = words[1], words[2:] == ["isolated"]
            elif words[0] == "own":
                self.own = int(words[1])
            elif words[0] == "outside":
                self.calls_outside = True
            elif words[0] == "id":
                self.ids.add(int(words[1]))
            elif words[0] == "image":
                self.images[int(words[1], 16)] = int(words[2], 16)
            elif words[0] == "call" and words[1] != "id":
                self.calls[int(words[3], 16)] = words[4], words[5].split(",")
            elif words[0] == "domain":
                self.domains.append((int(words[2], 16), int(words[3], 16)))

    def in_domain(self, address):
        return any(start <= address < start + size for start, size in self.domains)

    def image_at(self, address):
        """Where the one begins that has it."""
        return next((start for start, size in self.images.items()
                     if start <= address < start + size), None)

    def may_go_on(self, ran):
        """Whether the run that was ended need not be the packet's. A timer's callback is a
        run of its own; what a function has called by a tail call can be one, and what is
        called by a program that is not isolated is one always."""
        return (self.name.startswith("corpus_callback_later") or ran.id != self.own
                or self.calls_outside)


class Ran:
    """What became of a packet."""

    def __init__(self, lines):
        words = lines[-1].split()
        self.verdict, self.ended = int(words[1], 16), int(words[2], 16)
        self.kind = None
        if self.ended:
            self.at, self.address = int(words[-4], 16), int(words[-3], 16)
            self.kind, self.id = words[-2], int(words[-1])

    def __str__(self):
        text = f"verdict {self.verdict}, {self.ended} violations"
        if self.kind:
            text += f": {self.kind} at +{self.at:x}, address {self.address:x}"
        return text


class Tally:
    """What became of injections, by region and kind."""

    def __init__(self):
        self.outcomes, self.effects = collections.Counter(), collections.Counter()
        self.found, self.programs, self.places = [], set(), 0
        # Helpers whose arguments were compared with the kernel's prototype.
        self.held = set()

    def add(self, region, kind, outcome):
        self.outcomes[region, kind, outcome] += 1

    def count(self, **wanted):
        """Of this region, kind or outcome."""
        names = ("region", "kind", "outcome")
        return sum(n for key, n in self.outcomes.items()
                   if all(dict(zip(names, key))[name] == w for name, w in wanted.items()))

    def merge(self, other):
        self.outcomes += other.outcomes
        self.effects += other.effects
        self.found += other.found
        self.programs |= other.programs
        self.held |= other.held
        self.places += other.places

    def as_line(self, first, count):
        return json.dumps({"first": first, "count": count,
                           "outcomes": [[*key, n] for key, n in self.outcomes.items()],
                           "effects": [[*key, n] for key, n in self.effects.items()],
                           "found": self.found, "programs": sorted(self.programs),
                           "held": sorted(self.held),
                           "places": self.places})

    def add_line(self, line):
        """How many injections it is about."""
        told = json.loads(line)
        self.outcomes.update({(r, k, o): n for r, k, o, n in told["outcomes"]})
        self.effects.update({(r, k): n for r, k, n in told["effects"]})
        self.found += told["found"]
        self.programs |= set(told["programs"])
        self.held |= set(told.get("held", []))
        self.places += told["places"]
        return told["count"]

    def table(self):
        """In Markdown: what was stopped by region, and what became of arguments."""
        kinds = ["load", "store", "atomic", "argument", "in a row"]
        merged = collections.Counter()
        for (region, kind, outcome), n in self.outcomes.items():
            merged[region, kind.split(":")[0], outcome] += n
        yield "| region | " + " | ".join(kinds) + " | readable | mapped there |"
        yield "|---|" + "---|" * (len(kinds) + 2)
        for r in sorted({r for r, _, _ in merged if r not in NUMBERS}):
            cells = [merged[r, kind, "stopped"] for kind in kinds]
            cells.append(merged[r, "load", "readable"])
            cells.append(sum(n for (where, _), n in self.effects.items() if where == r))
            yield f"| {r} | " + " | ".join(map(str, cells)) + " |"
        words = sorted({k for _, k, _ in self.outcomes if ": " in k})
        outcomes = ["stopped", "accepted", "not looked at"]
        if words:
            yield ""
            yield "| argument | " + " | ".join(outcomes) + " |"
            yield "|---|" + "---|" * len(outcomes)
        for word in words:
            cells = [self.count(kind=word, outcome=outcome) for outcome in outcomes]
            where, word = word.split(": ")
            word = f"`{word}`" if where == "argument" else f"`{word}`, {where}"
            yield f"| {word} | " + " | ".join(map(str, cells)) + " |"

class Campaign(threading.Thread):
    """Injects for as long as the guest is there."""

    def __init__(self, run, keep):
        super().__init__(daemon=True)
        self.path, self.keep = run, keep
        self.regions = collections.defaultdict(list)
        self.unfit, self.traps, self.prototypes, self.registers = set(), {}, {}, {}
        self.sum, self.batch = Tally(), Tally()
        self.usual, self.unusual = {}, []

    def run(self):
        try:
            self.port = Port(f"{self.path}/port")
            self.hear(self.port.answer())
            self.debugger = Debugger(f"{self.path}/gdb")
            self.debugger.go()
            self.work()
        except OSError:
            pass  # it has powered off
        except Late:
            print("campaign: the guest does not answer", file=sys.stderr, flush=True)

    def hear(self, lines):
        """Facts that stay the same, or are told anew."""
        for words in map(str.split, lines):
            if words[0] == "campaign":
                self.first, self.count, self.seed, control, self.programs = (
                    int(word, 16) for word in words[1:])
                self.control = bool(control)
            elif words[0] == "prototype":
                self.prototypes[words[1]] = words[2:]
            elif words[0] == "forget":
                self.regions[words[1]].clear()
            elif words[0] == "region":
                stable, start, size = (int(word, 16) for word in words[2:])
                self.regions[words[1]].append((bool(stable), start, size))

    def ask(self, text, patience=60):
        self.port.say(text)
        return self.port.answer(patience)

    def say(self, text):
        self.ask(f"say {text}")

    def halted(self):
        """The machine stands still within."""
        return Halted(self.debugger)

    def work(self):
        begun, index = time.monotonic(), self.first
        while index < self.first + self.count:
            size = SHORT if index < SHORT_ONES else BATCH
            end = min(self.first + self.count, (index // size + 1) * size)
            self.batch = Tally()
            self.do_batch(index, end)
            self.sum.merge(self.batch)
            self.save(index, end)
            index = end
            self.progress(index, time.monotonic() - begun)
        self.conclude(time.monotonic() - begun)
        self.port.say("end")

    # A batch: one program

    def do_batch(self, first, end):
        size = SHORT if first < SHORT_ONES else BATCH
        dice, reached = random.Random(f"{self.seed}/{first // size * size}"), []
        number = 0 if self.control and first == 0 else None
        while not reached:
            self.load(dice, number)
            number = None
            verdicts = [self.packet() for _ in range(3)]
            # Some are violations as they are (`kernel_reads`).
            if not any(ran.ended for ran in verdicts):
                reached = self.reach()
        self.batch.programs.add(self.program.name)
        self.hold_against_kernel(reached)
        self.batch.places += len(reached)
        self.inject_all([self.plan(n, reached) for n in range(first, end)])
        self.afterwards(verdicts)

    def load(self, dice, number=None):
        """Program `number`, or any, with a packet of any size."""
        while True:
            if number is None:
                number = dice.randrange(self.programs)
            size = dice.randrange(SIZES)
            if number in self.unfit:
                number = None
                continue
            lines = self.ask(f"load {number:x} {size:x}")
            self.program, self.choice = Program(lines), (number, size)
            self.hear(lines)
            if self.program.isolated:
                return
            self.unfit.add(number)
            number = None

    def packet(self):
        return Ran(self.ask("run"))

    def afterwards(self, verdicts):
        """A packet that nothing is injected into: as before, or, where the program goes
        by what earlier packets have left, as when it was loaded."""
        ran = self.packet()
        good = not ran.ended and ran.verdict in {v.verdict for v in verdicts}
        if not good and not ran.ended:
            self.ask("load %x %x" % self.choice)
            ran = self.packet()
            good = not ran.ended and ran.verdict == verdicts[0].verdict
        if not good:
            self.report("afterwards", f"{self.program.name}: {ran}, not {verdicts[0]}")

    def reach(self):
        """Which sites a packet comes to, confined."""
        found, self.registers = {}, {}
        with self.halted() as debugger:
            self.tables = Tables(debugger)
            for start, size in self.program.images.items():
                code = debugger.read(start, size)
                self.registers[start] = decode.registers(start, code) & OWN_REGISTERS
                found.update({site.address: site for site in decode.sites(start, code)})
            for site in found.values():
                if site.kind == "argument":
                    site.helper, site.arguments = self.program.calls.get(
                        site.after, (None, ["-"]))
            found = {at: site for at, site in found.items()
                     if self.is_fit(site) or self.behind(site)}
            debugger.ask_all([site.trap() for site in found.values()])
        self.traps, reached = dict(found), []

        def at(debugger, site):
            if self.program.in_domain(debugger.register(7)):
                reached.append(site)
            del self.traps[site.address]
            return [site.restore()], SOON

        self.packet_with(at)
        with self.halted() as debugger:
            debugger.ask_all([site.restore() for site in self.traps.values()])
        self.traps = {}
        reached.sort(key=lambda site: site.address)
        return [*filter(self.is_fit, reached), *(n for site in reached for n in self.behind(site))]

    def hold_against_kernel(self, reached):
        """What is an address by the kernel's own prototype must not go by unlooked at:
        the judge would take it for a number."""
        for site in reached:
            if site.kind != "argument":
                continue
            prototype = (self.prototypes.get(f"xdp_{site.helper}")
                         or self.prototypes.get(site.helper))
            if not prototype:
                continue
            self.batch.held.add(site.helper)
            for word, kind in zip(site.arguments, prototype):
                if word in ("number", "-") and kind not in NUMBERS_OF_KERNEL:
                    self.report("escape", f"{site.text}: to the kernel one is {kind}")

    def is_fit(self, site):
        """Of the jumps out of an image some are its end, or are answered in confinement."""
        if site.kind == "argument":
            return set(site.arguments) != {"-"} and not (
                self.control and REACHED.isdisjoint(site.arguments))
        return True

    def behind(self, site):
        """The calls in a row with one that the module can be given other arguments for.
        Not in the control: the register stays what it is made to, for all that follows."""
        if site.kind != "argument" or self.control:
            return []
        fit = []
        for following in site.following:
            if site.helper in (None, *GO_ELSEWHERE) or "callback" in site.arguments:
                break
            if positions_in_row(following) and (following.call.behind or not following.looks):
                fit.append(following)
            site = following.call
        return fit

    def packet_with(self, at):
        """A packet, and `at` whenever the CPU is in a trap meanwhile: it says what is to
        be done last, and how long it may take until something is next."""
        self.port.say("run")
        wait, tries = SOON, 0
        while not self.port.has_line(wait):
            self.debugger.stop()
            pc = self.debugger.pc()
            site = self.traps.get(pc)
            if site:
                last, wait = at(self.debugger, site)
                self.debugger.go(*last)
                tries = 0
            else:
                # A look-up in chains that are not where it reads has no end of its own. Its
                # next access ends it.
                own = self.registers.get(self.program.image_at(pc), set())
                self.debugger.go(*(write_of(name, NO_PLACE) for name in sorted(own)
                                   if tries >= ROUND))
                wait, tries = min(2 * wait, LONGEST), tries + 1
                if tries > TRIES:
                    raise Late
        return Ran(self.port.answer(60))

    # An injection

    def plan(self, number, reached):
        """Number `number`: where, what, and to which address."""
        dice = random.Random(f"{self.seed}:{number}")
        accesses = [site for site in reached if site.kind != "argument"]
        calls = [site for site in reached if site.kind == "argument"]
        argument = calls and (not accesses or dice.random() < ARGUMENTS)
        if self.control and accesses:
            kind = dice.choice(sorted({site.kind for site in accesses}))
            accesses = [site for site in accesses if site.kind == kind]
        site = dice.choice(calls if argument else accesses)
        plan = Plan(number, site)
        if argument:
            self.plan_argument(plan, dice)
        if plan.region is None:
            self.aim(plan, dice)
        return plan

    def aim(self, plan, dice):
        """At an address out of the domain."""
        regions = ["value"] if self.control else sorted(r for r in self.regions if self.regions[r])
        while True:
            plan.region = dice.choice(regions)
            plan.stable, start, size = dice.choice(self.regions[plan.region])
            if self.control:
                size //= 2  # helpers write there
            plan.target = start + dice.randrange(max(size - plan.site.size, 1)) & WORD
            if plan.region == "other-domain" or not self.program.in_domain(plan.target):
                return

    def plan_argument(self, plan, dice):
        """Of those that something looks at, and now and then another. It becomes an
        address, as of an access, or a number, or what another argument is."""
        words = plan.site.arguments
        in_row = isinstance(plan.site, decode.InRow)
        if in_row:
            used = positions_in_row(plan.site)
        elif self.control:
            used = [n for n, word in enumerate(words) if word in REACHED]
        else:
            used = [n for n, word in enumerate(words) if word != "-" or dice.random() < 0.1]
        plan.position = dice.choice(used)
        plan.word = words[plan.position]
        plan.kind = f"{'in a row' if in_row else 'argument'}: {plan.word}"
        share = 1 if plan.site.helper in LOOPS else 0.3 if plan.word in POINTERS else 0.6
        if not self.control and dice.random() < share:
            plan.region = dice.choice([region for region in sorted(NUMBERS)
                                       if not in_row or NUMBERS[region] is not None])
            plan.target = NUMBERS[plan.region]

    def inject_all(self, plans):
        """Each at one stop, at which the next one's trap is set."""
        before = None
        for plan, after in zip(plans, [*plans[1:], None]):
            trap = self.traps.get(plan.site.address)
            if not trap or trap.kind == "behind":
                with self.halted() as debugger:
                    debugger.ask_all([site.restore() for site in self.traps.values()])
                    debugger.ask(plan.site.trap())
                self.traps = {plan.site.address: plan.site}
            hit = False

            def at(debugger, site):
                nonlocal hit, before
                del self.traps[site.address]
                if hit or site.kind == "behind":
                    # The run has gone on, to where the next one is to be, or has come to where
                    # a call returns to.
                    plan.came |= hit and plan.may_not_come() and site.address == plan.site.after
                    return [site.restore()], LATER
                hit = True
                last = self.inject(debugger, plan, before)
                before = plan if plan.bytes is not None else None
                behind = plan.site.call.behind if plan.may_not_come() else None
                if behind and behind.address not in self.traps:
                    last.append(behind.trap())
                    self.traps[behind.address] = behind
                if after and after.site.address not in (site.address, *self.traps):
                    last.append(after.site.trap())
                    self.traps[after.site.address] = after.site
                return last, LATER

            ran = self.packet_with(at)
            if hit:
                self.judge(plan, ran)
            else:
                self.batch.add(plan.region, plan.kind, "not reached")
        with self.halted() as debugger:
            debugger.ask_all([site.restore() for site in self.traps.values()])
            if before:
                _, now, _ = debugger.ask_all(["Qqemu.PhyMemMode:1", before.entry.read,
                                              "Qqemu.PhyMemMode:0"])
                self.compare(before, now)
        self.traps = {}

    def compare(self, plan, now):
        """What was at the target of an injection before this one must be there still."""
        if now != plan.bytes:
            self.report("escape", f"{self.describe(plan)}: {plan.bytes} became {now}")

    def inject(self, debugger, plan, before):
        """What has to be done for it. `before` is whose target is to be looked at now."""
        site, first = plan.site, []
        self.note(plan)
        in_row = isinstance(site, decode.InRow)
        registers = (decode.KEPT if in_row else ARGUMENT_REGISTERS if plan.word
                     else [site.index] if site.index else [])
        plan.entry, answers = self.tables.entry(
            debugger, plan.target or 0, ask=[f"p{REGISTERS.index(name):x}" for name in registers],
            memory=[before.entry.read] if before else [],
            length=site.size if plan.stable and not self.control else 0)
        values = [number_of(answers.pop(0)) for _ in registers]
        if before:
            self.compare(before, answers.pop(0))
        if answers:
            plan.bytes = answers.pop()
        if plan.entry and (site.kind in ("load", "argument") or plan.entry.writable):
            self.batch.effects[plan.region, site.kind] += 1
        if not plan.word:
            base = site.base_for(plan.target, values[0] if values else 0)
            if self.control:
                plan.through = gets_through(debugger, plan, base)
                return [site.restore()]
            return [site.restore(), write_of(site.base, base)]
        if in_row:
            kept = {None: 0, **dict(zip(registers, values))}
            plan.values = [source and kept[source[0]] + source[1] & WORD
                           for source in site.sources]
            register, more = site.sources[plan.position]
            return [site.restore(), write_of(register, plan.target - more & WORD)]
        plan.values = values
        if plan.target is None:
            plan.target = values[(plan.position + 1) % len(values)]
        return [site.restore(), write_of(registers[plan.position], plan.target)]

    def judge(self, plan, ran):
        site = plan.site
        if self.control:
            through = not ran.ended and (plan.word or plan.through)
            outcome = "through" if through else "stopped"
            if not through:
                self.report("stopped", f"{self.describe(plan)}: {ran}")
        elif self.is_stopped(plan, ran):
            outcome = "stopped"
        elif plan.may_not_come() and not plan.came:
            outcome = "not reached"
        elif plan.word and not self.must_stop(plan):
            outcome = "not looked at" if plan.word in ("-", "known") else "accepted"
        elif site.kind == "load" and plan.entry and plan.entry.key == EVENTS_KEY:
            # Whatever the program makes of it. A load that faults at such an address would be
            # above.
            outcome = "readable"
        else:
            outcome = "escape"
            self.report("escape", f"{self.describe(plan)}: {ran}")
        self.batch.add(plan.region, plan.kind, outcome)

    def is_stopped(self, plan, ran):
        """Exactly one violation, and the right one."""
        site = plan.site
        if ran.ended != 1 or ran.id not in self.program.ids:
            return False
        if ran.verdict and not self.program.may_go_on(ran):
            return False
        if plan.word:
            return ran.kind == "argument" and ran.at == site.after - site.image
        kind = "read" if site.kind == "load" else "write"
        right = ran.kind == kind and ran.address == plan.target
        if plan.region == "non-canonical":
            right = ran.kind == "instruction" and ran.address in NO_ADDRESS
        return right and ran.at == site.address - site.image

    def must_stop(self, plan):
        """Whether what an argument has become is never the run's to pass. Numbers are
        the helper's to judge, and what of the run's own fits is its own."""
        word, value, values, n = plan.word, plan.target, plan.values, plan.position
        if value == values[n] or plan.site.helper == "function":
            # The program's own function is confined, too, and the gate looks at its
            # arguments if somebody has attached to it.
            return False
        if word == "size":
            # More than any memory of a run has, in both of the ways in which helpers read it.
            return values[n - 1] != 0 and value & 0xffffffff >= 1 << 20
        if word not in POINTERS:
            return False
        sized = plan.site.arguments[n + 1:n + 2] == ["size"] or plan.site.helper in TAKES_WORDS
        if word == "memory" and sized:
            if values[n + 1] & 0xffffffff == 0:
                return False
        if value == 0:
            return word not in MAY_BE_NOTHING and (plan.site.helper, n) not in MAY_BE_ABSENT
        if plan.region == "another argument":
            return word in ONE_THING
        return True

    def describe(self, plan):
        site = plan.site
        where = f"injection {plan.number}: {self.program.name}+{site.address - site.image:x}"
        if plan.word:
            honest = f", not {plan.values[plan.position]:x}" if plan.values else ""
            what = f"argument {plan.position + 1} is {plan.target or 0:x}{honest}"
        else:
            what = f"{site.kind} at {plan.target:x}"
        return f"{where} ({site.text}), {what} ({plan.region})"

    # Results

    def report(self, what, text):
        self.batch.found.append([what, text])
        self.say(f"# {what}: {text}")

    def save(self, first, end):
        if self.keep:
            with open(self.keep, "a") as f:
                print(self.batch.as_line(first, end - first), file=f)

    def note(self, plan):
        """What is being tried, should the machine not survive it."""
        if self.keep:
            with open(f"{self.keep}.now", "w") as f:
                print(self.describe(plan), file=f)

    def progress(self, index, seconds):
        if self.keep:
            draw(index, int(os.environ.get("CAMPAIGN_OF", self.first + self.count)),
                 (index - self.first) / seconds)

    def conclude(self, seconds):
        for text in [] if self.control else self.sum.table():
            self.say(f"# {text}")
        for text in verdict(self.sum, self.control):
            self.say(text)
        rate = self.count / seconds if seconds else 0
        self.say(f"# seed {self.seed}, {self.count} injections from {self.first}, "
                 f"{rate:.0f} a second")


class Plan:
    """An injection that is to be made. Of an argument: which, and what it is for."""

    def __init__(self, number, site):
        self.number, self.site, self.kind = number, site, site.kind
        self.region = self.target = self.position = self.word = None
        self.stable = False
        # When it is made: what is at the target, and what the arguments were.
        self.bytes = self.entry = self.values = None
        # Of the control: whether the instruction did what it was made to.
        self.through = False
        # Of a call in a row: whether it has returned.
        self.came = False

    def may_not_come(self):
        return isinstance(self.site, decode.InRow) and self.site.looks


def gets_through(debugger, plan, base):
    """The control: whether the instruction, with this base, has what is at the target in
    its register then, or changes that. All is put back."""
    site, secret = plan.site, debugger.read(plan.target, plan.site.size)
    names = {name for name in (site.base, site.register, "rax", "rip") if name}
    saved = {name: debugger.register(REGISTERS.index(name)) for name in names}
    flags = debugger.register(FLAGS)
    for fill in b"\0", b"\xff":
        debugger.ask_all([site.restore(), write_of(site.base, base)])
        if site.kind != "load":
            debugger.ask(store_of(plan.target, fill * site.size))
        if site.kind == "atomic":
            # One that changes what is there, whatever it does; a comparison finds it, but in rax
            # where that is the base.
            found = [write_of("rax", int.from_bytes(fill * 8, "little"))]
            debugger.ask_all([*(found if site.base != "rax" else []),
                              write_of(site.register, 0x0101010101010101)])
        debugger.step()
        if site.kind == "load":
            value = debugger.register(REGISTERS.index(site.register))
            through = value % (1 << 8 * site.part) == site.loaded(secret)
        else:
            through = debugger.read(plan.target, site.size) != fill * site.size
        debugger.ask_all([store_of(plan.target, secret), f"P{FLAGS:x}={flags.to_bytes(4, 'little').hex()}",
                          *(write_of(name, value) for name, value in saved.items())])
        if through:
            return True
    return False


def positions_in_row(site):
    """Of a call behind another: which arguments come from a register that can be changed at
    the first call, and are looked at, by what can be told then."""
    words, sources = site.arguments, [*site.sources, None]
    return [n for n, word in enumerate(words)
            if word not in ("-", "known") and sources[n] and sources[n][0]
            and (word != "size" or sources[n - 1])
            and (word != "memory" or sources[n + 1]
                 or words[n + 1:n + 2] != ["size"] and site.helper not in TAKES_WORDS)]


class Halted:
    """The machine stands still as long as this is open."""

    def __init__(self, debugger):
        self.debugger = debugger

    def __enter__(self):
        self.debugger.stop()
        return self.debugger

    def __exit__(self, *_):
        self.debugger.go()


def draw(done, count, rate):
    """A bar on the terminal, or nothing where there is none."""
    if not sys.stderr.isatty():
        return
    bar = "#" * (40 * done // count)
    print(f"\r[{bar:40}] {done} of {count}, {rate:.0f} a second, "
          f"{(count - done) / rate / 60:.0f} min left  ",
          end="" if done < count else "\n", file=sys.stderr, flush=True)


def line(good, text):
    """Of KTAP."""
    return f"{'ok' if good else 'not ok'} {text}"


def verdict(tally, control=False):
    def count(outcome, kind=None):
        return tally.count(outcome=outcome) if kind is None else tally.count(outcome=outcome, kind=kind)

    def told(what):
        return sum(kind == what for kind, _ in tally.found)

    made = tally.count() - count("not reached")
    if control:
        for kind in "load", "store", "atomic":
            through, all_of = count("through", kind), count("through", kind) + count("stopped", kind)
            yield line(all_of and through == all_of, f"without confinement each {kind} does "
                       f"what it was made to ({through} of {all_of})")
        through = count("through")
        yield line(through == made, f"without confinement nothing is stopped ({through} of {made}, "
                   f"accesses and arguments)")
    else:
        yield line(made and not told("escape"), f"no injected fault gets through: {made} made, "
                   f"{count('stopped')} stopped, {count('readable')} loads of what is readable "
                   f"by design, {count('accepted')} arguments accepted, {count('not looked at')} "
                   f"not looked at, {told('escape')} escapes")
        yield line(tally.held, f"what the kernel's prototypes say is an address nobody takes for "
                   f"a number ({len(tally.held)} helpers)")
        there = sum(tally.effects.values())
        yield line(there > made // 3, f"where they go something is that nothing but the domain's "
                   f"borders keeps from the program ({there} of {made})")
    yield line(not told("afterwards"), f"programs do their work afterwards "
               f"({len(tally.programs)} programs, {told('afterwards')} do not)")


def kept(path):
    """What a file of results has, and how many injections that is."""
    tally, made = Tally(), 0
    with open(path) as f:
        for text in f:
            made += tally.add_line(text)
    return tally, made


def main():
    *options, path = sys.argv[1:]
    tally, made = kept(path)
    if options == ["--made"]:
        print(made)
        return
    lines = [*verdict(tally)]
    for text in [*tally.table(), "", f"{made} injections", *lines]:
        print(text)
    for what, text in tally.found[:50]:
        print(f"# {what}: {text}")
    sys.exit(any(text.startswith("not ok") for text in lines))


if __name__ == "__main__":
    main()
