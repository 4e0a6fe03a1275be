# Turns the output of `make bench` into the tables of performance.md:
#
#   make bench | awk -f docs/performance.awk
#
# A key write is modelled as 111 cycles (WRMSR to PKRS, MOAT Table 3).
$1 == "kernel" { machine = $0 }
$1 == "off" || $1 == "on" {
    run[$1, $2, $3] = $4
    writes[$2, $3] = $5
    if ($1 == "off") name[n++] = $2 " " $3
}
# (MANY - FEW) / TIMES with the module on or off, of packets of 64 bytes.
function each(state, many, few, times) {
    return (run[state, many, 64] - run[state, few, 64]) / times
}
# The same of key writes, to a tenth: a timer's tick now and then adds two.
function keys(many, few, times) {
    return sprintf("%.1f", (writes[many, 64] - writes[few, 64]) / times) + 0
}
function line(what, off, on, written, target, verdict) {
    if (target) verdict = "<= " target ": " (on - off <= target ? "met" : "missed")
    printf "| %s | %s | %s | %s | %s | %s | %s |\n", what, show(off), show(on), show(on - off), written,
        written * 111, verdict
}
function show(x) {
    return x == int(x) ? x : sprintf("%.1f", x)
}
function copies(program, words, k, size) {
    for (k = 1; k <= 3; k++) {
        size = k == 1 ? 64 : k == 2 ? 256 : 1500
        line(words ", " size " bytes", run["off", program, size] - run["off", "empty", 64],
            run["on", program, size] - run["on", "empty", 64],
            writes[program, size] - writes["empty", 64], "")
    }
}
END {
    print "Measured: " machine ".\n"
    print "| what | off | on | added | key writes | modelled cycles for them | target for added |"
    print "|---|---|---|---|---|---|---|"
    line("enter + exit, empty program", run["off", "empty", 64], run["on", "empty", 64], writes["empty", 64], 130)
    line("helper gate, numbers only", each("off", "helpers", "empty", 10), each("on", "helpers", "empty", 10),
        keys("helpers", "empty", 10), 70)
    copies("copy_in", "context and packet in")
    copies("copy_both", "context and packet in and back")
    line("array look-up", each("off", "array_10", "array_1", 9), each("on", "array_10", "array_1", 9),
        keys("array_10", "array_1", 9), "")
    line("hash look-up", each("off", "hash_10", "hash_1", 9), each("on", "hash_10", "hash_1", 9),
        keys("hash_10", "hash_1", 9), "")
    line("access to an array's value", each("off", "array_value_10", "array_1", 10),
        each("on", "array_value_10", "array_1", 10), keys("array_value_10", "array_1", 10), "")
    line("access to a hash's value (a loan)", each("off", "hash_value_10", "hash_1", 10),
        each("on", "hash_value_10", "hash_1", 10), keys("hash_value_10", "hash_1", 10), "")
    for (i = 0; i < n; i++) {
        split(name[i], p)
        if (p[1] !~ /^table_[1-9]/) continue
        line("jump through a table, places: " substr(p[1], 7),
            run["off", p[1], 64] - run["off", "table_0", 64], run["on", p[1], 64] - run["on", "table_0", 64], 0, "")
    }
    if (("on", "load_thousand", "-") in run)
        line("load of 1000 instructions, bpftool included", run["off", "load_thousand", "-"],
            run["on", "load_thousand", "-"], 0, "")
    print "\nAs counted, whole runs:\n"
    print "| program | packet | off | on | key writes a run |"
    print "|---|---|---|---|---|"
    for (i = 0; i < n; i++) {
        split(name[i], p)
        if (p[1] == "load_thousand") continue
        printf "| %s | %s | %s | %s | %s |\n", p[1], p[2], run["off", p[1], p[2]], run["on", p[1], p[2]],
            writes[p[1], p[2]]
    }
}
