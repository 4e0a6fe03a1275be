#!/bin/bash
# bench.sh: runs selftests/bench/*.sh, each in a guest that counts instructions
# (-icount: 1 virtual ns = 1 instruction, one CPU), and prints what they print.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

"$TOP/scripts/setup.sh" vm "$KERNEL"
found=
for t in "$TOP"/selftests/bench/*.sh; do
    [ -f "$t" ] || continue
    if [ -z "$found" ]; then
        found=yes
        "$TOP/scripts/selftests.sh"
        log=$LOGS/module-$KERNEL-bench.log
        MODULE='' "$TOP/scripts/module.sh" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "the module did not build"; }
        printf 'kernel %s, %s, -icount shift=0\n' "$(kernel_release "$KERNEL")" \
            "$(in_root trixie qemu-system-x86_64 --version | sed -n 1p)"
    fi
    RUN=$t FILES=$BUILD/selftests ICOUNT=1 TIMEOUT=${TIMEOUT:-1800} LOG=$LOGS/bench.console "$TOP/scripts/vm.sh"
done
[ -n "$found" ] || die "there are no benchmarks in selftests/bench yet"
