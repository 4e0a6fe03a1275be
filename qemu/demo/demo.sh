#!/bin/bash
# The demo, inside the guest: memcached traffic through an XDP program that
# Bailey confines; then a program that breaks out of the verifier's rules
# beside it. Exit code 0 only if no request failed, the breach was stopped, and
# the module left.
set -euo pipefail
cd /files/demo
# shellcheck source=qemu/demo/network.sh
. ./network.sh
cd /files

DEBUG=/sys/kernel/debug/bailey
SECONDS_TCP=${SECONDS_TCP:-8} SECONDS_UDP=${SECONDS_UDP:-8} SECONDS_BREACH=${SECONDS_BREACH:-15}
failures=0

title() {
    printf '\n== %s\n' "$*"
}

expect() { # TEXT COMMAND...
    if "${@:2}" >/dev/null; then
        printf '  ok      %s\n' "$1"
    else
        printf '  NOT OK  %s\n' "$1"
        failures=$((failures + 1))
    fi
}

# load NAME memcaslap-arguments...: the load generator at the client; its report
# goes to /tmp/load.NAME.
load() {
    local name=$1 code=0
    shift
    ip netns exec client memcaslap -s 10.2.0.2:11211 -T 1 -c 8 -X 100 -w 1k "$@" \
        >"/tmp/load.$name" 2>&1 || code=$?
    printf 'exit_code: %d\n' "$code" >>"/tmp/load.$name"
}

# served NAME: requests that were answered; errors NAME: those that were not,
# with wrong answers and complaints of the load generator.
served() {
    awk '/Ops: / { for (i = 1; i < NF; i++) if ($i == "Ops:") print $(i + 1) + 0; seen = 1 }
         END { if (!seen) print 0 }' "/tmp/load.$1"
}

errors() {
    awk -F': *' '
        /^(get_misses|verify_misses|verify_failed|packet_disorder|packet_drop|udp_timeout|exit_code):/ { n += $2 }
        !/^[a-z_]+:/ && /[Ee]rror|ERROR|failed|timed? ?out|refused|reset/ { n++ }
        /Ops: / { seen = 1 }
        END { print seen ? n + 0 : n + 1 }' "/tmp/load.$1"
}

report() { # NAME LABEL
    local s e
    s=$(served "$1") e=$(errors "$1")
    printf '  %-22s %8d requests served, %d errors\n' "$2" "$s" "$e"
    [ "$e" = 0 ] || sed 's/^/    | /' "/tmp/load.$1"
    expect "$2: every request was answered, and rightly" [ "$s" -gt 0 -a "$e" -eq 0 ]
}

show() {
    sed 's/^/  /' "$1"
}

account() {
    local f
    for f in runs helper_calls key_writes bytes_copied; do
        printf '  %-14s %s\n' "$f" "$(tail -n 1 "$DEBUG/$f")"
    done
}

title "the kernel: $(uname -r), $(nproc) CPUs"
with_module=
if modinfo bailey >/dev/null 2>&1; then
    modprobe bailey
    with_module=yes
    dmesg | grep 'bailey: ' | sed 's/^/  /' || true
    show $DEBUG/status
else
    printf '  without the module: nothing is confined in this run\n'
fi

title "client - forwarder - server, memcached at the server"
network_up
ip netns exec server memcached -u root -l 10.2.0.2 -p 11211 -U 11211 -m 64 -t 1 -d
forwarder_load
pass_load
expect "ICMP goes through the forwarder's kernel" \
    ip netns exec client ping -q -c 3 -i 0.2 10.2.0.2
bpftool prog show pinned /sys/fs/bpf/demo/forwarder | sed 's/^/  /'
[ -z "$with_module" ] || show $DEBUG/programs

title "load over TCP for $SECONDS_TCP s, over UDP for $SECONDS_UDP s"
load tcp -t "${SECONDS_TCP}s" -v 0.1
report tcp "memcached over TCP"
load udp -t "${SECONDS_UDP}s" -U
report udp "memcached over UDP"
printf 'the forwarder counted:\n'
counters
if [ -n "$with_module" ]; then
    printf 'the module counted:\n'
    account
    show $DEBUG/programs
fi

if [ -n "$with_module" ]; then
    title "a breaching program beside it, under load"
    load breach -t "${SECONDS_BREACH}s" -v 0.1 &
    loading=$!
    sleep 3
    pin=/sys/fs/bpf/breach
    mkdir -p $pin
    bpftool prog load breach_demo.bpf.o $pin/program pinmaps $pin
    target=$(awk '$3 == "linux_banner" { print $1; exit }' /proc/kallsyms)
    printf '  the verifier accepted breach_demo; its target: linux_banner at 0x%s\n' "$target"
    # The address in the byte order of the machine, then zeros.
    little=$(awk -v a="$target" 'BEGIN { for (i = 15; i > 0; i -= 2) printf "%s ", substr(a, i, 2) }')
    # shellcheck disable=SC2046,SC2086 # the words are bytes
    bpftool map update pinned $pin/plan key 0 0 0 0 value hex $little $(printf '00 %.0s' {1..24})
    ip netns add attacker
    ip link add a0 netns attacker type veth peer name a1 netns forwarder
    ip -n attacker link set a0 up
    in_net attacker ip link set dev a0 xdpdrv pinned $pin/program
    ip -n forwarder addr add 10.3.0.1/24 dev a1
    ip -n forwarder link set a1 up
    ip netns exec forwarder ping -q -c 3 -i 0.5 -W 1 10.3.0.2 >/dev/null || true
    printf 'the violations:\n'
    show $DEBUG/violations
    show $DEBUG/programs
    loot=$(bpftool -j map dump pinned $pin/plan | sed 's/.*"loot":\([0-9]*\).*/\1/')
    expect "the breach was seen and names the program" grep -q breach_demo $DEBUG/violations
    expect "the program got nothing" [ "$loot" = 0 ]
    wait $loading
    report breach "memcached meanwhile"
    account
    in_net attacker ip link set dev a0 xdpdrv off
    rm -rf $pin
    ip netns del attacker
fi

title "everything is unloaded"
forwarder_unload
pkill memcached || true
network_down
if [ -n "$with_module" ]; then
    # A program is freed after a grace period.
    for _ in $(seq 50); do
        rmmod bailey 2>/dev/null && break
        sleep 0.2
    done
    expect "rmmod succeeds" [ ! -d /sys/module/bailey ]
fi
[ "$failures" = 0 ] || { printf '\n%d checks of the demo failed\n' "$failures"; exit 1; }
printf '\nThe demo ran as it should.\n'
