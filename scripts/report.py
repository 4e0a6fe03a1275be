#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
# report.py FOLDER PERFORMANCE.MD: what the benchmark's parts have printed (FOLDER/*.out,
# and what criterion has left in FOLDER/native/) as FOLDER/*.csv, one file for each kind of
# line; as FOLDER/report.html, which needs nothing beside it; and as the tables of
# PERFORMANCE.MD, between its two comments that name `make bench`.
import collections
import csv
import html
import json
import pathlib
import re
import statistics
import sys

# Kinds of lines, by their first word, and what follows it; `run` stands for the lines
# that begin with the state.
COLUMNS = {
    "run": "module program packet instructions key_writes",
    "least": "module program instructions key_writes",
    "round": "module program instructions key_writes",
    "event": "module program time period instructions interrupts confined key_writes",
    "image": "module program xlated jited stubs images isolation",
    "scale": "module programs domains load_ns memory region instructions key_writes",
    "system": "module what instructions",
    "native": "program ticks low high",
    "control": "sleeps instructions ns busy_ns",
    "memcached": "module round protocol size connections requests ns busy_ns user_ns errors"
                 " packets runs key_writes bytes_copied helper_calls forwarder_ns forwarder_runs",
}

# Cycles of a write of PKRS (MOAT, Table 3).
KEY_WRITE = 111
# Instructions per cycle: the model's value between its least and its greatest.
IPC = (0.5, 1, 2)
# Per cent of throughput that MOAT lost, and what is aimed at here.
MOAT_FIRST, MOAT_FILTER, GOAL = 6, 3, 1
# Cycles of a switch that are aimed at, the key write left out.
SWITCH = 40

COUNTS = "packets runs key_writes bytes_copied helper_calls".split()


def loss(added, writes, stock, ipc):
    """What a request takes longer, in per cent: instructions added and key writes,
    over the instructions without the module.

    >>> loss(1000, 0, 100000, 1), loss(1000, 0, 100000, 2)
    (1.0, 1.0)
    >>> loss(0, 10, 111000, 1), loss(0, 10, 111000, 2)
    (1.0, 2.0)
    """
    return 100 * (added / ipc + writes * KEY_WRITE) / (stock / ipc)


def show(x, digits=1):
    """
    >>> show(3.0), show(3.14159), show(12345.678, 0)
    ('3', '3.1', '12346')
    """
    return str(int(x)) if x == int(x) else f"{x:.{digits}f}"


def spread(values, digits=1):
    """
    >>> spread([3, 1, 2])
    '2.0 (1.0 to 3.0)'
    """
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


class Data:
    """The lines of all parts, by kind."""

    def __init__(self, folder):
        self.rows, self.machines = collections.defaultdict(list), []
        for path in sorted(folder.glob("*.out")):
            for line in path.read_text().splitlines():
                words = line.split()
                if not words:
                    continue
                if words[0] in ("kernel", "native,") and line not in self.machines:
                    self.machines.append(line)
                if words[0] in ("off", "on"):
                    words.insert(0, "run")
                names = COLUMNS.get(words[0], "").split()
                if names and len(words) == len(names) + 1:
                    self.rows[words[0]].append(dict(zip(names, words[1:])))
        for path in sorted(folder.glob("native/*/new/estimates.json")):
            median = json.loads(path.read_text())["median"]
            bounds = median["confidence_interval"]
            self.rows["native"].append({"program": path.parts[-3], "ticks": median["point_estimate"],
                                        "low": bounds["lower_bound"], "high": bounds["upper_bound"]})
        if not self.rows:
            sys.exit(f"report: nothing was measured in {folder}")

    def save(self, folder):
        for kind, rows in self.rows.items():
            with open(folder / f"{kind}.csv", "w", newline="") as f:
                out = csv.DictWriter(f, COLUMNS[kind].split(), lineterminator="\n")
                out.writeheader()
                out.writerows(rows)

    def table(self, kind, value, *key):
        """The column `value` by those of `key`."""
        return {tuple(r[k] for k in key): float(r[value]) for r in self.rows[kind] if r[value] != "-"}


Table = collections.namedtuple("Table", "title columns rows")
Text = collections.namedtuple("Text", "text")
# Bars in groups: (name, [(low, value, high), ...]); lines across: (value, name).
Plot = collections.namedtuple("Plot", "title unit series groups lines")


