#!/bin/bash
# vmlinux.sh VMLINUZ HEADER: writes the kernel's types as a C header, from the
# BTF inside the compressed image. Runs in the chroot.
set -euo pipefail
image=$1 header=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The payload follows the decompressor; try each format at each place where its
# magic number stands, until an ELF file comes out.
try() {
    local offset
    local -a offsets
    mapfile -t offsets < <(LC_ALL=C grep -aboP "$1" "$image" | cut -d: -f1)
    for offset in "${offsets[@]}"; do
        tail -c "+$((offset + 1))" "$image" | $2 >"$work/vmlinux" 2>/dev/null || true
        if [ "$(head -c 4 "$work/vmlinux")" = $'\x7fELF' ]; then
            return 0
        fi
    done
    return 1
}
try '\x28\xb5\x2f\xfd' 'zstd -dcq' || try '\xfd7zXZ\x00' 'xz -dc' || try '\x1f\x8b\x08' 'gzip -dc' ||
    try '\x02\x21\x4c\x18' 'lz4 -dc' || { echo "$image: no kernel found in it" >&2; exit 1; }
bpftool btf dump file "$work/vmlinux" format c >"$header.new"
mv "$header.new" "$header"
