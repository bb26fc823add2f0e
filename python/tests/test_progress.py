"""Progress for functions and for tqdm."""

import io
import json
import random

import lora_slim
import pytest
from lora_slim import _progress

SAME = {"base": "my-base", "samples": "long.jsonl"}


@pytest.fixture
def long(pico):
    numbers = random.Random(0)
    rows = ({"input_ids": numbers.choices(range(300), k=100)} for _ in range(100))
    (pico / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_function_is_told(long):
    steps = []
    lora_slim.scan("my-adapter", progress=steps.append, **SAME)
    assert steps and {step.stage for step in steps} == {"measure"}
    assert all(0 < step.done <= step.total for step in steps)
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[0].text.startswith("pass 1 of ")


def test_tqdm_is_used_when_it_is_asked_for(long, monkeypatch):
    tqdm = pytest.importorskip("tqdm.auto")
    out = io.StringIO()
    real = tqdm.tqdm
    monkeypatch.setattr(tqdm, "tqdm", lambda **options: real(file=out, **options))
    lora_slim.scan("my-adapter", progress=True, **SAME)
    assert "measure:" in out.getvalue()


def test_nobody_looks_on(capfd, long):
    lora_slim.scan("my-adapter", **SAME)
    assert capfd.readouterr() == ("", "")
    assert _progress.listener(None) is None and _progress.listener(False) is None