class Case:
    """A case of memcached: protocol, size and connections. Of each state a list of what
    a request takes, round by round."""

    def __init__(self, rows):
        self.of = collections.defaultdict(lambda: collections.defaultdict(dict))
        self.errors = sum(int(r["errors"]) for r in rows)
        runs = collections.defaultdict(list)
        for r in rows:
            runs[r["module"], int(r["round"])].append(r)
        for (state, number), pair in runs.items():
            few, many = sorted(pair, key=lambda r: int(r["requests"]))
            requests = int(many["requests"]) - int(few["requests"])
            for name in "ns", "busy_ns", "user_ns", "forwarder_ns", "forwarder_runs", *COUNTS:
                self.of[state][name][number] = (int(many[name]) - int(few[name])) / requests

    def all(self, state, name):
        return list(self.of[state][name].values())

    def median(self, state, name):
        return statistics.median(self.all(state, name))

    def added(self, state="on"):
        """Instructions more than without the module in the same round."""
        on, off = self.of[state]["busy_ns"], self.of["off"]["busy_ns"]
        return [on[n] - off[n] for n in on if n in off]

    def user(self):
        """The load generator's own, in user space: the mean of all rounds, since the tick
        samples it, and the module does not change it."""
        return statistics.mean(x for state in ("off", "on") for x in self.all(state, "user_ns"))

    def a_run(self, state):
        """Instructions of a run of the forwarder, with the reading of the clock."""
        return [ns / self.of[state]["forwarder_runs"][n] for n, ns in self.of[state]["forwarder_ns"].items()]

    def added_to_runs(self):
        """Instructions that the forwarder's runs of a request take more."""
        off, on = self.of["off"]["forwarder_ns"], self.of["on"]["forwarder_ns"]
        return [on[n] - off[n] for n in on if n in off]

    def losses(self, ipc, runs=False, client=True):
        """Of each round; by what the forwarder's runs take more alone if `runs`, over what a
        request takes without the load generator's user space if not `client`."""
        off, on = self.of["off"], self.of["on"]
        user = 0 if client else self.user()
        added = self.added_to_runs() if runs else self.added()
        return [loss(more, writes, stock - user, ipc)
                for more, writes, stock in zip(added, on["key_writes"].values(), off["busy_ns"].values())]

    def range(self, **how):
        """The model's value and its bounds: those of IPC and of the rounds together."""
        every = [self.losses(ipc, **how) for ipc in IPC]
        return min(map(min, every)), statistics.median(every[1]), max(map(max, every))


