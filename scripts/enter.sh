#!/bin/bash
# enter.sh SUITE COMMAND...: run a command in the chroot build/root-SUITE, with
# this tree at /bailey. The mounts live in a mount namespace of this process
# alone, so they vanish with it and a killed run leaves nothing mounted. There
# is no fork on the way: the command has this process's id and signals.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || die "root is needed (chroot and mounts)"
    exec unshare --mount --propagation private -- "$0" --inside "$@"
fi
shift
root=$BUILD/root-$1
shift
[ -d "$root/usr" ] || die "${root#"$TOP/"} is missing; run the set-up first"

mkdir -p "$root/bailey"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount --bind "$TOP" "$root/bailey"
# The host's resolver may change between runs (and may be a symlink).
cat /etc/resolv.conf >"$root/etc/resolv.conf" 2>/dev/null || true

# Whom the host trusts, cargo trusts: a network may have an authority of its own.
authorities=()
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    : >"$root/run/authorities.crt"
    mount --bind "$(realpath /etc/ssl/certs/ca-certificates.crt)" "$root/run/authorities.crt"
    authorities=(CARGO_HTTP_CAINFO=/run/authorities.crt)
fi

# A clean environment but for what a caller names in ENTER_ENV, the proxy and
# the terminal.
keep=()
for name in ${ENTER_ENV:-} http_proxy https_proxy no_proxy TERM; do
    [ -z "${!name+x}" ] || keep+=("$name=${!name}")
done
exec chroot "$root" env -i --chdir=/bailey \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    "${authorities[@]}" "${keep[@]}" "$@"
