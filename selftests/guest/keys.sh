#!/bin/bash
# Domains and their keys: programs that share a map share a domain; each domain
# has a key of its own while there are keys; then the hot ones have; keys come
# back.
# SMP: 2
# TIMEOUT: 600
# BOCHS: yes
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly pins=/sys/fs/bpf

# different COLUMN: how many different values the column of `programs` has.
different() {
    awk -v c="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) n = i }
        NR > 1 { print $n }' "$bailey/programs" | sort -u | wc -l
}

# are_different COLUMN N: whether it has so many.
are_different() {
    test "$(different "$1")" -eq "$2"
}

# use KEYUSE: how many keys are in this use.
use() {
    awk -v u="$1" '$2 == u' "$bailey/keys" | wc -l
}

all_run() {
    local pin
    for pin in "$pins"/p*; do
        bpftool prog run pinned "$pin" data_in /tmp/packet repeat 100 | grep -q 'Return value: 2' ||
            { echo "$pin"; return 1; }
    done
}

# key PIN: the key of that program.
key() {
    column programs key id "$(bpftool prog show pinned "$pins/$1" | sed -n '1s/:.*//p')"
}

# sum COLUMN: of all keys.
sum() {
    awk -v c="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) n = i }
        NR > 1 { s += $n } END { print s }' "$bailey/keys"
}

shares() {
    [ "$(key "$1")" -eq 15 ]
}

has_own() {
    ! shares "$1"
}

head -c 64 /dev/zero >/tmp/packet
need_module
check "a fresh module has no domain" domains_are 0
free=$(use free)

bpftool prog loadall load.bpf.o $pins/together
equal "programs that share a map are of one domain" 1 "$(different domain)"
equal "and have one key" 1 "$(different key)"
check "there are several of them" test "$(different id)" -ge 4
rm -r $pins/together
check "their domain goes with them" wait_for 10 domains_are 0

for i in $(seq 20); do
    ./xdp_run refusals.bpf.o plain --pin $pins/p"$i" >/dev/null || break
done
# What else was loaded with one goes some time after its loader.
check "20 programs with maps of their own load" wait_for 10 are_different id 20
equal "they are of 20 domains" 20 "$(different domain)"
equal "all keys are in use" 0 "$(use free)"
equal "the domains that found no key of their own share one" 1 "$(use shared)"
shared=$(awk '$2 == "shared" { print $3 }' $bailey/keys)
equal "keys and domains agree on how many share" "$shared" \
    "$(awk '$3 == "yes"' $bailey/domains | wc -l)"
check "programs that share a key run" all_run
equal "13 have a key of their own" 13 "$(use domain)"

check "the last program's domain shares" shares p20
equal "so far no domain has moved" 0 "$(sum moves)"
recyclings=$(sum recyclings)
while :; do
    bpftool prog run pinned $pins/p20 data_in /tmp/packet repeat 2000 >/tmp/hot || break
    grep -q 'Return value: 2' /tmp/hot || break
done &
hot=$!
check "the domain that is hot gets a key of its own" wait_for 30 has_own p20
check "its program runs all the while" kill -0 $hot
equal "another domain gave its key up" 13 "$(use domain)"
equal "as many share as before" "$shared" "$(awk '$3 == "yes"' $bailey/domains | wc -l)"
equal "one domain moved to a key of its own, one to the shared key" 2 "$(sum moves)"
equal "the key was flushed in between" $((recyclings + 1)) "$(sum recyclings)"
sleep 6
equal "they stay where they are" 2 "$(sum moves)"
kill $hot
wait $hot 2>/dev/null
check "programs whose domains have moved run" all_run
equal "sharing a key is no violation, nor is moving" 0 "$(counter violations_total)"

rm $pins/p[2-9] $pins/p1? $pins/p20
check "the domains of freed programs go" wait_for 10 domains_are 1
check "the first program runs" all_run
check "it has a key of its own, now that there are some" wait_for 10 has_own p1
for i in $(seq 30 40); do
    ./xdp_run refusals.bpf.o plain --pin $pins/p"$i" >/dev/null || break
done
equal "keys that came back are handed out again" 0 "$(use shared)"
equal "each new domain has a key of its own" "$(different domain)" "$(different key)"
check "programs with keys that came back run" all_run
rm $pins/p*
check "in the end all keys are free" wait_for 10 sh -c \
    "test \$(awk '\$2 == \"free\" || \$2 == \"unflushed\"' $bailey/keys | wc -l) -eq $free"
check "the module leaves" unload_module
finish
