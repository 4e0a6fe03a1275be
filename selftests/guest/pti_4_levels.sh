#!/bin/bash
# Page-table isolation with four levels of page tables: the module comes and
# goes, and CPUs go and come back, while processes run.
# ONCE: yes
# ALONE: yes
# SMP: 2
# TIMEOUT: 600
# APPEND: pti=on no5lvl
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

hooked() {
    [ "$(status events_hooked)" = yes ]
}

# CPU 1 goes and comes back.
cycles() {
    local i
    for i in $(seq 5); do
        if ! { echo 0 >/sys/devices/system/cpu/cpu1/online && echo 1 >/sys/devices/system/cpu/cpu1/online; }; then
            echo "cycle $i"
            return 1
        fi
    done
}

five_times() {
    local i
    for i in $(seq 5); do
        load_module || { echo "load $i"; return 1; }
        ./xdp_run load.bpf.o busy --repeat 1000 --cpus all --verdict 2 || { echo "run $i"; return 1; }
        unload_module || { echo "unload $i"; return 1; }
    done
}

check "page-table isolation is on" grep -qw pti /proc/cpuinfo
./residue >/tmp/before
need_module
equal "page tables have 4 levels" 4 "$(status paging_levels)"
deny "the page tables of user mode have changed" \
    diff <(grep ^user /tmp/before) <(./residue | grep ^user)

./xdp_run load.bpf.o busy --seconds 300 --cpus all --verdict 2 >/dev/null &
runner=$!
wait_for 5 hooked
absorb ./user_events --seconds 5
check "a CPU goes off and on 5 times under load" cycles
absorb taskset -c 1 ./user_events --seconds 2
check "the stubs were in the IDT all the while" hooked
kill $runner
result $? "the load lasted all the while"
wait $runner
result $? "the program gave the right verdict all the while"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
check "IDT, CR4, hooks and both page tables are as before" diff /tmp/before <(./residue)

./user_events --seconds 600 >/tmp/events &
events=$!
check "the module loads, isolates and unloads 5 times while a process causes events" five_times
kill -INT $events
wait $events
check "every event had its end" sh -c '! grep "^not ok" /tmp/events && grep "^rounds" /tmp/events'
check "after that nothing is left" diff /tmp/before <(./residue)
finish
