"""Boundary losses as transformers and PEFT compute them: the reference that lora-slim is tested against.

lora-slim keeps LoRA in the decoder layers below a boundary b and needs the loss of every b. This module measures the
same numbers the slow and plain way: one full forward pass of one sample per boundary, no padding, no shared prefix, all
in f32.
"""

import json
import os
import platform
import re
import warnings
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import numpy
import peft
import safetensors
import torch
import transformers
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
    PreTrainedModel,
)

# Base models have ids that do not exist: no library may look them up on the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
huggingface_hub.constants.HF_HUB_OFFLINE = True

IGNORED = -100  # the label of a token that is not scored
# `.layers.N.` or `.h.N.` of the text decoder; vision towers have layers of their own.
LAYER_INDEX = re.compile(r"^(?!.*(?:vision|visual|audio)).*?\.(?:layers|blocks|h)\.(\d+)\.")


def quiet(threads: int | None = None) -> None:
    """Turn off what the libraries print, and set torch's threads; one thread sums in one order."""
    warnings.simplefilter("ignore", FutureWarning)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if threads:
        torch.set_num_threads(threads)


def versions() -> dict[str, str]:
    """The versions that computed the numbers, to be stored beside them."""
    modules = (torch, transformers, peft, safetensors, numpy)
    return {"python": platform.python_version()} | {m.__name__: str(m.__version__) for m in modules}


def read_token_samples(path: str | Path) -> list[dict]:
    """Samples of {"input_ids", "labels"}, one JSON object per line."""
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def prompt_of(sample: dict) -> list[int]:
    """The tokens before the last run of scored tokens."""
    labels = sample["labels"]
    end = max(place for place, label in enumerate(labels) if label != IGNORED)
    start = next((place + 1 for place in range(end, -1, -1) if labels[place] == IGNORED), 0)
    return sample["input_ids"][:start]


def auto_class(config: PreTrainedConfig) -> type:
    """The class that loads a model with its output head; AutoModelForCausalLM does not know vision towers."""
    has_vision = hasattr(config, "vision_config") and config.model_type != "phi4_multimodal"  # one class for all
    return AutoModelForImageTextToText if has_vision else AutoModelForCausalLM


def load_base(folder: str | Path, **options) -> PreTrainedModel:
    """The base model widened to f32, whatever its files hold."""
    if not Path(folder).is_dir():  # else transformers looks the name up on the hub
        raise ValueError(f"{folder} is not a folder")
    config = options.get("config") or AutoConfig.from_pretrained(folder, gguf_file=options.get("gguf_file"))
    return auto_class(config).from_pretrained(folder, dtype=torch.float32, **options).eval()


def scored_tokens(labels: list[int]) -> int:
    """Number of labels that count; the first has no prediction, because labels shift by one."""
    return sum(label != IGNORED for label in labels[1:])


def reset_dynamic_rope(model: nn.Module) -> None:
    """Give rotary embeddings the state of a new process.

    Dynamic RoPE stretches its frequencies for a long sequence and keeps them for the next one, so that a loss would
    depend on the order of the samples.
    """
    for module in model.modules():
        if hasattr(module, "max_seq_len_cached") and hasattr(module, "original_inv_freq"):
            # A copy: longrope writes into inv_freq, which must not reach the original.
            module.inv_freq = module.original_inv_freq.to(module.inv_freq.device, copy=True)
            module.max_seq_len_cached = module.original_max_seq_len


def prompt_marks(model: nn.Module, sample: dict) -> dict:
    """The `token_type_ids` that PaliGemma's processor makes: its prompt is attended to both ways."""
    if model.config.model_type != "paligemma":
        return {}
    scored = [label != IGNORED for label in sample["labels"][1:]]
    prompt = 1 + (scored.index(True) if True in scored else len(scored))
    marks = [0] * prompt + [1] * (len(sample["input_ids"]) - prompt)
    return {"token_type_ids": torch.tensor([marks], device=next(model.parameters()).device)}


@torch.no_grad()
def answer_losses(model: nn.Module, sample: dict) -> torch.Tensor:
    """Negative log-likelihood of each scored token of a sample, in nats, as f64."""
    reset_dynamic_rope(model)
    device = next(model.parameters()).device
    ids = torch.tensor([sample["input_ids"]], device=device)
    logits = model(input_ids=ids, use_cache=False, **prompt_marks(model, sample)).logits[0, :-1]
    targets = torch.tensor(sample["labels"][1:], device=device)
    scored = targets != IGNORED
    # Only the scored rows are widened to f64: a full one would not fit for large vocabularies.
    log_probs = logits[scored].float().double().log_softmax(dim=-1)
    return -log_probs.gather(1, targets[scored, None])[:, 0]


