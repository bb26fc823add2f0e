"""Write a large synthetic LoRA adapter, to time how fast lora-slim inspects, cuts and compares one.

Real adapters of this size are rarely at hand. This one has the names and shapes of an adapter for
all seven projections of Llama-3.1-8B, in f32, with the rank that comes nearest to the asked size.
Its values are small random numbers, the same in every run: it loads, but it has learned nothing.

    python scripts/make_large_adapter.py OUT [--gib 1]

Made with numpy 2.4, the only package it needs: tensors are written one after the other, so that
the memory needed does not grow with the file.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LAYERS, HIDDEN, KEY_VALUE, INTERMEDIATE = 32, 4096, 1024, 14336  # Llama-3.1-8B
MODULES = {  # name: (inputs, outputs)
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, KEY_VALUE),
    "self_attn.v_proj": (HIDDEN, KEY_VALUE),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, INTERMEDIATE),
    "mlp.up_proj": (HIDDEN, INTERMEDIATE),
    "mlp.down_proj": (INTERMEDIATE, HIDDEN),
}
BYTES_PER_RANK = 4 * LAYERS * sum(inputs + outputs for inputs, outputs in MODULES.values())
SPREAD = 0.01  # standard deviation of the values
SEED = 0


def rank_for(gib: float) -> int:
    rank = round(gib * 2**30 / BYTES_PER_RANK) if math.isfinite(gib) else 0
    if not 1 <= rank <= HIDDEN:
        smallest, largest = BYTES_PER_RANK / 2**30, HIDDEN * BYTES_PER_RANK / 2**30
        raise ValueError(f"--gib must be between {smallest:.2g} and {largest:.0f}, but it is {gib}")
    return rank


def shapes(rank: int) -> Iterator[tuple[str, tuple[int, int]]]:
    for layer in range(LAYERS):
        for module, (inputs, outputs) in MODULES.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            yield f"{prefix}.lora_A.weight", (rank, inputs)
            yield f"{prefix}.lora_B.weight", (outputs, rank)


def header(rank: int) -> bytes:
    """The head of a safetensors file: its length as u64, then JSON that says where each tensor lies."""
    entries: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes(rank):
        start, end = end, end + 4 * math.prod(shape)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers map the file and want the tensors aligned
    return len(text).to_bytes(8, "little") + text


def write_weights(path: Path, rank: int) -> None:
    generator = np.random.default_rng(SEED)
    with path.open("wb") as file:
        file.write(header(rank))
        for _, shape in shapes(rank):
            values = generator.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD)
            file.write(values.astype("<f4", copy=False))


def adapter_config(rank: int) -> dict:
    return {
        "base_model_name_or_path": "meta-llama/Llama-3.1-8B",
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted(module.split(".")[-1] for module in MODULES),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def make(out: Path, gib: float) -> None:
    rank = rank_for(gib)
    out.mkdir(parents=True, exist_ok=True)
    weights = out / "adapter_model.safetensors"
    write_weights(weights, rank)
    (out / "adapter_config.json").write_text(json.dumps(adapter_config(rank), indent=2) + "\n")
    print(f"{weights}: rank {rank}, {weights.stat().st_size / 2**30:.3f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a large synthetic LoRA adapter.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--gib", type=float, default=1.0, help="size of its tensors (default: %(default)s)")
    args = parser.parse_args()
    try:
        make(args.out, args.gib)
    except (OSError, ValueError) as error:
        sys.exit(f"make_large_adapter.py: {error}")


if __name__ == "__main__":
    main()
