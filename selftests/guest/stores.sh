#!/bin/bash
# Hash maps and tries with a store behind them: the same for who uses them, and what the
# kernel trusts is not where a domain can write.
# TAKES: 115
# SMP: 3
# TIMEOUT: 900
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

calls() {
    local type
    ./map_calls same 1 && ./map_calls same 2 &&
        for type in "1 0" "1 1" "5 0" "5 1" "9 0" "10 0"; do
            # shellcheck disable=SC2086 # type and flags
            echo "iterator $type: $(./map_calls iterate stores_iter.bpf.o $type)" || return
        done && ./map_calls recent recent.bpf.o
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

# What user space does with a per-CPU array, and with what is wrong.
per_cpu_calls() {
    local map=/sys/fs/bpf/local entries=$1 value
    value=$(seq -s ' ' 1 20)
    bpftool map create $map type percpu_array key 4 value 20 entries "$entries" name local || return
    for key in 0 1 $((entries - 1)) "$entries"; do
        # shellcheck disable=SC2086 # bytes
        bpftool map update pinned $map key $((key % 256)) $((key / 256)) 0 0 value $value any
        # shellcheck disable=SC2086
        bpftool map update pinned $map key $((key % 256)) $((key / 256)) 0 0 value $value noexist
        bpftool map lookup pinned $map key $((key % 256)) $((key / 256)) 0 0
        bpftool map delete pinned $map key $((key % 256)) $((key / 256)) 0 0
        bpftool map getnext pinned $map key $((key % 256)) $((key / 256)) 0 0
    done 2>&1
    bpftool map dump pinned $map
    rm $map
}

mkdir -p /sys/fs/bpf
mount -t bpf bpf /sys/fs/bpf 2>/dev/null
calls >/tmp/without 2>&1
check "hash maps and tries take the calls on the stock kernel" test "$(grep -c : /tmp/without)" -eq 220
as_text >/tmp/text.without 2>&1
# From before: a map of maps whose programs know the kernel's hash maps alone.
bpftool map create /sys/fs/bpf/inner type hash key 4 value 8 entries 16 name inner
bpftool map create /sys/fs/bpf/outer type array_of_maps key 4 value 4 entries 2 name outer \
    inner_map pinned /sys/fs/bpf/inner
bpftool map create /sys/fs/bpf/routes type lpm_trie key 8 value 8 entries 16 name routes flags 1
bpftool map create /sys/fs/bpf/of_routes type array_of_maps key 4 value 4 entries 2 \
    name of_routes inner_map pinned /sys/fs/bpf/routes
bpftool map create /sys/fs/bpf/spread type percpu_hash key 4 value 8 entries 16 name spread flags 1
bpftool map create /sys/fs/bpf/of_spread type array_of_maps key 4 value 4 entries 2 \
    name of_spread inner_map pinned /sys/fs/bpf/spread
per_cpu_calls 5 >/tmp/per_cpu.without
per_cpu_calls 300 >>/tmp/per_cpu.without
check "per-CPU arrays take the calls on the stock kernel" \
    test "$(grep -c '01 02 03' /tmp/per_cpu.without)" -ge 12
need_module
per_cpu_calls 5 >/tmp/per_cpu.with
per_cpu_calls 300 >>/tmp/per_cpu.with
check "per-CPU arrays take the calls as before" diff /tmp/per_cpu.without /tmp/per_cpu.with
calls >/tmp/with 2>&1
check "each call has the same result with stores" diff /tmp/without /tmp/with
as_text >/tmp/text.with 2>&1
check "a pinned map reads the same" diff /tmp/text.without /tmp/text.with
check "the text is there" grep -q 7 /tmp/text.with
equal "what maps forget is decided with values in the domain" 0 "$(counter loan_accesses)"
loans=$(counter loan_accesses) runs=$(counter runs)
check "on three CPUs no key is lost and none is there twice" ./map_calls stress stores.bpf.o 5 1 0
check "nor in one whose elements come as they are needed" ./map_calls stress stores.bpf.o 3 1 1
check "nor an element of a map that forgets" ./map_calls stress stores.bpf.o 3 9 0
check "nor of one that forgets by CPU" ./map_calls stress stores.bpf.o 3 9 2
check "nor in one with values for each CPU" ./map_calls stress stores.bpf.o 3 5 0
check "nor in such a one whose elements come as they are needed" \
    ./map_calls stress stores.bpf.o 3 5 1
check "nor an element of one that forgets" ./map_calls stress stores.bpf.o 3 10 0
before=$(counter runs)
check "nor a prefix of a trie" ./map_calls stress stores_trie.bpf.o 4 11 1
check "isolated programs looked prefixes up and changed them" test "$(counter runs)" -gt "$before"
check "an isolated program was among them" test "$(counter runs)" -gt "$runs"
equal "its accesses to values did not fault" "$loans" "$(counter loan_accesses)"
equal "nothing breaches" 0 "$(counter violations_total)"

head -c 64 /dev/zero >/tmp/packet
bpftool prog loadall per_cpu.bpf.o /sys/fs/bpf/progs
loans=$(counter loan_accesses)
for cpu in 0 1 2; do
    taskset -c $cpu bpftool prog run pinned /sys/fs/bpf/progs/counted data_in /tmp/packet \
        repeat $((1000 * (cpu + 1))) | grep -q 'Return value: 2' || echo "$cpu" >/tmp/wrong
done
deny "runs with a per-CPU array give the right verdict on each CPU" test -e /tmp/wrong
equal "each CPU has counted in values of its own" "1000 2000 3000" \
    "$(bpftool map dump name counts | awk '/"packets"/ { gsub(",", ""); printf "%s%s", s, $2; s = " " }')"
equal "accesses to them did not fault" "$loans" "$(counter loan_accesses)"
equal "the domain has them" domain "$(column maps values name counts)"
bpftool prog run pinned /sys/fs/bpf/progs/counted_large data_in /tmp/packet repeat 10 >/tmp/large
check "a program with a larger one runs" grep -q 'Return value: 2' /tmp/large

# Hash maps with values for each CPU, in several pieces of memory.
run_on() {
    taskset -c "$1" bpftool prog run pinned "/sys/fs/bpf/progs/$2" data_in /tmp/packet \
        repeat "$3" | grep -q "Return value: 2"
}
check "each element of the larger one is counted on CPU 1" run_on 1 counted_all_over 4096
equal "user space finds each in its place, and no more than was counted" "4096 4106" \
    "$(bpftool map dump name large | awk '
        { gsub(",", "") }
        $1 == "\"key\":" { key = $2 }
        $1 == "\"cpu\":" { cpu = $2 }
        $1 == "\"packets\":" { all += $2; counted = $2 }
        $1 == "\"last\":" && cpu == 1 && counted && $2 == key { right++ }
        END { print right, all }')"
check "each key of a per-CPU hash map can be counted on CPU 0" run_on 0 counted_hash 8192
check "and on CPU 1" run_on 1 counted_hash 8192
equal "user space finds what each CPU has counted" "2 2 0" \
    "$(bpftool map lookup name hashed key 160 15 0 0 | awk '/"packets"/ { gsub(",", ""); printf "%s%s", s, $2; s = " " }')"
check "one CPU finds another's value" run_on 2 counted_elsewhere 10
check "a callback sees each element with its CPU's value" run_on 1 counted_in_all 1
check "elements that were not used for long make room" run_on 1 counted_recent 10000
equal "a larger array is the domain's" domain "$(column maps values name large)"
equal "a per-CPU hash map is" domain "$(column maps values name hashed)"
equal "that of recently used elements is" domain "$(column maps values name recent)"
equal "accesses to any of them did not fault" "$loans" "$(counter loan_accesses)"
equal "that of elements which come as they are needed is" domain \
    "$(column maps values name as_they_come)"
equal "a large one is lent" loan "$(column maps values name sparse)"
equal "of both user space sees the flag" "0x1 0x1" \
    "$(bpftool map show | sed -n 's/.*name \(as_they_come\|sparse\)  flags \(0x[0-9a-f]*\).*/\2/p' | xargs)"
check "the small one says that it has memory for all keys on each of three CPUs" test \
    "$(bpftool map show name as_they_come | sed -n 's/.*memlock \([0-9]*\)B.*/\1/p')" -gt $((5000 * 3 * 24))
check "each key of the small one can be counted on CPU 0" run_on 0 counted_allocated 8192
check "and on CPU 1" run_on 1 counted_allocated 8192
equal "user space finds that, too" "2 2 0" \
    "$(bpftool map lookup name as_they_come key 160 15 0 0 | awk '/"packets"/ { gsub(",", ""); printf "%s%s", s, $2; s = " " }')"
check "a program finds another CPU's value, and in each element its own" \
    run_on 1 counted_as_they_came 10
equal "none of its accesses faulted" "$loans" "$(counter loan_accesses)"
check "a program that uses the large one runs" run_on 1 counted_sparse 10
check "its accesses fault" test "$(counter loan_accesses)" -gt "$loans"
check "an outer map with a pattern of the large one takes the small one" \
    bpftool map update name either key 0 0 0 0 value name as_they_come
check "a program changes both there" run_on 2 counted_in_either 10
rm -r /sys/fs/bpf/progs
bpftool prog loadall records.bpf.o /sys/fs/bpf/progs
loans=$(counter loan_accesses)
check "2000 records are made in one run, two at a time" run_on 0 two_by_two 1
equal "a ring buffer's records are made in the frame" frame "$(column maps values name ring)"
equal "they did not fault" "$loans" "$(counter loan_accesses)"
check "a large record is made in the ring" run_on 0 large 1
equal "which faults once" $((loans + 1)) "$(counter loan_accesses)"
rm -r /sys/fs/bpf/progs
bpftool -d prog loadall room.bpf.o /sys/fs/bpf/progs >/tmp/log 2>&1
equal "of two that do not fit together one is lent" "domain loan" \
    "$(awk '$2 == "near" || $2 == "far" { print $5 }' $bailey/maps | sort | xargs)"
check "the verifier's log says so" grep 'bailey: values on loan: .* no room' /tmp/log
check "a program that uses both runs" run_on 0 counted_in_both 5
equal "nothing of this breaches" 0 "$(counter violations_total)"
rm -r /sys/fs/bpf/progs

bpftool prog loadall bench.bpf.o /sys/fs/bpf/progs
check "values that are numbers, with their types known, have a store" \
    grep -q ' hash ' "$bailey/stores"
rm -rf /sys/fs/bpf/progs
# Of maps whose elements come as they are needed, small ones have a store.
bpftool map create /sys/fs/bpf/small type hash key 4 value 8 entries 1000 name small flags 1
bpftool map create /sys/fs/bpf/sparse type hash key 4 value 8 entries 1000000 name sparse flags 1
equal "a small map of elements as they come has a store, with its flag" "1000 0x1" \
    "$(column stores entries name small) $(bpftool map show name small | sed -n 's/.*flags \(0x[0-9]*\).*/\1/p')"
deny "a large one has none" grep -q ' sparse ' "$bailey/stores"
bpftool map create /sys/fs/bpf/either type array_of_maps key 4 value 4 entries 2 name either \
    inner_map pinned /sys/fs/bpf/sparse
check "an outer map takes both" sh -c '
    bpftool map update pinned /sys/fs/bpf/either key 0 0 0 0 value pinned /sys/fs/bpf/sparse &&
    bpftool map update pinned /sys/fs/bpf/either key 1 0 0 0 value pinned /sys/fs/bpf/small'
rm /sys/fs/bpf/either /sys/fs/bpf/small /sys/fs/bpf/sparse
# So it is with tries.
bpftool map create /sys/fs/bpf/small type lpm_trie key 8 value 8 entries 1000 name small flags 1
bpftool map create /sys/fs/bpf/sparse type lpm_trie key 8 value 8 entries 1000000 name sparse \
    flags 1
equal "a small trie has a store" "1000 0x1" \
    "$(column stores entries name small) $(bpftool map show name small | sed -n 's/.*flags \(0x[0-9]*\).*/\1/p')"
deny "a large trie has none" grep -q ' sparse ' "$bailey/stores"
echo 400 >/sys/module/bailey/parameters/no_prealloc_mib
for kind in hash percpu_hash lpm_trie; do
    bpftool map create /sys/fs/bpf/allowed type $kind key 8 value 8 entries 1000000 \
        name allowed flags 1
    equal "with room for it a large one has: $kind" 1000000 "$(column stores entries name allowed)"
    check "and it works" sh -c '
        bpftool map update pinned /sys/fs/bpf/allowed key hex 20 0 0 0 0a 0 0 1 value 7 0 0 0 0 0 0 0 &&
        bpftool map lookup pinned /sys/fs/bpf/allowed key hex 20 0 0 0 0a 0 0 1 | grep "value.*: 07"'
    rm /sys/fs/bpf/allowed
done
echo 16 >/sys/module/bailey/parameters/no_prealloc_mib
bpftool map create /sys/fs/bpf/either type array_of_maps key 4 value 4 entries 2 name either \
    inner_map pinned /sys/fs/bpf/sparse
check "an outer map takes both tries" sh -c '
    bpftool map update pinned /sys/fs/bpf/either key 0 0 0 0 value pinned /sys/fs/bpf/sparse &&
    bpftool map update pinned /sys/fs/bpf/either key 1 0 0 0 value pinned /sys/fs/bpf/small'
deny "one from before takes no trie with a store" \
    bpftool map update pinned /sys/fs/bpf/of_routes key 0 0 0 0 value pinned /sys/fs/bpf/small
check "it takes a trie of the kernel's" \
    bpftool map update pinned /sys/fs/bpf/of_routes key 0 0 0 0 value pinned /sys/fs/bpf/routes
rm /sys/fs/bpf/either /sys/fs/bpf/small /sys/fs/bpf/sparse
bpftool prog loadall stores_trie.bpf.o /sys/fs/bpf/progs
equal "the domain has a trie's values" domain "$(column maps values name stressed)"
rm -r /sys/fs/bpf/progs
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
bpftool map create /sys/fs/bpf/fresh type percpu_hash key 4 value 8 entries 16 name fresh flags 1
deny "one from before takes no per-CPU hash map" \
    bpftool map update pinned /sys/fs/bpf/of_spread key 0 0 0 0 value pinned /sys/fs/bpf/fresh
check "it takes one of the kernel's" \
    bpftool map update pinned /sys/fs/bpf/of_spread key 0 0 0 0 value pinned /sys/fs/bpf/spread
rm /sys/fs/bpf/after /sys/fs/bpf/fresh
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
