"""Kills `cut --force`, and fails its system calls, at every call that publishes something.

    python scripts/check/faults.py [--calls rename,fsync,…] [--errors ENOSPC,EIO,EINTR] [--batch]

It needs strace and Linux. For each system call and each N, strace kills a run at its Nth call, or makes that call fail.
A run that was killed must leave the output as before or as after the command, byte for byte, and the inputs unchanged.
The same command must then finish, come to the same bytes, and leave no folder of its own behind. A run whose call fails
must end with exit code 0 or 4 and leave the output as before or as after. strace counts the calls of each thread by
itself, so a run has one worker thread. `--batch` does the same with a batch of three adapters.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures/pico/llama-llama3-rope/adapter"
CALLS = [
    "renameat",
    "renameat2",
    "rename",
    "unlinkat",
    "unlink",
    "rmdir",
    "fsync",
    "fdatasync",
    "write",
    "mkdir",
    "mkdirat",
    "flock",
    "ftruncate",
    "copy_file_range",
    "openat",
]
ERRORS = ["ENOSPC", "EIO", "EINTR"]
# A call that fails more often than this is no longer that of the run.
MOST = 2000


def program():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("LORA_SLIM", str(target / "release/lora-slim"))


def contents(folder):
    """The hash of every file below a folder, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def strays(folder):
    return [path.name for path in folder.iterdir() if "lora-slim" in path.name]


class Case:
    """A command in a folder of its own."""

    def __init__(self, folder, is_batch):
        self.folder, self.is_batch = folder, is_batch
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        if is_batch:
            for number in range(3):
                shutil.copytree(FIXTURE, folder / "in" / f"a{number}")
            self.inputs = folder / "in"
            self.line = ["batch", "in", "--boundary", "2", "--jobs", "1", "-o", "out", "--force", "-q"]
        else:
            shutil.copytree(FIXTURE, folder / "in")
            self.inputs = folder / "in"
            self.line = ["cut", "in", "--boundary", "2", "--rank", "1", "-o", "out", "--force", "-q"]
        self.environment = os.environ | {
            "TMPDIR": str(self.temporary),
            "RAYON_NUM_THREADS": "1",
            "HF_HUB_CACHE": "/nowhere",
            "HF_HUB_OFFLINE": "1",
        }
        before = self.line[:]
        before[before.index("2")] = "4"
        self.run(before)
        shutil.copytree(folder / "out", folder / "before")
        self.before, self.read = contents(folder / "out"), contents(self.inputs)
        self.run(self.line)
        self.after = contents(folder / "out")
        assert self.before != self.after

    def run(self, line):
        command = [program(), *line]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def reset(self):
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        shutil.copytree(self.folder / "before", self.folder / "out")

    def traced(self, fault):
        """The exit code of a run under strace, and how many calls were tampered with."""
        log = self.folder / "trace"
        call = fault.partition(":")[0]
        trace = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={fault}"]
        done = subprocess.run(
            [*trace, program(), *self.line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        text = log.read_text()
        log.unlink()
        return done.returncode, text.count("(INJECTED)") + text.count("killed by SIGKILL"), done.stderr

    def states(self, found):
        """Whether each output is as before or as after the command."""
        if not self.is_batch:
            return found in (self.before, self.after)
        return all(
            self.part(found, name) in (self.part(self.before, name), self.part(self.after, name))
            for name in self.names()
        )

    def names(self):
        return ["a0/", "a1/", "a2/"]

    def part(self, files, name):
        return {path: digest for path, digest in files.items() if path.startswith(name)}

    def check(self, said):
        assert contents(self.inputs) == self.read, f"{said}: an input has changed"
        found = contents(self.folder / "out")
        assert self.states(found), f"{said}: the output is neither the old nor the new one: {sorted(found)}"

    def check_finished(self, said):
        self.run(self.line)
        assert contents(self.folder / "out") == self.after, f"{said}: the next run wrote something else"
        left = strays(self.folder) + strays(self.temporary)
        assert not left, f"{said}: {left} is left"


def kill_all(case, call):
    """Kills a run at each call; returns how many there were."""
    for number in range(1, MOST):
        case.reset()
        code, _, _ = case.traced(f"{call}:signal=KILL:when={number}")
        if code == 0:
            return number - 1
        said = f"killed at {call} {number}"
        assert code in (-9, 137), f"{said}: exit code {code}"
        case.check(said)
        case.check_finished(said)
    raise AssertionError(f"{call} is called too often")


def fail_all(case, call, error):
    """Makes each call fail once; returns how many there were, and the exit codes."""
    codes = Counter()
    for number in range(1, MOST):
        case.reset()
        code, injected, stderr = case.traced(f"{call}:error={error}:when={number}")
        if injected == 0:
            return number - 1, codes
        said = f"{error} of {call} {number}"
        # The loader and the allocator end a process whose first files cannot be opened.
        if call == "openat" and code == 127:
            continue
        codes[code] += 1
        assert code in (0, 4) or (call == "openat" and code in (3, 5)), f"{said}: exit code {code}: {stderr}"
        case.check(said)
        case.check_finished(said)
    raise AssertionError(f"{call} is called too often")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", default=",".join(CALLS))
    parser.add_argument("--errors", default=",".join(ERRORS))
    parser.add_argument("--batch", action="store_true")
    options = parser.parse_args()
    if not shutil.which("strace"):
        sys.exit("skipped: there is no strace")
    kills = failures = 0
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder), options.batch)
        for call in options.calls.split(","):
            count = kill_all(case, call)
            kills += count
            print(f"{call}: killed at each of {count}", flush=True)
            for error in options.errors.split(",") if count and options.errors else []:
                count, codes = fail_all(case, call, error)
                failures += count
                codes = ", ".join(f"{times} × exit code {code}" for code, times in sorted(codes.items()))
                print(f"  {error}: {count} ({codes})", flush=True)
    print(f"{kills} kills, {failures} failed calls: nothing lost, nothing left")


if __name__ == "__main__":
    main()
