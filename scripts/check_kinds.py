"""Cut every adapter of fixtures/kinds and check with PEFT what comes out.

check_peft.py does it for one LoRA adapter; this takes the other kinds, too: saved modules, trained
biases, parameters of experts, LoHa and so on. Each cut folder is loaded both ways that PEFT has, and

- PEFT must give no warning that it does not give for the original,
- no key may be missing in the file or unexpected in it (PEFT itself is silent about the latter),
- the logits must be those of the original with everything off in the layers that were cut: saved
  modules and biases there are the base's again.

    python scripts/check_kinds.py [KIND …] [--boundary 2] [--binary target/release/lora-slim]

Exit status 1 if a cut folder is wrong; a kind that lora-slim refuses is listed, no more.
Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # the made-up model ids must not be looked up

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import peft.peft_model
import torch
import transformers

from check_peft import WAYS, largest_difference, logits, recorded_warnings
from peft_reference import load_adapted, lora_only_in, read_token_samples

ROOT = Path(__file__).parent.parent
TOLERANCE = 1e-5  # of the largest logit


@dataclass
class Result:
    """What one way of loading gave."""

    way: str
    difference: float = float("nan")
    faults: list[str] = field(default_factory=list)


def cut(binary: Path, adapter: Path, boundary: int, out: Path) -> str | None:
    """Why lora-slim refuses, or None when it has written the folder."""
    command = [binary, "cut", adapter, "--boundary", str(boundary), "-o", out, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().partition("\n")[0]


@contextmanager
def recorded_keys() -> Iterator[set[str]]:
    """The keys of the adapter that are missing in a file or unexpected in it; PEFT keeps most to itself."""
    faulty: set[str] = set()
    load = peft.peft_model.set_peft_model_state_dict

    def recorded(*args, **kwargs):
        result = load(*args, **kwargs)
        faulty.update(f"missing {key}" for key in result.missing_keys if ".default" in key)
        faulty.update(f"unexpected {key}" for key in result.unexpected_keys)
        return result

    with mock.patch("peft.peft_model.set_peft_model_state_dict", recorded):
        yield faulty


def load(base: Path, adapter: Path, way: str) -> tuple[torch.nn.Module | None, dict, set[str]]:
    """The model, what its adapter replaced in the base, and all complaints."""
    with recorded_warnings() as messages, recorded_keys() as keys:
        try:
            model, replaced = load_adapted(base, adapter, **WAYS[way])
        except Exception as error:  # whatever PEFT and torch raise
            return None, {}, {f"{type(error).__name__}: {error}"}
    # Lists of names differ with the layers; the keys above are compared one by one.
    return model, replaced, keys.union("warning: " + message.partition("[")[0] for message in messages)


def summary(complaints: set[str]) -> list[str]:
    """One line for many keys."""
    kinds: dict[str, list[str]] = {}
    for complaint in sorted(complaints):
        kinds.setdefault(complaint.partition(" ")[0], []).append(complaint)
    return [some[0] if len(some) == 1 else f"{some[0]} and {len(some) - 1} more" for some in kinds.values()]


def compare(base: Path, original: Path, slimmed: Path, boundary: int, samples: list) -> Iterator[Result]:
    for way in WAYS:
        model, replaced, known = load(base, original, way)
        if model is None:
            continue  # a way that does not work for the original
        with lora_only_in(model, range(boundary), replaced):
            wanted = logits(model, samples)
        result = Result(way)
        if largest_difference(logits(model, samples), wanted) < 1e-3:
            result.faults.append("the layers that were cut do nothing")
        model, _, complaints = load(base, slimmed, way)
        result.faults += summary(complaints - known)
        if model:
            try:
                result.difference = largest_difference(logits(model, samples), wanted)
            except NotImplementedError as error:  # a tensor that no file filled
                result.faults.append(str(error))
            if not result.difference <= TOLERANCE * max(tensor.abs().max().item() for tensor in wanted):
                result.faults.append(f"logits differ by up to {result.difference:.3g}")
        yield result


def check(kind: Path, arguments: argparse.Namespace, samples: list) -> bool:
    """Whether the cut folder is right, or refused; prints what there is to say."""
    config = json.loads((kind / "adapter_config.json").read_text())
    base = kind.parent / Path(config["base_model_name_or_path"]).name
    with tempfile.TemporaryDirectory() as scratch:
        slimmed = Path(scratch) / "cut"
        if refusal := cut(arguments.binary, kind, arguments.boundary, slimmed):
            print(f"{kind.name:24} refused: {refusal[:200]}", flush=True)
            return True
        results = list(compare(base, kind, slimmed, arguments.boundary, samples))
    faults = [f"{result.way}: {fault}" for result in results for fault in result.faults]
    difference = " ".join(f"{result.difference:.2g}" for result in results)
    print(f"{kind.name:24} {'WRONG' if faults or not results else 'same'}, max |Δ logit| {difference}", flush=True)
    for fault in faults:
        print(f"    {fault[:250]}")
    return bool(results) and not faults


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut every adapter of fixtures/kinds and load it with PEFT.")
    parser.add_argument("kinds", nargs="*", help="names of folders (default: all)")
    parser.add_argument("--boundary", type=int, default=2, help="keep the layers below (default: %(default)s)")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "lora-slim")
    parser.add_argument("--fixtures", type=Path, default=ROOT / "fixtures" / "kinds")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = read_token_samples(ROOT / "fixtures" / "pico" / "samples.tokens.jsonl")
    samples = [row["input_ids"] for row in rows[-4:]]
    folders = sorted(path.parent for path in arguments.fixtures.glob("*/adapter_config.json"))
    kinds = [kind for kind in folders if not arguments.kinds or kind.name in arguments.kinds]
    right = [check(kind, arguments, samples) for kind in kinds]
    sys.exit(not all(right))


if __name__ == "__main__":
    main()
