#!/bin/bash
# The replays of CVEs on the stock kernel, without the module: its verifier takes
# each, and is right about it, as it has no such bug.
# ONCE: yes
# SMP: 2
# TIMEOUT: 200
# MODULE: none
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

absorb ./replays --expect harmless
finish
