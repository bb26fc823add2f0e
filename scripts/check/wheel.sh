#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh virtual environment without Rust on its path, and runs python/tests against it.
#
#     scripts/check/wheel.sh [WHEEL]
#
# With WHEEL, that one is tested and none is built. Packages of the tests come from PyPI: pytest, NumPy, tqdm, matplotlib and, with
# EXTRA_PACKAGES, others (`EXTRA_PACKAGES="datasets pandas"`). CARGO_FLAGS go to maturin.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
python3 -m venv "$folder/build"
wheel=${1:-}
if [ -z "$wheel" ]; then
    "$folder/build/bin/pip" install --quiet 'maturin>=1.9.4,<2'
    # shellcheck disable=SC2086
    "$folder/build/bin/maturin" build --release --locked --manifest-path python/Cargo.toml --out "$folder" ${CARGO_FLAGS:-}
    wheel=$(ls "$folder"/*.whl)
fi
ls -l "$wheel"
python3 -m venv "$folder/venv"
# shellcheck disable=SC2086
"$folder/venv/bin/pip" install --quiet "$wheel" pytest numpy tqdm matplotlib ${EXTRA_PACKAGES:-}
"$folder/venv/bin/python" -m pytest -q -p no:cacheprovider python/tests
