# shellcheck shell=bash
# Sourced by the other scripts: where things are, how a step is shown, and how
# a failure is told.
set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$TOP/build
LOGS=$BUILD/log
STAMPS=$BUILD/stamp
KERNEL=${KERNEL:-trixie}

# The only place that names an archive.
DEBIAN_MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# What the set-up of both kernels takes, with some air.
NEED_GB=8

die() {
    printf 'bailey: %s\n' "$*" >&2
    exit 1
}

# kernel_field NAME COLUMN: one word of kernels.conf.
kernel_field() {
    local word
    word=$(awk -v n="$1" -v c="$2" '$1 == n { print $c }' "$TOP/scripts/kernels.conf")
    [ -n "$word" ] || die "unknown KERNEL=$1; scripts/kernels.conf lists the known ones"
    printf '%s\n' "$word"
}

# kernel_release NAME: the release that set-up chose for this kernel.
kernel_release() {
    [ -f "$BUILD/kernel-$1.release" ] || die "KERNEL=$1 is not set up yet"
    cat "$BUILD/kernel-$1.release"
}

# in_root SUITE COMMAND...: run a command in the chroot of a suite.
in_root() {
    "$TOP/scripts/enter.sh" "$@"
}

# plan LABEL FUNCTION [INPUT...]: add a step. A step is done when its stamp
# holds the hash of its recipe: the text of the function and its inputs. So an
# interrupted step is run again, and a changed recipe too.
PLAN=()
LOCKED=
BEFORE=0 # steps of plans that were run already
LATER=0  # steps that will be planned after this run
plan() {
    PLAN+=("$(printf '%s\x1f' "$@")")
}

step_hash() {
    {
        declare -f "$1"
        shift
        printf '%s\n' "$@"
    } | sha256sum | cut -d' ' -f1
}

# is_done STAMP FUNCTION [INPUT...]
is_done() {
    [ -f "$1" ] && [ "$(<"$1")" = "$(step_hash "${@:2}")" ]
}

# run_plan: run the steps that are not done yet, in order, showing which one
# of how many it is and how long it took.
run_plan() {
    local i=$BEFORE total=$((BEFORE + ${#PLAN[@]} + LATER)) line label fn stamp log start code
    local -a word
    mkdir -p "$LOGS" "$STAMPS"
    for line in "${PLAN[@]}"; do
        i=$((i + 1))
        IFS=$'\x1f' read -r -a word <<<"$line"
        label=${word[0]} fn=${word[1]}
        word=("${word[@]:2}")
        stamp=$STAMPS/$(tr -c 'a-zA-Z0-9.+\n' - <<<"$fn-${word[0]:-}")
        is_done "$stamp" "$fn" "${word[@]}" && continue
        # Two set-ups at once would step on each other: the second waits, and
        # looks again. What is set up already waits for nobody.
        if [ -z "$LOCKED" ]; then
            exec 9>"$BUILD/.lock"
            flock -n 9 || { printf 'bailey: another set-up is running; waiting\n' >&2; flock 9; }
            LOCKED=yes
            is_done "$stamp" "$fn" "${word[@]}" && continue
        fi
        log=$LOGS/$(basename "$stamp").log
        rm -f "$stamp"
        printf '[%d/%d] %s ... ' "$i" "$total" "$label" >&2
        start=$SECONDS
        # Not as the condition of an if: bash would ignore set -e inside.
        code=0
        set +e
        (set -e; "$fn" "${word[@]}") >"$log" 2>&1 </dev/null
        code=$?
        set -e
        if [ "$code" != 0 ]; then
            printf 'failed after %d s\n' $((SECONDS - start)) >&2
            tail -n 25 "$log" | sed 's/^/    /' >&2
            explain_failure "$log"
            die "step '$label' failed; the whole log is in ${log#"$TOP/"}"
        fi
        step_hash "$fn" "${word[@]}" >"$stamp"
        printf '%d s\n' $((SECONDS - start)) >&2
    done
    BEFORE=$i LATER=0 PLAN=()
}

# A missing network and a full disk are what fails most: name them.
explain_failure() {
    if grep -qE 'Temporary failure resolving|Could not resolve|Network is unreachable|Could not connect|Failed getting release file|Unable to fetch|Failed to fetch|Couldn.t download' "$1"; then
        printf 'bailey: no network: %s cannot be reached (another mirror: DEBIAN_MIRROR=url)\n' "$DEBIAN_MIRROR" >&2
    elif grep -q 'No space left on device' "$1"; then
        printf 'bailey: the disk is full: %s needs about %s GB\n' "$BUILD" "$NEED_GB" >&2
    fi
}
