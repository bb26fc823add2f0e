"""Turns what transformers writes into what is found on the hub; called by make_pico_fixtures.py.

A published checkpoint was mostly written by another program or by an older transformers: its configuration has
other keys, or leaves them out, and its tensors have other names.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from pico_cases import Case
from pico_text import write_json

Tensors = dict[str, torch.Tensor]

LEGACY_ROPE_KEYS = {"gpt_neox": {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}}
RENAMED_KEYS = {"qwen3_moe": {"num_local_experts": "num_experts"}}
# The keys of the text decoder are among those of the whole model, or only those with unusual values are there.
FLAT = {"qwen2_vl"}
TERSE = {"gemma3", "paligemma", "llava"}
TENSOR_NAMES = {
    "gpt2": (r"^transformer\.", ""),
    "bloom": (r"^transformer\.", ""),
    "gemma3": (r"^vision_tower\.", "vision_tower.vision_model."),
    "paligemma": (r"^vision_tower\.", "vision_tower.vision_model."),
    "llava": (r"^vision_tower\.", "vision_tower.vision_model."),
}
MXFP4 = {
    "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"
    ],
    "quant_method": "mxfp4",
}


def as_published(case: Case, folder: Path) -> None:
    """Rewrite a checkpoint's files, where they would be others."""
    path = folder / "config.json"
    written = json.loads(path.read_text())
    config = published_config(written, case.legacy_rope)
    if case.mxfp4:
        config["quantization_config"] = MXFP4
        rewrite(folder / "model.safetensors", mxfp4_experts)
    if names := TENSOR_NAMES.get(config["model_type"]):
        rewrite(folder / "model.safetensors", lambda tensors: renamed(tensors, *names))
    if config != written:
        write_json(path, dict(sorted(config.items())))


def published_config(config: dict, legacy: bool) -> dict:
    model_type = config["model_type"]
    text = config.get("text_config", config)
    names = RENAMED_KEYS.get(model_type, {})
    text = {names.get(key, key): value for key, value in text.items()}
    if legacy:
        text = dict(sorted(legacy_rope(text).items()))
    if "text_config" not in config:
        return text
    if model_type in FLAT:
        del text["model_type"]
        return {key: value for key, value in config.items() if key != "text_config"} | text
    if model_type in TERSE:
        text.pop("use_bidirectional_attention", None)  # true for PaliGemma, and newer than its files
        return terse(config | {"text_config": terse(text)})
    return config | {"text_config": text}


def legacy_rope(config: dict) -> dict:
    """`rope_scaling`, as transformers 4 had it, with the older key `type` where the rope itself is older."""
    names = LEGACY_ROPE_KEYS.get(config["model_type"], {})
    config = dict(config)
    rope = dict(config.pop("rope_parameters"))
    old_types = {"linear", "longrope", "mrope"}
    if "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
        old_types = {}  # Gemma 3 is newer than the key
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in rope:
            config[names.get(key, key)] = rope.pop(key)
    if config["model_type"] == "qwen2_vl_text":
        rope["rope_type"] = "mrope"
    if rope["rope_type"] in old_types:
        rope["type"] = rope.pop("rope_type")
    if "original_max_position_embeddings" in config:
        del rope["original_max_position_embeddings"]
    config["rope_scaling"] = None if rope == {"rope_type": "default"} else rope
    return config


def terse(config: dict) -> dict:
    defaults = AutoConfig.for_model(config["model_type"])
    values = defaults.to_dict() | {"rope_theta": defaults.default_theta, "rope_scaling": None}
    return {
        key: value for key, value in config.items() if key == "model_type" or value != values.get(key, ...)
    }


def rewrite(path: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def renamed(tensors: Tensors, pattern: str, replacement: str) -> Tensors:
    return {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}


def mxfp4_experts(tensors: Tensors) -> Tensors:
    """Random 4-bit experts in the place of those that the model was made with."""
    result = {}
    for name, tensor in tensors.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            result[name] = tensor
            continue
        # Packed along the inputs, which are the middle dimension of the unpacked tensor.
        experts, inputs, outputs = tensor.shape
        blocks = (experts, outputs, inputs // 32)
        result[name + "_blocks"] = torch.randint(256, (*blocks, 16), dtype=torch.uint8)
        result[name + "_scales"] = torch.randint(122, 126, blocks, dtype=torch.uint8)
    return result
