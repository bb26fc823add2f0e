"""Judge how lora-slim chooses, by the scores of greedy answers on samples that did not choose.

    python scripts/bench/judge.py ADAPTER … --base BASE --metric rouge-l [--chat] [--work judged]

An ADAPTER is a folder as scripts/fixtures/tasks.py writes it: a PEFT adapter with val.jsonl and test.jsonl. Where its
train.json names the metric and the chat template, those are taken. For each adapter it runs `lora-slim scan` twice
(every boundary on val.jsonl; answers to test.jsonl at --answers-at) into WORK/NAME, unless the results are there, and
prints Markdown:

- how the loss, the probability and the accuracy of tokens follow the score over the upper half of the boundaries;
- which choice the rules make on random subsets of val.jsonl, and what becomes of the score (benches/guards.rs);
- the boundaries whose score is surely higher than that of the whole adapter: one-sided bounds of the paired bootstrap,
  for each boundary alone and for all of them together (Bonferroni).

With `--slim FLAGS` it also writes the adapter with these flags (of `lora-slim slim`, for example `"--search subset"`),
and judges what is written: bytes, loss, token accuracy and score on test.jsonl, with the paired 95 % interval.

The score is the mean of the samples' scores. Needs cargo, and numpy.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, ROOT

CONFIDENCE, RESAMPLINGS = 0.95, 20_000
CHEAP = {"loss": -1, "token_probability": 1, "token_accuracy": 1, "end_accuracy": 1}  # figure: sign of what is better


@dataclass
class Judged:
    """An adapter's figures by boundary: those of val.jsonl, and the score of each answer to test.jsonl."""

    name: str
    metric: str
    curve: dict[int, dict]
    scores: dict[int, numpy.ndarray]
    cut_off: dict[int, int]

    @property
    def whole(self) -> int:
        return max(self.curve)

    def score(self, boundary: int) -> float:
        return float(self.scores[boundary].mean())


def settings(adapter: Path, args: argparse.Namespace) -> tuple[str, bool]:
    """Metric and chat template."""
    told = adapter / "train.json"
    task = json.loads(told.read_text())["task"] if told.exists() else None
    if isinstance(task, dict):
        return task["metric"], task["chat"]
    if not args.metric:
        sys.exit(f"error: {adapter} does not say which metric; use --metric")
    return args.metric, args.chat


def samples(adapter: Path, name: str, args: argparse.Namespace) -> list[str]:
    """The flags that name the samples."""
    return ["--samples", str(adapter / f"{name}.jsonl"), *(["--chat"] if settings(adapter, args)[1] else [])]


