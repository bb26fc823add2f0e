"""Load adapters in real runtimes and compare their answers with lora-slim's own, and the outcomes with `lora-slim
check`.

    cargo build --release && cargo build --release --example logits
    python scripts/interop/run.py --python llama.cpp=venv-llama/bin/python --python mlx-lm=venv-mlx/bin/python …

Each runtime runs in an interpreter of its own, this one if none is named. A runtime that is not installed is skipped,
and the table says so. Needs the base model as a Hugging Face folder (`scripts/fixtures/fetch_base.py`,
`gguf_to_hf.py`), for llama.cpp as a GGUF file, for OpenVINO in its own format (`with_openvino.py`). On a quantised
base, answers may differ by more (`task.py`, QUANTISED), because runtimes round more there; the table has the figures,
whatever the tolerance.

Exit status 1 if a runtime does something else than `check` says. docs/runtimes.md has the versions of the runtimes.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

import variants
from common.paths import BINARY, FIXTURES, ROOT
from task import Task

TOKENS = 24
CHATML = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
SCRIPTS = {
    "PEFT": "with_peft.py",
    "transformers": "with_transformers.py",
    "llama.cpp": "with_llama_cpp.py",
    "MLX-LM": "with_mlx.py",
    "mistral.rs": "with_mistralrs.py",
    "OpenVINO GenAI": "with_openvino.py",
    "vLLM": "with_vllm.py",
}
# What `lora-slim cut --format` writes for those that do not read PEFT folders.
FORMATS = {"llama.cpp": "gguf", "MLX-LM": "mlx"}


@dataclass
class Row:
    """The outcome of one adapter in one runtime."""

    runtime: str
    adapter: str
    outcome: str
    said: str = ""
    version: str = ""
    detail: str = ""
    figures: dict = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        return self.outcome in ("skipped", self.said)


class Reference:
    """lora-slim's own forward pass with an adapter on a base, computed once for all runtimes."""

    def __init__(self, arguments: argparse.Namespace, folder: Path):
        self.program = arguments.binary.parent / "examples/logits"
        self.tokenizer = Tokenizer.from_file(str(arguments.base / "tokenizer.json"))
        self.ends = json.loads((arguments.base / "config.json").read_text())["eos_token_id"]
        lines = arguments.samples.read_text().splitlines()
        questions = list(dict.fromkeys(json.loads(line)["prompt"] for line in lines))
        self.texts = [CHATML.format(question) for question in questions]
        self.folder, self.known = folder, {}

    def of(self, base: Path, adapter: Path, prompts: int) -> dict:
        """The fields of a task that do not depend on the runtime."""
        key = (base, adapter, prompts)
        if key not in self.known:
            texts = self.texts[:prompts]
            ids = [self.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
            file = self.folder / "prompts.json"
            file.write_text(json.dumps(ids))
            done = subprocess.run(
                [self.program, base, adapter, file, str(TOKENS)], capture_output=True, text=True, check=True
            )
            own = json.loads(done.stdout)
            greedy = [[token for token in answer if token != self.ends] for answer in own["greedy"]]
            answers = self.tokenizer.decode_batch(greedy)
            self.known[key] = {
                "ids": ids,
                "texts": texts,
                "greedy": greedy,
                "answers": answers,
                "logits": own["logits"],
            }
        return self.known[key]


def scaling_of(config: dict) -> float:
    return config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])


def check(binary: Path, adapter: Path, runtime: str) -> str:
    done = subprocess.run([binary, "check", adapter, "--json"], capture_output=True, text=True)
    verdicts = json.loads(done.stdout)["runtimes"]
    return next(verdict["verdict"] for verdict in verdicts if verdict["name"] == runtime)


def start(script: str, python: str, task: Task, folder: Path) -> dict:
    file = folder / "task.json"
    file.write_text(json.dumps(asdict(task)))
    done = subprocess.run([python, Path(__file__).parent / script, file], capture_output=True, text=True)
    # Some runtimes print lines of their own.
    results = [line for line in done.stdout.splitlines() if line.startswith('{"version"')]
    if done.returncode == 0 and results:
        return json.loads(results[-1])
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    is_absent = last.startswith(("ModuleNotFoundError", "ImportError"))
    return {"outcome": "skipped" if is_absent else "failed", "detail": last if is_absent else done.stderr[-2000:]}


def bases(runtime: str, arguments: argparse.Namespace) -> list[Path]:
    if runtime == "llama.cpp":
        return arguments.gguf
    if runtime == "OpenVINO GenAI":
        return [arguments.openvino] if arguments.openvino else []
    return [arguments.base]


def is_quantised(base: Path) -> bool:
    """By the type in the name of a GGUF file, by custom: `model.Q4_1.gguf`, `model-IQ3_XS.gguf`."""
    return base.suffix == ".gguf" and re.search(r"[.-](I?Q\d|TQ\d|MXFP4)", base.name, re.IGNORECASE) is not None


