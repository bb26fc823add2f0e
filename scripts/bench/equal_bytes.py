"""What ranks by the loss gain over plain truncation, at equal bytes, judged on test samples.

    python scripts/bench/equal_bytes.py LORA_SLIM ADAPTER BASE VAL TEST [--ranks 4,2,1] [--samples N] [--chat]

For each rank, all modules are truncated to it by plain singular value decomposition (`--rank`, what other tools do),
and `--minimize loss` gets as many bytes, with ranks by module and with one rank for those that are kept. Both are
written in bf16. The test samples, which had no part in it, say what was given up of the adapter's gain, by the loss
and by the probability of the true tokens.
"""

import argparse
from pathlib import Path

from minimized import given_up, slim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["program", "adapter", "base", "val", "test"]:
        parser.add_argument(name)
    parser.add_argument("--ranks", default="4,2,1")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--chat", action="store_true")
    args = parser.parse_args()
    args.metric = None
    layers = slim(args, "--minimize", "loss", "--max-bytes", "1GB")[0]["curve"][-1]["boundary"]
    everything = ["--boundary", str(layers), "--search", "adaptive"]
    for rank in args.ranks.split(","):
        truncated, _ = slim(args, *everything, "--rank", rank, "--dtype", "bf16")
        size = truncated["output"]["bytes_after"]
        ways = {"singular values": truncated}
        for name, more in [("the loss", []), ("the loss, one rank", ["--same-rank"])]:
            ways[name], _ = slim(args, "--minimize", "loss", "--max-bytes", str(size), *more)
        for name, report in ways.items():
            loss, probability = given_up(report)
            kept = report["output"]["bytes_after"]
            print(
                f"{Path(args.adapter).name:20} rank {rank}: {kept:8} bytes by {name:20} {loss:7.2%} {probability:7.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