def memcached(data):
    cases = collections.defaultdict(list)
    for r in data.rows["memcached"]:
        cases[r["protocol"], int(r["size"]), int(r["connections"])].append(r)
    cases = {key: Case(rows) for key, rows in cases.items()}
    if not cases:
        return
    def name(key):
        return f"{key[0].upper()}, {key[1]} bytes, {key[2]}"
    rounds = min(len(c.added()) for c in cases.values())
    errors = sum(c.errors for c in cases.values())
    yield Text(f"memcached behind the forwarder: {rounds} round{'s' * (rounds != 1)}, median (least to greatest); {errors} requests failed.")
    yield Table("Instructions of a request, everything in the guest", ["protocol, value, connections", "off", "on",
                "added in the same round", "added, per cent", "of them the load generator's in user space, mean"],
                [[name(k), spread(c.all("off", "busy_ns"), 0), spread(c.all("on", "busy_ns"), 0), spread(c.added(), 0),
                  f"{100 * statistics.median(c.added()) / c.median('off', 'busy_ns'):.2f}",
                  f"{c.user():.0f}"] for k, c in cases.items()])
    yield Table("Instructions of a run of the forwarder meanwhile, some 70 for the clock in each", ["protocol, value, connections",
                "off", "on", "added", "added to a request"],
                [[name(k), spread(c.a_run("off"), 0), spread(c.a_run("on"), 0),
                  f"{statistics.median(c.a_run('on')) - statistics.median(c.a_run('off')):.0f}",
                  spread(c.added_to_runs(), 0)] for k, c in cases.items()])
    yield Table("Requests", ["protocol, value, connections", "a guest second, off", "on",
                             "per million instructions, off", "on"],
                [[name(k), *(f"{1e9 / c.median(s, 'ns'):.0f}" for s in ("off", "on")),
                  *(f"{1e6 / c.median(s, 'busy_ns'):.2f}" for s in ("off", "on"))] for k, c in cases.items()])
    yield Table("What the module counted, a request and a packet", ["protocol, value, connections", "packets a request",
                "runs", "key writes", "bytes copied", "helper calls", "key writes a packet", "bytes copied a packet",
                "helper calls a packet"],
                [[name(k), *(f"{c.median('on', n):.2f}" for n in COUNTS),
                  *(f"{c.median('on', n) / c.median('on', 'packets'):.2f}" for n in COUNTS[2:])] for k, c in cases.items()])
    beside = [(k, c) for k, c in cases.items() if c.all("beside", "busy_ns")]
    if beside:
        yield Table("The module loaded, nothing confined", ["protocol, value, connections", "off", "loaded",
                    "added in the same round"],
                    [[name(k), spread(c.all("off", "busy_ns"), 0), spread(c.all("beside", "busy_ns"), 0),
                      spread(c.added("beside"), 0)] for k, c in beside])
    low, middle, high = IPC
    columns = {"everything that was added": {}, "what was added to the forwarder's runs": {"runs": True},
               "the same, without the load generator's user space": {"runs": True, "client": False}}
    yield Table(f"Modelled loss on hardware, per cent: (added / IPC + key writes x {KEY_WRITE}) / (stock / IPC), at IPC {middle}"
                f" (IPC {low} to {high} and all rounds)", ["protocol, value, connections", *columns],
                [[name(k), *("{1:.2f} ({0:.2f} to {2:.2f})".format(*c.range(**how)) for how in columns.values())]
                 for k, c in cases.items()])
    for what, how in columns.items():
        ranges = [c.range(**how) for c in cases.values()]
        met = sum(r[2] <= GOAL for r in ranges)
        yield Text(f"By {what}: the goal of {GOAL} % at most is"
                   f" {'met' if met == len(ranges) else 'met in part' if met else 'not met'} ({met} of {len(ranges)} cases);"
                   f" {min(r[1] for r in ranges):.1f} to {max(r[1] for r in ranges):.1f} %, mean"
                   f" {statistics.mean(r[1] for r in ranges):.1f} %, at IPC {middle}; {min(r[0] for r in ranges):.1f} to"
                   f" {max(r[2] for r in ranges):.1f} % over IPC {low} to {high} and all rounds.")
    yield Text(f"MOAT published {MOAT_FIRST} % for its forwarder, and {MOAT_FILTER} % for a packet filter later,"
               " of throughput, each on its own machine.")
    yield Plot("Requests a guest second", "", ["off", "on"],
               [(name(k), [tuple(1e9 / f(c.all(s, "ns")) for f in (max, statistics.median, min)) for s in ("off", "on")])
                for k, c in cases.items()], [])
    yield Plot(f"Modelled loss, per cent; bars at IPC {middle}, whiskers IPC {low} to {high} and all rounds", "%",
               ["everything that was added", "added to the forwarder's runs"],
               [(name(k), [c.range(), c.range(runs=True)]) for k, c in cases.items()],
               [(GOAL, "goal"), (MOAT_FILTER, "MOAT, filter"), (MOAT_FIRST, "MOAT, forwarder")])


def control(data):
    if data.rows["control"]:
        yield Table("A loop of known length, counted in the same way", ["instructions", "asleep between, times", "counted"],
                    [[int(r["instructions"]), int(r["sleeps"]), int(r["busy_ns"])] for r in data.rows["control"]])


