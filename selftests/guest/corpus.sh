#!/bin/bash
# The tests' own ground, without the module: the corpus is deterministic and
# the breaching programs are harmless.
# ONCE: yes
# SMP: 2
# TIMEOUT: 300
# MODULE: none
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

./xdp_corpus corpus_*.bpf.o >/tmp/first
result $? "every program of the corpus loads on the stock kernel"
./xdp_corpus corpus_*.bpf.o >/tmp/second
result $? "every program of the corpus loads a second time"
check "two runs of the corpus leave the same behind" diff -U0 /tmp/first /tmp/second
count=$(./xdp_corpus --list corpus_*.bpf.o | wc -l)
check "the corpus has at least 48 programs ($count)" test "$count" -ge 48

check "every kfunc that XDP programs may call is in the module's table" ./kfunc_list kfuncs.list

echo 1 >/proc/sys/kernel/kptr_restrict
absorb ./breach --expect harmless
finish
