#!/bin/bash
# setup.sh GOAL KERNEL: bring the machine to the point where GOAL works for
# KERNEL. Goals: root (the chroot with tools), vm (a bootable guest), bochs (the
# same guest for the second emulator), module (a kernel tree to build against).
# Quick and silent when nothing is to do.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

goal=${1:?goal} name=${2:-$KERNEL}
suite=$(kernel_field "$name" 2)

# QEMU and the guest's tools come from here, whatever the kernel.
HOME_SUITE=trixie

BUILD_PACKAGES="gcc libc6-dev make bc bison flex libssl-dev libelf-dev libdw-dev zlib1g-dev
    python3 kmod cpio zstd xz-utils rsync pahole dwarves lld llvm clang libclang-dev
    rustc cargo rust-src rustfmt rust-clippy bindgen"
GUEST_PACKAGES="qemu-system-x86 debootstrap erofs-utils busybox-static
    iproute2 ethtool bpftool iputils-ping memcached libmemcached-tools xdp-tools bpftrace
    procps netcat-openbsd tcpdump strace libbpf-dev shellcheck"
# The terminal's front end is the smallest that satisfies bochs; none is used.
BOCHS_PACKAGES="bochs bochs-term bochsbios vgabios grub-common grub-pc-bin xorriso mtools"

# What tells the injection campaign an instruction's operands (qemu/campaign.py).
DECODER_PACKAGES="python3-capstone"

# The suite after HOME_SUITE, for a tool that has to be newer.
NEXT_SUITE=forky

host_is_fit() {
    [ "$(uname -m)" = x86_64 ] || die "this needs an x86_64 machine, not $(uname -m)"
    [ "$(id -u)" = 0 ] || die "root is needed (debootstrap, chroot)"
    local id version free
    # shellcheck source=/dev/null
    id=$(. /etc/os-release 2>/dev/null && printf '%s' "${ID:-}")
    # shellcheck source=/dev/null
    version=$(. /etc/os-release 2>/dev/null && printf '%s' "${VERSION_ID:-}")
    case $id-$version in
    debian-12 | debian-13) ;;
    *) die "this needs Debian 12 or 13, not ${id:-an unknown system} ${version}" ;;
    esac
    unshare --mount true 2>/dev/null || die "no mount namespaces here (a container without privileges?)"
    if [ ! -e "$STAMPS/complete" ]; then
        free=$(df -Pk "$BUILD" | awk 'NR == 2 { print int($4 / 1048576) }')
        [ "$free" -ge "$NEED_GB" ] || die "only $free GB free for $BUILD, about $NEED_GB GB are needed"
    fi
}

host_packages() {
    command -v debootstrap && [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] && return
    apt-get update || true # other sources of this machine may be broken
    apt-get install -y --no-install-recommends debootstrap debian-archive-keyring
}

# The base system. $1 suite, $2 mirror
root_base() {
    local root=$BUILD/root-$1
    rm -rf "$root.new" "$root"
    if [ "$1" = "$HOME_SUITE" ]; then
        # Debian 12's debootstrap knows trixie; if not, sid's script fits.
        debootstrap --variant=minbase --include=ca-certificates "$1" "$root.new" "$2" ||
            { tail -n 20 "$root.new/debootstrap/debootstrap.log"; return 1; }
    else
        # The trixie root's debootstrap is the same on every host, and knows
        # the suites after it.
        in_root "$HOME_SUITE" debootstrap --variant=minbase --include=ca-certificates \
            "$1" "/bailey/build/root-$1.new" "$2"
    fi
    # No service may start in a chroot.
    printf '#!/bin/sh\nexit 101\n' >"$root.new/usr/sbin/policy-rc.d"
    chmod +x "$root.new/usr/sbin/policy-rc.d"
    printf 'path-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\nforce-unsafe-io\n' \
        >"$root.new/etc/dpkg/dpkg.cfg.d/bailey"
    # Mirrors that cache may be weeks behind the archive, past the date that a
    # suite's Release file names. The signature is checked all the same.
    printf 'Acquire::Check-Valid-Until "false";\nAcquire::Retries "3";\nAPT::Sandbox::User "root";\n' \
        >"$root.new/etc/apt/apt.conf.d/bailey"
    {
        printf 'deb %s %s main\n' "$2" "$1"
        if [ "$1" = trixie ]; then
            printf 'deb %s trixie-updates main\ndeb %s trixie-backports main\n' "$2" "$2"
        fi
    } >"$root.new/etc/apt/sources.list"
    mv "$root.new" "$root"
}

# $1 suite, rest: packages
root_packages() {
    local suite=$1
    shift
    in_root "$suite" apt-get update
    in_root "$suite" apt-get install -y --no-install-recommends "$@"
    in_root "$suite" apt-get clean
}

