"""Make finished LoRA adapters smaller without retraining.

    >>> import lora_slim
    >>> report = lora_slim.slim("my-adapter", samples="val.jsonl", chat=True, output="my-adapter-slim")
    >>> report.boundary, report.bytes_before, report.bytes_after

Each function is the command of its name of the program `lora-slim`, and takes the command's flags as options:
`--max-layers 20` is `max_layers=20`. docs/python.md is the guide.
"""

from importlib import import_module

from ._native import VERSION as __version__

# Loaded when they are asked for: the command starts in half the time without them.
_PLACES = {
    "_calls": ["check", "cut", "fix", "inspect", "scan", "slim", "verify"],
    "_errors": [
        "BadInputError",
        "GateError",
        "InterruptedCallError",
        "LoraSlimError",
        "LoraSlimWarning",
        "ProgramError",
        "ReadWriteError",
        "RefusedError",
        "UsageError",
    ],
    "_progress": ["Progress"],
    "_results": ["Answer", "Check", "Report", "Verification"],
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}

__all__ = ["__version__", *_PLACE]


def __getattr__(name):
    if name not in _PLACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_PLACE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
