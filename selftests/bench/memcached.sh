#!/bin/bash
# memcached behind the forwarder (qemu/demo/network.sh), without the module, with it, and
# with a module that came later and so isolates nothing: a fixed number of requests by
# memcaslap, nine gets to a set, keys of 64 bytes. With -icount a virtual nanosecond in
# which the CPU is not idle is an instruction.
#
# The start of the load generator alone takes 670 million: so each case has a run of FEW
# requests and one of MANY, and what the second has more than the first is MANY - FEW
# requests. A line for each run:
#
#   memcached STATE ROUND PROTOCOL SIZE CONNECTIONS REQUESTS NS BUSY_NS USER_NS ERRORS
#       PACKETS RUNS KEY_WRITES BYTES_COPIED HELPER_CALLS FORWARDER_NS FORWARDER_RUNS
#
# USER_NS is the load generator's own, in user space; FORWARDER_NS what the kernel's
# statistics have for the forwarder's runs, some 70 for reading the clock in each. Also `control SLEEPS INSTRUCTIONS NS
# BUSY_NS`, of a loop that is known to execute so many.
#
# `rep movs` counts as an instruction for each byte there. Without the two flags the
# kernel copies by plain moves.
# QEMU_ARGS: -cpu max,-erms,-fsrm
set -euo pipefail
cd /files
# shellcheck source=qemu/demo/network.sh
. demo/network.sh
readonly ROUNDS=${ROUNDS:-5} FEW=${FEW:-1000} MANY=${MANY:-6000}
readonly SIZES=${SIZES:-32 1024} CONNECTIONS=${CONNECTIONS:-1 8}
readonly BAILEY=/sys/kernel/debug/bailey
TIMEFORMAT=%3U

# clock: sets `now` to nanoseconds, all and those in which a task ran: the clock of
# /proc/schedstat stands still while the CPU is idle. It does not move while a task runs
# on, either, so this shell has just come back when it is read.
clock() {
	local name fields
	/bin/true
	while read -r name fields; do
		[[ $name != cpu0 ]] || break
	done < /proc/schedstat
	now="${EPOCHREALTIME/./}000 $(cut -d' ' -f7 <<< "$fields")"
}

# What the module counted, or nothing.
account() {
	local name
	for name in runs key_writes bytes_copied helper_calls; do
		if [[ -e $BAILEY/$name ]]; then tail -n 1 "$BAILEY/$name"; else echo 0; fi
	done | paste -sd' '
}

# Of the forwarder, as the kernel's statistics have it: nanoseconds, runs.
forwarder() {
	bpftool prog show pinned /sys/fs/bpf/demo/forwarder |
		sed -n 's/.*run_time_ns \([0-9]*\) run_cnt \([0-9]*\).*/\1 \2/p'
}

packets() { counters | awk '$1 == "packets" { print $2 }'; }

# Wrong answers, answers that did not come, and complaints of the load generator.
errors() {
	awk -F': *' '
		/^(get_misses|verify_misses|verify_failed|packet_disorder|packet_drop|udp_timeout):/ { n += $2 }
		!/^[a-z_]+:/ && /[Ee]rror|ERROR|failed|timed? ?out|refused|reset/ { n++ }
		/Ops: / { done = 1 }
		END { print done ? n + 0 : n + 1 }' /tmp/load
}

# since BEFORE AFTER: the differences of their numbers
since() {
	local -a before after difference=()
	local i
	read -ra before <<< "$1"
	read -ra after <<< "$2"
	for i in "${!before[@]}"; do difference+=($((after[i] - before[i]))); done
	echo "${difference[*]}"
}

# run STATE ROUND PROTOCOL SIZE CONNECTIONS REQUESTS
run() {
	local before counted ran sent user option=
	[[ $3 == tcp ]] || option=-U
	sent=$(packets) counted=$(account) ran=$(forwarder)
	clock
	before=$now
	# shellcheck disable=SC2086 # the option may be none
	user=$({ time in_net client memcaslap -s 10.2.0.2:11211 -T 1 -w 1k -X "$4" -c "$5" -x "$6" $option \
		&> /tmp/load || echo "error: code $?" >> /tmp/load; } 2>&1)
	clock
	[[ $(errors) == 0 ]] || sed 's/^/# /' /tmp/load
	echo memcached "$@" "$(since "$before" "$now")" $((10#${user/./} * 1000000)) "$(errors)" \
		$(($(packets) - sent)) "$(since "$counted" "$(account)")" "$(since "${ran:-0 0}" "$(forwarder)")"
}

# cases STATE NUMBER SIZES CONNECTIONS: each with few requests and with many
cases() {
	local protocol size connections
	for protocol in udp tcp; do
		for size in $3; do
			for connections in $4; do
				run "$1" "$2" "$protocol" "$size" "$connections" "$FEW"
				run "$1" "$2" "$protocol" "$size" "$connections" "$MANY"
			done
		done
	done
}

# A program's memory goes some time after its last user.
leave() {
	local left=100
	until rmmod bailey 2> /dev/null; do
		((left--)) || { echo "the module does not leave" >&2; exit 1; }
		sleep 0.1
	done
}

# round STATE NUMBER: the cases, with a server of their own. What is there before the
# module is not isolated: `beside` is the same traffic with nothing confined, in the
# last case alone. `warm` is so that all are found in memory.
round() {
	local server
	# Not by in_net: the process to end is memcached itself.
	nsenter --net=/run/netns/server memcached -u root -l 10.2.0.2 -p 11211 -U 11211 -m 64 -t 1 &
	server=$!
	[[ $1 != on ]] || modprobe bailey
	forwarder_load
	[[ $1 != beside ]] || modprobe bailey
	until in_net client nc -z 10.2.0.2 11211 2> /dev/null; do sleep 0.1; done
	# What loading has left to be done later is done now.
	sleep 2
	case $1 in
	warm) run warm "$2" udp "${SIZES##* }" 1 "$FEW" ;;
	beside) cases beside "$2" "${SIZES##* }" "${CONNECTIONS##* }" ;;
	*) cases "$1" "$2" "$SIZES" "$CONNECTIONS" ;;
	esac
	kill $server
	wait $server || true
	forwarder_unload
	[[ ! -d /sys/module/bailey ]] || leave
}

# control SLEEPS: a loop of which the length is known is counted in the same way.
control() {
	local start begin
	clock
	start=$now
	./figures loop 1000000 0
	clock
	begin=$now
	./figures loop 501000000 "$1"
	clock
	echo control "$1" 500000000 "$(since "$(since "$start" "$begin")" "$(since "$begin" "$now")")"
}

sysctl -qw kernel.bpf_stats_enabled=1
network_up
in_net client ethtool -K c0 gro on
in_net server ethtool -K s0 gro on
controls() {
	local sleeps
	# Found on its disk, and unpacked.
	./figures loop 1000000 0
	for sleeps in 0 50 0 50 0 50; do control $sleeps; done
}

# What is printed leaves through a port that the kernel waits at, with the CPU busy for as
# long as the host likes: never while something is counted.
later() { "$@" > /tmp/lines; cat /tmp/lines; sleep 1; }

round warm 0 > /dev/null
later controls
for ((number = 1; number <= ROUNDS; number++)); do
	# Every second round the other way round.
	for state in $( ((number % 2)) && echo off on beside || echo beside on off); do
		echo "# round $number of $ROUNDS, $state"
		sleep 1
		later round "$state" "$number"
	done
done