class Gates:
    """Figures of single runs: differences between programs, each of which shows one thing.

    Every program of LOOKUPS is measured:
    >>> part = pathlib.Path(__file__).parents[1] / "selftests/bench/instructions.sh"
    >>> words = re.findall(r"\\w+", part.read_text())
    >>> [name for _, *programs, _ in Gates.LOOKUPS for name in programs if name not in words]
    []
    """

    COLUMNS = ["what", "off", "on", "added", "key writes", "modelled cycles for them", "target for added"]
    LOOKUPS = [
        ("deletion of a key that is not there, a store between two", "apart_10", "apart_1", 9),
        ("the same with nothing between them", "in_a_row_10", "in_a_row_1", 9),
        ("array look-up", "array_10", "array_1", 9),
        ("hash look-up", "hash_10", "hash_1", 9),
        ("redirect through a device map, the last thing that a program does", "redirect_last", "empty", 1),
        ("the same, with something behind it", "redirect_then", "empty", 1),
        ("look-up in a per-CPU array", "per_cpu_10", "per_cpu_1", 9),
        ("checksum of 20 bytes", "checksum_10", "checksum_1", 9),
        ("20 bytes out of the packet, bpf_xdp_load_bytes", "load_bytes_10", "load_bytes_1", 9),
        ("20 bytes into it, bpf_xdp_store_bytes", "store_bytes_10", "store_bytes_1", 9),
        ("the time, bpf_ktime_get_ns", "clock_10", "clock_1", 9),
        ("a random number, bpf_get_prandom_u32", "random_10", "random_1", 9),
        ("access to an array's value", "array_value_10", "array_1", 10),
        ("access to a hash's value", "hash_value_10", "hash_1", 10),
        ("access to a per-CPU array's value", "per_cpu_value_10", "per_cpu_1", 10),
        ("ring-buffer record of 64 bytes, reserved and submitted", "record_10", "record_1", 9),
        ("access to such a record", "record_value_10", "record_1", 10),
        ("access to a loan", "loan_value_10", "loan_1", 10),
    ]
    MAPS = [
        ("hash", "a hash map, preallocated"),
        ("hash_12", "one with keys of 12 bytes"),
        ("hash_36", "one with keys of 36 bytes"),
        ("on_demand", "one whose elements come as they are needed"),
        ("lru", "one that forgets"),
        ("local", "one that is per CPU"),
        ("local_on_demand", "one that is per CPU and whose elements come as they are needed"),
        ("local_lru", "one that is per CPU and forgets"),
        ("pieces", "a per-CPU array, not in its first 32 KiB"),
        ("gaps", "one of values of 72 bytes"),
        ("trie", "a trie of prefixes, IPv4, the fourth node"),
        ("trie_16", "one with keys of 16 bytes, IPv6, the fourth node"),
    ]
    MORE_MAPS = [
        ("ports", "look-up in a device map"),
        ("ports_row", "the same, ten with nothing between them but a look at what was found"),
        ("ports_hash", "look-up in one by hash"),
        ("outer", "look-up in an array of maps"),
        ("outer_hash", "look-up in a hash map of maps"),
        ("inside", "the same in an array of maps and in the array that is found"),
        ("queue", "look at the next of a queue, bpf_map_peek_elem"),
        ("stack", "look at the next of a stack"),
        ("bloom", "look whether something is in a Bloom filter"),
    ]
    # Of whole runs: what, program, packet, the program that copies as much, calls through
    # the gate, accesses to loans.
    SHARES = [
        ("empty", "empty", "64", None, 0, 0),
        ("ten helper calls with numbers", "helpers", "64", None, 10, 0),
        ("a packet of 64 bytes in and back", "copy_both", "64", ("copy_both", "64"), 0, 0),
        ("a packet of 1500 bytes in and back", "copy_both", "1500", ("copy_both", "1500"), 0, 0),
        ("the forwarder, a get of memcached's over UDP", "forwarder", "get", ("copy_some", "get"), 0, 0),
        ("a redirect, and something behind it", "redirect_then", "64", None, 1, 0),
        ("a ring-buffer record", "record_1", "64", None, 2, 0),
        ("a look-up of a value on loan", "loan_1", "64", None, 1, 0),
        ("the same and ten accesses", "loan_value_10", "64", None, 1, 10),
    ]
    STRINGS = [
        ("strlen", "bpf_strlen of 16 bytes"),
        ("strlen_256", "bpf_strlen of 256 bytes"),
        ("strchr", "bpf_strchr, found at the 16th byte"),
        ("strcmp", "bpf_strcmp of 16 bytes, the same"),
        ("strcasecmp", "bpf_strcasecmp of 16 bytes, of which 14 are in the other case"),
        ("strcspn", "bpf_strcspn of 64 bytes, none of three"),
        ("strstr", "bpf_strstr of 6 bytes, found at the 44th"),
    ]
    CALLS = [
        ("call and return, static sub-program, 1 site", "call_static", "call_none", 1, 4),
        ("the same, 2 of R6 to R9 saved", "call_saves", "call_none", 1, 4),
        *((f"the same, none saved, {n} sites: each, on average", f"sites_{n}", "call_none", n, 4) for n in (2, 4, 16, 64)),
        *((f"of one that may call another, sites: {n}", f"inner_{n}", "call_none", n, 4) for n in (1, 16, 64)),
        ("call and return, global function", "call_global", "call_none", 1, 4),
        ("the same, an fentry program attached", "traced_call_global", "call_none", 1, 4),
        ("a round of bpf_loop, inlined by the verifier", "loop_inlined", None, 1, None),
        ("a round of bpf_loop, called", "loop_called", None, 1, None),
        ("an element of bpf_for_each_map_elem, array", "each_array", None, 1, None),
        ("an element of bpf_for_each_map_elem, hash", "each_hash", None, 1, None),
    ]

    def __init__(self, data):
        self.data = data
        self.run = data.table("run", "instructions", "module", "program", "packet")
        self.writes = data.table("run", "key_writes", "module", "program", "packet")
        self.least = data.table("least", "instructions", "module", "program")
        self.least_writes = data.table("least", "key_writes", "module", "program")
        self.round = data.table("round", "instructions", "module", "program")
        self.round_writes = data.table("round", "key_writes", "module", "program")
        self.rows = []

    def line(self, what, off, on, writes=0, target=None):
        # To a tenth: a timer's tick now and then adds two.
        writes = round(writes, 1)
        verdict = "" if target is None else f"<= {target}: {'met' if on - off <= target else 'not met'}"
        self.rows.append([what, show(off), show(on), show(on - off), show(writes), show(writes * KEY_WRITE), verdict])

    def difference(self, what, many, few, times, packet="64", target=None):
        def each(of, state):
            return (of[state, many, packet] - of[state, few, "64"]) / times
        self.line(what, each(self.run, "off"), each(self.run, "on"), each(self.writes, "on"), target)

    def shortest(self, what, many, few, times, target=None):
        def each(of, state):
            return (of[state, many] - (of[state, few] if few else 0)) / times
        self.line(what, each(self.least, "off"), each(self.least, "on"), each(self.least_writes, "on"), target)

    def call(self, what, program, base, sites, target):
        """What a round has more than that of `base`: a hundredth of 100 of them."""
        def a_round(of, state, name):
            return (of[state, name + "_200"] - of[state, name + "_100"]) / 100 if name else 0
        off, on = ((a_round(self.round, s, program) - a_round(self.round, s, base)) / sites for s in ("off", "on"))
        self.line(what, off, on, a_round(self.round_writes, "on", program) / sites, target)

    def single_runs(self):
        self.line("enter + exit, empty program", self.run["off", "empty", "64"], self.run["on", "empty", "64"],
                  self.writes["on", "empty", "64"], 100)
        self.difference("helper gate, numbers only", "helpers", "empty", 10, target=70)
        if self.least:
            self.shortest("enter + exit, shortest run of 50", "empty", None, 1, 100)
            self.shortest("helper gate, shortest run of 50", "helpers", "empty", 10, 70)
        for program, way in ("copy_in", "in"), ("copy_both", "in and back"):
            for size in "64", "256", "1500":
                self.difference(f"context and packet {way}, {size} bytes", program, "empty", 1, size)
        for what in self.LOOKUPS:
            self.difference(*what)
        for program, what in self.MAPS if ("on", "hash_10") in self.least else []:
            self.shortest(f"look-up in {what}", f"{program}_10", f"{program}_1", 9)
            self.shortest(f"access to a value in {what}", f"{program}_value_10", f"{program}_1", 10)
        for program, what in self.MORE_MAPS if ("on", "ports_10") in self.least else []:
            self.shortest(what, f"{program}_10", f"{program}_1", 9)
        for program, what in self.STRINGS if ("on", "strlen_10") in self.least else []:
            self.shortest(what, f"{program}_10", f"{program}_1", 9)
        self.line("the forwarder of make demo, a memcached get over UDP, whole run", self.run["off", "forwarder", "get"],
                  self.run["on", "forwarder", "get"], self.writes["on", "forwarder", "get"])
        for state, program, packet in self.run:
            if state == "off" and program.startswith("table_") and program != "table_0":
                self.line(f"jump through a table, places: {program[6:]}",
                          *(self.run[s, program, "64"] - self.run[s, "table_0", "64"] for s in ("off", "on")))
        self.line("load of 1000 instructions, bpftool included", self.run["off", "load_thousand", "-"],
                  self.run["on", "load_thousand", "-"])

    def interrupts(self):
        """Of an interrupt, time by time: what the timer added, over how many more there were."""
        quiet, got, writes = {}, collections.defaultdict(list), {}
        for r in self.data.rows["event"]:
            key = r["module"], r["program"]
            now = [float(r[n]) for n in ("instructions", "interrupts", "confined", "key_writes")]
            if r["period"] == "0":
                quiet[key] = now
                continue
            more = [a - b for a, b in zip(now, quiet[key])]
            got[key].append(more[0] / more[1])
            writes[key] = more[3] / more[2] if more[2] else 0
        return got, writes

    def tables(self):
        if self.run:
            self.single_runs()
        if self.round:
            for what in self.CALLS:
                self.call(*what)
        got, writes = self.interrupts()
        for program, what in ("confined", "while confined"), ("unconfined", "while not confined"):
            if ("on", program) in got:
                self.line(f"timer interrupt {what}", *(statistics.median(got[s, program]) for s in ("off", "on")),
                          writes["on", program])
        if self.rows:
            yield Table("Single things", self.COLUMNS, self.rows)
        if got:
            yield Table("Instructions of an interrupt, sorted", ["program", "module", "instructions"],
                        [[p, s, ", ".join(f"{x:.1f}" for x in sorted(got[s, p]))]
                         for p in ("confined", "unconfined") for s in ("off", "on")])

    def shares(self):
        """What is added to a run, by what it is for: enter and exit, gates, copies and
        accesses to loans each as single things have it, the others the rest."""
        def added(program, packet="64"):
            return self.run["on", program, packet] - self.run["off", program, packet]
        if ("on", "copy_some", "get") not in self.run:
            return
        ends = added("empty")
        gate = (added("helpers") - ends) / 10
        loan = (added("loan_value_10") - added("loan_1")) / 10
        rows = []
        for what, program, packet, copied, gates, loans in self.SHARES:
            copies = added(*copied) - ends if copied else 0
            whole = added(program, packet)
            rest = whole - ends - copies - gates * gate - loans * loan
            rows.append([what, *(show(n, 0) for n in (whole, ends, copies, gates * gate, loans * loan, rest)),
                         show(round(self.writes["on", program, packet]))])
        yield Table("Where the instructions that are added to a run go",
                    ["run", "all", "enter and exit", "context and packet", "helper gates", "loans",
                     "audits, results, and calls that need no gate", "key writes"], rows)

    def whole_runs(self):
        rows = [[program, packet, show(self.run["off", program, packet]), show(self.run["on", program, packet]),
                 f"{self.writes['on', program, packet]:g}" if ("on", program, packet) in self.writes else "-"]
                for state, program, packet in self.run if state == "off" and program != "load_thousand"]
        rows += [[program, "64", show(self.round["off", program]), show(self.round["on", program]),
                  f"{self.round_writes['on', program]:g}"] for state, program in self.round if state == "off"]
        if rows:
            yield Table("As counted, whole runs", ["program", "packet", "off", "on", "key writes a run"], rows)


