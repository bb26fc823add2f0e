"""Compare greedy answers of lora-slim with those of transformers + PEFT, token for token, and the time of both.

    CANDLE_NUM_THREADS=1 cargo bench --bench generate -- ADAPTER BASE SAMPLES.tokens.jsonl 0,15,30 64 f32 > answers.json
    python scripts/check/generation.py ADAPTER --base HF_FOLDER --samples SAMPLES.tokens.jsonl --answers answers.json

Samples are lines of {"input_ids", "labels"}; the tokens before the last scored ones are answered, in f32 with a
key-value cache. All prompts of a boundary go through `generate` together, padded on the left, which is timed. Those
that it answers otherwise than lora-slim does go through once more alone, without padding, and that answer counts.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.reference import load_base, lora_only_in, prompt_of, quiet, read_token_samples, reset_dynamic_rope

PAD = 0  # a token that no text has, in SmolLM2 and many others


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare greedy answers with transformers + PEFT.")
    parser.add_argument("adapter", type=Path, help="PEFT adapter folder")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, required=True, help="JSON lines of input_ids and labels")
    parser.add_argument("--answers", type=Path, required=True, help="what the benchmark `generate` printed")
    parser.add_argument("--tokens", type=int, default=64, help="the most tokens of an answer (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    return parser.parse_args()


@torch.no_grad()
def answer(model: nn.Module, prompts: list[list[int]], tokens: int, **options):
    """The output of `generate` for all prompts at once, padded on the left."""
    reset_dynamic_rope(model)
    longest = max(map(len, prompts))
    pads = [longest - len(prompt) for prompt in prompts]
    return model.generate(
        input_ids=torch.tensor([[0] * pad + prompt for pad, prompt in zip(pads, prompts)]),
        attention_mask=torch.tensor([[0] * pad + [1] * len(prompt) for pad, prompt in zip(pads, prompts)]),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=PAD,
        return_dict_in_generate=True,
        **options,
    )


def difference(model: nn.Module, prompt: list[int], got: list[int], tokens: int) -> str | None:
    """How an answer differs from the model's own to this prompt alone; None if it does not."""
    found = answer(model, [prompt], tokens, output_logits=True)
    wanted = found.sequences[0, len(prompt) :].tolist()
    if got == wanted:
        return None
    place = next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), None)
    if place is None:
        return f"{len(got)} tokens instead of {len(wanted)}"
    logits = found.logits[place][0]
    return f"token {place} differs, {logits[wanted[place]] - logits[got[place]]:.2e} in logits"


def compare(model: nn.Module, prompts: list[list[int]], answers: list[list[int]], tokens: int) -> tuple[int, float]:
    """How many answers are equal, and the seconds of answering all together."""
    start = time.perf_counter()
    found = answer(model, prompts, tokens).sequences[:, max(map(len, prompts)) :].tolist()
    seconds = time.perf_counter() - start
    differences = 0
    for number, (prompt, got, wanted) in enumerate(zip(prompts, answers, found), 1):
        # What follows the end of a shorter answer is padding.
        if got == wanted[: len(got)] and all(token == PAD for token in wanted[len(got) :]):
            continue
        if text := difference(model, prompt, got, tokens):
            differences += 1
            print(f"  sample {number}: {text}")
    return len(prompts) - differences, seconds


def main() -> None:
    args = parse_args()
    quiet(args.threads)
    ours = json.loads(args.answers.read_text())
    prompts = [prompt_of(sample) for sample in read_token_samples(args.samples)]
    model = PeftModel.from_pretrained(load_base(args.base), args.adapter).eval()
    seconds = 0.0
    for boundary, answers in zip(ours["boundaries"], ours["answers"]):
        with lora_only_in(model, range(boundary)):
            equal, took = compare(model, prompts, answers, args.tokens)
        seconds += took
        print(f"boundary {boundary}: {equal} of {len(prompts)} answers equal, {took:.1f} s", flush=True)
    print(f"transformers {seconds:.1f} s in all, lora-slim {ours['seconds']:.1f} s")


if __name__ == "__main__":
    main()
