"""Compare the losses of `lora-slim scan --json` with those that transformers + PEFT gave.

    lora-slim scan ADAPTER --base BASE --samples val64.tokens.jsonl --boundary 1 --json > curve.json
    python scripts/check_reference.py curve.json EXPECTED.json

EXPECTED is what scripts/expected_losses.py wrote. Needs Python 3.9 or newer and no other package.
"""

import argparse
import json
import sys
from pathlib import Path

TOLERANCE = 1e-3  # nats per scored token


def losses(path: Path) -> dict[int, float]:
    curve = json.loads(path.read_text())["curve"]
    return {point["boundary"]: point["loss"] for point in curve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curve", type=Path)
    parser.add_argument("expected", type=Path)
    arguments = parser.parse_args()
    got, expected = losses(arguments.curve), losses(arguments.expected)
    differences = {boundary: abs(loss - got[boundary]) for boundary, loss in expected.items() if boundary in got}
    if not differences:
        sys.exit("error: the two files have no boundary in common")
    worst = max(differences, key=differences.get)
    lowest = [min(curve, key=curve.get) for curve in (got, expected)]
    print(f"{len(differences)} boundaries, largest difference {differences[worst]:.1e} nats per token at {worst}")
    print(f"lowest loss at {lowest[0]}, expected at {lowest[1]}")
    if differences[worst] > TOLERANCE or lowest[0] != lowest[1]:
        sys.exit(1)


if __name__ == "__main__":
    main()
