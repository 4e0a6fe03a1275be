#!/bin/bash
# The memcached part of `make bench`, short: that what it counts can be believed.
# ICOUNT: 1
# TAKES: 95
# TIMEOUT: 900
# ONCE: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh

lines=/tmp/benchmark
check "the benchmark comes to its end" \
    eval "ROUNDS=1 FEW=100 MANY=1100 SIZES=1024 CONNECTIONS=1 bench/memcached.sh >$lines"
sed -n 's/^[a-z]/# &/p' "$lines"

# every STATE CONDITION: holds in all lines of the state's runs, and there are as many as
# there should be, four: TCP and UDP, with few requests and with many.
every() {
    awk -v state="$1" '$1 == "memcached" && $2 == state {
            requests = $7; busy = $9; errors = $11; packets = $12
            runs = $13; writes = $14; bytes = $15; helpers = $16
            n++
            good += ('"$2"') != 0
        }
        END { exit !(n == 4 && good == n) }' "$lines"
}

# instructions STATE: of a request, on the average of both protocols.
instructions() {
    awk -v state="$1" '$1 == "memcached" && $2 == state { n += ($7 > 100 ? $7 : -$7); busy += ($7 > 100 ? $9 : -$9) }
        END { printf "%d\n", n ? busy / n : 0 }' "$lines"
}

known_loop() {
    awk '$1 == "control" { n++; good += $5 > $3 * 0.99 && $5 < $3 * 1.01 }
        END { exit !(n == 6 && good == n) }' "$lines"
}

check "a loop of known length counts as it is, to 1 %, asleep between or not" known_loop
for state in off on beside; do
    check "$state: no request fails" every $state "errors == 0"
    check "$state: each request is two packets, the rest of a connection apart" \
        every $state "packets >= 2 * requests && packets <= 2 * requests + 50"
done
# One of another protocol may come between the two readings.
check "with the module each packet is a confined run" every on "runs >= packets - 2 && runs <= packets + 2"
# An interrupt while confined has two more: there is one in a few hundred runs.
check "a packet is two key writes" every on "writes >= 2 * runs && writes <= 2.02 * runs + 4"
check "packets are copied" every on "bytes > 100 * requests"
for state in off beside; do
    check "$state: nothing is confined" every $state "runs == 0 && writes == 0 && bytes == 0 && helpers == 0"
done
off=$(instructions off) on=$(instructions on)
note "a request: $off instructions, with the module $on"
check "a request takes tens of thousands of instructions" test "$off" -gt 20000 -a "$off" -lt 200000
# Of so few requests the difference is no more than that.
check "isolation changes it by less than a tenth" test "$on" -gt $((off * 9 / 10)) -a "$on" -lt $((off * 11 / 10))
check "the module has left" test ! -d /sys/module/bailey
finish
