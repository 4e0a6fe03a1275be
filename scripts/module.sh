#!/bin/bash
# module.sh: builds bailey.ko for KERNEL into build/module-<release>[-breach]/,
# with Kbuild and the suite's own tool chain. MODULE=breach is the test-only
# build. Nothing is written into the source tree.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

case ${MODULE:-} in
'') flavour='' make_args=() ;;
breach) flavour=-breach make_args=(BAILEY_BREACH=1) ;;
*) die "MODULE=$MODULE: only breach is known" ;;
esac
[ -f "$TOP/Kbuild" ] || die "this tree has no Kbuild yet, so there is no module to build"
"$TOP/scripts/setup.sh" module "$KERNEL"

suite=$(kernel_field "$KERNEL" 2)
release=$(kernel_release "$KERNEL")
name=build/module-$release$flavour
mkdir -p "$TOP/$name/obj"
exec 8>"$TOP/$name/.lock"
flock 8
in_root "$suite" make -C "/bailey/build/kernel-$release/out" M=/bailey "MO=/bailey/$name/obj" \
    KERNELRELEASE="$release" "${make_args[@]}" -j2 modules
# Without DWARF; the symbols that ksym and ftrace need stay.
in_root "$suite" strip --strip-debug -o "/bailey/$name/bailey.ko.new" "/bailey/$name/obj/bailey.ko"
mv "$TOP/$name/bailey.ko.new" "$TOP/$name/bailey.ko"
printf 'bailey: %s/bailey.ko for %s\n' "$name" "$release"
