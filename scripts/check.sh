#!/bin/bash
# check.sh: the checks that need no running: rustfmt, clippy over the pure logic
# and over the module as Kbuild builds it, C and BPF with warnings denied,
# scripts by shellcheck, and the test of the splat lists. Prints KTAP.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=scripts/results.sh
. "$TOP/scripts/results.sh"
"$TOP/scripts/setup.sh" module "$KERNEL"
suite=$(kernel_field "$KERNEL" 2)
release=$(kernel_release "$KERNEL")
results_begin check

# check NAME COMMAND...: one line of KTAP; the output only when it fails.
n=0
check() {
    local name=$1 log=$LOGS/check.log
    n=$((n + 1))
    shift
    if "$@" >"$log" 2>&1 </dev/null; then
        printf 'ok %d %s\n' "$n" "$name"
        result pass "check: $name"
    else
        printf 'not ok %d %s\n' "$n" "$name"
        tail -n 60 "$log" | sed 's/^/# /'
        result fail "check: $name"
    fi
}

no_host_paths() {
    ! git -C "$TOP" grep -nIE '(^|[^a-zA-Z0-9_./-])/(work|home)/' -- . ':!scripts/check.sh'
}

shell_scripts() {
    cd "$TOP"
    local files=(.ci/run scripts/*.sh qemu/*.sh) f
    for f in qemu/demo/*.sh selftests/guest/*.sh selftests/bench/*.sh selftests/*.sh; do
        [ ! -f "$f" ] || files+=("$f")
    done
    in_root trixie shellcheck -x -P SCRIPTDIR -P scripts "${files[@]}"
    # busybox's shell is close to dash's.
    in_root trixie shellcheck -s dash qemu/init
}

host_env=(CARGO_HOME=/bailey/build/cargo CARGO_TARGET_DIR=/bailey/build/host-check)

rust_format() {
    cd "$TOP"
    local files
    mapfile -t files < <(find src selftests -name '*.rs')
    [ ${#files[@]} = 0 ] || in_root "$suite" rustfmt --edition 2021 --check "${files[@]}"
}

host_clippy() {
    # Nothing is linked here, so libFuzzer need not be compiled.
    in_root "$suite" env "${host_env[@]}" CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a cargo clippy \
        --workspace --all-targets --features bailey-native/bench,bailey-fuzz/libfuzzer -- -D warnings
}

# The module once more, with clippy as the compiler and every warning an error.
module_clippy() {
    local out=build/check-$release
    mkdir -p "$TOP/$out"
    in_root "$suite" make -C "/bailey/build/kernel-$release/out" M=/bailey "MO=/bailey/$out" \
        KERNELRELEASE="$release" CLIPPY=1 KCFLAGS=-Werror KRUSTFLAGS=-Dwarnings -j2 modules
}

check "shell scripts pass shellcheck" shell_scripts
check "Python scripts compile" in_root trixie python3 -c \
    'import ast,sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' qemu/{run,bochs,debugger,decode,stops,campaign}.py scripts/report.py
check "the benchmark's model counts its examples right" in_root trixie python3 -m doctest scripts/report.py
check "the splat lists judge their cases right" "$TOP/scripts/splats.sh" --test
check "no path of the author's machine is in the tree" no_host_paths
check "C and BPF tests compile without a warning" "$TOP/scripts/selftests.sh"
check "Rust is formatted" rust_format
if [ -f "$TOP/Cargo.toml" ]; then
    check "clippy finds nothing in the pure logic" host_clippy
fi
if [ -f "$TOP/Kbuild" ]; then
    check "clippy and gcc find nothing in the module" module_clippy
fi
printf '1..%d\n' "$n"
results_count "$RESULTS"
