#!/bin/bash
# Jumps through tables: the same with the module as without; and a domain that
# forges what it jumps by goes to places of its own function, or its run ends.
# ONCE: yes
# SMP: 2
# TIMEOUT: 600
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

check "programs with jump tables run on the stock kernel" \
    sh -c './jump_table same >/tmp/without'
check "the kernel says of their tables what is in them" \
    sh -c '! grep -v "table.* 0 wrong" /tmp/without'
check "the verifier has removed entries of one" grep -q 'removed.* 1 removed' /tmp/without

need_module policy=permit on_violation=abort
check "programs with jump tables run with the module" \
    sh -c './jump_table same --isolation /tmp/states >/tmp/with'
check "they do the same, and user space sees the same of their tables" \
    diff -U0 /tmp/without /tmp/with
check "each of them is isolated" sh -c 'test -s /tmp/states && ! grep -v " isolated$" /tmp/states'
echo 2 >/proc/sys/net/core/bpf_jit_harden
check "they run with constants blinded" \
    sh -c './jump_table same --isolation /tmp/states >/tmp/blinded'
check "with constants blinded they do the same" diff -U0 /tmp/without /tmp/blinded
check "with constants blinded each of them is isolated" \
    sh -c 'test -s /tmp/states && ! grep -v " isolated$" /tmp/states'
echo 0 >/proc/sys/net/core/bpf_jit_harden
equal "nothing of this is a violation" 0 "$(counter violations_total)"

equal "a forged number leads to its place, or the run ends" \
    "100 101 102 0 0 0 0 0 101" \
    "$(./jump_table number 0 1 2 3 4096 0x80000000 0x100000001 -1 1 | paste -sd' ')"
equal "each that leads nowhere is a violation" 5 "$(counter violations_total)"
check "the violations tell of a jump that leads nowhere" \
    grep -qE 'forge_number.*0xfffffffffffff000.*read' $bailey/violations
equal "a table is not its domain's to write" "100 0 100" \
    "$(./jump_table write | paste -sd' ')"
check "the attempt is a violation" grep -qE 'write_table.*write' $bailey/violations
equal "a jump to a place that the verifier has removed ends the run" "0 100" \
    "$(./jump_table removed | paste -sd' ')"
check "such a jump is a violation" grep -qE ' removed .*0xfffffffffffff000.*read' $bailey/violations
equal "after that programs with jump tables do the same" "" \
    "$(./jump_table same | diff -U0 /tmp/without - 2>&1)"
check "the module leaves" unload_module
finish
