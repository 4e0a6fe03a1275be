#!/bin/bash
# campaign.sh: N injected faults of seed SEED (qemu/campaign.py), in guests that each
# make some of them, so that each console log can be judged (splats.sh). What was made
# is kept in build/campaign/, and a run that was stopped goes on there; another N
# with the same seed adds what is missing.
#
# Ends with a summary, and with 1 if an injection got through, a program did not do
# its work afterwards, or the kernel complained.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

SESSION=20000
n=${N:-1000000} seed=${SEED:-1}
[[ $n =~ ^[0-9]+$ && $seed =~ ^[0-9]+$ ]] || die "N=$n SEED=$seed: two numbers"
"$TOP/scripts/setup.sh" vm "$KERNEL"
"$TOP/scripts/selftests.sh"
mkdir -p "$LOGS" "$BUILD/campaign"
log=$LOGS/module-$KERNEL-campaign.log
MODULE='' "$TOP/scripts/module.sh" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "the module did not build"; }

name=$KERNEL-$seed
results=$BUILD/campaign/$name.jsonl
splats=$BUILD/campaign/$name.splats
touch "$results" "$splats"

# campaign ARGUMENT...: about the results.
campaign() {
    in_root trixie python3 /bailey/qemu/campaign.py "$@" "/bailey/${results#"$TOP/"}"
}

while made=$(campaign --made) && [ "$made" -lt "$n" ]; do
    count=$((n - made < SESSION ? n - made : SESSION))
    out=$LOGS/campaign-$name.out console=$LOGS/campaign-$name.console code=0
    RUN=$TOP/selftests/guest/campaign.sh FILES=$BUILD/selftests SMP=1 LOG=$console \
        CAMPAIGN=$results ENTER_ENV=CAMPAIGN_OF CAMPAIGN_OF=$n TIMEOUT=$((count + 600)) MODULE='' \
        APPEND="CAMPAIGN_COUNT=$count CAMPAIGN_FIRST=$made CAMPAIGN_SEED=$seed" \
        "$TOP/scripts/vm.sh" >"$out" || code=$?
    "$TOP/scripts/splats.sh" "$console" >>"$splats" || true
    # Exit code 1 is a test that failed: it is in the results.
    if [ "$code" -gt 1 ]; then
        tail -n 20 "$out" >&2
        die "the guest ended with $code; the log is in ${console#"$TOP/"}; what it was at: $(<"$results.now")"
    fi
    [ "$(campaign --made)" -gt "$made" ] || { tail -n 20 "$out" >&2; die "nothing was injected"; }
done

code=0
campaign || code=1
if [ -s "$splats" ]; then
    printf 'the kernel complained:\n'
    sed 's/^/    /' "$splats"
    code=1
fi
exit "$code"