# in_archive SUITE PACKAGE (grep -q would end apt-cache by a broken pipe)
in_archive() {
    in_root "$1" apt-cache show "$2" 2>/dev/null | grep '^Filename:' >/dev/null
}

# Which release: the pinned one while the archive has it, else the newest of
# its series, else the newest. $1 kernel, $2 suite, $3 pinned, $4 series, $5 flavour
kernel_choice() {
    local all release why
    in_root "$2" apt-get update
    # A release counts when its headers and a bootable image are both there.
    all=$(in_root "$2" apt-cache pkgnames linux-headers- |
        sed -n "s/^linux-headers-\([0-9].*-$5\)\$/\1/p" | grep -v -- '-rt-' | sort -V |
        while read -r release; do
            if in_archive "$2" "linux-binary-$release" || in_archive "$2" "linux-image-$release"; then
                printf '%s\n' "$release"
            fi
        done)
    [ -n "$all" ] || { echo "the archive of $2 has no $5 kernel"; return 1; }
    if grep -qxF "$3" <<<"$all"; then
        release=$3 why="the pinned release"
    elif release=$(grep "^${4//./\\.}\\." <<<"$all" | tail -n 1) && [ -n "$release" ]; then
        why="the newest of series $4; the pinned $3 is gone"
    else
        release=$(tail -n 1 <<<"$all") why="the newest; series $4 is gone"
    fi
    printf '%s\n' "$why" >"$BUILD/kernel-$1.why"
    printf '%s\n' "$release" >"$BUILD/kernel-$1.release"
}

