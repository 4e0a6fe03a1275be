#!/bin/bash
# Injected faults, in the module as it is shipped: loads, stores and atomic accesses
# out of the domain from random instructions of the corpus, and other arguments of its
# calls. None gets through.
# ONCE: yes
# SMP: 1
# TIMEOUT: 400
# CAMPAIGN: 1
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

# `make campaign` says how many, and from where.
need_module policy=permit on_violation=abort
absorb ./campaign --count "${CAMPAIGN_COUNT:-1000}" --first "${CAMPAIGN_FIRST:-0}" \
    --seed "${CAMPAIGN_SEED:-1}" corpus_*.bpf.o
note "$(counter violations_total) violations"
check "the module leaves" unload_module
finish
