# Puts the rows that the replays of CVEs leave in their logs into security.md,
# between the two comments that name this file, and prints the whole of it:
#
#   awk -f docs/replays.awk build/log/guest-trixie-replays*.out docs/security.md >new
#
# A row: # replay RUN | CVE | CLASS | WRONG | AIM | OUTCOME
{ sub(/\r$/, "") }
function fail(why) {
    print "replays.awk: " why >"/dev/stderr"
    failed = 1
    exit 1
}
/^not ok / { fail(FILENAME ": " $0) }
/^# replay / {
    split(substr($0, 10), part, / \| /)
    if (!(part[2] in row)) cve[n++] = part[2]
    row[part[2]] = part[2] " | " part[3] " | " part[4] " | " part[5]
    outcome[part[1], part[2]] = part[6]
}
FILENAME !~ /\.md$/ { next }
/^<!-- end of docs\/replays.awk -->$/ { inside = 0 }
!inside
/^<!-- docs\/replays.awk -->$/ {
    inside = 1
    if (!n) fail("no rows")
    print ""
    print "| CVE | class | what its verifier had wrong | the replay goes for | stock kernel, with the mask | without confinement | with Bailey |"
    print "|---|---|---|---|---|---|---|"
    for (i = 0; i < n; i++) {
        for (k = split("harmless escape stop", run, " "); k; k--)
            if (!((run[k], cve[i]) in outcome)) fail(cve[i] ": no row of the run `" run[k] "`")
        print "| " row[cve[i]] " | " outcome["harmless", cve[i]] " | " outcome["escape", cve[i]] \
            " | **" outcome["stop", cve[i]] "** |"
    }
    print ""
    rows = n
}
END { if (!failed && !rows) { print "replays.awk: no place for the rows" >"/dev/stderr"; exit 1 } }
