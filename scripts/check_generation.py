"""Compare greedy answers of lora-slim with those of transformers + PEFT, token for token, and the time of both.

    cargo bench --bench generate -- ADAPTER BASE SAMPLES.tokens.jsonl 0,15,30 64 f32 > answers.json
    python scripts/check_generation.py ADAPTER --base HF_FOLDER --samples SAMPLES.tokens.jsonl --answers answers.json

Samples are lines of {"input_ids", "labels"}; what stands before the last scored tokens is answered. Each
answer is found one prompt at a time, in f32 with a key-value cache. With --batched all prompts of a
boundary go through `generate` once more, padded on the left, which is what its time is worth comparing with.

Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from peft import PeftModel
from torch import nn
from transformers.utils import logging

from make_generation_fixtures import prompt_of
from peft_reference import load_base, lora_only_in, read_token_samples, reset_dynamic_rope


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare greedy answers with transformers + PEFT.")
    parser.add_argument("adapter", type=Path, help="PEFT adapter folder")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, required=True, help="JSON lines of input_ids and labels")
    parser.add_argument("--answers", type=Path, required=True, help="what the benchmark `generate` printed")
    parser.add_argument("--tokens", type=int, default=64, help="the most tokens of an answer (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--batched", action="store_true", help="measure the time of batches, too")
    return parser.parse_args()


@torch.no_grad()
def answer(model: nn.Module, prompts: list[list[int]], tokens: int):
    """All prompts at once, padded on the left; what `generate` gives."""
    longest = max(map(len, prompts))
    pads = [longest - len(prompt) for prompt in prompts]
    return model.generate(
        input_ids=torch.tensor([[0] * pad + prompt for pad, prompt in zip(pads, prompts)]),
        attention_mask=torch.tensor([[0] * pad + [1] * len(prompt) for pad, prompt in zip(pads, prompts)]),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )


def compare(model: nn.Module, prompts: list[list[int]], answers: list[list[int]], tokens: int) -> int:
    """How many answers are equal; where one is not, by how much the two tokens differ in logits."""
    equal = 0
    for number, (prompt, got) in enumerate(zip(prompts, answers), 1):
        reset_dynamic_rope(model)
        found = answer(model, [prompt], tokens)
        wanted = found.sequences[0, len(prompt):].tolist()
        if got == wanted:
            equal += 1
            continue
        place = next((i for i, pair in enumerate(zip(got, wanted)) if pair[0] != pair[1]), min(len(got), len(wanted)))
        if place < min(len(got), len(wanted)):
            logits = found.logits[place][0]
            margin = (logits[wanted[place]] - logits[got[place]]).item()
            print(f"  sample {number}: token {place} differs, {margin:.2e} in logits")
        else:
            print(f"  sample {number}: {len(got)} tokens instead of {len(wanted)}")
    return equal


def main() -> None:
    args = parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    given = json.loads(args.answers.read_text())
    prompts = [prompt_of(sample) for sample in read_token_samples(args.samples)]
    model = PeftModel.from_pretrained(load_base(args.base), args.adapter).eval()
    seconds = 0.0
    for boundary, answers in zip(given["boundaries"], given["answers"]):
        with lora_only_in(model, range(boundary)):
            equal = compare(model, prompts, answers, args.tokens)
            print(f"boundary {boundary}: {equal} of {len(prompts)} answers equal", flush=True)
            if args.batched:
                start = time.perf_counter()
                answer(model, prompts, args.tokens)
                seconds += time.perf_counter() - start
    if args.batched:
        print(f"transformers, batched: {seconds:.1f} s; lora-slim {given['seconds']:.1f} s")


if __name__ == "__main__":
    main()
