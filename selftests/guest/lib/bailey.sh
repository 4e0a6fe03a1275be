# shellcheck shell=bash
# The module as a guest script sees it: loading, leaving, its account.
bailey=/sys/kernel/debug/bailey

# load_module [PARAMETER=VALUE...]
load_module() {
    modprobe bailey "$@" || { dmesg | grep bailey | tail -n 5; return 1; }
}

# A program's memory, and with it the reference to the module, goes some time
# after its last user: RCU and a work queue.
unload_module() {
    wait_for 10 rmmod bailey || rmmod bailey
}

# need_module [PARAMETER=VALUE...]: no test of this script makes sense without.
need_module() {
    local output
    if ! output=$(load_module "$@" 2>&1); then
        note "$output"
        result 1 "the module loads"
        finish
    fi
}

# status KEY: its value.
status() {
    awk -v k="$1" '$1 == k { sub(/^[^ ]+ +/, ""); print }' $bailey/status
}

# domains_are N: so many there are now.
domains_are() {
    test "$(status domains)" -eq "$1"
}

# counter NAME: the number in the file of this name, under its header.
counter() {
    awk 'NR == 2 { print $NF }' "$bailey/$1"
}

# column FILE COLUMN KEYCOLUMN KEY: of the rows whose key column is KEY.
column() {
    awk -v c="$2" -v k="$3" -v v="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) { if ($i == c) want = i; if ($i == k) key = i; last = i } }
        NR > 1 && $key == v {
            if (want == last) { for (i = want; i <= NF; i++) printf "%s%s", $i, i < NF ? " " : "\n" }
            else print $want
        }' "$bailey/$1"
}

# state NAME: `isolated`, or the reason why not. The last column has no fixed
# name to go by and may have spaces.
state() {
    awk -v n="$1" 'NR > 1 && $2 == n { sub(/^([^ ]+ +){8}/, ""); print }' $bailey/programs
}

# may_stay NAME: not_isolated.list has a line for it.
may_stay() {
    local pattern
    while read -r pattern _; do
        # shellcheck disable=SC2254 # it is a pattern
        case $1 in $pattern) return 0 ;; esac
    done < <(grep -v '^#' guest/lib/not_isolated.list)
    return 1
}

# isolated_or_listed FILE: of the runner's lines `name state`; which are not
# isolated, but should be. An empty file is a failure too.
isolated_or_listed() {
    local name state bad=0
    test -s "$1" || return
    while read -r name state; do
        if [ "$state" != isolated ] && ! may_stay "$name"; then
            echo "$name: $state"
            bad=1
        fi
    done <"$1"
    return "$bad"
}

# isolated_though_listed FILE: lines of the list of which something is isolated,
# and could perhaps go.
isolated_though_listed() {
    local pattern name state all isolated
    while read -r pattern _; do
        all=0 isolated=0
        while read -r name state; do
            # shellcheck disable=SC2254 # it is a pattern
            case $name in $pattern) ;; *) continue ;; esac
            all=$((all + 1))
            [ "$state" != isolated ] || isolated=$((isolated + 1))
        done <"$1"
        [ $isolated -eq 0 ] || echo "listed as not isolated: $pattern, but $isolated of $all are"
    done < <(grep -v '^#' guest/lib/not_isolated.list)
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local left=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}
