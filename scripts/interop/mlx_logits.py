"""MLX-LM: the logits with an adapter that `lora-slim cut --format mlx` wrote, in f32.

    python scripts/interop/mlx_logits.py BASE_FOLDER MLX_FOLDER SAMPLES.tokens.jsonl > mlx.json
    python scripts/interop/peft_logits.py BASE_FOLDER PEFT_FOLDER SAMPLES.tokens.jsonl mlx.json

The second prints the largest difference of any logit of the last token of 20 prompts. Made with mlx 0.32.4 (CPU) and mlx-lm 0.32.2.
"""

import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm import load

base, adapter, samples = sys.argv[1:]
model, _ = load(base, adapter_path=adapter)
model.set_dtype(mx.float32)
rows = [json.loads(line) for line in Path(samples).read_text().splitlines()[:20]]
print(json.dumps([model(mx.array([row["input_ids"]]))[0, -1].tolist() for row in rows]))
