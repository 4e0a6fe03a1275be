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
# least STATE PROGRAM INSTRUCTIONS KEY_WRITES
$1 == "least" {
    least[$2, $3] = $4
    least_writes[$3] = $5
}
# round STATE PROGRAM INSTRUCTIONS KEY_WRITES
$1 == "round" {
    round[$2, $3] = $4
    round_writes[$3] = $5
    if ($2 == "off") round_name[rounds++] = $3
}
# event STATE PROGRAM TIME PERIOD INSTRUCTIONS INTERRUPTS CONFINED KEY_WRITES:
# of each time first without the timer, then with it.
$1 == "event" && $5 == 0 { split($0, quiet) }
$1 == "event" && $5 > 0 {
    interrupts[$2, $3, $4] = ($6 - quiet[6]) / ($7 - quiet[7])
    if ($8 > quiet[8]) event_writes[$3] = sprintf("%.1f", ($9 - quiet[9]) / ($8 - quiet[8])) + 0
    if ($4 > times) times = $4
}
# image STATE OBJECT/PROGRAM XLATED JITED STUBS IMAGES PROGRAM_STATE
$1 == "image" && $2 == "off" {
    stock["xlated", $3] = $4
    stock["jited", $3] = $5
    seen++
}
$1 == "image" && $2 == "on" && $8 == "isolated" {
    size["xlated", $3] = $4
    size["jited", $3] = $5
    size["all", $3] = $5 + $6
    stock["all", $3] = stock["jited", $3]
    image[images++] = $3
    several += $7 > 1
}
# scale STATE PROGRAMS DOMAINS LOAD_NS BYTES_PER_PROGRAM REGION_BYTES_PER_DOMAIN INSTRUCTIONS KEY_WRITES
$1 == "scale" {
    split($0, scaled)
    for (k = 5; k <= 9; k++) scale[$2, $3, k] = scaled[k]
    if ($2 == "on") {
        scale_domains[$3] = $4
        scales[nr_scales++] = $3
    }
}
# sort(A, N): a[0] to a[n - 1], ascending
function sort(a, n, i, j, x) {
    for (i = 1; i < n; i++) {
        x = a[i]
        for (j = i; j > 0 && a[j - 1] > x; j--) a[j] = a[j - 1]
        a[j] = x
    }
}
function median(a, n) {
    sort(a, n)
    return n % 2 ? a[(n - 1) / 2] : (a[n / 2 - 1] + a[n / 2]) / 2
}
# One of the rounds of a program that differs from the other in 100 of them.
function a_round(state, program) {
    return (round[state, program "_200"] - round[state, program "_100"]) / 100
}
# What a round of a program has more than that of another, each of `sites` times.
function call_line(what, program, base, sites, target, off, on, keys) {
    off = (a_round("off", program) - (base ? a_round("off", base) : 0)) / sites
    on = (a_round("on", program) - (base ? a_round("on", base) : 0)) / sites
    keys = (round_writes[program "_200"] - round_writes[program "_100"]) / 100 / sites
    line(what, off, on, sprintf("%.1f", keys) + 0, target)
}
function sorted_interrupts(state, program, a, i) {
    for (i = 1; i <= times; i++) a[i - 1] = interrupts[state, program, i]
    return median(a, times)
}
function interrupt_line(what, program) {
    line(what, sorted_interrupts("off", program), sorted_interrupts("on", program),
        program in event_writes ? event_writes[program] : 0, "")
}
function five(state, program, a, i, text) {
    for (i = 1; i <= times; i++) a[i - 1] = interrupts[state, program, i]
    sort(a, times)
    for (i = 0; i < times; i++) text = text (i ? ", " : "") sprintf("%.1f", a[i])
    printf "| %s | %s | %s |\n", program, state, text
}
function growth(what, kind, i, off, on, factor, added, ratio, worst, most) {
    for (i = 0; i < images; i++) {
        off += stock[kind, image[i]]
        on += size[kind, image[i]]
        added[i] = size[kind, image[i]] - stock[kind, image[i]]
        ratio[i] = size[kind, image[i]] / stock[kind, image[i]]
        if (!i || ratio[i] > ratio[worst]) worst = i
        if (!i || added[i] > added[most]) most = i
    }
    # The worst by name, before sorting moves them.
    worst = sprintf("%.2f (%s)", ratio[worst], image[worst])
    most = sprintf("%d (%s)", added[most], image[most])
    printf "| %s | %d | %d | %.2f | %s | %.2f | %s | %s |\n", what, off, on, on / off, show(median(added, images)),
        median(ratio, images), most, worst
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
    if (target) verdict = "<= " target ": " (on - off <= target ? "met" : "not met")
    printf "| %s | %s | %s | %s | %s | %s | %s |\n", what, show(off), show(on), show(on - off), written,
        written * 111, verdict
}
function show(x) {
    return x == int(x) ? x : sprintf("%.1f", x)
}
# Of one kind of map, shortest runs of 50: a look-up, and an access to a value.
function map_lines(map, words, k, many, few) {
    for (k = 9; k <= 10; k++) {
        many = map (k == 9 ? "_10" : "_value_10")
        few = map "_1"
        line((k == 9 ? "look-up in " : "access to a value in ") words,
            (least["off", many] - least["off", few]) / k, (least["on", many] - least["on", few]) / k,
            (least_writes[many] - least_writes[few]) / k, "")
    }
}
function copies(program, words, k, size) {
    for (k = 1; k <= 3; k++) {
        size = k == 1 ? 64 : k == 2 ? 256 : 1500
        line(words ", " size " bytes", run["off", program, size] - run["off", "empty", 64],
            run["on", program, size] - run["on", "empty", 64],
            sprintf("%.1f", writes[program, size] - writes["empty", 64]) + 0, "")
    }
}
END {
    print "Measured: " machine ".\n"
    print "| what | off | on | added | key writes | modelled cycles for them | target for added |"
    print "|---|---|---|---|---|---|---|"
    line("enter + exit, empty program", run["off", "empty", 64], run["on", "empty", 64], writes["empty", 64], 130)
    line("helper gate, numbers only", each("off", "helpers", "empty", 10), each("on", "helpers", "empty", 10),
        keys("helpers", "empty", 10), 70)
    line("enter + exit, shortest run of 50", least["off", "empty"], least["on", "empty"], 2, 130)
    line("helper gate, shortest run of 50", (least["off", "helpers"] - least["off", "empty"]) / 10,
        (least["on", "helpers"] - least["on", "empty"]) / 10, 2, 70)
    copies("copy_in", "context and packet in")
    copies("copy_both", "context and packet in and back")
    line("array look-up", each("off", "array_10", "array_1", 9), each("on", "array_10", "array_1", 9),
        keys("array_10", "array_1", 9), "")
    line("hash look-up", each("off", "hash_10", "hash_1", 9), each("on", "hash_10", "hash_1", 9),
        keys("hash_10", "hash_1", 9), "")
    line("redirect through a device map, the last thing that a program does",
        each("off", "redirect_last", "empty", 1), each("on", "redirect_last", "empty", 1),
        keys("redirect_last", "empty", 1), "")
    line("the same, with something behind it", each("off", "redirect_then", "empty", 1),
        each("on", "redirect_then", "empty", 1), keys("redirect_then", "empty", 1), "")
    line("look-up in a per-CPU array", each("off", "per_cpu_10", "per_cpu_1", 9),
        each("on", "per_cpu_10", "per_cpu_1", 9), keys("per_cpu_10", "per_cpu_1", 9), "")
    line("checksum of 20 bytes", each("off", "checksum_10", "checksum_1", 9),
        each("on", "checksum_10", "checksum_1", 9), keys("checksum_10", "checksum_1", 9), "")
    line("access to an array's value", each("off", "array_value_10", "array_1", 10),
        each("on", "array_value_10", "array_1", 10), keys("array_value_10", "array_1", 10), "")
    line("access to a hash's value", each("off", "hash_value_10", "hash_1", 10),
        each("on", "hash_value_10", "hash_1", 10), keys("hash_value_10", "hash_1", 10), "")
    line("access to a per-CPU array's value", each("off", "per_cpu_value_10", "per_cpu_1", 10),
        each("on", "per_cpu_value_10", "per_cpu_1", 10), keys("per_cpu_value_10", "per_cpu_1", 10), "")
    line("ring-buffer record of 64 bytes, reserved and submitted", each("off", "record_10", "record_1", 9),
        each("on", "record_10", "record_1", 9), keys("record_10", "record_1", 9), "")
    line("access to such a record", each("off", "record_value_10", "record_1", 10),
        each("on", "record_value_10", "record_1", 10), keys("record_value_10", "record_1", 10), "")
    line("access to a loan", each("off", "loan_value_10", "loan_1", 10),
        each("on", "loan_value_10", "loan_1", 10), keys("loan_value_10", "loan_1", 10), "")
    if (("on", "hash_10") in least) {
        map_lines("hash", "a hash map, preallocated")
        map_lines("hash_12", "one with keys of 12 bytes")
        map_lines("hash_36", "one with keys of 36 bytes")
        map_lines("on_demand", "one whose elements come as they are needed")
        map_lines("lru", "one that forgets")
        map_lines("local", "one that is per CPU")
        map_lines("local_lru", "one that is per CPU and forgets")
        map_lines("pieces", "a per-CPU array, not in its first 32 KiB")
    }
    line("the forwarder of make demo, a memcached get over UDP, whole run", run["off", "forwarder", "get"],
        run["on", "forwarder", "get"], sprintf("%.1f", writes["forwarder", "get"]) + 0, "")
    for (i = 0; i < n; i++) {
        split(name[i], p)
        if (p[1] !~ /^table_[1-9]/) continue
        line("jump through a table, places: " substr(p[1], 7),
            run["off", p[1], 64] - run["off", "table_0", 64], run["on", p[1], 64] - run["on", "table_0", 64], 0, "")
    }
    if (("on", "load_thousand", "-") in run)
        line("load of 1000 instructions, bpftool included", run["off", "load_thousand", "-"],
            run["on", "load_thousand", "-"], 0, "")
    call_line("call and return, static sub-program, 1 site", "call_static", "call_none", 1, 4)
    call_line("the same, 2 of R6 to R9 saved", "call_saves", "call_none", 1, 4)
    split("2 4 16 64", sites)
    for (i = 1; i <= 4; i++)
        call_line("the same, none saved, " sites[i] " sites: each, on average", "sites_" sites[i], "call_none", sites[i], 4)
    split("1 16 64", sites)
    for (i = 1; i <= 3; i++)
        call_line("of one that may call another, sites: " sites[i], "inner_" sites[i], "call_none", sites[i], 4)
    call_line("call and return, global function", "call_global", "call_none", 1, 4)
    call_line("the same, an fentry program attached", "traced_call_global", "call_none", 1, 4)
    call_line("a round of bpf_loop, inlined by the verifier", "loop_inlined", "", 1, "")
    call_line("a round of bpf_loop, called", "loop_called", "", 1, "")
    call_line("an element of bpf_for_each_map_elem, array", "each_array", "", 1, "")
    call_line("an element of bpf_for_each_map_elem, hash", "each_hash", "", 1, "")
    interrupt_line("timer interrupt while confined", "confined")
    interrupt_line("timer interrupt while not confined", "unconfined")
    printf "\nGrowth over the corpus: the %d of its %d programs that are isolated, %d of them in several images.\n\n",
        images, seen, several
    print "| what | sum off | sum on | factor | added, median | factor, median | added, worst | factor, worst |"
    print "|---|---|---|---|---|---|---|---|"
    growth("BPF instructions", "xlated")
    growth("bytes of image", "jited")
    growth("bytes of image and stubs", "all")
    print "\nPrograms that live at once:\n"
    print "| programs | domains | load off | load on | memory of a program off | on | in the region, a domain | a run off | on | key writes a run |"
    print "|---|---|---|---|---|---|---|---|---|---|"
    for (i = 0; i < nr_scales; i++) {
        k = scales[i]
        printf "| %d | %d | %d | %d | %d | %d | %d | %d | %d | %s |\n", k, scale_domains[k],
            scale["off", k, 5], scale["on", k, 5], scale["off", k, 6], scale["on", k, 6], scale["on", k, 7],
            scale["off", k, 8], scale["on", k, 8], scale["on", k, 9]
    }
    print "\nInstructions of an interrupt, five times measured, sorted:\n"
    print "| program | module | instructions |"
    print "|---|---|---|"
    five("off", "confined"); five("on", "confined")
    five("off", "unconfined"); five("on", "unconfined")
    print "\nAs counted, whole runs:\n"
    print "| program | packet | off | on | key writes a run |"
    print "|---|---|---|---|---|"
    for (i = 0; i < n; i++) {
        split(name[i], p)
        if (p[1] == "load_thousand") continue
        printf "| %s | %s | %s | %s | %s |\n", p[1], p[2], run["off", p[1], p[2]], run["on", p[1], p[2]],
            writes[p[1], p[2]]
    }
    for (i = 0; i < rounds; i++)
        printf "| %s | 64 | %s | %s | %s |\n", round_name[i], round["off", round_name[i]], round["on", round_name[i]],
            round_writes[round_name[i]] + 0
}
