#!/bin/bash
# NMIs from outside, at any instruction: in programs, in gates, in stubs.
# ONCE: yes
# TAKES: 140
# SMP: 2
# TIMEOUT: 600
# NMI: 200
# MODULE: breach
# BOCHS: STORM=100 SCALE=5 iomem=relaxed
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

nmis() {
    awk '$1 == "NMI:" { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i; print n }' /proc/interrupts
}

# under WHAT COMMAND...: the command comes to its end, with NMIs all the while.
under() {
    local what=$1 before
    shift
    before=$(nmis)
    check "$what" "$@"
    check "NMIs came all the while ($(($(nmis) - before)))" test $(($(nmis) - before)) -ge 100
}

# breaks_at ADDRESS: runs go on while each CPU that comes there takes a breakpoint.
breaks_at() {
    ./xdp_run load.bpf.o slow --seconds "$long" --chunk 2 --cpus all --verdict 2 --break "$1" \
        >/tmp/breaks 2>&1 || { cat /tmp/breaks; return 1; }
}

# Where nobody sends NMIs, the guest does. Each is logged; a slow console would
# do nothing else. A panic speaks up again by itself.
if [ -n "${STORM:-}" ]; then
    echo 0 0 0 0 >/proc/sys/kernel/printk
    ./nmi_storm "$STORM" &
    storm=$!
    trap 'kill "$storm"' EXIT
fi
long=$(few 15) many=$(few 50000)

need_module on_violation=abort
under "runs of a program with helpers go on under NMIs" \
    ./xdp_run load.bpf.o busy --seconds "$long" --cpus all --verdict 2
under "runs that stay in the program go on under NMIs" \
    ./xdp_run load.bpf.o slow --repeat "$(few 3000)" --cpus all --verdict 2
under "runs that do nothing but enter and leave go on under NMIs" \
    ./xdp_run load.bpf.o live_pass --seconds "$long" --cpus all --verdict 2
under "NMIs and interrupts from other CPUs together do no harm" \
    ./xdp_run load.bpf.o busy --seconds "$long" --cpus all --verdict 2 --barriers
# Not here: patching text under NMIs. Under emulation the stock kernel itself
# dies of that (a stray int3), without the module.
# The stub of NMIs, interrupted by a #DB before it has the kernel's key. Not under bochs:
# a breakpoint in the kernel stops its guest for good, without the module, too.
if [ -z "${STORM:-}" ]; then
    stub=$(cat /sys/module/bailey/parameters/test_nmi_stub)
    under "a breakpoint in the stub of NMIs does no harm" breaks_at "$stub"
    hits=$(awk '$1 == "breaks" { print $2 }' /tmp/breaks)
    check "it was met ($hits times)" test "$hits" -gt 20
fi
equal "no NMI was taken for a violation" 0 "$(counter violations_total)"
under "violations are taken under NMIs" ./breach_steps --repeat "$many" read_array_64 0x10
equal "each was counted" "$many" "$(counter violations_total)"
check "the module leaves under NMIs" unload_module
finish
