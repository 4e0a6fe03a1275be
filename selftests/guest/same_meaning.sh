#!/bin/bash
# The corpus without the module, then with it: what the programs leave behind
# must be the same, and each must really have been isolated.
# SMP: 2
# TIMEOUT: 900
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# Programs that this module may refuse to isolate, with the reason in debugfs:
# kernel functions, dynptrs, iterators, may_goto, and helpers that read the
# running task or any address they are given.
may_stay() {
    case $1 in
    corpus_kfunc/*) return 0 ;;
    corpus_helper/current_* | corpus_helper/print_text | corpus_helper/trace_many | corpus_helper/read_kernel) return 0 ;;
    esac
    return 1
}

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" corpus_*.bpf.o >"$out" 2>"$out.errors" ||
        { tail -n 20 "$out.errors"; grep 'does not load' "$out"; return 1; }
}

# compare OUTPUT WHEN: a test for each object of the corpus.
compare() {
    local object
    for object in corpus_*.bpf.o; do
        object=${object%.bpf.o}
        check "the programs of $object leave the same behind $2" \
            diff -U0 <(grep "^$object/" /tmp/without) <(grep "^$object/" "$1")
    done
}

# isolated FILE: which programs are not, but should be.
isolated() {
    local name state bad=0
    while read -r name state; do
        if [ "$state" != isolated ] && ! may_stay "$name"; then
            echo "$name: $state"
            bad=1
        fi
    done <"$1"
    return "$bad"
}

check "every program of the corpus runs on the stock kernel" run_corpus /tmp/without
need_module policy=permit
check "every program of the corpus runs with the module" run_corpus /tmp/with --isolation /tmp/states
compare /tmp/with "isolated as not"
check "every program of the kinds that can be isolated is isolated" isolated /tmp/states
count=$(grep -c ' isolated$' /tmp/states)
check "at least 48 programs are isolated ($count are)" test "$count" -ge 48
note "$(grep -v ' isolated$' /tmp/states)"
equal "no program of the corpus breaches" 0 "$(counter violations_total)"

# The JIT splits every constant in two: other instructions, the same meaning.
echo 2 >/proc/sys/net/core/bpf_jit_harden
check "every program of the corpus runs with constants blinded" run_corpus /tmp/blinded
compare /tmp/blinded "with constants blinded"
echo 0 >/proc/sys/net/core/bpf_jit_harden
equal "blinded constants breach nothing" 0 "$(counter violations_total)"
check "the module leaves after the corpus" unload_module
finish
