"""Time the loop that people would write instead of lora-slim, and lora-slim beside it.

    python scripts/bench/loop.py ADAPTER BASE SAMPLES.tokens.jsonl [--count 32] [--boundaries 3]

For every boundary b the loop switches LoRA off in the layers from b on and runs the whole model over the samples. Three
ways of writing it, each in f32 and bf16:

- plain: one sample after the other, logits of every position,
- answers: the same with the head only at answer positions,
- batched: batches of eight samples of similar length, the head only at answer positions.

A boundary costs the loop the same wherever it lies, so some are timed and the rest is multiplied. BASE is a Hugging
Face folder. Set OMP_NUM_THREADS to the number of processors; nothing else should run.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY
from common.reference import IGNORED, lora_only_in, quiet, read_token_samples, scored_tokens

BATCH = 8


@torch.no_grad()
def plain(model: PeftModel, samples: list[dict]) -> float:
    """Nats over all answer tokens."""
    total = 0.0
    for sample in samples:
        logits = model(input_ids=torch.tensor([sample["input_ids"]]), use_cache=False).logits[0, :-1].float()
        labels = torch.tensor(sample["labels"][1:])
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum").item()
    return total


def answers(model: PeftModel, samples: list[dict]) -> float:
    return batched(model, samples, size=1)


@torch.no_grad()
def batched(model: PeftModel, samples: list[dict], size: int = BATCH) -> float:
    """The same, with fewer and larger products."""
    total = 0.0
    ordered = sorted(samples, key=lambda sample: len(sample["input_ids"]))
    inner = model.base_model.model
    for start in range(0, len(ordered), size):
        batch = ordered[start : start + size]
        longest = max(len(sample["input_ids"]) for sample in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long, device=model.device)
        labels = torch.full((len(batch), longest), IGNORED, device=model.device)
        mask = torch.zeros_like(ids)
        for row, sample in enumerate(batch):
            length = len(sample["input_ids"])
            ids[row, :length] = torch.tensor(sample["input_ids"], device=model.device)
            labels[row, :length] = torch.tensor(sample["labels"], device=model.device)
            mask[row, :length] = 1
        hidden = inner.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        scored = targets != IGNORED
        logits = inner.lm_head(hidden[scored]).float()
        total += torch.nn.functional.cross_entropy(logits, targets[scored], reduction="sum").item()
    return total


def time_loop(way, dtype, args, samples) -> tuple[float, list[float]]:
    base = AutoModelForCausalLM.from_pretrained(args.base, dtype=dtype).eval()
    model = PeftModel.from_pretrained(base, args.adapter).to(dtype).eval()
    layers = base.config.num_hidden_layers
    boundaries = [round(i * layers / (args.boundaries - 1)) for i in range(args.boundaries)]
    tokens = sum(scored_tokens(sample["labels"]) for sample in samples)
    way(model, samples)  # warm
    losses, start = [], time.perf_counter()
    for boundary in boundaries:
        with lora_only_in(model, range(boundary)):
            losses.append(way(model, samples) / tokens)
    return (time.perf_counter() - start) / len(boundaries) * (layers + 1), losses


def time_tool(args, options: list[str]) -> tuple[float, int, float, int]:
    """Seconds, the chosen boundary, the share of the exhaustive work, and the peak memory in MiB."""
    command = [BINARY, "scan", args.adapter, "--base", args.base, "--samples", args.samples, "--json", "--quiet"]
    # Measured by another program: a child of this process would begin with the memory of PyTorch.
    command = ["/usr/bin/time", "-f", "%M", *command, "--max-samples", str(args.count), *args.flags, *options]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    report, memory = json.loads(done.stdout), int(done.stderr.split()[-1]) // 1024
    work = report["work"]["layer_tokens"] / report["work"]["exhaustive_layer_tokens"]
    return seconds, report["chosen"]["boundary"], work, memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter")
    parser.add_argument("base")
    parser.add_argument("samples")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--boundaries", type=int, default=3, help="how many of the loop's are timed")
    parser.add_argument("--flags", type=str.split, default=[], help="further flags of lora-slim")
    parser.add_argument("--tool-only", action="store_true", help="do not time the loop")
    args = parser.parse_args()
    quiet()
    samples = read_token_samples(args.samples)[: args.count]
    for rule in ("smallest", "best"):
        for search in ("exhaustive", "adaptive"):
            for precision in ("auto", "f32"):
                options = ["--choose", rule, "--search", search, "--precision", precision]
                wall, boundary, work, memory = time_tool(args, options)
                chosen = f"boundary {boundary:2}  {work:4.0%} of the work  {memory} MiB"
                print(f"lora-slim {rule:8} {search:10} {precision:4} {wall:7.1f} s  {chosen}")
    if args.tool_only:
        return
    for way in (plain, answers, batched):
        for dtype in (torch.float32, torch.bfloat16):
            wall, losses = time_loop(way, dtype, args, samples)
            name = str(dtype).removeprefix("torch.")
            shown = " ".join(f"{loss:.4f}" for loss in losses)
            print(f"loop {way.__name__:7} {name:8} {wall:7.1f} s  losses {shown}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"memory of this process {memory} MiB, torch {torch.__version__}")


if __name__ == "__main__":
    main()
