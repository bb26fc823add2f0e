#!/usr/bin/env bash
# Compiles and lints lora-slim with the feature `cuda` where there is neither a GPU nor a CUDA toolkit: the compiler, headers and
# libraries come from NVIDIA's wheels on PyPI (1.2 GB on disk). Needs Python, g++ and several minutes; runs nothing on a GPU.
#
#   scripts/gpu/check_cuda.sh                # cargo clippy of everything, tests too
#   scripts/gpu/check_cuda.sh build --release --locked --features cuda    # any other command of cargo
set -euo pipefail
cd "$(dirname "$0")/../.."

toolkit=${CUDA_TOOLKIT:-${CARGO_TARGET_DIR:-target}/cuda-toolkit}
if [ ! -x "$toolkit/bin/python" ]; then
    python3 -m venv "$toolkit"
fi
# The meta package holds all parts to one version. Older compilers have no wheel.
"$toolkit/bin/python" -m pip install --quiet 'cuda-toolkit[nvcc,nvvm,crt,cccl,cudart,nvrtc,cublas,curand]==13.0.2'

CUDA_HOME=$("$toolkit/bin/python" -c 'import nvidia, os; print(os.path.join(nvidia.__path__[0], "cu13"))')
# Linkers look for names without a version.
for library in "$CUDA_HOME"/lib/lib*.so.*; do
    ln -sf "$(basename "$library")" "${library%%.so.*}.so"
done
export CUDA_HOME PATH="$CUDA_HOME/bin:$PATH"
# Without a GPU nothing else names its generation: 80 is Ampere.
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
# A folder of its own, so that candle is not built anew for the next command without the feature.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}

# Linking needs the driver's library, which comes with a driver only: a library of its name with the names that cudarc declares stands
# in for it. Where the program runs, the driver's own takes its place.
stubs="$toolkit/stubs"
if [ ! -e "$stubs/libcuda.so" ]; then
    mkdir -p "$stubs"
    cargo fetch --locked --quiet
    cat "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/cudarc-*/src/driver/sys/mod.rs | grep -oE '\bfn cu[A-Z][A-Za-z0-9_]*' \
        | sort -u | sed 's/fn \(.*\)/int \1(void) { return 999; }/' > "$stubs/cuda.c"
    cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so" "$stubs/cuda.c"
fi
export LIBRARY_PATH="$stubs${LIBRARY_PATH:+:$LIBRARY_PATH}"

if [ $# -gt 0 ]; then
    exec cargo "$@"
fi
cargo clippy --release --locked --features cuda --all-targets -- -D warnings