def audits(data):
    """What the audit of an argument adds, by its kind: differences of programs of
    bench_audits.bpf.c, each what the module adds to its shortest run."""
    least = data.table("least", "instructions", "module", "program")
    if ("on", "audit_comm") not in least:
        return
    def added(name):
        return least["on", name] - least["off", name]
    def a(name):
        return added("audit_" + name)
    number = (a("numbers") - a("comm")) / 2
    key = a("update") - a("push")
    known_map = a("output") - a("numbers") + number
    way = a("delete") - known_map - key
    value = a("peek") - known_map - way
    memory = a("comm") - number - way
    rows = [
        ("the audited way itself, more than enter and exit", way - added("empty"), None),
        ("number", number, 10),
        ("map, the same each time", known_map, 10),
        ("map, one of an outer map's, with key and value", a("inner") - a("inner_known") + known_map + key + value, None),
        ("context", a("context") - a("context_comm") + memory + number, None),
        ("key on the stack", key, 25),
        ("value on the stack", value, 25),
        ("memory on the stack", memory, 25),
        ("value in the packet", value + a("packet") - a("packet_stack"), 25),
        ("memory in an array's value", memory + a("value") - a("value_stack"), 25),
        ("memory in a loan", memory + a("loan") - a("loan_stack"), 25),
        ("string of 4 bytes in a map that is frozen", a("string") - a("comm"), None),
        ("timer in an array's value", a("timer") - a("timer_comm") + memory + number, None),
    ]
    yield Table("What an audit adds, by the kind of the argument", ["argument", "instructions", "target"],
                [[what, show(n), "" if target is None else f"<= {target}: {'met' if n <= target else 'not met'}"]
                 for what, n, target in rows])


