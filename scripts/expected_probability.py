"""Measure the probability of the true tokens behind every layer with transformers + PEFT.

The numbers are the reference for `report.probability` (`lora-slim scan --probability`): what the final norm and the head
make of the hidden states behind 0, 1, … L layers, in the base model and with the whole adapter. The plain way: the
model is cut off behind a layer and run as it is, so that its own code does all that comes behind the layers
(`output_hidden_states` would not do: transformers gives the last of them behind the final norm).

    python scripts/expected_probability.py ADAPTER --base HF_FOLDER --samples FILE.tokens.jsonl -o FILE.json
    python scripts/expected_probability.py --check REPORT.json EXPECTED.json

Samples are lines of {"input_ids", "labels"}, with the label -100 for tokens that are not scored. The second form
compares a report of `lora-slim scan --json --probability` with what the first one wrote.

Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers.utils import logging

from peft_reference import IGNORED, load_adapted, lora_only_in, read_token_samples, versions

TOLERANCE = 1e-5  # of a probability
LOSS_TOLERANCE = 2e-5  # nats per answer token, as that of the boundaries; of losses far from these, of every 10 nats


def decoder_of(model: nn.Module) -> nn.Module:
    """The module that holds the list of decoder layers."""
    found = [module for module in model.modules() if isinstance(getattr(module, "layers", None), nn.ModuleList)]
    if len(found) != 1:
        raise ValueError("the model has no single list of decoder layers named `layers`")
    return found[0]


@contextmanager
def only_first(decoder: nn.Module, layers: int) -> Iterator[None]:
    """The decoder without the layers from number `layers` on, inside the `with` block."""
    whole = decoder.layers
    decoder.layers = nn.ModuleList(whole[:layers])
    try:
        yield
    finally:
        decoder.layers = whole


@torch.no_grad()
def answer_losses(model: nn.Module, sample: dict) -> torch.Tensor:
    """Negative log-likelihood of each answer token, in nats."""
    logits = model(input_ids=torch.tensor([sample["input_ids"]]), use_cache=False).logits[0, :-1]
    targets = torch.tensor(sample["labels"][1:])
    scored = targets != IGNORED
    log_probabilities = logits[scored].double().log_softmax(dim=-1)
    return -log_probabilities.gather(1, targets[scored, None])[:, 0]


def side(model: nn.Module, samples: list[dict], per_sample: bool) -> dict:
    losses = [answer_losses(model, sample) for sample in samples]
    every = torch.cat(losses)
    means = {"probability": every.neg().exp().mean().item(), "loss": every.mean().item()}
    if per_sample:
        means["per_sample"] = [[one.neg().exp().sum().item(), one.sum().item()] for one in losses]
    return means


def measure(base: Path, adapter: Path, samples: list[dict], per_sample: bool) -> list[dict]:
    model, replaced = load_adapted(base, adapter)
    model.eval()
    decoder = decoder_of(model)
    points = []
    for layers in range(len(decoder.layers) + 1):
        # The adapter is switched before the layers are cut off: the switch is in all of them.
        with lora_only_in(model, range(0), replaced), only_first(decoder, layers):
            of_base = side(model, samples, per_sample)
        with only_first(decoder, layers):
            adapted = side(model, samples, per_sample)
        points.append({"layers": layers, "base": of_base, "adapted": adapted})
    return points


def check(report: Path, expected: Path) -> None:
    got, wanted = (json.loads(path.read_text())["probability"] for path in (report, expected))
    if len(got) != len(wanted):
        sys.exit(f"error: {len(got)} points instead of {len(wanted)}")
    worst = {"probability": 0.0, "loss": 0.0}
    for one, other in zip(got, wanted):
        for stream in ("base", "adapted"):
            # Behind the embedding alone losses can be above a hundred nats, where f32 has fewer digits behind the point.
            size = {"probability": 1.0, "loss": max(1.0, other[stream]["loss"] / 10)}
            for number in worst:
                difference = abs(one[stream][number] - other[stream][number]) / size[number]
                worst[number] = max(worst[number], difference)
    print(f"{len(got)} points, largest difference {worst['probability']:.1e} of a probability, "
          f"{worst['loss']:.1e} nats per token (per 10 nats above these)")
    if worst["probability"] > TOLERANCE or worst["loss"] > LOSS_TOLERANCE:
        sys.exit(1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path, nargs="?", help="PEFT adapter folder")
    parser.add_argument("--base", type=Path, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, help="JSON lines of input_ids and labels")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    parser.add_argument("--per-sample", action="store_true", help="also the sums of every sample")
    parser.add_argument("--check", type=Path, nargs=2, metavar=("REPORT", "EXPECTED"), help="compare, measure nothing")
    args = parser.parse_args()
    if not args.check and not all((args.adapter, args.base, args.samples, args.output)):
        parser.error("ADAPTER, --base, --samples and --output are needed, or --check")
    return args


def main() -> None:
    args = parse_args()
    if args.check:
        return check(*args.check)
    logging.disable_progress_bar()
    points = measure(args.base, args.adapter, read_token_samples(args.samples), args.per_sample)
    args.output.write_text(json.dumps({"made_with": versions(), "probability": points}, indent=1) + "\n")


if __name__ == "__main__":
    main()
