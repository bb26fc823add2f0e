#!/usr/bin/env bash
# Builds lora-slim, fetches a real base model (98 MB), slims a real adapter and verifies the result in out/slimmed.
# Without a network it takes the pico model of fixtures/ instead.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked
lora_slim=${CARGO_TARGET_DIR:-target}/release/lora-slim
if base=$(python3 scripts/fixtures/fetch_base.py --out models | tail -n 1) && [ -f "$base" ]; then
    adapter=fixtures/smol-names/adapter samples=fixtures/smol-names/val.jsonl
    options=(--chat --search subset)
else
    echo "the base model could not be fetched; using the pico model instead" >&2
    base=fixtures/pico/llama-llama3-rope/base
    adapter=fixtures/pico/llama-llama3-rope/adapter samples=fixtures/pico/samples.tokens.jsonl
    options=(--boundary 3) # random weights: by its loss, no boundary would be worth it
fi

set -x
"$lora_slim" slim "$adapter" --base "$base" --samples "$samples" "${options[@]}" -o out/slimmed --force
"$lora_slim" verify "$adapter" out/slimmed --any-layers
