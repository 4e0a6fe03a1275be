#!/bin/bash
# splats.sh LOG: prints the lines of a console log that fail a run, by
# selftests/splats.deny and .allow; exit code 1 when there are any.
# splats.sh --test: checks the lists against selftests/splats.cases (KTAP).
set -euo pipefail
lists=$(cd "$(dirname "$0")/../selftests" && pwd)

# The patterns of a list, without comments and empty lines.
patterns() {
    grep -vE '^(#|$)' "$lists/splats.$1"
}

splats() {
    tr -d '\r' | grep -aEf <(patterns deny) | grep -avEf <(patterns allow) || true
}

if [ "${1:-}" = --test ]; then
    n=0 bad=0
    total=$(grep -cE '^(fail|pass)' "$lists/splats.cases")
    printf 'KTAP version 1\n1..%d\n' "$total"
    while IFS=$'\t' read -r want line; do
        case $want in fail | pass) ;; *) continue ;; esac
        n=$((n + 1)) got=pass result=ok
        [ -z "$(splats <<<"$line")" ] || got=fail
        [ "$got" = "$want" ] || { result='not ok' bad=1; }
        printf '%s %d a kernel log line is judged "%s": %s\n' "$result" "$n" "$want" "${line//#/}"
    done <"$lists/splats.cases"
    exit "$bad"
fi

found=$(splats <"$1")
[ -n "$found" ] || exit 0
printf '%s\n' "$found"
exit 1
