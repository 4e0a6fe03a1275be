#!/bin/bash
# Domains on page tables of their own meet all that can meet a run: interrupts,
# NMIs in windows of the gates, violations, runs in interrupts, attackers. Here
# every domain gets the shared key, as if the others were taken.
# ONCE: yes
# ALONE: yes
# SMP: 3
# TIMEOUT: 900
# NMI: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
echo 1 >/proc/sys/kernel/kptr_restrict
objects=(corpus_{array,hash,packet,ring,tail,callback,subtail,lock,exception}.bpf.o)

# run_corpus OUTPUT [OPTION...]
run_corpus() {
    local out=$1
    shift
    ./xdp_corpus "$@" "${objects[@]}" >"$out" 2>"$out.errors" ||
        { tail -n 20 "$out.errors"; return 1; }
}

all_share() {
    awk 'NR > 1 && ($2 != 15 || $3 != "yes") { bad = 1 } NR > 1 { n++ } END { exit bad || !n }' \
        "$bailey/domains"
}

check "the corpus runs on the stock kernel" run_corpus /tmp/without
need_module on_violation=abort share=1 test_hold=1
check "the corpus runs with the module" run_corpus /tmp/with --isolation /tmp/states
check "its programs leave the same behind isolated as not" diff -U0 /tmp/without /tmp/with
count=$(grep -c ' isolated$' /tmp/states)
check "most of them are isolated ($count are)" test "$count" -ge 60
equal "none of them breaches" 0 "$(counter violations_total)"
echo program >/sys/module/bailey/parameters/isolation
objects=(corpus_{array,hash,tail,subtail}.bpf.o)
readonly part='^corpus_(array|hash|tail|subtail)/'
check "a part of it runs with a domain for each program" run_corpus /tmp/apart --isolation /tmp/states_apart
check "with a domain for each program they leave the same behind" \
    diff -U0 <(grep -E "$part" /tmp/without) /tmp/apart
check "as many are isolated" diff -U0 <(grep -E "$part" /tmp/states) /tmp/states_apart
equal "nor does one breach then" 0 "$(counter violations_total)"
echo map >/sys/module/bailey/parameters/isolation

./xdp_run load.bpf.o busy --seconds 300 --cpus all --verdict 2 --barriers >/tmp/busy &
runner=$!
check "a domain runs" wait_for 5 all_share
mkdir -p /sys/fs/bpf/nested
check "another one is loaded" bpftool prog loadall load.bpf.o /sys/fs/bpf/nested
check "programs run in interrupts while others are confined" ./nested /sys/fs/bpf/nested/busy 300
read -r runs nested verdicts </sys/module/bailey/parameters/test_nested
equal "each gave the right verdict" $((runs * 2)) "$verdicts"
check "some were inside another run ($nested)" test "$nested" -gt 10
check "every domain shares the key" all_share
kill $runner
wait $runner
result $? "under interrupts and NMIs runs give the right verdict"
rm -r /sys/fs/bpf/nested
equal "none of this is a violation" 0 "$(counter violations_total)"

check "violations end runs" ./breach_steps --repeat "$(few 5000)" read_array_64 0x10
absorb ./attackers --seconds 1 --seed "${ATTACK_SEED:-1}"
check "events met windows of the gates" test "$(counter event_landings)" -gt 0
equal "no domain moved" 0 "$(awk 'NR > 1 { n += $6 } END { print n }' $bailey/keys)"
check "the module leaves" unload_module
finish
