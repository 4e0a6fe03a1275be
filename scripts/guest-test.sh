#!/bin/bash
# guest-test.sh: runs selftests/guest/*.sh, each in a guest of its own, on
# KERNEL (TESTS="name name" chooses), JOBS of them at a time (2; with more than
# one, what a test prints is shown at its end). A test prints KTAP. /files in the guest is
# build/selftests/, the test's folder is /files/guest. Comments among the first
# 15 lines of a test choose its guest:
#
#   # SMP: 3            # TIMEOUT: 900      # MEM: 4G         # ICOUNT: 1
#   # NMI: 50           # APPEND: ...       # MODULE: breach  (or none)
#   # STOPS: 1          events at instructions that it chooses (vm.sh)
#   # CAMPAIGN: 1       faults are injected into it (vm.sh)
#   # KERNEL: trixie    only on this kernel
#   # ONCE: yes         `make test` runs it on the first kernel alone (others find
#                       SKIP_ONCE in their environment on the second)
#   # ALONE: yes        not beside another: it has more CPUs than the host, and
#                       an emulated CPU that comes up minds being kept waiting
#   # TAKES: 180        so many seconds, about, where that is more than a minute: the
#                       longest go first, so that none goes on while nothing else
#                       is left; those that must be alone come last
#   # SPLATS: ignore    the console log is not judged
#   # BOCHS: yes        also for EMULATOR=bochs; or, instead of yes, what to put
#                       into its environment there: SCALE=100 makes the counts
#                       that the test takes through `few` 100 times smaller
#   # BOCHS: only       for EMULATOR=bochs alone
#
# After each run the console log is judged by splats.sh. Output and console of
# each test stay in build/log/guest-<kernel>-<test>.{out,console}, or
# bochs-<kernel>-...  With MODULE_DIR nothing is built.
#
# EMULATOR=bochs runs the tests that say BOCHS, one after another, each with
# three times its TIMEOUT.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/results.sh
. "$TOP/scripts/results.sh"

# header TEST NAME: the value of a header comment, or nothing.
header() {
    sed -n "1,15s/^# $2: *//p" "$1" | head -n 1
}

case ${EMULATOR:-qemu} in
qemu) label=guest ;;
bochs) label=bochs JOBS=1 ;;
*) die "EMULATOR=$EMULATOR: qemu or bochs" ;;
esac

