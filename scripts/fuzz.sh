#!/bin/bash
# fuzz.sh [--short]: coverage-guided fuzzing of the pure logic with libFuzzer, in the chroot.
# TIME=seconds of each target (60), TARGET="name name" (all), SEED=number; INPUT=file runs one
# input of one TARGET. What was interesting stays in build/fuzz/corpus, the next run begins
# with it. What is found is in build/fuzz/found; then the exit code is 1.
#
# --short: SHORT seconds of each target from its seeds alone, always with the same seed, then each
# target with a fault planted, which must be found. One line a test, as cargo prints them.
# shellcheck source=scripts/common.sh
. "$(dirname "$0")/common.sh"

SHORT=5
# A fault is found in far less; this is for a machine that does something else.
PLANTED=120

form=${1:-}
[ -z "$form" ] || [ "$form" = --short ] || die "usage: fuzz.sh [--short]"
all="audit decode image rewrite"
seconds=${TIME:-60} seed=${SEED:-0}
read -r -a targets <<<"${TARGET:-$all}"
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die "TIME=$seconds is no number of seconds"
[[ $seed =~ ^[0-9]+$ ]] || die "SEED=$seed is no number"
for target in "${targets[@]}"; do
    [[ " $all " = *" $target "* ]] || die "there is no TARGET $target; there are: $all"
done
if [ -n "${INPUT:-}" ]; then
    [ "$(wc -w <<<"${TARGET:-}")" = 1 ] || die "INPUT=$INPUT needs one TARGET"
    [ -f "$INPUT" ] || die "INPUT=$INPUT is no file"
fi

"$TOP/scripts/setup.sh" root "$KERNEL"
suite=$(kernel_field "$KERNEL" 2)
dir=$BUILD/fuzz log=$LOGS/fuzz.log
mkdir -p "$dir/found" "$LOGS"

# What cargo-fuzz would give the compiler, but for a sanitizer: the logic has no unsafe code.
flags="--cfg fuzzing -Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# Build scripts are for this machine, not for the fuzzer: with a target the flags are not theirs.
triple=x86_64-unknown-linux-gnu
in_cargo() {
    in_root "$suite" env CARGO_HOME=/bailey/build/cargo CARGO_BUILD_JOBS=2 "$@"
}
build() {
    # The seeds are a test's, which the host's tests have built already.
    in_cargo CARGO_TARGET_DIR=/bailey/build/host cargo test --locked -p bailey-fuzz --test seeds
    in_cargo CARGO_TARGET_DIR=/bailey/build/fuzz/target CXX=clang++ RUSTFLAGS="$flags" \
        cargo build --locked --profile fuzz --target "$triple" -p bailey-fuzz \
        --features libfuzzer --bins
}
printf 'bailey: building the fuzz targets ... ' >&2
start=$SECONDS
build >"$log" 2>&1 || {
    printf 'failed\n' >&2
    tail -n 30 "$log" >&2
    die "the fuzz targets do not build; the whole log is in ${log#"$TOP/"}"
}
printf '%d s\n' $((SECONDS - start)) >&2

# fuzz TARGET OPTION...: one run of libFuzzer.
fuzz() {
    local target=$1 longest
    shift
    case $target in
    audit) longest=256 ;;
    decode) longest=32 ;;
    image) longest=1024 ;;
    rewrite) longest=768 ;;
    esac
    in_root "$suite" env ${PLANT:+FUZZ_PLANTED=1} \
        "build/fuzz/target/$triple/fuzz/$target" -max_len=$longest -len_control=0 -timeout=20 \
        -print_final_stats=1 -dict="build/host/tmp/fuzz/$target/words" "$@"
}

# What libFuzzer counted, and where it stopped.
counts() {
    awk '/^stat::number_of_executed_units/ { n = $2 }
        / cov: / { for (i = 1; i < NF; i++) if ($i == "ft:") features = $(i + 1) }
        END { printf "%d inputs, %d features", n, features }' "$log"
}

# A panic, and what libFuzzer says of the input.
found() {
    grep -aE -A 3 "panicked at|ERROR: libFuzzer|SUMMARY" "$log" | head -n 20 | cut -c 1-400
}

if [ -n "${INPUT:-}" ]; then
    cp "$INPUT" "$dir/input"
    if fuzz "${targets[0]}" build/fuzz/input >"$log" 2>&1; then
        printf '%s: nothing is wrong with %s\n' "${targets[0]}" "$INPUT"
        exit 0
    fi
    found
    exit 1
fi

if [ "$form" = --short ]; then
    bad=0
    for target in "${targets[@]}"; do
        name="fuzzing finds nothing in $target" outcome=ok
        rm -rf "$dir/short"
        mkdir -p "$dir/short"
        fuzz "$target" -seed=1 -max_total_time="$SHORT" -artifact_prefix="build/fuzz/found/$target-" \
            build/fuzz/short "build/host/tmp/fuzz/$target/seeds" >"$log" 2>&1 || outcome=FAILED
        [ "$outcome" = ok ] || { found; bad=1; }
        printf 'test %s ... %s (%s)\n' "$name" "$outcome" "$(counts)"

        # 77 is libFuzzer's code for an input that ends the program.
        code=0 name="fuzzing finds a planted fault in $target" outcome=ok
        rm -rf "$dir/short"
        mkdir -p "$dir/short"
        PLANT=1 fuzz "$target" -seed=1 -max_total_time="$PLANTED" -artifact_prefix=build/fuzz/short/ \
            build/fuzz/short "build/host/tmp/fuzz/$target/seeds" >"$log" 2>&1 || code=$?
        [ "$code" = 77 ] || { outcome=FAILED bad=1; tail -n 5 "$log"; }
        printf 'test %s ... %s (%s)\n' "$name" "$outcome" "$(counts)"
    done
    exit "$bad"
fi

code=0
for target in "${targets[@]}"; do
    mkdir -p "$dir/corpus/$target"
    printf '%s: %d s ... ' "$target" "$seconds"
    if fuzz "$target" -seed="$seed" -max_total_time="$seconds" \
        -artifact_prefix="build/fuzz/found/$target-" "build/fuzz/corpus/$target" \
        "build/host/tmp/fuzz/$target/seeds" >"$log" 2>&1; then
        printf '%s, nothing found\n' "$(counts)"
        continue
    fi
    code=1
    input=$(sed -n 's/.*Test unit written to //p' "$log" | head -n 1)
    printf '%s, FAILED\n' "$(counts)"
    found
    [ -z "$input" ] || printf 'bailey: again with: make fuzz TARGET=%s INPUT=%s\n' "$target" "$input"
done
exit "$code"
