"""Write a base model with the shape of Llama-3.1-8B and random bf16 weights, 16 GB in shards.

It shows that a sweep needs one layer in memory and not the model. The values of a tensor are one
block of random numbers, repeated: losses mean nothing, but no norm or score runs away.

    python scripts/make_large_base.py OUT [--layers 32]
    python scripts/make_large_adapter.py ADAPTER --gib 0.16
    lora-slim scan ADAPTER --base OUT --samples OUT/samples.tokens.jsonl

Made with numpy 2.4. OUT is not for the repository.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np

from make_large_adapter import HIDDEN, INTERMEDIATE, KEY_VALUE, MODULES

VOCABULARY = 128_256
SPREAD = 0.02
BLOCK = 1 << 22
SAMPLES, TOKENS = 4, 32


def shards(layers: int) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Name and shape of every tensor, file by file: the ends, then each layer."""
    ends = [
        ("model.embed_tokens.weight", (VOCABULARY, HIDDEN)),
        ("model.norm.weight", (HIDDEN,)),
        ("lm_head.weight", (VOCABULARY, HIDDEN)),
    ]
    files = [ends]
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        norms = [(f"{prefix}.{norm}.weight", (HIDDEN,)) for norm in ("input_layernorm", "post_attention_layernorm")]
        linears = [(f"{prefix}.{name}.weight", (outputs, inputs)) for name, (inputs, outputs) in MODULES.items()]
        files.append(norms + linears)
    return files


def bf16(values: np.ndarray) -> np.ndarray:
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write(path: Path, tensors: list[tuple[str, tuple[int, ...]]], block: np.ndarray) -> None:
    header, end = {}, 0
    for name, shape in tensors:
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape in tensors:
            count = math.prod(shape)
            if len(shape) == 1:
                file.write(bf16(np.ones(count)).tobytes())
                continue
            for start in range(0, count, BLOCK):
                file.write(block[: min(BLOCK, count - start)].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=32)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    block = bf16(random.standard_normal(BLOCK) * SPREAD)
    files = shards(args.layers)
    weight_map = {}
    for number, tensors in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        write(args.out / name, tensors, block)
        weight_map |= {tensor: name for tensor, _ in tensors}
    config = {
        "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY,
        "num_hidden_layers": args.layers, "num_attention_heads": 32, "num_key_value_heads": KEY_VALUE // 128,
        "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
        "tie_word_embeddings": False,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192},
    }
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    index = {"metadata": {}, "weight_map": weight_map}
    (args.out / "model.safetensors.index.json").write_text(json.dumps(index) + "\n")
    with (args.out / "samples.tokens.jsonl").open("w") as file:
        for _ in range(SAMPLES):
            ids = random.integers(0, VOCABULARY, TOKENS).tolist()
            file.write(json.dumps({"input_ids": ids, "labels": [-100] * (TOKENS // 2) + ids[TOKENS // 2:]}) + "\n")


if __name__ == "__main__":
    main()
