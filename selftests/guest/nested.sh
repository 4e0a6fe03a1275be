#!/bin/bash
# Runs inside of runs, and runs with interrupts off.
# ALONE: yes
# SMP: 3
# TIMEOUT: 600
# MODULE: breach
# NMI: 5
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly orders=500 callbacks=200 pass=2
readonly param=/sys/module/bailey/parameters/test_nested

need_module on_violation=abort
mkdir -p /sys/fs/bpf/nested
check "the program is loaded" bpftool prog loadall load.bpf.o /sys/fs/bpf/nested
check "a program runs in interrupts" ./nested /sys/fs/bpf/nested/busy 10
read -r runs _ verdicts <$param
equal "with interrupts off it gives the right verdict each time" $((runs * pass)) "$verdicts"

./xdp_run load.bpf.o busy --seconds 200 --cpus all --verdict 2 >/tmp/runner 2>&1 &
runner=$!
sleep 1
check "programs run in interrupts while others are confined" \
    ./nested /sys/fs/bpf/nested/busy $orders
kill $runner
wait $runner
status=$?
note "$(cat /tmp/runner)"
result $status "the programs that were interrupted gave the right verdict all the while"
read -r runs nested verdicts <$param
note "$runs runs, $nested of them nested"
equal "every interrupt's program gave the right verdict" $((runs * pass)) "$verdicts"
check "most of them were inside another run" test "$nested" -gt $((orders / 2))

# A timer's callback: a run of its own, whatever the run is about that it interrupts.
bpftool prog load nested_timer.bpf.o /sys/fs/bpf/nested/timed
read -r runs nested _ <$param
check "a timer's callback runs while its program is confined, and both do their work" \
    ./nested /sys/fs/bpf/nested/timed $callbacks on_tick
read -r runs_after nested_after _ <$param
note "$((runs_after - runs)) runs, $((nested_after - nested)) of them nested"
check "most of the callbacks were inside another run" \
    test $((nested_after - nested)) -gt $((callbacks / 2))
# Locks that may fail: whoever would wait for himself, or for one who waits for him, is told.
bpftool prog load nested_lock.bpf.o /sys/fs/bpf/nested/crossed
equal "the program with locks is isolated" isolated "$(state crossed)"
check "runs beside and inside of each other take two locks in either order, and have what they guard alone" \
    ./nested /sys/fs/bpf/nested/crossed $callbacks on_tick
bpftool map dump name nested_l.bss >/tmp/locks
# of NAME: what the program has counted.
of() {
    sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" /tmp/locks
}
note "both had $(of taken) times, deadlocks $(of deadlocks), time-outs $(of timeouts)"
check "both were had, and the kernel saw deadlocks" \
    test "$(of taken)" -gt 0 -a "$(of deadlocks)" -gt 0
equal "nothing of this is a violation" 0 "$(counter violations_total)"
rm -r /sys/fs/bpf/nested
check "the module leaves" unload_module
finish