def native(data):
    """Cycles of the gates' own code. A difference has the errors of all its terms."""
    ticks = {r["program"]: [float(r[n]) for n in ("low", "ticks", "high")] for r in data.rows["native"]}
    if not ticks:
        return
    # A hundred multiplications of three cycles each, one after the other.
    cycles = 300 / ticks["chain"][1]
    def sum_of(*terms):
        middle = sum(factor * ticks[name][1] for factor, name in terms)
        error = sum(abs(factor) * (ticks[name][2] - ticks[name][0]) / 2 for factor, name in terms)
        return middle * cycles, error * cycles
    helper = [(0.1, "isolated_10"), (-0.1, "isolated_0"), (-0.1, "plain_10"), (0.1, "plain_0")]
    rows = []
    for what, switches, terms in (
            ("enter + exit, empty program", 2, [(1, "isolated_0"), (-1, "plain_0")]),
            ("helper gate, numbers only", 2, helper),
            ("enter, and a helper at whose gate the run ends", 2,
             [(1, "isolated_last"), (-0.1, "plain_10"), (-0.9, "plain_0")])):
        middle, error = sum_of(*terms)
        a_switch = middle / switches
        rows.append([what, f"{middle:.0f}", f"{error:.0f}", f"{a_switch:.0f}",
                     f"<= {SWITCH}: {'met' if a_switch <= SWITCH else 'not met'}"])
    yield Table("Cycles of the gates' own code, natively, without the key write: what isolation adds",
                ["what", "cycles", "give or take", "a switch", "target for a switch"], rows)
    yield Table("As counted, ticks of the TSC", ["program", "median", "least", "greatest"],
                [[name, *(f"{values[n]:.1f}" for n in (1, 0, 2))] for name, values in ticks.items()])


