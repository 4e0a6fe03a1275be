#!/bin/bash
# Instructions of calls, callbacks and events, off and on (selftests/figures.c).
set -euo pipefail
cd /files
sysctl -qw kernel.bpf_stats_enabled=1

all() {
	# Enter and helper gate once more, without what interrupts a run.
	./figures cost bench.bpf.o | sed -n "/^empty\|^helpers/s/^/least $1 /p"
	./figures cost bench_maps.bpf.o | sed "s/^/least $1 /"
	./figures cost bench_more_maps.bpf.o | sed "s/^/least $1 /"
	./figures cost bench_strings.bpf.o | sed "s/^/least $1 /"
	./figures cost bench_audits.bpf.o | sed "s/^/least $1 /"
	./figures cost bench_calls.bpf.o | sed "s/^/round $1 /"
	./figures cost bench_calls.bpf.o bench_fentry.bpf.o leaf_global | sed "s/^/round $1 /"
	local program period time
	for time in 1 2 3 4 5; do
		for program in confined unconfined; do
			for period in 0 20000; do
				printf 'event %s %s %s %s %s\n' "$1" "$program" "$time" "$period" \
					"$(./figures events bench_events.bpf.o "$program" 200 "$period")"
			done
		done
	done
}

# The least of some times: in the first seconds after boot a datagram takes twice as many.
system() {
	local time
	for time in 1 2 3 4 5 6; do
		((time == 1)) || sleep 2
		./figures system
	done | awk -v state="$1" '!($1 in least) { names[++n] = $1; least[$1] = $2 }
		$2 < least[$1] { least[$1] = $2 }
		END { for (i = 1; i <= n; i++) print "system", state, names[i], least[names[i]] }'
}

ip link set lo up
system off
all off
modprobe bailey
system loaded
# The event stubs are in place as long as there is a domain.
bpftool prog load thousand.bpf.o /sys/fs/bpf/stays
system on
all on
