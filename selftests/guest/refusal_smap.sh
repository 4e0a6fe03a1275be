#!/bin/bash
# The module does not load with no SMAP, says why, and leaves nothing.
# SMP: 1
# TIMEOUT: 100
# APPEND: clearcpuid=smap
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh

before=$(wc -l </proc/modules)
! modprobe bailey 2>/dev/null
result $? "the module does not load"
check "the kernel log says why" grep -q "cannot load: the CPU has no SMAP" <(dmesg)
equal "no module is left" "$before" "$(wc -l </proc/modules)"
check "no hook is left" test ! -s /sys/kernel/tracing/enabled_functions
check "programs load as without it" bpftool prog load demo_pass.bpf.o /sys/fs/bpf/pass
finish
