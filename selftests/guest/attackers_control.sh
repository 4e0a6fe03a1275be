#!/bin/bash
# The control of attackers.sh: each defence is left out, one at a time, and the
# same attack wins. An attack that cannot win shows nothing.
# ALONE: yes
# SMP: 3
# TIMEOUT: 600
# NMI: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

need_module on_violation=abort
for kind in rip landing begin flags selectors rsp slots shadow loans ledger reread format string \
    headers prefixes; do
    absorb ./attackers --expect win --kinds "$kind" --seconds 40 --seed "${ATTACK_SEED:-1}"
done
check "the module leaves" unload_module
finish
