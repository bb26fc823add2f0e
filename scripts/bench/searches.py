"""Compare the searches of `slim` for a boundary, a window and a subset: what each drops, costs and takes.

    python scripts/bench/searches.py --binary target/release/lora-slim --base BASE --threads 2 ADAPTER …

Each ADAPTER is a folder with `val.jsonl`, which chooses, and `test.jsonl`, which judges, beside the adapter. Loss,
correct tokens and the probability of a true token are differences from the whole adapter on the test samples. The time
is that of the processors, which other programs change little; the work is that of the searches, in layer passes per
token. It needs nothing but Python.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/lora-slim")
    parser.add_argument("--base", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--searches", nargs="+", default=["adaptive", "window", "subset"])
    parser.add_argument("--options", default="", help="more flags for every run, as one argument")
    parser.add_argument("adapters", nargs="+", type=Path)
    arguments = parser.parse_args()
    print("| adapter | samples | search | layers kept | saved | loss | correct tokens | probability | time | work |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for adapter in arguments.adapters:
        for samples in arguments.samples:
            for search in arguments.searches:
                print(row(arguments, adapter, samples, search), flush=True)


def row(arguments: argparse.Namespace, adapter: Path, samples: int, search: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        flags = ["--max-samples", str(samples), "--search", search, "-o", str(out), *arguments.options.split()]
        settings = (arguments.binary, arguments.base, arguments.threads)
        seconds = run(settings, "slim", adapter, adapter / "val.jsonl", flags)[1]
        report = json.loads((out / "slim_report.json").read_text())
        output, work = report["output"], report["work"]
        kept, whole = output["kept_layers"], report["adapter"]["layers"]
        if kept == whole:
            difference = "0 | 0 | 0"
        else:
            layers = ",".join(map(str, kept))
            difference = on_test(arguments, adapter, layers)
        saved = 100 * (1 - output["bytes_after"] / output["bytes_before"])
        passes = (work["layer_tokens"] + work.get("refining_layer_tokens", 0)) / report["samples"]["tokens"]
        return (
            f"| {adapter.name} | {samples} | {search} | {ranges(kept)} | {saved:.0f} % | {difference} "
            f"| {seconds:.0f} s | {passes:.0f} |"
        )


def on_test(arguments: argparse.Namespace, adapter: Path, layers: str) -> str:
    """What other samples say of an adapter that keeps some layers: differences from the whole one."""
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "cut"
        subprocess.run(
            [arguments.binary, "cut", str(adapter), "--keep-layers", layers, "-q", "-o", str(cut)],
            check=True,
            capture_output=True,
        )
        settings = (arguments.binary, arguments.base, arguments.threads)
        whole, left = (last_point(settings, one, adapter / "test.jsonl") for one in (adapter, cut))
        loss = left["loss"] - whole["loss"]
        accuracy, probability = (100 * (left[key] - whole[key]) for key in ("token_accuracy", "token_probability"))
        return f"{loss:+.3f} | {accuracy:+.1f} | {probability:+.1f}"


@functools.cache
def last_point(settings: tuple[str, str, int], adapter: Path, samples: Path) -> dict:
    """The figures of all that a folder has: of its base model and its highest boundary, nothing else is evaluated."""
    flags = ["--boundary", "1", "--search", "adaptive", "--json"]
    report = json.loads(run(settings, "scan", adapter, samples, flags)[0])
    return report["curve"][-1]


def run(
    settings: tuple[str, str, int], command: str, adapter: Path, samples: Path, flags: list[str]
) -> tuple[str, float]:
    """What a command prints, and the seconds of processor time that it takes."""
    binary, base, threads = settings
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [binary, command, str(adapter), "--base", base, "--samples", str(samples), "-q", *flags],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ranges(layers: list[int]) -> str:
    """`0-2, 5` for `[0, 1, 2, 5]`."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


if __name__ == "__main__":
    main()
