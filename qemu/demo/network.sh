# shellcheck shell=bash
# Sourced by the demo and by the benchmark: three network namespaces in a row,
#
#   client          forwarder          server
#   c0 10.1.0.2 --- f0 10.1.0.1
#                   f1 10.2.0.1 --- s0 10.2.0.2   memcached
#
# The forwarder's kernel routes what its XDP program leaves to it.

mac() {
    ip -n "$1" -o link show "$2" | sed 's/.*link.ether \([0-9a-f:]*\).*/\1/'
}

network_up() {
    local ns
    for ns in client forwarder server; do
        ip netns add "$ns"
        ip -n "$ns" link set lo up
    done
    ip link add c0 netns client type veth peer name f0 netns forwarder
    ip link add s0 netns server type veth peer name f1 netns forwarder
    ip -n client addr add 10.1.0.2/24 dev c0
    ip -n forwarder addr add 10.1.0.1/24 dev f0
    ip -n forwarder addr add 10.2.0.1/24 dev f1
    ip -n server addr add 10.2.0.2/24 dev s0
    ip -n client link set c0 up
    ip -n forwarder link set f0 up
    ip -n forwarder link set f1 up
    ip -n server link set s0 up
    ip -n client route add default via 10.1.0.1
    ip -n server route add default via 10.2.0.1
    ip netns exec forwarder sysctl -qw net.ipv4.ip_forward=1
    # A veth leaves checksums and segments for later; an XDP program sees the
    # frame as it is, so they must be done before.
    ip netns exec client ethtool -K c0 tx off tso off gso off >/dev/null
    ip netns exec server ethtool -K s0 tx off tso off gso off >/dev/null
}

# in_net NAMESPACE COMMAND...: ip -n and ip netns exec would mount a /sys of
# their own over the pinned maps and programs.
in_net() {
    nsenter --net="/run/netns/$1" "${@:2}"
}

# An address as bpftool takes it: 10.2.0.2 is "10 2 0 2".
bytes() {
    local word
    for word in ${1//[.:]/ }; do
        printf '%s ' "$2$word"
    done
}

# The forwarder's program and its maps, with stock tools only.
forwarder_load() {
    local pin=/sys/fs/bpf/demo
    mkdir -p $pin
    bpftool prog load forwarder.bpf.o $pin/forwarder pinmaps $pin

    # Device map slots: 0 towards the client, 1 towards the server. An interface
    # index means something in its namespace only.
    local slot=0 dev index
    for dev in f0 f1; do
        index=$(ip -n forwarder -o link show $dev | cut -d: -f1)
        in_net forwarder bpftool map update pinned $pin/ports \
            key $slot 0 0 0 value "$index" 0 0 0
        slot=$((slot + 1))
    done
    # shellcheck disable=SC2046 # the words are bytes
    bpftool map update pinned $pin/routes key $(bytes 10.1.0.2 "") \
        value hex $(bytes "$(mac client c0)" "") $(bytes "$(mac forwarder f0)" "") 00 00 00 00
    # shellcheck disable=SC2046
    bpftool map update pinned $pin/routes key $(bytes 10.2.0.2 "") \
        value hex $(bytes "$(mac server s0)" "") $(bytes "$(mac forwarder f1)" "") 01 00 00 00

    in_net forwarder ip link set dev f0 xdpdrv pinned $pin/forwarder
    in_net forwarder ip link set dev f1 xdpdrv pinned $pin/forwarder
}

# A veth takes what XDP sends to it if it has a program itself, or GRO: which of the
# two its ends at client and server have is the caller's choice.
pass_load() {
    local pin=/sys/fs/bpf/demo
    bpftool prog load demo_pass.bpf.o $pin/pass
    in_net client ip link set dev c0 xdpdrv pinned $pin/pass
    in_net server ip link set dev s0 xdpdrv pinned $pin/pass
}

forwarder_unload() {
    ip -n forwarder link set dev f0 xdpdrv off
    ip -n forwarder link set dev f1 xdpdrv off
    ip -n client link set dev c0 xdpdrv off
    ip -n server link set dev s0 xdpdrv off
    rm -rf /sys/fs/bpf/demo
}

network_down() {
    local ns
    for ns in client forwarder server; do
        ip netns del "$ns"
    done
}

# The forwarder's own counters.
counters() {
    bpftool -j map dump pinned /sys/fs/bpf/demo/counters | tr '{' '\n' |
        sed -n 's/.*"formatted".*//; s/.*"key":\([0-9]*\),"value":\([0-9]*\).*/\1 \2/p' |
        awk 'BEGIN {
                split("packets to_kernel no_route udp_requests udp_replies tcp_requests tcp_replies gets sets bytes", name)
            }
            { printf "  %-14s %d\n", name[$1 + 1], $2 }'
}
