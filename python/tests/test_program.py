"""The program `lora-slim` of the wheel behaves as the one that cargo builds."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import lora_slim
import pytest
from conftest import PROGRAM, script
from conftest import lora_slim as program

SCAN = ["scan", "my-adapter", "--base", "my-base", "--samples"]


def test_version_and_help(pico):
    assert program("--version").stdout == f"lora-slim {lora_slim.__version__}\n"
    assert program("--help").stdout.count("Usage: lora-slim") == 1
    assert program("slim", "--help").returncode == 0
    ran = subprocess.run([sys.executable, "-m", "lora_slim", "--version"], capture_output=True, text=True)
    assert ran.stdout == f"lora-slim {lora_slim.__version__}\n"


def test_exit_codes(pico):
    for code, words in [
        (2, ["slim"]),
        (2, ["unknown"]),
        (3, [*SCAN, "my-adapter/adapter_config.json"]),
        (3, [*SCAN, "nothing.jsonl"]),
        (5, ["verify", "my-adapter", "my-base"]),
        (0, ["inspect", "my-adapter"]),
    ]:
        ran = program(*words)
        if words[0] == "verify":
            assert ran.returncode in (3, 5)
        else:
            assert ran.returncode == code, (words, ran.stderr)
        assert "Traceback" not in ran.stderr


@pytest.mark.skipif(os.name != "posix", reason="descriptors")
def test_a_closed_or_full_standard_output_is_an_error(pico):
    for redirection in (">&-", ">/dev/full"):
        ran = subprocess.run(
            ["sh", "-c", f'"$0" inspect my-adapter {redirection}', str(PROGRAM)], stderr=subprocess.PIPE, text=True
        )
        assert ran.returncode == 4, (redirection, ran.stderr)
        assert "cannot write to standard output" in ran.stderr
    ran = subprocess.run(["sh", "-c", '"$0" inspect my-adapter 2>&- <&-', str(PROGRAM)], capture_output=True)
    assert ran.returncode == 0
    ran = subprocess.run(
        ["sh", "-c", '"$0" check my-adapter | head -n 1', str(PROGRAM)], capture_output=True, text=True
    )
    assert ran.stderr == ""


def test_samples_from_standard_input(pico):
    ran = program(*SCAN, "-", "--json", input=Path("tokens.jsonl").read_text())
    assert ran.returncode == 0 and '"standard input"' in ran.stdout


def processes_of_tokenizers(parent):
    children = Path(f"/proc/{parent}/task/{parent}/children")
    for task in Path(f"/proc/{parent}/task").iterdir():
        children = task / "children"
        for child in children.read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"tokenizer-process" in words:
                yield int(child), words


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("how", ["program", "function"])
def test_tokenizers_have_a_process_of_their_own(pico, how):
    """A folder with modules of the names that it needs cannot get code into it."""
    for name in ("importlib.py", "lora_slim.py", "_native.py", "encodings.py"):
        Path(name).write_text("raise SystemExit('taken for a module')")
    many = Path("val.jsonl").read_text() * 4000
    Path("many.jsonl").write_text(many)
    code = "import sys; sys.path.pop(0); import lora_slim; "
    code += "lora_slim.scan('my-adapter', base='my-base', samples='many.jsonl')"
    words = {"program": [str(PROGRAM), *SCAN, "many.jsonl"], "function": [sys.executable, "-W", "ignore", "-c", code]}[
        how
    ]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seen = []
    while process.poll() is None and not seen:
        try:
            seen = list(processes_of_tokenizers(process.pid))
        except OSError:
            continue
    assert seen, process.stderr.read()
    number, words = seen[0]
    assert b"-I" in words and Path(os.fsdecode(words[-3])).name.startswith("_native")
    limits = Path(f"/proc/{number}/limits")
    deadline = time.monotonic() + 10
    while re.search("^Max address space +unlimited", limits.read_text(), re.M):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()


def test_importing_is_quick_and_loads_no_other_package(pico):
    code = "import sys, lora_slim; print({'numpy', 'tqdm', 'matplotlib', 'IPython'} & set(sys.modules))"
    assert script(code).stdout == "set()\n"
