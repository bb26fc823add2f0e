#!/usr/bin/env bash
# Times `cut`, `inspect` and `verify` on a large adapter against a plain copy of the bytes that the cut keeps.
#
#     python scripts/bench/large.py adapter /tmp/large
#     scripts/bench/cut.sh /tmp/large [BOUNDARY] [RUNS]
#
# A copy is timed twice: as it is, and with the sync to disk without which `cut` never reports success. `cut` also
# takes the SHA-256 of its input. Needs GNU time.
set -euo pipefail
adapter=$(realpath "$1") boundary=${2:-16} runs=${3:-5}
binary=$(realpath "${CARGO_TARGET_DIR:-$(dirname "$0")/../../target}/release/lora-slim")
work=$(mktemp -d "$(dirname "$adapter")/bench-cut.XXXXXX")
trap 'rm -rf "$work"' EXIT

timed() { # name, command…
    local name=$1
    shift
    /usr/bin/time -f "$name %e s, %M KiB" "$@" > /dev/null
}

cat "$adapter"/* > /dev/null # every command finds its input in the page cache
"$binary" cut "$adapter" --boundary "$boundary" -o "$work/kept" > /dev/null
for _ in $(seq "$runs"); do
    timed "cut" "$binary" cut "$adapter" --boundary "$boundary" -o "$work/cut"
    timed "cp" cp -r "$work/kept" "$work/copy"
    rm -rf "$work/copy"
    timed "cp and sync" sh -c "cp -r '$work/kept' '$work/copy' && sync '$work'/copy/*"
    timed "sha256sum of the input" sha256sum "$adapter/adapter_model.safetensors"
    timed "inspect" "$binary" inspect "$adapter"
    timed "verify" "$binary" verify "$adapter" "$work/cut"
    rm -rf "$work/copy" "$work/cut"
done
