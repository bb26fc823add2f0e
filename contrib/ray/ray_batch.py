"""Run `lora-slim batch --manifest` on all nodes of a Ray cluster.

    python contrib/ray/ray_batch.py --manifest jobs.jsonl -o OUT [--address auto] [flags of `lora-slim batch`]

Jobs of the same base model, samples and options share sweeps, so the manifest is cut into chunks of these. Each node
has one worker, which keeps the base model mapped and runs one chunk after the other, each as a part of the batch
(`--partition`) that writes into the one OUT. When a node is lost its chunk goes to another one, where `lora-slim` skips
what is already published. A failure that is final is not tried again; one that may pass (exit code 4, killed) is. At
the end one `lora-slim batch` over the whole manifest finds everything done, and writes the results, the summary and the
page as it does without Ray.

docs/pipelines/ray.md says what this assumes of the cluster. Exit codes are those of `lora-slim batch`; 4 means: run it
again. Needs Linux, Python 3.10 or newer and the core of Ray (`pip install ray`; tested with 2.60).
"""

import argparse
import ctypes
import fcntl
import hashlib
import itertools
import json
import math
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

RETRYABLE, PERMANENT = 4, (2, 3, 5, 6, 70, 101)  # exit codes
REST = 60  # seconds until a lost node may have another worker: a cluster notices late that it is dead


class Stop(Exception):
    """Ends the run before its work is done: an exit code, and the reason."""


@dataclass
class Chunk:
    """Jobs that share sweeps: one part of a manifest that has nothing else."""

    name: str  # M-of-N, of its results file; no other chunk has the same
    base: str | None
    jobs: dict[str, str] = field(default_factory=dict)  # from names to lines of the manifest
    tries: int = 0
    not_before: float = 0.0

    def records(self, output: Path) -> dict[str, dict]:
        """The records of its jobs so far. The file has those of other chunks, too, marked as removed."""
        records = map(json.loads, whole_lines(output / f"results.{self.name}.jsonl"))
        return {record["name"]: record for record in records if record["name"] in self.jobs}


class Worker:
    """The actor on a node, for as long as the node is there."""

    def __init__(self, binary: str, folder: str, cpus: float):
        self.binary, self.folder = binary, folder
        self.environment = {**os.environ, "RAYON_NUM_THREADS": str(max(1, int(cpus)))}
        self.base, self.maps = None, []

    def version(self) -> str:
        command = [self.binary, "--version"]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, check=True).stdout.strip()

    def run(self, chunk: Chunk, output: str, flags: list[str]) -> tuple[int, list[dict], int, str]:
        """The exit code, the records of all jobs that have one, how many are new, and what was said on stderr."""
        if chunk.base and chunk.base != self.base:
            with suppress(OSError):  # lora-slim will report what is wrong with it
                self.base, self.maps = chunk.base, list(map_weights(Path(self.folder, chunk.base)))
        part = f"hash:{chunk.name.replace('-of-', '/')}"
        command = [self.binary, "batch", "--manifest", "/dev/stdin", "--partition", part, "--json"]
        # It must not outlive this worker: it would hold the lock of a chunk that another worker has by then.
        prctl = ctypes.CDLL(None).prctl
        # A file, because `lora-slim` takes no manifest from a pipe; without a name, so that a kill leaves none behind.
        with tempfile.TemporaryFile("w+") as manifest:
            manifest.write("\n".join(chunk.jobs.values()))
            manifest.seek(0)
            done = subprocess.run(
                [*command, "-o", output, *flags],
                stdin=manifest,
                capture_output=True,
                text=True,
                cwd=self.folder,
                env=self.environment,
                preexec_fn=lambda: prctl(1, signal.SIGKILL),  # PR_SET_PDEATHSIG
            )
        records = list(chunk.records(Path(self.folder, output)).values())
        return (
            done.returncode,
            records,
            len([line for line in done.stdout.splitlines() if not json.loads(line).get("unchanged")]),
            done.stderr.strip(),
        )


def map_weights(base: Path):
    """Read the weights into the page cache (MAP_POPULATE) and keep them mapped, unless they take half of the memory."""
    files = [base] if base.is_file() else base.glob("*")
    files = [path for path in files if path.suffix in (".safetensors", ".bin", ".gguf") and path.stat().st_size]
    if 2 * sum(path.stat().st_size for path in files) > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        return
    for path in files:
        with open(path, "rb") as file:
            yield mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)


