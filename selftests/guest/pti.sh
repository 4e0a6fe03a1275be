#!/bin/bash
# Page-table isolation: user mode has page tables of its own, and the CPU comes
# from them into the event stubs. Five levels; pti_4_levels.sh has four.
# ONCE: yes
# TAKES: 90
# SMP: 2
# TIMEOUT: 600
# NMI: 50
# MODULE: breach
# APPEND: pti=on
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

nmis() {
    awk '$1 == "NMI:" { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i; print n }' /proc/interrupts
}

# user_text: pages that the user tree maps of the last top-level entry.
user_text() {
    ./residue | awk '$1 == "user" { print $3 }'
}

hooked() {
    [ "$(status events_hooked)" = yes ]
}

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" corpus_{array,hash,packet,ring,tail}.bpf.o >"$out" 2>"$out.errors" ||
        { tail -n 20 "$out.errors"; return 1; }
}

check "page-table isolation is on" grep -qw pti /proc/cpuinfo
check "the kernel log says so" grep -q 'page tables isolation: enabled' <(dmesg)
before=$(user_text)
check "the corpus runs on the stock kernel" run_corpus /tmp/without
./residue >/tmp/before

need_module on_violation=abort
equal "the page tables of user mode have the 4 pages of the stubs more" $((before + 4)) "$(user_text)"
equal "and nothing more that is writable" "$(awk '$1 == "user" { print $5 }' /tmp/before)" \
    "$(./residue | awk '$1 == "user" { print $5 }')"
check "the corpus runs with the module" run_corpus /tmp/with --isolation /tmp/states
check "its programs leave the same behind isolated as not" diff -U0 /tmp/without /tmp/with
count=$(grep -c ' isolated$' /tmp/states)
check "most of them are isolated ($count are)" test "$count" -ge 30
equal "none of them breaches" 0 "$(counter violations_total)"

# The other kind of event: user mode, while the stubs are in the IDT.
./xdp_run load.bpf.o busy --seconds 300 --cpus all --verdict 2 >/dev/null &
runner=$!
wait_for 5 hooked
first=$(nmis)
absorb ./user_events --seconds 6
check "NMIs came all the while ($(($(nmis) - first)))" test $(($(nmis) - first)) -ge 100
check "the stubs were in the IDT all the while" hooked
kill $runner
result $? "the load lasted all the while"
wait $runner
result $? "the program gave the right verdict all the while"
equal "no event was taken for a violation" 0 "$(counter violations_total)"

absorb ./breach --expect stop --count 100 --seed 1
ended=$(sed -n 's/^# ended //p' /tmp/absorbed)
equal "every ended run is counted as a violation" "$ended" "$(counter violations_total)"
check "the module leaves" unload_module
check "IDT, CR4, hooks and both page tables are as before" diff /tmp/before <(./residue)
finish
