"""Compare `lora-slim batch` with slimming its adapters one by one, undisturbed and killed, and with a copy.

    python scripts/bench/batch.py many [--adapters 100] [--kills 20]
    python scripts/bench/batch.py copies [--adapters 1000] [--boundary 16]

`many` slims synthetic adapters of a pico model, each with an alpha of its own and three of them broken: one by one, in
one batch, and in a batch that is killed by SIGKILL over and over. The adapters that come out have to be those of the
single runs, and the killed batch's folder that of the undisturbed one, byte for byte.

`copies` cuts adapters of 20 MB, all alike, at a boundary, against `cp -r` of as many; it needs numpy (large.py) and,
for 1000, 50 GB beside `--folder`.

Compare the ratio, not the seconds, which are those of one run on this machine.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES, ROOT

PICO = FIXTURES / "pico/llama-llama3-rope"
FLAGS = ["--base", str(PICO / "base"), "--samples", str(FIXTURES / "pico/samples.tokens.jsonl"), "--choose", "best"]


def lora_slim(*arguments: str) -> int:
    command = [BINARY, *arguments, "--quiet"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def timed(name: str, work) -> float:
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(f"{name}: {seconds:.2f} s", flush=True)
    return seconds


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder except locks, by their path."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def without_work(content: dict[str, bytes]) -> dict[str, object]:
    """Without the work, which the adapters of a batch share, so that their reports do not have it."""
    report = json.loads(content["slim_report.json"])
    report.pop("work", None)
    return content | {"slim_report.json": report}


def make_adapters(folder: Path, count: int) -> list[str]:
    """Adapters that differ in their alpha; the last three are broken, each in its own way."""
    names = [f"team{number % 4}/adapter{number:03}" for number in range(count)]
    for number, name in enumerate(names):
        shutil.copytree(PICO / "adapter", folder / name)
        path = folder / name / "adapter_config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps(config | {"lora_alpha": 1 + number / 16}))
    broken = [folder / name for name in names[-3:]]
    (broken[0] / "adapter_config.json").write_text("{")
    os.truncate(broken[1] / "adapter_model.safetensors", 1000)
    (broken[2] / "adapter_model.safetensors").unlink()
    return names


def killed_batch(folder: Path, kills: int, whole: float) -> int:
    """Run a batch until it is done, and kill it on its way; the number of kills."""
    done = 0
    draw = random.Random(0)
    while True:
        process = subprocess.Popen(
            [BINARY, "batch", "in", "-o", "killed", "--quiet", *FLAGS], cwd=folder, stderr=subprocess.DEVNULL
        )
        try:
            # Shorter than the whole run, so that most kills come before the end.
            process.wait(None if done == kills else draw.uniform(0.0, 0.5 * whole))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            continue
        if done == kills:
            return done
        # It was faster than the kill: take away all but one part of what it did.
        for name in sorted((folder / "killed").glob("team*"))[1:]:
            shutil.rmtree(name)


def many(folder: Path, count: int, kills: int) -> bool:
    names = make_adapters(folder / "in", count)

    def one_by_one() -> None:
        for name in names:
            lora_slim("slim", f"in/{name}", "-o", f"single/{name}", *FLAGS)

    os.chdir(folder)
    lora_slim("batch", "in", "-o", "warm", *FLAGS)
    alone = timed(f"{count} adapters one by one", one_by_one)
    whole = timed("one batch", lambda: lora_slim("batch", "in", "-o", "whole", *FLAGS))
    print(f"ratio: {alone / whole:.1f}")
    again = timed("the same batch again", lambda: lora_slim("batch", "in", "-o", "whole", *FLAGS))
    print(f"ratio: {alone / again:.0f}")

    def same(name: str) -> bool:
        single, batch = folder / "single" / name, folder / "whole" / name
        if not single.exists() or not batch.exists():
            return single.exists() == batch.exists()
        ours, theirs = without_work(files(batch)), without_work(files(single))
        return ours == theirs

    differing = [name for name in names if not same(name)]
    written = sum((folder / "whole" / name).exists() for name in names)
    print(f"{written} adapters written by both, {len(differing)} differ {differing[:3]}")
    done = killed_batch(folder, kills, whole)
    left, right = files(folder / "whole"), files(folder / "killed")
    unlike = sorted(name for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    print(f"after {done} kills: {len(right)} files, {len(unlike)} differ from the undisturbed batch's {unlike[:3]}")
    return not differing and not unlike


def copies(folder: Path, count: int, boundary: int) -> bool:
    first = folder / "in" / "adapter0000"
    make = [sys.executable, str(ROOT / "scripts/bench/large.py"), "adapter", str(first), "--gib", "0.02"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    for number in range(1, count):
        shutil.copytree(first, folder / "in" / f"adapter{number:04}")
    os.sync()
    size = sum(path.stat().st_size for path in (folder / "in").rglob("*") if path.is_file())
    out, copy = folder / "out", folder / "copy"

    def rate(name: str, work, target: Path) -> float:
        shutil.rmtree(target, ignore_errors=True)
        os.sync()
        seconds = timed(name, work)
        print(f"  {size / seconds / 1e6:.0f} MB of input per second")
        return seconds

    cut = ["batch", str(folder / "in"), "-o", str(out), "--boundary", str(boundary)]

    def copy_all() -> None:
        subprocess.run(["cp", "-r", str(folder / "in"), str(copy)], check=True)

    copied = rate("cp -r", copy_all, copy)
    shutil.rmtree(copy)
    synced = rate("cp -r and sync", lambda: (copy_all(), os.sync()), copy)
    shutil.rmtree(copy)
    ours = rate(f"batch --boundary {boundary}", lambda: lora_slim(*cut), out)
    ratios = f"{copied / ours:.2f} times as fast as cp -r, {synced / ours:.2f} times as fast as one with a sync"
    print(f"{count} adapters, {size / 1e9:.1f} GB: {ratios}")
    return (out / "results.jsonl").read_text().count('"status":"done"') == count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["many", "copies"])
    parser.add_argument("--adapters", type=int)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--boundary", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where to work [default: a temporary folder]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-batch-", dir=args.folder) as work:
        if args.what == "many":
            return 0 if many(Path(work), args.adapters or 100, args.kills) else 1
        return 0 if copies(Path(work), args.adapters or 1000, args.boundary) else 1


if __name__ == "__main__":
    sys.exit(main())
