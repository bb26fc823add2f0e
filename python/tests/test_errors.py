"""Errors are exceptions with the kinds, exit codes and hints of the program."""

import json
import pickle

import lora_slim
import pytest
from conftest import lora_slim as program

SAME = {"base": "my-base", "samples": "tokens.jsonl"}


@pytest.mark.parametrize(
    "error, options",
    [
        (lora_slim.UsageError, {"margin": "2 apples"}),
        (lora_slim.UsageError, {"boundary": 99}),
        (lora_slim.UsageError, {"choose": "largest"}),
        (lora_slim.UsageError, {"boundary": 2, "max_layers": 3}),
        (lora_slim.BadInputError, {"base": "my-adapter", "boundary": 2}),
        (lora_slim.BadInputError, {"samples": "nothing.jsonl"}),
        (lora_slim.GateError, {"boundary": 3, "require_saving": "90%"}),
    ],
)
def test_kinds(pico, error, options):
    options = {**SAME, **options}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    ran = program("slim", "my-adapter", "-o", "out", "--quiet", *words)
    with pytest.raises(error) as caught:
        lora_slim.slim("my-adapter", output="out", **options)
    assert caught.value.exit_code == ran.returncode
    if caught.value.hint is not None and "hint: " in ran.stderr:
        assert f"hint: {caught.value.hint}" in ran.stderr
    assert isinstance(caught.value, lora_slim.LoraSlimError)
    assert not (pico / "out").exists()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.kind) == (type(caught.value), str(caught.value), caught.value.kind)


def test_a_refusal_has_the_report(pico):
    with pytest.raises(lora_slim.LoraSlimError) as caught:
        lora_slim.slim("my-adapter", output="out", require_saving="90%", boundary=3, **SAME)
    assert caught.value.kind == "failed-gate"
    assert caught.value.report.boundary == 3 and not caught.value.report.gates[0]["passed"]
    # Random weights help nobody.
    with pytest.raises(lora_slim.RefusedError) as caught:
        lora_slim.slim("my-adapter", output="out", choose="best", loss_only=True, **SAME)
    assert caught.value.report.boundary == 0 and caught.value.hint
    json.dumps(caught.value.report.to_dict())


def test_misspelt_options(pico):
    with pytest.raises(lora_slim.UsageError) as caught:
        lora_slim.slim("my-adapter", max_layer=3, **SAME)
    assert caught.value.message == "`max_layer` is not an option of `slim`"
    assert caught.value.hint == "did you mean `max_layers`?"
    for never in ("json", "quiet", "help", "config", "print_config"):
        with pytest.raises(lora_slim.UsageError):
            lora_slim.scan("my-adapter", **{never: True}, **SAME)
    with pytest.raises(lora_slim.UsageError, match="`base` is of type object"):
        lora_slim.scan("my-adapter", base=object(), samples="tokens.jsonl")


def test_words_that_look_like_flags_are_names(pico):
    with pytest.raises(lora_slim.LoraSlimError, match="--help"):
        lora_slim.inspect("--help")


def test_outputs_can_be_replaced_after_they_were_read(pico):
    """The program forgets what it has read; a process that lives on has to, too."""
    for _ in range(2):
        lora_slim.slim("my-adapter", output="out", boundary=3, force=True, **SAME)
        assert lora_slim.verify("my-adapter", "out")
    with pytest.raises(lora_slim.UsageError):
        lora_slim.slim("my-adapter", output="my-adapter", boundary=3, force=True, **SAME)
    with pytest.raises(lora_slim.UsageError):
        lora_slim.slim("my-adapter", output="my-base/out", boundary=3, **SAME)