def run(
    runtime: str, python: str, arguments: argparse.Namespace, adapters: dict[str, Path], reference: Reference
) -> list[Row]:
    """All adapters on the first base of a runtime, the cut one on the others, too."""
    rows: list[Row] = []
    usable = [base for base in bases(runtime, arguments) if base.exists()]
    if not usable:
        return [Row(runtime, "all", "skipped", detail="no base model in its format")]
    for place, base in enumerate(usable):
        for name, peft in adapters.items():
            is_cut = name == "cut"
            if place and not is_cut:
                continue
            written, form = peft, FORMATS.get(runtime)
            if form:
                written = reference.folder / f"{peft.name}-{form}"
                try:
                    if not written.exists():
                        variants.cut(
                            arguments.binary,
                            peft,
                            written,
                            "--format",
                            form,
                            "--base",
                            arguments.base,
                            "--boundary",
                            "all",
                        )
                except subprocess.CalledProcessError as refused:
                    reason = refused.stderr.decode().splitlines()[0].replace(str(reference.folder), "…")
                    rows.append(Row(runtime, name, "skipped", detail=f"lora-slim writes none: {reason}"))
                    continue
            # OpenVINO's own format holds the weights of the folder.
            known = arguments.base if runtime == "OpenVINO GenAI" else base
            config = json.loads((peft / variants.CONFIG).read_text())
            task = Task(
                base=str(base.resolve()),
                adapter=str(written),
                original=str(arguments.adapter.resolve()) if is_cut else "",
                boundary=arguments.boundary,
                scaling=scaling_of(config),
                rank=max([config["r"], *config["rank_pattern"].values()]),
                tokens=TOKENS,
                is_quantised=is_quantised(base),
                **reference.of(known, peft, arguments.prompts if is_cut else arguments.few),
            )
            on = f" on {base.name}" if place or len(usable) > 1 else ""
            row = Row(
                runtime,
                name + on,
                said=check(arguments.binary, written, runtime),
                **start(SCRIPTS[runtime], python, task, reference.folder),
            )
            print(
                f"{'  ' if row.agrees else '! '}{row.runtime}: {row.adapter}: {row.outcome} {row.detail}",
                file=sys.stderr,
            )
            rows.append(row)
            if row.outcome == "skipped":
                return rows
    return rows


def shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.7f}" if 0.5 < value < 1 else f"{value:.2g}"


def table(rows: list[Row]) -> str:
    lines = ["| runtime | version | adapter | it | `check` says | figures |", "|---|---|---|---|---|---|"]
    for row in rows:
        figures = (
            ", ".join(f"{name} {shown(value)}" for name, value in row.figures.items())
            or row.detail.replace("|", "\\|")[:160]
        )
        mark = "" if row.agrees else " **!**"
        lines.append(
            f"| {row.runtime} | {row.version} | {row.adapter} | {row.outcome}{mark} | {row.said} | {figures} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of runtimes, divided by commas")
    parser.add_argument(
        "--python", action="append", default=[], metavar="NAME=PATH", help="the interpreter of a runtime"
    )
    parser.add_argument("--binary", type=Path, default=BINARY)
    parser.add_argument("--base", type=Path, default=ROOT / "models/SmolLM2-135M-Instruct")
    parser.add_argument("--gguf", type=Path, nargs="+", default=[ROOT / "models/SmolLM2-135M-Instruct.Q4_1.gguf"])
    parser.add_argument("--openvino", type=Path, help="the base model in OpenVINO's format")
    parser.add_argument("--adapter", type=Path, default=FIXTURES / "smol-overfit/adapter")
    parser.add_argument("--samples", type=Path, default=FIXTURES / "smol-overfit/val.jsonl")
    parser.add_argument("--boundary", type=int, default=19)
    parser.add_argument("--prompts", type=int, default=20, help="for the cut adapter")
    parser.add_argument("--few", type=int, default=5, help="prompts for the others")
    parser.add_argument(
        "--also", action="append", default=[], metavar="NAME=PATH", help="another PEFT adapter, as `slim` writes them"
    )
    arguments = parser.parse_args()
    also = {name: Path(path) for name, path in (given.split("=", 1) for given in arguments.also)}
    pythons = {name.lower(): path for name, path in (given.split("=", 1) for given in arguments.python)}
    wanted = arguments.only.lower().split(",") if arguments.only else [name.lower() for name in SCRIPTS]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference(arguments, Path(folder))
        adapters = variants.make(arguments.binary, arguments.adapter, arguments.boundary, Path(folder)) | also
        for runtime in SCRIPTS:
            if runtime.lower() in wanted:
                rows += run(runtime, pythons.get(runtime.lower(), sys.executable), arguments, adapters, reference)
    print(table(rows))
    raise SystemExit(0 if all(row.agrees for row in rows) else 1)


if __name__ == "__main__":
    main()
