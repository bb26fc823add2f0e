"""Check the tokenizers of GGUF files against llama.cpp.

    cargo build --release --example gguf_tokens
    python scripts/check/gguf_tokenizers.py [--random 1000] [FILE.gguf …]

Every pre-tokenizer of lora-slim's table gets a small vocabulary whose merges cross all borders, and each file its own;
both are given texts by hand and random ones. Needs xllamacpp 2026.10.11549 and gguf 0.19.0 in an environment of its
own. `vendor/llama.cpp/models` in the source package of llama-cpp-python has vocabularies of real models.

Exit status 1 if a text has other tokens than in llama.cpp, or a file is refused.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.llama_vocab import Vocab
from common.paths import TARGET
from common.pre_tokenizers import TEXTS, byte_level_file, merges_of, names, random_texts, write

MERGES, SEED = 900, 1
SHOWN = 3


def encode(files: list[Path], texts: list[str], folder: Path) -> list[list[list[int]] | str]:
    """What lora-slim makes of the texts with each file; a refusal as text."""
    path = folder / "texts.json"
    path.write_text(json.dumps(texts))
    command = [TARGET / "release" / "examples" / "gguf_tokens", path, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(file: Path, texts: list[str], got: list[list[int]]) -> list[str]:
    vocab = Vocab(file)
    found = [text for text, ids in zip(texts, got, strict=True) if vocab.encode(text) != ids]
    vocab.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="GGUF files of real models")
    parser.add_argument("--random", type=int, default=1000, help="random texts")
    arguments = parser.parse_args()
    texts = TEXTS + random_texts(arguments.random, SEED)
    failed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        merges = merges_of(TEXTS + random_texts(300, SEED + 1), MERGES)
        files = list(arguments.files)
        for pre in ["", *names()]:
            files.append(folder / f"pre {pre or 'missing'}.gguf")
            write(files[-1], byte_level_file(pre or None, merges))
        for file, got in zip(files, encode(files, texts, folder), strict=True):
            if isinstance(got, str):
                print(f"{file.stem}: {got}")
                failed = True
                continue
            found = differences(file, texts, got)
            print(f"{file.stem}: {len(texts) - len(found)} of {len(texts)} texts are equal")
            for text in found[:SHOWN]:
                print(f"    {text!a}")
            failed = failed or bool(found)
    sys.exit(failed)


if __name__ == "__main__":
    main()
