#!/bin/bash
# policy and on_violation's description; what cannot be isolated is said.
# SMP: 2
# TIMEOUT: 400
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

described() {
    modinfo -p bailey | grep -E "^$1:.{20}"
}

# load_verbose PROGRAM: loads it with the verifier's log; the exit code is
# bpftool's.
load_verbose() {
    rm -f /sys/fs/bpf/one
    ./xdp_run refusals.bpf.o "$1" --pin /sys/fs/bpf/one 2>&1
}

# stack_of OBJECT: the line of the verifier's statistics, of its first program.
stack_of() {
    bpftool -d prog load "$1" /sys/fs/bpf/stack 2>&1 | grep '^stack depth [1-9]'
    rm -f /sys/fs/bpf/stack
}

check "modinfo describes policy" described policy
check "modinfo describes on_violation" described on_violation
check "modinfo describes kernel_reads" described kernel_reads
deny "an unknown policy is refused" modprobe bailey policy=maybe
deny "an unknown way to take violations is refused" modprobe bailey on_violation=nothing
check "modinfo describes isolation" described isolation
deny "an unknown isolation is refused" modprobe bailey isolation=cpu
check "and the log says what there is" sh -c \
    "dmesg | grep 'bailey: isolation: \"cpu\" is neither map nor program'"

stock=$(stack_of forwarder.bpf.o)
need_module policy=strict
note "on the stock kernel: $stock"
check "the verifier's statistics show a program's stack" test -n "$stock"
equal "they show the same once it is isolated" "$stock" "$(stack_of forwarder.bpf.o)"
check "strict: a program that can be isolated loads" load_verbose plain
rm -f /sys/fs/bpf/one
for kind in pointer kfunc; do
    load_verbose $kind >/tmp/log
    equal "strict: a program with a $kind does not load" 2 $?
    check "strict: the refusal of a $kind is EPERM" grep -q 'Operation not permitted' /tmp/log
    check "strict: the verifier's log says why a $kind is refused" grep -i 'bailey: .' /tmp/log
done
for kind in tracing classic; do
    case $kind in
    tracing) bpftool prog load breach_oracle.bpf.o /sys/fs/bpf/oracle >/tmp/log 2>&1 ;;
    # A filter goes into the kernel by a socket option.
    classic) timeout 5 tcpdump -i lo -c 1 -w /dev/null udp port 9 >/tmp/log 2>&1 & sleep 2 ;;
    esac
    note "strict: $kind: $(tail -n 1 /tmp/log)"
done
wait
check "strict: a tracing program does not load" test ! -e /sys/fs/bpf/oracle
for kind in follows follows_string; do
    load_verbose $kind >/tmp/log
    check "strict: $kind is told of kernel_reads" \
        grep 'bailey: .*kernel_reads=1' /tmp/log
    echo 1 >/sys/module/bailey/parameters/kernel_reads
    check "strict: with kernel_reads $kind loads" load_verbose $kind
    equal "strict: and is isolated" isolated "$(state $kind)"
    echo 0 >/sys/module/bailey/parameters/kernel_reads
    rm -f /sys/fs/bpf/one
done
check "strict: after refusals the module leaves" unload_module

need_module policy=permit isolation=program
equal "isolation=program is what status says" program "$(status isolation)"
deny "a wrong word leaves it as it is" sh -c "echo both >/sys/module/bailey/parameters/isolation"
equal "it is as it was" program "$(cat /sys/module/bailey/parameters/isolation)"
echo map >/sys/module/bailey/parameters/isolation
equal "it can be changed" map "$(status isolation)"
for kind in pointer kfunc; do
    check "permit: a program with a $kind loads" load_verbose $kind
    check "permit: the $kind is listed with a reason" \
        sh -c "grep -w '$kind' $bailey/programs | grep -v isolated\$"
done
./xdp_run refusals.bpf.o plain --pin /sys/fs/bpf/plain >/dev/null
equal "permit: what can be isolated is isolated" isolated "$(state plain)"
rm -f /sys/fs/bpf/one /sys/fs/bpf/plain

# Other kinds of programs are none of ours, and must not pass for isolated.
bpftool prog load breach_oracle.bpf.o /sys/fs/bpf/oracle 2>/dev/null
if [ -e /sys/fs/bpf/oracle ]; then
    deny "permit: a tracing program is not listed as isolated" \
        grep -wE 'oracle.* isolated$' "$bailey/programs"
    rm -f /sys/fs/bpf/oracle
fi
before=$(status programs_classic)
timeout 5 tcpdump -i lo -c 1 -w /dev/null udp port 9 2>/dev/null &
sleep 2
check "permit: classic filters are counted" test "$(status programs_classic)" -gt "$before"
wait
check "permit: the module leaves" unload_module
finish
