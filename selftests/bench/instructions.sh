#!/bin/bash
# Instructions of one run, off and on: with -icount shift=0 a virtual
# nanosecond is an instruction, and the kernel's own statistics read them
# (kernel.bpf_stats_enabled). The clock reads around a run are in both.
set -euo pipefail
cd /files
readonly RUNS=1000 DIR=/sys/fs/bpf/bench
sysctl -qw kernel.bpf_stats_enabled=1
for size in 64 256 1500; do head -c "$size" /dev/zero > "/tmp/packet.$size"; done

ns() { bpftool prog show pinned "$DIR/$1" | sed -n 's/.*run_time_ns \([0-9]*\).*/\1/p'; }
counter() { tail -n 1 "/sys/kernel/debug/bailey/$1"; }

# measure PROGRAM SIZE: instructions of one run, rounded, but the first
measure() {
	local before after
	# A domain's first run on a CPU makes its frame there.
	bpftool prog run pinned "$DIR/$1" data_in "/tmp/packet.$2" > /dev/null
	before=$(ns "$1")
	bpftool prog run pinned "$DIR/$1" data_in "/tmp/packet.$2" repeat "$RUNS" > /dev/null
	after=$(ns "$1")
	echo $(((after - ${before:-0} + RUNS / 2) / RUNS))
}

all() {
	mkdir -p "$DIR"
	bpftool prog loadall bench.bpf.o "$DIR"
	local map
	for map in hash loan; do
		bpftool map update name "$map" key hex 01 00 00 00 value hex 00 00 00 00 00 00 00 00
	done
	local program size writes
	for program in empty helpers copy_in copy_both array_1 array_10 array_value_10 hash_1 hash_10 hash_value_10 \
		per_cpu_1 per_cpu_10 per_cpu_value_10 record_1 record_10 record_value_10 loan_1 loan_value_10; do
		for size in 64 256 1500; do
			[[ $size == 64 || $program == copy_* ]] || continue
			writes=-
			[[ $1 == on ]] && writes=$(counter key_writes)
			printf '%s %s %s %s' "$1" "$program" "$size" "$(measure "$program" "$size")"
			[[ $1 == on ]] && writes=$(awk "BEGIN { print ($(counter key_writes) - $writes) / $RUNS }")
			printf ' %s\n' "$writes"
		done
	done
	rm -r "$DIR"
	local places
	for places in 0 1 2 4 16 64 256 1000; do
		printf '%s table_%s 64 %s -\n' "$1" "$places" "$(./jump_table cost "$places" "$RUNS")"
	done
}

# load_time: of the thousand-instruction program, the least of 20, in
# nanoseconds of virtual time: everything the loader and the kernel execute, and
# what they wait.
load_time() {
	local begin least=0 took
	for _ in {1..20}; do
		begin=${EPOCHREALTIME/./}
		bpftool prog load thousand.bpf.o /sys/fs/bpf/thousand
		took=$((${EPOCHREALTIME/./} - begin))
		rm /sys/fs/bpf/thousand
		((least == 0 || took < least)) && least=$took
	done
	echo "$1 load_thousand - $((least * 1000)) -"
}

echo "module program packet instructions key_writes"
all off
load_time warm > /dev/null
load_time off
modprobe bailey
all on
load_time on
