#!/bin/bash
# xdp-filter, xdp-loader, xdp-forward and xdp-bench, unmodified, on veth: they
# do the same with the module as without it.
# TAKES: 115
# SMP: 2
# TIMEOUT: 900
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
pins=/sys/fs/bpf/chain
# This suite's xdp-bench wants a tracepoint that the kernel has no more; that of
# the next suite is beside it (scripts/setup.sh).
bench=/opt/forky/usr/sbin/xdp-bench

# client c0 - f0 here f1 - s0 server. The tools stay here: ip(8) would mount
# /sys anew in a namespace, and with it the folder where libxdp pins.
make_network() {
    local ns
    # Nothing but what the tests send: no IPv6, and no neighbour is asked for.
    echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
    for ns in client server; do
        ip netns add $ns
        ip netns exec $ns sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
    done
    ip link add f0 address 02:00:00:00:00:02 type veth \
        peer name c0 address 02:00:00:00:00:01 netns client
    ip link add f1 address 02:00:00:00:00:03 type veth \
        peer name s0 address 02:00:00:00:00:04 netns server
    ip addr add 10.9.1.2/24 dev f0
    ip addr add 10.9.2.2/24 dev f1
    ip link set f0 up && ip link set f1 up
    ip -n client addr add 10.9.1.1/24 dev c0
    ip -n server addr add 10.9.2.1/24 dev s0
    ip -n client link set c0 up && ip -n server link set s0 up
    ip -n client route add default via 10.9.1.2
    ip -n server route add default via 10.9.2.2
    # With NAPI, veth takes what XDP sends even without a program of its own.
    ethtool -K f0 gro on && ethtool -K f1 gro on
    ip netns exec client ethtool -K c0 gro on
    ip netns exec server ethtool -K s0 gro on
    echo 1 >/proc/sys/net/ipv4/ip_forward
    ip neigh replace 10.9.1.1 lladdr 02:00:00:00:00:01 dev f0 nud permanent
    ip neigh replace 10.9.2.1 lladdr 02:00:00:00:00:04 dev f1 nud permanent
    ip -n client neigh replace 10.9.1.2 lladdr 02:00:00:00:00:02 dev c0 nud permanent
    ip -n server neigh replace 10.9.2.2 lladdr 02:00:00:00:00:03 dev s0 nud permanent
}

# pings ADDRESS: how many of 5 are answered.
pings() {
    ip netns exec client ping -q -c 5 -i 0.05 -W 1 "$1" | sed -n 's/.* \([0-9]*\) received.*/\1/p'
}

# send PORT: three datagrams from the client.
send() {
    local i
    for i in 1 2 3; do
        echo "$i" | ip netns exec client nc -u -q 0 10.9.1.2 "$1"
    done
}

# states: the module's word on what is loaded right now, by name.
states() {
    [ -d "$bailey" ] || return 0
    bpftool prog show | sed -nE 's/^([0-9]+): (xdp|ext)  name ([^ ]+) .*/\1 \3/p' |
        while read -r id name; do
            echo "xdp_tools/$name $(awk -v id="$id" '$1 == id { sub(/^([^ ]+ +){8}/, ""); print }' \
                "$bailey/programs")"
        done >>/tmp/states
}

# What each tool did, as lines that must not differ.

filter() {
    xdp-filter load f0 -m native || return
    states
    echo "loaded: $(pings 10.9.1.2)"
    xdp-filter ip 10.9.1.1 -m src
    echo "address denied: $(pings 10.9.1.2)"
    xdp-filter status | awk '$1 == "10.9.1.1" { print "hits", $2, $3 }'
    xdp-filter ip -r 10.9.1.1 -m src
    echo "address allowed: $(pings 10.9.1.2)"
    xdp-filter ether 02:00:00:00:00:01 -m src
    echo "MAC denied: $(pings 10.9.1.2)"
    xdp-filter ether -r 02:00:00:00:00:01 -m src
    xdp-filter port 7000 -m dst -p udp
    send 7000
    send 7001
    echo "port denied: $(pings 10.9.1.2)"
    xdp-filter status | awk '$1 == "7000" { print "hits", $2, $3 }'
    xdp-filter status | awk '$1 ~ /^XDP_(DROP|ABORTED)/ { print $1, $2 }'
    xdp-filter unload f0
    echo "unloaded: $(pings 10.9.1.2)"
}

# Allowed is what has a rule; another program of the tool, another mode.
filter_deny() {
    xdp-filter load f0 -m skb -p deny -f udp,ipv4 || return
    states
    echo "nothing allowed: $(pings 10.9.1.2)"
    xdp-filter ip 10.9.1.1 -m src
    echo "address allowed: $(pings 10.9.1.2)"
    xdp-filter status | awk '$1 == "10.9.1.1" { print "hits", $2, $3 }'
    xdp-filter unload f0
    echo "unloaded: $(pings 10.9.1.2)"
}

# chain: the order of programs, and what one packet's trail through them is.
chain() {
    local zero="0 0 0 0 0 0 0 0"
    xdp-loader status f0 | awk '$1 == "=>" { print "chain", $2, $3, $6 }'
    # shellcheck disable=SC2086
    bpftool map update pinned "$pins/trail" key 0 0 0 0 value $zero
    ip netns exec client ping -q -c 1 -W 1 10.9.1.2 | sed -n 's/.* \([0-9]*\) received.*/received \1/p'
    bpftool map dump pinned "$pins/trail" | sed -n 's/.*"value": \([0-9]*\).*/trail \1/p'
}

