"""Holds what the program prints with --json, and writes, against the schemas that it prints, with Python's jsonschema.

    pip install jsonschema==4.26.0
    scripts/check/schemas.py [PROGRAM]

Runs every command that has --json, in a folder of its own, on adapters of fixtures/. No document may have a field that
its schema does not describe.
"""

import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "fixtures"
PICO = FIXTURES / "pico"
SAMPLES = PICO / "samples.tokens.jsonl"


def closed(schema):
    """The schema, in which no object has fields that are not described."""
    parts = [schema, *schema.get("$defs", {}).values()]
    while parts:
        part = parts.pop()
        if not isinstance(part, dict):
            continue
        values = [*part.get("properties", {}).values(), part.get("items"), part.get("additionalProperties")]
        for value in values:
            if isinstance(value, dict):
                value.setdefault("unevaluatedProperties", False)
        parts += values + part.get("anyOf", []) + part.get("oneOf", [])
    schema.setdefault("unevaluatedProperties", False)
    return schema


class Checker:
    def __init__(self, program, folder):
        self.program, self.folder, self.valid, self.schemas = program, folder, 0, {}

    def run(self, *words):
        words = [str(word) for word in words]
        done = subprocess.run([self.program, *words], cwd=self.folder, capture_output=True, text=True, check=False)
        if not done.stdout:
            sys.exit(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def schema(self, kind):
        if kind not in self.schemas:
            self.schemas[kind] = json.loads(self.run("schema", kind))
            jsonschema.Draft202012Validator.check_schema(self.schemas[kind])
        return self.schemas[kind]

    def check(self, kind, text, name):
        document, schema = json.loads(text), self.schema(kind)
        for variant in (schema, closed(copy.deepcopy(schema))):
            jsonschema.validate(document, variant)
        assert document["schema_version"] == 2 and isinstance(document["warnings"], list), name
        self.valid += 1

    def command(self, kind, *words):
        for line in [self.run(*words, "--json")] if kind != "record" else self.run(*words, "--json").splitlines():
            self.check(kind, line, words)

    def output(self, path):
        self.check("report", (self.folder / path / "slim_report.json").read_text(), path)


def cases():
    """The folders of tiny models with an adapter that text passes through."""
    found = (path.parent for path in sorted(PICO.glob("*/adapter")))
    return [case for case in found if (case / "base").is_dir()]


def main():
    program = str(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/lora-slim").resolve())
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(program, Path(folder))
        mistral = PICO / "mistral"
        inputs = [mistral / "adapter", "--base", mistral / "base", "--samples", SAMPLES]
        ways = [
            [],
            ["--boundary", 1],
            ["--search", "exhaustive"],
            ["--search", "window"],
            ["--search", "subset"],
            ["--search", "blocks"],
            ["--minimize", "bytes"],
            ["--minimize", "loss", "--max-bytes", "20kB"],
            ["--scale", "tune", "--controls"],
            ["--holdout", "30%"],
            ["--choose", "curve"],
            ["--choose", "best"],
            ["--loss-only", "--max-loss-increase", 0.9],
        ]
        for way in ways:
            checker.command("report", "scan", *inputs, *way)
        for place, way in enumerate([["--boundary", 2], ["--boundary", 2, "--rank", 2, "--dtype", "bf16"]]):
            for form in ("peft", "gguf", "mlx"):
                out = f"slim-{place}-{form}"
                checker.command("report", "slim", *inputs, *way, "--format", form, "-o", out)
                checker.output(out)
        for name in (config.parent for config in sorted((FIXTURES / "kinds").glob("*/adapter_config.json"))):
            checker.command("inspect", "inspect", name)
            checker.command("check", "check", name)
        for case in cases():
            checker.command("inspect", "inspect", case / "adapter")
            checker.command("check", "check", case / "adapter", "--base", case / "base")
        for steps in [[], ["--portable"], ["--pad-zeros"], ["--dead-weight"], ["--require-saving", "1%"]]:
            out = "cut" + "".join(str(step) for step in steps)
            checker.command("report", "cut", mistral / "adapter", "--boundary", 1, *steps, "-o", out)
            if (checker.folder / out).exists():
                checker.output(out)
        checker.command("verify", "verify", mistral / "adapter", "cut")
        checker.command("verify", "verify", mistral / "adapter", "cut--portable", "--tolerance", 0.1)
        checker.command("verify", "verify", "cut", mistral / "adapter")
        checker.command("plan", "plan", mistral / "adapter", "--base", mistral / "base")
        checker.command("compare", "compare", "slim-0-peft", "slim-1-peft", "cut")
        checker.command("runtimes", "check", "--list")
        checker.command("fix", "fix", mistral / "adapter", "-o", "fixed")
        checker.command("record", "batch", PICO / "mistral", "--boundary", 1, "-o", "batch")
        for line in (checker.folder / "batch/results.jsonl").read_text().splitlines():
            checker.check("record", line, "results.jsonl")
        print(f"{checker.valid} documents are valid under {len(checker.schemas)} schemas")


main()
