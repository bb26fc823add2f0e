"""Compare the tokens and marks of samples with those that TRL's SFTTrainer prepares.

    cargo build --release --example tokens
    python scripts/check/trl_marks.py [--smollm models/SmolLM2-135M-Instruct.Q4_1.gguf] [--folders FOLDER …] [--verbose]

Every tokenizer of fixtures/trl and fixtures/pico, SmolLM2's and those of the folders meet every template of
fixtures/trl and of TRL, with every form of samples and every setting. TRL replaces a template that it knows by its own
for `assistant_only_loss`; lora-slim gets that one by `--chat-template`. The day of the templates is today's in both.
Exit status 1 if anything differs. Needs trl and datasets.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import trl
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from common.paths import FIXTURES, TARGET
from common.trl_tokens import SETTINGS, prepare

FLAGS = {"answers": [], "assistant-turns": ["--assistant-only"], "everything": ["--all-turns"]}
TEMPLATES = sorted(Path(trl.__file__).with_name("chat_templates").glob("*.jinja"))


def message(role: str, content: str, **more: object) -> dict:
    return {"role": role, "content": content} | more


USER, ANSWER = message("user", "Which numbers are even?"), message("assistant", "Two and four")
LONG = [message("system", "Be brief."), USER, ANSWER, message("user", "And odd "), message("assistant", " 3\n 🙂")]
PAIRS = [
    {"prompt": "end with space ", "completion": "word"},
    {"prompt": "The capital of Fran", "completion": "ce is Paris.  "},
    {"prompt": " \n", "completion": "\n\nÜber 🙂"},
    {"prompt": "", "completion": "all"},
    {"prompt": "What is 12", "completion": "345?"},
    {"prompt": "don", "completion": "'t"},
]
FORMS = {
    "pairs": PAIRS,
    "texts": [{"text": "The sun is out. 🙂 "}, {"text": ""}],
    "chats": [
        {"messages": turns}
        for turns in (
            [USER, ANSWER],
            LONG,
            LONG[1:],
            [USER, message("assistant", "<think>\nthree?\n</think>\n\nTwo")],
            [USER, ANSWER, message("user", "So?")],
            [USER, message("assistant", "🙂")],
        )
    ],
    "chat_pairs": [
        {"prompt": turns[:cut], "completion": turns[cut:]}
        for turns, cut in (
            ([USER, ANSWER], 1),
            (LONG, 4),
            (LONG[1:], 3),
            (LONG, 2),
            ([USER, message("assistant", "<think>\nthree?\n</think>\n\nTwo")], 1),
            ([USER, message("assistant", "<b>bold</b>")], 1),
        )
    ],
}


def ours(tokenizer: Path, rows: list[dict], setting: str, template: Path | None) -> list[list[dict] | str]:
    """The samples that lora-slim makes of each row, or the text of its error."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
        file.flush()
        command = [
            TARGET / "release/examples/tokens",
            tokenizer,
            file.name,
            *FLAGS[setting],
            "--date",
            str(datetime.date.today()),
        ]
        command += ["--chat-template", template] if template else []
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


def tokenizers(smollm: Path | None, folders: list[Path], folder: Path) -> dict[str, Path]:
    found = {path.parent.name: path.parent for path in sorted((FIXTURES / "trl").glob("*/tokenizer.json"))}
    found["pico"] = FIXTURES / "pico/tokenizer"
    found |= {path.name: path for path in folders}
    if smollm:
        found["SmolLM2"] = folder / "smollm"
        AutoTokenizer.from_pretrained(smollm.parent, gguf_file=smollm.name).save_pretrained(found["SmolLM2"])
    return found


def verdict(theirs: dict | str, own: list[dict] | str) -> str:
    if isinstance(theirs, str):
        return "refused by both" if isinstance(own, str) or not any(map(any_scored, own)) else "refused by TRL only"
    if isinstance(own, str):
        return "refused by us only"
    if own == [theirs]:
        return "equal"
    if len(own) > 1:
        return "a sample per turn"
    return "marks differ" if own[0]["ids"] == theirs["ids"] else "ids differ"


def any_scored(sample: dict) -> bool:
    return any(sample["scored"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm", type=Path, help="SmolLM2 as a GGUF file, for its tokenizer")
    parser.add_argument("--folders", nargs="*", type=Path, default=[], help="folders with a tokenizer.json")
    parser.add_argument("--only", nargs="*", help="these tokenizers")
    parser.add_argument("--verbose", action="store_true", help="show what differs")
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in tokenizers(arguments.smollm, arguments.folders, Path(folder)).items():
            if not arguments.only or name in arguments.only:
                check_tokenizer(name, path, counts, arguments.verbose)
    for (form, setting, outcome), count in sorted(counts.items()):
        print(f"{form:11} {setting:16} {outcome:20} {count}")
    wrong = {"marks differ", "ids differ", "refused by us only", "a sample per turn"}
    if any(outcome in wrong for *_, outcome in counts):
        sys.exit("some samples differ from TRL's")


def check_tokenizer(name: str, path: Path, counts: Counter, verbose: bool) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    templates = [*TEMPLATES, *sorted((FIXTURES / "trl/templates").glob("*.jinja"))]
    for form, rows in FORMS.items():
        for template in templates if form.startswith("chat") else [None]:
            tokenizer.chat_template = template.read_text(encoding="utf-8") if template else None
            for setting in SETTINGS:
                own = ours(path, rows, setting, used_template(template, form, setting))
                for row, theirs, mine in zip(rows, prepare(tokenizer, rows, setting), own):
                    outcome = verdict(theirs, mine)
                    counts[form, setting, outcome] += 1
                    if verbose and outcome not in ("equal", "refused by both", "refused by TRL only"):
                        print(name, template and template.name, form, setting, outcome, row, theirs, mine, sep="\n  ")


def used_template(template: Path | None, form: str, setting: str) -> Path | None:
    """The template that TRL renders with."""
    if template is None or setting == "everything" or (setting == "answers" and form == "chat_pairs"):
        return template
    training = template.with_name(f"{template.stem}_training.jinja")
    return training if training.exists() else template


if __name__ == "__main__":
    main()
