#!/bin/bash
# Programs of one domain attack the kernel through each other from several CPUs,
# under interrupts, NMIs and breakpoints: event frames, return addresses,
# contexts, resume slots, loans, arguments. A few seconds for each kind of
# attack; ATTACK_SECONDS=60 is the long form (CONTRIBUTING.md).
# ALONE: yes
# SMP: 4
# TIMEOUT: 600
# NMI: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

need_module on_violation=abort
absorb ./attackers --seconds "${ATTACK_SECONDS:-2}" --seed "${ATTACK_SEED:-1}"
note "$(cut -d' ' -f5 $bailey/violations | sort | uniq -c)"
check "another domain's program runs" ./xdp_run load.bpf.o busy --repeat 10000 --cpus all --verdict 2
check "the module leaves" unload_module
finish
