#!/bin/bash
# Instructions of one run, off and on: with -icount shift=0 a virtual
# nanosecond is an instruction, and the kernel's own statistics read them
# (kernel.bpf_stats_enabled). The clock reads around a run are in both.
set -euo pipefail
cd /files
readonly DIR=/sys/fs/bpf/bench
RUNS=1000
sysctl -qw kernel.bpf_stats_enabled=1
for size in 64 256 1500; do head -c "$size" /dev/zero > "/tmp/packet.$size"; done
# A get of memcached's over UDP, to 10.0.0.2, as the forwarder takes it. Each run has it
# one hop less: there are 255.
{
	printf '\0\0\0\0\0\2\0\0\0\0\0\1\x08\0'
	printf '\x45\0\0\x2f\0\0\0\0\xff\x11\0\0\x0a\0\0\1\x0a\0\0\2'
	printf '\x80\0\x2b\xcb\0\x1b\0\0\0\1\0\0\0\1\0\0get key:1\r\n'
} > /tmp/packet.get

ns() { bpftool prog show pinned "$DIR/$1" | sed -n 's/.*run_time_ns \([0-9]*\).*/\1/p'; }
counter() { tail -n 1 "/sys/kernel/debug/bailey/$1"; }

# measure PROGRAM SIZE: instructions of one run of RUNS, rounded, but the first
measure() {
	local before after
	# A domain's first run on a CPU makes its frame there.
	bpftool prog run pinned "$DIR/$1" data_in "/tmp/packet.$2" > /dev/null
	before=$(ns "$1")
	bpftool prog run pinned "$DIR/$1" data_in "/tmp/packet.$2" repeat "$RUNS" > /dev/null
	after=$(ns "$1")
	echo $(((after - ${before:-0} + RUNS / 2) / RUNS))
}

# report STATE PROGRAM SIZE: a line of what it measures
report() {
	local writes=-
	[[ $1 == on ]] && writes=$(counter key_writes)
	printf '%s %s %s %s' "$1" "$2" "$3" "$(measure "$2" "$3")"
	[[ $1 == on ]] && writes=$(awk "BEGIN { print ($(counter key_writes) - $writes) / ($RUNS + 1) }")
	printf ' %s\n' "$writes"
}

# forwarder STATE: a packet that it counts four times, looks up and redirects
forwarder() {
	local verdict
	bpftool prog loadall forwarder.bpf.o "$DIR"
	bpftool map update name routes key hex 0a 00 00 02 value hex 02 00 00 00 00 02 02 00 00 00 00 01 00 00 00 00
	bpftool map update name ports key hex 00 00 00 00 value hex 01 00 00 00
	verdict=$(bpftool prog run pinned "$DIR/forwarder" data_in /tmp/packet.get | grep -o 'Return value: [0-9]*')
	[[ $verdict == 'Return value: 4' ]] || { echo "the forwarder says $verdict" >&2; exit 1; }
	RUNS=200 report "$1" forwarder get
	rm -r "$DIR"
}

all() {
	mkdir -p "$DIR"
	bpftool prog loadall bench.bpf.o "$DIR"
	local map
	for map in hash loan; do
		bpftool map update name "$map" key hex 01 00 00 00 value hex 00 00 00 00 00 00 00 00
	done
	bpftool map update name ports key hex 00 00 00 00 value hex 01 00 00 00
	local program size writes
	for program in empty helpers apart_1 apart_10 in_a_row_1 in_a_row_10 copy_in copy_both array_1 array_10 array_value_10 hash_1 hash_10 hash_value_10 \
		redirect_last redirect_then per_cpu_1 per_cpu_10 per_cpu_value_10 checksum_1 checksum_10 \
		load_bytes_1 load_bytes_10 store_bytes_1 store_bytes_10 \
		clock_1 clock_10 random_1 random_10 record_1 record_10 record_value_10 loan_1 loan_value_10; do
		for size in 64 256 1500; do
			[[ $size == 64 || $program == copy_* ]] || continue
			report "$1" "$program" "$size"
		done
	done
	report "$1" copy_some get
	rm -r "$DIR"
	forwarder "$1"
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
