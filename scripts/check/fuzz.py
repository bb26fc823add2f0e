"""Run the targets of fuzz/ under cargo-fuzz, and keep a small corpus of each in fuzz/corpus.

    python scripts/check/fuzz.py [TARGET …] [--seconds 600] [--at-once 2]

Each target begins with fuzz/corpus, with what earlier runs kept below the target directory, and with the valid files
that `cargo test --release --locked --test all -- write_seeds --ignored` writes to fuzz/seeds. Afterwards the corpus is
minimised, and a spread of its small inputs goes to fuzz/corpus, which `cargo test` runs. Prints the executions, the
branches that were reached (`cov`), the features (`ft`), and what was found; fails if anything was. Needs a nightly Rust
and `cargo install cargo-fuzz`; no package.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT, SEEDS = ROOT / "fuzz/corpus", ROOT / "fuzz/seeds"
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "fuzz/target")
# The longest input in bytes, where the target has need of more than 4 KiB, or of less.
LONGEST = {
    "gguf": 110_000,
    "adapter": 40_000,
    "safetensors": 40_000,
    "tokenizer": 20_000,
    "template_grammar": 2000,
    "encoding": 500,
}
BYTES, LIMIT = 16_000, 4000  # of the kept inputs of a target, and of one of them
LIMITS = ["-timeout=120", "-rss_limit_mb=2048"]
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


def targets() -> list[str]:
    return re.findall(r'^name = "(\w+)"\npath', (ROOT / "fuzz/Cargo.toml").read_text(), re.MULTILINE)


def run(target: str, seconds: int) -> tuple[str, bool]:
    """A row of the table, and whether anything was found."""
    work, found = TARGET / "corpora" / target, TARGET / "found" / target
    temporary = Path("/dev/shm") / f"fuzz-{target}"
    for folder in (work, found, temporary, KEPT / target, SEEDS / target):
        folder.mkdir(parents=True, exist_ok=True)
    binary = TARGET / "x86_64-unknown-linux-gnu/release" / target
    more = [f"-max_len={LONGEST.get(target, 4096)}", f"-artifact_prefix={found}/", *LIMITS]
    # The folder that inputs are written to while one of them runs is on no disk.
    environment = {**ENVIRONMENT, "TMPDIR": str(temporary)}
    line = [binary, work, KEPT / target, SEEDS / target, f"-max_total_time={seconds}", "-print_final_stats=1", *more]
    with open(TARGET / "found" / f"{target}.log", "w+") as log:
        code = subprocess.run(line, env=environment, stdout=log, stderr=log).returncode
        log.seek(0)
        text = log.read()
    executions = re.findall(r"number_of_executed_units: (\d+)", text) or re.findall(r"^#(\d+)", text, re.MULTILINE)
    reached = re.findall(r"cov: (\d+) ft: (\d+)", text)
    minimise(binary, target, more, environment)
    shutil.rmtree(temporary)
    branches, features = reached[-1] if reached else ("?", "?")
    verdict = "nothing" if code == 0 else ", ".join(sorted(path.name for path in found.iterdir())) or f"code {code}"
    return f"| {target} | {executions[-1]} | {branches} | {features} | {verdict} |", code != 0


def minimise(binary: Path, target: str, more: list[str], environment: dict[str, str]) -> None:
    """Leaves the inputs that reach everything, and keeps a spread of them."""
    work = TARGET / "corpora" / target
    least = work.with_name(f"{target}-least")
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir()
    merge = [binary, "-merge=1", least, KEPT / target, SEEDS / target, work, *more]
    if subprocess.run(merge, env=environment, capture_output=True).returncode:
        return
    shutil.rmtree(work)
    least.rename(work)
    for old in (KEPT / target).iterdir():
        old.unlink()
    for path in spread(work):
        shutil.copy(path, KEPT / target / path.name[:16])


def spread(work: Path) -> list[Path]:
    """Inputs of all sizes that are kept, one of so many that they are few bytes together."""
    sizes = sorted((path.stat().st_size, path) for path in work.iterdir())
    short = [(size, path) for size, path in sizes if size <= LIMIT]
    for step in itertools.count(1):
        chosen = short[::step]
        if sum(size for size, _ in chosen) <= BYTES:
            return [path for _, path in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (600)")
    parser.add_argument("--at-once", type=int, default=2, help="targets that run side by side (2)")
    arguments = parser.parse_args()
    build = ["cargo", "+nightly", "fuzz", "build"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
    subprocess.run(build, cwd=ROOT / "fuzz", env=environment, check=True)
    print("| target | executions | branches | features | found |\n|---|---|---|---|---|", flush=True)
    failed = False
    with ThreadPoolExecutor(arguments.at_once) as pool:
        for row, found in pool.map(lambda target: run(target, arguments.seconds), arguments.targets or targets()):
            print(row, flush=True)
            failed |= found
    sys.exit(failed)


if __name__ == "__main__":
    main()
