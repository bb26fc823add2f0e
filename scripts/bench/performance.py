"""Run the measurements of docs/performance.md one after the other on one machine, and write down what they print.

    OMP_NUM_THREADS=2 python scripts/bench/performance.py BASE SAMPLES.tokens.jsonl -o performance.txt
        [--also ADAPTER=SAMPLES.tokens.jsonl …] [--only PART …] [--folder /tmp]

BASE is SmolLM2-135M-Instruct as a Hugging Face folder, SAMPLES those of `fixtures/smol-overfit`; `--also` names further
adapters of BASE. The file begins with the machine and is written anew after each part. Nothing else should run
meanwhile. It takes about half an hour on two cores, and 20 GB in `--folder`.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES, ROOT

MOST_LINES = 40  # of the output of each command; reports are longer

Command = list[str | Path]


def python(script: str, *arguments: str | Path) -> Command:
    return [sys.executable, Path("scripts/bench") / script, *arguments]


def timed(*command: str | Path) -> Command:
    return ["/usr/bin/time", "-f", "%e s, %U s of the processors, %M KB", *command]


def adapters_for_batch(folder: Path, adapter: Path, count: int) -> Path:
    many = folder / f"adapters-{count}"
    for number in range(count):
        shutil.copytree(adapter, many / f"adapter-{number:02}")
    return many


def parts(args: argparse.Namespace, folder: Path) -> dict[str, list[Command]]:
    overfit = FIXTURES / "smol-overfit" / "adapter"
    pairs = [(overfit, args.samples), *(pair.split("=", 1) for pair in args.also)]
    scan = [BINARY, "scan", "--quiet"]
    slim = [BINARY, "slim", "--quiet", "--dry-run"]
    large = ["--base", folder / "base", "--samples", folder / "base" / "samples.tokens.jsonl"]
    loop = [python("loop.py", adapter, args.base, samples, "--count", "64") for adapter, samples in pairs]
    without_guard = python("loop.py", overfit, args.base, args.samples, "--count", "64", "--flags=--loss-only")
    given = ["--base", args.base, "--samples", args.samples, "--max-samples", "32"]
    return {
        "loop": [*loop, [*without_guard, "--tool-only"]],
        "search": [["cargo", "test", "--release", "--locked", "--test", "all", "search", "--", "--nocapture"]],
        "attention": [python("attention.py")],
        "products": [python("products.py")],
        "growth": [python("growth.py", overfit, args.base, args.samples, "--rounds", "1")],
        "memory": [timed(*slim, overfit, *given, "--memory", size) for size in ("50MB", "150MB", "400MB", "4GiB")],
        "several": [
            timed(BINARY, "batch", adapters_for_batch(folder, overfit, count), *given, "-o", folder / f"out-{count}")
            for count in (1, 4, 16)
        ],
        "8b": [
            python("large.py", "base", folder / "base", "--samples", "16", "--tokens", "128"),
            python("large.py", "adapter", folder / "adapter", "--gib", "0.16"),
            timed(*scan, folder / "adapter", *large, "--boundary", "16", "--search", "adaptive"),
            # Takes the base model out of the page cache.
            [
                "sh",
                "-c",
                f"for file in {folder}/base/*.safetensors; do dd if=$file iflag=nocache count=0 status=none; done",
            ],
            timed(*scan, folder / "adapter", *large, "--boundary", "16", "--search", "adaptive"),
        ],
        "cut": [python("large.py", "adapter", folder / "large"), ["scripts/bench/cut.sh", folder / "large"]],
        "batch": [python("batch.py", "many")],
    }


def machine() -> str:
    models = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return f"{len(models)} × {models[0]}, {platform.system()}, {version}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("-o", dest="out", type=Path, required=True)
    parser.add_argument("--also", action="append", default=[], metavar="ADAPTER=SAMPLES")
    parser.add_argument("--only", action="append", default=[], metavar="PART")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    args = parser.parse_args()
    written = [machine()]
    with tempfile.TemporaryDirectory(dir=args.folder) as made:
        folder = Path(made)
        for name, commands in parts(args, folder).items():
            if args.only and name not in args.only:
                continue
            for command in commands:
                start = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ)
                shown = " ".join(map(str, command)).replace(made, "/tmp").replace(f"{ROOT}/", "")
                lines = [line for line in (done.stdout + done.stderr).splitlines() if len(line) < 300]
                output = "\n".join(lines[-MOST_LINES:])
                took = f"({time.perf_counter() - start:.0f} s, exit {done.returncode})"
                written.append(f"## {name}\n\n$ {shown}\n{output}\n{took}")
                args.out.write_text("\n\n".join(written) + "\n")
                print(written[-1], flush=True)


if __name__ == "__main__":
    main()
