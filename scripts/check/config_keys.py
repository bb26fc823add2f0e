"""Compare what lora-slim makes of every key of `config.json` with what transformers makes of it.

    python scripts/check/config_keys.py [CASE …] [-o fixtures/config_keys.json]

Every key of the configurations of fixtures/pico, of their text decoders and of their rotary parameters is deleted and
changed, one at a time, and keys of other families are added. For each edit the loss of the adapted model by
transformers + PEFT is compared with lora-slim's. An edit may be refused by lora-slim, but a loss must be the right one.
-o writes edits with the losses of transformers for tests/bases.rs: those that change the loss, and every eighth of
those of keys that tempt to a wrong reading and of those that lora-slim must refuse, which have no loss there. All of
them would take the test twice as long. The weights stay as they are: an edit after which transformers cannot load them,
or leaves parameters other than biases without a value, counts as refused by it.
"""

import argparse
import copy
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common.paths import BINARY, FIXTURES
from common.reference import AutoConfig, PeftModel, auto_class, mean_loss, quiet, read_token_samples, torch, versions

PICO = FIXTURES / "pico"
SAMPLES = [3, 7]  # a sample that is scored throughout, and one that is longer than the windows
SAME = 1e-4  # nats per token
SHARE = 8  # of the edits that change no loss one in so many goes into the fixture
ROPES = ("rope_parameters", "rope_scaling")
SLIDING, FULL = "sliding_attention", "full_attention"
TYPES = [SLIDING, FULL] * 2  # of the four layers of most cases
# Keys that count only together.
TOGETHER = {
    "smollm3": [
        {"layer_types": TYPES, "sliding_window": 8},
        {"layer_types": TYPES, "sliding_window": 8, "use_sliding_window": True},
        {"sliding_window": 8, "use_sliding_window": True},
    ],
    "qwen2": [
        {"layer_types": TYPES, "sliding_window": 8},
        {"layer_types": TYPES, "sliding_window": 8, "use_sliding_window": True},
        {"layer_types": ..., "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1},
    ],
    "qwen2-moe": [
        {"layer_types": TYPES, "sliding_window": 8, "use_sliding_window": True},
        {"layer_types": ..., "sliding_window": 8, "use_sliding_window": True, "max_window_layers": 3},
    ],
    "qwen3-moe": [{"sliding_window": 8, "use_sliding_window": True}],
    "mistral": [{"layer_types": TYPES, "sliding_window": None}, {"model_type": "ministral", "layer_types": TYPES}],
    "mixtral": [{"sliding_window": 8, "layer_types": TYPES}],
    "gpt-oss": [{"rope_scaling": ..., "rope_theta": ...}, {"rope_scaling": None, "max_position_embeddings": 4096}],
    "gemma3": [{"rope_parameters": ..., "rope_theta": 50.0}, {"rope_parameters": ..., "rope_local_base_freq": 50.0}],
}
# What other families read.
ADDED = {
    "attention_bias": True,
    "mlp_bias": True,
    "use_bias": False,
    "qkv_bias": False,
    "sliding_window": 8,
    "use_sliding_window": True,
    "layer_types": TYPES,
    "partial_rotary_factor": 0.5,
    "logit_scale": 0.3,
    "logits_scaling": 3.0,
    "final_logit_softcapping": 2.0,
    "attn_logit_softcapping": 2.0,
    "query_pre_attn_scalar": 3,
    "embedding_multiplier": 2.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.1,
    "qk_layernorm": True,
    "use_qk_norm": True,
    "use_parallel_residual": True,
    "tie_word_embeddings": True,
    "rope_theta": 50.0,
    "rope_local_base_freq": 50.0,
    "no_rope_layers": [0, 0, 0, 0, 0, 0],
    "norm_topk_prob": True,
    "is_causal": False,
    "use_bidirectional_attention": True,
    "hidden_act": "relu",
    "hidden_activation": "relu",
    "rms_norm_eps": 0.3,
    "layer_norm_eps": 0.3,
}


def changed(key: str, value: object) -> Iterator[object]:
    """Other values of a key."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value * 2
    elif key in ("hidden_act", "hidden_activation", "activation_function"):
        yield from {"relu", "gelu", "silu"} - {value}
    elif key in ("rope_type", "type"):
        yield "default"
    elif key == "layer_types":
        yield ["sliding_attention"] * len(value)
        yield ["full_attention"] * len(value)
    elif isinstance(value, list) and len(value) > 1:
        yield value[::-1]
    if value is not None:
        yield None


# Keys that must change nothing where the family does not have them, or whose absence has a meaning.
TEMPTING = {
    "hidden_act",
    "hidden_activation",
    "layer_norm_eps",
    "rms_norm_eps",
    "attn_logit_softcapping",
    "partial_rotary_factor",
    "sliding_window",
    "head_dim",
    "max_position_embeddings",
}
# Keys that have no meaning without a value, which must not pass for the default.
NEVER_NULL = {
    "attention_multiplier",
    "hidden_act",
    "layer_norm_eps",
    "logit_scale",
    "query_pre_attn_scalar",
    "rms_norm_eps",
    "rope_theta",
    "swiglu_limit",
}
Edit = list[tuple[list[str], object]]


def edits(config: dict, case: str) -> Iterator[Edit]:
    """Paths in a configuration with new values; `...` deletes."""
    text = ["text_config"] if "text_config" in config else []
    objects = [[]] + ([text] if text else [])
    for path in list(objects):
        objects += [[*path, key] for key in ROPES if isinstance(at(config, path).get(key), dict)]
    for path in list(objects):
        objects += [[*path, key] for key, value in at(config, path).items() if path and key in TYPES and value]
    for path in objects:
        for key, value in at(config, path).items():
            if key in ("model_type", "architectures", "vision_config", "text_config"):
                continue
            yield [([*path, key], ...)]
            for other in changed(key, value):
                yield [([*path, key], other)]
    for key, value in ADDED.items():
        if key not in at(config, text):
            yield [([*text, key], value)]
    for together in TOGETHER.get(case, []):
        yield [([*text, key], value) for key, value in together.items()]


def at(config: dict, path: list[str]) -> dict:
    for key in path:
        config = config[key]
    return config


def edited(config: dict, edit: Edit) -> dict:
    config = copy.deepcopy(config)
    for path, value in edit:
        holder = at(config, path[:-1])
        if value is ...:
            holder.pop(path[-1], None)
        else:
            holder[path[-1]] = value
    return config


def reference(base: Path, adapter: Path, samples: list[dict]) -> float | None:
    """The loss by transformers + PEFT; `None` if they cannot load the base."""
    try:
        config = AutoConfig.from_pretrained(base)
        model, info = auto_class(config).from_pretrained(
            base,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            output_loading_info=True,
        )
        missing = [key for key in info["missing_keys"] if not key.endswith("bias")]
        if missing or info["mismatched_keys"]:
            return None
        loss = mean_loss(PeftModel.from_pretrained(model.eval(), adapter).eval(), samples)
    except Exception:  # whatever transformers raises, it refuses the edit
        return None
    return loss if loss == loss else None


def own(base: Path, adapter: Path, samples: Path) -> float | None:
    """The loss by lora-slim, or `None` if it refuses the base."""
    command = [BINARY, "scan", adapter, "--base", base, "--samples", samples, "--json", "--quiet", "--boundary", "1"]
    result = subprocess.run([*command, "--precision", "f32"], capture_output=True, text=True)
    return json.loads(result.stdout)["curve"][-1]["loss"] if result.returncode == 0 else None


def check(case: Path, work: Path) -> Iterator[dict]:
    rows = read_token_samples(PICO / "samples.tokens.jsonl")
    rows = [rows[number] for number in SAMPLES]
    samples = work / "samples.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = work / case.name
    shutil.copytree(case / "base", base)
    config = json.loads((base / "config.json").read_text())
    plain = reference(base, case / "adapter", rows)
    for edit in edits(config, case.name):
        (base / "config.json").write_text(json.dumps(edited(config, edit)))
        wanted, got = reference(base, case / "adapter", rows), own(base, case / "adapter", samples)
        changes = [{"path": path} | ({} if value is ... else {"value": value}) for path, value in edit]
        matters = wanted is None or abs(wanted - plain) > SAME
        yield {"case": case.name, "changes": changes, "loss": wanted, "got": got, "matters": matters}


def verdict(edit: dict) -> str:
    wanted, got = edit["loss"], edit["got"]
    if wanted is None:
        return "refused by both" if got is None else "refused by transformers"
    if got is None:
        return "refused by lora-slim"
    return "right" if abs(wanted - got) < SAME else "WRONG"


def is_kept(edit: dict, said: str) -> bool:
    """Whether the fixture has the edit."""
    key, value = edit["changes"][0]["path"][-1], edit["changes"][0].get("value", ...)
    if said == "right":
        return edit["matters"] or key in TEMPTING
    if said == "refused by lora-slim":
        return edit["matters"]
    return said == "refused by both" and value is None and key in NEVER_NULL


def write(path: Path, edits: list[dict]) -> None:
    others = [edit for edit in edits if not edit["matters"] or edit["loss"] is None]
    edits = [edit for edit in edits if edit not in others or others.index(edit) % SHARE == 0]
    lines = ",\n".join("  " + json.dumps({key: edit[key] for key in ("case", "changes", "loss")}) for edit in edits)
    head = json.dumps({"made_with": versions(), "samples": SAMPLES})[:-1]
    path.write_text(f'{head}, "edits": [\n{lines}\n]}}\n')


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare what every key of config.json changes with transformers.")
    parser.add_argument("cases", nargs="*", help="folders of fixtures/pico (default: all with a Hugging Face base)")
    parser.add_argument("-o", "--output", type=Path, help="write the edits that matter")
    arguments = parser.parse_args()
    quiet(threads=1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    folders = [PICO / name for name in arguments.cases] or sorted(p.parents[1] for p in PICO.glob("*/base/config.json"))
    counts, kept = {}, []
    for case in folders:
        with tempfile.TemporaryDirectory() as work:
            for edit in check(case, Path(work)):
                said = verdict(edit)
                counts[said] = counts.get(said, 0) + 1
                if said not in ("right", "refused by both"):
                    print(f"{said}: {edit}", flush=True)
                if is_kept(edit, said):
                    edit["loss"] = edit["loss"] if said == "right" else None
                    kept.append(edit)
        if arguments.output:
            write(arguments.output, kept)
    print(f"{sum(counts.values())} comparisons: {counts}")
    sys.exit("WRONG" in counts)


if __name__ == "__main__":
    main()
