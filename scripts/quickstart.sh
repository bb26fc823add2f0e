#!/usr/bin/env bash
# Fetches a real base model (98 MB), slims a real adapter and verifies the result in out/slimmed. Takes an installed lora-slim of this
# version, or else builds it, which needs Rust. Without a network it takes the pico model of fixtures/ instead.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
if [ "$(lora-slim --version 2>/dev/null)" = "lora-slim $version" ]; then
    lora_slim=lora-slim
elif command -v cargo >/dev/null; then
    cargo build --release --locked
    lora_slim=${CARGO_TARGET_DIR:-target}/release/lora-slim
else
    echo "neither lora-slim $version nor cargo is on the path: install one of them (see README.md)" >&2
    exit 1
fi
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
