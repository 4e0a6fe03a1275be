#!/bin/bash
# vm-test.sh: tests of vm.sh itself: the four ways a run can end, and what it
# hands on. Prints KTAP.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/results.sh
. "$TOP/scripts/results.sh"
results_begin "vm-$KERNEL"
"$TOP/scripts/setup.sh" vm "$KERNEL"
work=$(mktemp -d "$BUILD/vm-test-XXXXXX")
trap 'rm -rf "$work"' EXIT
n=0

# ends NAME CODE OUTPUT SCRIPT [NOTE]: the script's run ends with this code, its
# standard output has this text, its standard error this note. Settings come
# from the environment.
ends() {
    local code=0 result=ok
    n=$((n + 1))
    printf '#!/bin/bash\n%s\n' "$4" >"$work/script.sh"
    RUN=$work/script.sh LOG=$work/console MODULE=none "$TOP/scripts/vm.sh" \
        >"$work/out" 2>"$work/err" || code=$?
    if [ "$code" != "$2" ] || ! grep -q -- "$3" <<<"$(<"$work/out")" ||
        ! grep -q -- "${5:-^}" <<<"$(<"$work/err")"; then
        result='not ok'
        printf '# exit code %s, wanted %s; output:\n' "$code" "$2"
        sed 's/^/# /' "$work/out" "$work/err"
    fi
    printf '%s %d %s\n' "$result" "$n" "$1"
}

{
    printf 'KTAP version 1\n1..7\n'
    mkdir "$work/files"
    echo "from outside" >"$work/files/note"
    FILES=$work/files ends "a run ends with the script's exit code and shows its output" 7 'from outside' \
        'cat note; echo complaint >/dev/stderr; exit 7'
    ends "a script that a signal kills ends with 128 and the signal" 137 'before' 'echo before; kill -9 $$'
    TIMEOUT=15 ends "a run over its time ends with 124" 124 'before' 'echo before; sleep 600'
    ends "a panic ends with 125" 125 'before' 'echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 60'
    ends "a machine that resets ends with 125" 125 'before' 'echo before; sleep 1; echo b >/proc/sysrq-trigger; sleep 60'
    ICOUNT=1 ends "a run that counts instructions has one CPU" 0 '^1$' 'nproc'
    BOOT_LIMIT=1 ends "a boot that hangs is tried three times and ends with 125" 125 '^' '' 'boot 3 of 3'
} | tee "$LOGS/vm-test.out"
results_of_ktap "vm" 0 "$LOGS/vm-test.out"
results_count "$RESULTS"
