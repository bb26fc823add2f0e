"""The adapters for the runtimes: one real adapter, cut, and the same one written in ways that not every runtime reads.

All of them but `dora` compute the same as the cut one, so that the answers show whether a runtime ignores how they are
written.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
STRONGER = 8.0
Tensors = dict[str, np.ndarray]


def cut(binary: Path, adapter: Path, out: Path, *options: str | Path) -> dict:
    """Run `lora-slim cut`; its report."""
    subprocess.run([binary, "cut", adapter, "-o", out, "--quiet", *options], check=True, capture_output=True)
    return json.loads((out / "slim_report.json").read_text())


def rewritten(adapter: Path, out: Path, change: Callable[[dict, Tensors], tuple[dict, Tensors]]) -> Path:
    """A copy of an adapter with another configuration and other tensors."""
    config, tensors = change(json.loads((adapter / CONFIG).read_text()), load_file(adapter / TENSORS))
    out.mkdir()
    (out / CONFIG).write_text(json.dumps(config, indent=2))
    save_file(tensors, out / TENSORS, metadata={"format": "pt"})
    return out


def rslora(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    return config | {"use_rslora": True, "lora_alpha": config["lora_alpha"] / config["r"] ** 0.5}, tensors


def alpha_pattern(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    """One module is stronger by its tensors and weaker by its alpha."""
    stronger = {
        name: tensor * tensor.dtype.type(STRONGER) if "down_proj.lora_B" in name else tensor
        for name, tensor in tensors.items()
    }
    return config | {"alpha_pattern": {"down_proj": config["lora_alpha"] / STRONGER}}, stronger


def rank_pattern(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    """One module has zeros for half of its rank, on top."""

    def doubled(name: str, tensor: np.ndarray) -> np.ndarray:
        axis = 0 if "lora_A" in name else 1
        return np.concatenate([tensor, np.zeros_like(tensor)], axis) if "q_proj" in name else tensor

    patterns = {"rank_pattern": {"q_proj": 2 * config["r"]}, "alpha_pattern": {"q_proj": 2 * config["lora_alpha"]}}
    return config | patterns, {name: doubled(name, tensor) for name, tensor in tensors.items()}


def regex(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    layers, modules = "|".join(map(str, config["layers_to_transform"])), "|".join(sorted(config["target_modules"]))
    pattern = rf"model\.layers\.({layers})\..*\.({modules})"
    return config | {"target_modules": pattern, "layers_to_transform": None}, tensors


def old_names(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    return config, {name.replace(".weight", ".default.weight"): tensor for name, tensor in tensors.items()}


def dora(config: dict, tensors: Tensors) -> tuple[dict, Tensors]:
    """Magnitudes of 1, which no trained adapter has: they show whether a runtime uses them."""
    magnitudes = {
        name.replace("lora_B.weight", "lora_magnitude_vector"): np.ones(tensor.shape[0], tensor.dtype)
        for name, tensor in tensors.items()
        if "lora_B" in name
    }
    return config | {"use_dora": True}, tensors | magnitudes


REWRITTEN = {
    "rslora": rslora,
    "alpha-pattern": alpha_pattern,
    "rank-pattern": rank_pattern,
    "regex": regex,
    "old-names": old_names,
    "dora": dora,
}
# The ones that `--portable` undoes.
PORTABLE = ["rslora", "alpha-pattern", "rank-pattern", "old-names"]


def make(binary: Path, adapter: Path, boundary: int, folder: Path) -> dict[str, Path]:
    """All variants of an adapter, as PEFT folders."""
    variants = {"cut": folder / "cut"}
    cut(binary, adapter, variants["cut"], "--boundary", str(boundary))
    for name, change in REWRITTEN.items():
        variants[name] = rewritten(variants["cut"], folder / name, change)
    for name in PORTABLE:
        variants[f"{name} portable"] = folder / f"{name}-portable"
        cut(binary, variants[name], variants[f"{name} portable"], "--portable")
    return variants
