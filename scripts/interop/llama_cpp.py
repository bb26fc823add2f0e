"""llama.cpp: a GGUF adapter that lora-slim wrote, against lora-slim's own forward pass with the PEFT folder, on one base file.

    cargo build --release --example logits
    python scripts/interop/llama_cpp.py BASE.gguf GGUF_FOLDER PEFT_FOLDER SAMPLES.tokens.jsonl

Takes the prompts of the first 20 samples; prints the correlation of the next token's log-probabilities over the whole vocabulary
with lora-slim's logits, and how many greedy continuations of 24 tokens are equal. Made with xllamacpp 2026.10.11549 and numpy
2.4.6.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import xllamacpp

PROMPTS, TOKENS = 20, 24
LOGITS = Path(__file__).parents[2] / "target/release/examples/logits"


def prompts_of(samples: str) -> list:
    rows = [json.loads(line) for line in Path(samples).read_text().splitlines()[:PROMPTS]]
    return [row["input_ids"][: next(i for i, label in enumerate(row["labels"]) if label != -100)] for row in rows]


def own_answers(base: str, adapter: str, prompts: list) -> dict:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(prompts, file)
        file.flush()
        done = subprocess.run([LOGITS, base, adapter, file.name, str(TOKENS)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def server(base: str, adapter: Path) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = base
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 2048, 1, 2
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(adapter), 1.0)]
    return xllamacpp.Server(params)


def complete(server, prompt: list, tokens: int, candidates: int) -> list:
    """The candidates at each place, likeliest first, as (token, log-probability)."""
    wanted = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "n_probs": candidates, "cache_prompt": False}
    answer = server.handle_completions(wanted)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    places = answer.get("completion_probabilities") or answer["choices"][0]["logprobs"]["content"]
    return [[(top["id"], top["logprob"]) for top in place["top_logprobs"]] for place in places]


def main() -> None:
    base, gguf, peft, samples = sys.argv[1:]
    prompts = prompts_of(samples)
    own = own_answers(base, peft, prompts)
    llama = server(base, Path(gguf) / "adapter.gguf")
    correlations, equal = [], 0
    for prompt, logits, greedy in zip(prompts, own["logits"], own["greedy"]):
        found = np.full(len(logits), np.nan)
        for token, value in complete(llama, prompt, 1, len(logits))[0]:
            found[token] = value
        seen = np.isfinite(found)
        correlations.append(float(np.corrcoef(found[seen], np.array(logits)[seen])[0, 1]))
        taken = [place[0][0] for place in complete(llama, prompt, TOKENS, 1)]
        # llama.cpp does not count the token that ends the answer.
        length = min(len(taken), len(greedy))
        equal += length > 0 and taken[:length] == greedy[:length] and len(greedy) - length <= 1
    print(json.dumps({
        "runtime": "llama.cpp", "version": f"xllamacpp {xllamacpp.__version__}", "prompts": len(prompts),
        "least_correlation": min(correlations), "mean_correlation": sum(correlations) / len(correlations), "greedy_equal": equal,
    }))


if __name__ == "__main__":
    main()
