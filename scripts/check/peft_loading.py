"""What the checks against PEFT share: run lora-slim, load a folder in PEFT, compare what was loaded."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import peft.peft_model
import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES
from common.reference import load_adapted, reset_dynamic_rope

SAMPLES = FIXTURES / "pico" / "samples.tokens.jsonl"
WAYS = {"from_pretrained": {}, "low_cpu_mem_usage": {"low_cpu_mem_usage": True}}


def lora_slim(*arguments: object) -> tuple[str, str | None]:
    """What lora-slim prints, and the first line of its refusal."""
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True)
    return done.stdout, done.stderr.strip().partition("\n")[0][:200] if done.returncode else None


def kinds() -> list[Path]:
    return sorted(path.parent for path in (FIXTURES / "kinds").glob("*/adapter_config.json"))


def base_of(adapter: Path) -> Path:
    """The base model of an adapter of fixtures/."""
    if adapter.name == "adapter":  # of fixtures/pico
        return adapter.parent / "base"
    config = json.loads((adapter / "adapter_config.json").read_text())
    return adapter.parent / Path(config["base_model_name_or_path"]).name


@dataclass
class Loaded:
    """A model with an adapter as PEFT loads it."""

    model: torch.nn.Module | None  # None if PEFT raises
    replaced: dict[str, torch.Tensor] = field(default_factory=dict)  # for lora_only_in
    complaints: set[str] = field(default_factory=set)


def load(base: Path, adapter: Path, way: str = "from_pretrained") -> Loaded:
    with recorded_warnings() as messages, recorded_keys() as keys:
        try:
            model, replaced = load_adapted(base, adapter, **WAYS[way])
        except Exception as error:  # whatever PEFT and torch raise
            return Loaded(None, complaints={f"{type(error).__name__}: {error}"})
    # Lists of names differ with the layers; the keys are compared one by one.
    return Loaded(model, replaced, keys.union("warning: " + message.partition("[")[0] for message in messages))


class Recorder(logging.Handler):
    """Keeps what the libraries log instead of printing it."""

    def __init__(self, messages: list[str]):
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Every warning inside the `with` block, from the warnings module and from logging."""
    messages: list[str] = []
    recorder = Recorder(messages)
    loggers = [logging.getLogger(name) for name in ("peft", "transformers")]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # One library calling an old function of another says nothing about the adapter.
        warnings.simplefilter("ignore", FutureWarning)
        for logger in loggers:
            logger.addHandler(recorder)
        try:
            yield messages
        finally:
            for logger in loggers:
                logger.removeHandler(recorder)
            messages.extend(str(warning.message) for warning in caught)


@contextmanager
def recorded_keys() -> Iterator[set[str]]:
    """The keys of the adapter that are missing in a file or unexpected in it; PEFT keeps most to itself."""
    faulty: set[str] = set()
    set_state_dict = peft.peft_model.set_peft_model_state_dict

    def recorded(*args, **kwargs):
        result = set_state_dict(*args, **kwargs)
        faulty.update(f"missing {key}" for key in result.missing_keys if ".default" in key)
        faulty.update(f"unexpected {key}" for key in result.unexpected_keys)
        return result

    with mock.patch("peft.peft_model.set_peft_model_state_dict", recorded):
        yield faulty


@torch.no_grad()
def logits(model: torch.nn.Module, samples: list[dict]) -> list[torch.Tensor]:
    """(tokens, vocabulary) for each sample."""
    result = []
    for sample in samples:
        reset_dynamic_rope(model)
        result.append(model(input_ids=torch.tensor([sample["input_ids"]]), use_cache=False).logits[0])
    return result


def largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    # One tensor, because Python's max could lose a NaN.
    return torch.stack([(a - b).abs().max() for a, b in zip(ours, theirs)]).max().item()


def tensor_faults(model: torch.nn.Module, adapter: Path) -> list[str]:
    """How the tensors and the LoRA modules in the model differ from those of the file."""
    # Copies of base weights may be stored beside an embedding's LoRA: they are no adapter tensors.
    file = load_file(adapter / "adapter_model.safetensors")
    file = {name: tensor for name, tensor in file.items() if ".base_layer." not in name or ".lora_" in name}
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    wrapped = {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    with_tensors = {name.split(".lora_")[0] for name in file if ".lora_" in name}
    different = {name for name in file.keys() & loaded.keys() if not same(file[name], loaded[name])}
    found = {
        "tensors are missing in the file": loaded.keys() - file.keys(),
        "tensors of the file are not in the model": file.keys() - loaded.keys(),
        "tensors have other values in the model": different,
        "modules are wrapped but have no tensors": wrapped - with_tensors,
        "modules have tensors but are not wrapped": with_tensors - wrapped,
    }
    return [f"{len(names)} {what}, such as {min(names)}" for what, names in found.items() if names]


def same(stored: torch.Tensor, loaded: torch.Tensor) -> bool:
    return not loaded.is_meta and torch.equal(stored.float(), loaded.float())


def summary(complaints: set[str]) -> list[str]:
    """One line for many keys."""
    groups: dict[str, list[str]] = {}
    for complaint in sorted(complaints):
        groups.setdefault(complaint.partition(" ")[0], []).append(complaint)
    return [some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more" for some in groups.values()]


def show(name: str, figures: str, faults: list[str]) -> bool:
    """Print the result of one comparison; whether it is good."""
    print(f"{name:24} {'WRONG' if faults else 'same'}: {figures}", flush=True)
    for fault in faults:
        print(f"    {fault[:250]}")
    return not faults
