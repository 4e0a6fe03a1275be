# shellcheck shell=bash
# Results of a guest script, as KTAP. A test's name is a sentence that is true
# when it passes. The plan comes last: a script that died early has none.
#
#   check NAME COMMAND...   passes when the command succeeds; what it printed
#                           is shown when it does not
#   deny NAME COMMAND...    passes when the command fails
#   equal NAME WANT GOT     passes when both are the same
#   skip NAME REASON
#   absorb COMMAND...       takes over the command's `ok NAME` and `not ok NAME`;
#                           all it printed is in /tmp/absorbed
#   few N                   N, or that much less of it that a slow emulator
#                           needs ($SCALE times)
#   finish                  the plan; the exit code says whether all passed
tests=0
failures=0
# What bash needs for <(...), and udev would make.
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
echo "KTAP version 1"

result() {
    local code=$1
    shift
    tests=$((tests + 1))
    if [ "$code" -eq 0 ]; then
        echo "ok $tests $*"
    else
        failures=$((failures + 1))
        echo "not ok $tests $*"
    fi
}

note() {
    local line
    while IFS= read -r line; do
        echo "# $line"
    done <<<"$*"
}

check() {
    local name=$1 output code=0
    shift
    output=$("$@" 2>&1) || code=$?
    [ "$code" -eq 0 ] || note "$* gave $code:" "$output"
    result "$code" "$name"
}

deny() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        note "$* succeeded:" "$output"
        result 1 "$name"
    else
        result 0 "$name"
    fi
}

equal() {
    [ "$2" = "$3" ] || note "want '$2', got '$3'"
    [ "$2" = "$3" ]
    result $? "$1"
}

skip() {
    tests=$((tests + 1))
    echo "ok $tests $1 # SKIP $2"
}

few() {
    local n=$(($1 / ${SCALE:-1}))
    echo $((n > 0 ? n : 1))
}

absorb() {
    local line n=0 code
    while IFS= read -r line; do
        case $line in
        "ok "*) n=$((n + 1)) && result 0 "${line#ok }" ;;
        "not ok "*) n=$((n + 1)) && result 1 "${line#not ok }" ;;
        "exit "*) code=${line#exit } ;;
        *) echo "# ${line#\# }" ;;
        esac
    done < <("$@" 2>&1 | tee /tmp/absorbed; echo "exit ${PIPESTATUS[0]}")
    # Its own code says no more than its lines, unless it has died.
    if [ "$n" -eq 0 ] || [ "$code" -gt 1 ]; then
        result 1 "${1##*/} comes to its end (code $code)"
    fi
}

finish() {
    echo "1..$tests"
    [ "$failures" -eq 0 ]
    exit
}
