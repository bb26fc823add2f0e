"""Copy a PEFT adapter with its tensors cast to half precision.

Adapters are often published in f16 or bf16, and a fixture should be small. The configuration is
copied as it is, the tensors keep their names and shapes; nothing else of the folder is taken.

    python scripts/cast_adapter.py ADAPTER OUT --dtype f16

Made with safetensors 0.8 and torch 2.15.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def cast(tensors: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    result = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    for name, tensor in result.items():
        if tensor.isinf().any() and not tensors[name].isinf().any():
            raise ValueError(f"{name} has values too large for {dtype}")
    return result


def copy_adapter(source: Path, out: Path, dtype: torch.dtype) -> None:
    tensors = cast(load_file(source / WEIGHTS), dtype)
    out.mkdir(parents=True, exist_ok=True)
    if out.samefile(source):
        raise ValueError("the output must be another folder")
    shutil.copyfile(source / CONFIG, out / CONFIG)
    # Not save_file, which makes the file unreadable for other users.
    (out / WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))


def main() -> None:
    parser = argparse.ArgumentParser(description="Copy a PEFT adapter in half precision.")
    parser.add_argument("adapter", type=Path, help="PEFT adapter folder")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--dtype", choices=DTYPES, required=True)
    args = parser.parse_args()
    try:
        copy_adapter(args.adapter, args.out, DTYPES[args.dtype])
    except (OSError, ValueError, SafetensorError) as error:
        sys.exit(f"cast_adapter.py: {error}")


if __name__ == "__main__":
    main()
