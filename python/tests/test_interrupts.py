"""Ctrl-C ends calls and the program, leaves nothing behind, and a process can go on after it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PROGRAM, script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


def write_samples(count):
    """Samples that differ; 150 take half a minute if nothing ends it."""
    numbers = random.Random(0)
    rows = ({"input_ids": numbers.choices(range(300), k=1000)} for _ in range(count))
    Path("long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


CALL = """
import sys, lora_slim
told = lambda step: print(step.stage, flush=True)
same = dict(base="my-base", boundary=3)
try:
    lora_slim.slim("my-adapter", samples="long.jsonl", output="out", progress=told, **same)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    report = lora_slim.slim("my-adapter", samples="val.jsonl", output="out", progress=False, **same)
    print("boundary", report.boundary, flush=True)
"""


def started(words):
    write_samples(150)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def left_behind():
    known = {"my-adapter", "my-base", "tokens.jsonl", "val.jsonl", "long.jsonl", "out"}
    return {path.name for path in Path().iterdir()} - known


def test_a_call(pico):
    process = started([sys.executable, "-c", CALL])
    assert process.stdout.readline() == "measure\n"
    at = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    lines = [line for line in out.splitlines() if line != "measure"]
    assert lines == ["interrupted", "boundary 3"], err
    assert time.monotonic() - at < 30
    assert process.returncode == 0 and left_behind() == set()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_the_program(pico, which):
    words = ["slim", "my-adapter", "--base", "my-base", "--samples", "long.jsonl", "--boundary", "3", "-o", "out"]
    process = started([str(PROGRAM), *words])
    # Its handler is there before the first pass.
    time.sleep(2)
    process.send_signal(which)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "error: interrupted" in err and "Traceback" not in err
    assert not Path("out").exists() and left_behind() == set()


def test_commands_that_catch_no_signals_end_at_once(pico):
    code = """
import signal
from lora_slim import _program
_program._native.program = lambda words, has_stdout: print(signal.getsignal(signal.SIGINT).name)
_program.main()
"""
    assert script(code).stdout == "SIG_DFL\n"
    assert script("import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + code).stdout == "SIG_IGN\n"


def test_an_error_of_the_listener_ends_the_call(pico):
    write_samples(50)
    code = """
import lora_slim
def told(step):
    raise LookupError("told")
try:
    lora_slim.scan("my-adapter", base="my-base", samples="long.jsonl", progress=told)
except LookupError as error:
    print(error)
"""
    assert script(code).stdout == "told\n"


def test_other_threads_run_meanwhile(pico):
    write_samples(5)
    code = """
import threading, time, lora_slim
count, done = 0, False
def other():
    global count
    while not done:
        count += 1
        time.sleep(0.001)
thread = threading.Thread(target=other)
thread.start()
start = time.monotonic()
lora_slim.scan("my-adapter", base="my-base", samples="long.jsonl")
took, done = time.monotonic() - start, True
thread.join()
print(took > 0.2 and count > 20 * took, took, count)
"""
    ran = script(code, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    assert ran.stdout.startswith("True"), ran


def test_calls_side_by_side(pico):
    code = """
import warnings, lora_slim
from concurrent.futures import ThreadPoolExecutor
warnings.simplefilter("ignore")
def run(boundary):
    same = dict(base="my-base", samples="val.jsonl")
    return lora_slim.slim("my-adapter", boundary=boundary, output=f"out-{boundary}", **same)
with ThreadPoolExecutor(4) as pool:
    print([report.boundary for report in pool.map(run, [1, 2, 3, 4])])
"""
    ran = script(code)
    assert ran.stdout == "[1, 2, 3, 4]\n", ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_fork_is_refused_after_a_call(pico):
    code = """
import os, lora_slim
call = lambda: lora_slim.inspect("my-adapter")
def forked():
    child = os.fork()
    if not child:
        try:
            call()
            os._exit(0)
        except lora_slim.UsageError as error:
            os._exit(7 if error.hint else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(forked())
call()
print(forked())
"""
    assert script(code).stdout == "0\n7\n"
