#!/bin/bash
# What bochs has and QEMU's emulation has not: indirect branch tracking that is
# enforced. The kernel tries at its start whether a jump to a place without
# ENDBR is #CP, and switches tracking off if not (arch/x86/kernel/cet.c).
# SMP: 2
# TIMEOUT: 200
# BOCHS: only
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly s_cet=$((0x6a2)) endbr_enable=4 # SDM vol. 3, 18.2: IA32_S_CET

# tracked: every CPU has the kernel's tracking on.
tracked() {
    local msr value n=0
    for msr in /dev/cpu/[0-9]*/msr; do
        value=$(dd if="$msr" bs=8 count=1 skip="$s_cet" iflag=skip_bytes 2>/dev/null | od -An -td8)
        [ $((value & endbr_enable)) != 0 ] || { echo "$msr: S_CET $value"; return 1; }
        n=$((n + 1))
    done
    [ "$n" -eq "$(nproc)" ]
}

check "the kernel says that indirect branch tracking is enabled" \
    sh -c 'dmesg | grep "CET detected: Indirect Branch Tracking enabled"'
deny "the kernel's own test of tracking did not fail" sh -c 'dmesg | grep "IBT selftest"'
for flag in ibt ospke pcid pge; do
    check "every CPU has $flag" test "$(grep -cw "$flag" /proc/cpuinfo)" -eq "$(nproc)"
done
modprobe msr
check "tracking is on on every CPU" tracked
need_module
check "the module saw it" grep -qw ibt <(status cpu_features)
check "tracking is on with the module" tracked
check "programs run under tracking" ./xdp_run load.bpf.o busy --repeat 10000 --cpus all --verdict 2
check "tracking is on after runs" tracked
check "the module leaves" unload_module
check "tracking is on after the module" tracked
deny "no branch went to a place without ENDBR" sh -c 'dmesg | grep -i "missing endbr\|control protection"'
finish
