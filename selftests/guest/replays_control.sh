#!/bin/bash
# The control of replays.sh: with confinement off, and the audits that stand for
# it where an argument is forged, each replay gets what it goes for.
# ONCE: yes
# SMP: 2
# TIMEOUT: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

need_module policy=permit on_violation=abort confine=0 undefended=records,maps,objects
absorb ./replays --expect escape
check "the module leaves" unload_module
# Where the kernel itself acts for the program, no key is in its way.
need_module policy=permit on_violation=abort undefended=records,maps
absorb ./replays --expect escape --only CVE-2021-4204,CVE-2021-34866
check "the module leaves once more" unload_module
finish
