"""Runs `scan` on set-ups that mislead, with a real adapter, and prints which warnings name them; needs no package.

    python scripts/check/misleading.py ADAPTER --base BASE --val FILE --train FILE [--other FILE] [--boundary N]

FILE are JSON lines of `prompt` and `completion`: samples that the adapter has not seen, those that it was trained on,
and those of another task. N is a boundary that is too low. It fails if a set-up is not named. tests/warnings.rs does
the same with tiny models.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY


def reworded(sample):
    """The sample with another first word."""
    _, _, rest = sample["prompt"].partition(" ")
    return {**sample, "prompt": f"Another {rest}"}


def setups(args):
    """Name, samples, further flags, and the code that is expected."""
    val, train = (read(path) for path in (args.val, args.train))
    yield "clean", val[:96], [], None
    yield "trained on", train[:96], [], "suspect-samples"
    yield "duplicated", val[:48] * 2, [], "suspect-samples"
    yield "nearly duplicated", val[:48] + [reworded(sample) for sample in val[:48]], [], "suspect-samples"
    yield "too few", val[:8], [], "few-samples"
    yield "held-out overlap", val[:64], ["--test", val[48:96]], "held-out-overlap"
    if args.boundary:
        yield "runs on", val[:48], ["--boundary", args.boundary], "runs-on"
    if args.other:
        yield "another task", read(args.other)[:48], [], "worse-than-base"


def read(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def scan(args, folder, samples, flags):
    """The report."""

    def written(name, lines):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(folder / name)

    flags = [written("test.jsonl", flag) if isinstance(flag, list) else flag for flag in flags]
    command = [
        args.lora_slim,
        "scan",
        args.adapter,
        "--base",
        args.base,
        "--samples",
        written("samples.jsonl", samples),
    ]
    done = subprocess.run(
        [*command, "--search", "adaptive", "--json", "--quiet", *flags], check=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("adapter")
    for flag in ("--base", "--val", "--train"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--other")
    parser.add_argument("--boundary")
    parser.add_argument("--lora-slim", default=BINARY)
    args = parser.parse_args()
    missed = []
    print("| set-up | draws of samples | warnings |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, samples, flags, expected in setups(args):
            report = scan(args, Path(folder), samples, flags)
            codes = [warning["code"] for warning in report.get("warnings", [])]
            counts = report["samples"]
            print(f"| {name} | {counts['draws']} of {counts['count']} | {', '.join(codes)} |", flush=True)
            missed += [name] if expected and expected not in codes else []
    if missed:
        sys.exit(f"not named: {', '.join(missed)}")


if __name__ == "__main__":
    main()
