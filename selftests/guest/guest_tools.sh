#!/bin/bash
# MODULE: none
# TIMEOUT: 120
# The guest itself: the stock kernel with what the tests and a person need.
n=0
check() {
    n=$((n + 1))
    if "${@:2}" >/tmp/out 2>&1; then
        echo "ok $n $1"
    else
        echo "not ok $n $1"
        sed 's/^/# /' /tmp/out
    fi
}
echo "KTAP version 1"
echo "1..11"
check "the CPU has protection keys for supervisor pages" grep -qw ospke /proc/cpuinfo
check "page-table isolation is off" grep -vq PTI /sys/devices/system/cpu/vulnerabilities/meltdown
check "debugfs, tracefs and bpffs are mounted" test -d /sys/kernel/debug/x86 -a -f /sys/kernel/tracing/README -a -d /sys/fs/bpf
check "modprobe loads a stock module" modprobe veth
check "ip and tc work" sh -c 'ip link add v0 type veth peer name v1 && tc qdisc add dev v0 clsact && ip link del v0'
check "ping works" ping -q -c 1 127.0.0.1
check "bpftool works" bpftool prog show
check "bpftrace works" bpftrace -e 'BEGIN { exit() }'
check "xdp-loader works" xdp-loader status
check "xdp-filter, xdp-bench, memcached and memcaslap are there" sh -c 'xdp-filter help; xdp-bench help; memcached -V && memcaslap -V && command -v xdp-filter xdp-bench'
check "the compiled programs are at /files" test -s /files/forwarder.bpf.o
