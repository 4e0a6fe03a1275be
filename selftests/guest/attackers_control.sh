#!/bin/bash
# The control of attackers.sh: each defence is left out, one at a time, and the
# same attack wins. An attack that cannot win shows nothing. Who has won has had the
# kernel leave an event in its middle (helpers/won.S), so that it may miss the event's
# end: its log is not judged, that it goes on is.
# ONCE: yes
# ALONE: yes
# SMP: 3
# TIMEOUT: 900
# NMI: 200
# MODULE: breach
# SPLATS: ignore
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

# attack KIND: some seeds fall into step with their prey and never win, so a few
# are tried. What is printed is the last one's.
attack() {
    local seed code
    for seed in 1 2 3 4; do
        ./attackers --expect win --kinds "$1" --seconds 20 --seed "${ATTACK_SEED:-$seed}" \
            >/tmp/attack 2>&1
        code=$?
        grep -q '^not ok' /tmp/attack || break
    done
    cat /tmp/attack
    return $code
}

need_module on_violation=abort
for kind in rip landing begin flags selectors rsp slots shadow loans ledger reread format string \
    headers prefixes uses index; do
    absorb attack "$kind"
done
check "the module leaves" unload_module
finish
