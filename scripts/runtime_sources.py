"""Which kinds of adapters the loaders of runtimes accept, asked of their own code: fixtures/runtimes.json.

PEFT and transformers load each kind of fixtures/kinds with its base model, and their logits are compared (f32, 12 tokens): `loads`, `differs`
or `refuses`. Of servers that need a GPU only the functions that read an adapter are run, out of their files: `loads` then says no more than
that they do not refuse it.

    python scripts/runtime_sources.py --vllm vllm --sglang sglang/srt --slora slora --tensorrt-llm tensorrt_llm

with folders of vLLM 0.32.0, SGLang 0.5.23, S-LoRA c1ddf48 and TensorRT-LLM 007e181; PEFT 0.21.2, transformers 5.24.0, torch 2.15.
"""

import argparse
import importlib.util
import json
import re
import sys
import types
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
KINDS = sorted(path.parent for path in (FIXTURES / "kinds").glob("*/adapter_config.json"))


def config_of(kind):
    return json.loads((kind / "adapter_config.json").read_text())


def weights_of(kind):
    weights = kind / "adapter_model.safetensors"
    return load_file(weights) if weights.exists() else torch.load(kind / "adapter_model.bin", weights_only=True)


def between(path, first, last):
    """The lines of a file from the one that begins with `first` to before the one that begins with `last`."""
    text = path.read_text()
    start = text.index("\n" + first) + 1
    return text[start : text.index("\n" + last, start)]


def define(source, **names):
    names.update(torch=torch, re=re)
    exec("from __future__ import annotations\nfrom typing import *\n" + source, names)
    return names


def logits(kind, load):
    base = FIXTURES / "kinds" / Path(config_of(kind)["base_model_name_or_path"]).name
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        before = model(torch.arange(12)[None]).logits
        return before, load(model, kind)(torch.arange(12)[None]).logits


def by_peft(model, kind):
    return PeftModel.from_pretrained(model, kind)


def by_transformers(model, kind):
    model.load_adapter(str(kind))
    return model


def run_peft(kind):
    before, after = logits(kind, by_peft)
    return "differs" if torch.equal(before, after) else "loads"


def run_transformers(kind):
    _, after = logits(kind, by_transformers)
    # What a model without a head was trained with PEFT does not apply to one that has a head.
    if config_of(kind).get("base_model_name_or_path") and kind.name == "bare":
        return "loads"
    _, expected = logits(kind, by_peft)
    return "loads" if (after - expected).abs().max() <= 1e-5 * expected.abs().max() else "differs"


def vllm(folder):
    for name, attributes in [
        ("vllm", {}),
        ("vllm.config", {}),
        ("vllm.config.lora", {"LoRAConfig": type("LoRAConfig", (), {"max_lora_rank": 16})}),
        ("vllm.logger", {"init_logger": lambda _: types.SimpleNamespace(info_once=lambda *_: None)}),
        ("regex", vars(re)),
    ]:
        module = types.ModuleType(name)
        module.__dict__.update(attributes)
        sys.modules[name] = module
    spec = importlib.util.spec_from_file_location("peft_helper", folder / "lora/peft_helper.py")
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    names = define(between(folder / "lora/utils.py", "def parse_fine_tuned_lora_name", "def get_supported_lora_modules"))

    def run(kind):
        helper.PEFTHelper.from_local_dir(str(kind), None).validate_legal(sys.modules["vllm.config.lora"].LoRAConfig())
        for name in weights_of(kind):
            if not names["is_base_embedding_weights"](name):
                names["parse_fine_tuned_lora_name"](name)

    return run


def sglang(folder):
    """The names and shapes that `LoRAAdapter` and `LoRAMemoryPool.load_lora_weight_to_buffer` want."""
    utils = folder / "lora/utils.py"
    names = define(between(utils, "def get_normalized_target_modules", "def get_stacked_multiply"))
    names |= define(between(utils, "def get_target_module_name", "EMBEDDING_NAMES"))
    lora = folder / "lora/lora.py"
    methods = [
        between(lora, "    def normalize_qkv_proj", "    def _normalize_shared_expert_moe"),
        between(lora, "    def _rename_expert_w_to_proj", "    def _normalize_in_proj("),
        between(lora, "    def normalize_gate_up_proj", "    def normalize_fused_qkv_a_proj"),
    ]
    adapter = define("class Adapter:\n    _is_non_gated_moe_weight = lambda *_: False\n" + "\n".join(methods))["Adapter"]()
    stacked = {"qkv_proj": 3, "gate_up_proj": 2}

    def run(kind):
        config = config_of(kind)
        assert config["peft_type"] == "LORA" and not config.get("use_dora")
        targets = names["get_normalized_target_modules"](config["target_modules"])
        if "all" in targets:
            targets = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
        layers = {}
        for name, tensor in weights_of(kind).items():
            if layer := re.search(r"layers\.(\d+)\.", name):
                layers.setdefault(int(layer[1]), {})[name] = tensor
        for layer in layers.values():
            adapter.normalize_qkv_proj(list(layer), layer)
            adapter._rename_expert_w_to_proj(layer)
            adapter.normalize_gate_up_proj(list(layer), layer)
            buffers = {}
            for name, tensor in layer.items():
                expert = re.search(r"experts\.(\d+)\.", name)
                buffers[names["get_target_module_name"](name, targets), "lora_A" in name, expert and expert[1]] = tensor
            for (target, is_a, _), tensor in buffers.items():
                assert tensor.dim() == 2
                assert tensor.shape[0 if is_a else 1] == config["r"] * (stacked.get(target, 1) if is_a else 1)

    return run


def slora(folder):
    torch.Tensor.pin_memory = lambda tensor: tensor
    source = (folder / "models/peft/layer_weights/lora_layer_weight.py").read_text()
    layer_weight = define(source)["LoraLayerWeight"]

    def run(kind):
        config, weights = config_of(kind), weights_of(kind)
        config["lora_alpha"] / config["r"]
        assert config["peft_type"] == "LORA"
        for layer in range(4):
            layer_weight(layer, 0, 1, config, {"hidden_size": 32, "num_attention_heads": 4}).load_hf_weights(weights, swap=True)

    return run


def tensorrt_llm(folder):
    manager = folder / "lora_manager.py"
    from collections import defaultdict

    names = define(between(manager, "HF_LORA_PATTERN", "def get_hf_target_modules"), defaultdict=defaultdict)
    modules = define(between(manager, "def get_default_trtllm_modules_to_hf_modules", "def load_torch_hf_lora"))
    modules = set(modules["get_default_trtllm_modules_to_hf_modules"]().values())

    def run(kind):
        config = config_of(kind)
        config["lora_alpha"] / config["r"]
        names["get_all_hf_lora_weights"](weights_of(kind), modules)

    return run


def outcome(run, kind):
    try:
        return run(kind) or "loads"
    except Exception:
        return "refuses"


def main():
    warnings.simplefilter("ignore")
    logging.set_verbosity(logging.CRITICAL)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    loaders = {"vllm": vllm, "sglang": sglang, "slora": slora, "tensorrt-llm": tensorrt_llm}
    for name in loaders:
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = vars(parser.parse_args())
    runs = {"peft": run_peft, "transformers": run_transformers}
    runs |= {name: loader(args[name.replace("-", "_")]) for name, loader in loaders.items()}
    found = {name: {kind.name: outcome(run, kind) for kind in KINDS} for name, run in runs.items()}
    (FIXTURES / "runtimes.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, outcomes in found.items():
        print(name, {verdict: list(outcomes.values()).count(verdict) for verdict in ("loads", "differs", "refuses")})


if __name__ == "__main__":
    main()
