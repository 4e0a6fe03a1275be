#!/bin/bash
# CPUs go and come back under load, and while the module comes.
# ONCE: yes
# ALONE: yes
# SMP: 3
# TIMEOUT: 600
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# online CPU 0|1
online() {
    echo "$2" >/sys/devices/system/cpu/cpu"$1"/online
}

cycles() {
    local i
    for i in $(seq 10); do
        if ! { online 1 0 && online 2 0 && online 1 1 && online 2 1; }; then
            echo "cycle $i"
            return 1
        fi
    done
}

online 2 0
need_module
online 2 1
result $? "a CPU that was offline when the module came goes online"
check "a program runs on it" ./xdp_run load.bpf.o busy --repeat 10000 --cpus 2 --verdict 2

./xdp_run load.bpf.o busy --seconds 300 --cpus all --verdict 2 >/dev/null &
runner=$!
sleep 1
check "CPUs go off and on 10 times under load" cycles
kill $runner
result $? "the load lasted all the while"
wait $runner
result $? "the program gave the right verdict all the while"
./faults --plain 100000 --only change loads stores.bpf.o >/tmp/loads &
runner=$!
sleep 1
check "CPUs go off and on 10 times while programs are loaded" cycles
check "the loads lasted all the while" kill -0 $runner
kill $runner
wait $runner 2>/dev/null
deny "each load was as ever" grep '^#' /tmp/loads
check "a program runs on every CPU afterwards" \
    ./xdp_run load.bpf.o busy --repeat 10000 --cpus all --verdict 2
equal "nothing of this is a violation" 0 "$(counter violations_total)"

online 2 0
check "the module leaves while a CPU is offline" unload_module
online 2 1
result $? "that CPU comes back without the module"
check "a program runs there without the module" \
    ./xdp_run load.bpf.o busy --repeat 10000 --cpus 2 --verdict 2
finish
