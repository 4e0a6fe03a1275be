# shellcheck shell=bash
# Sourced by the scripts that run tests: one line for each test in
# build/results/<part>, "<outcome> <name>", with the outcomes pass, fail, skip
# and died (the machine died, or was stopped, without a verdict).

# results_begin PART: forget an older run's results.
results_begin() {
    RESULTS=$BUILD/results/$1
    mkdir -p "$BUILD/results"
    : >"$RESULTS"
}

# result OUTCOME NAME...
result() {
    printf '%s %s\n' "$1" "${*:2}" >>"$RESULTS"
}

# results_of_ktap NAME CODE FILE: the results of one KTAP run. Lines of nested
# tests are indented and count with the test they belong to. A run that ends
# badly although each line is good has a failure that no line tells; one that
# promised more lines than came too.
results_of_ktap() {
    tr -d '\r' <"$3" | awk -v name="$1" -v code="$2" '
        /^1\.\.[0-9]+/ { plan = substr($0, 4) + 0; planned = 1 }
        /^(not )?ok( |$)/ {
            outcome = /^not/ ? "fail" : "pass"
            text = $0
            sub(/^(not )?ok *[0-9]* *(- *)?/, "", text)
            if (toupper(text) ~ /# *SKIP/ && outcome == "pass") outcome = "skip"
            n[outcome]++; seen++
            print outcome, name ": " text
        }
        END {
            if (code == 124) print "died", name ": time-out"
            else if (code == 125) print "died", name ": the machine died without a verdict"
            else if (code == 4 && !seen) print "skip", name
            else if (code != 0 && !n["fail"]) print "fail", name ": exit code " code
            else if (planned && plan != seen && !(plan == 0 && code == 0))
                print "fail", name ": " seen + 0 " results of " plan " planned"
            else if (!seen && code == 0 && !planned) print "fail", name ": no result at all"
        }' >>"$RESULTS"
}

# results_count FILE...: "N passed, N failed, N skipped"; exit code 1 when any
# failed. A machine that died is a failure.
results_count() {
    cat "$@" /dev/null | awk '
        { n[$1]++ }
        END {
            failed = n["fail"] + n["died"]
            printf "%d passed, %d failed, %d skipped\n", n["pass"], failed, n["skip"]
            exit failed > 0
        }'
}

# results_bad FILE...: what a reader looks for.
results_bad() {
    cat "$@" /dev/null | sed -n 's/^fail /FAILED  /p; s/^died /DIED    /p'
}
