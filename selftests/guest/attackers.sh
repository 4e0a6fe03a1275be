#!/bin/bash
# Forged event frames and return addresses, written by one CPU of a domain while
# another runs there, under interrupts and NMIs.
# ALONE: yes
# SMP: 4
# TIMEOUT: 400
# NMI: 200
# MODULE: breach
cd /files || exit
# shellcheck source=selftests/guest/lib/ktap.sh
. guest/lib/ktap.sh
# shellcheck source=selftests/guest/lib/bailey.sh
. guest/lib/bailey.sh

need_module on_violation=abort
absorb ./hostile_frames 60
note "$(cut -d' ' -f5 $bailey/violations | sort | uniq -c)"
check "another domain's program runs" ./xdp_run load.bpf.o busy --repeat 10000 --cpus all --verdict 2
check "the module leaves" unload_module
finish
