"""Compare the losses of a program for another processor with those of transformers, under an emulator.

    rustup target add aarch64-unknown-linux-gnu && pip install ziglang cargo-zigbuild
    cargo zigbuild --release --locked --target aarch64-unknown-linux-gnu.2.17
    scripts/check/emulated.py target/aarch64-unknown-linux-gnu/release/lora-slim qemu-aarch64 -L /usr/aarch64-linux-gnu

Scans every tiny model of fixtures/pico with its adapter, at every boundary. Exit status 1 if one is more than 2e-5 nats
per token off, or 1e-4 with `--precision bf16x2`: random weights enlarge errors more than trained ones do.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

PICO = Path(__file__).resolve().parents[2] / "fixtures" / "pico"
TOLERANCES = {"f32": 2e-5, "auto": 2e-5, "bf16x2": 1e-4}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", choices=TOLERANCES, default="f32")
    parser.add_argument("program")
    parser.add_argument("emulator", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    worst = {}
    for expected in sorted(PICO.glob("*/expected.json")):
        case = expected.parent
        if not (case / "base").is_dir():
            continue
        words = ["scan", case / "adapter", "--base", case / "base", "--samples", PICO / "samples.tokens.jsonl"]
        words += ["--precision", arguments.precision, "--json", "--quiet"]
        command = [*arguments.emulator, arguments.program, *words]
        done = subprocess.run(command, capture_output=True, text=True)
        if not done.stdout:
            sys.exit(f"{case.name}: {done.stderr}")
        ours = {point["boundary"]: point["loss"] for point in json.loads(done.stdout)["curve"]}
        curve = json.loads(expected.read_text())["curve"]
        # A layer that text skips has no boundary of its own.
        known = (point for point in curve if point["boundary"] in ours)
        worst[case.name] = max(abs(ours[point["boundary"]] - point["loss"]) for point in known)
    case = max(worst, key=worst.get)
    print(f"{len(worst)} models, largest difference {worst[case]:.1e} nats per token ({case})")
    sys.exit(worst[case] > TOLERANCES[arguments.precision])


main()
