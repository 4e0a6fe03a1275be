#!/bin/bash
# demo.sh: the demo, with everything it takes: set-up, the programs, the module,
# a guest. The module is the breach build, which differs from the shipped one in
# one thing: it drops every `rX &= 0`, standing in for a verifier bug, so that
# there is a breach to stop. MODULE=none shows the same traffic unconfined.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

module=${MODULE:-breach}
"$TOP/scripts/setup.sh" vm "$KERNEL"
if [ "$module" != none ] && [ -z "${MODULE_DIR:-}" ]; then
    log=$LOGS/module-$KERNEL-demo.log
    printf 'bailey: building the module (%s)\n' "$module" >&2
    MODULE=$module "$TOP/scripts/module.sh" >"$log" || { tail -n 30 "$log" >&2; die "the module did not build"; }
    tail -n 1 "$log" >&2
fi
"$TOP/scripts/selftests.sh"
release=$(kernel_release "$KERNEL")
printf 'bailey: booting %s in QEMU\n' "$release" >&2

files=$BUILD/demo
rm -rf "$files"
mkdir -p "$files/demo"
cp "$BUILD"/selftests/{forwarder,demo_pass,breach_demo}.bpf.o "$files/"
cp "$TOP"/qemu/demo/*.sh "$files/demo/"
console=$LOGS/demo.console
code=0
RUN=$TOP/qemu/demo/demo.sh FILES=$files MODULE=$module LOG=$console "$TOP/scripts/vm.sh" || code=$?
if [ -f "$console" ] && ! "$TOP/scripts/splats.sh" "$console"; then
    die "the kernel log has lines that fail the run (build/log/demo.console)"
fi
exit "$code"
