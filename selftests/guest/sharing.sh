#!/bin/bash
# Domains that share a key: page tables of their own keep them apart. With the
# control: without these, they reach each other. And a key that changes hands
# opens nothing of its former owner's. And with isolation=program, programs that
# share maps, but no memory.
# SMP: 2
# TIMEOUT: 600
# MODULE: breach
# BOCHS: SCALE=20
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly parameters=/sys/module/bailey/parameters pins=/sys/fs/bpf

need_module on_violation=abort
# On a slow machine the policy would have time to part them.
echo 1 >$parameters/test_hold
absorb ./sharers --count "$(few 10000)" --seed 1
check "the domains of freed programs go" wait_for 10 domains_are 0

echo roots >$parameters/undefended
absorb ./sharers --expect escape --count "$(few 1000)" --seed 2
echo >$parameters/undefended
check "they go in the control, too" wait_for 10 domains_are 0

absorb ./sharers --count "$(few 2000)" --seed 3 --move
check "they go when they have moved" wait_for 20 domains_are 0

absorb ./recycled --rounds "$(few 40)" --seed 4
check "they go when they have exchanged their keys" wait_for 20 domains_are 0
before=$(counter violations_total)

# Runs that go on while their domain moves from one kind of key to the other.
./xdp_run load.bpf.o busy --seconds 8 --cpus all --verdict 2 >/tmp/busy &
runner=$!
check "a load has a domain" wait_for 5 domains_are 1
moves=0
while kill -0 $runner 2>/dev/null; do
    echo 1 >$parameters/test_move
    moves=$((moves + 1))
done
wait $runner
result $? "runs give the right verdict while their domain moves"
check "it moved all the while ($moves times)" test $moves -ge 3
equal "moving is no violation" "$before" "$(counter violations_total)"

# Each program in a domain of its own. The control is the default.
check "the domains of the load go" wait_for 10 domains_are 0
absorb ./sharers --apart --expect escape --count "$(few 500)" --seed 5
check "the programs of one domain go" wait_for 10 domains_are 0
echo program >$parameters/isolation
absorb ./sharers --apart --count "$(few 3000)" --seed 6
check "the programs of their own domains go" wait_for 10 domains_are 0
echo 1 >$parameters/share
absorb ./sharers --apart --count "$(few 500)" --seed 7
check "they go when they have had one key" wait_for 10 domains_are 0
echo 0 >$parameters/share
before=$(counter violations_total)

# places MAP: for how many domains its values are where.
places() {
    awk -v n="$1" '$2 == n { at[$5]++ } END { print at["domain"] + 0, at["loan"] + 0 }' $bailey/maps
}

# value MAP WORD: of all its values, on each CPU, the sum of a member; of a number itself.
value() {
    bpftool map dump pinned "$pins/maps/$1" |
        awk -v w="\"$2\":" '$1 == w { sub(/,/, "", $2); n += $2 } END { print n + 0 }'
}

# turns N: the programs take turns, and each finds what it must.
turns() {
    local n program
    for n in $(seq "$1"); do
        for program in first second; do
            bpftool prog run pinned "$pins/apart/$program" data_in /tmp/packet | grep -q 'Return value: 2' ||
                { echo "$program in turn $n"; return 1; }
        done
    done
}

head -c 64 /dev/zero >/tmp/packet
check "programs that share maps load" bpftool prog loadall shares.bpf.o $pins/apart pinmaps $pins/maps
check "each of them has a domain" wait_for 10 domains_are 4
equal "and says so" 4 "$(awk '$NF == "program"' $bailey/domains | wc -l)"
for map in shared counts each; do
    equal "what they share is mapped for one and lent to the others: $map" 1 \
        "$(places $map | cut -d ' ' -f 1)"
done
equal "the array is lent to all three others" "1 3" "$(places shared)"
equal "what is one program's alone is mapped for it" "1 0" "$(places own)"
check "what one writes is what the other reads" turns 20
equal "the array has it" "60 60" "$(value shared said) $(value shared heard)"
equal "each CPU's values have it" 20020 "$(value each value)"
loans=$(counter loan_accesses)
for program in add add_too; do
    bpftool prog run pinned $pins/apart/$program data_in /tmp/packet repeat 20000 >/tmp/$program &
done
wait
equal "of additions by both at once none is lost" "40000 40000" \
    "$(value shared both) $(value shared both32)"
check "those of one of them were loans" test $(($(counter loan_accesses) - loans)) -ge 40000
rm $pins/apart/first
check "the one that had the values goes" wait_for 10 domains_are 3
equal "the others keep their loans" "0 3" "$(places shared)"
check "and use them" sh -c "bpftool prog run pinned $pins/apart/second data_in /tmp/packet |
    grep -q 'Return value: 2'"
bpftool prog load shares.bpf.o $pins/apart/first map name shared pinned $pins/maps/shared
check "one that is loaded then" wait_for 10 domains_are 4
equal "has them mapped" "1 3" "$(places shared)"
echo map >$parameters/isolation
bpftool prog loadall shares.bpf.o $pins/together map name shared pinned $pins/maps/shared
check "programs of one domain join none that is a program's own" wait_for 10 domains_are 5
equal "to them they are lent" "1 4" "$(places shared)"
rm -r $pins/apart $pins/together $pins/maps
check "all domains go" wait_for 10 domains_are 0
equal "nothing of this is a violation" "$before" "$(counter violations_total)"
check "the module leaves" unload_module
finish
