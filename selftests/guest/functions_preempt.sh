#!/bin/bash
# Functions and callbacks where the kernel preempts everything: the same
# programs leave the same behind.
# ONCE: yes
# TAKES: 110
# SMP: 2
# TIMEOUT: 600
# APPEND: preempt=full
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
objects=(corpus_subprog corpus_subtail corpus_subdeep corpus_callback corpus_exception)

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" "${objects[@]/%/.bpf.o}" >"$out" 2>"$out.errors" ||
        { tail -n 20 "$out.errors"; return 1; }
}

check "the kernel preempts everything" grep -F '(full)' /sys/kernel/debug/sched/preempt
check "the programs with functions run on the stock kernel" run_corpus /tmp/without
need_module policy=permit
check "the programs with functions run with the module" run_corpus /tmp/with --isolation /tmp/states
for object in "${objects[@]}"; do
    check "the programs of $object leave the same behind isolated as not" \
        diff -U0 <(grep "^$object/" /tmp/without) <(grep "^$object/" /tmp/with)
done
check "those that can be isolated are isolated" isolated_or_listed /tmp/states
equal "nothing of this is a violation" 0 "$(counter violations_total)"
equal "there was room for all of it" 0 "$(counter frame_full)"
check "the module leaves" unload_module
finish
