"""How often a choice by the score of answers loses more than a point, with the guard and without.

    lora-slim scan ADAPTER … --samples VAL --search exhaustive --metric rouge-l --answers-at 20-30 --json > val.json
    python scripts/bench/by_score.py val.json scores.json

Random subsets of VAL choose as `slim --by` does: down from the whole adapter as long as the lower bound of the paired
bootstrap lies within the margin. `scores.json` has the score on samples that did not choose, by boundary, as judge.py
writes it; boundaries that it lacks lie on a line between their neighbours. Needs numpy and scipy.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy
from scipy.stats import t as student

CONFIDENCE, SUBSETS, RESAMPLES = 0.95, 200, 1000


@dataclass
class Measured:
    """Figures by boundary, of each sample."""

    scores: dict[int, numpy.ndarray]
    wrong: dict[int, numpy.ndarray]  # tokens that sampling gets wrong
    tokens: numpy.ndarray
    test: dict[int, float]

    @property
    def whole(self) -> int:
        return max(self.scores)

    def falls(self, boundary: int) -> float:
        known = sorted(self.test)
        at = numpy.interp([boundary, self.whole], known, [self.test[one] for one in known])
        return float(at[0] - at[1])


def read(report: Path, scores: Path) -> Measured:
    found = json.loads(report.read_text())
    tokens = numpy.array(found["samples"]["per_sample"], dtype=float)
    wrong = {point["boundary"]: tokens - numpy.array(point["per_sample_probability"]) for point in found["curve"]}
    rows = [row for row in found["metrics"]["boundaries"] if "name" not in row]
    by_boundary = {row["boundary"]: numpy.array(row["scores"][0]["per_sample"]) for row in rows}
    test = {int(boundary): score for boundary, score in json.loads(scores.read_text()).items()}
    return Measured(by_boundary, wrong, tokens, test)


def guarded(all: Measured, drawn: numpy.ndarray, boundary: int, margin: float) -> bool:
    """Whether the guard holds: Student's bound of a ratio, as in src/choice/comparison.rs."""
    size, tokens = len(drawn), all.tokens[drawn]
    base, whole = all.wrong[0][drawn], all.wrong[all.whole][drawn]
    lost = all.wrong[boundary][drawn] - whole
    mean = lost.sum() / tokens.sum()
    error = numpy.sqrt(((lost - mean * tokens) ** 2).sum() * size / (size - 1)) / tokens.sum()
    gain = max((base - whole).sum() / tokens.sum(), 0)
    return mean + error * student.ppf(CONFIDENCE, size - 1) <= margin * gain


def choose(all: Measured, drawn: numpy.ndarray, resamples: numpy.ndarray, margin: float, guard: bool) -> int:
    chosen, whole = all.whole, all.scores[all.whole][drawn]
    allowed = margin * max((whole - all.scores[0][drawn]).mean(), 0)
    for boundary in sorted(all.scores, reverse=True)[1:-1]:
        means = numpy.sort((all.scores[boundary][drawn] - whole)[resamples].mean(axis=1))
        if means[int((1 - CONFIDENCE) * (RESAMPLES - 1))] < -allowed:
            break
        if guard and not guarded(all, drawn, boundary, margin):
            break
        chosen = boundary
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--margin", type=float, default=0.02)
    args = parser.parse_args()
    measured = read(args.report, args.scores)
    random = numpy.random.default_rng(0)
    print("| samples | guard | falls by more than 1 point | mean | layers dropped |\n|---|---|---|---|---|")
    for size in (16, 32, 64, 128):
        subsets = [random.permutation(len(measured.tokens))[:size] for _ in range(SUBSETS)]
        resamples = random.integers(0, size, (RESAMPLES, size))
        for guard in (False, True):
            chosen = [choose(measured, drawn, resamples, args.margin, guard) for drawn in subsets]
            falls = numpy.array([measured.falls(boundary) for boundary in chosen])
            dropped = measured.whole - numpy.mean(chosen)
            share = f"{100 * (falls < -1).mean():.1f} % | {falls.mean():+.2f}"
            print(f"| {size} | {'yes' if guard else 'no'} | {share} | {dropped:.1f} |")


if __name__ == "__main__":
    main()
