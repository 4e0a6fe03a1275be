#!/bin/bash
# Domains that share a key: page tables of their own keep them apart. With the
# control: without these, they reach each other. And a key that changes hands
# opens nothing of its former owner's.
# SMP: 2
# TIMEOUT: 600
# MODULE: breach
# BOCHS: SCALE=20
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly parameters=/sys/module/bailey/parameters

need_module on_violation=abort
# On a slow machine the policy would have time to part them.
echo 1 >$parameters/test_hold
absorb ./sharers --count "$(few 10000)" --seed 1
check "the domains of freed programs go" wait_for 10 domains_are 0

echo roots >$parameters/undefended
absorb ./sharers --expect escape --count "$(few 1000)" --seed 2
echo >$parameters/undefended
check "they go in the control, too" wait_for 10 domains_are 0

absorb ./sharers --count "$(few 2000)" --seed 3 --move
check "they go when they have moved" wait_for 20 domains_are 0

absorb ./recycled --rounds "$(few 40)" --seed 4
check "they go when they have exchanged their keys" wait_for 20 domains_are 0
before=$(counter violations_total)

# Runs that go on while their domain moves from one kind of key to the other.
./xdp_run load.bpf.o busy --seconds 8 --cpus all --verdict 2 >/tmp/busy &
runner=$!
check "a load has a domain" wait_for 5 domains_are 1
moves=0
while kill -0 $runner 2>/dev/null; do
    echo 1 >$parameters/test_move
    moves=$((moves + 1))
done
wait $runner
result $? "runs give the right verdict while their domain moves"
check "it moved all the while ($moves times)" test $moves -ge 3
equal "moving is no violation" "$before" "$(counter violations_total)"
check "the module leaves" unload_module
finish
