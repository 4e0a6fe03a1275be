#!/bin/bash
# bench.sh: the benchmark. Runs selftests/bench/*.sh, each in a guest that counts
# instructions (-icount: 1 virtual ns = 1 instruction, one CPU), and makes of what they
# print build/bench/*.csv, build/bench/report.html and the tables of docs/performance.md
# (scripts/report.py). PARTS="memcached scale" runs only these anew; of the others it
# takes what is in build/bench/ from before.
#
# A part chooses its CPU by a comment among its first 30 lines, `# QEMU_ARGS: ...`.
# memcached takes as long as all others together, so it runs beside them. `native` is no
# script and no guest: the gates' own code in user space (selftests/native/), which counts
# the cycles of this machine, and so runs before the others and alone.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

out=$BUILD/bench
parts=() unknown=
for t in "$TOP"/selftests/bench/*.sh; do
    parts+=("$(basename "$t" .sh)")
done
for part in ${PARTS:-}; do
    [ "$part" = native ] || [ -f "$TOP/selftests/bench/$part.sh" ] || unknown=$part
done
[ -z "$unknown" ] || die "PARTS: there is no $unknown; there are: native ${parts[*]}"

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

# Criterion's estimates, in build/bench/native/.
run_native() {
    local start=$SECONDS cpu
    cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | sed -n 1p)
    printf 'bench: native has begun\n' >&2
    rm -rf "$out/native"
    in_root "$(kernel_field "$KERNEL" 2)" env CARGO_HOME=/bailey/build/cargo CARGO_TARGET_DIR=/bailey/build/host \
        CRITERION_HOME=/bailey/build/bench/native cargo bench --locked -p bailey-native --features bench --bench gates \
        >"$LOGS/bench-native.log" 2>&1 || { tail -n 30 "$LOGS/bench-native.log" >&2; die "native failed"; }
    printf 'native, %s\n' "$cpu" >"$out/native.out"
    printf 'bench: native took %d s\n' $((SECONDS - start)) >&2
}

if chosen native; then
    run_native
fi

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
