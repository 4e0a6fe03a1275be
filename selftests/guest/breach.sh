#!/bin/bash
# Programs that the verifier wrongly accepted: every access and every argument
# out of the domain is stopped, and what the runs held is given back.
# TAKES: 100
# SMP: 2
# TIMEOUT: 900
# MODULE: breach
# BOCHS: SCALE=20
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

# Some programs use helpers that are refused: they are not isolated, and said
# not to be tried.
need_module policy=permit on_violation=abort
check "the breach build says what it is in the kernel log" sh -c 'dmesg | grep -i "bailey: .*breach"'
before=$(counter violations_total)
absorb ./breach --expect stop --count "$(few 10000)" --seed 1
ended=$(sed -n 's/^# ended //p' /tmp/absorbed)
equal "every ended run is counted as a violation" "$ended" $(($(counter violations_total) - before))
absorb ./breach_ledger
absorb ./breach_reference
absorb ./breach_timer --count "$(few 10000)"
check "the module leaves after the breaches" unload_module
need_module policy=permit on_violation=quarantine
absorb ./breach_timer --quarantine
check "the module leaves after a quarantine" unload_module
finish
