"""Run the recipes of docs/recipes.md, word for word, on tiny models.

    python scripts/check/recipes.py [SECTION …]

Each section gets a folder of its own, with what the trainer would have left there: adapters of fixtures/, under the
names of the recipe. Blocks behind `<!-- by hand -->` need a server; only their shell is parsed. The trackers run
without a network. Needs mlflow or mlflow-skinny, and wandb. Takes the `lora-slim` that cargo has built, or else the
one on the path.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES, ROOT

RECIPES = ROOT / "docs" / "recipes.md"
LLAMA = FIXTURES / "pico" / "llama-llama3-rope"
TEXTS = FIXTURES / "pico" / "text"
BLOCK = re.compile(r"(<!-- by hand -->\n)?```(sh|python)\n(.*?)```", re.DOTALL)
# The weights are random: no boundary would be worth it.
CONFIG = "[slim]\nbase = 'my-base'\nboundary = {boundary}\n"


def sections():
    """Title → blocks: whether it runs, language, text."""
    parts = re.split(r"^### (.*)$", RECIPES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        title: [(not hand, language, text) for hand, language, text in BLOCK.findall(body)]
        for title, body in zip(parts[::2], parts[1::2])
    }


def prepare(folder, title):
    """Lay out what the recipes name."""
    from_mlx = title == "MLX-LM"
    shutil.copytree(FIXTURES / "kinds" / "base" if from_mlx else LLAMA / "base", folder / "my-base")
    (folder / "lora-slim.toml").write_text(CONFIG.format(boundary=1 if from_mlx else 3))
    data = folder / "data"
    data.mkdir()
    shutil.copy(TEXTS / "messages.jsonl", folder / "val.jsonl")
    if from_mlx:
        shutil.copytree(FIXTURES / "foreign" / "mlx" / "files", folder / "adapters")
        for name in ["tokenizer.json", "tokenizer_config.json"]:
            shutil.copy(LLAMA / "base" / name, folder / "my-base")
        shutil.copy(TEXTS / "prompt_completion.jsonl", data / "valid.jsonl")
        return
    for name in ["my-adapter", "lora_model", "outputs/lora-out", "saves/qwen3-4b/lora/sft"]:
        shutil.copytree(LLAMA / "adapter", folder / name)
    records = [json.loads(line) for line in (TEXTS / "alpaca.jsonl").read_text(encoding="utf-8").splitlines()]
    (data / "val.json").write_text(json.dumps(records), encoding="utf-8")


def run(folder, environment, language, text):
    words = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]
    subprocess.run(words, cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def check_mlflow(folder, environment):
    """The run is there, with the whole curve."""
    text = """
import json, mlflow
report = json.load(open("slimmed/slim_report.json"))
run, = mlflow.search_runs(experiment_names=["lora-slim"], output_format="list")
assert run.data.metrics["bytes_after"] == report["output"]["bytes_after"], run.data.metrics
curve = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
assert [point.step for point in curve] == [point["boundary"] for point in report["curve"]], curve
"""
    run(folder, environment, "python", text)


def check_wandb(folder, _environment):
    """A run that `wandb sync` can send."""
    assert list(folder.glob("wandb/offline-run-*/*.wandb")), "no run of Weights & Biases"


CHECKS = {"MLflow": check_mlflow, "Weights & Biases": check_wandb}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*")
    chosen = parser.parse_args().section
    found = sections()
    path = os.pathsep.join([str(BINARY.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    # mlflow-skinny has no database.
    mlflow = {"MLFLOW_TRACKING_URI": "mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    offline = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", **mlflow}
    first = next(iter(found.values()))
    for title in chosen or found:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            environment = {**os.environ, **offline, "PATH": path, "HF_HUB_OFFLINE": "1", "HOME": name}
            prepare(folder, title)
            if not any("-o slimmed\n" in text for _, _, text in found[title]):
                run(folder, environment, *first[0][1:])
            for runs, language, text in found[title]:
                if runs:
                    run(folder, environment, language, text)
                else:
                    subprocess.run(["bash", "-n", "-c", text], check=True)
            if title in CHECKS:
                CHECKS[title](folder, environment)
            blocks = [runs for runs, _, _ in found[title]]
            print(f"{title}: {sum(blocks)} run, {len(blocks) - sum(blocks)} by hand")


if __name__ == "__main__":
    main()
