#!/usr/bin/env bash
# Checks lora-slim for ARM on any Linux machine, in an emulator: lints, the tests of the kernels, and the losses of the tiny models
# of fixtures/pico in f32 and on the bf16 unit; all that again, in f32, on a processor without the unit.
#
#     apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross     # Debian's names
#     rustup target add aarch64-unknown-linux-gnu
#     scripts/check/aarch64.sh
#
# It compiles everything once for ARM, with the cargo flags in CARGO_FLAGS. CORES are the emulated processors: one with FEAT_BF16,
# one without.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=aarch64-unknown-linux-gnu
libraries=${LIBRARIES:-/usr/aarch64-linux-gnu}
read -r with_unit without_unit <<<"${CORES:-max cortex-a72}"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}

cargo_for_target() {
    local command=$1
    shift
    # shellcheck disable=SC2086
    cargo "$command" --release --locked --target "$target" ${CARGO_FLAGS:-} "$@"
}

cargo_for_target clippy --all-targets -- -D warnings
for core in "$with_unit" "$without_unit"; do
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $core -L $libraries"
    cargo_for_target test --lib -- kernel
done
cargo_for_target build
program=${CARGO_TARGET_DIR:-target}/$target/release/lora-slim
check() {
    echo "$1, $2:"
    python3 scripts/check/emulated.py --precision "$2" "$program" qemu-aarch64 -cpu "$1" -L "$libraries"
}
check "$with_unit" f32
check "$with_unit" bf16x2
check "$without_unit" auto