def mean_loss(model: nn.Module, samples: list[dict]) -> float:
    """Nats per scored token."""
    tokens = sum(scored_tokens(sample["labels"]) for sample in samples)
    return sum(answer_losses(model, sample).sum().item() for sample in samples) / tokens


def adapter_modules(model: nn.Module) -> list[tuple[int, BaseTunerLayer | AuxiliaryTrainingWrapper]]:
    """Every module of an adapter inside the decoder stack, with the index of its layer.

    Modules outside it, such as lm_head, are on at every boundary.
    """
    found = []
    for name, module in model.named_modules():
        layer = LAYER_INDEX.search(name)
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)) and layer:
            found.append((int(layer.group(1)), module))
    if not found:
        raise ValueError(
            "the adapter has nothing in decoder layers named `.layers.<number>.`, `.blocks.<number>.` or `.h.<number>.`"
        )
    return found


def lora_layers(peft_model: nn.Module) -> list[LoraLayer]:
    """The LoRA modules among them."""
    return [module for _, module in adapter_modules(peft_model) if isinstance(module, LoraLayer)]


def layer_parameters(model: nn.Module) -> dict[str, tuple[int, nn.Parameter]]:
    """The parameters inside the decoder stack, by their names without an adapter, with the index of the layer."""
    found = {}
    for name, parameter in model.named_parameters():
        layer = LAYER_INDEX.search("." + name)
        if layer:
            name = name.removeprefix("base_model.model.").replace(".base_layer", "")
            found[name] = (int(layer.group(1)), parameter)
    return found


@contextmanager
def lora_only_in(
    peft_model: nn.Module, layers: Container[int], replaced: dict[str, torch.Tensor] | None = None
) -> Iterator[None]:
    """Switch the adapter off in all decoder layers but these, inside the `with` block.

    PEFT has no switch for what the adapter replaced in the base, such as biases; `replaced` has the base's own values.
    """
    # A scaling of 0 would not do: DoRA's magnitude would stay on.
    off = [module for layer, module in adapter_modules(peft_model) if layer not in layers]
    swapped = []
    for name, (layer, parameter) in layer_parameters(peft_model).items():
        if layer not in layers and name in (replaced or {}):
            swapped.append((parameter, parameter.data, replaced[name]))
    try:
        for module in off:
            module.enable_adapters(False)
        for parameter, _, of_base in swapped:
            parameter.data = of_base
        yield
    finally:
        for module in off:
            module.enable_adapters(True)
        for parameter, of_adapter, _ in swapped:
            parameter.data = of_adapter


def load_adapted(base: Path, adapter: Path, **options) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model with its adapter, and the values of the base that it replaced in the layers (for lora_only_in)."""
    model = load_base(base, attn_implementation="eager")  # the mask and the softmax spelt out
    before = {name: parameter.detach().clone() for name, (_, parameter) in layer_parameters(model).items()}
    if json.loads((adapter / "adapter_config.json").read_text()).get("task_type") == "FEATURE_EXTRACTION":
        # Trained on the model without a head. PEFT puts its modules into the model that it is given.
        PeftModel.from_pretrained(model.base_model, adapter, **options)
    else:
        model = PeftModel.from_pretrained(model, adapter, **options)
    after = layer_parameters(model)
    replaced = {n: value for n, value in before.items() if n in after and not torch.equal(value, after[n][1])}
    return model.eval(), replaced


def curve(
    peft_model: nn.Module,
    samples: list[dict],
    boundaries: Iterable[int],
    replaced: dict[str, torch.Tensor] | None = None,
) -> Iterator[dict]:
    """Loss of each boundary: {"boundary", "loss" (per scored token), "per_sample" (summed nats)}."""
    peft_model.eval()  # no LoRA dropout
    tokens = sum(scored_tokens(sample["labels"]) for sample in samples)
    for boundary in boundaries:
        with lora_only_in(peft_model, range(boundary), replaced):
            nats = [answer_losses(peft_model, sample).sum().item() for sample in samples]
        yield {"boundary": boundary, "loss": sum(nats) / tokens, "per_sample": nats}