# load_chain NAME PRIORITY [OPTION...]
load_chain() {
    local name=$1 prio=$2
    shift 2
    xdp-loader load -m native -P "$prio" -n "$name" --pin-path "$pins" "$@" f0 chain.bpf.o
}

loader() {
    mkdir -p "$pins"
    load_chain chain_one 30 && chain &&
        load_chain chain_two 10 && chain &&
        load_chain chain_three 20 && chain || return
    states
    xdp-loader unload f0 --id "$(xdp-loader status f0 | awk '$3 == "chain_three" { print $4 }')"
    chain
    # A chain goes on only after the verdicts that were chosen: not after a pass.
    load_chain chain_three 5 -A XDP_DROP
    chain
    xdp-loader unload f0 -a
    xdp-loader status f0 | awk '$1 == "=>" || $1 == "f0"'
    rm -r "$pins"
}

forward() {
    local before after
    before=$(redirected)
    xdp-forward load f0 f1 >/dev/null || return
    states
    echo "forwarded: $(pings 10.9.2.1)"
    sleep 0.5
    after=$(redirected)
    echo "by XDP: $((after - before))"
    xdp-forward unload f0 f1 >/dev/null
    echo "unloaded: $(pings 10.9.2.1)"
}

redirected() {
    ethtool -S f0 | awk '$1 == "rx_queue_0_xdp_redirect:" { print $2 }'
}

attached() {
    bpftool net show dev f0 | grep -q 'f0(2*[0-9]*) driver id'
}

# bench ARGUMENT...: five pings while it runs; whether it saw packets.
bench() {
    local before after pid
    "$bench" "$@" -i 1 >/tmp/bench 2>&1 &
    pid=$!
    wait_for 20 attached || { cat /tmp/bench; return 1; }
    # The device it redirects to gets a program too, a moment later.
    sleep 1
    states
    before=$(redirected)
    echo "$* answers $(pings 10.9.1.2)"
    # The device's counters come after the packets, the tool's sums at its end.
    sleep 1.2
    after=$(redirected)
    # A CPU map's are counted there, not at the device.
    [ "$1" = redirect-cpu ] || echo "redirected $((after - before))"
    kill -INT "$pid"
    wait "$pid"
    echo "code $?"
    grep -E '^ +(Packets received|Rx dropped)' /tmp/bench |
        awk -F: '{ gsub(/[ ,]/, "", $2); print $1 ($2 + 0 > 0 ? ": some" : ": none") }'
}

benches() {
    bench drop -p parse-ip f0 &&
        bench pass f0 &&
        bench redirect f0 f1 &&
        bench redirect-map f0 f1 &&
        bench redirect-cpu -c 1 f0
}

# tools FOLDER: all of them, a file each.
tools() {
    local tool code
    mkdir -p "$1"
    for tool in filter filter_deny loader forward benches; do
        $tool >"$1/$tool" 2>"$1/$tool.errors"
        code=$?
        [ $code -eq 0 ] || note "$(tail -n 5 "$1/$tool.errors")"
        result $code "${tool/_/ } comes to its end ${1#/tmp/} the module"
    done
}

# saw FILE LINE...: these lines, in this order, among others.
saw() {
    local file=$1 line n=0
    shift
    while read -r line; do
        [ "$line" != "$1" ] || shift
        [ $# -gt 0 ] || return 0
        n=$((n + 1))
    done <"$file"
    echo "after $n lines, missing: $1"
    cat "$file"
    return 1
}

make_network >/dev/null
equal "without any program pings are answered" "5 5" "$(pings 10.9.1.2) $(pings 10.9.2.1)"
tools /tmp/without
check "xdp-filter drops what a rule denies, and no more" saw /tmp/without/filter \
    "loaded: 5" "address denied: 0" "hits src 5" "address allowed: 5" "MAC denied: 0" \
    "port denied: 5" "hits dst,udp 3" "unloaded: 5"
check "xdp-filter passes what a rule allows, and no more" saw /tmp/without/filter_deny \
    "nothing allowed: 0" "address allowed: 5" "hits src 5" "unloaded: 5"
check "xdp-loader's programs run in order of priority" saw /tmp/without/loader \
    "trail 1" "trail 21" "trail 231" "trail 21" "chain 5 chain_three XDP_DROP" "trail 3"
check "xdp-forward forwards by XDP" saw /tmp/without/forward "forwarded: 5" "by XDP: 5" "unloaded: 5"
check "xdp-bench drops, passes and redirects" saw /tmp/without/benches \
    "drop -p parse-ip f0 answers 0" "pass f0 answers 5" "redirect f0 f1 answers 0" "redirected 5"

need_module policy=permit
: >/tmp/states
tools /tmp/with
for tool in filter filter_deny loader forward benches; do
    check "${tool/_/ } does the same with the module" diff -U0 /tmp/without/$tool /tmp/with/$tool
done
check "what can be isolated of them is isolated" isolated_or_listed /tmp/states
note "$(sort /tmp/states | uniq -c)"
note "$(isolated_though_listed /tmp/states)"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
ip netns del client
ip netns del server
check "the module leaves" unload_module
finish
