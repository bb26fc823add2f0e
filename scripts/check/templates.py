"""Check that chat templates are rendered as transformers renders them.

    python scripts/check/templates.py FOLDER_OR_FILE … [--renderer PATH] [--show 20]

Every `*.jinja` below the folders and below the installed TRL package is rendered by both for every conversation of
common/conversations.py, with and without the prompt of the assistant's turn. Texts and spans of generation blocks have
to be equal, or both have to refuse. Good sources of templates are the source packages of vLLM (`examples/`) and of
llama-cpp-python (`vendor/llama.cpp/models/templates/`).

Exit status 1 if anything differs.
"""

import argparse
import collections
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import chat_templates
from common.conversations import CONVERSATIONS, TOKENS
from common.paths import TARGET

RENDERER = TARGET / "release/examples/render"


def templates(paths: list[Path]) -> dict[str, str]:
    """The different templates by name."""
    trl = importlib.util.find_spec("trl")
    folders = (
        [*paths, *(Path(folder) / "chat_templates" for folder in trl.submodule_search_locations or ())]
        if trl
        else paths
    )
    files = [file for path in folders for file in (sorted(path.rglob("*.jinja")) if path.is_dir() else [path])]
    found: dict[str, str] = {}
    for file in files:
        source = chat_templates.read(file)
        if source not in found.values():
            found[f"{file.parent.name}/{file.name}"] = source
    return found


def ours(renderer: Path, tasks: list[dict]) -> list[dict]:
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    done = subprocess.run([renderer], input=lines, capture_output=True, text=True, check=True, encoding="utf-8")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument(
        "--renderer", type=Path, default=RENDERER, help="default: what `cargo build --release --example render` built"
    )
    parser.add_argument("--show", type=int, default=20, help="how many differences to print")
    arguments = parser.parse_args()
    found = templates(arguments.paths)
    names = [(name, title, prompt) for name in found for title in CONVERSATIONS for prompt in (False, True)]
    tasks = [
        {"template": found[name], "tokens": TOKENS, "prompt": prompt, **CONVERSATIONS[title]}
        for name, title, prompt in names
    ]
    counts: collections.Counter = collections.Counter()
    for (name, title, prompt), task, own in zip(names, tasks, ours(arguments.renderer, tasks), strict=True):
        right = chat_templates.render(task["template"], CONVERSATIONS[title], prompt)
        if "error" in right and "error" in own:
            verdict = "both refuse"
        elif own == right:
            verdict = "equal"
        else:
            verdict = (
                "refused here only"
                if "error" in own
                else "refused by transformers only"
                if "error" in right
                else "different"
            )
        counts[verdict] += 1
        if verdict not in ("both refuse", "equal") and arguments.show > 0:
            arguments.show -= 1
            print(f"{name}, {title}, prompt {prompt}: {verdict}\n  transformers: {right}\n  lora-slim:    {own}")
    print(
        f"{len(found)} templates, {len(names)} renderings: "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
    )
    return 0 if counts.keys() <= {"both refuse", "equal"} else 1


if __name__ == "__main__":
    sys.exit(main())