def scan(adapter: Path, args: argparse.Namespace, flags: list[str], out: Path) -> dict:
    """A report of `scan`, from `out` if it is there."""
    if not out.exists():
        command = [BINARY, "scan", adapter, "--base", args.base, "--json", "--quiet", "--no-config", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        partial = out.with_suffix(".partial")
        partial.write_text(done.stdout)
        partial.replace(out)
    return json.loads(out.read_text())


def answers(adapter: Path, whole: int, boundaries: str, args: argparse.Namespace) -> list[str]:
    """The flags of a scan that answers test.jsonl at these boundaries."""
    flags = [*samples(adapter, "test", args), "--boundary", str(whole), "--search", "adaptive"]
    flags += ["--metric", settings(adapter, args)[0], "--answers-at", boundaries]
    return [*flags, "--max-new-tokens", str(args.max_new_tokens), "--max-samples", str(args.test_samples)]


def measure(adapter: Path, args: argparse.Namespace) -> Judged:
    work = args.work / adapter.name
    work.mkdir(parents=True, exist_ok=True)
    val = scan(adapter, args, [*samples(adapter, "val", args), "--search", "exhaustive"], work / "val.json")
    whole = max(point["boundary"] for point in val["curve"])
    test = scan(adapter, args, answers(adapter, whole, args.answers_at, args), work / "test.json")
    boundaries = [found for found in test["metrics"]["boundaries"] if "name" not in found]
    judged = Judged(
        adapter.name,
        settings(adapter, args)[0],
        {point["boundary"]: point for point in val["curve"]},
        {found["boundary"]: numpy.array(found["scores"][0]["per_sample"]) for found in boundaries},
        {found["boundary"]: found["cut_off"] for found in boundaries},
    )
    scores = {str(boundary): judged.score(boundary) for boundary in sorted(judged.scores)}
    (work / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    return judged


def ranks(values: list[float]) -> numpy.ndarray:
    """Equal values share their mean rank."""
    given = numpy.array(values)
    return numpy.array([(given < value).sum() + (given == value).sum() / 2 for value in given])


def spearman(one: list[float], other: list[float]) -> float:
    if len(set(one)) < 2 or len(set(other)) < 2:
        return float("nan")
    return float(numpy.corrcoef(ranks(one), ranks(other))[0, 1])


def overview(judged: list[Judged]) -> None:
    """Scores of base and whole adapter, and how cheap figures of val.jsonl follow the score on test.jsonl."""
    print(f"| adapter | score | samples | base | whole | boundaries | {' | '.join(CHEAP)} |")
    print("|---" * (6 + len(CHEAP)) + "|")
    for one in judged:
        upper = [boundary for boundary in sorted(one.scores) if boundary >= one.whole / 2]
        scores = [one.score(boundary) for boundary in upper]
        cells = [one.name, one.metric, str(len(one.scores[one.whole]))]
        cells += [f"{one.score(0):.1f}", f"{one.score(one.whole):.1f}", str(len(upper))]
        for figure, sign in CHEAP.items():
            found = [one.curve[boundary].get(figure) for boundary in upper]
            cells.append("" if None in found else f"{spearman(scores, [sign * value for value in found]):.2f}")
        print(f"| {' | '.join(cells)} |")


def resampled(values: numpy.ndarray) -> numpy.ndarray:
    """Means of each column over resamplings of the rows."""
    samples = len(values)
    counts = numpy.random.default_rng(0).multinomial(samples, [1 / samples] * samples, RESAMPLINGS)
    return counts @ values / samples


def interval(differences: numpy.ndarray) -> str:
    """The mean difference with its two-sided interval."""
    low, high = numpy.quantile(resampled(differences[:, None]), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return f"{differences.mean():+.1f} [{low:+.1f}, {high:+.1f}]"


def better(judged: list[Judged]) -> None:
    """The boundary with the highest score against the whole adapter, and how many are surely better."""
    print("| adapter | boundaries | highest at | difference, 95 % | surely better | of all together |")
    print("|---|---|---|---|---|---|")
    for one in judged:
        differences = {b: one.scores[b] - one.scores[one.whole] for b in one.scores if 0 < b < one.whole}
        order, values = list(differences), numpy.stack(list(differences.values()), axis=1)
        means = resampled(values)
        alone = numpy.quantile(means, 1 - CONFIDENCE, axis=0)
        together = numpy.quantile(means, (1 - CONFIDENCE) / len(order), axis=0)
        best = int(values.mean(axis=0).argmax())
        row = f"{len(order)} | {order[best]} | {interval(values[:, best])}"
        print(f"| {one.name} | {row} | {(alone > 0).sum()} | {(together > 0).sum()} |")


def curves(judged: list[Judged]) -> None:
    for one in judged:
        print(f"\n{one.name}\n\n| boundary | bytes | loss | probability | accuracy | end | {one.metric} | cut off |")
        print("|---" * 8 + "|")
        for boundary in sorted(one.scores, reverse=True):
            point = one.curve[boundary]
            shares = [point["bytes"] / one.curve[one.whole]["bytes"], point["token_probability"]]
            shares += [point["token_accuracy"], point.get("end_accuracy", float("nan"))]
            size, *rest = [f"{100 * share:.1f}" for share in shares]
            print(f"| {boundary} | {size} % | {point['loss']:.3f} | {' | '.join(rest)}", end=" | ")
            print(f"{one.score(boundary):.1f} | {one.cut_off[boundary]} |")


def choices(judged: list[Judged], work: Path) -> None:
    """By the crate's own rules."""
    for place, one in enumerate(judged):
        folder = (work / one.name).resolve()
        command = ["cargo", "bench", "--quiet", "--locked", "--bench", "guards", "--"]
        command += [folder / "val.json", folder / "scores.json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if done.returncode:
            sys.exit(done.stderr)
        head, line, *rows = done.stdout.splitlines()
        if place == 0:
            print(f"| adapter {head}\n|---{line}")
        print("\n".join(f"| {one.name} {row}" for row in rows))


def slim(adapter: Path, args: argparse.Namespace, flags: str, out: Path) -> dict:
    """The report of `slim` with these flags; the adapter is in `out`."""
    report = out.with_suffix(".json")
    if not report.exists():
        command = [BINARY, "slim", adapter, "--base", args.base, *samples(adapter, "val", args), "--output", out]
        command += ["--force", "--json", "--quiet", "--no-config", *shlex.split(flags)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        report.write_text(done.stdout)
    return json.loads(report.read_text())


def written(judged: list[Judged], args: argparse.Namespace) -> None:
    """What `slim` writes with the flags of --slim, on test.jsonl."""
    print("\n| adapter | slim | layers kept | bytes saved | loss | accuracy | score | difference, 95 % |")
    print("|---" * 8 + "|")
    for adapter, one in zip(args.adapters, judged):
        for flags in args.slim:
            out = args.work / one.name / f"slim {flags}".strip().replace(" ", "_").replace("/", "_")
            output = slim(adapter, args, flags, out)["output"]
            scanned = answers(adapter, one.whole, str(one.whole), args)
            test = scan(out, args, scanned, out.with_suffix(".test.json"))
            # The highest boundary of what was written is all of it.
            found, point = test["metrics"]["boundaries"][-1], test["curve"][-1]
            scores = numpy.array(found["scores"][0]["per_sample"])
            saved = 1 - output["bytes_after"] / output["bytes_before"]
            row = [one.name, f"`{flags}`", str(len(output["kept_layers"])), f"{100 * saved:.1f} %"]
            row += [f"{point['loss']:.3f}", f"{100 * point['token_accuracy']:.1f}", f"{scores.mean():.1f}"]
            print(f"| {' | '.join(row)} | {interval(scores - one.scores[one.whole])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "adapters", type=Path, nargs="+", metavar="ADAPTER", help="folder with val.jsonl and test.jsonl"
    )
    parser.add_argument("--base", required=True, help="base model of all of them")
    parser.add_argument("--work", type=Path, default=Path("judged"), help="folder of the results (default: judged)")
    parser.add_argument("--metric", help="how answers are scored, where train.json does not say")
    parser.add_argument("--chat", action="store_true", help="prompts go through the chat template")
    parser.add_argument("--answers-at", default="0,8,15,18,20-30", help="boundaries (default: 0,8,15,18,20-30)")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="the most tokens of an answer (default: 128)")
    parser.add_argument("--test-samples", type=int, default=320, help="the most samples that judge (default: 320)")
    parser.add_argument("--slim", action="append", default=[], metavar="FLAGS", help="also judge what slim writes")
    parser.add_argument("--only-slim", action="store_true", help="print what slim writes, and nothing else")
    parser.add_argument("--measure", action="store_true", help="measure, and print nothing")
    args = parser.parse_args()
    judged = [measure(adapter, args) for adapter in args.adapters]
    if args.measure:
        return
    if args.only_slim:
        written(judged, args)
        return
    overview(judged)
    print()
    better(judged)
    print()
    choices(judged, args.work)
    curves(judged)
    if args.slim:
        written(judged, args)


if __name__ == "__main__":
    main()
