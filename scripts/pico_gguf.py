"""Write fixtures/pico/NAME/gguf/base.gguf: the models of fixtures/pico as llama.cpp's converter writes them.

llama.cpp renames tensors, reorders some, and leaves some of a configuration out, for each family in its own way.
This script does as its convert_hf_to_gguf.py does for the families below, with no tokenizer; matrices keep the type
that they have in the base folder, vectors become F32. It reads the folders that make_pico_fixtures.py writes.

    python scripts/pico_gguf.py [--out fixtures/pico] [--only NAME ...]

A file is to be read with ../adapter and has the losses of ../expected.json, unless the format cannot say what the case
has. Then expected.json lies beside the file, with the losses of the model that the file does describe (DESCRIBED), and
adapter/ too where that model has other layers (REMADE).

Where this departs from the converter:
- phi: the converter takes 4 x hidden for the size of the MLP and one key per query, as Phi 1 to 2 have it.
- bloom, glm: it takes hidden_size for the context if the configuration has no seq_length. Published BLOOM has 2048.
- stablelm: it fails on norms of heads, which it used to stack; the reader in llama.cpp still expects them so.
- gpt2, gpt-neox, cohere2: it looks for n_ctx and rotary_pct, which published configurations have and ours do not.
- gemma3: it wants a tokenizer, by which it cuts the embeddings.

Written from llama.cpp at 0c1e57098 (conversion/, src/models/), with gguf 0.19 and otherwise the versions of
make_pico_fixtures.py. The same versions write the same bytes again.
"""

import argparse
import dataclasses
import json
import math
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import torch
import transformers
from gguf import MODEL_ARCH, GGMLQuantizationType, LlamaFileType, RopeScalingType
from safetensors.torch import load_file
from transformers import AutoConfig, PreTrainedConfig

from make_pico_fixtures import load, make_base, save_adapter, save_base
from peft_reference import curve, read_token_samples, versions
from pico_cases import Case, cases

Named = Iterable[tuple[str, torch.Tensor]]

CASES = """
llama-odd-heads llama-yarn llama-linear mistral qwen2 qwen3 smollm3 granite olmo2 gemma gemma2 gemma3
phi phi3 phi3-longrope cohere cohere-qknorm cohere2 starcoder2 stablelm stablelm-parallel glm glm4
gpt2 gpt-neox gpt-neox-sequential bloom mixtral qwen2-moe qwen3-moe granitemoe gpt-oss
""".split()

# What a file has no place for, as a reader has to take it then.
SLIDING, FULL = "sliding_attention", "full_attention"
DESCRIBED = {
    "mistral": dict(sliding_window=None),
    "starcoder2": dict(sliding_window=None),
    "gemma2": dict(query_pre_attn_scalar=8),  # the size of a head
    "gemma3": dict(query_pre_attn_scalar=8, layer_types=[SLIDING] * 4),  # every sixth layer is full
    "cohere2": dict(layer_types=[SLIDING] * 3 + [FULL]),  # every fourth layer is full
    "glm": dict(rms_norm_eps=1e-5),  # the converter looks for another key
    "gpt-oss": dict(swiglu_limit=7.0),
    "qwen2-moe": dict(mlp_only_layers=[], tie_word_embeddings=False),
    "qwen3-moe": dict(decoder_sparse_step=1),
}
# The architectures have no names for dense layers, and the first does not tie the head. With the seeds that they need.
REMADE = {"qwen2-moe": 2, "qwen3-moe": 1}

TYPES = {
    torch.float32: (LlamaFileType.ALL_F32, GGMLQuantizationType.F32),
    torch.float16: (LlamaFileType.MOSTLY_F16, GGMLQuantizationType.F16),
    torch.bfloat16: (LlamaFileType.MOSTLY_BF16, GGMLQuantizationType.BF16),
}
ALWAYS_F32 = ("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight")

# What GGUFWriter.add_… calls a number, and what configurations call it; the first that is there.
NUMBERS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads",
    "layer_norm_rms_eps": "rms_norm_eps",
    "layer_norm_eps": "layer_norm_eps layer_norm_epsilon norm_epsilon",
    "key_length": "head_dim",
    "value_length": "head_dim",
    "vocab_size": "vocab_size",
    "sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "logit_scale": "logit_scale logits_scaling",
    "attention_scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "parallel_residual": "use_parallel_residual",
    "expert_count": "num_local_experts num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
}
# What the rope adds to them.
YARN = {
    "rope_scaling_orig_ctx_len": "original_max_position_embeddings",
    "rope_scaling_yarn_attn_factor": "attention_factor",
    "rope_scaling_yarn_beta_fast": "beta_fast",
    "rope_scaling_yarn_beta_slow": "beta_slow",
}

