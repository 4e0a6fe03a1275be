#!/bin/bash
# initrd.sh NAME RELEASE [bochs]: makes build/vm-NAME/initrd (initrd-bochs) inside
# the trixie chroot: busybox, init, guest.c, and the few modules that reach the
# root disk.
set -euo pipefail
vm=/bailey/build/vm-$1 release=$2
modules=/bailey/build/kernel-$2/image/usr

# Their dependencies follow. Of bochs' hardware the kernel knows the IDE disks.
case ${3:-} in
'') initrd=$vm/initrd BOOT_MODULES="virtio_blk virtio_pci erofs overlay" ;;
bochs) initrd=$vm/initrd-bochs BOOT_MODULES="ata_piix sd_mod erofs overlay" ;;
*) echo "initrd.sh: $3: bochs or nothing" >&2 && exit 1 ;;
esac
ram=$vm/stage-${initrd##*/}

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
(cd "$ram" && find . | cpio --quiet -o -H newc) >"$initrd.new"
mv "$initrd.new" "$initrd"
rm -rf "$ram"
