"""Check in PEFT what `lora-slim fix` writes of other trainers' adapters.

    python scripts/check/fixed.py PATH/torchtune [CASE …]

For each case of fixtures/foreign, PEFT has to load the mended adapter with nothing missing, nothing unexpected and
every module trained. In f64, its logits have to be those of the base model whose weights were changed as the trainer
merges its adapters (scripts/fixtures/foreign.py, which says what PATH/torchtune is), and not those of the base model.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

import foreign
from common.paths import BINARY, FIXTURES
from common.reference import load_base, quiet, read_token_samples

# Of logits around 4. The norms of transformers round to f32 even in a model of f64, so that less would say nothing; two
# rows in the wrong order change them by 6. `verify` compares the values bit for bit.
CLOSE = 1e-6


def flags_of(case: foreign.Case) -> list[str]:
    values = {"--base": str(FIXTURES / case.base), "--alpha": str(foreign.ALPHA)}
    return [text for flag in case.flags for text in (flag, values[flag])]


@torch.no_grad()
def check(name: str, samples: list[dict], out: Path) -> str:
    case = foreign.cases()[name]
    files = foreign.OUT / name / "files"
    subprocess.run([BINARY, "fix", files, "-o", out, "-q", *flags_of(case)], check=True)
    subprocess.run([BINARY, "verify", files, out, "-q", *flags_of(case)], check=True)
    model = load_base(FIXTURES / case.base, attn_implementation="eager")
    adapted = PeftModel.from_pretrained(model, out)
    loaded = adapted.load_adapter(out, adapter_name="again")
    assert not loaded.missing_keys, loaded.missing_keys
    assert not loaded.unexpected_keys, loaded.unexpected_keys
    adapted.set_adapter("default")
    second = [value for key, value in adapted.named_parameters() if "lora_B.default" in key]
    untrained = sum(not value.any() for value in second)
    assert second and not untrained, f"{untrained} of {len(second)} modules are not loaded"
    expected = foreign.merged(name, torch.float64)
    plain = load_base(FIXTURES / case.base, attn_implementation="eager").double()
    adapted = adapted.double().eval()
    worst = 0.0
    for sample in samples:
        ids = torch.tensor([sample["input_ids"]])
        difference = (adapted(ids).logits - expected(ids).logits).abs().max().item()
        assert math.isfinite(difference), "a logit is not a number"  # which max() would pass over
        worst = max(worst, difference)
    assert worst < CLOSE, f"logits differ by {worst}"
    effect = (plain(ids).logits - expected(ids).logits).abs().max().item()
    assert effect > 1000 * CLOSE, "the adapter changes nothing"
    return f"{len(second)} modules, logits within {worst:.1e} of an effect of {effect:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("torchtune", type=Path)
    parser.add_argument("case", nargs="*")
    args = parser.parse_args()
    foreign.load_torchtune(args.torchtune)
    quiet(threads=1)
    samples = read_token_samples(foreign.SAMPLES)
    with tempfile.TemporaryDirectory() as work:
        for name in args.case or foreign.cases():
            print(f"{name:20} {check(name, samples, Path(work) / name)}")


if __name__ == "__main__":
    main()
