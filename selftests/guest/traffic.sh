#!/bin/bash
# Live traffic over veth, native and generic: no packet may be lost.
# TAKES: 75
# SMP: 2
# TIMEOUT: 600
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
# Not below /sys: ip(8) mounts that anew in each namespace.
pins=/run/bpf
mkdir -p $pins && mount -t bpf bpf $pins

# client c0 - f0 middle f1 - s0 server, one subnet.
make_network() {
    local ns
    for ns in client middle server; do
        ip netns add $ns && ip -n $ns link set lo up
    done
    ip link add c0 netns client type veth peer name f0 netns middle
    ip link add s0 netns server type veth peer name f1 netns middle
    for ns in client/c0/10.9.0.1 middle/f0/10.9.0.2 server/s0/10.9.0.3; do
        local dev=${ns#*/}
        ip -n "${ns%%/*}" addr add "${dev#*/}/24" dev "${dev%/*}"
    done
    for ns in client/c0 middle/f0 middle/f1 server/s0; do
        ip -n ${ns%/*} link set ${ns#*/} up
        # With NAPI, veth takes what XDP sends even without a program of its own.
        ip netns exec ${ns%/*} ethtool -K ${ns#*/} gro on
    done
}

# namespace DEVICE
namespace() {
    case $1 in
    c*) echo client ;;
    f*) echo middle ;;
    s*) echo server ;;
    esac
}

# attach DEVICE MODE PROGRAM [OPTION...]
attach() {
    local dev=$1 mode=$2 program=$3 ns
    ns=$(namespace "$1")
    shift 3
    rm -f "$pins/$dev"
    ip netns exec "$ns" ./xdp_run load.bpf.o "$program" --pin "$pins/$dev" "$@" >/dev/null &&
        ip -n "$ns" link set dev "$dev" "$mode" pinned "$pins/$dev"
}

detach() {
    ip -n "$(namespace "$1")" link set dev "$1" "$2" off
    rm -f "$pins/$1"
}

# flood ADDRESS [SIZE]: 3000 pings as fast as they are answered.
flood() {
    ip netns exec client ping -q -f -c 3000 -w 60 -s "${2:-56}" "$1" >/tmp/ping
    cat /tmp/ping
    grep -q '^3000 packets .* 3000 received, 0% packet loss' /tmp/ping
}

runs() {
    bpftool prog show pinned "$pins/$1" | sed -n 's/.*run_cnt \([0-9]*\).*/\1/p'
}

# ran DEVICE: the program has seen the pings.
ran() {
    test "$(runs "$1")" -ge 3000
}

# word DEVICE N: word N of its program's parameters has counted the pings.
word() {
    local id count
    for id in $(bpftool prog show pinned "$pins/$1" | sed -n 's/.*map_ids \([0-9,]*\).*/\1/p' | tr , ' '); do
        bpftool map show id "$id" | grep -q 'name words' || continue
        count=$(bpftool -j map lookup id "$id" key 0 0 0 0 |
            sed -n 's/.*"formatted":.*"value":\[\([0-9,]*\)\].*/\1/p' | cut -d, -f$(($2 + 1)))
        echo "word $2 of $1: $count"
        test "$count" -ge 3000 && return
    done
    return 1
}

need_module
make_network
echo 1 >/proc/sys/kernel/bpf_stats_enabled
check "the network works without programs" flood 10.9.0.2

for mode in xdpdrv xdpgeneric; do
    name=native
    [ $mode = xdpdrv ] || name=generic
    check "$name: a program that passes packets is attached" attach f0 $mode live_pass
    equal "$name: it is isolated" isolated "$(state live_pass)"
    check "$name: 3000 pings are passed without loss" flood 10.9.0.2
    check "$name: pings of 1400 bytes are passed without loss" flood 10.9.0.2 1400
    check "$name: the program has seen them" ran f0
    detach f0 $mode

    check "$name: a program that answers pings is attached" attach f0 $mode live_echo
    # Native veth wakes its peer after XDP_TX only if that has a program, too.
    [ $mode = xdpgeneric ] || attach c0 $mode live_pass
    check "$name: 3000 pings are answered by the program without loss" flood 10.9.0.2
    # No one in the middle has this address, so only the program can answer.
    ip -n client neigh replace 10.9.0.77 lladdr 02:00:00:00:00:77 dev c0
    check "$name: pings to no one's address are answered by the program" flood 10.9.0.77
    check "$name: the program has seen them" ran f0
    [ $mode = xdpgeneric ] || detach c0 $mode
    detach f0 $mode

    check "$name: programs that redirect both ways are attached" \
        eval "attach f0 $mode live_redirect --device f1 && attach f1 $mode live_redirect --device f0"
    check "$name: 3000 pings are redirected both ways without loss" flood 10.9.0.3
    check "$name: pings of 1400 bytes are redirected both ways without loss" flood 10.9.0.3 1400
    check "$name: the programs have seen them" eval "ran f0 && ran f1"
    detach f0 $mode
    detach f1 $mode
done

# Programs that run after a redirection: at the device, and on another CPU.
attach f0 xdpdrv live_redirect --device f1 --next live_device
attach f1 xdpdrv live_redirect --device f0 --next live_device
equal "a program for a device is isolated" "isolated isolated" "$(state live_device | paste -sd' ')"
check "3000 pings pass programs at the device without loss" flood 10.9.0.3
check "these have seen them, and the device" eval "word f0 3 && word f1 3"
detach f0 xdpdrv
detach f1 xdpdrv
attach f0 xdpdrv live_to_cpu --cpu 1 --next live_cpu
equal "a program for a CPU is isolated" isolated "$(state live_cpu)"
check "3000 pings pass a program on another CPU without loss" flood 10.9.0.2
check "this has seen them, on that CPU" word f0 3
detach f0 xdpdrv

# The same program in a task and in the softirq of live packets, on one CPU.
attach f0 xdpdrv live_pass
taskset -c 0 ./xdp_run load.bpf.o busy --seconds 10 --cpus 0 --verdict 2 >/dev/null &
runner=$!
check "pings are passed while tasks run programs on the same CPU" \
    taskset -c 0 ip netns exec client ping -q -f -c 3000 10.9.0.2
wait $runner
result $? "the tasks' runs have the right verdict"
detach f0 xdpdrv

equal "nothing of this is a violation" 0 "$(counter violations_total)"
ip netns del client
ip netns del middle
ip netns del server
check "the module leaves" unload_module
finish
