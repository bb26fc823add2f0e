"""Reduce adapters with `--rank` and `--dtype` and check with PEFT what comes out.

For each adapter and each rule `lora-slim cut` writes a folder, which PEFT loads without a complaint and which

- has, with the scalings that PEFT uses, the changes of weights of numpy's truncated singular value
  decomposition of scaling * B @ A of the original, at the ranks that PEFT built, but for the rounding of
  the stored type; and the biases of the original,
- has the loss that `lora-slim scan` reports for it (adapters that it evaluates).

Logits of the two would say less: those of the random kinds move by 1e-3 when a factor moves by 1e-7.

    python scripts/check_reduced.py [ADAPTER …] [--base FOLDER] [--samples TOKENS] [--rules RULE …]

Without adapters it takes the kinds of fixtures/kinds that are LoRA, with their own base and the pico samples, and
an adapter with rsLoRA. Exit status 1 if anything is wrong.
Made with torch 2.15, transformers 5.24, peft 0.21.2 and numpy 2.4.6.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # the made-up model ids must not be looked up

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import torch
import transformers
from peft.tuners.lora import LoraLayer

from check_kinds import load
from peft_reference import read_token_samples, sample_nll, scored_tokens

ROOT = Path(__file__).parent.parent
ROUNDING = {"F32": 1e-6, "F16": 1e-3, "BF16": 8e-3}  # of the norm of a change, two factors rounded
LOSS = 1e-4  # nats per token
RULES = ["--rank 1", "--rank energy:0.8", "--rank 1 --dtype bf16"]


def run(binary: Path, *arguments) -> tuple[str, str]:
    """What lora-slim prints, and the first line of its refusal."""
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    return done.stdout, "" if done.returncode == 0 else done.stderr.strip().splitlines()[-2][:200]


def pairs(model: torch.nn.Module) -> dict[str, tuple[LoraLayer, torch.Tensor, torch.Tensor]]:
    """The factors of every module, by its name."""
    found = {}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if "default" in module.lora_A:
            found[name] = (module, module.lora_A["default"].weight, module.lora_B["default"].weight)
        elif "default" in module.lora_embedding_A:
            found[name] = (module, module.lora_embedding_A["default"], module.lora_embedding_B["default"])
    return found


@torch.no_grad()
def effect(module: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> tuple[numpy.ndarray, float | torch.Tensor]:
    """The change of a module's weight and that of its bias, with the scaling of PEFT."""
    scaling = module.scaling["default"]
    bias = getattr(module.lora_B["default"], "bias", None) if "default" in module.lora_B else None
    return scaling * b.double().numpy() @ a.double().numpy(), 0.0 if bias is None else scaling * bias.double()


def largest_error(original: torch.nn.Module, reduced: torch.nn.Module) -> float:
    """How far a module is from the truncated decomposition of the original's, relative to that."""
    errors, before = [0.0], pairs(original)
    for name, (module, a, b) in pairs(reduced).items():
        (wanted, wanted_bias), (found, bias) = effect(*before[name]), effect(module, a, b)
        u, s, vt = numpy.linalg.svd(wanted, full_matrices=False)
        wanted = (u[:, : len(a)] * s[: len(a)]) @ vt[: len(a)]
        errors.append(numpy.linalg.norm(found - wanted) / numpy.linalg.norm(wanted))
        errors.append(float(torch.as_tensor(bias - wanted_bias).norm() / (torch.as_tensor(wanted_bias).norm() + 1e-30)))
    return max(errors)


def check(adapter: Path, base: Path, samples: list, rule: str, arguments: argparse.Namespace) -> list[str]:
    """The faults; prints the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        reduced = Path(scratch) / "reduced"
        _, refusal = run(arguments.binary, "cut", adapter, *rule.split(), "-o", reduced, "--quiet")
        if refusal:
            print(f"{adapter.name:24} {rule:24} refused: {refusal}", flush=True)
            return []
        dtype = json.loads(run(arguments.binary, "inspect", reduced, "--json")[0])["dtypes"][0]
        original, _, known = load(base, adapter, "from_pretrained")
        model, _, complaints = load(base, reduced, "from_pretrained")
        faults = sorted(complaints - known)
        if model is None or original is None:
            return faults or ["PEFT does not load it"]
    ranks = [len(a) for _, a, _ in pairs(model).values()]
    error = largest_error(original, model)
    told = f"ranks {min(ranks)}-{max(ranks)}, ΔW off by {error:.1e}, "
    if not error <= ROUNDING[dtype]:
        faults.append("ΔW is not that of the truncated decomposition")
    inputs = [adapter, "--base", base, "--samples", arguments.samples, "--boundary", all_layers(arguments.binary, adapter)]
    out, refusal = run(arguments.binary, "scan", *inputs, *rule.split(), "--json", "--quiet")
    if refusal:
        told += f"not evaluated: {refusal}"
    else:
        ours = json.loads(out)["steps"][-1]["losses"]["loss"]
        tokens = sum(scored_tokens(sample["labels"]) for sample in samples)
        theirs = sum(sample_nll(model, sample["input_ids"], sample["labels"]) for sample in samples) / tokens
        told += f"loss {ours:.6f}, PEFT {theirs:.6f}, Δ {ours - theirs:+.1e}"
        if not abs(ours - theirs) <= LOSS:
            faults.append("the losses differ")
    print(f"{adapter.name:24} {rule:24} {'WRONG' if faults else 'same'}: {told}", flush=True)
    return faults


def all_layers(binary: Path, adapter: Path) -> int:
    """The boundary that keeps every layer of the adapter."""
    out, _ = run(binary, "inspect", adapter, "--json")
    return json.loads(out)["layers"][-1]["layer"] + 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Reduce adapters and check with PEFT what comes out.")
    parser.add_argument("adapters", nargs="*", type=Path, help="adapter folders (default: the LoRA kinds)")
    parser.add_argument("--base", type=Path, help="base model (default: the kind's own)")
    parser.add_argument("--samples", type=Path, default=ROOT / "fixtures" / "pico" / "samples.tokens.jsonl")
    parser.add_argument("--rules", nargs="+", default=RULES, help="flags of cut and scan (default: %(default)s)")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "lora-slim")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    samples = read_token_samples(arguments.samples)
    kinds = sorted(path.parent for path in (ROOT / "fixtures" / "kinds").glob("*/adapter_config.json"))
    adapters = arguments.adapters or [*kinds, ROOT / "fixtures" / "pico" / "llama-linear" / "adapter"]
    wrong = False
    for adapter in adapters:
        config = json.loads((adapter / "adapter_config.json").read_text())
        if config["peft_type"] != "LORA":
            continue
        beside = adapter.parent / "base"
        base = arguments.base or (beside if beside.is_dir() and adapter.name == "adapter" else None)
        base = base or adapter.parent / Path(config["base_model_name_or_path"]).name
        for rule in arguments.rules:
            for fault in check(adapter, base, samples, rule, arguments):
                wrong = True
                print(f"    {fault[:250]}")
    sys.exit(wrong)


if __name__ == "__main__":
    main()
