#!/bin/bash
# Functions and callbacks: a breach in one ends the whole run and nothing of it
# stays; what attaches to them or takes their place works as without the module.
# TAKES: 150
# SMP: 2
# TIMEOUT: 900
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

absorb ./breach_functions --expect harmless
check "the program is attached to and replaced on the stock kernel" \
    sh -c "./functions_attach >/tmp/without 2>/tmp/errors || { cat /tmp/errors; false; }"
check "what attaches sees something (the next tests can fail)" \
    test "$(grep -c ' saw [1-9a-f][0-9a-f]* ' /tmp/without)" -ge 16

gated="corpus_callback.bpf.o corpus_subprog.bpf.o corpus_subtail.bpf.o"
# shellcheck disable=SC2086 # a list of files
check "programs with functions run on the stock kernel" sh -c "./xdp_corpus $gated >/tmp/corpus"

need_module policy=permit on_violation=abort
check "the program is attached to and replaced with the module" \
    sh -c "./functions_attach --isolation /tmp/states >/tmp/with 2>/tmp/errors || { cat /tmp/errors; false; }"
note "$(cat /tmp/errors)"
check "program, packets and what attaches are the same with the module" diff -U0 /tmp/without /tmp/with
check "those that can be isolated are isolated" isolated_or_listed /tmp/states
check "a replacement of a function is isolated" grep -q '^attach/inside_of_change_packet isolated$' /tmp/states
deny "a replacement that is not isolated is one" grep -q '^attach/outside.* isolated$' /tmp/states
check "nothing can be attached to a static function" ./functions_attach --static
check "the log says why" sh -c "./functions_attach --static | grep 'part of an isolated program'"
equal "what attaches is no violation" 0 "$(counter violations_total)"
# Some of the programs walk a map with many buckets: fewer than in `breach`.
absorb ./breach_functions --count "$(few 3000)"
# Global functions were part of their callers; once more through their gates.
echo 1 >/sys/module/bailey/parameters/test_gated
absorb ./breach_functions --count "$(few 1000)"
check "the program is attached to and replaced where nothing is part of a caller" \
    sh -c "./functions_attach >/tmp/gated 2>/tmp/errors || { cat /tmp/errors; false; }"
check "that is the same as without the module" diff -U0 /tmp/without /tmp/gated
check "programs with functions leave the same behind where nothing is part of a caller" \
    sh -c "./xdp_corpus $gated | diff -U0 /tmp/corpus -"
equal "no run was turned away for lack of room" 0 "$(counter frame_full)"
check "the module leaves" unload_module
finish
