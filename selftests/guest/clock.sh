#!/bin/bash
# The time in confinement: it is the kernel's, without a gate while the TSC is its clock,
# and through one while it is not.
# SMP: 2
# TIMEOUT: 300
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly source=/sys/devices/system/clocksource/clocksource0/current_clocksource

check "the clock is the TSC" grep -qx tsc $source
# Without the module these are the kernel's checks of itself.
absorb ./clock 1
need_module
absorb ./clock "$(few 5)"
# A CPU whose counter is behind, as it may be between CPUs of an emulator, asks the kernel.
first=$(counter helper_calls)
check "hardly any of this crosses a gate ($first)" test "$first" -lt 1000
echo 1 >/sys/module/bailey/parameters/share
absorb ./clock 1
echo 0 >/sys/module/bailey/parameters/share
check "nor does it on page tables of its own" test $(($(counter helper_calls) - first)) -lt 1000

# A program that has been loaded with the TSC, and one without.
./clock 12 >/tmp/changes &
runner=$!
sleep 2
for clock in hpet acpi_pm tsc hpet tsc; do
    echo $clock >$source
    check "the kernel takes $clock" grep -qx $clock $source
    sleep 1
done
wait $runner
absorb cat /tmp/changes
before=$(counter helper_calls)
check "without the TSC a program asks the kernel" test "$before" -gt 10000
absorb ./clock 1
check "and hardly any more once it is back" test $(($(counter helper_calls) - before)) -lt 1000
echo hpet >$source
absorb ./clock 1
check "a program that is loaded without the TSC asks the kernel" \
    test "$(counter helper_calls)" -gt $((before + 10000))
echo tsc >$source
equal "none of them asks for the coarse time" 0 \
    "$(awk '$1 == "ktime_get_coarse_ns" { print $11 }' $bailey/helpers)"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
