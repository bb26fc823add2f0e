"""The commands as functions."""

import functools
import json
import os
import warnings

from . import _errors, _native, _progress, _results, _samples
from ._program import tokenizer_words


def slim(adapter, *, samples, base=None, output=None, progress=None, **options):
    """Finds the boundary of an adapter on samples, and writes the smaller adapter.

    Args:
        adapter: a PEFT folder, or its name on the Hugging Face Hub.
        samples: a path or several; a list of dicts, a `datasets.Dataset` or a `pandas.DataFrame` with the same fields
            as files have (docs/samples.md): prompt and completion, messages, text, or `input_ids` and `labels` of a
            tokenizer of yours.
        base: the base model: a folder, a GGUF file or a name on the hub; by default the one that the adapter names.
        output: the folder to write, which must not exist unless `force=True`. None evaluates and writes nothing.
        progress: a function that takes a `Progress`, or False; by default bars of tqdm, if it is installed.
        **options: the flags of `lora-slim slim`, which its `--help` describes. `test` takes what `samples` takes.

    Returns:
        A `Report` with losses in nats per answer token and sizes in bytes of tensors.

    Raises:
        LoraSlimError: as one of its subclasses. `RefusedError` and `GateError` have the report.
        KeyboardInterrupt: after Ctrl-C, behind the layer that is computed; nothing is written.
    """
    if output is None:
        options["dry_run"] = True
    else:
        options["output"] = output
    return _evaluate("slim", adapter, samples, {"base": base, **options}, progress)


def scan(adapter, *, samples, base=None, progress=None, **options):
    """Measures the loss at every boundary, and writes no adapter.

    Takes what `slim` takes but `output`, and gives a `Report` with the whole curve. **options are the flags of
    `lora-slim scan`.
    """
    return _evaluate("scan", adapter, samples, {"base": base, **options}, progress)


def cut(adapter, output, *, progress=None, **options):
    """Writes a part of an adapter, or with a smaller rank or type, without a base model or samples.

    Args:
        adapter: a PEFT folder, or its name on the Hugging Face Hub.
        output: the folder to write, which must not exist unless `force=True`.
        progress: as for `slim`; files from the hub may take a while.
        **options: the flags of `lora-slim cut`: `boundary=14`, `keep_layers=range(4)`, `rank=8`, `dtype="bf16"` …

    Returns:
        A `Report` without losses.
    """
    answer = _call("cut", [adapter], {"output": output, **options}, progress)
    return _report(answer)


def fix(adapter, output, *, progress=None, **options):
    """Writes an adapter of another trainer's layout as PEFT saves it. **options are the flags of `lora-slim fix`.

    Returns:
        An `Answer` with `layout`, `changes`, `remarks`, `tensors` and `modules`.
    """
    return _results.Answer(_call("fix", [adapter], {"output": output, **options}, progress).data)


def inspect(adapter, **options):
    """Tells what an adapter consists of. **options are the flags of `lora-slim inspect`.

    Returns:
        An `Answer` with `method`, `rank`, `alpha`, `modules`, `dtypes`, `bytes`, and `layers`, each with its `bytes`
        and its `norm`, ‖ΔW‖.
    """
    return _results.Answer(_call("inspect", [adapter], options).data)


def check(adapter, *, runtimes=None, base=None, **options):
    """Finds out which runtimes load an adapter as it was trained, and whether it is complete.

    Args:
        adapter: a PEFT folder, its name on the hub, or the output of `format="gguf"` or `"mlx"`.
        runtimes: the names of runtimes, for example `["vllm", "llama.cpp"]`; by default all, which `passes` does not
            depend on.
        base: a base model to compare layers and shapes with.

    Returns:
        A `Check`, which is true if the adapter is complete and the runtimes that were named load it.
    """
    answer = _call("check", [adapter], {"runtime": runtimes, "base": base, **options})
    return _results.Check(answer.data, answer.yes)


def verify(original, slimmed, **options):
    """Proves that an adapter is another one without its upper layers, and nothing else.

    **options are the flags of `lora-slim verify`.

    Returns:
        A `Verification`, which is true if there is no difference.
    """
    answer = _call("verify", [original, slimmed], options)
    return _results.Verification(answer.data, answer.yes)


class _Raw:
    """What the native module gives: the JSON, whether the answer is yes, and a refusal."""

    def __init__(self, data, yes, refusal):
        self.data = data
        self.yes = yes
        self.refusal = refusal


def _evaluate(command, adapter, samples, options, progress):
    most = options.get("max_samples")
    read = {"samples": _samples.read("samples", samples, most)}
    if options.get("test") is not None:
        read["test"] = _samples.read("test", options.pop("test"))
        if len(read["test"].paths) != 1:
            raise _errors.usage("`test` is several files, and can be one")
    options["samples"] = read["samples"].paths
    if "test" in read:
        options["test"] = read["test"].paths[0]
    passed = [file for one in read.values() for file in one.passed]
    return _report(_call(command, [adapter], options, progress, passed))


def _report(answer):
    report = _results.Report(answer.data)
    if answer.refusal is not None:
        raise _errors.of_parts(answer.refusal, report)
    for warning in report.warnings:
        # Behind the functions of this file.
        warnings.warn(warning["sentence"], _errors.LoraSlimWarning, stacklevel=4 if "samples" in answer.data else 3)
    return report


def _call(command, arguments, options, progress=False, passed=()):
    _refuse_in_fork()
    flags = _flags(command, options)
    _prepare()
    listener = _progress.listener(progress)
    told = None if listener is None else lambda *step: listener(_progress.Progress(*step))
    try:
        result, yes, error = _native.call(
            command, [os.fspath(name) for name in arguments], json.dumps(flags), list(passed), told
        )
    finally:
        if isinstance(listener, _progress.Bars):
            listener.close()
    if result is None:
        raise _errors.of_parts(error)
    return _Raw(json.loads(result), yes, error)


def _flags(command, options):
    """Options by the names of flags, with values that JSON has."""
    known = known_flags(command)
    flags = {}
    for name, value in options.items():
        # `for_`, because `for` is a word of Python.
        flag = name.rstrip("_").replace("_", "-")
        if flag not in known:
            import difflib

            near = difflib.get_close_matches(flag, known, 1)
            hint = f"did you mean `{near[0].replace('-', '_')}`?" if near else None
            raise _errors.usage(f"`{name}` is not an option of `{command}`", hint)
        if value is not None:
            flags[flag] = _value(name, value)
    return flags


def _value(name, value):
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        return value.item()
    if isinstance(value, (list, tuple, set, frozenset, range)):
        values = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [_value(name, one) for one in values]
    expected = "a number, a text, a bool or a list of these"
    raise _errors.usage(f"`{name}` is of type {type(value).__name__}, and should be {expected}")


@functools.cache
def known_flags(command):
    """The flags of a command by their names."""
    return {flag["name"]: flag for flag in json.loads(_native.flags(command))}


class _Process:
    """What this process has done."""

    is_prepared = False
    is_forked = False


def _prepare():
    """Settings of the process that the first call makes."""
    if _Process.is_prepared:
        return
    _Process.is_prepared = True
    # The sweep has a thread for each processor already, and a second pool of threads would wait for the first one.
    os.environ.setdefault("CANDLE_NUM_THREADS", "1")
    _native.isolate(tokenizer_words())


def _refuse_in_fork():
    if _Process.is_forked:
        raise _errors.usage(
            "lora_slim was used before this process was forked, and its threads are not in the fork",
            hint='start processes by `multiprocessing.get_context("spawn")`',
        )


def _after_fork():
    _Process.is_forked = _Process.is_prepared


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
