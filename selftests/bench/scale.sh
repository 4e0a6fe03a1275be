#!/bin/bash
# Programs that live at once, four of them in a domain: what a load takes, what memory,
# and what a run costs when each is another program's than the one before. Without the
# module and with it.
set -euo pipefail
cd /files
readonly counts=(1 10 32 64 128 512)
sysctl -qw kernel.bpf_stats_enabled=1
./scale figures warm 32 >/dev/null
./scale figures off "${counts[@]}"
modprobe bailey
./scale figures warm 512 >/dev/null
./scale figures on "${counts[@]}"
