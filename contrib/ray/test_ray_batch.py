"""Check that ray_batch.py leaves, with a node lost on the way, what one `lora-slim batch` leaves, byte for byte.

    python contrib/ray/test_ray_batch.py [--binary target/release/lora-slim]

A Ray cluster of three nodes with one CPU each, all on this machine, slims 24 adapters of a pico model, two of them
broken and eight with options of their own. Instead of `lora-slim` the nodes run a program that runs it and makes two
chunks halt in the middle: nearly full pipes block `lora-slim` once it has published a few adapters. One of the two is
then killed; under the other one the node is, by SIGKILL. Prints the log of ray_batch.py. Nothing is timed.

Needs Linux, Python 3.10 or newer and Ray (tested with 2.60).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
PICO = ROOT / "fixtures/pico"
MODEL = PICO / "llama-llama3-rope"
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
FLAGS = ["--max-samples", "8"]
BROKEN = {"broken-config", "broken-tensors"}

# Runs instead of `lora-slim`, in the folder of the test.
STAND_IN = """#!{python}
import ctypes, fcntl, os, signal, subprocess, sys, time
from pathlib import Path

command = [{binary!r}, *sys.argv[1:]]
if "--json" not in command or "--dry-run" in command:
    os.execv(command[0], command)
part = command[command.index("--partition") + 1].removeprefix("hash:").replace("/", "-of-")
jobs = sys.stdin.buffer.read()

def is_first(role):
    try:
        return not Path(role).mkdir()
    except FileExistsError:
        return False

def start(stdout):
    prctl = ctypes.CDLL(None).prctl
    die_with_parent = lambda: prctl(1, signal.SIGKILL)
    # Standard input is a file, which it opens anew.
    return subprocess.Popen(command, stdout=stdout, preexec_fn=die_with_parent)

role = None if b"broken" in jobs else next(filter(is_first, ["held", "killed"]), None)
if role is None:
    child = start(subprocess.PIPE)
    for line in child.stdout:
        if b'"unchanged":true' not in line:
            with open("tried.jsonl", "ab") as tried:
                tried.write(line)
        sys.stdout.buffer.write(line)
    sys.exit(child.wait())
reader, writer = os.pipe()
fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
os.write(writer, bytes(4096 - 1600))
child = start(writer)
results = Path(command[command.index("-o") + 1], f"results.{{part}}.jsonl")
while child.poll() is None and not (results.exists() and results.read_bytes()):
    time.sleep(0.05)
if role == "held":
    Path("held/part").write_text(part)
    signal.pause()
child.kill()
sys.exit(137)
"""


def prepare(folder: Path, binary: Path) -> None:
    """24 adapters, their manifest, and the stand-in."""
    shutil.copytree(MODEL / "base", folder / "base")
    shutil.copy(PICO / "samples.tokens.jsonl", folder)
    config = json.loads((MODEL / "adapter/adapter_config.json").read_text())
    names = [f"adapter-{number:02}" for number in range(1, 23)] + sorted(BROKEN)
    jobs = []
    for number, name in enumerate(names):
        adapter = folder / "adapters" / name
        shutil.copytree(MODEL / "adapter", adapter)
        (adapter / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 4 + number}))
        job = {"adapter": f"adapters/{name}", "base": "base", "samples": "samples.tokens.jsonl"}
        jobs.append(job | {"options": {"choose": "best"} if number >= 16 else {"boundary": 3}})
    (folder / "adapters/broken-config/adapter_config.json").write_text("{")
    tensors = folder / "adapters/broken-tensors/adapter_model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    (folder / "jobs.jsonl").write_text("".join(f"{json.dumps(job)}\n" for job in jobs))
    stand_in = folder / "stand-in"
    stand_in.write_text(STAND_IN.format(python=sys.executable, binary=str(binary)))
    stand_in.chmod(0o755)


def start(folder: Path, address: str) -> subprocess.Popen:
    command = [
        sys.executable,
        Path(__file__).with_name("ray_batch.py"),
        "--manifest",
        "jobs.jsonl",
        "-o",
        "out",
        "--address",
        address,
    ]
    command += ["--binary", "./stand-in", "--chunk", "8", "--pause", "0.1", *FLAGS]
    with open(folder / "log", "w") as log, open(folder / "errors", "w") as errors:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=errors)


def lose_node(cluster: Cluster, folder: Path, run: subprocess.Popen) -> tuple[str, str]:
    """Wait for the chunk that is held up, and kill the node that has it; the names of both."""
    part = folder / "held/part"
    while not (part.exists() and part.read_text()):
        assert run.poll() is None, (folder / "errors").read_text()
        time.sleep(0.1)
    takes = [line for line in (folder / "log").read_text().splitlines() if f" takes {part.read_text()}," in line]
    label = takes[-1].split()[1]
    node = next(node for node in cluster.list_all_nodes() if node.node_id.startswith(label))
    cluster.remove_node(node, allow_graceful=False)
    return label, part.read_text()


def read_log(folder: Path) -> str:
    """The log without Ray's own lines."""
    lines = (folder / "log").read_text().splitlines()
    return "\n".join(line for line in lines if line and not line.startswith((" ", "\033")))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def tries(folder: Path) -> Counter:
    return Counter(json.loads(line)["name"] for line in (folder / "tried.jsonl").read_text().splitlines())


def check(folder: Path, binary: Path) -> None:
    prepare(folder, binary)
    alone = subprocess.run([binary, "batch", *FLAGS, "--manifest", "jobs.jsonl", "-o", "alone", "--quiet"], cwd=folder)
    assert alone.returncode == 3, alone.returncode
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(3):
            cluster.add_node(**NODE)
        run = start(folder, cluster.address)
        label, part = lose_node(cluster, folder, run)
        code, log = run.wait(), read_log(folder)
        print(log)
        tried = tries(folder)
        again = start(folder, cluster.address).wait()
    finally:
        cluster.shutdown()
    assert code == again == alone.returncode, (code, again)
    expected, got = contents(folder / "alone"), contents(folder / "out")
    different = sorted(name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name))
    assert not different, different
    assert {name: tried[name] for name in BROKEN} == dict.fromkeys(BROKEN, 1), tried
    assert f"node {label} is lost" in log and f"node {label} takes {part}" in log
    assert "exit code 4:" not in log, "lora-slim has outlived its node"
    assert log.rindex(f" takes {part}, ") > log.index(f"node {label} is lost")
    assert "with exit code 137" in log
    assert tries(folder) == tried, "finished jobs were done again"
    print(f"ok: {len(got)} files are those of one undisturbed `lora-slim batch`, and a second run did nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=TARGET / "release/lora-slim")
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), parser.parse_args().binary.resolve())


if __name__ == "__main__":
    main()
