"""Check with PEFT that adapters of models with an encoder and a decoder are cut in either stack, and nowhere else.

    python scripts/check/encoder_decoder.py [--boundary 2]

Cuts each adapter of fixtures/encoder-decoder in each stack. What is written has to load in PEFT without a complaint, on
the base model that scripts/common/encoder_decoder.py makes, and to give the logits of the original with everything off
in the layers that were cut. Exit status 1 if it does not.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.encoder_decoder import from_config
from common.paths import FIXTURES
from common.reference import quiet
from peft_loading import largest_difference, lora_slim

TOLERANCE = 1e-5  # of logits


@torch.no_grad()
def logits(model: PeftModel) -> list[torch.Tensor]:
    torch.manual_seed(7)
    config = model.get_base_model().config
    if config.model_type == "whisper":
        inputs = {"input_features": torch.randn(2, config.num_mel_bins, 2 * config.max_source_positions)}
    else:
        inputs = {"input_ids": torch.randint(4, config.vocab_size, (2, 9))}
    answers = torch.randint(4, config.vocab_size, (2, 7))
    return [model.eval()(**inputs, decoder_input_ids=answers).logits]


def load(folder: Path, adapter: Path) -> tuple[PeftModel, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(from_config(folder / "base"), adapter)
    return model, [str(one.message) for one in caught if "keys" in str(one.message)]


def without(folder: Path, side: str, boundary: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The logits of the original, and those with its upper layers of one side off."""
    model, _ = load(folder, folder / "adapter")
    whole = logits(model)
    for name, module in model.named_modules():
        parts = name.split(".")
        numbers = [int(part) for part in parts if part.isdigit()]
        if isinstance(module, LoraLayer) and side in parts and numbers[0] >= boundary:
            module.enable_adapters(False)
    return whole, logits(model)


def check(folder: Path, side: str, boundary: int) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        slimmed = Path(scratch) / "cut"
        command = ["cut", folder / "adapter", "--stack", side, "--boundary", boundary, "-o", slimmed, "--quiet"]
        _, refusal = lora_slim(*command)
        if refusal:
            print(f"{folder.name} {side}: {refusal}")
            return False
        whole, wanted = without(folder, side, boundary)
        model, complaints = load(folder, slimmed)
        difference, dropped = (largest_difference(logits(model), wanted), largest_difference(whole, wanted))
    print(f"{folder.name} {side}: max |Δ logit| {difference:.2g}, of what was dropped {dropped:.2g}", *complaints)
    return difference <= TOLERANCE < dropped and not complaints


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare cut adapters of encoders and decoders with PEFT.")
    parser.add_argument("--boundary", type=int, default=2, help="keep the layers below (default: %(default)s)")
    boundary = parser.parse_args().boundary
    quiet(threads=1)
    folders = sorted(path.parent for path in (FIXTURES / "encoder-decoder").glob("*/adapter"))
    good = [check(folder, side, boundary) for folder in folders for side in ("encoder", "decoder")]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
