"""Check with PEFT itself that a slimmed adapter is the original with the upper layers switched off.

lora-slim promises that what it writes loads without a warning and computes the same. Mistakes are
easily overlooked: PEFT only warns of a module without tensors, which with low_cpu_mem_usage then
computes garbage, and it does not mention tensors without a module. So this loads SLIMMED both ways
and checks

- that neither PEFT nor transformers warns,
- that the tensors in the model are those of the file, no more, no less, and with the same values,
- that the wrapped modules are exactly those that have tensors,
- that the logits are those of ORIGINAL with LoRA off in the layers that SLIMMED lacks.

    python scripts/check_peft.py ORIGINAL SLIMMED --base HF_FOLDER [--samples FILE.tokens.jsonl]

Exit status 1 if anything differs. Made with torch 2.15, transformers 5.23 and peft 0.21.2.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file

from peft_reference import LAYER_INDEX, load_base, lora_only_in, read_token_samples, reset_dynamic_rope

SAMPLES = 4  # logits of whole samples are large, and a wrong module shows in any of them
WAYS = {"from_pretrained": {}, "low_cpu_mem_usage": {"low_cpu_mem_usage": True}}


@dataclass
class Result:
    """What one way of loading gave."""

    way: str
    modules: int = 0
    difference: float = float("nan")
    faults: list[str] = field(default_factory=list)


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


def random_samples(vocabulary: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocabulary, (length,), generator=generator).tolist() for length in (8, 17, 32, 32)]


@torch.no_grad()
def logits(model: PeftModel, samples: list[list[int]]) -> list[torch.Tensor]:
    result = []
    for ids in samples:
        reset_dynamic_rope(model)
        result.append(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0])
    return result


def largest_difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    # One tensor, because Python's max could lose a NaN.
    return torch.stack([(a - b).abs().max() for a, b in zip(ours, theirs)]).max().item()


def listed(what: str, names: set[str]) -> list[str]:
    """A fault that names the first of `names`, or none if there are none."""
    return [f"{len(names)} {what}, such as {min(names)}"] if names else []


def tensor_faults(model: PeftModel, file: dict[str, torch.Tensor]) -> list[str]:
    # Copies of base weights may be stored beside an embedding's LoRA: they are no adapter tensors.
    file = {name: tensor for name, tensor in file.items() if ".base_layer." not in name or ".lora_" in name}
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    differing = {name for name in file.keys() & loaded.keys() if not same(file[name], loaded[name])}
    return (
        listed("tensors are missing in the file", loaded.keys() - file.keys())
        + listed("tensors of the file are not in the model", file.keys() - loaded.keys())
        + listed("tensors have other values in the model", differing)
    )


def same(stored: torch.Tensor, loaded: torch.Tensor) -> bool:
    return not loaded.is_meta and torch.equal(stored.float(), loaded.float())


def wrapped_modules(model: PeftModel) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def tensor_modules(file: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".lora_")[0] for name in file if ".lora_" in name}


def module_faults(wrapped: set[str], with_tensors: set[str]) -> list[str]:
    return listed("modules are wrapped but have no tensors", wrapped - with_tensors) + listed(
        "modules have tensors but are not wrapped", with_tensors - wrapped
    )


def check_way(way: str, args: argparse.Namespace, samples: list[list[int]], wanted: list[torch.Tensor]) -> Result:
    result = Result(way)
    file = load_file(args.slimmed / "adapter_model.safetensors")
    base = load_base(args.base)
    try:
        with recorded_warnings() as messages:
            model = PeftModel.from_pretrained(base, args.slimmed, **WAYS[way]).eval()
        wrapped = wrapped_modules(model)
        result.modules = len(wrapped)
        result.faults = [f"warning: {message}" for message in messages]
        result.faults += tensor_faults(model, file) + module_faults(wrapped, tensor_modules(file))
        result.difference = largest_difference(logits(model, samples), wanted)
        if not result.difference <= args.tolerance:  # written so that NaN is a fault too
            result.faults.append(f"logits differ by up to {result.difference:.3g}")
    except (KeyError, NotImplementedError, RuntimeError, ValueError) as error:  # what PEFT and torch raise
        result.faults.append(f"{type(error).__name__}: {error}")
    return result


def adapted_layers(slimmed: Path) -> set[int]:
    found = map(LAYER_INDEX.search, load_file(slimmed / "adapter_model.safetensors"))
    return {int(match.group(1)) for match in found if match}


def check(args: argparse.Namespace) -> list[Result]:
    for folder in (args.base, args.original, args.slimmed):
        if not folder.is_dir():  # else the name would be looked up on a model hub
            raise ValueError(f"{folder} is not a folder")
    kept = adapted_layers(args.slimmed)
    original = PeftModel.from_pretrained(load_base(args.base), args.original).eval()
    if args.samples:
        samples = [sample["input_ids"] for sample in read_token_samples(args.samples)[:SAMPLES]]
    else:
        samples = random_samples(original.config.vocab_size)
    with lora_only_in(original, kept):
        wanted = logits(original, samples)
    del original  # one model in memory at a time
    return [check_way(way, args, samples, wanted) for way in WAYS]


def print_table(results: list[Result]) -> None:
    print(f"{'loaded with':18} {'modules':>7} {'max |Δ logit|':>14}  verdict")
    for result in results:
        verdict = "differs" if result.faults else "same"
        print(f"{result.way:18} {result.modules:7} {result.difference:14.3g}  {verdict}")
        for fault in result.faults:
            print(f"    {fault if len(fault) <= 200 else fault[:200] + ' …'}")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a slimmed PEFT adapter with its original.")
    parser.add_argument("original", type=Path, help="PEFT adapter folder")
    parser.add_argument("slimmed", type=Path, help="what lora-slim made of it")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, help="JSON lines with input_ids (default: random tokens)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of logits (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)
    try:
        results = check(args)
    except (OSError, ValueError, SafetensorError) as error:
        sys.exit(f"check_peft.py: {error}")
    print_table(results)
    sys.exit(any(result.faults for result in results))


if __name__ == "__main__":
    main()
