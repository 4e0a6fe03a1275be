#!/bin/bash
# bench.sh: the benchmark. Runs selftests/bench/*.sh, each in a guest that counts
# instructions (-icount: 1 virtual ns = 1 instruction, one CPU), and makes of what they
# print build/bench/*.csv, build/bench/report.html and the tables of docs/performance.md
# (scripts/report.py). PARTS="memcached scale" runs only these anew; of the others it
# takes what is in build/bench/ from before.
#
# A part chooses its CPU by a comment among its first 30 lines, `# QEMU_ARGS: ...`.
# memcached takes as long as all others together, so it runs beside them.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

out=$BUILD/bench
parts=() unknown=
for t in "$TOP"/selftests/bench/*.sh; do
    parts+=("$(basename "$t" .sh)")
done
for part in ${PARTS:-}; do
    [ -f "$TOP/selftests/bench/$part.sh" ] || unknown=$part
done
[ -z "$unknown" ] || die "PARTS: there is no $unknown; there are: ${parts[*]}"

"$TOP/scripts/setup.sh" vm "$KERNEL"
"$TOP/scripts/selftests.sh"
log=$LOGS/module-$KERNEL-bench.log
MODULE='' "$TOP/scripts/module.sh" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "the module did not build"; }
mkdir -p "$out"
qemu=$(in_root trixie qemu-system-x86_64 --version | sed -n 1p)
release=$(kernel_release "$KERNEL")

# run_part NAME: its lines in build/bench/NAME.out, when it has come to its end.
run_part() {
    local start=$SECONDS script=$TOP/selftests/bench/$1.sh cpu code=0
    cpu=$(sed -n '1,30s/^# QEMU_ARGS: *//p' "$script")
    printf 'bench: %s has begun\n' "$1" >&2
    RUN=$script FILES=$BUILD/selftests ICOUNT=1 TIMEOUT=${TIMEOUT:-3600} LOG=$LOGS/bench-$1.console \
        QEMU_ARGS="$cpu ${QEMU_ARGS:-}" \
        "$TOP/scripts/vm.sh" 2>"$LOGS/bench-$1.log" | tee "$out/$1.new" | sed -un "s/^# /bench: $1: /p" >&2 || code=$?
    if [ "$code" != 0 ]; then
        { tail -n 5 "$out/$1.new"; tail -n 30 "$LOGS/bench-$1.log"; } >&2
        die "$1 failed with code $code (build/log/bench-$1.console)"
    fi
    { printf 'kernel %s, %s, -icount shift=0%s\n' "$release" "$qemu" "${cpu:+ $cpu}"; cat "$out/$1.new"; } >"$out/$1.out"
    rm "$out/$1.new"
    printf 'bench: %s took %d s\n' "$1" $((SECONDS - start)) >&2
}

others() {
    local part
    for part in "${parts[@]}"; do
        [ "$part" = memcached ] || ! chosen "$part" || run_part "$part"
    done
}

chosen() {
    [ -z "${PARTS:-}" ] || grep -qw -- "$1" <<<"$PARTS"
}

# Each side in a process group of its own, so that a stop reaches its guest.
set -m
# shellcheck disable=SC2317 # called by the trap
stop() {
    local group
    for group in $(jobs -p); do
        kill -TERM -- "-$group" 2>/dev/null || true
    done
    wait
    exit 130
}
trap stop INT TERM HUP
sides=()
if chosen memcached; then
    run_part memcached &
    sides+=($!)
fi
others &
sides+=($!)
failed=
for side in "${sides[@]}"; do
    wait "$side" || failed=yes
done
[ -z "$failed" ] || exit 1
in_root trixie python3 /bailey/scripts/report.py /bailey/build/bench /bailey/docs/performance.md
