"""Measure the loss of every boundary with transformers + PEFT: the loop people would write.

The losses are the reference for lora-slim's, and the seconds are what it has to beat. One full
forward of one sample per boundary, in f32, with LoRA on only in the layers below the boundary.

    python scripts/expected_losses.py ADAPTER --base HF_FOLDER --samples FILE.tokens.jsonl -o FILE.json
    python scripts/expected_losses.py … --boundaries 0,15,30 --threads 2

Samples are lines of {"input_ids", "labels"}, with the label -100 for tokens that are not scored.
The base is a Hugging Face folder: gguf_to_hf.py makes one of a GGUF file.

Made with torch 2.15, transformers 5.23 and peft 0.21.2.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers.utils import logging

from peft_reference import curve, load_base, read_token_samples, scored_tokens, versions


def boundary_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"`{text}` is no list of numbers such as 0,15,30") from None


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure boundary losses with transformers + PEFT.")
    parser.add_argument("adapter", type=Path, help="PEFT adapter folder")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, required=True, help="JSON lines of input_ids and labels")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--boundaries", type=boundary_list, help="such as 0,15,30 (default: all)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    return parser.parse_args()


def load(base: Path, adapter: Path) -> PeftModel:
    for folder in (base, adapter):
        if not folder.is_dir():  # else the name would be looked up on a model hub
            raise ValueError(f"{folder} is not a folder")
    return PeftModel.from_pretrained(load_base(base), adapter)


def chosen_boundaries(model: PeftModel, wanted: list[int] | None) -> list[int]:
    layers = model.config.num_hidden_layers
    if outside := [b for b in wanted or [] if not 0 <= b <= layers]:
        raise ValueError(f"boundary {outside[0]} is outside 0..{layers}")
    return wanted or list(range(layers + 1))


def measure(args: argparse.Namespace) -> None:
    samples = read_token_samples(args.samples)
    start = time.perf_counter()
    model = load(args.base, args.adapter)
    result = {
        "made_with": versions() | {"dtype": "float32", "threads": torch.get_num_threads()},
        "samples": len(samples),
        "answer_tokens": sum(scored_tokens(sample["labels"]) for sample in samples),
        "load_seconds": round(time.perf_counter() - start, 2),
        "sweep_seconds": 0.0,
        "curve": [],
    }
    boundaries = chosen_boundaries(model, args.boundaries)
    start = lap = time.perf_counter()
    for point in curve(model, samples, boundaries):
        now = time.perf_counter()
        print(f"boundary {point['boundary']:3}  loss {point['loss']:.6f}  {now - lap:6.2f} s", flush=True)
        lap = now
        result["curve"].append(point)
        result["sweep_seconds"] = round(now - start, 2)
        args.output.write_text(json.dumps(result) + "\n")  # each time: an interrupted run keeps its points
    print(f"{len(boundaries)} boundaries in {lap - start:.1f} s, {(lap - start) / len(boundaries):.2f} s each")


def main() -> None:
    args = parse_args()
    logging.disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        measure(args)
    except (OSError, ValueError) as error:
        sys.exit(f"expected_losses.py: {error}")


if __name__ == "__main__":
    main()
