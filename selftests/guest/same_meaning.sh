#!/bin/bash
# The corpus without the module, then with it: what the programs leave behind
# must be the same, and each must really have been isolated.
# TAKES: 220
# SMP: 2
# TIMEOUT: 1800
# BOCHS: CORPUS=corpus_h* AT_LEAST=20
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# A slow emulator has time for a part of the corpus.
shopt -s nullglob
# shellcheck disable=SC2206
objects=(${CORPUS:-corpus_*}.bpf.o)
at_least=${AT_LEAST:-48}

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" "${objects[@]}" >"$out" 2>"$out.errors" ||
        { tail -n 20 "$out.errors"; grep 'does not load' "$out"; return 1; }
}

# compare OUTPUT WHEN: a test for each object of the corpus.
compare() {
    local object
    for object in "${objects[@]}"; do
        object=${object%.bpf.o}
        check "the programs of $object leave the same behind $2" \
            diff -U0 <(grep "^$object/" /tmp/without) <(grep "^$object/" "$1")
    done
}

check "every program of the corpus runs on the stock kernel" run_corpus /tmp/without
need_module policy=permit kernel_reads=1
check "every program of the corpus runs with the module" run_corpus /tmp/with --isolation /tmp/states
compare /tmp/with "isolated as not"
check "every program of the kinds that can be isolated is isolated" isolated_or_listed /tmp/states
note "isolated: $(grep -c ' isolated$' /tmp/states) of $(wc -l </tmp/states)"
count=$(grep -c ' isolated$' /tmp/states)
check "at least $at_least programs are isolated ($count are)" test "$count" -ge "$at_least"
note "$(grep -v ' isolated$' /tmp/states)"
note "$(isolated_though_listed /tmp/states)"
equal "no program of the corpus breaches" 0 "$(counter violations_total)"

# The JIT splits every constant in two: other instructions, the same meaning. Not
# another time on a second kernel: the rewriting is the module's, for each the same.
if [ -n "$SKIP_ONCE" ]; then
    note "constants are blinded on the first kernel alone"
    check "the module leaves after the corpus" unload_module
    finish
fi
echo 2 >/proc/sys/net/core/bpf_jit_harden
check "every program of the corpus runs with constants blinded" \
    run_corpus /tmp/blinded --isolation /tmp/blinded_states
check "blinding makes no program one that is not isolated" diff -U0 /tmp/states /tmp/blinded_states
compare /tmp/blinded "with constants blinded"
echo 0 >/proc/sys/net/core/bpf_jit_harden
equal "blinded constants breach nothing" 0 "$(counter violations_total)"
check "the module leaves after the corpus" unload_module
finish
