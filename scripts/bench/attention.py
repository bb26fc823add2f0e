"""Compare the rate of packed attention with PyTorch's, by the length of sequences.

    OMP_NUM_THREADS=2 python scripts/bench/attention.py

Runs `cargo bench --bench attention` and then `scaled_dot_product_attention` on the same sizes, in f32 and bf16. Only
the keys that a query sees count.
"""

import json
import subprocess
import time

import torch

ROUNDS = 5


def rate(row: dict, dtype: torch.dtype) -> float:
    """GFLOP/s, by the median time."""
    sequences, length, size = row["sequences"], row["length"], row["size"]
    q = torch.randn(sequences, row["heads"], length, size, dtype=dtype)
    k, v = (torch.randn(sequences, row["kv_heads"], length, size, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        times.append(time.perf_counter() - start)
    flop = 4 * sequences * row["heads"] * size * length * (length + 1) / 2
    return flop / sorted(times[1:])[ROUNDS // 2] / 1e9


def main() -> None:
    command = ["cargo", "bench", "--locked", "--bench", "attention"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print("| model | tokens | lora-slim, f32 | with a soft cap | PyTorch, f32 | PyTorch, bf16 |")
    print("|---|---|---|---|---|---|")
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            row = json.loads(line)
            theirs = [rate(row, dtype) for dtype in (torch.float32, torch.bfloat16)]
            numbers = " | ".join(f"{number:.0f}" for number in (row["gflops"], row["capped"], *theirs))
            print(f"| {row['model']} | {row['length']} | {numbers} |", flush=True)
    print(f"GFLOP/s, {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
