#!/bin/bash
# Many runs on every CPU, while others interrupt, patch and account.
# ONCE: yes
# TAKES: 130
# SMP: 2
# TIMEOUT: 900
# BOCHS: SCALE=50
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# field NAME FILE: a word that xdp_run printed.
field() {
    awk -v n="$1" '$1 == n { print $2 }' "$2"
}

need_module
cpus=$(nproc)
many=$(few 1000000)

before=$(counter runs)
./xdp_run load.bpf.o busy --repeat "$many" --cpus all --verdict 2 --get words >/tmp/many
result $? "$many runs on each CPU give the right verdict"
equal "the program's own count is right" $((many * cpus)) "$(field words /tmp/many)"
equal "the module's count of runs is right" $((many * cpus)) $(($(counter runs) - before))
note "$(field seconds /tmp/many) s"

./xdp_run load.bpf.o busy --repeat "$(few 200000)" --cpus all --verdict 2 --barriers >/tmp/barriers
result $? "runs go on under interrupts from other CPUs ($(field barriers /tmp/barriers))"

# Not for long: under QEMU with several CPUs one may still execute an int3 that
# another has taken away, which kills the stock kernel without the module as well
# (after some 600 patches on a busy host).
./xdp_run load.bpf.o busy --seconds 1 --cpus all --verdict 2 --patch >/tmp/patch
result $? "a running program is patched $(field patches /tmp/patch) times"
check "the tracing program saw runs ($(field traced /tmp/patch))" \
    test "$(field traced /tmp/patch)" -gt 0

echo 1 >/proc/sys/kernel/bpf_stats_enabled
./xdp_run load.bpf.o busy --repeat "$(few 100000)" --cpus all --verdict 2 >/dev/null
result $? "runs go on with BPF statistics enabled"
echo 0 >/proc/sys/kernel/bpf_stats_enabled

# Programs come and go while others run.
./xdp_run load.bpf.o busy --seconds 15 --cpus all --verdict 2 >/dev/null &
runner=$!
good=0
for _ in $(seq 30); do
    ./xdp_run load.bpf.o live_pass --repeat 100 --cpus all --verdict 2 >/dev/null && good=$((good + 1))
done
equal "30 programs are loaded, run and freed beside a running one" 30 $good
wait $runner
result $? "the running one goes on all the while"

equal "nothing of this is a violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