def system(data):
    of = data.table("system", "instructions", "module", "what")
    rows = [[what.replace("_", " "), *(show(of[state, what], 2) for state in ("off", "loaded", "on")),
             show(of["on", what] - of["off", what], 2)]
            for state, what in of if state == "off"]
    if rows:
        yield Table("What programs have no part in, instructions", ["what", "off", "the module loaded", "a program isolated",
                    "added by both"], rows)


def growth(data):
    off = {r["program"]: r for r in data.rows["image"] if r["module"] == "off"}
    on = [r for r in data.rows["image"] if r["module"] == "on" and r["isolation"] == "isolated"]
    if not on:
        return
    rows = []
    for what, stock, sizes in (("BPF instructions", "xlated", ["xlated"]), ("bytes of image", "jited", ["jited"]),
                               ("bytes of image and stubs", "jited", ["jited", "stubs"])):
        pairs = [(r["program"], int(off[r["program"]][stock]), sum(int(r[s]) for s in sizes)) for r in on]
        most = max(pairs, key=lambda p: p[2] - p[1])
        worst = max(pairs, key=lambda p: p[2] / p[1])
        before, after = sum(p[1] for p in pairs), sum(p[2] for p in pairs)
        rows.append([what, before, after, f"{after / before:.2f}", show(statistics.median(p[2] - p[1] for p in pairs)),
                     f"{statistics.median(p[2] / p[1] for p in pairs):.2f}", f"{most[2] - most[1]} ({most[0]})",
                     f"{worst[2] / worst[1]:.2f} ({worst[0]})"])
    several = sum(int(r["images"]) > 1 for r in on)
    yield Table(f"Growth over the corpus: the {len(on)} of its {len(off)} programs that are isolated, {several} of them in"
                " several images", ["what", "sum off", "sum on", "factor", "added, median", "factor, median", "added, worst",
                                    "factor, worst"], rows)


def scale(data):
    off = {r["programs"]: r for r in data.rows["scale"] if r["module"] == "off"}
    rows = [(off[r["programs"]], r) for r in data.rows["scale"] if r["module"] == "on"]
    if not rows:
        return
    yield Table("Programs that live at once", ["programs", "domains", "load off", "load on", "memory of a program off", "on",
                "in the region, a domain", "a run off", "on", "key writes a run"],
                [[b["programs"], b["domains"], a["load_ns"], b["load_ns"], a["memory"], b["memory"], b["region"],
                  a["instructions"], b["instructions"], b["key_writes"]] for a, b in rows])
    yield Plot("Instructions of a run, by the number of programs", "", ["off", "on"],
               [(b["programs"], [(float(r["instructions"]),) * 3 for r in (a, b)]) for a, b in rows], [])


def markdown(parts):
    for part in parts:
        if isinstance(part, Text):
            yield f"\n{part.text}\n"
        elif isinstance(part, Table):
            yield f"\n{part.title}:\n\n| {' | '.join(part.columns)} |\n|{'---|' * len(part.columns)}"
            for row in part.rows:
                yield f"| {' | '.join(map(str, row))} |"


COLOURS = "#7a8ca5", "#c8553d"


