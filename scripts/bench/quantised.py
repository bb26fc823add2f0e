"""Time and memory of a scan with a quantised base, as ratios to the folder that it was made of.

    PYTHONPATH=PATH/GPTQModel python scripts/bench/quantised.py ADAPTER --base HF --samples FILE [--chat] [--rounds 3]

It packs the linear layers of the base by the quantisers of scripts/fixtures/quantisers.py, and runs `lora-slim scan`
with each folder in turn. The packages are those of scripts/fixtures/quantised.py.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from common.paths import BINARY
from quantisers import Scheme, four_bit, gptq

SCHEMES = {"NF4, double quantised": four_bit("nf4", torch.bfloat16, True), "GPTQ, 4 bits": gptq(4, 64, "gptq")}


def write(scheme: Scheme, base: Path, out: Path) -> None:
    shutil.copytree(base, out, ignore=shutil.ignore_patterns("*.safetensors*"))
    config = json.loads((base / "config.json").read_text()) | scheme.config
    (out / "config.json").write_text(json.dumps(config))
    stored = {}
    for file in base.glob("*.safetensors"):
        for name, weight in load_file(file).items():
            if name.endswith("_proj.weight"):
                packed, module = scheme.pack(weight.float()), name.removesuffix(".weight")
                stored |= {f"{module}.{part}": tensor.contiguous() for part, tensor in packed.parts.items()}
            else:
                stored[name] = weight
    save_file(stored, out / "model.safetensors", metadata={"format": "pt"})


def run(base: Path, args: argparse.Namespace) -> tuple[float, float]:
    """Seconds of the wall clock, and the most memory in MiB."""
    command = [BINARY, "scan", args.adapter, "--base", base, "--samples", args.samples]
    command += [
        "--quiet",
        "--no-config",
        "--json",
        "--max-samples",
        str(args.max_samples),
        *(["--chat"] if args.chat else []),
    ]
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"lora-slim failed on {base}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder in full precision")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--max-samples", type=int, default=16, help="(default: 16)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: 3)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        bases = {"as it is": args.base}
        for name, scheme in SCHEMES.items():
            bases[name] = Path(work) / name.split(",")[0]
            write(scheme, args.base, bases[name])
        measured = {name: [] for name in bases}
        for _ in range(args.rounds):
            for name, base in bases.items():
                measured[name].append(run(base, args))
    medians = {name: [statistics.median(values) for values in zip(*rounds)] for name, rounds in measured.items()}
    first = medians["as it is"]
    print("| base | time | ratio | memory | ratio |\n|---|---|---|---|---|")
    for name, (seconds, memory) in medians.items():
        print(f"| {name} | {seconds:.1f} s | {seconds / first[0]:.2f} | {memory:.0f} MiB | {memory / first[1]:.2f} |")


if __name__ == "__main__":
    main()
