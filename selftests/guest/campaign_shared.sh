#!/bin/bash
# The campaign's injected faults where each domain shares its key with others, and so
# has page tables of its own.
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

need_module policy=permit on_violation=abort share=1 test_hold=1
absorb ./campaign --count "${CAMPAIGN_COUNT:-500}" --seed "${CAMPAIGN_SEED:-3}" corpus_*.bpf.o
check "the module leaves" unload_module
finish
