#!/bin/bash
# 512 programs in 128 domains, run on every CPU in random order and let go; and more
# domains than there is room for.
# ONCE: yes
# TAKES: 90
# SMP: 2
# TIMEOUT: 900
# APPEND: no5lvl
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

# Longer: SCALE_ROUNDS=1000, with another SCALE_SEED.
readonly rounds=${SCALE_ROUNDS:-0} seed=${SCALE_SEED:-1}

# In the lists of each CPU, too; what caches hold is given back first.
free_kib() {
    sleep 2
    echo 2 >/proc/sys/vm/drop_caches
    awk '$1 == "MemFree:" { free += $2 } $1 == "count:" { free += 4 * $2 } END { print free }' \
        /proc/meminfo /proc/zoneinfo
}

need_module
# What is kept for later, page tables of places among it, is there after the first time.
absorb ./scale test 128 1 2000 "$seed"
# A page lost of each program would be 2 MiB a round, each time; what else the kernel
# keeps for itself, such as workers, it keeps until there are enough.
for try in 1 2 3 4 5 6; do
    before=$(free_kib)
    absorb ./scale test 128 2 20000 $((seed + try))
    after=$(free_kib)
    note "free: $before KiB, afterwards $after KiB"
    [ $((before - after)) -ge 3000 ] || break
done
check "no memory is lost" test $((before - after)) -lt 3000
if [ "$rounds" -gt 0 ]; then
    # The kernel's caches grow by some 15 MB in the first 150 times, and stay.
    absorb ./scale test 128 200 20000 "$seed"
    before=$(free_kib)
    absorb ./scale test 128 "$rounds" 20000 "$seed"
    after=$(free_kib)
    note "free: $before KiB, $rounds times later $after KiB"
    # Eight bytes lost of each program would be 4 KiB a time.
    check "no memory is lost in $rounds times" test $((before - after)) -lt $((3000 + 4 * rounds))
fi
equal "nothing of this is a violation" 0 "$(counter violations_total)"

# With four levels of page tables there is room for 512 domains.
equal "four levels of page tables" 4 "$(status paging_levels)"
./scale fill 515 >/tmp/fill
result $? "515 programs with maps of their own load and run"
equal "512 are isolated" 512 "$(grep -c '^isolated verdict 1' /tmp/fill)"
equal "the others are not, and debugfs says why" 3 "$(grep -c '^no_domain_(-28) verdict 1' /tmp/fill)"
note "$(sort /tmp/fill | uniq -c)"
check "their domains go" wait_for 60 sh -c \
    "awk '\$1 == \"domains\" && \$2 == 0 { none = 1 } END { exit !none }' $bailey/status"
check "a program loads and is isolated again" sh -c "./scale fill 1 | grep '^isolated verdict 1'"
check "the module leaves" unload_module
note "$SECONDS s"
finish
