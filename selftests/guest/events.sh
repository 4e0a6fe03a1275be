#!/bin/bash
# Interrupts during a single run of seconds: the breach build's endless loop,
# since a verified one is too short.
# SMP: 2
# TIMEOUT: 400
# MODULE: breach
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# ticks CPU: how many local timer interrupts it has had.
ticks() {
    awk -v c=$(($1 + 2)) '$1 == "LOC:" { print $c }' /proc/interrupts
}

need_module on_violation=abort

# Rounds for about four seconds, from how long fewer take.
rounds=1000000
while :; do
    ./xdp_run load.bpf.o endless --set words=$rounds --verdict 2 >/tmp/short || break
    ms=$(awk '$1 == "seconds" { printf "%d", $2 * 1000 + 1 }' /tmp/short)
    [ "$ms" -lt 500 ] || break
    rounds=$((rounds * 4))
done
rounds=$((rounds * 4000 / ms))

before=$(ticks 1)
./xdp_run load.bpf.o endless --cpus 1 --set words=$rounds --verdict 2 --get words >/tmp/long
result $? "a run of seconds comes to its end"
after=$(ticks 1)
seconds=$(awk '$1 == "seconds" { print $2 }' /tmp/long)
note "$rounds rounds in $seconds s, $((after - before)) ticks"
equal "the run made each of its rounds" "words $rounds $rounds 0 0" "$(grep words /tmp/long)"
check "the run took at least a second" awk -v s="$seconds" 'BEGIN { exit !(s >= 1) }'
# The kernel ticks 250 times a second; a busy host loses some.
check "the clock ticked all through the run" \
    awk -v s="$seconds" -v n=$((after - before)) 'BEGIN { exit !(n >= s * 100) }'

./xdp_run load.bpf.o endless --cpus 1 --set words=$rounds --verdict 2 --barriers >/tmp/barriers
result $? "a run of seconds under interrupts from another CPU comes to its end"
barriers=$(awk '$1 == "barriers" { print $2 }' /tmp/barriers)
# A busy host lets the other CPU send few.
check "interrupts from another CPU are taken during the run ($barriers were)" test "$barriers" -ge 100

./xdp_run load.bpf.o endless --cpus 0,1 --set words=$((rounds / 2)) --verdict 2 >/dev/null
result $? "two CPUs run the same program for seconds at once"
equal "no event was taken for a violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
