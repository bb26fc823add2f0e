"""The types are those of the package."""

import ast
import sys
from pathlib import Path

import lora_slim
from lora_slim import _calls

PYTHON = Path(__file__).parents[1]


def test_options_are_the_flags(monkeypatch):
    monkeypatch.syspath_prepend(str(PYTHON))
    import make_stubs

    assert make_stubs.STUBS.read_text() == make_stubs.text(), "run python/make_stubs.py"
    assert Path(lora_slim.__file__).with_name("_options.pyi").read_text() == make_stubs.text()
    for command in make_stubs.NAMED:
        assert callable(getattr(_calls, command)), command
    sys.modules.pop("make_stubs")


def test_stubs_have_what_the_package_has():
    tree = ast.parse(Path(lora_slim.__file__).with_suffix(".pyi").read_text())
    named = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    assert set(named) | {"__version__"} == set(lora_slim.__all__)
    for name, node in named.items():
        if isinstance(node, ast.ClassDef):
            own = {key for key, value in vars(getattr(lora_slim, name)).items() if isinstance(value, property)}
            assert own <= {item.name for item in node.body if isinstance(item, ast.FunctionDef)}, name
    assert Path(lora_slim.__file__).with_name("py.typed").exists()
