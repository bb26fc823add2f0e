"""Write a large synthetic adapter or base model with the shapes of Llama-3.1-8B, to time lora-slim on.

    python scripts/bench/large.py adapter OUT [--gib 1]
    python scripts/bench/large.py base OUT [--layers 32] [--samples 4] [--tokens 32]
    lora-slim scan ADAPTER --base BASE --samples BASE/samples.tokens.jsonl

The adapter is in f32, for all seven projections, with the rank that comes nearest to the size. The base model has 16 GB
of bf16 weights in shards, to show that a sweep needs one layer in memory and not the model; each of its tensors repeats
one block of random numbers, so that losses mean nothing, but no norm or score overflows. Both are the same in every
run. numpy is the only package needed: tensors are written one after the other, so that the memory does not grow with
the file.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

LAYERS, HIDDEN, KEY_VALUE, INTERMEDIATE, VOCABULARY = 32, 4096, 1024, 14336, 128_256
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
ADAPTER_SPREAD, BASE_SPREAD = 0.01, 0.02  # standard deviations
BLOCK = 1 << 22  # random values of the base model

Shapes = dict[str, tuple[int, ...]]


def write_safetensors(
    path: Path, dtype: str, size: int, shapes: Shapes, values: Callable[[tuple[int, ...]], list]
) -> None:
    """Write tensors of `size` bytes a value; `values` gives the arrays that a tensor consists of."""
    entries: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + size * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # readers map the file and want the tensors aligned
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shape in shapes.values():
            file.writelines(values(shape))


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def rank_for(gib: float) -> int:
    rank = round(gib * 2**30 / BYTES_PER_RANK) if math.isfinite(gib) else 0
    if not 1 <= rank <= HIDDEN:
        smallest, largest = BYTES_PER_RANK / 2**30, HIDDEN * BYTES_PER_RANK / 2**30
        raise ValueError(f"--gib must be between {smallest:.2g} and {largest:.0f}, but it is {gib}")
    return rank


def write_adapter(out: Path, gib: float) -> None:
    rank, random, shapes = rank_for(gib), np.random.default_rng(0), {}
    for layer in range(LAYERS):
        for module, (inputs, outputs) in MODULES.items():
            prefix = f"base_model.model.model.layers.{layer}.{module}"
            shapes |= {f"{prefix}.lora_A.weight": (rank, inputs), f"{prefix}.lora_B.weight": (outputs, rank)}

    def values(shape: tuple[int, ...]) -> list[np.ndarray]:
        return [
            (random.standard_normal(shape, dtype=np.float32) * np.float32(ADAPTER_SPREAD)).astype("<f4", copy=False)
        ]

    weights = out / "adapter_model.safetensors"
    write_safetensors(weights, "F32", 4, shapes, values)
    config = {
        "base_model_name_or_path": "meta-llama/Llama-3.1-8B",
        "inference_mode": True,
        "lora_alpha": 2 * rank,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": sorted(module.split(".")[-1] for module in MODULES),
        "task_type": "CAUSAL_LM",
    }
    write_json(out / "adapter_config.json", config)
    print(f"{weights}: rank {rank}, {weights.stat().st_size / 2**30:.3f} GiB")


def bf16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def base_files(layers: int) -> list[Shapes]:
    """The tensors of every file: embedding, norm and head, then each layer."""
    vocabulary = (VOCABULARY, HIDDEN)
    files = [{"model.embed_tokens.weight": vocabulary, "model.norm.weight": (HIDDEN,), "lm_head.weight": vocabulary}]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        norms = {f"{prefix}.{norm}.weight": (HIDDEN,) for norm in ("input_layernorm", "post_attention_layernorm")}
        linears = {f"{prefix}.{name}.weight": (outputs, inputs) for name, (inputs, outputs) in MODULES.items()}
        files.append(norms | linears)
    return files


def write_base(out: Path, layers: int, samples: int, tokens: int) -> None:
    random = np.random.default_rng(0)
    block = bf16(random.standard_normal(BLOCK) * BASE_SPREAD)

    def values(shape: tuple[int, ...]) -> list[np.ndarray]:
        count = math.prod(shape)
        if len(shape) == 1:
            return [bf16(np.ones(count))]
        return [block[: min(BLOCK, count - start)] for start in range(0, count, BLOCK)]

    files, weight_map = base_files(layers), {}
    for number, shapes in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        write_safetensors(out / name, "BF16", 2, shapes, values)
        weight_map |= dict.fromkeys(shapes, name)
    write_json(out / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    config = {
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "vocab_size": VOCABULARY,
        "num_hidden_layers": layers,
        "num_attention_heads": 32,
        "num_key_value_heads": KEY_VALUE // 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    }
    write_json(out / "config.json", config)
    with (out / "samples.tokens.jsonl").open("w") as file:
        for _ in range(samples):
            ids = random.integers(0, VOCABULARY, tokens).tolist()
            file.write(json.dumps({"input_ids": ids, "labels": [-100] * (tokens // 2) + ids[tokens // 2 :]}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["adapter", "base"])
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--gib", type=float, default=1.0, help="size of the adapter's tensors (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=LAYERS, help="of the base model (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=4, help="to write beside the base model (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=32, help="of each sample (default: %(default)s)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        if args.what == "adapter":
            write_adapter(args.out, args.gib)
        else:
            write_base(args.out, args.layers, args.samples, args.tokens)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