def whole_lines(path: Path) -> list[str]:
    """The lines of a file that may be absent, without an unfinished last one, whose writer was killed."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def chunks_of(manifest: Path, base: str | None, size: int) -> list[Chunk]:
    """Cut each group of jobs that can share sweeps into parts of about `size` jobs, by the hashes of their names."""
    groups = defaultdict(dict)
    for line in filter(str.strip, manifest.read_text().split("\n")):
        job = json.loads(line)
        name = "/".join(Path(job.get("output") or Path(job["adapter"]).name).parts)
        used = job.get("base") or base or base_of(job["adapter"])
        key = json.dumps([used, job.get("samples"), job.get("options")], sort_keys=True)
        groups[key][name] = (used, line)
    chunks, counts = {}, {0, 1}  # a single part would have the name of the whole
    for jobs in groups.values():
        # A count of its own tells its parts from those of other groups.
        count = next(count for count in itertools.count(math.ceil(len(jobs) / size)) if count not in counts)
        counts.add(count)
        for name, (used, line) in sorted(jobs.items()):
            number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % count + 1
            part = f"{number}-of-{count}"
            chunks.setdefault(part, Chunk(part, used)).jobs[name] = line
    return list(chunks.values())


def base_of(adapter: str) -> str | None:
    """The base model that an adapter names; None for a broken adapter, which `lora-slim` will refuse."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return json.loads(Path(adapter, "adapter_config.json").read_text())["base_model_name_or_path"]


@dataclass
class Node:
    label: str
    worker: ray.actor.ActorHandle
    answer: ray.ObjectRef | None  # at first the version, then the results of chunks
    chunk: Chunk | None = None
    base: str | None = None


