"""Write fixtures/pico: tiny random models with LoRA adapters, and their losses from transformers + PEFT.

lora-slim computes the loss of every boundary in its own way, so its tests need numbers from
somebody else. Each case exercises one thing that is easy to get wrong: a RoPE variant, biases, a
sliding window, half-precision files, shards, rank patterns, a GGUF base (pico_cases/ has them all).
The script refuses to write a case whose loss would not notice.

    python scripts/make_pico_fixtures.py [--out fixtures/pico]

Made with torch 2.15, transformers 5.23, peft 0.21.2, tokenizers 0.23, gguf 0.19 and
accelerate 1.15 (transformers wants it to read GGUF). The same versions write the same bytes again.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # the made-up model ids must not be looked up

import argparse
import json
import math
import shutil
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig, LlamaConfig, PreTrainedModel

from peft_reference import IGNORED, auto_class, curve, load_base, lora_layers, read_token_samples, versions
from pico_cases import Case, cases
from pico_published import as_published
from pico_text import VOCAB_SIZE, make_text, make_tokenizer, write_json, write_jsonl

SAMPLE_LENGTHS = [5, 9, 12, 12, 12, 20, 20, 32, 33, 40, 40, 48]


def write_samples(path: Path) -> None:
    """Random tokens: the prompt masked, a few samples with several answers, one scored throughout."""
    random = np.random.default_rng(12)
    rows = []
    for number, length in enumerate(SAMPLE_LENGTHS):
        ids = random.integers(3, VOCAB_SIZE, length).tolist()
        labels = [IGNORED] * (length // 3) + ids[length // 3:]
        if number in (6, 9, 11):  # answers between questions
            for start in range(length // 2, length, 9):
                labels[start: start + 4] = [IGNORED] * len(labels[start: start + 4])
        if number == 3:
            labels = list(ids)
        rows.append({"input_ids": ids, "labels": labels})
    write_jsonl(path, rows)


@torch.no_grad()
def randomize(model: nn.Module) -> None:
    """Weights large enough for every layer to matter, norms around 1 and biases around 0."""
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            weight.normal_(0.0, 0.1)
        elif "norm" in name or ".ln_" in name:
            weight.normal_(1.0, 0.2)
        else:
            weight.normal_(0.0, 0.2)


def make_base(case: Case) -> PreTrainedModel:
    model = auto_class(case.config).from_config(case.config)
    randomize(model)
    return model.eval()


def save_base(case: Case, model: PreTrainedModel, folder: Path) -> None:
    model.to(case.dtype).save_pretrained(folder, max_shard_size=case.shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    as_published(case, folder)


@torch.no_grad()
def save_adapter(case: Case, model: PreTrainedModel, folder: Path) -> None:
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **case.lora))
    for _, module in lora_layers(adapted):
        module.lora_A["default"].weight.normal_(0.0, 0.3)
        module.lora_B["default"].weight.normal_(0.0, 0.3)
    config = adapted.peft_config["default"]
    config.base_model_name_or_path = "pico/" + case.name
    adapted.to(case.dtype).save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    sort_target_modules(folder / "adapter_config.json")


def sort_target_modules(path: Path) -> None:
    """PEFT writes a set, in an order that changes from run to run."""
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2))


def save_gguf(model: PreTrainedModel, tokenizer: Path, path: Path) -> None:
    """What llama.cpp's convert_hf_to_gguf writes for a Llama with tied embeddings."""
    path.parent.mkdir(parents=True)
    writer = gguf.GGUFWriter(path, "llama")
    add_model_metadata(writer, model.config)
    add_tokenizer_metadata(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, model.config.num_hidden_layers)
    writer.add_tensor("rope_freqs.weight", rope_factors(model))
    for name, weight in model.named_parameters():
        weight = permuted(name, weight.detach(), model.config).numpy()
        qtype = tensor_type(name)
        # The writer wants raw bytes for quantised types only.
        data = gguf.quants.quantize(weight, qtype)
        writer.add_tensor(names.get_name(name, (".weight",)), data, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_model_metadata(writer: gguf.GGUFWriter, config: LlamaConfig) -> None:
    writer.add_type("model")
    writer.add_name("Pico Llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer_metadata(writer: gguf.GGUFWriter, folder: Path) -> None:
    vocab = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"] for token in vocab["added_tokens"]}
    tokens = sorted(vocab["model"]["vocab"], key=vocab["model"]["vocab"].get)
    types = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    gguf.SpecialVocab(folder, load_merges=True).add_to_gguf(writer, quiet=True)


def permuted(name: str, weight: torch.Tensor, config: LlamaConfig) -> torch.Tensor:
    """llama.cpp rotates neighbouring pairs, transformers the two halves of a head."""
    heads = {"q_proj.weight": config.num_attention_heads, "k_proj.weight": config.num_key_value_heads}
    for ending, count in heads.items():
        if name.endswith(ending):
            return weight.reshape(count, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
    return weight


def tensor_type(name: str) -> gguf.GGMLQuantizationType:
    """A mix of types in one file, as real files have it."""
    if "norm" in name:
        return gguf.GGMLQuantizationType.F32
    return gguf.GGMLQuantizationType.Q8_0 if ".mlp." in name else gguf.GGMLQuantizationType.F16


def rope_factors(model: PreTrainedModel) -> np.ndarray:
    """By how much llama3 RoPE divides each frequency."""
    config = model.config
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    plain = 1.0 / config.rope_parameters["rope_theta"] ** exponents
    factors = (plain / model.model.rotary_emb.inv_freq).numpy()
    low, high = factors == config.rope_parameters["factor"], factors == 1.0
    assert low.any() and high.any() and not (low | high).all(), "a frequency band is missing"
    return factors


def load(case: Case, folder: Path, changes: dict | None = None) -> PeftModel:
    """Base and adapter as somebody else would load the files, widened to f32."""
    # GGUF's rope_freqs.weight is unknown to transformers, so that case brings its own config.
    config = case.config if case.gguf else AutoConfig.from_pretrained(folder / "base")
    values = config.to_dict()
    values.get("text_config", values).update(changes or {})
    config = type(config)(**values)
    base = load_base(
        folder / "base",
        config=config,
        attn_implementation="eager",  # the mask and the softmax spelt out
        experts_implementation="eager",
        gguf_file="base.gguf" if case.gguf else None,
    )
    return PeftModel.from_pretrained(base, folder / "adapter")


def check(case: Case, folder: Path, samples: list[dict], points: list[dict]) -> None:
    """A case is worthless if its loss would be right with the feature missing."""
    losses = [point["loss"] for point in points]
    assert all(map(math.isfinite, losses))
    for layer, (before, after) in enumerate(zip(losses, losses[1:])):
        adapted = layer in case.lora.get("layers_to_transform", range(len(losses))) and layer not in case.idle_layers
        assert (abs(before - after) > 0.01) == adapted, f"{case.name}: layer {layer}: {losses}"
    for changes in case.without:
        without = next(curve(load(case, folder, changes), samples, [len(losses) - 1]))
        differences = [abs(a - b) for a, b in zip(without["per_sample"], points[-1]["per_sample"])]
        assert max(differences) > 0.5, f"{case.name}: {changes} goes unnoticed"


def make_case(case: Case, out: Path, samples: list[dict]) -> list[dict]:
    torch.manual_seed(case.seed)
    folder = out / case.name
    model = make_base(case)
    if case.gguf:
        save_gguf(model, out / "tokenizer", folder / "base" / "base.gguf")
    else:
        save_base(case, model, folder / "base")
    save_adapter(case, model, folder / "adapter")
    layers = case.config.get_text_config().num_hidden_layers
    points = list(curve(load(case, folder), samples, range(layers + 1)))
    check(case, folder, samples, points)
    expected = {"made_with": versions() | {"gguf": version("gguf")}, "curve": points}
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the tiny test models and their expected losses.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "fixtures" / "pico")
    parser.add_argument("--only", nargs="+", help="write these cases and leave the rest as it is")
    arguments = parser.parse_args()
    out = arguments.out
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # sums in one order
    if not arguments.only:
        shutil.rmtree(out, ignore_errors=True)
        tokenizer = make_tokenizer(out / "tokenizer")
        make_text(out / "text", tokenizer)
        write_samples(out / "samples.tokens.jsonl")
    samples = read_token_samples(out / "samples.tokens.jsonl")
    for case in cases():
        if arguments.only and case.name not in arguments.only:
            continue
        shutil.rmtree(out / case.name, ignore_errors=True)
        points = make_case(case, out, samples)
        print(f"{case.name:18}", " ".join(f"{point['loss']:.4f}" for point in points))
    if not arguments.only:
        for file in (out / "tokenizer").iterdir():
            shutil.copy(file, out / "llama-llama3-rope" / "base")
    for file in out.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes them for the owner only


if __name__ == "__main__":
    main()