# The tests of this kernel and this emulator.
tests=()
for t in "$TOP"/selftests/guest/*.sh; do
    [ -f "$t" ] || continue
    name=$(basename "$t" .sh)
    case $name in lib*) continue ;; esac # sourced by others
    if [ -n "${TESTS:-}" ] && ! grep -qw -- "$name" <<<"$TESTS"; then continue; fi
    only=$(header "$t" KERNEL)
    if [ -n "$only" ] && [ "$only" != "$KERNEL" ]; then continue; fi
    if [ -n "${SKIP_ONCE:-}" ] && [ -n "$(header "$t" ONCE)" ]; then continue; fi
    bochs=$(header "$t" BOCHS)
    case $label-$bochs in guest-only | bochs-) continue ;; esac
    tests+=("$t")
done
mapfile -t tests < <(for t in "${tests[@]}"; do
    alone=$(header "$t" ALONE) takes=$(header "$t" TAKES)
    printf '%d %d %s\n' "$((${#alone} > 0))" "${takes:-0}" "$t"
done | sort -s -k1,1n -k2,2nr | cut -d ' ' -f 3-)

rm -f "$BUILD/results/$label-$KERNEL"*
results_begin "$label-$KERNEL"
if [ ${#tests[@]} = 0 ]; then
    printf 'bailey: no guest tests for %s yet\n' "$KERNEL" >&2
    exit 0
fi
[ "$label" = guest ] || "$TOP/scripts/setup.sh" bochs "$KERNEL"
"$TOP/scripts/setup.sh" vm "$KERNEL"
"$TOP/scripts/selftests.sh"

# The builds that these tests ask for. A build that fails is one failure, and
# its tests are not run: they would only fail again.
declare -A built=([none]=yes)
for t in "${tests[@]}"; do
    module=$(header "$t" MODULE)
    key=${module:-default}
    [ -z "${MODULE_DIR:-}" ] || built[$key]=yes
    if [ -z "${built[$key]:-}" ]; then
        log=$LOGS/module-$KERNEL-$key.log
        if MODULE=$module "$TOP/scripts/module.sh" >"$log" 2>&1; then
            built[$key]=yes
        else
            built[$key]=no
            tail -n 15 "$log" >&2
            result fail "the $key module builds for $KERNEL"
        fi
    fi
done

# stray_int3 CONSOLE: the kernel died of a breakpoint that it had taken out of its
# text, and no module was there yet. Under emulation a CPU can meet one late when
# text is patched, as trampolines are.
stray_int3() {
    grep -aq 'Oops: int3' "$1" && grep -aq 'Comm: .* Not tainted' "$1"
}

# run_test TEST NUMBER
run_test() {
    local t=$1 name module timeout append nmi code out console try start=$SECONDS
    name=$(basename "$t" .sh)
    module=$(header "$t" MODULE)
    out=$LOGS/$label-$KERNEL-$name.out console=$LOGS/$label-$KERNEL-$name.console
    rm -f "$out" "$console"
    results_begin "$label-$KERNEL-$name"
    printf '# guest test %d of %d on %s: %s\n' "$2" "${#tests[@]}" "$KERNEL" "$name"
    if [ "${built[${module:-default}]}" = no ]; then
        printf '# not run: no module\n'
        result skip "$name: not run, the module did not build"
        return
    fi
    timeout=$(header "$t" TIMEOUT) append=$(header "$t" APPEND) nmi=$(header "$t" NMI)
    if [ "$label" = bochs ]; then
        # The kernel hands what it does not know to init as its environment.
        append="$append $(header "$t" BOCHS | grep '=' || true)"
        timeout=$((3 * ${timeout:-600})) nmi=
    fi
    # In the environment, too: a test may leave a part of it to the first kernel.
    append="$append${SKIP_ONCE:+ SKIP_ONCE=$SKIP_ONCE}"
    for try in 1 2; do
        code=0
        RUN=$t FILES=$BUILD/selftests LOG=$console MODULE=$module \
            SMP=$(header "$t" SMP) MEM=$(header "$t" MEM) TIMEOUT=$timeout \
            ICOUNT=$(header "$t" ICOUNT) STOPS=$(header "$t" STOPS) \
            CAMPAIGN=$(header "$t" CAMPAIGN) NMI=$nmi APPEND=$append \
            "$TOP/scripts/vm.sh" 2>&1 | tee "$out" || code=$?
        if [ "$try" = 2 ] || [ "$code" = 0 ] || ! stray_int3 "$console"; then break; fi
        printf '# the stock kernel met a stray int3, without the module: once more\n'
    done
    results_of_ktap "$name" "$code" "$out"
    if [ "$(header "$t" SPLATS)" != ignore ] && [ -f "$console" ] &&
        ! "$TOP/scripts/splats.sh" "$console" >"$out.splats"; then
        printf '# kernel log lines that fail the run:\n'
        head -n 20 "$out.splats" | sed 's/^/#   /'
        result fail "$name: the kernel log stays clean: $(head -n 1 "$out.splats")"
    fi
    rm -f "$out.splats"
    printf '# %s took %d s\n' "$name" $((SECONDS - start))
}

# Each test in a process group of its own, so that a stop reaches its guest.
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
jobs=${JOBS:-2} n=0
[ ${#tests[@]} -gt 1 ] || jobs=1
exec 7>>"$BUILD/results/$label-$KERNEL" # who holds its lock may print
for t in "${tests[@]}"; do
    n=$((n + 1))
    alone=$(header "$t" ALONE)
    [ -z "$alone" ] || wait || true
    if [ "$jobs" -gt 1 ]; then
        shown=$LOGS/$label-$KERNEL-$(basename "$t" .sh).shown
        { run_test "$t" "$n" >"$shown" 2>&1; flock 7; cat "$shown"; rm -f "$shown"; } &
    else
        run_test "$t" "$n" &
    fi
    [ -z "$alone" ] || wait || true
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
        wait -n || true
    done
done
wait || true
results_bad "$BUILD/results/$label-$KERNEL"*
results_count "$BUILD/results/$label-$KERNEL"*
