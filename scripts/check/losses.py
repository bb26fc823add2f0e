"""Compare the losses, or the probabilities, of `lora-slim scan --json` with those of transformers + PEFT.

    lora-slim scan ADAPTER --base BASE --samples val.tokens.jsonl --boundary 1 --json > report.json
    python scripts/check/losses.py report.json EXPECTED.json

EXPECTED is what scripts/fixtures/losses.py or scripts/fixtures/probability.py wrote; for the latter, scan with
`--probability`. Exit status 1 if they differ. Needs Python 3.10 or newer and no other package.
"""

import argparse
import json
import sys
from pathlib import Path

TOLERANCE = 1e-3  # nats per scored token, of a curve
# Of a probability, and nats per answer token: as of the boundaries of pico models; of losses far from these, of every
# 10 nats.
PROBABILITY = {"probability": 1e-5, "loss": 2e-5}


def losses(report: dict) -> dict[int, float]:
    return {point["boundary"]: point["loss"] for point in report["curve"]}


def compare_curves(report: dict, expected: dict) -> bool:
    ours, theirs = losses(report), losses(expected)
    differences = {boundary: abs(loss - ours[boundary]) for boundary, loss in theirs.items() if boundary in ours}
    if not differences:
        sys.exit("error: the two files have no boundary in common")
    worst = max(differences, key=differences.get)
    lowest = [min(curve, key=curve.get) for curve in (ours, theirs)]
    print(f"{len(differences)} boundaries, largest difference {differences[worst]:.1e} nats per token at {worst}")
    print(f"lowest loss at {lowest[0]}, expected at {lowest[1]}")
    return differences[worst] <= TOLERANCE and lowest[0] == lowest[1]


def compare_probabilities(ours: list[dict], theirs: list[dict]) -> bool:
    if len(ours) != len(theirs):
        sys.exit(f"error: {len(ours)} points instead of {len(theirs)}")
    worst = dict.fromkeys(PROBABILITY, 0.0)
    for one, other in zip(ours, theirs):
        for stream in ("base", "adapted"):
            # Behind the embedding alone losses can be above a hundred nats, where f32 has fewer digits behind the
            # point.
            size = {"probability": 1.0, "loss": max(1.0, other[stream]["loss"] / 10)}
            for number in worst:
                difference = abs(one[stream][number] - other[stream][number]) / size[number]
                worst[number] = max(worst[number], difference)
    print(
        f"{len(ours)} points, largest difference {worst['probability']:.1e} of a probability, "
        f"{worst['loss']:.1e} nats per token (per 10 nats above these)"
    )
    return all(worst[number] <= tolerance for number, tolerance in PROBABILITY.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("expected", type=Path)
    arguments = parser.parse_args()
    report, expected = (json.loads(path.read_text()) for path in (arguments.report, arguments.expected))
    if "probability" in expected:
        sys.exit(not compare_probabilities(report["probability"], expected["probability"]))
    sys.exit(not compare_curves(report, expected))


if __name__ == "__main__":
    main()
