#!/usr/bin/env bash
# Everything from nothing: builds lora-slim, fetches a real base model (90 MB) and slims a real adapter with it.
# Without a network it does the same with the pico model of fixtures/.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked
if base=$(python3 scripts/fixtures/fetch_base.py --out models | tail -n 1) && [ -f "$base" ]; then
    adapter=fixtures/smol-overfit/adapter samples=fixtures/smol-overfit/val.jsonl
    options=(--chat --max-samples 32)
else
    echo "no base model could be fetched; using the pico model instead" >&2
    base=fixtures/pico/llama-llama3-rope/base
    adapter=fixtures/pico/llama-llama3-rope/adapter samples=fixtures/pico/samples.tokens.jsonl
    options=()
fi

set -x
target/release/lora-slim slim "$adapter" --base "$base" --samples "$samples" "${options[@]}" \
    --choose best -o out/slimmed --force
target/release/lora-slim verify "$adapter" out/slimmed
