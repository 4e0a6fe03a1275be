#!/bin/bash
# vm.sh: boots the stock kernel in an emulator and runs a script in it as root.
# Settings come from the environment, as from make:
#
#   RUN=script     what to run (without it: an interactive shell)
#   FILES=dir      appears at /files in the guest
#   KERNEL=trixie  or forky
#   MODULE=breach  the test-only build; MODULE=none: no module at all
#   MODULE_DIR=dir take bailey.ko from there instead of build/module-<release>
#   SMP=2 MEM=2G TIMEOUT=600 (seconds, from /init on)
#   ICOUNT=1       one CPU, 1 virtual ns = 1 instruction
#   NMI=50         NMIs per second from outside, to CPU 0, once the kernel is up
#   STOPS=1        events at instructions that the guest chooses (qemu/stops.py);
#                  one CPU
#   CAMPAIGN=1     injected faults, told by the guest (qemu/campaign.py); one CPU. A
#                  file of this tree instead of 1 keeps the results
#   APPEND="..."   more kernel arguments
#   LOG=file       where the kernel's console log goes
#                  (default build/vm-<kernel>/console.log)
#   QEMU_ARGS="..." more QEMU arguments
#   BOOT_LIMIT=90  seconds until /init; a boot that hangs, or in which QEMU crashes, is tried again, twice
#   EMULATOR=bochs instead of QEMU: enforces IBT, and is slow (BOOT_LIMIT=300);
#                  no shell, ICOUNT, NMI, STOPS, CAMPAIGN and QEMU_ARGS
#
# Exits with the script's exit code; 124 on time-out; 125 when the machine died
# without a verdict. Several may run at once.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

[ -z "${RUN:-}" ] || [ -f "$RUN" ] || die "RUN=$RUN: no such file"
[ -z "${FILES:-}" ] || [ -d "$FILES" ] || die "FILES=$FILES: no such folder"
case ${EMULATOR:=qemu} in
qemu) goal=vm ;;
bochs)
    goal=bochs
    [ -n "${RUN:-}" ] || die "EMULATOR=bochs has no shell: RUN=script"
    [ -z "${ICOUNT:-}${NMI:-}${STOPS:-}${CAMPAIGN:-}${QEMU_ARGS:-}" ] ||
        die "EMULATOR=bochs has no ICOUNT, NMI, STOPS, CAMPAIGN and QEMU_ARGS"
    ;;
*) die "EMULATOR=$EMULATOR: qemu or bochs" ;;
esac
"$TOP/scripts/setup.sh" "$goal" "$KERNEL"

release=$(kernel_release "$KERNEL")
vm=$BUILD/vm-$KERNEL
mkdir -p "$vm/run"
run=$(mktemp -d "$vm/run/XXXXXX")
payload=$run/payload
mkdir -p "$payload/files" "$payload/script" "$payload/etc"

# The folder of a run goes with it, the console log stays.
supervisor=
# shellcheck disable=SC2317 # called by the trap
leave() {
    local code=$?
    trap - EXIT
    if [ -n "$supervisor" ]; then
        kill "$supervisor" 2>/dev/null || true
    fi
    if [ -f "$run/console.log" ]; then
        mv -f "$run/console.log" "${LOG:-$vm/console.log}" || true
    fi
    rm -rf "$run"
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

case ${MODULE:-} in
none) ko= ;;
breach) ko=${MODULE_DIR:-$BUILD/module-$release-breach}/bailey.ko ;;
'') ko=${MODULE_DIR:-$BUILD/module-$release}/bailey.ko ;;
*) die "MODULE=$MODULE: breach or none" ;;
esac
if [ -n "$ko" ] && [ -f "$ko" ]; then
    # The module's own depmod index over the image's, kept by content: several
    # runs of one build share it.
    sum=$(sha256sum "$ko" | cut -c1-16)
    index=$vm/index/$release-$sum
    if [ ! -d "$index" ]; then
        new=$(mktemp -d "$vm/index-XXXXXX")
        tree=$new/lib/modules/$release
        mkdir -p "$tree/updates"
        cp "$ko" "$tree/updates/bailey.ko"
        cp "$BUILD/kernel-$release/image/usr/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$tree/"
        # depmod follows no links, so the image's modules are bound in place;
        # the mount ends with the command.
        mkdir "$tree/kernel"
        in_root trixie sh -c "mount --bind '/bailey/build/kernel-$release/image/usr/lib/modules/$release/kernel' \
            '/bailey/${tree#"$TOP/"}/kernel' && depmod -b '/bailey/${new#"$TOP/"}' '$release'"
        rmdir "$tree/kernel"
        mkdir -p "$vm/index"
        mv -T "$new" "$index" 2>/dev/null || rm -rf "$new" # another run was faster
    fi
    mkdir -p "$payload/usr"
    cp -a "$index/lib" "$payload/usr/"
elif [ -n "$ko" ]; then
    printf 'vm: no module yet (%s): the guest runs without it; make module builds it\n' "${ko#"$TOP/"}" >&2
fi

[ -z "${FILES:-}" ] || cp -a "$FILES/." "$payload/files/"
mode=(--shell)
if [ -n "${RUN:-}" ]; then
    script=/script/$(basename "$RUN")
    cp -L "$RUN" "$payload$script"
    chmod 755 "$payload$script"
    printf '%s\n' "$script" >"$payload/etc/bailey-script"
    mode=()
fi
[ -z "${ICOUNT:-}" ] || mode+=(--icount)
[ -z "${STOPS:-}" ] || mode+=(--stops)
case ${CAMPAIGN:-} in
'') ;;
1) mode+=(--campaign) ;;
*) mode+=(--campaign "/bailey/${CAMPAIGN#"$TOP/"}") ;;
esac

inside=/bailey/${run#"$TOP/"}
in_root trixie mkfs.erofs -x-1 --quiet "$inside/payload.erofs" "$inside/payload" >"$run/mkfs.log" 2>&1 ||
    { cat "$run/mkfs.log" >&2; die "the payload image failed"; }
rm -rf "$payload"

set -- --vm "/bailey/build/vm-$KERNEL" --run "$inside" --markers /bailey/qemu/markers \
    --smp "${SMP:-2}" --mem "${MEM:-2G}" --timeout "${TIMEOUT:-600}" --append "${APPEND:-}"
if [ "$EMULATOR" = bochs ]; then
    set -- trixie python3 /bailey/qemu/bochs.py "$@" --boot-limit "${BOOT_LIMIT:-300}"
else
    set -- trixie python3 /bailey/qemu/run.py "$@" --boot-limit "${BOOT_LIMIT:-90}" \
        --nmi "${NMI:-0}" --qemu "${QEMU_ARGS:-}" "${mode[@]}"
fi
if [ -z "${RUN:-}" ]; then
    saved=$(stty -g 2>/dev/null || true)
    [ -z "$saved" ] || stty raw -echo
    code=0
    in_root "$@" || code=$?
    [ -z "$saved" ] || stty "$saved"
    exit "$code"
fi
# In the background, so that a signal to this script is acted on at once. Not
# through a function: $! must be the supervisor itself, not a shell around it.
"$TOP/scripts/enter.sh" "$@" &
supervisor=$!
code=0
wait "$supervisor" || code=$?
supervisor=
exit "$code"
