"""Write fixtures/gguf.json: what llama.cpp's convert_lora_to_gguf.py makes of the adapters of fixtures/pico and fixtures/kinds.

    python scripts/make_gguf_fixtures.py PATH/llama.cpp

For each adapter the architecture, the alpha, and the shape and the beginning of the SHA-256 of every tensor, as f32; or that the converter refuses it.
`kinds/lora-embed-tied` fails for its tokenizer alone; what the converter would write makes llama.cpp abort when it is loaded
(`can_mul_mat`), because a tied head is multiplied with the factors of the embedding. lora-slim refuses it for that.
Made with llama.cpp as it is in llama-cpp-python 0.3.36, gguf 0.19.0, torch 2.15 and transformers 5.24.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"


def cases():
    for folder in sorted((FIXTURES / "pico").iterdir()):
        if (folder / "adapter").is_dir() and (folder / "base/config.json").exists():
            yield f"pico/{folder.name}/adapter", folder / "base"
    for folder in sorted((FIXTURES / "kinds").iterdir()):
        if (folder / "adapter_config.json").exists():
            config = json.loads((folder / "adapter_config.json").read_text())
            yield f"kinds/{folder.name}", FIXTURES / "kinds" / Path(config["base_model_name_or_path"]).name


def convert(llama_cpp: Path, adapter: Path, base: Path) -> dict:
    from gguf import GGUFReader

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "adapter.gguf")
        command = [sys.executable, llama_cpp / "convert_lora_to_gguf.py", adapter, "--base", base, "--outfile", out]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return {"refused": done.stderr.strip().splitlines()[-1][:200].replace(str(FIXTURES), "fixtures")}
        reader = GGUFReader(out)
        field = lambda key: reader.fields[key].contents()
        # GGUF has the innermost size first.
        tensors = {t.name: [[int(n) for n in reversed(t.shape)], hashlib.sha256(t.data.tobytes()).hexdigest()[:16]] for t in reader.tensors}
        return {"architecture": field("general.architecture"), "alpha": field("adapter.lora.alpha"), "tensors": tensors}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("llama_cpp", type=Path)
    args = parser.parse_args()
    made = {name: convert(args.llama_cpp, FIXTURES / name, base) for name, base in cases()}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(case)}" for name, case in made.items())
    (FIXTURES / "gguf.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
