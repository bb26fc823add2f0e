"""Write fixtures/kinds: tiny adapters of every kind, and their losses from transformers + PEFT.

    python scripts/make_adapter_fixtures.py [--out fixtures/kinds] [--only dora …]

Each kind is an adapter folder beside the base models that the kinds share; `expected.json` has the
loss of every boundary for the samples of fixtures/pico, in the format of that folder. At boundary b
everything that the adapter does inside decoder layers with an index >= b is off: LoRA and its
relatives, saved modules, trained biases. What lies outside the layers (embeddings, head, final norm)
is on at every boundary. Kinds that lora-slim does not evaluate have no `expected.json`.

The script refuses to write an adapter whose loss would not notice that a part of it is missing.
Made with torch 2.15, transformers 5.24 and peft 0.21.2; the same versions write the same bytes again.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # the made-up model ids must not be looked up

import argparse
import json
import math
import re
import shutil
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from adapter_kinds import Kind, Tensors, bases, kinds
from make_pico_fixtures import randomize
from peft_reference import curve, load_adapted, load_base, read_token_samples, versions

NOTICED = 0.01  # nats per token: what a layer must change, or a part of an adapter
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def write_base(name: str, out: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(bases()[name]).eval()
    randomize(model)
    model.to(torch.bfloat16).save_pretrained(out / name)  # the arithmetic is f32 always
    (out / name / "generation_config.json").unlink()


def untrained(kind: Kind, base: Path, folder: Path) -> tuple[dict, Tensors]:
    """The configuration and the tensors as PEFT saves them before training."""
    model = load_base(base)
    if kind.config.task_type == "FEATURE_EXTRACTION":
        model = model.base_model
    adapted = get_peft_model(model, kind.config)
    adapted.peft_config["default"].base_model_name_or_path = "kinds/" + kind.base
    adapted.save_pretrained(folder, save_embedding_layers=kind.save_embedding_layers)
    config = json.loads((folder / CONFIG).read_text())
    for key in ("target_modules", "target_parameters", "exclude_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):  # sets, in an order that changes from run to run
            config[key].sort()
    tensors = load_file(folder / WEIGHTS)
    return config, kind.edit(config, tensors) if kind.edit else tensors


def trained(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Random values in the place of what training gives."""
    noise = torch.randn(tensor.shape)
    if name.endswith("base_layer.weight") or "vera_A" in name or "vera_B" in name:
        return tensor  # not trained
    if re.search(r"magnitude|ia3_l|boft_s", name):  # factors
        return tensor * (1 + 0.4 * noise)
    if "hada_" in name:
        return 0.8 * noise
    if "lm_head.lora_" in name:
        return 0.15 * noise
    if "fourierft" in name:
        return 3 * noise
    if re.search(r"lora_|lokr_|oft_R|hra_|miss_|vera_", name):
        return 0.4 * noise
    return tensor + 0.4 * noise  # a copy of the base's: a saved module, a bias, tokens


def write_adapter(folder: Path, config: dict, tensors: Tensors, kind: Kind) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2))
    tensors = {name: tensor.to(kind.dtype).contiguous() for name, tensor in tensors.items()}
    if kind.pickle:
        torch.save(tensors, folder / "adapter_model.bin")
    else:
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / WEIGHTS).chmod(0o644)  # safetensors writes them for the owner only


def losses(base: Path, folder: Path, samples: list[dict], boundaries: range) -> list[dict]:
    model, replaced = load_adapted(base, folder)
    return list(curve(model, samples, boundaries, replaced))


def unnoticed(
    kind: Kind, base: Path, saved: tuple[dict, Tensors, Tensors], samples: list[dict], points: list[dict]
) -> list:
    """The layers and the parts of the adapter without which the loss is the same."""
    values = [point["loss"] for point in points]
    assert all(map(math.isfinite, values)), (kind.name, values)
    changes = [abs(after - before) for before, after in zip(values, values[1:])]
    assert all(change == 0 for layer, change in enumerate(changes) if layer not in kind.layers), (kind.name, values)
    found: list = [f"layer {layer}" for layer in kind.layers if changes[layer] < NOTICED]
    config, before, after = saved
    for part in kind.without:
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(part, dict):
                write_adapter(Path(folder), config | part, after, kind)
            else:
                missing = {name for name in after if re.search(part, name)}
                assert missing, f"{kind.name} has no tensor like {part}"
                write_adapter(Path(folder), config, {n: (before if n in missing else after)[n] for n in after}, kind)
            without = losses(base, Path(folder), samples, range(len(values) - 1, len(values)))[0]["loss"]
        if abs(without - values[-1]) < NOTICED:
            found.append(part)
    return found


def make_kind(kind: Kind, out: Path, samples: list[dict]) -> list[dict]:
    base, folder = out / kind.base, out / kind.name
    with tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        config, before = untrained(kind, base, Path(scratch))
    for seed in range(30):  # until nothing goes unnoticed
        shutil.rmtree(folder, ignore_errors=True)
        torch.manual_seed(seed)
        after = {name: trained(name, tensor) for name, tensor in before.items()}
        write_adapter(folder, config, after, kind)
        points = losses(base, folder, samples, range(bases()[kind.base].num_hidden_layers + 1))
        missed = unnoticed(kind, base, (config, before, after), samples, points)
        if not missed:
            break
    else:
        raise AssertionError(f"{kind.name}: {missed} unnoticed with every seed")
    if kind.evaluated:
        expected = {"made_with": versions(), "curve": points}
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return points


def main() -> None:
    fixtures = Path(__file__).parent.parent / "fixtures"
    parser = argparse.ArgumentParser(description="Write tiny adapters of every kind and their expected losses.")
    parser.add_argument("--out", type=Path, default=fixtures / "kinds")
    parser.add_argument("--only", nargs="+", help="write these kinds and leave the rest as it is")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")  # PEFT advises against much of what is done here
    torch.set_num_threads(1)  # sums in one order
    samples = read_token_samples(fixtures / "pico" / "samples.tokens.jsonl")
    if not arguments.only:
        shutil.rmtree(arguments.out, ignore_errors=True)
        for name in bases():
            write_base(name, arguments.out)
    for kind in kinds():
        if arguments.only and kind.name not in arguments.only:
            continue
        points = make_kind(kind, arguments.out, samples)
        print(f"{kind.name:24}", " ".join(f"{point['loss']:.4f}" for point in points), flush=True)


if __name__ == "__main__":
    main()
