#!/bin/bash
# Generated call graphs without the module, then with it: the same digests of
# verdicts, packets and map contents.
# TAKES: 70
# SMP: 2
# TIMEOUT: 600
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh
count=150

# total N: the Nth word of the last line, `total COUNT rejected REJECTED`.
total() {
    awk -v n="$1" '$1 == "total" { print $n }' /tmp/without
}

check "the generated programs run on the stock kernel" \
    sh -c "./callgraph --count $count --seed 1 >/tmp/without"
equal "all of them were generated" $count "$(total 2)"
check "the verifier takes more than 95 of 100 ($(total 4) rejected)" \
    test $(($(total 4) * 20)) -lt $count
note "$(grep rejected /tmp/without)"
check "another seed gives other programs (the next tests can fail)" \
    sh -c './callgraph --count 1 --seed 2 | cmp -s - /tmp/without; test $? -eq 1'
for use in context pointer loop helper resize many callback tail table throw; do
    check "some of them use: $use ($(grep -c "uses=.*$use.* digest" /tmp/without))" \
        grep -q "uses=.*$use.* digest" /tmp/without
done
check "some are 6 and more calls deep" grep -qE 'depth=[678] .*digest' /tmp/without

need_module policy=permit
check "the generated programs run with the module" \
    sh -c "./callgraph --count $count --seed 1 --isolation /tmp/states >/tmp/with"
check "they leave the same behind with the module" diff -U0 /tmp/without /tmp/with
check "those that can be isolated are isolated" isolated_or_listed /tmp/states
note "isolated: $(grep -c ' isolated$' /tmp/states) of $(wc -l </tmp/states)"
note "not isolated, by reason:" "$(grep -v ' isolated$' /tmp/states | sed 's/^[^ ]* //; s/instruction_[0-9]*/instruction/' | sort | uniq -c)"
note "$(isolated_though_listed /tmp/states)"
equal "nothing of this is a violation" 0 "$(counter violations_total)"
check "the module leaves" unload_module
finish
