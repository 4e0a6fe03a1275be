#!/bin/bash
# What becomes of a violation: the verdict, the account, the log, the policy.
# TAKES: 70
# SMP: 2
# TIMEOUT: 600
# MODULE: breach
# BOCHS: SCALE=100
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
tracing=/sys/kernel/tracing
# Of the hole above user space, so that LASS has nothing against it: what that
# stops is a #GP, which names no address.
target=0xffff8000000dead0
many=$(few 100000)

# steps PROGRAM TARGET...: verdict and `done` of each order, a line each.
steps() {
    ./breach_steps "$@" | awk 'NR > 1 { print $1, $2 }' | paste -sd,
}

need_module on_violation=abort
check "the tracepoint bailey:violation is there" \
    tee $tracing/events/bailey/violation/enable <<<1
: >$tracing/trace
dmesg -C
equal "abort: a breach ends the run with XDP_ABORTED, and the next run works" \
    "2 1,0 0,2 1" "$(steps --pin /sys/fs/bpf/breach read_array_64 own $target own)"
equal "a violation is counted" 1 "$(counter violations_total)"
equal "a violation is counted for its program" 1 "$(column programs violations name read_array_64)"
check "a violation is in debugfs with program and address" \
    grep -E 'read_array_64.*dead0' $bailey/violations
check "a violation is traced with program and address" \
    grep -E 'violation: .*read_array_64.*dead0' $tracing/trace
check "a violation is logged with program and address" \
    sh -c 'dmesg | grep -E "bailey: .*read_array_64.*dead0"'
rm /sys/fs/bpf/breach

dmesg -C
before=$(counter violations_total)
since=$(cut -d. -f1 /proc/uptime)
equal "$many violations in a row end $many runs" "0 0" "$(steps --repeat "$many" write_stack_64 0x10)"
equal "each of $many violations is counted" "$many" $(($(counter violations_total) - before))
lines=$(dmesg | grep -c 'bailey: .*write_stack_64')
# Ten lines each five seconds of the guest's clock, which a busy host can have run fast.
most=$((10 * (($(cut -d. -f1 /proc/uptime) - since) / 5 + 2)))
check "the log is not flooded ($lines lines, $most at most)" test "$lines" -ge 1 -a "$lines" -le "$most"
equal "after $many violations a program runs" 0 \
    "$(./xdp_run load.bpf.o busy --repeat 1000 --cpus all --verdict 2 >/dev/null; echo $?)"
check "abort: the module leaves" unload_module

need_module on_violation=quarantine
equal "quarantine: after a breach the program returns XDP_ABORTED at the gate" \
    "2 1,0 0,0 0,0 0" "$(steps --pin /sys/fs/bpf/breach read_array_64 own $target own own)"
equal "quarantine: runs at the gate are no violations" 1 "$(counter violations_total)"
check "quarantine: debugfs says so" grep -iE 'read_array_64.*quarantine' $bailey/programs
equal "quarantine: other programs run" "2 1" "$(steps read_hash_64 own)"
rm /sys/fs/bpf/breach
equal "quarantine: the same program, loaded again, runs" "2 1" "$(steps read_array_64 own)"
check "quarantine: the module leaves" unload_module

# Loads through pointers that a program has read, where that is allowed: of
# anything, or of nothing; but by these instructions alone.
got() {
    ./breach_steps "$@" | awk 'NR > 1 { print $1, $2, $3 }' | paste -sd,
}
banner=0x$(awk '$3 == "linux_banner" { print $1 }' /proc/kallsyms)
need_module on_violation=abort
equal "a load through a followed pointer is a violation" "0 0" "$(steps read_registers_64 "$banner")"
check "the module leaves before kernel_reads" unload_module
need_module on_violation=abort kernel_reads=1
equal "kernel_reads: a load through a followed pointer reads" "2 1 65762078756e694c" \
    "$(got read_registers_64 "$banner")"
equal "kernel_reads: where nothing is it reads 0, mapped or no address at all" \
    "2 1 0,2 1 0,2 1 0,2 1 0" \
    "$(got read_registers_64 0xffff8000000dead0 0x123456789abcdef0 0x1000 0xfffffffffffff000)"
equal "kernel_reads: other loads are violations as before" "0 0,0 0" \
    "$(steps read_task_64 "$banner"),$(steps read_array_64 "$banner")"
equal "kernel_reads: so are stores" "0 0,0 0" \
    "$(steps write_array_64 "$banner"),$(steps write_hash_64 "$banner")"
check "kernel_reads: the module leaves" unload_module
finish
