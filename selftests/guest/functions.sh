#!/bin/bash
# Functions and callbacks: a breach in one ends the whole run and nothing of it
# stays; what attaches to them or takes their place works as without the module.
# SMP: 2
# TIMEOUT: 900
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

absorb ./breach_functions --expect harmless

need_module policy=permit on_violation=abort
absorb ./breach_functions --count "$(few 10000)"
equal "no run was turned away for lack of room" 0 "$(counter frame_full)"
check "the module leaves" unload_module
finish
