"""Check in PEFT that what `slim` writes with --scale, --search and --minimize has the loss that its report says.

    python scripts/check/written.py

The adapters of some pico models are slimmed in several ways. PEFT loads the output, in which the modules and tensors
must be those of the file, and transformers computes the loss of the same samples in f32. Exit status 1 if anything
differs.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import FIXTURES
from common.reference import mean_loss, quiet, read_token_samples
from peft_loading import SAMPLES, load, lora_slim, show, tensor_faults

CASES = ["mistral", "mixtral", "phi3", "smollm3"]
WAYS = [
    ["--choose", "best", "--search", "blocks", "--scale", "tune"],
    ["--choose", "best", "--search", "subset", "--scale", "0.6"],
    ["--boundary", "3", "--scale", "1.7"],
    ["--minimize", "bytes", "--margin", "60%", "--confidence", "0.5", "--loss-only"],
    ["--minimize", "loss", "--max-bytes", "6KB", "--same-rank", "--confidence", "0.5", "--loss-only"],
]
TOLERANCE = 2e-5  # nats per answer token


def check(case: Path, way: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out"
        inputs = [case / "adapter", "--base", case / "base", "--samples", SAMPLES, "--precision", "f32"]
        _, refusal = lora_slim("slim", *inputs, "-o", out, "--quiet", *way)
        if refusal:
            return show(case.name, " ".join(way), [refusal])
        report = json.loads((out / "slim_report.json").read_text())
        loaded = load(case / "base", out)
        if loaded.model is None:
            return show(case.name, " ".join(way), sorted(loaded.complaints))
        faults = tensor_faults(loaded.model, out)
    loss = mean_loss(loaded.model, read_token_samples(SAMPLES))
    tensors = sum("lora_" in name for name, _ in loaded.model.named_parameters())
    reported = (report.get("scale") or report["minimized"])["loss"]
    written = report["output"]["tensors_after"]
    if not abs(loss - reported) < TOLERANCE:
        faults.append("the losses differ")
    if tensors != written:
        faults.append(f"the model has {tensors} tensors, the report {written}")
    return show(case.name, f"loss {reported:.6f}, PEFT {loss:.6f}, {tensors} tensors, {' '.join(way)}", faults)


def main() -> None:
    quiet()
    good = [check(FIXTURES / "pico" / case, way) for case in CASES for way in WAYS]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