class Batch:
    """The chunks that are left, and the nodes that work on them."""

    def __init__(self, arguments: argparse.Namespace, flags: list[str], chunks: list[Chunk]):
        self.arguments, self.flags, self.queue = arguments, flags, list(chunks)
        self.version = Worker(arguments.binary, os.getcwd(), 1).version()
        self.nodes: dict[str, Node] = {}
        self.resting: dict[str, float] = {}  # nodes that were lost, until when
        self.given_up: list[Chunk] = []

    def run(self) -> None:
        while self.queue or any(node.chunk for node in self.nodes.values()):
            self.look_around()
            self.hand_out()
            self.take_in()

    def look_around(self) -> None:
        """Forget nodes that are gone, and start a worker on those that have none."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")}
        for id in [id for id, node in self.nodes.items() if id not in alive and not node.chunk]:
            print(f"{self.nodes.pop(id).label} has left the cluster")
        if not alive:
            raise Stop(RETRYABLE, "the cluster has no node with processors")
        resting = {id for id, end in self.resting.items() if time.monotonic() < end}
        for id in sorted(alive.keys() - self.nodes.keys() - resting):
            cpus, label = alive[id]["Resources"]["CPU"], f"node {id[:6]}"
            print(f"{label} at {alive[id]['NodeManagerAddress']} has {cpus:g} CPU, a worker starts there")
            place = NodeAffinitySchedulingStrategy(id, soft=False)
            actor = ray.remote(Worker).options(num_cpus=cpus, scheduling_strategy=place)
            worker = actor.remote(self.arguments.binary, os.getcwd(), cpus)
            self.nodes[id] = Node(label, worker, worker.version.remote())

    def hand_out(self) -> None:
        """Give idle nodes a chunk: one of the base model that they have mapped, or else one that few others have."""
        for node in [node for node in self.nodes.values() if not node.answer]:
            due = [chunk for chunk in self.queue if chunk.not_before <= time.monotonic()]
            if not due:
                return
            held = Counter(node.base for node in self.nodes.values())
            chunk = min(due, key=lambda chunk: (chunk.base != node.base, held[chunk.base]))
            self.queue.remove(chunk)
            chunk.tries += 1
            node.chunk, node.base = chunk, chunk.base
            node.answer = node.worker.run.remote(chunk, str(self.arguments.output), self.flags)
            print(f"{node.label} takes {chunk.name}, {len(chunk.jobs)} jobs, try {chunk.tries}")

    def take_in(self) -> None:
        """Wait for an answer, but not so long that a node which comes or goes would be overlooked."""
        waited = {node.answer: id for id, node in self.nodes.items() if node.answer}
        for answer in ray.wait(list(waited), timeout=1)[0] if waited else []:
            id, node = waited[answer], self.nodes[waited[answer]]
            chunk, node.chunk, node.answer = node.chunk, None, None
            try:
                result = ray.get(answer)
            except RayTaskError as error:
                raise Stop(RETRYABLE, f"{node.label}: {error.cause}") from error
            except RayError as error:
                print(f"{node.label} is lost ({type(error).__name__})")
                ray.kill(self.nodes.pop(id).worker)  # it may be alive, and only out of reach
                self.resting[id] = time.monotonic() + REST
                if chunk:
                    self.again(chunk)
                continue
            if chunk:
                self.finish(node, chunk, *result)
            elif result != self.version:
                raise Stop(3, f"{node.label} has {result}, and this machine {self.version}")
        time.sleep(0.1)

    def finish(self, node: Node, chunk: Chunk, code: int, records: list[dict], new: int, error: str) -> None:
        kinds = sorted(Counter(record["status"] for record in records).items())
        before = [f"{len(records) - new} of them before"] if len(records) > new else []
        counts = ", ".join([f"{count} {kind}" for kind, count in kinds] + before)
        print(f"{node.label} ends {chunk.name} with exit code {code}: {counts}")
        is_cut_off = code < 0 or code > 128 or (code != 0 and len(records) < len(chunk.jobs))
        if is_cut_off and code in PERMANENT:
            raise Stop(code, error.removeprefix("error: "))
        may_pass = RETRYABLE in [code, *(record["exit_code"] for record in records)]
        if is_cut_off or (may_pass and chunk.tries < self.arguments.tries):
            self.again(chunk)

    def again(self, chunk: Chunk) -> None:
        retries, there = chunk.tries < self.arguments.tries, len(chunk.records(self.arguments.output))
        end = "the chunk waits for a node" if retries else f"given up after {chunk.tries} tries"
        print(f"{chunk.name}: {there} of {len(chunk.jobs)} jobs are on record, {end}")
        chunk.not_before = time.monotonic() + self.arguments.pause * 2 ** (chunk.tries - 1)
        (self.queue if retries else self.given_up).append(chunk)


def fold(output: Path, chunks: list[Chunk]) -> None:
    """Append the records of all chunks to results.jsonl, and remove the files that only chunks have."""
    parts = [output / f"results.{chunk.name}.jsonl" for chunk in chunks]
    new = [line for part in parts for line in whole_lines(part) if not json.loads(line).get("removed")]
    folded = output / ".results.jsonl"
    folded.write_text("".join(f"{line}\n" for line in whole_lines(output / "results.jsonl") + new))
    folded.replace(output / "results.jsonl")
    for part in parts:
        part.unlink(missing_ok=True)
    for unfinished in list(output.rglob(".lora-slim-*")):  # what killed processes were writing
        shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--base", help="as in `lora-slim batch`; all other flags are passed on, too")
    parser.add_argument("--address", default="auto", help="of the cluster; `local` starts one on this machine")
    parser.add_argument("--binary", default="lora-slim")
    parser.add_argument("--chunk", type=int, default=16, help="about so many jobs share sweeps (16; at most 32 can)")
    parser.add_argument("--tries", type=int, default=3, help="of a chunk, where another try may help (3)")
    parser.add_argument(
        "--pause", type=float, default=10, help="seconds before the second try, then twice as many (10)"
    )
    arguments, flags = parser.parse_known_args()
    return arguments, flags + ([f"--base={arguments.base}"] if arguments.base else [])


def main(arguments: argparse.Namespace, flags: list[str]) -> int:
    output, whole = arguments.output, [arguments.binary, "batch", *flags]
    whole += ["--manifest", arguments.manifest, "-o", output]
    # A part so small that no job is in it: reports an error in the manifest or the flags before any node has work.
    check = [*whole, "--partition", f"hash:1/{2**63}", "--json", "--dry-run"]
    if code := subprocess.run(check, stdout=subprocess.DEVNULL).returncode:
        return code
    chunks = chunks_of(arguments.manifest, arguments.base, arguments.chunk)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / ".lora-slim.ray.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop(RETRYABLE, f"another run writes to `{output}`") from None
        ray.init(address=arguments.address, log_to_driver=False, logging_level="ERROR")
        print(f"{sum(len(chunk.jobs) for chunk in chunks)} jobs in {len(chunks)} chunks")
        batch = Batch(arguments, flags, chunks)
        batch.run()
        ray.shutdown()
        if batch.given_up:
            raise Stop(RETRYABLE, f"{len(batch.given_up)} chunks are not done; run it again to go on")
        fold(output, chunks)
    return subprocess.run(whole).returncode


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    try:
        sys.exit(main(*parse()))
    except Stop as stop:
        print(f"error: {stop.args[1]}", file=sys.stderr)
        sys.exit(stop.args[0])
    except OSError as error:  # no cluster, no lora-slim
        sys.exit(f"error: {error}")
