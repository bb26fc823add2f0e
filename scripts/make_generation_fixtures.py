"""Make fixtures/pico/*/generated.json: the tokens that transformers + PEFT generate greedily.

For every pico model the base, the whole adapter and one boundary between answer prompts of
fixtures/pico/samples.tokens.jsonl: what stands before the last scored tokens, with a key-value cache, one
prompt at a time, in f32. Prompts are left out where the two likeliest tokens are closer than MARGIN
anywhere, because then the order of sums decides.

    python scripts/make_generation_fixtures.py [CASE ...]

Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.utils import logging

from peft_reference import (
    IGNORED,
    adapter_modules,
    load_adapted,
    lora_only_in,
    read_token_samples,
    reset_dynamic_rope,
    versions,
)

PICO = Path(__file__).parent.parent / "fixtures" / "pico"
NEW_TOKENS = 12
MARGIN = 1e-3


def prompt_of(sample: dict) -> list[int]:
    """What stands before the last run of scored tokens."""
    labels = sample["labels"]
    end = max(place for place, label in enumerate(labels) if label != IGNORED)
    start = next((place + 1 for place in range(end, -1, -1) if labels[place] == IGNORED), 0)
    return sample["input_ids"][:start]


def context_of(config: PreTrainedConfig) -> int:
    """The longest sequence that the model takes, as lora-slim has it."""
    context = getattr(config, "max_position_embeddings", 1024)  # ALiBi has no end
    rope = getattr(config, "rope_parameters", None) or {}
    # Only dynamic scaling is made for going beyond.
    return int(context * rope["factor"]) if rope.get("rope_type") == "dynamic" else context


@torch.no_grad()
def greedy(model: nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    """The tokens of an answer, and how much likelier they are than the next likeliest, in logits."""
    reset_dynamic_rope(model)
    answer = model.generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=-1,  # none ends it
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    best = torch.cat(answer.logits).topk(2).values
    return answer.sequences[0, len(prompt):].tolist(), (best[:, 0] - best[:, 1]).min().item()


def make(case: Path, samples: list[dict]) -> None:
    model, replaced = load_adapted(case / "base", case / "adapter")
    model.eval()
    # `generate` would choose a product of groups for experts, which pico sizes do not fit.
    getattr(model, "get_base_model", lambda: model)().set_experts_implementation("eager")
    config = model.config.get_text_config()
    layers = sorted({layer for layer, _ in adapter_modules(model)})
    whole = layers[-1] + 1
    boundaries = [0, layers[len(layers) // 2], whole]
    answers = []
    for place, sample in enumerate(samples):
        prompt = prompt_of(sample)
        if not prompt or len(prompt) + NEW_TOKENS > context_of(config):
            continue
        tokens, margins = [], []
        for boundary in boundaries:
            with lora_only_in(model, range(boundary), replaced):
                answer, margin = greedy(model, prompt)
            tokens.append(answer)
            margins.append(margin)
        if min(margins) > MARGIN:
            answers.append({"sample": place, "tokens": tokens})
    result = {"made_with": versions(), "boundaries": boundaries, "answers": answers}
    (case / "generated.json").write_text(json.dumps(result) + "\n")
    different = sum(len({str(tokens) for tokens in answer["tokens"]}) > 1 for answer in answers)
    print(f"{case.name}: boundaries {boundaries}, {len(answers)} prompts, {different} with different answers", flush=True)


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    samples = read_token_samples(PICO / "samples.tokens.jsonl")
    cases = sys.argv[1:] or sorted(path.parent.parent.name for path in PICO.glob("*/base/config.json"))
    for case in cases:
        make(PICO / case, samples)


if __name__ == "__main__":
    main()
