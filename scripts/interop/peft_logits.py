"""PEFT: the logits of an adapter's folder, against those that another runtime printed (see mlx_logits.py), or of another folder.

    python scripts/interop/peft_logits.py BASE_FOLDER PEFT_FOLDER SAMPLES.tokens.jsonl OTHER.json|OTHER_FOLDER [FIRST_LAYER_OFF]

Prints the largest difference of any logit of the last token of 20 prompts. OTHER_FOLDER is loaded with `low_cpu_mem_usage`; with
FIRST_LAYER_OFF, `lora_B` of its layers from there on is set to zero first: a cut must be equal to that. Made with torch 2.15,
transformers 5.24 and peft 0.21.2.
"""

import json
import re
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def logits(base: str, adapter: str, rows: list, first_off: int | None = None, **options) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter, **options).eval()
    for name, parameter in model.named_parameters():
        layer = re.search(r"\.layers\.(\d+)\.", name)
        if first_off is not None and "lora_B" in name and layer and int(layer[1]) >= first_off:
            parameter.data.zero_()
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row["input_ids"]])).logits[0, -1] for row in rows])


base, adapter, samples, other = sys.argv[1:5]
rows = [json.loads(line) for line in Path(samples).read_text().splitlines()[:20]]
found = logits(base, adapter, rows)
if Path(other).is_dir():
    first_off = int(sys.argv[5]) if len(sys.argv) > 5 else None
    expected = logits(base, other, rows, first_off, low_cpu_mem_usage=first_off is None)
else:
    expected = torch.tensor(json.loads(Path(other).read_text()))
print(json.dumps({"runtime": "PEFT", "largest_difference": (found - expected).abs().max().item(), "prompts": len(rows)}))
