"""Compare the rate of lora-slim's matrix products with PyTorch's, for the shapes of small and large models.

    OMP_NUM_THREADS=2 python scripts/bench/products.py [--rows 2048]

Runs `cargo bench --bench products` and then PyTorch, with the same number of rows in all. The second product of bf16x2
is not counted, so that a rate says how long a product takes.
"""

import argparse
import json
import os
import subprocess
import time

import torch

ROUNDS = 7


def rate(x: torch.Tensor, weight: torch.Tensor) -> float:
    """GFLOP/s, by the median time."""
    torch.nn.functional.linear(x, weight)
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        times.append(time.perf_counter() - start)
    return 2 * x.shape[0] * weight.numel() / sorted(times)[ROUNDS // 2] / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2048, help="of all processors together")
    args = parser.parse_args()
    command = ["cargo", "bench", "--locked", "--bench", "products", "--", str(args.rows // os.cpu_count())]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "CANDLE_NUM_THREADS": "1"}
    )
    shapes: dict[tuple, dict[str, float]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            shapes.setdefault((row["model"], row["inputs"], row["outputs"]), {})[row["arithmetic"]] = row["gflops"]
    for (model, inputs, outputs), rates in shapes.items():
        for dtype in (torch.float32, torch.bfloat16):
            x, weight = torch.randn(args.rows, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
            rates[f"torch {str(dtype).removeprefix('torch.')}"] = rate(x, weight)
        print(f"{model:4} {inputs:5} → {outputs:5} ", " ".join(f"{name} {value:.0f}" for name, value in rates.items()))
    print(f"GFLOP/s, {args.rows} rows, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
