#!/bin/bash
# image.sh NAME RELEASE: makes the disk of a kernel's guest in build/vm-NAME/, inside
# the trixie chroot:
#
#   vmlinuz      the archive's kernel
#   tools.erofs  the guest's tools with the libraries they need, and the
#                kernel's modules; read-only, mapped, nothing of it is unpacked
#                at boot
set -euo pipefail
release=$2
vm=/bailey/build/vm-$1 image=/bailey/build/kernel-$2/image
stage=$vm/stage-tools

# Whole packages, without their documents; libraries follow by themselves.
PACKAGES="base-files base-passwd bash bpftool bpftrace coreutils dash diffutils ethtool findutils
    grep iproute2 iputils-ping kmod libc-bin libmemcached-tools login mawk memcached
    mount ncurses-base ncurses-bin netbase netcat-openbsd passwd procps sed strace tar
    tcpdump util-linux xdp-tools busybox-static hostname gzip libbpf1 libelf1t64
    libxdp1 zlib1g"

rm -rf "$stage"
mkdir -p "$stage/root" "$vm"
cp "$image/usr/lib/modules/$release/vmlinuz" "$vm/vmlinuz"

root=$stage/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,files,script,root,mnt,var/run,var/tmp,etc}
mkdir -p "$root"/usr/{bin,sbin,lib,lib64,lib/modules}
for d in bin sbin lib lib64; do
    ln -s "usr/$d" "$root/$d"
done

# The files of the packages. dpkg lists some by their old path (/bin/x); a path
# through the chroot's links is made plain first.
for p in $PACKAGES; do
    dpkg -L "$p" 2>/dev/null || dpkg -L "$p:amd64" 2>/dev/null || echo "no package $p" >&2
done | grep -vE '^/usr/share/(doc|man|locale|bash-completion|lintian|bug|info|zsh)(/|$)' |
    while read -r f; do
        if [ -f "$f" ] || [ -L "$f" ] && [ ! -d "$f" ]; then
            printf '%s/%s\n' "$(realpath "$(dirname "$f")")" "$(basename "$f")"
        fi
    done | sort -u >"$stage/files"
{
    # Alternatives (awk, nc ...) are links that no package lists.
    find /etc/alternatives /usr/bin /usr/sbin -maxdepth 1 -type l -lname '/etc/alternatives/*'
    find /etc/alternatives -maxdepth 1 -type l
    # A newer one beside this suite's (setup.sh).
    echo /opt/forky/usr/sbin/xdp-bench
} >>"$stage/files"

# Libraries: what the loader would take for every program in the list.
while read -r f; do
    if [ -f "$f" ] && [ -x "$f" ] && head -c 4 "$f" | grep -q ELF; then
        # A static program is not an error.
        { ldd "$f" 2>/dev/null || true; } |
            awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\/.*ld-linux/ { print $1 }'
    fi
done <"$stage/files" | sort -u |
    while read -r f; do
        printf '%s/%s\n' "$(realpath "$(dirname "$f")")" "$(basename "$f")"
        realpath "$f"
    done | sort -u >"$stage/libraries"
cat "$stage/files" "$stage/libraries" | sort -u | rsync -a --files-from=- / "$root/"

# base-files and base-passwd make these when they are configured.
cp /etc/{passwd,group,shadow,nsswitch.conf,protocols,services} "$root/etc/" 2>/dev/null || true
cp -a /etc/ld.so.conf* "$root/etc/"
echo bailey >"$root/etc/hostname"
printf '127.0.0.1 localhost bailey\n' >"$root/etc/hosts"
rm -f "$root/etc/mtab"
ln -s /proc/mounts "$root/etc/mtab"
printf 'PS1="guest \\w # "\n' >"$root/root/.bashrc"
printf '. /root/.bashrc\n' >"$root/root/.profile"
ldconfig -r "$root"

# The kernel's modules, with config and System.map where bpftool and others
# look for them.
rsync -a --exclude=/*/vmlinuz "$image/usr/lib/modules/$release" "$root/usr/lib/modules/"
mkdir -p "$root/boot"
ln -s "/lib/modules/$release/config" "$root/boot/config-$release"
ln -s "/lib/modules/$release/System.map" "$root/boot/System.map-$release"

# Not compressed: the guest reads only what it uses, and TCG unpacks slowly.
mkfs.erofs -x-1 "$vm/tools.erofs.new" "$root" >/dev/null
mv "$vm/tools.erofs.new" "$vm/tools.erofs"

rm -rf "$stage"
ls -l "$vm"
