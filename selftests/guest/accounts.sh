#!/bin/bash
# debugfs: every file has a header and rows that awk can read, and says what is
# so.
# SMP: 2
# TIMEOUT: 200
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# as_wide_as_header FILE
as_wide_as_header() {
    awk 'NR == 1 { n = NF }
        NF != n || !n { print FILENAME ": " $0; bad = 1 }
        END { exit bad || !NR }' "$1"
}

need_module policy=permit
check "status names the back end" test -n "$(status backend)"
for key in programs_isolated programs_not_isolated domains keys_in_use; do
    check "status counts $key" grep -qE '^[0-9]+$' <(status $key)
done
./xdp_run refusals.bpf.o plain --pin /sys/fs/bpf/plain --cpus 0 >/dev/null
./xdp_run refusals.bpf.o pointer --pin /sys/fs/bpf/pointer >/dev/null
for file in "$bailey"/*; do
    check "${file##*/} has a header and rows as wide" as_wide_as_header "$file"
done
equal "status counts the isolated program" 1 "$(status programs_isolated)"
equal "status counts the other one" 1 "$(status programs_not_isolated)"
for file in runs helper_calls key_writes bytes_copied violations_total; do
    check "the counter $file is a number" grep -qE '^[0-9]+$' <(counter $file)
done
equal "programs has the columns that are documented" \
    "id name type domain key runs helper_calls violations" \
    "$(awk 'NR == 1 { print $1, $2, $3, $4, $5, $6, $7, $8 }' $bailey/programs)"
equal "the program's row has its id" \
    "$(bpftool prog show pinned /sys/fs/bpf/plain | sed -n 's/^\([0-9]*\):.*/\1/p')" \
    "$(column programs id name plain)"
equal "the program's row says xdp" xdp "$(column programs type name plain)"
equal "the program's row says isolated" isolated "$(state plain)"
check "an isolated program has a key of its own" test "$(column programs key name plain)" -ge 2
check "what is not isolated says why" test -n "$(state pointer)" -a "$(state pointer)" != isolated
domain=$(column programs domain name plain)
check "the program's domain is listed" grep -qE "^ *$domain\b" $bailey/domains
equal "a domain whose programs have not run has no frame" 0 "$(column domains frames id "$domain")"
pages=$(status region_pages)
head -c 64 /dev/zero >/tmp/packet
bpftool prog run pinned /sys/fs/bpf/plain data_in /tmp/packet >/dev/null
equal "the first run on a CPU takes one there" 1 "$(column domains frames id "$domain")"
equal "which is 33 pages" 33 $(($(status region_pages) - pages))
check "the program's map is listed" grep -q refusal $bailey/maps
./xdp_run load.bpf.o busy --pin /sys/fs/bpf/busy >/dev/null
check "a program's call is listed with what its arguments are" grep -qE \
    "^$(column programs id name busy) 0x[0-9a-f]+ 0xf[0-9a-f]{15} get_current_pid_tgid -,-,-,-,-$" $bailey/calls
rm -f /sys/fs/bpf/busy

before=$(counter runs)
./xdp_run load.bpf.o busy --repeat 1000 >/dev/null
equal "1000 runs count 1000" 1000 $(($(counter runs) - before))
before=$(counter helper_calls)
./xdp_run load.bpf.o busy --repeat 1000 >/dev/null
check "helper calls are counted ($(($(counter helper_calls) - before)))" \
    test $(($(counter helper_calls) - before)) -ge 1000

# crossings PROGRAM: helper calls and key writes of ten runs of a program of bench.bpf.o;
# the fewest of five times, since an interrupt writes the key as well
crossings() {
    local calls writes
    for _ in 1 2 3 4 5; do
        calls=$(counter helper_calls) writes=$(counter key_writes)
        bpftool prog run pinned "/sys/fs/bpf/bench/$1" data_in /tmp/packet repeat 10 >/dev/null
        echo $(($(counter helper_calls) - calls)) $(($(counter key_writes) - writes))
    done | sort -n -k 1,1 -k 2,2 | head -n 1
}
bpftool prog loadall bench.bpf.o /sys/fs/bpf/bench
bpftool prog loadall bench_strings.bpf.o /sys/fs/bpf/bench/strings
for map in hash loan; do
    bpftool map update name $map key hex 01 00 00 00 value hex 00 00 00 00 00 00 00 00
done
bpftool map update name ports key hex 00 00 00 00 value hex 01 00 00 00
equal "a run without helpers writes the key twice" "0 20" "$(crossings empty)"
equal "ten look-ups in an array cross no gate" "0 20" "$(crossings array_10)"
equal "ten look-ups in a per-CPU array cross no gate" "0 20" "$(crossings per_cpu_10)"
equal "ten checksums cross no gate" "0 20" "$(crossings checksum_10)"
equal "ten copies out of the packet cross no gate" "0 20" "$(crossings load_bytes_10)"
equal "ten copies into the packet cross no gate" "0 20" "$(crossings store_bytes_10)"
equal "ten functions on strings cross no gate" "0 20" "$(crossings strings/strstr_10)"
equal "ten look-ups in a hash map cross no gate" "0 20" "$(crossings hash_10)"
bpftool prog loadall random.bpf.o /sys/fs/bpf/bench/random
equal "640 random numbers cross no gate" "0 20" "$(crossings random/draw)"
bpftool prog run pinned /sys/fs/bpf/bench/random/draw data_in /tmp/packet repeat 2000 >/dev/null
# spread NAME LEAST MOST: whether all of these counts of the program's numbers are between
spread() {
    bpftool map dump name random.bss | tr -d ' \n' | sed "s/.*\"$1\":\[\([0-9,]*\)\].*/\1/" |
        tr ',' '\n' | awk -v least="$2" -v most="$3" '
            { n++ } $1 < least || $1 > most { wrong++; print } END { exit wrong || n < 32 }'
}
equal "131200 were drawn" 131200 "$(bpftool map dump name random.bss |
    awk '$1 == "\"numbers\":" { print $2 + 0 }')"