SIZES = "context_length embedding_length feed_forward_length block_count head_count "
# What the converter writes wherever a configuration has it, unless a family has a list of its own.
USUAL = SIZES + (
    "head_count_kv layer_norm_rms_eps layer_norm_eps expert_count expert_used_count "
    "rope_freq_base rope_freq_base_swa rope_scaling_type rope_scaling_factor file_type "
) + " ".join(YARN) + " "
HEADS = "key_length value_length "
LLAMA = USUAL + "vocab_size rope_dimension_count "
GRANITE = LLAMA + "attention_scale embedding_scale residual_scale logit_scale"
GEMMA = SIZES + HEADS + "head_count_kv layer_norm_rms_eps file_type "


def unchanged(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    yield name, tensor


def permuted(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    """llama.cpp rotates neighbouring values here, transformers the two halves of a head."""
    if projection := re.search(r"\.([qk])_proj\.(weight|bias)$", name):
        heads = config.num_attention_heads if projection[1] == "q" else config.num_key_value_heads
        tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)
    yield name, tensor


def one_added(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    yield name, tensor.float() + 1 if name.endswith("norm.weight") else tensor


def transposed(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    is_linear = re.search(r"\.(c_attn|c_proj|c_fc)\.weight$", name)
    yield name, tensor.T.contiguous() if is_linear else tensor


def queries_first(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    """Query, key and value of a head lie together; in GGUF come all queries, all keys, all values."""
    if ".query_key_value." in name:
        shape = tensor.shape
        tensor = tensor.unflatten(0, (config.num_attention_heads, 3, -1)).transpose(0, 1).reshape(shape)
    yield name, tensor


def granite_experts(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    """The gates of an expert lie above its other rows. The usual names, for gguf knows none for a half."""
    if name.endswith(".input_linear.weight"):
        for part, half in zip(("gate", "up"), tensor.chunk(2, dim=1)):
            yield name.replace("block_sparse_moe.input_linear", f"mlp.experts.{part}_proj"), half.contiguous()
    else:
        yield from permuted(name, tensor, config)


def gpt_oss(name: str, tensor: torch.Tensor, config: PreTrainedConfig) -> Named:
    """Experts are (experts, inputs, outputs) here and (experts, outputs, inputs) in GGUF; gate and up alternate."""
    if name.endswith(".sinks"):
        name += ".weight"
    if expert := re.fullmatch(r"(.*\.experts\.)(gate_up|down)_proj(_bias)?", name):
        prefix, which, bias = expert.groups()
        ending = "_proj.bias" if bias else "_proj.weight"
        tensor = tensor if bias else tensor.transpose(1, 2)
        parts = {"down": tensor} if which == "down" else {"gate": tensor[:, ::2], "up": tensor[:, 1::2]}
        for part, rows in parts.items():
            yield prefix + part + ending, rows.contiguous()
    else:
        yield name, tensor


@dataclasses.dataclass(frozen=True)
class Family:
    """How the converter writes the models of a model_type."""

    arch: MODEL_ARCH
    keys: str  # those that the metadata has, by the names of GGUFWriter
    change: Callable[[str, torch.Tensor, PreTrainedConfig], Named] = unchanged
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)


NO_SCALING = {"rope_scaling_type": RopeScalingType.NONE}
NO_BOS = {"add_bos_token": False}
FAMILIES = {
    "llama": Family(MODEL_ARCH.LLAMA, LLAMA + HEADS, permuted),
    "mistral": Family(MODEL_ARCH.LLAMA, LLAMA + HEADS, permuted),
    "mixtral": Family(MODEL_ARCH.LLAMA, LLAMA + HEADS, permuted),
    "smollm3": Family(MODEL_ARCH.SMOLLM3, LLAMA + HEADS, permuted),
    "granite": Family(MODEL_ARCH.GRANITE, GRANITE, permuted),
    "granitemoe": Family(MODEL_ARCH.GRANITE_MOE, GRANITE, granite_experts),
    "qwen2": Family(MODEL_ARCH.QWEN2, USUAL),
    "qwen3": Family(MODEL_ARCH.QWEN3, USUAL + HEADS),
    "qwen2_moe": Family(MODEL_ARCH.QWEN2MOE, USUAL + "expert_feed_forward_length expert_shared_feed_forward_length"),
    "qwen3_moe": Family(MODEL_ARCH.QWEN3MOE, USUAL + HEADS + "expert_feed_forward_length"),
    "gpt_oss": Family(MODEL_ARCH.GPT_OSS, USUAL + HEADS + "sliding_window expert_feed_forward_length", gpt_oss),
    "olmo2": Family(MODEL_ARCH.OLMO2, USUAL + HEADS),
    "starcoder2": Family(MODEL_ARCH.STARCODER2, USUAL),
    "glm4": Family(MODEL_ARCH.GLM4, USUAL + HEADS + "rope_dimension_count"),
    "glm": Family(
        MODEL_ARCH.CHATGLM,
        SIZES + "head_count_kv layer_norm_rms_eps rope_dimension_count rope_freq_base file_type",
        constants={"layer_norm_rms_eps": 1e-5, "rope_freq_base": 10000.0} | NO_BOS,
    ),
    "gemma": Family(MODEL_ARCH.GEMMA, GEMMA, one_added),
    "gemma2": Family(
        MODEL_ARCH.GEMMA2, GEMMA + "attn_logit_softcapping final_logit_softcapping sliding_window", one_added
    ),
    "gemma3_text": Family(MODEL_ARCH.GEMMA3, USUAL + HEADS + "final_logit_softcapping sliding_window", one_added),
    "cohere": Family(MODEL_ARCH.COMMAND_R, USUAL + "logit_scale", constants=NO_SCALING),
    "cohere2": Family(
        MODEL_ARCH.COHERE2,
        USUAL + HEADS + "logit_scale sliding_window vocab_size rope_dimension_count",
        constants=NO_SCALING,
    ),
    "phi3": Family(
        MODEL_ARCH.PHI3,
        SIZES + "head_count_kv layer_norm_rms_eps rope_dimension_count rope_freq_base rope_scaling_orig_ctx_len "
        "rope_scaling_attn_factors sliding_window file_type",
    ),
    "phi": Family(
        MODEL_ARCH.PHI2, SIZES + "head_count_kv layer_norm_eps rope_dimension_count file_type", constants=NO_BOS
    ),
    "stablelm": Family(
        MODEL_ARCH.STABLELM, SIZES + "head_count_kv layer_norm_eps rope_dimension_count parallel_residual file_type"
    ),
    "gpt_neox": Family(
        MODEL_ARCH.GPTNEOX, SIZES + "layer_norm_eps rope_dimension_count parallel_residual", queries_first
    ),
    "gpt2": Family(MODEL_ARCH.GPT2, SIZES + "layer_norm_eps file_type", transposed),
    "bloom": Family(
        MODEL_ARCH.BLOOM,
        SIZES + "head_count_kv layer_norm_eps file_type",
        queries_first,
        constants={"context_length": 2048},
    ),
}


def metadata(case: Case, config: PreTrainedConfig, family: Family) -> dict[str, Any]:
    """The numbers of a configuration by the names of GGUFWriter, those that the family writes."""
    values = numbers(config) | rope(config) | {"file_type": TYPES[case.dtype][0]} | family.constants
    names = {*family.keys.split(), *family.constants}
    return {name: value for name, value in sorted(values.items()) if name in names}


def numbers(config: PreTrainedConfig) -> dict[str, Any]:
    known = dict(head_count_kv=config.num_attention_heads, feed_forward_length=4 * config.hidden_size, sliding_window=0)
    for name, keys in NUMBERS.items():
        candidates = (getattr(config, key, None) for key in keys.split())
        found = next((value for value in candidates if value is not None), None)
        known |= {} if found is None else {name: found}
    return known


def rope(config: PreTrainedConfig) -> dict[str, Any]:
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        return {}
    full = parameters.get(FULL, parameters)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    values = {
        "rope_freq_base": full["rope_theta"],
        "rope_dimension_count": int(full.get("partial_rotary_factor", 1.0) * head_dim),
    }
    if SLIDING in parameters:
        values["rope_freq_base_swa"] = parameters[SLIDING]["rope_theta"]
    if full["rope_type"] in ("linear", "yarn"):
        values["rope_scaling_type"] = RopeScalingType(full["rope_type"])
        values["rope_scaling_factor"] = full["factor"]
    if full["rope_type"] == "yarn":
        values |= {name: full[key] for name, key in YARN.items() if full.get(key) is not None}
    if config.model_type == "phi3":
        original = full.get("original_max_position_embeddings") or config.original_max_position_embeddings
        values["rope_scaling_orig_ctx_len"] = original
        if full["rope_type"] == "longrope":
            stretch = config.max_position_embeddings / original
            values["rope_scaling_attn_factors"] = math.sqrt(1 + math.log(stretch) / math.log(original))
    return values


def rope_factors(config: PreTrainedConfig) -> Named:
    """Beside the layers' tensors: by how much the frequencies are divided in short and in long texts."""
    parameters = getattr(config, "rope_parameters", None) or {}
    for which in ("long", "short"):
        if factors := parameters.get(f"{which}_factor"):
            yield f"rope_factors_{which}.weight", torch.tensor(factors, dtype=torch.float32)


def tensors(base: Path, config: PreTrainedConfig, family: Family) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a base folder by their names in GGUF."""
    source = {name: tensor for file in sorted(base.glob("*.safetensors")) for name, tensor in load_file(file).items()}
    names = gguf.get_tensor_name_map(family.arch, config.num_hidden_layers)
    yield from rope_factors(config)
    for name, tensor in stacked(source).items():
        for new_name, part in family.change(name, tensor, config):
            known = names.get_name(new_name, (".weight", ".bias"))
            assert known, f"{new_name} has no name in GGUF"
            yield known, part


def stacked(source: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts, and the norms of single heads, in one tensor each."""
    alone, groups = {}, defaultdict(dict)
    for name, tensor in source.items():
        if part := re.fullmatch(r"(.*\.experts|.*_layernorm\.norms)\.(\d+)(\..*)", name):
            groups[part[1].removesuffix(".norms") + part[3]][int(part[2])] = tensor
        else:
            alone[name] = tensor
    return alone | {name: torch.stack([group[i] for i in sorted(group)]) for name, group in groups.items()}


def tensor_type(name: str, tensor: torch.Tensor, case: Case) -> GGMLQuantizationType:
    if tensor.ndim == 1 or name.endswith(ALWAYS_F32) or not name.endswith(".weight"):
        return GGMLQuantizationType.F32
    return TYPES[case.dtype][1]


def write_gguf(case: Case, base: Path, path: Path) -> None:
    config = AutoConfig.from_pretrained(base)
    family = FAMILIES[config.model_type]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[family.arch])
    writer.add_type("model")
    writer.add_name("Pico " + case.name)
    for name, value in metadata(case, config, family).items():
        getattr(writer, "add_" + name)(value)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_tokenizer_model("none")
    for name, tensor in tensors(base, config, family):
        qtype = tensor_type(name, tensor, case)
        # The writer wants raw bytes for what numpy has no type for.
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), qtype), raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def described(case: Case) -> Case:
    """The case as its file describes it."""
    config = type(case.config)(**case.config.to_dict() | DESCRIBED[case.name])
    return dataclasses.replace(case, config=config)


def remake(case: Case, folder: Path) -> None:
    torch.manual_seed(REMADE[case.name])
    model = make_base(case)
    save_base(case, model, folder / "base")
    save_adapter(case, model, folder / "adapter")


def make_file(case: Case, folder: Path, samples: list[dict]) -> None:
    out = folder / "gguf"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        source = folder
        if case.name in REMADE:
            source = Path(scratch)
            case = described(case)
            remake(case, source)
            shutil.copytree(source / "adapter", out / "adapter")
        write_gguf(case, source / "base", out / "base.gguf")
        if case.name in DESCRIBED:
            write_expected(case, source, out / "expected.json", samples)


def write_expected(case: Case, source: Path, path: Path, samples: list[dict]) -> None:
    points = list(curve(load(case, source, DESCRIBED[case.name]), samples, range(case.config.num_hidden_layers + 1)))
    losses = [point["loss"] for point in points]
    assert all(abs(before - after) > 0.003 for before, after in zip(losses, losses[1:])), f"{case.name}: {losses}"
    expected = {"made_with": versions() | {"gguf": version("gguf")}, "curve": points}
    path.write_text(json.dumps(expected, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tiny test models as GGUF files.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "fixtures" / "pico")
    parser.add_argument("--only", nargs="+", help="write these cases and leave the rest as it is")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # sums in one order
    samples = read_token_samples(arguments.out / "samples.tokens.jsonl")
    by_name = {case.name: case for case in cases()}
    for name in arguments.only or CASES:
        make_file(by_name[name], arguments.out / name, samples)
        size = (arguments.out / name / "gguf" / "base.gguf").stat().st_size
        print(f"{name:20} {size:7}" + (" with its own losses" if name in DESCRIBED else ""))
    for file in arguments.out.glob("*/gguf/adapter/*.safetensors"):
        file.chmod(0o644)  # safetensors writes them for the owner only


if __name__ == "__main__":
    main()
