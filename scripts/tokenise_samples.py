"""Write samples as tokens and labels, as the model's own tokenizer and chat template make them.

lora-slim does this itself; loops in PyTorch that it is compared with want the same tokens.

    python scripts/tokenise_samples.py MODEL SAMPLES.jsonl OUT.tokens.jsonl

MODEL is a Hugging Face folder, the samples have `prompt` and `completion`. Scored are the completion and what the
template puts behind it. Made with transformers 5.24.
"""

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer

IGNORED = -100


def main() -> None:
    model, samples, out = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    with Path(out).open("w") as file:
        for line in Path(samples).read_text().splitlines():
            sample = json.loads(line)
            turns = [{"role": "user", "content": sample["prompt"]}]
            prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
            turns.append({"role": "assistant", "content": sample["completion"]})
            whole = tokenizer.apply_chat_template(turns, tokenize=False)
            ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
            before = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            json.dump({"input_ids": ids, "labels": [IGNORED] * before + ids[before:]}, file)
            file.write("\n")


if __name__ == "__main__":
    main()
