#!/bin/bash
# selftests.sh: compiles the guest tests' programs into build/selftests/, which
# a guest gets as /files: every selftests/progs/*.bpf.c as <name>.bpf.o, every
# selftests/*.c as <name>, selftests/guest/ as guest/, selftests/bench/ as bench/,
# and the demo's network as demo/network.sh.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

# The types are the default kernel's; CO-RE fits the programs to the other.
name=trixie
"$TOP/scripts/setup.sh" vm "$name"
release=$(kernel_release "$name")
out=$BUILD/selftests
mkdir -p "$out/guest"
exec 8>"$out/.lock"
flock 8

header=build/kernel-$release/include/vmlinux.h
if [ ! -s "$TOP/$header" ]; then
    mkdir -p "$TOP/${header%/*}"
    in_root trixie /bailey/scripts/vmlinux.sh \
        "build/kernel-$release/image/usr/lib/modules/$release/vmlinuz" "$header"
fi
in_root trixie make -s -f scripts/selftests.mk -j2 "VMLINUX_H=$header" all
# The kfuncs that the module knows, allowed or refused, by name.
sed '/mod tests/q' "$TOP/src/pure/catalog/kfuncs.rs" | grep -oE '"[a-z_][a-z0-9_]*"' |
    tr -d '"' >"$out/kfuncs.list"
echo bpf_throw >>"$out/kfuncs.list"
[ ! -d "$TOP/selftests/guest" ] || cp -a "$TOP/selftests/guest/." "$out/guest/"
# The benchmark's traffic is the demo's, and one of the guest tests is a short benchmark.
mkdir -p "$out/bench" "$out/demo"
cp -a "$TOP"/selftests/bench/. "$out/bench/"
cp -a "$TOP/qemu/demo/network.sh" "$out/demo/"
