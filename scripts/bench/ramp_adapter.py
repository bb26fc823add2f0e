"""Write an adapter whose strength changes linearly with the layer, from BOTTOM in the first to TOP in the last one.

    python scripts/bench/ramp_adapter.py ADAPTER BOTTOM TOP OUT

For the experiment with ramps in docs/method.md: lora_B of each layer is multiplied, the rest is copied.
"""

import re
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file


def main() -> None:
    adapter, bottom, top, out = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4])
    tensors = load_file(adapter / "adapter_model.safetensors")
    layer_of = {name: int(re.search(r"\.layers\.(\d+)\.", name).group(1)) for name in tensors}
    last = max(layer_of.values())
    for name, tensor in tensors.items():
        if ".lora_B." in name:
            strength = bottom + (top - bottom) * layer_of[name] / last
            tensors[name] = (tensor.float() * strength).contiguous()
    out.mkdir(parents=True)
    shutil.copy(adapter / "adapter_config.json", out)
    save_file(tensors, out / "adapter_model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
