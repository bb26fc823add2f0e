"""Time the exhaustive sweep against the number of samples, of candidate boundaries and of layers.

    python scripts/bench/growth.py ADAPTER BASE SAMPLES.tokens.jsonl [--rounds 3]

BASE is a Hugging Face folder, SAMPLES at least 64 samples as tokens, ADAPTER one with LoRA in all layers. Cutting
layers out of the adapter, evenly, leaves fewer candidates; a configuration that names only the lowest layers of the
base model leaves fewer layers. Prints the median wall time in seconds, the memory in MiB and the log-log slope. Needs
no package.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY


def measure(adapter: Path, base: Path, samples: Path, count: int, rounds: int) -> tuple[float, int]:
    command = [BINARY, "scan", adapter, "--base", base, "--samples", samples, "--max-samples", str(count)]
    times, memory = [], 0
    for _ in range(rounds):
        timed = ["/usr/bin/time", "-f", "%e %M", *command, "--json", "--quiet"]
        done = subprocess.run(timed, capture_output=True, text=True, check=True)
        seconds, kilobytes = done.stderr.split()[-2:]
        times.append(float(seconds))
        memory = max(memory, int(kilobytes) // 1024)
    return statistics.median(times), memory


def slope(xs: list[float], ys: list[float]) -> float:
    xs, ys = [math.log(x) for x in xs], [math.log(y) for y in ys]
    mean_x, mean_y = statistics.mean(xs), statistics.mean(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / sum((x - mean_x) ** 2 for x in xs)


def show(name: str, rows: list[tuple[int, float, int]]) -> None:
    for size, seconds, memory in rows:
        print(f"{name:10} {size:4}  {seconds:6.2f} s  {memory:4} MiB")
    print(f"{name:10} slope {slope([row[0] for row in rows], [row[1] for row in rows]):.2f}", flush=True)


def lowest_layers(base: Path, layers: int, out: Path) -> Path:
    """The base model with its lowest layers only: the same weights under another configuration."""
    out.mkdir()
    for file in base.iterdir():
        (out / file.name).symlink_to(file.resolve())
    config = json.loads((base / "config.json").read_text())
    (out / "config.json").unlink()
    (out / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers}))
    return out


def cut(adapter: Path, layers: list[int], out: Path) -> Path:
    kept = ",".join(map(str, layers))
    subprocess.run([BINARY, "cut", adapter, "--keep-layers", kept, "-o", out, "--quiet"], check=True)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    layers = json.loads((args.base / "config.json").read_text())["num_hidden_layers"]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = [
            (count, *measure(args.adapter, args.base, args.samples, count, args.rounds)) for count in (8, 16, 32, 64)
        ]
        show("samples", rows)
        rows = []
        for step in (15, 6, 3, 1):
            kept = list(range(step - 1, layers, step))
            adapter = cut(args.adapter, kept, folder / f"candidates-{step}")
            rows.append((len(kept) + 1, *measure(adapter, args.base, args.samples, 32, args.rounds)))
        show("candidates", rows)
        rows = []
        for count in (layers // 4, layers // 2, layers):
            base = lowest_layers(args.base, count, folder / f"base-{count}")
            adapter = cut(args.adapter, list(range(count)), folder / f"layers-{count}")
            rows.append((count, *measure(adapter, base, args.samples, 32, args.rounds)))
        show("layers", rows)


if __name__ == "__main__":
    main()
