"""Check with PEFT that what `slim` writes with --scale, --search subset and --search blocks has the loss that its report says.

Each pico model's adapter is slimmed in several ways; PEFT loads the output, which has to give exactly the modules that have
tensors, and transformers computes the loss of the same samples in f32.

    cargo build --release && python scripts/check_written.py

Made with torch 2.15, transformers 5.24 and peft 0.21.2.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "fixtures/pico/samples.tokens.jsonl"
CASES = ["mistral", "mixtral", "phi3", "smollm3"]
WAYS = [
    ["--choose", "best", "--search", "blocks", "--scale", "tune"],
    ["--choose", "best", "--search", "subset", "--scale", "0.6"],
    ["--boundary", "3", "--scale", "1.7"],
]
TOLERANCE = 2e-5  # nats per answer token


def slim(case: Path, way: list[str], out: Path) -> dict:
    """Slims a case's adapter and gives the report."""
    program = [ROOT / "target/release/lora-slim", "slim", case / "adapter", "--base", case / "base", "--samples", SAMPLES]
    subprocess.run([*program, "-o", out, "--precision", "f32", "--quiet", *way], check=True, capture_output=True)
    return json.loads((out / "slim_report.json").read_text())


def measured(case: Path, adapter: Path) -> tuple[float, int]:
    """The loss per answer token and the tensors of LoRA that PEFT has."""
    model = AutoModelForCausalLM.from_pretrained(case / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter).eval()
    loss, tokens = 0.0, 0
    for line in SAMPLES.read_text().splitlines():
        sample = json.loads(line)
        labels = torch.tensor(sample.get("labels", sample["input_ids"]))[1:]
        with torch.no_grad():
            logits = model(torch.tensor([sample["input_ids"]])).logits[0, :-1].double()
        scored = labels != -100
        loss += cross_entropy(logits[scored], labels[scored], reduction="sum").item()
        tokens += int(scored.sum())
    return loss / tokens, sum("lora_" in name for name, _ in model.named_parameters())


def main() -> None:
    logging.set_verbosity_error()
    good = True
    for name in CASES:
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                report = slim(ROOT / "fixtures/pico" / name, way, out)
                loss, tensors = measured(ROOT / "fixtures/pico" / name, out)
            said, written = report["scale"]["loss"], report["output"]["tensors_after"]
            agrees = abs(loss - said) < TOLERANCE and tensors == written
            good &= agrees
            print(f"{'good' if agrees else 'BAD '}  {name:8} {loss:.6f} said {said:.6f}, {tensors} tensors  {' '.join(way)}")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
