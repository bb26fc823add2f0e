"""The same losses, choice and bytes from Python and from the command line."""

import json
import warnings
from pathlib import Path

import lora_slim
import pytest
from conftest import lora_slim as program
from conftest import records

RUNS = [
    {"boundary": 3},
    {"boundary": 3, "rank": 2, "dtype": "bf16"},
    {"boundary": 5, "loss_only": False, "probability": True, "scale": 0.5},
    {"boundary": 4, "holdout": 0.3, "confidence": "90%", "precision": "f32"},
    {"boundary": 2, "require_saving": "20%", "portable": True, "chat": None},
]


def flags(options):
    for name, value in options.items():
        if value is True:
            yield f"--{name.replace('_', '-')}"
        elif value is not None and value is not False:
            yield f"--{name.replace('_', '-')}={value}"


@pytest.mark.parametrize("options", RUNS, ids=lambda options: "-".join(options))
def test_slim(pico, options):
    same = {"base": "my-base", "samples": "tokens.jsonl"}
    ran = program("slim", "my-adapter", "-o", "by-program", "--json", *flags({**same, **options}))
    report = lora_slim.slim("my-adapter", output="by-python", **same, **options)
    assert ran.returncode == 0, ran.stderr
    assert report.to_dict() == json.loads(ran.stdout)
    names = sorted(path.name for path in Path("by-program").iterdir())
    assert names == sorted(path.name for path in Path("by-python").iterdir())
    for name in names:
        assert Path("by-program", name).read_bytes() == Path("by-python", name).read_bytes(), name


def test_scan(pico):
    ran = program("scan", "my-adapter", "--base", "my-base", "--samples", "val.jsonl", "--json", "--metric", "f1")
    report = lora_slim.scan("my-adapter", base="my-base", samples="val.jsonl", metric=["f1"])
    assert report.to_dict() == json.loads(ran.stdout)


def test_cut_inspect_check_verify(pico):
    def both(call, *words):
        ran = program(*words, "--json")
        ours, printed = call.to_dict(), json.loads(ran.stdout)
        # One command line may be written in several ways.
        assert ours | {"command": ""} == printed | {"command": ""}
        return call, ran.returncode

    both(lora_slim.cut("my-adapter", "a", keep_layers=range(2)), "cut", "my-adapter", "--keep-layers", "0-1", "-o", "b")
    assert Path("a/adapter_model.safetensors").read_bytes() == Path("b/adapter_model.safetensors").read_bytes()
    both(lora_slim.inspect("my-adapter"), "inspect", "my-adapter")
    named = lora_slim.check("a", runtimes=["peft", "vllm"], base="my-base")
    checked, code = both(named, "check", "a", "--runtime", "peft,vllm", "--base", "my-base")
    assert checked.passes == (code == 0)
    assert checked.verdict("peft") == "loads"
    verified, code = both(lora_slim.verify("my-adapter", "a"), "verify", "my-adapter", "a")
    assert verified and verified.kept_layers == [0, 1] and code == 0
    verified, code = both(lora_slim.verify("a", "my-adapter"), "verify", "a", "my-adapter")
    assert not verified and verified.differences and code == 5


def test_records_are_what_a_file_is(pico):
    """Only where the samples come from differs."""
    of_file = lora_slim.scan("my-adapter", base="my-base", samples="val.jsonl").to_dict()
    of_records = lora_slim.scan("my-adapter", base="my-base", samples=records("val.jsonl")).to_dict()
    assert of_records["samples"].pop("path") == "samples (Python list, 4 records)"
    of_file["samples"].pop("path")
    assert of_records["samples"].pop("sha256") != of_file["samples"].pop("sha256")
    assert of_records.pop("command") != of_file.pop("command")
    assert of_records == of_file


def test_a_flag_that_is_a_word_of_python(pico):
    options = {"boundary": 3, "base": "my-base", "samples": "tokens.jsonl"}
    report = lora_slim.slim("my-adapter", output="out", for_=["peft", "vllm"], **options)
    assert report.runtimes
    with pytest.raises(lora_slim.LoraSlimError, match="unheard-of"):
        lora_slim.slim("my-adapter", output="out", for_="unheard-of", **options)


def test_an_option_that_is_none_or_false_is_left_out(pico):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = lora_slim.scan("my-adapter", base="my-base", samples="tokens.jsonl")
        same = lora_slim.scan("my-adapter", base="my-base", samples="tokens.jsonl", chat=False, max_layers=None)
    assert plain == same
