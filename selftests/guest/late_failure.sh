#!/bin/bash
# The module's init fails when all is set up but for its last step. What came in
# the meantime is the kernel's own, and goes on.
# ONCE: yes
# SMP: 2
# TIMEOUT: 120
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly pins=/sys/fs/bpf

mkdir -p $pins
mount -t bpf bpf $pins 2>/dev/null
head -c 64 /dev/zero >/tmp/packet
modprobe bailey test_late_failure=8000 2>/tmp/error &
load=$!
check "all hooks are there" wait_for 7 grep -q bpf_jit_free /sys/kernel/tracing/enabled_functions
bpftool map create $pins/hash type hash key 4 value 8 entries 16 name hash
bpftool map create $pins/array type array key 4 value 8 entries 16 name array
bpftool map create $pins/local type percpu_array key 4 value 8 entries 16 name local
./xdp_run per_cpu.bpf.o counted --pin $pins/counted
check "the module is still loading" kill -0 $load
wait $load
deny "it does not load" test $? -eq 0
check "it says so" grep -qi 'input/output error' /tmp/error
deny "its hooks are gone" grep -q bpf_jit_free /sys/kernel/tracing/enabled_functions
for map in hash array local; do
    check "the $map from the meantime takes a value" \
        bpftool map update pinned $pins/$map key 1 0 0 0 value 7 0 0 0 0 0 0 0
    check "the $map gives it back" \
        sh -c "bpftool map lookup pinned $pins/$map key 1 0 0 0 | grep -q '07 00\|value.*7'"
done
check "the program from the meantime runs" \
    sh -c "bpftool prog run pinned $pins/counted data_in /tmp/packet repeat 1000 | grep 'value: 2'"
rm $pins/*
need_module
check "the module loads after that" ./xdp_run load.bpf.o busy --repeat 1000 --cpus all --verdict 2
check "the module leaves" unload_module
finish
