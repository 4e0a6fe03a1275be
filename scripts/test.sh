#!/bin/bash
# test.sh: everything that must pass, on a machine with nothing installed:
# checks, host tests, the module for both kernels, guest tests on both. Goes on
# after a failure; the last line alone is the total.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/results.sh
. "$TOP/scripts/results.sh"
rm -rf "$BUILD/results"

part() {
    printf '\n== %s ==\n' "$1"
}

# A set-up that fails ends the run with its reason: nothing could be tested.
part "set-up"
for k in trixie forky; do
    "$TOP/scripts/setup.sh" module "$k"
    "$TOP/scripts/setup.sh" vm "$k"
    printf 'kernel %s: %s, %s\n' "$k" "$(kernel_release "$k")" "$(cat "$BUILD/kernel-$k.why")"
done
date >"$STAMPS/complete"

# Both wait for one rustc, or one test, for much of their time: so one beside the other.
part "checks"
KERNEL=trixie "$TOP/scripts/host-test.sh" >"$LOGS/host-test.shown" 2>&1 &
KERNEL=trixie "$TOP/scripts/check.sh" || true
part "host tests"
wait || true
cat "$LOGS/host-test.shown"

if [ -f "$TOP/Kbuild" ]; then
    results_begin module
    for k in trixie forky; do
        part "module for $k"
        log=$LOGS/module-$k.log
        # Most of a build is one rustc on one CPU, so the test-only one is made beside it. The
        # guest tests, which need it, say if that fails.
        KERNEL=$k MODULE=breach "$TOP/scripts/module.sh" >"$LOGS/module-$k-breach.log" 2>&1 &
        if KERNEL=$k MODULE='' "$TOP/scripts/module.sh" >"$log" 2>&1; then
            tail -n 1 "$log"
            result pass "the module builds for $k"
        else
            tail -n 30 "$log"
            result fail "the module builds for $k"
        fi
        wait || true
    done
else
    printf 'bailey: this tree has no Kbuild yet, so there is no module to build\n'
fi

part "the guest itself"
KERNEL=trixie "$TOP/scripts/vm-test.sh" || true
for k in trixie forky; do
    part "guest tests on $k"
    KERNEL=$k "$TOP/scripts/guest-test.sh" || true
    # What says so of itself has been run now: the kernels differ by their compilers.
    export SKIP_ONCE=yes
done

part "result"
results_bad "$BUILD"/results/*
results_count "$BUILD"/results/*
