#!/bin/bash
# Hash maps with a store behind them: the same for who uses them, and what the
# kernel trusts is not where a domain can write.
# SMP: 3
# TIMEOUT: 300
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

calls() {
    ./map_calls same 1 && ./map_calls same 2 && ./map_calls iterate stores_iter.bpf.o
}

# The lines of a pinned map's file, in no order.
as_text() {
    local key
    bpftool prog loadall stores.bpf.o /sys/fs/bpf/progs pinmaps /sys/fs/bpf/maps &&
        for key in 1 2 3; do
            bpftool map update pinned /sys/fs/bpf/maps/stressed key "$key" 0 0 0 \
                value "$key" 0 0 0 0 0 0 0 7 0 0 0 0 0 0 0 || return
        done
    bpftool map dump pinned /sys/fs/bpf/maps/stressed | tr -d ' \n' | grep -o '{"key"[^}]*}}' | sort
    grep -v '^#' /sys/fs/bpf/maps/stressed | sort
    rm -rf /sys/fs/bpf/progs /sys/fs/bpf/maps
}

mkdir -p /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
calls >/tmp/without 2>&1
check "hash maps take the calls on the stock kernel" test "$(grep -c : /tmp/without)" -eq 46
as_text >/tmp/text.without 2>&1
# From before: a map of maps whose programs know the kernel's hash maps alone.
bpftool map create /sys/fs/bpf/inner type hash key 4 value 8 entries 16 name inner
bpftool map create /sys/fs/bpf/outer type array_of_maps key 4 value 4 entries 2 name outer \
    inner_map pinned /sys/fs/bpf/inner
need_module
calls >/tmp/with 2>&1
check "each call has the same result with stores" diff /tmp/without /tmp/with
as_text >/tmp/text.with 2>&1
check "a pinned map reads the same" diff /tmp/text.without /tmp/text.with
check "the text is there" grep -q 7 /tmp/text.with
loans=$(counter loan_accesses) runs=$(counter runs)
check "on three CPUs no key is lost and none is there twice" ./map_calls stress stores.bpf.o 6
check "an isolated program was among them" test "$(counter runs)" -gt "$runs"
equal "its accesses to values did not fault" "$loans" "$(counter loan_accesses)"
equal "nothing breaches" 0 "$(counter violations_total)"

bpftool prog loadall bench.bpf.o /sys/fs/bpf/progs
check "values that are numbers, with their types known, have a store" \
    grep -q ' hash ' "$bailey/stores"
rm -rf /sys/fs/bpf/progs
bpftool map create /sys/fs/bpf/after type hash key 4 value 8 entries 16 name after
deny "an outer map from before takes no store" \
    bpftool map update pinned /sys/fs/bpf/outer key 0 0 0 0 value pinned /sys/fs/bpf/after
check "it takes a map of the kernel's" \
    bpftool map update pinned /sys/fs/bpf/outer key 0 0 0 0 value pinned /sys/fs/bpf/inner
bpftool map create /sys/fs/bpf/newer type array_of_maps key 4 value 4 entries 2 name newer \
    inner_map pinned /sys/fs/bpf/inner
check "an outer map from after takes both" sh -c '
    bpftool map update pinned /sys/fs/bpf/newer key 0 0 0 0 value pinned /sys/fs/bpf/inner &&
    bpftool map update pinned /sys/fs/bpf/newer key 1 0 0 0 value pinned /sys/fs/bpf/after'
rm /sys/fs/bpf/after
deny "the module stays while a store is in a map" rmmod bailey
bpftool map delete pinned /sys/fs/bpf/newer key 1 0 0 0
deny "the module stays while an outer map knows stores" rmmod bailey
rm /sys/fs/bpf/newer

./map_calls hold >/tmp/held &
check "a map is held" wait_for 10 test -s /tmp/held
deny "the module stays while a hash map of its time does" rmmod bailey
kill %1
check "the module leaves with the last of them" unload_module
load_module stores=0
./map_calls hold >/tmp/held &
wait_for 10 test -s /tmp/held
check "with stores=0 a hash map is the kernel's" unload_module
kill %1
rm -f /sys/fs/bpf/*
finish
