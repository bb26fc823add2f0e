"""Damage runs of contrib/ray/ray_batch.py, and compare what they leave with one undisturbed `lora-slim batch`.

    python scripts/check/ray_faults.py [--only NAME …] [--binary target/release/lora-slim]

worker    SIGKILL for the worker of a node in the middle of a chunk; another one takes it
driver    SIGKILL for ray_batch.py in the middle of a chunk, and the same command again
store     the object stores of all nodes are full, without spilling to disk
poisoned  an adapter on which `lora-slim` is killed each time, as by the kernel when memory runs out: its chunk is given
          up with exit code 4, all other chunks are done, and the same command finishes once the cause is gone

Each begins with a cluster of two nodes with one CPU each, all on this machine, and the 24 adapters of
contrib/ray/test_ray_batch.py, two of them broken. Prints what happened and how long it took. Needs Linux and Ray
(tested with 2.60).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "contrib/ray"))
import test_ray_batch as ordinary

NODES = 2
FINAL = 3  # exit code of the undisturbed batch: two adapters are broken
RETRYABLE = 4
JOBS = 24
POISONED = "adapter-20"
FULL = ordinary.NODE["object_store_memory"]
PATIENCE = 300  # seconds

# Runs instead of `lora-slim`. It halts the first chunk that may be held after two jobs, if `hold` is there, and dies of
# one job, if `poison` is there.
STAND_IN = """#!{python}
import os, signal, subprocess, sys, tempfile
from pathlib import Path

command = [{binary!r}, *sys.argv[1:]]
if "--json" not in command or "--dry-run" in command:
    os.execv(command[0], command)
jobs = sys.stdin.buffer.read()
if Path("poison").exists() and b"{poisoned}" in jobs:
    os.kill(os.getpid(), signal.SIGKILL)
lines = jobs.splitlines(keepends=True)
if Path("hold").exists() and len(lines) > 4 and b"broken" not in jobs:
    try:
        Path("hold").rename("held")
    except FileNotFoundError:
        pass
    else:
        with tempfile.TemporaryFile() as manifest:
            manifest.write(b"".join(lines[:2]))
            manifest.seek(0)
            subprocess.run(command, stdin=manifest, stdout=subprocess.DEVNULL)
        Path("worker").write_text(str(os.getppid()))
        signal.pause()
# Standard input is a file, which it opens anew.
os.execv(command[0], command)
"""


@dataclass
class Trial:
    """A cluster, and the folder of a batch."""

    folder: Path
    cluster: Cluster

    def start(self) -> subprocess.Popen:
        return ordinary.start(self.folder, self.cluster.address)

    def hold(self) -> tuple[subprocess.Popen, int]:
        """A run of which a chunk is held up after two jobs, and the process of the worker that has it."""
        (self.folder / "hold").touch()
        run, end = self.start(), time.monotonic() + PATIENCE
        while not ((self.folder / "worker").exists() and (self.folder / "worker").read_text()):
            assert run.poll() is None and time.monotonic() < end, (self.folder / "errors").read_text()
            time.sleep(0.1)
        return run, int((self.folder / "worker").read_text())

    def finish(self, run: subprocess.Popen) -> None:
        """Waits for a run to end as the undisturbed batch does. An error of its own has the same code."""
        code, errors = run.wait(PATIENCE), (self.folder / "errors").read_text()
        assert code == FINAL and self.recorded() == JOBS, (code, errors, self.log())

    def log(self) -> str:
        return ordinary.read_log(self.folder)

    def recorded(self) -> int:
        files = (self.folder / "out").glob("results*.jsonl")
        return len({json.loads(line)["name"] for file in files for line in file.read_text().splitlines()})


def lose_worker(trial: Trial) -> str:
    run, worker = trial.hold()
    os.kill(worker, signal.SIGKILL)
    trial.finish(run)
    log = trial.log()
    assert " is lost " in log and "try 2" in log, log
    return "the chunk went to another worker"


def lose_driver(trial: Trial) -> str:
    run, worker = trial.hold()
    run.kill()
    run.wait()
    before = trial.recorded()
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{worker}").exists():  # Ray ends the workers of a driver that is gone
        assert time.monotonic() < end, "the worker outlives its driver"
        time.sleep(0.1)
    trial.finish(trial.start())
    return f"{before} of {JOBS} jobs were on record, and the same command did the rest"


@ray.remote(num_cpus=0)
class Hog:
    """Holds more than a node's object store has room for; Ray puts the rest into files beside it."""

    def fill(self) -> int:
        size = 8 << 20
        self.held = [ray.put(os.urandom(size)) for _ in range(FULL // size + 2)]
        return size * len(self.held)


def fill_stores(trial: Trial) -> str:
    ray.init(address=trial.cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in ray.nodes()]
        hogs = [Hog.options(scheduling_strategy=place).remote() for place in places]
        filled = ray.get([hog.fill.remote() for hog in hogs])
        trial.finish(trial.start())
        assert " is lost " not in trial.log(), trial.log()
    finally:
        ray.shutdown()
    return f"{len(filled)} stores of {FULL >> 20} MiB with {min(filled) >> 20} MiB in each: it needs none of them"


def poison(trial: Trial) -> str:
    (trial.folder / "poison").touch()
    code, log = trial.start().wait(PATIENCE), trial.log()
    assert code == RETRYABLE and "given up after 3 tries" in log, (code, log)
    done = trial.recorded()
    (trial.folder / "poison").unlink()
    trial.finish(trial.start())
    return f"3 tries, exit code 4, {done} of {JOBS} jobs on record; then the rest"


CASES: dict[str, Callable[[Trial], str]] = {
    "worker": lose_worker,
    "driver": lose_driver,
    "store": fill_stores,
    "poisoned": poison,
}


def check(folder: Path, binary: Path, case: Callable[[Trial], str]) -> str:
    ordinary.prepare(folder, binary)
    stand_in = STAND_IN.format(python=sys.executable, binary=str(binary), poisoned=POISONED)
    (folder / "stand-in").write_text(stand_in)
    line = [binary, "batch", *ordinary.FLAGS, "--manifest", "jobs.jsonl", "-o", "alone", "--quiet"]
    alone = subprocess.run(line, cwd=folder, capture_output=True)
    assert alone.returncode == FINAL, alone.stderr
    head = {**ordinary.NODE, "num_cpus": 0, "include_dashboard": False}
    # A store is to stay full.
    head["_system_config"] = {"automatic_object_spilling_enabled": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(NODES):
            cluster.add_node(**ordinary.NODE)
        said = case(Trial(folder, cluster))
    finally:
        cluster.shutdown()
    expected, got = ordinary.contents(folder / "alone"), ordinary.contents(folder / "out")
    different = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    assert not different, different
    return f"{said}; {len(got)} files as of one undisturbed batch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=ordinary.TARGET / "release/lora-slim")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    for name in arguments.only:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            said = check(Path(folder), arguments.binary.resolve(), CASES[name])
        print(f"{name}: {said}; {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
