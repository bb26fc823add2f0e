"""Writes the types of the options, which are the flags of the program: package/lora_slim/_options.pyi.

    python python/make_stubs.py

Needs the package installed; `scripts/check/wheel.sh` checks that the file is what this writes.
"""

import keyword
from pathlib import Path

from lora_slim._calls import known_flags

STUBS = Path(__file__).parent / "package" / "lora_slim" / "_options.pyi"

# What the functions take beside their options.
NAMED = {
    "slim": {"samples", "base", "output", "dry-run"},
    "scan": {"samples", "base"},
    "cut": {"output"},
    "fix": {"output"},
    "inspect": set(),
    "check": {"runtime", "base"},
    "verify": set(),
}

HEAD = '''"""The options of the functions. Written by python/make_stubs.py from the flags of the program."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias
from typing_extensions import TypedDict

Value: TypeAlias = str | int | float | os.PathLike[str]
Samples: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Iterable[Mapping[str, Any]] | Any
'''


def type_of(flag):
    if flag["name"] == "test":
        return "Samples"
    if flag["value"] == "never":
        return "bool"
    one = f"Literal[{', '.join(repr(value) for value in flag['values'])}]" if flag["values"] else "Value"
    one = one.replace("'", '"')
    if flag["several"]:
        one = f"{one} | Iterable[{one}]"
    return f"bool | {one}" if flag["value"] == "may" else one


def text():
    lines = [HEAD]
    for command, named in NAMED.items():
        lines.append(f"\nclass {command.capitalize()}Options(TypedDict, total=False):")
        flags = [flag for name, flag in known_flags(command).items() if name not in named]
        for flag in flags:
            default = f" [default: {flag['default']}]" if flag["default"] else ""
            name = flag["name"].replace("-", "_")
            lines.append(f"    {name}{'_' * keyword.iskeyword(name)}: {type_of(flag)} | None")
            lines.append('    """' + (flag["help"] + default).replace("\\", "\\\\") + '"""')
        if not flags:
            lines.append("    pass")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    STUBS.write_text(text())
