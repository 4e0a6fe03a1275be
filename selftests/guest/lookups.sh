#!/bin/bash
# Look-ups that a program makes by its own instructions find what is there and nothing
# else, while other CPUs change the map.
# SMP: 3
# TIMEOUT: 300
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# run_on CPU PROGRAM TIMES
run_on() {
    taskset -c "$1" bpftool prog run pinned "/sys/fs/bpf/progs/$2" data_in /tmp/packet \
        repeat "$3" | grep -q "Return value: 2"
}
# global NAME: a variable of the programs'
global() {
    bpftool map dump name lookups.bss | awk -v name="\"$1\":" '$1 == name { gsub(",", ""); print $2 }'
}

need_module
head -c 64 /dev/zero >/tmp/packet
bpftool prog loadall lookups.bpf.o /sys/fs/bpf/progs
check "the keys that stay are put there" run_on 0 begin 1
calls=$(counter helper_calls)
equal "many look-ups, over which a jump goes, are isolated" isolated "$(state many)"
check "they find what there is" sh -c \
    'bpftool prog run pinned /sys/fs/bpf/progs/many data_in /tmp/packet | grep "Return value: 6,"'
equal "without crossing the gate" "$calls" "$(counter helper_calls)"
calls=$(counter helper_calls)
check "they are looked up" run_on 0 find 1000
equal "that crosses no gate" "$calls" "$(counter helper_calls)"
check "keys of a map that forgets come and go" run_on 0 keep 2000
calls=$(counter helper_calls) writes=$(counter key_writes) runs=$(counter runs)
check "one of them is looked up" run_on 0 look 1000
check "and one that nobody used" run_on 0 ask 1
equal "that crosses no gate" "$calls" "$(counter helper_calls)"
equal "and writes the key twice a run" 2 \
    "$((($(counter key_writes) - writes) / ($(counter runs) - runs)))"
check "the one that is looked up stays" test "$(global kept)" -ge 1990
equal "the other was forgotten" 0 "$(global idle)"
for cpu in 1 2; do
    while run_on $cpu change 20000; do
        test -e /tmp/over && break
    done &
done
check "and looked up while others change the map" run_on 0 find "$(few 300000)"
touch /tmp/over
wait
note "$(global looked) look-ups, $(($(counter helper_calls) - calls)) helper calls: changes, and look-ups that met one"
equal "no key that is replaced is missed" 0 "$(global missed)"
equal "none is found that was never there" 0 "$(global invented)"
check "there were look-ups" test "$(global looked)" -gt 16000
equal "nothing breaches" 0 "$(counter violations_total)"
rm -r /sys/fs/bpf/progs
check "the module leaves" unload_module
finish
