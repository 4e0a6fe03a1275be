#!/bin/bash
# Maps in maps: what is in an outer map is the domain's as long as it is there.
# ONCE: yes
# SMP: 2
# TIMEOUT: 300
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly pins=/sys/fs/bpf

run() {
    bpftool prog run pinned "$pins/progs/$1" data_in /tmp/packet repeat "$2" | grep -q "Return value: 2"
}
# known NAME WHERE: where the domain finds its values.
known() {
    test "$(column maps values name "$1")" = "$2"
}
# count_in PIN: what programs have counted there.
count_in() {
    local bytes n=0 at=0 byte
    bytes=$(bpftool -j map lookup pinned "$pins/$1" key 3 0 0 0 |
        sed 's/.*"value":\[\([^]]*\)\].*/\1/; s/[",]/ /g')
    for byte in $bytes; do
        n=$((n + (byte << at)))
        at=$((at + 8))
    done
    echo $n
}
gone() {
    ! bpftool map show name "$1"
}

mount -t bpf bpf $pins 2>/dev/null
head -c 64 /dev/zero >/tmp/packet
need_module on_violation=abort
bpftool prog loadall inner.bpf.o $pins/progs pinmaps $pins/inner
loans=$(counter loan_accesses)
check "a map that is in another is the domain's" known first domain
check "a program counts there" run counted_inside 100
equal "and it is the right one" 100 "$(count_in inner/first)"
bpftool map create $pins/second type array key 4 value 8 entries 16 name second
bpftool map update pinned $pins/inner/outer key 1 0 0 0 value pinned $pins/second
check "one that takes its place becomes the domain's" wait_for 10 known second domain
check "and the other one leaves" wait_for 10 known first ""
check "a program counts in the new one" run counted_inside 50
equal "which it is" 50 "$(count_in second)"
equal "accesses to them did not fault" "$loans" "$(counter loan_accesses)"
equal "the one that has left is as it was" 100 "$(count_in inner/first)"

# A run that has found one keeps it to its end, whatever happens to the outer map.
for n in {1..20}; do run counted_inside 20000 || echo "$n"; done >/tmp/wrong &
running=$!
changes=0
while kill -0 $running; do
    for map in inner/first second; do
        bpftool map update pinned $pins/inner/outer key 1 0 0 0 value pinned $pins/$map
        changes=$((changes + 1))
    done
done 2>/dev/null
wait $running
note "$changes changes meanwhile"
check "runs go on while maps come and go" test ! -s /tmp/wrong
equal "each run has counted in one of them" 400150 $(($(count_in inner/first) + $(count_in second)))
check "there were changes" test $changes -ge 10

rm $pins/inner/first
bpftool map update pinned $pins/inner/outer key 1 0 0 0 value pinned $pins/second
check "one that nobody else has goes when it is taken out" wait_for 10 gone first
bpftool map update pinned $pins/inner/outer_named key 7 0 0 0 value pinned $pins/inner/first_named
check "a hash map in a hash of maps becomes the domain's" wait_for 10 known first_named domain
loans=$(counter loan_accesses)
check "a program counts there" run counted_by_name 20
equal "its accesses did not fault" "$loans" "$(counter loan_accesses)"
bpftool map delete pinned $pins/inner/outer_named key 7 0 0 0
check "it leaves when it is taken out" wait_for 10 known first_named ""
rm -r $pins/progs
check "a domain's inner maps leave with its last program" wait_for 10 known second ""
rm -r $pins/inner $pins/second
check "nothing holds them" wait_for 10 gone second
equal "nothing of this breaches" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
