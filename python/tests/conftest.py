"""The fixtures of the repository, and the program that the wheel installed. Run by scripts/check/wheel.sh."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[2] / "fixtures"
PICO = FIXTURES / "pico" / "llama-llama3-rope"
PROGRAM = Path(sysconfig.get_path("scripts")) / ("lora-slim.exe" if os.name == "nt" else "lora-slim")


def lora_slim(*words, **options):
    """Runs the program, and returns what it did."""
    words = [str(word) for word in words]
    return subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, **options)


# The background jobs of a shell ignore interrupts, and pass that on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def script(text, *words, **options):
    """Runs Python with a text."""
    return subprocess.run([sys.executable, "-c", text, *map(str, words)], capture_output=True, text=True, **options)


@pytest.fixture
def pico(tmp_path, monkeypatch):
    """A folder with an adapter, its base model and samples, in which the test runs."""
    shutil.copytree(PICO / "adapter", tmp_path / "my-adapter")
    shutil.copytree(PICO / "base", tmp_path / "my-base")
    shutil.copy(FIXTURES / "pico" / "samples.tokens.jsonl", tmp_path / "tokens.jsonl")
    shutil.copy(FIXTURES / "pico" / "text" / "prompt_completion.jsonl", tmp_path / "val.jsonl")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
