#!/bin/bash
# A run whose stack has no room left for an interrupt's frame: the CPU cannot
# push it, the interrupt it had accepted must not be lost.
# SMP: 2
# TIMEOUT: 400
# MODULE: breach
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly no_room=/sys/module/bailey/parameters/test_no_room

# ticks CPU: local timer interrupts so far.
ticks() {
    awk -v c=$(($1 + 2)) '$1 == "LOC:" { print $c }' /proc/interrupts
}

need_module on_violation=abort
check "a long run with room for events ends well" \
    ./xdp_run load.bpf.o slow --repeat 20 --cpus 1 --verdict 2
equal "its interrupts were no violations" 0 "$(counter violations_total)"

# Each run ends at its first push, if no interrupt comes before.
echo 1 >$no_room
./xdp_run load.bpf.o slow --repeat 20000 --cpus 1 >/dev/null 2>&1
echo 0 >$no_room
check "a run without room for an interrupt's frame is ended" \
    grep -qE ' slow .* stack ' $bailey/violations
check "the interrupts it had accepted are recovered" \
    test "$(counter interrupts_recovered)" -gt 0
before=$(ticks 1)
check "the CPU goes on counting time" taskset -c 1 sleep 1
check "the CPU goes on taking interrupts" test "$(ticks 1)" -gt "$before"
check "the next run ends well" ./xdp_run load.bpf.o slow --repeat 20 --cpus 1 --verdict 2
check "the module leaves" unload_module
finish
