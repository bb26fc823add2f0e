"""Write fixtures/ranks.json: singular values of LoRA modules, and what is lost by keeping fewer, from numpy.

    python scripts/rank_reference.py [--out fixtures/ranks.json]

For each module of the adapters below the dense matrix scaling * B @ A is formed in f64 and decomposed as it
is, without the QR that lora-slim takes first. Stored are its norm, its singular values, and for some ranks
the relative error of the truncated decomposition, measured on the difference of the two dense matrices.
Scalings come from PEFT, which builds the modules from the configuration.

Made with numpy 2.4.6, safetensors 0.8 and peft 0.21.2.
"""

import argparse
import json
import math
import re
from pathlib import Path

import numpy
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.numpy import load_file

ROOT = Path(__file__).parent.parent
# Adapters by their folder in fixtures, with the ranks to keep and a pattern of the modules to store.
ADAPTERS = {
    "smol-overfit/adapter": ([1, 4, 8, 15], r"layers\.(0|29)\."),
    "kinds/dora": ([1], ""),
    "kinds/lora-bias": ([1], ""),
    "kinds/lora-embed": ([1], ""),
    "kinds/rank-alpha-patterns": ([1], ""),
    "pico/llama-linear/adapter": ([1], r"layers\.0\."),  # rsLoRA
}
PARTS = [(".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")]


def scaling(config: LoraConfig, module: str) -> float:
    rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern, module), config.r)
    alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern, module), config.lora_alpha)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def error(delta: numpy.ndarray, parts: tuple, rank: int) -> float:
    u, s, vt = parts
    return float(numpy.linalg.norm(delta - (u[:, :rank] * s[:rank]) @ vt[:rank]) / numpy.linalg.norm(delta))


def modules(folder: Path, ranks: list[int], pattern: str) -> dict:
    config = LoraConfig.from_pretrained(folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    found = {}
    for name in sorted(tensors):
        for first, second in PARTS:
            module = name.removeprefix("base_model.model.").removesuffix(first)
            if not name.endswith(first) or not re.search(pattern, module):
                continue
            a, b = tensors[name].astype("f8"), tensors[name.removesuffix(first) + second].astype("f8")
            delta = scaling(config, module) * (b @ a)
            parts = numpy.linalg.svd(delta, full_matrices=False)
            found[module] = {
                "norm": float(numpy.linalg.norm(delta)),
                "values": [float(value) for value in parts[1][: len(a)]],
                "errors": {str(rank): error(delta, parts, rank) for rank in ranks if rank < len(a)},
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Write fixtures/ranks.json.")
    parser.add_argument("--out", type=Path, default=ROOT / "fixtures" / "ranks.json")
    arguments = parser.parse_args()
    reference = {"numpy": numpy.__version__, "adapters": {}}
    for name, (ranks, pattern) in ADAPTERS.items():
        reference["adapters"][name] = modules(ROOT / "fixtures" / name, ranks, pattern)
        print(f"{name}: {len(reference['adapters'][name])} modules")
    arguments.out.write_text(json.dumps(reference, indent=1) + "\n")


if __name__ == "__main__":
    main()