# Within seven standard deviations.
check "each of their bits is set in half of them" spread bits 64332 66868
check "their lowest byte is anything as often" spread low 354 671
check "and their highest" spread high 354 671
equal "hardly one is as the one before" 0 "$(bpftool map dump name random.bss |
    awk '$1 == "\"same\":" { print int($2 / 4) }')"
# After maps of the same names were found by these.
bpftool prog loadall bench_maps.bpf.o /sys/fs/bpf/bench/maps
bpftool prog run pinned /sys/fs/bpf/bench/maps/fill data_in /tmp/packet >/dev/null
for kind in local local_on_demand local_lru; do
    equal "ten look-ups in a per-CPU hash map cross no gate ($kind)" "0 20" \
        "$(crossings maps/${kind}_10)"
done
equal "ten look-ups in a per-CPU array in pieces cross no gate" "0 20" "$(crossings maps/pieces_10)"
equal "but for values that do not fill them" "100 220" "$(crossings maps/gaps_10)"
equal "ten look-ups in a trie of IPv4 cross no gate" "0 20" "$(crossings maps/trie_10)"
equal "ten look-ups in a trie of IPv6 cross no gate" "0 20" "$(crossings maps/trie_16_10)"
check "the domain can read a trie's index" test "$(column maps index name trie)" -gt 0
equal "one in a map whose values are loans crosses it there and back" "10 40" "$(crossings loan_1)"
equal "a redirect that the program ends with crosses it once" "10 20" "$(crossings redirect_last)"
equal "one that it looks at crosses it there and back" "10 40" "$(crossings redirect_then)"
bpftool prog loadall corpus_next_call.bpf.o /sys/fs/bpf/bench/next
for case in "pushes 40 40" "of_result 30 40" "sections 70 40" "dynptr 30 40" \
    "behind_resize 20 40" "is_last 20 20" "in_found 20 40" "in_none 10 40"; do
    read -r program calls writes <<<"$case"
    equal "calls with nothing between them cross it once there and back ($program)" \
        "$calls $writes" "$(crossings "next/next_$program")"
done
equal "but not if something jumps between them" "50 100" "$(crossings next/next_jumped_into)"
equal "and not with numbers alone" "40 100" "$(crossings next/next_numbers)"

# copied PROGRAM [PREFIX]: bytes copied in ten runs of a program of corpus_reach.bpf.c on 64
copied() {
    local before
    before=$(counter bytes_copied)
    bpftool prog run pinned "${2:-/sys/fs/bpf/reach/reach}_$1" data_in /tmp/packet repeat 10 >/dev/null
    echo $(($(counter bytes_copied) - before))
}
bpftool prog loadall corpus_reach.bpf.o /sys/fs/bpf/reach
equal "of a packet so much is copied as a program looks at" 630 "$(copied reads_to_63)"
equal "and never more than there is" 640 "$(copied reads_to_257)"
equal "what it writes is copied back" 20 "$(copied writes_first)"
equal "what lies in front and behind is not" 680 "$(copied writes_in_the_middle)"
equal "where nobody knows how far it looks, all is copied both ways" 1280 "$(copied by_a_loop)"
bpftool prog loadall corpus_copies.bpf.o /sys/fs/bpf/bench/copies
bpftool prog loadall corpus_sub_copies.bpf.o /sys/fs/bpf/bench/sub_copies
equal "what it copies by place it looks at" 420 "$(copied headers /sys/fs/bpf/bench/copies/copies)"
equal "copies by place cross no gate" "0 20" "$(crossings copies/copies_headers)"
equal "nor where the place has no more than a bound" "0 20" "$(crossings copies/copies_by_header)"
equal "nor where the program looks further anyway" "0 20" "$(crossings copies/copies_before_accesses)"
equal "nor where all of the packet is there" "0 20" "$(crossings sub_copies/copies_in_functions)"
equal "but where it would have to be copied for them" "20 60" \
    "$(crossings sub_copies/copies_in_functions_alone)"
equal "or more of it than is worth it" "30 80" "$(crossings copies/copies_far)"

rm -rf /sys/fs/bpf/plain /sys/fs/bpf/pointer /sys/fs/bpf/bench /sys/fs/bpf/reach
gone() {
    ! grep -w plain "$bailey/programs"
}
check "a freed program leaves the list" wait_for 5 gone
check "the module leaves" unload_module
finish
