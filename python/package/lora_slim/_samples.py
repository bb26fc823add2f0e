"""Samples in memory, as the bytes that the reader of files reads.

A record is one line of JSON, so that every form of sample works that works in a file: prompt and completion, messages,
text, token ids and labels.
"""

import json
import os
from collections.abc import Mapping
from itertools import islice

from . import _errors


class PassedSamples:
    """The samples of one option: the paths that the native module reads, and the bytes of those that are no files."""

    def __init__(self, paths, passed=()):
        self.paths = paths
        self.passed = list(passed)


def read(option, value, most=None):
    """Makes paths and bytes of what the user passes; only the first `most` records, if that is a number."""
    if _is_path(value):
        return PassedSamples([os.fspath(value)])
    if isinstance(value, Mapping):
        # A DatasetDict is one, too.
        splits = ", ".join(repr(str(name)) for name in islice(value, 5))
        raise _errors.usage(
            f"`{option}` is one mapping, and should be a list of records",
            hint=f"a DatasetDict has splits: pass one of them ({splits})" if hasattr(value, "num_rows") else None,
        )
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value, kind = value.to_dict("records"), "pandas.DataFrame"
    else:
        kind = _kind(value)
    try:
        records = list(value if most is None else islice(value, most))
    except TypeError:
        expected = "a path, a list of records or a datasets.Dataset"
        raise _errors.usage(f"`{option}` is of type {type(value).__name__}, and should be {expected}") from None
    if records and all(_is_path(record) for record in records):
        return PassedSamples([os.fspath(record) for record in records])
    count = f"{len(records)} record{'' if len(records) == 1 else 's'}"
    # Parentheses at its end keep the name from having the ending of a file.
    name = f"{option} ({kind}, {count})"
    lines = [_line(option, place, record) for place, record in enumerate(records, 1)]
    return PassedSamples([name], [(name, "".join(lines).encode("ascii"))])


def _is_path(value):
    return isinstance(value, (str, os.PathLike))


def _kind(value):
    """What the report calls the place that samples come from. It is the same in each run."""
    split = getattr(value, "split", None)
    info = getattr(value, "info", None)
    if info is None or callable(split):
        return f"Python {type(value).__name__}"
    names = [getattr(info, "dataset_name", None) or getattr(info, "builder_name", None), split and f"split {split}"]
    return ", ".join(["datasets.Dataset", *(str(name) for name in names if name)])


def _line(option, place, record):
    if not isinstance(record, Mapping):
        raise _errors.usage(
            f"record {place} of `{option}` is of type {type(record).__name__}, and should be a dict",
            hint='a text is {"text": …}, tokens are {"input_ids": [...], "labels": [...]}',
        )
    try:
        return json.dumps(dict(record), default=_plain, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise _errors.usage(f"record {place} of `{option}` cannot be written as JSON: {error}") from None


def _plain(value):
    """What stands for arrays, tensors, numbers of NumPy, dates and mappings of other types."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        raise TypeError("a set has no order")
    if hasattr(value, "__iter__") and not isinstance(value, (bytes, bytearray)):
        return list(value)
    raise TypeError(f"a value is of type {type(value).__name__}")
