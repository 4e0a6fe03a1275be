#!/bin/bash
# host-test.sh: the tests of the pure logic, with cargo inside the chroot, then a little
# fuzzing of it.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/results.sh
. "$TOP/scripts/results.sh"

results_begin host
if [ ! -f "$TOP/Cargo.toml" ]; then
    printf 'bailey: this tree has no Cargo.toml yet, so there are no host tests\n' >&2
    exit 0
fi
"$TOP/scripts/setup.sh" root "$KERNEL"
suite=$(kernel_field "$KERNEL" 2)
mkdir -p "$LOGS"
log=$LOGS/host-test.log
locked=()
[ ! -f "$TOP/Cargo.lock" ] || locked=(--locked)
code=0
in_root "$suite" env CARGO_HOME=/bailey/build/cargo CARGO_TARGET_DIR=/bailey/build/host \
    CARGO_BUILD_JOBS=2 cargo test --workspace "${locked[@]}" --no-fail-fast 2>&1 | tee "$log" || code=$?
[ "$code" != 0 ] || "$TOP/scripts/fuzz.sh" --short 2>&1 | tee -a "$log" || code=$?
# cargo prints "test name ... ok", also with "- should panic" before the dots.
awk '/^test .* \.\.\. / {
        name = $0; sub(/^test /, "", name); sub(/ \.\.\. .*/, "", name)
        if (/ \.\.\. ok/) o = "pass"; else if (/ \.\.\. ignored/) o = "skip"; else o = "fail"
        print o, "host: " name
    }' "$log" >>"$RESULTS"
if [ "$code" != 0 ] && ! grep -q '^fail' "$RESULTS"; then
    result fail "host: the tests end with exit code $code"
fi
results_count "$RESULTS"
