#!/bin/bash
# initrd.sh NAME RELEASE: makes build/vm-NAME/initrd inside the trixie chroot:
# busybox, init, guest.c, and the few modules that reach the root disk.
set -euo pipefail
vm=/bailey/build/vm-$1 release=$2
modules=/bailey/build/kernel-$2/image/usr
ram=$vm/stage-initrd

# Their dependencies follow.
BOOT_MODULES="virtio_blk virtio_pci erofs overlay"

rm -rf "$ram"
mkdir -p "$ram"/{bin,dev,proc,sys,modules,tools,payload,top,root}
cp "$(command -v busybox)" "$ram/bin/busybox"
install -m 755 /bailey/qemu/init "$ram/init"
gcc -O2 -Wall -Wextra -Werror -static -s -o "$ram/bailey-guest" /bailey/qemu/guest.c
for m in $BOOT_MODULES; do
    modprobe -d "$modules" -S "$release" --show-depends "$m" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r ko; do
    cp "$ko" "$ram/modules/"
    basename "$ko" >>"$ram/modules/order"
done
(cd "$ram" && find . | cpio --quiet -o -H newc) >"$vm/initrd.new"
mv "$vm/initrd.new" "$vm/initrd"
rm -rf "$ram"
