#!/bin/bash
# The control of breach.sh: with confinement off, the same programs do read and
# write the kernel. A breach test that cannot fail shows nothing.
# ONCE: yes
# SMP: 2
# TIMEOUT: 200
# MODULE: breach
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict

need_module policy=permit on_violation=abort confine=0
absorb ./breach --expect escape
check "the module leaves" unload_module
finish
