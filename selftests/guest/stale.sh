#!/bin/bash
# The controls of `sharing` that need a TLB that remembers: with flushes left out,
# or pages made global, a domain gets at pages that the CPU knows from before.
# SMP: 2
# TIMEOUT: 900
# MODULE: breach
# BOCHS: only
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly parameters=/sys/module/bailey/parameters

need_module on_violation=abort test_hold=1
absorb ./recycled --rounds 4 --pages 64 --seed 1
check "the domains of freed programs go" wait_for 20 domains_are 0

echo flush >$parameters/undefended
absorb ./recycled --expect leak --rounds 4 --pages 64 --seed 1
echo >$parameters/undefended
check "they go in the control, too" wait_for 20 domains_are 0

absorb ./sharers --count 200 --seed 2
check "the domains of freed programs go once more" wait_for 20 domains_are 0

echo local >$parameters/undefended
absorb ./sharers --expect leak --count 200 --seed 2
echo >$parameters/undefended
check "they go in this control, too" wait_for 20 domains_are 0
check "the module leaves" unload_module
finish
