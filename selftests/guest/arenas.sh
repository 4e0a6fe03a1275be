#!/bin/bash
# Arenas: a domain sees the pages that user space sees, as they come and go, on its
# own page tables, too, and while its key changes. Programs that share no memory do not
# share one.
# SMP: 2
# TIMEOUT: 600
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
readonly parameters=/sys/module/bailey/parameters pins=/sys/fs/bpf

# Without the module these are the kernel's checks of itself.
absorb ./arenas
absorb ./arenas --seconds 3
need_module on_violation=abort
equal "nothing is mapped yet" 0 "$(status region_pages)"
absorb ./arenas
check "pages were seen when they were asked for" test "$(counter arena_faults)" -gt 100
check "the domains go" wait_for 10 domains_are 0
equal "and every page with them" 0 "$(status region_pages)"
absorb ./arenas --seconds "$(few 10)"
check "the domain of that goes" wait_for 10 domains_are 0

echo 1 >$parameters/share
absorb ./arenas
check "the domains that had one key go" wait_for 10 domains_are 0
absorb ./arenas --seconds 3
check "and the next" wait_for 10 domains_are 0
echo 0 >$parameters/share

# Each of its keys, and page tables of its own in between.
echo 1 >$parameters/test_hold
./arenas --seconds 8 >/tmp/moved &
runner=$!
check "one that is to move has a domain" wait_for 5 domains_are 1
moves=0
while kill -0 $runner 2>/dev/null; do
    echo 1 >$parameters/test_move
    moves=$((moves + 1))
done
absorb cat /tmp/moved
check "it moved all the while ($moves times)" test $moves -ge 3
check "it goes" wait_for 10 domains_are 0
echo 0 >$parameters/test_hold

head -c 64 /dev/zero >/tmp/packet
check "programs with one arena load" bpftool prog loadall arenas.bpf.o $pins/together pinmaps $pins/maps
check "they have one domain" domains_are 1
equal "it has the arena" "33 domain 4096000" \
    "$(awk '$2 == "arena" { print $3, $5, $7 }' $bailey/maps)"
rm -r $pins/together $pins/maps
check "it goes, too" wait_for 10 domains_are 0
echo program >$parameters/isolation
check "one that shares it with none loads" bpftool prog load arenas.bpf.o $pins/first pinmaps $pins/maps
check "it is isolated" test "$(state get)" = isolated
echo strict >$parameters/policy
check "one that shares it loads, too" \
    bpftool prog load arenas.bpf.o $pins/second map name arena pinned $pins/maps/arena
# The other programs of the object have gone with the loader, their domains follow.
check "they have a domain each" wait_for 10 domains_are 2
equal "both see the arena" "domain domain" \
    "$(awk '$2 == "arena" { printf "%s%s", n++ ? " " : "", $5 }' $bailey/maps)"
rm -r $pins/first $pins/second $pins/maps
check "these domains go" wait_for 10 domains_are 0
# Each of the runner's programs in a domain of its own.
absorb ./arenas
check "so do those of the next programs" wait_for 10 domains_are 0
absorb ./arenas --seconds 3
check "and the last" wait_for 10 domains_are 0
equal "nothing of this is a violation" 0 "$(counter violations_total)"
equal "every page has gone" 0 "$(status region_pages)"
check "the module leaves" unload_module
finish