def svg(plot):
    """Bars from zero, with whiskers where low and high differ."""
    left, top, height, bar, gap = 60, 20, 220, 22, 24
    step = len(plot.series) * bar + gap
    width = left + step * len(plot.groups) + 130
    peak = max([h for _, bars in plot.groups for *_, h in bars] + [v for v, _ in plot.lines]) * 1.08
    def y(value):
        return top + height - value / peak * height
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + height + 90}" width="{width}" role="img">']
    step_value = next(10 ** e * m for e in range(-2, 9) for m in (1, 2, 5) if 10 ** e * m * 6 > peak)
    for i in range(int(peak / step_value) + 1):
        value = step_value * i
        out.append(f'<line x1="{left}" x2="{width - 130}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="grid"/>'
                   f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{show(value)}{plot.unit}</text>')
    for g, (name, bars) in enumerate(plot.groups):
        x = left + gap / 2 + g * step
        for i, (low, value, high) in enumerate(bars):
            middle = x + i * bar + bar / 2
            out.append(f'<rect x="{x + i * bar:.1f}" y="{y(value):.1f}" width="{bar - 2}" height="{top + height - y(value):.1f}"'
                       f' fill="{COLOURS[i]}"><title>{html.escape(f"{name}, {plot.series[i]}: {value:.2f} ({low:.2f} to {high:.2f})")}'
                       '</title></rect>')
            if high > low:
                out.append(f'<path d="M{middle - 5} {y(high):.1f}h8m-4 0V{y(low):.1f}m-4 0h8" class="whisker"/>')
        x += len(bars) * bar / 2
        out.append(f'<text transform="translate({x:.1f} {top + height + 14}) rotate(-25)" text-anchor="end">{html.escape(name)}</text>')
    for value, name in plot.lines:
        out.append(f'<line x1="{left}" x2="{width - 130}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="mark"/>'
                   f'<text x="{width - 126}" y="{y(value) + 4:.1f}">{html.escape(f"{name}: {show(value)}{plot.unit}")}</text>')
    for i, name in enumerate(plot.series):
        out.append(f'<rect x="{left + i * 60 if len(name) < 9 else left + i * 210}" y="2" width="10" height="10" fill="{COLOURS[i]}"/>'
                   f'<text x="{left + 14 + (i * 60 if len(name) < 9 else i * 210)}" y="11">{html.escape(name)}</text>')
    return "\n".join(out) + "</svg>"


STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .5em 0 2em; font-size: 13px } td, th { border: 1px solid #ccc; padding: .2em .6em;
text-align: right } td:first-child, th:first-child { text-align: left } svg text { font: 11px system-ui, sans-serif }
.grid { stroke: #ddd } .mark { stroke: #333; stroke-dasharray: 5 4 } .whisker { stroke: #111; fill: none }
div { overflow-x: auto }"""


def page(machines, parts):
    yield f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Bailey: benchmark</title><style>{STYLE}</style>'
    yield "<h1>Bailey: benchmark</h1>"
    for text in *machines, ("Instructions, counted by an emulator, but for the cycles of the gates' own code. Off: without the module; on: with it. "
                            f"A key write is modelled as {KEY_WRITE} cycles (WRMSR to PKRS, MOAT, Table 3); IPC, instructions "
                            f"per cycle, is an assumption, {IPC[1]}, from {IPC[0]} to {IPC[2]}, and the same with the module "
                            "as without. docs/performance.md says how each line is counted."):
        yield f"<p>{html.escape(text)}</p>"
    for part in parts:
        if isinstance(part, Text):
            yield f"<p>{html.escape(part.text)}</p>"
            continue
        yield f"<h2>{html.escape(part.title)}</h2><div>"
        if isinstance(part, Plot):
            yield svg(part)
        else:
            yield "<table><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in part.columns) + "</tr>"
            for row in part.rows:
                yield "<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>"
            yield "</table>"
        yield "</div>"
    yield "</html>"


BEGIN, END = "<!-- What follows is made by make bench. -->\n", "<!-- What make bench makes ends here. -->\n"


def main():
    if len(sys.argv) != 3:
        sys.exit("report: FOLDER PERFORMANCE.MD")
    folder, document = map(pathlib.Path, sys.argv[1:])
    data = Data(folder)
    data.save(folder)
    gates = Gates(data)
    parts = [*memcached(data), *control(data), *gates.tables(), *gates.shares(), *audits(data), *native(data), *system(data), *growth(data), *scale(data), *gates.whole_runs()]
    (folder / "report.html").write_text("\n".join(page(data.machines, parts)) + "\n")
    print(f"bench: {folder / 'report.html'}")
    missing = [kind for kind in COLUMNS if kind not in data.rows or not data.rows[kind]]
    text = document.read_text()
    if missing:
        print(f"bench: {document.name} stays as it is, without figures of: {', '.join(missing)}")
    elif BEGIN not in text or END not in text.split(BEGIN)[1]:
        sys.exit(f"report: {document} has not the two comments that name make bench")
    else:
        before, rest = text.split(BEGIN)
        tables = "\n".join(["Measured: " + "; ".join(data.machines) + ".", *markdown(parts)])
        document.write_text(before + BEGIN + "\n" + tables + "\n\n" + END + rest.split(END)[1])
        print(f"bench: the tables of {document.name} are new")


if __name__ == "__main__":
    main()
