"""Races of two users for the folders that lora-slim works in.

    sudo python scripts/check/races.py [--rounds 1000] [--only NAME …]

It needs root and Linux, and makes its own mount namespace; without root it is skipped. One user runs lora-slim, over
and over. Another one changes, as fast as it can, what has the names that lora-slim uses in a folder that both may
write to: links to folders of the first user in place of folders, pipes in place of lock files. After every run, all
files of the first user must be as they were, and the run must have ended within its time, without a crash.
"""

import argparse
import contextlib
import ctypes
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "fixtures/pico/llama-llama3-rope/adapter"
USER, ATTACKER = 20001, 20002
# Much more than a run takes.
PATIENCE = 60
CLONE_NEWNS = 0x20000


def program():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("LORA_SLIM", str(target / "release/lora-slim"))


def attempt(act, *paths):
    with contextlib.suppress(OSError):
        act(*paths)


def remove(path):
    attempt(os.unlink, path)
    attempt(os.rmdir, path)


# Attacks: each does one step of changing names, over and over.


def links_for_scratch(shared, home):
    """A temporary folder of an old run that turns into a link to the user's folder."""
    for name in ("evil", "AbCdEf"):
        real, link = shared / f"real-{name}", shared / f"lora-slim-{name}"
        attempt(os.mkdir, real)
        attempt(os.mkdir, real / "work")
        attempt((real / "lock").touch)
        attempt(os.rename, real, link)
        attempt(os.rename, link, real)
        attempt(os.symlink, home / "project", link)
        attempt(os.unlink, link)


def swaps_of_scratch(shared, home):
    """The temporary folder of the run itself, moved away and replaced by a link: there is no sticky bit."""
    for path in list(shared.iterdir()):
        if path.name.startswith("lora-slim-") and not path.is_symlink():
            away = shared / f"away-{time.monotonic_ns()}"
            attempt(os.rename, path, away)
            attempt(os.symlink, home / "project", path)
            attempt(os.unlink, path)
            attempt(os.rename, away, path)


def links_beside_output(shared, home):
    """The folder in which an output is made."""
    place = shared / ".lora-slim-out"
    away = shared / f"away-{time.monotonic_ns()}"
    attempt(os.rename, place, away)
    attempt(os.symlink, home / "project", place)
    attempt(os.unlink, place)
    attempt(os.mkdir, place, 0o777)
    attempt(os.mkdir, place / "old", 0o777)
    attempt(os.rmdir, place / "old")
    attempt(os.rmdir, place)
    attempt(os.rename, away, place)


def pipes(shared, home):
    """Pipes in place of lock files and results."""
    del home
    for folder in (shared / "lora-slim-pipe", shared / ".lora-slim-out"):
        attempt(os.mkdir, folder, 0o777)
        attempt(os.mkfifo, folder / "lock", 0o666)
    for name in ("results.jsonl", ".lora-slim.lock", "index.html"):
        attempt(os.mkfifo, shared / "batch" / name, 0o666)
        remove(shared / "batch" / name)
    for folder in (shared / "lora-slim-pipe", shared / ".lora-slim-out"):
        remove(folder / "lock")
        remove(folder)


def links_for_results(shared, home):
    """Results that turn into a link to a file of the user."""
    for name, target in (("results.jsonl", "project/records.jsonl"), ("summary.csv", "project/table.csv")):
        path = shared / "batch" / name
        away = shared / f"away-{name}"
        attempt(os.rename, path, away)
        attempt(os.symlink, home / target, path)
        attempt(os.unlink, path)
        attempt(os.rename, away, path)


