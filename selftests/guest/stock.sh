#!/bin/bash
# The tests' own ground, without the module: the breaching programs are harmless,
# the table of kfuncs is the kernel's. (That the corpus loads and leaves the same
# behind each time is in same_meaning, which runs it without the module first.)
# ONCE: yes
# SMP: 2
# TIMEOUT: 300
# MODULE: none
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

check "every kfunc that XDP programs may call is in the module's table" ./kfunc_list kfuncs.list

echo 1 >/proc/sys/kernel/kptr_restrict
absorb ./breach --expect harmless
finish
