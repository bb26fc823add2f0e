"""Check in PEFT that an adapter computes the same logits, to the last bit, without its dead weight.

    python scripts/check/dead_weight.py

PEFT saves adapters whose embeddings, heads, norms and biases are those of the base model, all of them or all rows but
some, beside modules that were never trained. `lora-slim cut --dead-weight` writes each without them. PEFT loads both,
in f32 and in bf16, in bf16 with `low_cpu_mem_usage` too, without a complaint that the original does not cause, and the
logits of all tokens must be equal. In f32, `low_cpu_mem_usage` would compute with the saved weights in bf16, which is
their type. Exit status 1 if anything differs.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import FIXTURES
from common.reference import quiet, read_token_samples
from peft_loading import SAMPLES, WAYS, logits, lora_slim, recorded_keys, recorded_warnings, show

ADDED = 3  # tokens that a training adds
KINDS = FIXTURES / "kinds"
LOADS = [(torch.float32, "from_pretrained"), (torch.bfloat16, "from_pretrained"), (torch.bfloat16, "low_cpu_mem_usage")]
# PEFT does not find the rows of a tied head, which are those of the embedding.
HARMLESS = {"missing base_model.model.lm_head.token_adapter.trainable_tokens_delta.default"}
Edit = Callable[[PeftModel], None]


@dataclass
class Case:
    """An adapter with dead weight."""

    name: str
    base: str
    kind: str  # what has to go
    options: dict = field(default_factory=dict)
    edit: Edit | None = None
    copies: bool = False  # `save_embedding_layers`
    added: int = 0
    narrow: bool = False  # the factors are numbers of bf16


def rows(*names: str) -> Edit:
    """Train some rows of embeddings and heads."""

    def edit(model: PeftModel) -> None:
        for name, weight in model.named_parameters():
            if name.endswith("weight") and any(part in name for part in names) and "original" not in name:
                weight[3::50] += 0.5

    return edit


def cases() -> list[Case]:
    def saved(**more) -> dict:  # PEFT changes the list
        return dict(modules_to_save=["embed_tokens", "lm_head"]) | more

    same, some, copy = "equal-to-base", "most-rows-equal-to-base", "copy-of-embedding"
    return [
        Case("saved", "base", same, saved()),
        Case("saved-tied", "base-tied", same, saved()),
        Case("saved-embedding-tied", "base-tied", same, dict(modules_to_save=["embed_tokens"])),
        Case("saved-tying-tied", "base-tied", same, saved(ensure_weight_tying=True)),
        Case("saved-norms", "base", same, dict(modules_to_save=["embed_tokens", "norm"])),
        Case("saved-gpt2", "base-gpt2", same, dict(modules_to_save=["wte"], target_modules=["c_attn"])),
        Case("copies", "base", same, copies=True),
        Case("copies-tied", "base-tied", same, copies=True),
        Case("biases", "base", same, dict(bias="all")),
        Case("lora-embedding", "base", same, dict(target_modules=["q_proj", "embed_tokens"]), copies=True),
        Case("rows", "base", some, saved(), rows("embed_tokens", "lm_head")),
        Case("rows-of-head", "base", some, saved(), rows("lm_head")),
        Case("rows-copies", "base", some, {}, rows("embed_tokens", "lm_head"), copies=True),
        Case("rows-copies-tied", "base-tied", copy, {}, rows("embed_tokens"), copies=True),
        Case("rows-tying-tied", "base-tied", some, saved(ensure_weight_tying=True), rows("embed_tokens")),
        Case("added", "base", some, saved(), added=ADDED),
        Case("added-copies", "base", some, {}, copies=True, added=ADDED),
        Case("added-copies-tied", "base-tied", copy, {}, copies=True, added=ADDED),
        Case("idle-modules", "base", "zero-change"),
        Case("idle-modules-all-linear", "base", "zero-change", dict(target_modules="all-linear")),
        Case("narrow", "base", "exact-types", narrow=True),
        Case("narrow-saved", "base", "exact-types", saved(), rows("embed_tokens", "lm_head"), narrow=True),
    ]


def load_base(case: Case, dtype: torch.dtype) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(KINDS / case.base, dtype=dtype).eval()
    if case.added:
        torch.manual_seed(1)  # the new rows of the training are others
        model.resize_token_embeddings(model.config.vocab_size + case.added)
    return model


@torch.no_grad()
def write(case: Case, out: Path) -> None:
    """Save the adapter as a training does."""
    options = dict(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM") | case.options
    torch.manual_seed(0)
    base = load_base(case, torch.bfloat16)
    model = get_peft_model(base, LoraConfig(**options))
    for number, (name, weight) in enumerate(item for item in model.named_parameters() if "lora_" in item[0]):
        is_second = "lora_B" in name or "embedding_B" in name
        if is_second and not (case.kind == "zero-change" and number % 3 == 0):
            weight.copy_(torch.randn(weight.shape) / 4)
        if case.narrow:
            weight.copy_(weight.bfloat16())
    if case.edit:
        case.edit(model)
    if case.added:
        for name, weight in model.named_parameters():
            if ("embed_tokens" in name or "lm_head" in name) and "original" not in name:
                weight[-case.added :] = torch.randn(case.added, weight.shape[1]) / 4
    model.save_pretrained(out, save_embedding_layers=case.copies)


def load(case: Case, adapter: Path, dtype: torch.dtype, way: str) -> tuple[list[torch.Tensor] | None, set[str]]:
    """The logits, and what PEFT complains of."""
    base = load_base(case, dtype)
    with recorded_warnings() as messages, recorded_keys() as keys:
        try:
            model = PeftModel.from_pretrained(base, adapter, **WAYS[way]).eval()
            return logits(model, read_token_samples(SAMPLES)), keys | set(messages)
        except Exception as error:  # whatever PEFT and torch raise
            return None, {f"{type(error).__name__}: {error}"}


def size(folder: Path) -> int:
    return (folder / "adapter_model.safetensors").stat().st_size


def found_kinds(report: dict) -> set[str]:
    steps = {step["step"]: step for step in report["steps"]}
    kinds = {part["kind"] for part in steps["dead-weight"]["dead_weight"]["parts"]}
    return kinds | ({"exact-types"} if "exact_types" in steps["exact-types"] else set())


def check(case: Case) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        adapter, out = Path(scratch) / "adapter", Path(scratch) / "out"
        with recorded_warnings():
            write(case, adapter)
        _, refusal = lora_slim("cut", adapter, "--base", KINDS / case.base, "--dead-weight", "-o", out, "--quiet")
        if refusal:
            return show(case.name, "", [refusal])
        faults = []
        report = json.loads((out / "slim_report.json").read_text())
        if case.kind not in found_kinds(report):
            faults.append(f"{case.kind} was not found: {found_kinds(report)}")
        _, difference = lora_slim("verify", adapter, out, "--base", KINDS / case.base)
        if difference is not None:
            faults.append(f"verify: {lora_slim('verify', adapter, out, '--base', KINDS / case.base)[0]}")
        for dtype, way in LOADS:
            (before, known), (after, complaints) = (load(case, one, dtype, way) for one in (adapter, out))
            where = f"{dtype}, {way}"
            faults += [f"{where}: {complaint}" for complaint in complaints - known - HARMLESS]
            if before is None or after is None or not all(torch.equal(one, other) for one, other in zip(before, after)):
                faults.append(f"{where}: the logits differ")
        figures = f"{size(adapter):,} → {size(out):,} bytes"
    return show(case.name, figures, faults)


def main() -> None:
    quiet(threads=1)
    good = [check(case) for case in cases()]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
