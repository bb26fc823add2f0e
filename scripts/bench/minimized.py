"""What each way to make an adapter smaller costs, at the same proven margin, judged on test samples.

    python scripts/bench/minimized.py LORA_SLIM ADAPTER BASE VAL TEST [--samples N] [--metric NAME] [--chat] [--out F]

Four ways, all written in bf16, each chosen on the same validation samples with the default margin and confidence:

- the boundary alone (the paper);
- `--search subset`;
- one rank for all modules by plain singular value decomposition, what other tools do: the smallest of 1, 2, 4, … whose
  loss and guard hold on the validation samples. Other tools test nothing, so this is generous to them;
- `--minimize bytes`.

The test samples, which had no part in any choice, say what was given up: the share of the adapter's gain by the loss,
and by the probability of the true tokens; with a metric also the score of the greedy answers, and the difference from
the whole adapter's with its bounds. A row ends with `over` where more than the margin was given up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

MARGIN = 0.02


def slim(args: argparse.Namespace, *flags: str) -> tuple[dict, float]:
    """The report of `slim` with these flags, and the seconds of processor time that it took."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [args.program, "slim", args.adapter, "--base", args.base, "--samples", args.val, "--test", args.test]
        command += ["-o", str(Path(scratch) / "out"), "--quiet", "--json", *flags]
        if args.samples:
            command += ["--max-samples", str(args.samples)]
        if args.chat:
            command.append("--chat")
        if args.metric:
            command += ["--metric", args.metric]
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True)
        after = os.times()
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout), after.children_user - before.children_user


def given_up(report: dict) -> tuple[float, float]:
    """The shares of the gain on the test samples that what is written gives up, by loss and by probability."""
    verdict = report["held_out"]
    base, whole = verdict["base"], verdict["whole"]
    written = report["steps"][-1].get("held_out") or verdict["chosen"]
    loss = (written["loss"] - whole["loss"]) / (base["loss"] - whole["loss"])
    name = "token_probability"
    probability = (whole[name] - written[name]) / (whole[name] - base[name])
    return loss, probability


def score(report: dict) -> str:
    """The score of what is written on the test samples, the difference from the whole adapter's, and its bounds."""
    if "metrics" not in report:
        return ""
    scores = report["metrics"]["boundaries"]
    written = next((one for one in scores if one["written"]), scores[-1])["scores"][0]
    low, high = written["difference_at_least"], written["difference_at_most"]
    return f"{written['score']:5.1f} ({written['difference']:+.1f} [{low:+.1f}, {high:+.1f}])"


def holds(report: dict) -> bool:
    """Whether the last step's loss is, by its bound on the validation samples, within the margin."""
    curve, last = report["curve"], report["steps"][-1]["losses"]
    gain = curve[0]["loss"] - curve[-1]["loss"]
    probability = curve[-1]["token_probability"] - curve[0]["token_probability"]
    lost = curve[-1]["token_probability"] - last["token_probability"]
    return last["difference_at_most"] <= MARGIN * gain and lost <= MARGIN * probability


def uniform(args: argparse.Namespace, layers: int, rank: int) -> tuple[dict, float, str]:
    """The smallest rank that holds, by halving."""
    whole = ["--boundary", str(layers), "--search", "adaptive", "--dtype", "bf16"]
    best, seconds = slim(args, *whole)
    name, total = f"rank {rank}", seconds
    while rank > 1:
        rank //= 2
        report, seconds = slim(args, *whole, "--rank", str(rank))
        total += seconds
        if not holds(report):
            break
        best, name = report, f"rank {rank}"
    return best, total, name


def ways(args: argparse.Namespace, rank: int) -> Iterator[tuple[str, dict, float]]:
    """Each way's name, its report, and the seconds that it took, with those of generating answers."""
    yield "minimize", *slim(args, "--minimize", "bytes")
    report, seconds = slim(args, "--dtype", "bf16")
    yield "boundary", report, seconds
    yield "subset", *slim(args, "--search", "subset", "--dtype", "bf16")
    # Answers are those before `--rank`: they would say nothing about it.
    without_metric = argparse.Namespace(**{**vars(args), "metric": None})
    report, seconds, name = uniform(without_metric, report["curve"][-1]["boundary"], rank)
    yield name, report, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["program", "adapter", "base", "val", "test"]:
        parser.add_argument(name)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--metric")
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--out", type=Path, help="also append the rows to this file, as JSON lines")
    args = parser.parse_args()
    config = json.loads((Path(args.adapter) / "adapter_config.json").read_text())
    for way, report, seconds in ways(args, config["r"]):
        output = report["output"]
        share = output["bytes_after"] / output["bytes_before"]
        loss, probability = given_up(report)
        over = "over" if max(loss, probability) > MARGIN else ""
        name = Path(args.adapter).name
        size = f"{share:6.1%} of {output['bytes_before']:>9}"
        print(
            f"{name:24} {way:10} {size} {loss:7.2%} {probability:7.2%} {seconds:6.1f} s  {score(report)} {over}",
            flush=True,
        )
        if args.out:
            row = {
                "adapter": name,
                "way": way,
                "share": share,
                "loss": loss,
                "probability": probability,
                "seconds": seconds,
                "score": score(report),
            }
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