CUT = ["cut", "{home}/adapter", "--boundary", "2", "--rank", "1", "--force", "-q", "-o"]
BATCH = ["batch", "{home}/in", "--boundary", "2", "--force", "-q", "-o", "{shared}/batch"]
# Attack, whether the shared folder has the sticky bit, and the command of the user.
RACES = {
    "scratch-links": (links_for_scratch, True, [*CUT, "{home}/out"]),
    "scratch-swaps": (swaps_of_scratch, False, [*CUT, "{home}/out"]),
    "beside-output": (links_beside_output, False, [*CUT, "{shared}/out"]),
    "pipes": (pipes, False, [*CUT, "{shared}/out"]),
    "batch-pipes": (pipes, False, BATCH),
    "results-links": (links_for_results, False, BATCH),
}


def become(user):
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    os.umask(0o022)


def state(folder):
    """Everything below a folder: names, and hashes of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "folder"
    return found


def make_home(home):
    """The user's folders, with everything that lora-slim's own folders have in them."""
    shutil.copytree(FIXTURE, home / "adapter")
    shutil.copytree(FIXTURE, home / "in/a")
    for name in ("work", "new", "old", "copy"):
        (home / "project" / name).mkdir(parents=True)
        (home / "project" / name / "thesis").write_text("mine")
    (home / "project/lock").touch()
    (home / "project/records.jsonl").write_text('{"name": "mine"}\n')
    (home / "project/table.csv").write_text("name,status,mine\n")
    for path in [home, *home.rglob("*")]:
        os.chown(path, USER, USER)


def start_attacker(attack, shared, home):
    child = os.fork()
    if child:
        return child
    become(ATTACKER)
    while True:
        with contextlib.suppress(OSError):
            attack(shared, home)


def race(name, rounds, folder):
    attack, is_sticky, line = RACES[name]
    home, shared = folder / "home", folder / "shared"
    shared.mkdir()
    home.mkdir(mode=0o755)
    make_home(home)
    (shared / "batch").mkdir()
    for path in (shared, shared / "batch"):
        path.chmod(0o1777 if is_sticky else 0o777)
    command = [part.format(home=home, shared=shared) for part in line]
    expected, codes, slowest = state(home / "project"), Counter(), 0.0
    environment = {
        "TMPDIR": str(shared),
        "HF_HUB_CACHE": "/nowhere",
        "HF_HUB_OFFLINE": "1",
        "RAYON_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
    }
    attacker = start_attacker(attack, shared, home)
    problems = Counter()
    try:
        for _ in range(rounds):
            started = time.monotonic()
            run = subprocess.Popen(
                [str(folder / "lora-slim"), *command],
                env=environment,
                preexec_fn=lambda: become(USER),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                code = run.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                code = "waited for ever"
                problems[code] += 1
            slowest = max(slowest, time.monotonic() - started)
            codes[code] += 1
            if code not in (0, 2, 3, 4, "waited for ever"):
                problems[f"exit code {code}"] += 1
            if state(home / "project") != expected:
                problems["the user's files have changed"] += 1
                shutil.rmtree(home)
                home.mkdir(mode=0o755)
                make_home(home)
    finally:
        os.kill(attacker, signal.SIGKILL)
        os.waitpid(attacker, 0)
    ended = ", ".join(f"{count} × {code}" for code, count in sorted(codes.items(), key=str))
    print(f"{name}: {rounds} rounds, exit codes {ended}, slowest {slowest:.1f} s", flush=True)
    for problem, count in problems.items():
        print(f"  {problem}: {count}", flush=True)
    return sum(problems.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=list(RACES), choices=list(RACES))
    options = parser.parse_args()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not sys.platform.startswith("linux"):
        print("skipped: this needs root on Linux")
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        print("skipped: no mount namespace can be made")
        return
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    problems = 0
    for name in options.only:
        # In memory, and gone with this process.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", "/mnt"], check=True)
        shutil.copy(program(), "/mnt/lora-slim")
        os.chmod("/mnt/lora-slim", 0o755)
        problems += race(name, options.rounds, Path("/mnt"))
        subprocess.run(["umount", "-l", "/mnt"], check=True)
    if problems:
        sys.exit(f"{problems} problems")
    print("ok: no file of the user was lost or changed, and no run waited")


if __name__ == "__main__":
    main()
