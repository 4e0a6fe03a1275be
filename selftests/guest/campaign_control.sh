#!/bin/bash
# The control of campaign.sh: with confinement off, the same kinds of injected faults
# do what they were made to. Faults that could not fail show nothing.
# ONCE: yes
# SMP: 1
# TIMEOUT: 300
# MODULE: breach
# CAMPAIGN: 1
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

need_module policy=permit on_violation=abort confine=0
# Begins with the first: atomic accesses are rare.
absorb ./campaign --control --count 300 --seed 1 corpus_atomic.bpf.o corpus_*.bpf.o
check "the module leaves" unload_module
finish
