#!/bin/bash
# Events in the stubs of events, at each instruction of these: NMIs, machine checks,
# breakpoints. None is lost, and the run goes on.
# ONCE: yes
# ALONE: yes
# SMP: 1
# TIMEOUT: 900
# STOPS: 1
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

need_module on_violation=abort
absorb ./stops --stride "${STOPS_STRIDE:-8}" --tries "${STOPS_TRIES:-20}" --seed "${STOPS_SEED:-1}"
note "$(counter event_undone) stubs undone, $(counter event_landings) landings"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
absorb ./stops --control
check "the module leaves" unload_module
finish
