#!/bin/bash
# Functions and callbacks at the ends of what there is room for: under NMIs, on
# all CPUs at once, and inside of each other's runs.
# ONCE: yes
# ALONE: yes
# SMP: 3
# TIMEOUT: 600
# MODULE: breach
# NMI: 50
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly orders=60 pass=2 pins=/sys/fs/bpf/deep
readonly param=/sys/module/bailey/parameters/test_nested

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" corpus_subdeep.bpf.o >"$out" 2>"$out.errors" ||
        { tail -n 30 "$out.errors"; return 1; }
}

# verdict PROGRAM: on the stock kernel, of 3500 bytes.
verdict() {
    sed -n "s/^corpus_subdeep.$1 size=3500 run=0 verdict=\([0-9]*\) .*/\1/p" /tmp/without
}

check "deep programs run on the stock kernel" run_corpus /tmp/without
# 33 tail calls, each of which adds 1, and the last one's miss.
check "the stock kernel follows a chain to its end" \
    ./xdp_run deep_chain.bpf.o chain_inside --verdict 35
need_module policy=permit on_violation=abort
check "deep programs run with the module" run_corpus /tmp/with --isolation /tmp/states
check "they leave the same behind with the module" diff -U0 /tmp/without /tmp/with
check "those that can be isolated are isolated" isolated_or_listed /tmp/states
note "$(grep -v ' isolated$' /tmp/states)"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
equal "there was room for all of it" 0 "$(counter frame_full)"
# The limit of tail calls, out of functions, with a packet of most of a page.
check "the deepest tail calls give the right verdict on every CPU at once" \
    ./xdp_run corpus_subdeep.bpf.o deep_tail_calls --repeat "$(few 300)" --chunk 10 --cpus all \
    --size 3500 --verdict "$(verdict deep_tail_calls)"
check "the deepest callbacks give the right verdict on every CPU at once" \
    ./xdp_run corpus_subdeep.bpf.o deep_callbacks --repeat "$(few 300)" --chunk 10 --cpus all --verdict 2

mkdir -p $pins
check "the deepest programs are loaded" \
    bpftool prog loadall corpus_subdeep.bpf.o $pins
for program in deep_callbacks deep_tail_calls; do
    read -r -a before <$param
    ./xdp_run corpus_subdeep.bpf.o $program --seconds 300 --chunk 10 --cpus all --size 3500 \
        --verdict "$(verdict $program)" >/tmp/runner 2>&1 &
    runner=$!
    sleep 2
    check "the deepest callbacks run in interrupts of $program" \
        ./nested $pins/deep_callbacks $orders
    kill $runner
    wait $runner
    result $? "$program gave the right verdict all the while"
    note "$(cat /tmp/runner)"
    read -r -a after <$param
    note "runs, nested, verdicts: ${before[*]}, then ${after[*]}"
    equal "every run in an interrupt of $program gave the right verdict" \
        $(((after[0] - before[0]) * pass)) $((after[2] - before[2]))
    check "some of them were inside of a run of $program" test $((after[1] - before[1])) -gt 20
done
rm -r $pins
equal "nothing at this depth is a violation" 0 "$(counter violations_total)"
equal "there was room for all of this depth" 0 "$(counter frame_full)"

# Runs inside of runs that the kernel's stack has no room for.
./xdp_run deep_chain.bpf.o chain_inside --repeat "$(few 300)" --chunk 10 --cpus all --size 3500 >/tmp/chain
note "$(cat /tmp/chain)"
check "a chain that is too deep is ended, and counted" test "$(counter frame_full)" -ge "$(few 300)"
equal "that is no violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
