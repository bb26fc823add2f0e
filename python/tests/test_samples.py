"""Samples of every kind of Python value."""

from pathlib import Path

import lora_slim
import pytest
from conftest import records

FOUR = {"base": "my-base", "boundary": 3}


def described(samples, **options):
    report = lora_slim.slim("my-adapter", samples=samples, **FOUR, **options)
    return report["samples"], report["curve"]


def test_token_ids_of_ones_own_tokenizer(pico):
    numpy = pytest.importorskip("numpy")
    rows = records("tokens.jsonl")
    arrays = [{name: numpy.array(ids) for name, ids in row.items()} for row in rows]
    of_file, curve = described("tokens.jsonl")
    for samples in (
        rows,
        tuple(rows),
        iter(rows),
        arrays,
        [{name: tuple(ids) for name, ids in row.items()} for row in rows],
    ):
        found, same = described(samples)
        assert same == curve
        assert found["count"] == of_file["count"] and found["tokens"] == of_file["tokens"]


def test_paths(pico):
    _, curve = described("tokens.jsonl")
    assert described(Path("tokens.jsonl"))[1] == curve
    assert described([Path("tokens.jsonl")])[1] == curve
    assert described(["tokens.jsonl", "val.jsonl"])[0]["path"] == "tokens.jsonl, val.jsonl"


def test_messages_and_the_first_samples(pico):
    messages = [
        {"messages": [{"role": "user", "content": f"{word}?"}, {"role": "assistant", "content": word}]}
        for word in "abcdef"
    ]
    assert described(messages)[0]["count"] == 6
    assert described((one for one in messages), max_samples=3)[0]["path"] == "samples (Python generator, 3 records)"


def test_a_dataset_and_its_split(pico):
    datasets = pytest.importorskip("datasets")
    rows = records("val.jsonl")
    found, curve = described(datasets.Dataset.from_list(rows))
    assert found["path"] == "samples (datasets.Dataset, 4 records)"
    assert curve == described(rows)[1]
    with pytest.raises(lora_slim.UsageError, match="a DatasetDict has splits: pass one of them \\('train'\\)"):
        described(datasets.DatasetDict(train=datasets.Dataset.from_list(rows)))


def test_a_data_frame(pico):
    pandas = pytest.importorskip("pandas")
    rows = records("val.jsonl")
    found, curve = described(pandas.DataFrame(rows))
    assert found["path"] == "samples (pandas.DataFrame, 4 records)"
    assert curve == described(rows)[1]


def test_held_out_records(pico):
    rows = records("tokens.jsonl")
    report = lora_slim.slim("my-adapter", samples=rows[:4], test=rows[4:], **FOUR)
    assert report["samples"]["count"] == 4
    assert report.held_out["samples"]["path"] == f"test (Python list, {len(rows) - 4} records)"


def test_what_are_no_samples(pico):
    def refused(samples, error=lora_slim.UsageError):
        with pytest.raises(error) as caught:
            described(samples)
        return str(caught.value)

    assert "should be a path, a list of records or a datasets.Dataset" in refused(7)
    assert "one mapping" in refused({"prompt": ["a"], "completion": ["b"]})
    assert "record 2 of `samples` is of type str, and should be a dict" in refused([{"text": "a"}, "b"])
    assert "record 1 of `samples` cannot be written as JSON: a value is of type object" in refused([{"text": object()}])
    assert "Out of range" in refused([{"input_ids": [1.5, float("nan")]}])
    assert "holds no samples" in refused([], lora_slim.BadInputError)
    # The reader's own errors name the place.
    unknown = refused([{"text": "a b c"}, {"foo": 1}], lora_slim.BadInputError)
    assert "samples (Python list, 2 records):2" in unknown
    assert "missing.jsonl" in refused("missing.jsonl", lora_slim.BadInputError)


def test_names_are_not_taken_for_paths(pico):
    Path("samples (Python list, 4 records)").write_text("no samples")
    assert described(records("val.jsonl"))[0]["count"] == 4