# The image as the archive has it, unpacked, not installed. $1 release, $2 suite
kernel_image() {
    local dir=$BUILD/kernel-$1/image p got=
    rm -rf "$dir"
    mkdir -p "$dir/deb"
    # Newer packaging has binary, modules and base; older has image alone.
    for p in linux-binary linux-modules linux-base linux-image; do
        if in_archive "$2" "$p-$1"; then
            in_root "$2" sh -c "cd /bailey/build/kernel-$1/image/deb &&
                apt-get download '$p-$1'"
            got=yes
        fi
    done
    [ -n "$got" ]
    for p in "$dir"/deb/*.deb; do
        dpkg -x "$p" "$dir"
    done
    rm -rf "$dir/deb"
    if [ -d "$dir/lib/modules" ] && [ ! -L "$dir/lib" ]; then
        mkdir -p "$dir/usr/lib"
        cp -a "$dir/lib/." "$dir/usr/lib/"
        rm -rf "${dir:?}/lib"
    fi
    # One place for both packagings.
    local from=$dir/usr/lib/modules/$1 f
    for f in vmlinuz config System.map; do
        if [ ! -s "$from/$f" ] && [ -s "$dir/boot/$f-$1" ]; then
            cp "$dir/boot/$f-$1" "$from/$f"
        fi
    done
    [ -s "$from/vmlinuz" ] && [ -s "$from/config" ]
    # Unpacked modules load much faster in an emulated CPU.
    in_root "$HOME_SUITE" sh -c "cd '/bailey/build/kernel-$1/image/usr' &&
        find . -name '*.ko.xz' -print0 | xargs -0 -r -n 64 xz -d && depmod -b . '$1'"
}

# Source and headers packages of exactly this release. $1 release, $2 suite
kernel_packages() {
    local version series
    version=$(in_root "$2" apt-cache show "linux-headers-$1" | sed -n 's/^Version: //p' | head -n 1)
    series=$(cut -d. -f1,2 <<<"$1")
    in_root "$2" apt-get install -y --no-install-recommends \
        "linux-headers-$1" "linux-source-$series=$version"
    in_root "$2" apt-get clean
}

# A tree that out-of-tree Rust modules build against: the image's source and
# config, prepared, with the stock kernel's Module.symvers. The headers package
# alone carries no Rust metadata. $1 release, $2 suite
kernel_tree() {
    local dir=$BUILD/kernel-$1 series
    series=$(cut -d. -f1,2 <<<"$1")
    rm -rf "$dir/source" "$dir/out"
    mkdir -p "$dir/source" "$dir/out"
    in_root "$2" tar -C "/bailey/build/kernel-$1/source" --strip-components=1 \
        -xf "/usr/src/linux-source-$series.tar.xz"
    cp "$dir/image/usr/lib/modules/$1/config" "$dir/out/.config"
    in_root "$2" make -C "/bailey/build/kernel-$1/source" O="/bailey/build/kernel-$1/out" \
        KERNELRELEASE="$1" olddefconfig
    # What olddefconfig drops silently must not be Rust.
    grep -q '^CONFIG_RUST=y' "$dir/out/.config" ||
        { echo "CONFIG_RUST got lost: the tool chain of $2 does not fit $1"; return 1; }
    in_root "$2" make -C "/bailey/build/kernel-$1/source" O="/bailey/build/kernel-$1/out" \
        KERNELRELEASE="$1" -j2 prepare modules_prepare
    cp "$BUILD/root-$2/usr/src/linux-headers-$1/Module.symvers" "$dir/out/Module.symvers"
}

# xdp-tools of the next suite, unpacked beside this suite's, whose xdp-bench
# wants a tracepoint that Linux 7.2 has no more (xdp_redirect_map). The libraries
# are this suite's. apt gets folders of its own, so that nothing else of that
# suite can be installed. $1 suite, $2 mirror
next_xdp_tools() {
    # shellcheck disable=SC2016 # expanded inside
    in_root "$HOME_SUITE" sh -ec '
        dir=/var/lib/bailey-$1
        rm -rf "$dir" "/opt/$1"
        mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "/opt/$1"
        echo "deb $2 $1 main" >"$dir/sources.list"
        apt() {
            apt-get -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- \
                -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache" "$@"
        }
        apt update
        cd "$dir"
        apt download xdp-tools
        dpkg -x xdp-tools_*.deb "/opt/$1"
        rm -rf "$dir"' sh "$1" "$2"
}

# The guest's disk: tools and modules. $1 kernel, $2 release
guest_image() {
    in_root "$HOME_SUITE" /bailey/qemu/image.sh "$1" "$2"
}

# The guest's initramfs. $1 kernel, $2 release
guest_initrd() {
    in_root "$HOME_SUITE" /bailey/qemu/initrd.sh "$1" "$2"
}

# bochs and what makes its boot image. The suite's other packages stay.
bochs_packages() {
    root_packages "$HOME_SUITE" "$@"
}

# The campaign's decoder. A step of its own, so that who has the rest need not
# install it again.
decoder_packages() {
    root_packages "$HOME_SUITE" "$@"
}

# The initramfs for bochs: other drivers reach the disks. $1 kernel, $2 release
bochs_initrd() {
    in_root "$HOME_SUITE" /bailey/qemu/initrd.sh "$1" "$2" bochs
}

mkdir -p "$BUILD" "$STAMPS"
host_is_fit

plan "debootstrap on this machine" host_packages
plan "base system, $HOME_SUITE" root_base "$HOME_SUITE" "$DEBIAN_MIRROR"
# shellcheck disable=SC2086
plan "tool chain, QEMU and guest packages, $HOME_SUITE" root_packages "$HOME_SUITE" $BUILD_PACKAGES $GUEST_PACKAGES
plan "decoder for the campaign" decoder_packages "$DECODER_PACKAGES"
plan "xdp-bench, $NEXT_SUITE" next_xdp_tools "$NEXT_SUITE" "$DEBIAN_MIRROR"
if [ "$suite" != "$HOME_SUITE" ]; then
    plan "base system, $suite" root_base "$suite" "$DEBIAN_MIRROR"
    # shellcheck disable=SC2086
    plan "tool chain, $suite" root_packages "$suite" $BUILD_PACKAGES
fi
if [ "$goal" != root ]; then
    was=$(cat "$BUILD/kernel-$name.release" 2>/dev/null || true)
    # shellcheck disable=SC2046
    plan "choosing the kernel for $name" kernel_choice "$name" "$suite" $(kernel_field "$name" 3) \
        $(kernel_field "$name" 4) $(kernel_field "$name" 5)
    # The steps after this one need to know the release: two or three of them.
    LATER=3
    run_plan
    release=$(kernel_release "$name")
    [ "$was" = "$release" ] || printf 'bailey: kernel %s: %s\n' "$release" "$(cat "$BUILD/kernel-$name.why")" >&2
    plan "kernel image $release" kernel_image "$release" "$suite"
    case $goal in
    vm | bochs)
        ram=$(cat "$TOP"/qemu/{initrd.sh,init,guest.c} | sha256sum)
        plan "guest image, $name" guest_image "$name" "$release" \
            "$(sha256sum <"$TOP/qemu/image.sh")"
        if [ "$goal" = bochs ]; then
            # shellcheck disable=SC2086
            plan "bochs and boot image tools" bochs_packages $BOCHS_PACKAGES
            plan "guest initramfs for bochs, $name" bochs_initrd "$name" "$release" "$ram"
        else
            plan "guest initramfs, $name" guest_initrd "$name" "$release" "$ram"
        fi
        ;;
    module)
        plan "kernel source and headers $release" kernel_packages "$release" "$suite"
        plan "kernel tree $release (prepare)" kernel_tree "$release" "$suite"
        ;;
    *) die "unknown goal $goal" ;;
    esac
fi
run_plan
