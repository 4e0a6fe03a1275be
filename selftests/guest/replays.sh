#!/bin/bash
# Replays of CVEs of the verifier: none gets what it goes for.
# SMP: 2
# TIMEOUT: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

need_module policy=permit on_violation=abort
absorb ./replays --expect stop
ended=$(sed -n 's/^# ended //p' /tmp/absorbed)
equal "every replay that was ended is counted as a violation" "$ended" "$(counter violations_total)"
check "the module leaves after the replays" unload_module
need_module policy=strict
absorb ./replays --expect refused
check "the module leaves after a refusal" unload_module
finish
