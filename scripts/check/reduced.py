"""Reduce adapters with `--rank` and `--dtype` and check the result in PEFT.

    python scripts/check/reduced.py [ADAPTER …] [--base FOLDER] [--samples TOKENS] [--rules RULE …]

For each adapter and each rule `lora-slim cut` writes a folder, which PEFT loads without a complaint and which

- changes the weights, with the scalings and at the ranks that PEFT uses, as numpy's truncated singular value
  decomposition of scaling * B @ A of the original does, up to the rounding of the stored type; and has the biases of
  the original,
- has the loss that `lora-slim scan` reports for it (adapters that it evaluates).

Logits would say less: those of the random kinds move by 1e-3 when a factor moves by 1e-7.

Without adapters it takes the LoRA kinds of fixtures/kinds and an adapter with rsLoRA. Exit status 1 if anything is
wrong.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from peft.tuners.lora import LoraLayer

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import FIXTURES
from common.reference import mean_loss, quiet, read_token_samples
from peft_loading import SAMPLES, base_of, kinds, load, lora_slim, show

ROUNDING = {"F32": 1e-6, "F16": 1e-3, "BF16": 8e-3}  # of the norm of a change, two factors rounded
LOSS = 1e-4  # nats per token
RULES = ["--rank 1", "--rank energy:0.8", "--rank 1 --dtype bf16"]


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
def effect(module: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> tuple[numpy.ndarray, torch.Tensor]:
    """The change of a module's weight and that of its bias, with the scaling of PEFT."""
    scaling = module.scaling["default"]
    bias = getattr(module.lora_B["default"], "bias", None) if "default" in module.lora_B else None
    bias = torch.zeros(1) if bias is None else bias
    return scaling * b.double().numpy() @ a.double().numpy(), scaling * bias.double()


def largest_error(original: torch.nn.Module, reduced: torch.nn.Module) -> float:
    """How far a module is from the truncated decomposition of the original's, relative to that."""
    errors, before = [0.0], pairs(original)
    for name, (module, a, b) in pairs(reduced).items():
        (wanted, wanted_bias), (found, bias) = effect(*before[name]), effect(module, a, b)
        u, s, vt = numpy.linalg.svd(wanted, full_matrices=False)
        wanted = (u[:, : len(a)] * s[: len(a)]) @ vt[: len(a)]
        errors.append(numpy.linalg.norm(found - wanted) / numpy.linalg.norm(wanted))
        errors.append(float((bias - wanted_bias).norm() / (wanted_bias.norm() + 1e-30)))
    return max(errors)


def check(adapter: Path, base: Path, samples: Path, rule: str) -> bool:
    """Whether the reduced folder is right, or refused; prints the figures."""
    with tempfile.TemporaryDirectory() as scratch:
        reduced = Path(scratch) / "reduced"
        _, refusal = lora_slim("cut", adapter, *rule.split(), "-o", reduced, "--quiet")
        if refusal:
            print(f"{adapter.name:24} {rule}: refused: {refusal}", flush=True)
            return True
        dtype = json.loads(lora_slim("inspect", reduced, "--json")[0])["dtypes"][0]
        original, loaded = load(base, adapter), load(base, reduced)
    faults = sorted(loaded.complaints - original.complaints)
    if loaded.model is None or original.model is None:
        return show(adapter.name, rule, faults or ["PEFT does not load it"])
    ranks = [len(a) for _, a, _ in pairs(loaded.model).values()]
    error = largest_error(original.model, loaded.model)
    figures = f"{rule:24} ranks {min(ranks)}-{max(ranks)}, ΔW off by {error:.1e}, "
    if not error <= ROUNDING[dtype]:
        faults.append("ΔW is not that of the truncated decomposition")
    inputs = [adapter, "--base", base, "--samples", samples, "--boundary", layers_of(adapter)]
    out, refusal = lora_slim("scan", *inputs, *rule.split(), "--json", "--quiet")
    if refusal:
        return show(adapter.name, f"{figures}not evaluated: {refusal}", faults)
    ours = json.loads(out)["steps"][-1]["losses"]["loss"]
    theirs = mean_loss(loaded.model, read_token_samples(samples))
    if not abs(ours - theirs) <= LOSS:
        faults.append("the losses differ")
    return show(adapter.name, f"{figures}loss {ours:.6f}, PEFT {theirs:.6f}, Δ {ours - theirs:+.1e}", faults)


def layers_of(adapter: Path) -> int:
    """The boundary that keeps every layer of the adapter."""
    return json.loads(lora_slim("inspect", adapter, "--json")[0])["layers"][-1]["layer"] + 1


def is_lora(adapter: Path) -> bool:
    return json.loads((adapter / "adapter_config.json").read_text())["peft_type"] == "LORA"


def main() -> None:
    parser = argparse.ArgumentParser(description="Reduce adapters and check them in PEFT.")
    parser.add_argument("adapters", nargs="*", type=Path, help="adapter folders (default: the LoRA kinds)")
    parser.add_argument("--base", type=Path, help="base model (default: the fixture's own)")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="JSON lines of input_ids and labels")
    parser.add_argument("--rules", nargs="+", default=RULES, help="flags of cut and scan (default: %(default)s)")
    arguments = parser.parse_args()
    quiet(threads=2)
    adapters = filter(is_lora, arguments.adapters or [*kinds(), FIXTURES / "pico" / "llama-linear" / "adapter"])
    good = [
        check(adapter, arguments.base or base_of(adapter), arguments.samples, rule)
        for adapter in adapters
        for rule in arguments.rules
    ]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
