"""Check with PEFT that a cut adapter is the original with the upper layers switched off.

    python scripts/check/cut.py [KIND …] [--boundary 2]
    python scripts/check/cut.py --original ADAPTER --slimmed ADAPTER --base HF_FOLDER [--samples FILE.tokens.jsonl]

The first form cuts every kind of fixtures/kinds, or those named; the second takes a pair of folders. A mistake is
easily overlooked: PEFT only warns of a module without tensors, which with low_cpu_mem_usage then computes garbage, and
it does not mention tensors without a module. So the cut folder is loaded both ways that PEFT has, and

- PEFT and transformers may not give a warning that they do not give for the original,
- no key may be missing in the file or unexpected in it,
- the LoRA modules and the tensors in the model are those of the file, with the same values (pairs of folders),
- the logits are those of the original with everything off in the layers that were cut: saved modules and biases there
  are the base's again.

Exit status 1 if a cut folder is wrong; a kind that lora-slim refuses is listed.
"""

import argparse
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.reference import LAYER_INDEX, lora_only_in, quiet, read_token_samples
from peft_loading import (
    SAMPLES,
    WAYS,
    base_of,
    kinds,
    largest_difference,
    load,
    logits,
    lora_slim,
    show,
    summary,
    tensor_faults,
)

TOLERANCE = 1e-5  # of logits; of the largest logit for the kinds, whose random weights give large ones
COUNT = 4  # logits of whole samples are large, and a wrong module shows in any of them


def compare(
    name: str, base: Path, original: Path, slimmed: Path, kept: Collection[int], samples: list[dict], is_pair: bool
) -> bool:
    """Whether the cut folder is right; prints the figures."""
    faults, differences = [], []
    for way in WAYS:
        whole = load(base, original, way)
        if whole.model is None:
            continue  # a way that does not work for the original
        with lora_only_in(whole.model, kept, whole.replaced):
            wanted = logits(whole.model, samples)
        found = []
        if not is_pair and largest_difference(logits(whole.model, samples), wanted) < 1e-3:
            found.append("the layers that were cut do nothing")
        known, whole = whole.complaints, None  # one model in memory at a time
        cut = load(base, slimmed, way)
        found += summary(cut.complaints if is_pair else cut.complaints - known)
        if cut.model:
            found += tensor_faults(cut.model, slimmed) if is_pair else []
            try:
                difference = largest_difference(logits(cut.model, samples), wanted)
            except NotImplementedError as error:  # a tensor that no file filled
                difference = float("nan")
                found.append(str(error))
            differences.append(f"{difference:.2g}")
            largest = 1.0 if is_pair else max(tensor.abs().max().item() for tensor in wanted)
            if not difference <= TOLERANCE * largest:  # NaN is a fault
                found.append(f"logits differ by up to {difference:.3g}")
        faults += [f"{way}: {fault}" for fault in found]
    if not differences:
        faults.append("PEFT does not load it")
    return show(name, f"max |Δ logit| {' '.join(differences)}", faults)


def check_kind(kind: Path, boundary: int, samples: list[dict]) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        slimmed = Path(scratch) / "cut"
        _, refusal = lora_slim("cut", kind, "--boundary", boundary, "-o", slimmed, "--quiet")
        if refusal:
            print(f"{kind.name:24} refused: {refusal}", flush=True)
            return True
        return compare(kind.name, base_of(kind), kind, slimmed, range(boundary), samples, is_pair=False)


def adapted_layers(slimmed: Path) -> set[int]:
    found = map(LAYER_INDEX.search, load_file(slimmed / "adapter_model.safetensors"))
    return {int(match.group(1)) for match in found if match}


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare cut adapters with their originals, in PEFT.")
    parser.add_argument("kinds", nargs="*", help="names of folders (default: all)")
    parser.add_argument("--boundary", type=int, default=2, help="keep the layers below (default: %(default)s)")
    parser.add_argument("--original", type=Path, help="PEFT adapter folder")
    parser.add_argument("--slimmed", type=Path, help="what lora-slim wrote for it")
    parser.add_argument("--base", type=Path, help="Hugging Face folder of the base model")
    parser.add_argument("--samples", type=Path, default=SAMPLES, help="JSON lines with input_ids")
    arguments = parser.parse_args()
    quiet(threads=2)
    samples = read_token_samples(arguments.samples)[-COUNT:]
    if arguments.original:
        if not (arguments.slimmed and arguments.base):
            parser.error("--original needs --slimmed and --base")
        kept = adapted_layers(arguments.slimmed)
        pair = (arguments.original, arguments.slimmed)
        sys.exit(not compare(arguments.slimmed.name, arguments.base, *pair, kept, samples, is_pair=True))
    chosen = [kind for kind in kinds() if not arguments.kinds or kind.name in arguments.kinds]
    good = [check_kind(kind, arguments.boundary, samples) for kind in chosen]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
